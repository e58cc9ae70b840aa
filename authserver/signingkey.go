package authserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/jwks"
)

// signingAlgorithms are those that the server signs with. The first is the one for clients that do not say.
var signingAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256}

const (
	// signingKeyLife is how long a key is signed with, signingKeyLead how long it is published before, so that whoever
	// keeps the published keys for a while has it in time, and signingKeyKeep how long it is published after: until what
	// was signed last has expired, and for hints (OpenID Connect Core section 3.1.2.1) rather longer.
	signingKeyLife = 90 * 24 * time.Hour
	signingKeyLead = 24 * time.Hour
	signingKeyKeep = 30 * 24 * time.Hour
	// signingKeysFresh is how old what is known of the keys in the store may be. Another process may have made a new one,
	// which it does not sign with for signingKeyLead.
	signingKeysFresh = time.Minute
	// signingKeysTimeout bounds an attempt to read the keys, or to make one.
	signingKeysTimeout = 15 * time.Second
	// keyRecord is the kind of the records that hold keys, one for each algorithm, called by its name.
	keyRecord = "key"
)

// signingKey is a key of the server's own.
type signingKey struct {
	JWK jose.JSONWebKey `json:"jwk"`
	// UseFrom is when the server begins to sign with the key. It ends when it begins with the next one.
	UseFrom time.Time `json:"use_from"`
}

// signingKeys are the keys of one algorithm, in the order in which they are used. They lie in one record of the store, so
// that of several processes one makes a key and the others take it.
type signingKeys struct {
	algorithm jose.SignatureAlgorithm
	store     store.Store
	logger    *slog.Logger
	now       func() time.Time

	mu       sync.Mutex
	keys     []signingKey  // never changed in place
	readAt   time.Time     // zero: nobody knows yet
	err      error         // of the last attempt
	attempt  chan struct{} // closed when the attempt that is under way ends; nil if none is
	renewing bool
}

// keyRing is the value of a record.
type keyRing struct {
	Keys []signingKey `json:"keys"`
}

// current returns the keys. Where there is none it makes the first one, if wanted. Nobody waits while a later one is made.
func (k *signingKeys) current(ctx context.Context, wanted bool) ([]signingKey, error) {
	var err error
	for range 2 { // the first attempt may have begun for somebody who did not want a key to be made
		k.mu.Lock()
		if (len(k.keys) > 0 || !wanted) && !k.readAt.IsZero() && k.now().Sub(k.readAt) < signingKeysFresh {
			defer k.mu.Unlock()
			return k.keys, nil
		}
		if k.attempt == nil {
			k.attempt = make(chan struct{})
			go k.read(wanted)
		}
		attempt := k.attempt
		k.mu.Unlock()
		select {
		case <-attempt:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		k.mu.Lock()
		keys, known := k.keys, !k.readAt.IsZero()
		err = k.err
		k.mu.Unlock()
		if len(keys) > 0 || !wanted && known {
			return keys, nil // what is known stays in use while the store cannot be read
		}
	}
	return nil, fmt.Errorf("no signing key: %w", err)
}

// read makes one attempt, which nobody's request can end, and has a new key made if it is time for that.
func (k *signingKeys) read(wanted bool) {
	ctx, cancel := context.WithTimeout(context.Background(), signingKeysTimeout)
	defer cancel()
	keys, version, err := k.load(ctx)
	if err == nil && len(keys) == 0 && wanted {
		keys, err = k.renew(ctx, nil, 0)
	}
	if err != nil {
		k.logger.Error("cannot read the signing keys", slog.String("algorithm", string(k.algorithm)), slog.String("error", err.Error()))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err = err; err == nil {
		k.keys = keys
	}
	if err == nil || !k.readAt.IsZero() {
		k.readAt = k.now()
	}
	if err == nil && len(keys) > 0 && k.isDue(keys) && !k.renewing {
		k.renewing = true
		go k.renewLater(keys, version)
	}
	close(k.attempt)
	k.attempt = nil
}

// load reads the keys of the store.
func (k *signingKeys) load(ctx context.Context) (keys []signingKey, version uint64, err error) {
	record, err := k.store.Record(ctx, keyRecord, string(k.algorithm))
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var ring keyRing
	if err := json.Unmarshal(record.Value, &ring); err != nil {
		// The text would hold parts of a key.
		return nil, 0, errors.New("the record of the signing keys cannot be read")
	}
	for i := range ring.Keys {
		key := &ring.Keys[i].JWK
		if signer, ok := key.Key.(crypto.Signer); !ok || !slices.Contains(jwks.AlgorithmsOf(signer.Public()), k.algorithm) || key.KeyID == "" {
			return nil, 0, errors.New("the record of the signing keys holds another kind of key")
		}
	}
	return ring.Keys, record.Version, nil
}

// isDue tells whether it is time to publish the next key.
func (k *signingKeys) isDue(keys []signingKey) bool {
	last := keys[len(keys)-1]
	return !k.now().Before(last.UseFrom.Add(signingKeyLife - signingKeyLead))
}

func (k *signingKeys) renewLater(keys []signingKey, version uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), signingKeysTimeout)
	defer cancel()
	keys, err := k.renew(ctx, keys, version)
	if err != nil {
		k.logger.Error("cannot make a new signing key", slog.String("algorithm", string(k.algorithm)), slog.String("error", err.Error()))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewing = false
	if err == nil {
		k.keys, k.readAt = keys, k.now()
	}
}

// renew adds a key to those of a version of the record, and leaves out those that nobody needs any more. If another
// process was faster, its keys count.
func (k *signingKeys) renew(ctx context.Context, keys []signingKey, version uint64) ([]signingKey, error) {
	key, err := newSigningKey(k.algorithm)
	if err != nil {
		return nil, err
	}
	now := k.now().UTC().Truncate(time.Second)
	useFrom := now
	if len(keys) > 0 {
		useFrom = now.Add(signingKeyLead)
	}
	added := append(published(keys, now), signingKey{key, useFrom})
	value, err := json.Marshal(keyRing{added})
	if err != nil {
		return nil, fmt.Errorf("encoding a signing key: %w", err)
	}
	err = k.store.PutRecord(ctx, store.Record{Kind: keyRecord, Name: string(k.algorithm), Version: version, Value: value})
	switch {
	case errors.Is(err, store.ErrConsumed):
		added, _, err = k.load(ctx)
		if err == nil && len(added) == 0 {
			err = errors.New("the signing keys were deleted meanwhile")
		}
		return added, err
	case err != nil:
		return nil, err
	}
	k.logger.Info("made a signing key", slog.String("kid", key.KeyID), slog.String("algorithm", string(k.algorithm)), slog.Time("used_from", useFrom))
	return added, nil
}

func newSigningKey(algorithm jose.SignatureAlgorithm) (jose.JSONWebKey, error) {
	key := jose.JSONWebKey{KeyID: rand.Text(), Algorithm: string(algorithm), Use: "sig"}
	var err error
	if algorithm == jose.RS256 {
		key.Key, err = rsa.GenerateKey(rand.Reader, leastRSA)
	} else {
		key.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return key, err
}

// inUse is the key to sign with: the last one that is in use already.
func inUse(keys []signingKey, now time.Time) jose.JSONWebKey {
	for i := len(keys) - 1; i > 0; i-- {
		if !now.Before(keys[i].UseFrom) {
			return keys[i].JWK
		}
	}
	return keys[0].JWK
}

// published are the keys that others may need: those whose successor has not been in use for long.
func published(keys []signingKey, now time.Time) []signingKey {
	var those []signingKey
	for i, key := range keys {
		if i+1 == len(keys) || now.Before(keys[i+1].UseFrom.Add(signingKeyKeep)) {
			those = append(those, key)
		}
	}
	return those
}

// newSigningKeys returns the keys of all algorithms. It does not touch the store.
func (s *Server) newSigningKeys() map[jose.SignatureAlgorithm]*signingKeys {
	all := make(map[jose.SignatureAlgorithm]*signingKeys)
	for _, algorithm := range signingAlgorithms {
		all[algorithm] = &signingKeys{algorithm: algorithm, store: s.store, logger: s.logger, now: s.now}
	}
	return all
}

// sign makes a JWT of a type out of claims, signed by an algorithm.
func (s *Server) sign(ctx context.Context, algorithm jose.SignatureAlgorithm, typ string, claims any) (string, error) {
	keys, err := s.signing[algorithm].current(ctx, true)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: inUse(keys, s.now())},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)),
	)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}

// publicKeys are the public halves of all keys that others may need, those that are not in use yet included.
func (s *Server) publicKeys(ctx context.Context) (jose.JSONWebKeySet, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, algorithm := range signingAlgorithms {
		keys, err := s.signing[algorithm].current(ctx, algorithm == signingAlgorithms[0])
		if err != nil {
			return set, err
		}
		for _, key := range published(keys, s.now()) {
			set.Keys = append(set.Keys, key.JWK.Public())
		}
	}
	return set, nil
}
