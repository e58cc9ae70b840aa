package authserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// KeySet holds the public keys of somebody who signs assertions (RFC 7517 section 5): keys that are given, or keys that
// are published at a URL, fetched when one is first needed. It is safe for concurrent use, and nobody has to close it.
type KeySet struct {
	// url is where the keys are published. Empty: they never change.
	url    string
	client *http.Client
	logger *slog.Logger
	now    func() time.Time

	mu        sync.Mutex
	keys      []jose.JSONWebKey
	known     bool          // somebody has said which keys there are
	attempted time.Time     // when the last attempt to fetch them ended
	attempt   chan struct{} // closed when the attempt that is under way ends; nil if none is
}

// RemoteKeySet says where keys are published and how to get them.
type RemoteKeySet struct {
	// URL is that of a JWK set: https, or http on loopback.
	URL string
	// Transport carries the calls. Default: http.DefaultTransport.
	Transport http.RoundTripper
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

const (
	// keysLife is how long published keys are used before they are fetched again. If that fails they stay in use.
	keysLife = 15 * time.Minute
	// doubtedKeysLife is the same where a signature fits none of them, and so whoever sends signatures that fit none
	// does not make the server fetch more often than that.
	doubtedKeysLife = time.Minute
	// unknownKeysLife is how soon a first attempt that failed is repeated.
	unknownKeysLife = 10 * time.Second
	// fetchTimeout bounds an attempt.
	fetchTimeout = 5 * time.Second
	// maxKeySet is the longest key set that is read, in bytes.
	maxKeySet = 256 << 10
	// leastRSA is the shortest RSA key, in bits (RFC 7518 section 3.3).
	leastRSA = 2048
)

// ParseKeySet reads a JWK set, or one JWK.
func ParseKeySet(text []byte) (*KeySet, error) {
	keys, err := parseKeys(text)
	if err == nil && len(keys) == 0 {
		err = errors.New("holds no public key that can be used: RSA of 2048 bits or more, EC (P-256, P-384, P-521) or Ed25519")
	}
	if err != nil {
		return nil, err
	}
	return &KeySet{keys: keys, known: true}, nil
}

// NewRemoteKeySet returns the key set of a URL. It opens no connection.
func NewRemoteKeySet(config RemoteKeySet) (*KeySet, error) {
	parsed, err := url.Parse(config.URL)
	switch {
	case err != nil || parsed.Hostname() == "":
		return nil, errors.New("must be a URL such as https://client.example.com/jwks.json")
	case parsed.User != nil || parsed.Fragment != "":
		return nil, errors.New("the URL must have neither user information nor a fragment")
	case parsed.Scheme != "https" && (parsed.Scheme != "http" || !isLoopback(parsed.Hostname())):
		return nil, errors.New("the URL must be https, or http on loopback")
	}
	k := &KeySet{url: config.URL, logger: config.Logger, now: config.Now}
	if k.logger == nil {
		k.logger = slog.Default()
	}
	if k.now == nil {
		k.now = time.Now
	}
	k.client = &http.Client{
		Transport:     config.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return k, nil
}

// verify says whether one of the keys has signed an assertion. Where none has, the keys may be out of date. It returns an
// error if there is no telling, because the keys cannot be had.
func (k *KeySet) verify(ctx context.Context, a *assertion) (bool, error) {
	keys, err := k.current(ctx, false)
	if err != nil || a.isSignedBy(keys) {
		return err == nil, err
	}
	if k.url == "" {
		return false, nil
	}
	keys, err = k.current(ctx, true)
	return err == nil && a.isSignedBy(keys), err
}

// current returns the keys, fetched anew if it is time for that. All who want the same keys wait for one attempt.
func (k *KeySet) current(ctx context.Context, doubted bool) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	if !k.due(doubted) {
		defer k.mu.Unlock()
		return k.found()
	}
	if k.attempt == nil {
		k.attempt = make(chan struct{})
		go k.fetch()
	}
	attempt := k.attempt
	k.mu.Unlock()
	select {
	case <-attempt:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.found()
}

// due tells whether it is time for an attempt. The caller holds the lock.
func (k *KeySet) due(doubted bool) bool {
	life := keysLife
	switch {
	case k.url == "":
		return false
	case k.attempted.IsZero():
		return true
	case !k.known:
		life = unknownKeysLife
	case doubted:
		life = doubtedKeysLife
	}
	return k.now().Sub(k.attempted) >= life
}

// found returns the keys. The caller holds the lock.
func (k *KeySet) found() ([]jose.JSONWebKey, error) {
	if !k.known {
		return nil, errors.New("the keys of an assertion cannot be fetched")
	}
	return k.keys, nil
}

// fetch makes one attempt, which nobody's request can end.
func (k *KeySet) fetch() {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	keys, err := k.read(ctx)
	if err != nil {
		// A URL may hold a secret behind its path.
		place, _, _ := strings.Cut(k.url, "?")
		k.logger.Warn("cannot fetch the keys of assertions", slog.String("url", place), slog.String("error", err.Error()))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.attempted = k.now()
	if err == nil {
		k.keys, k.known = keys, true
	}
	close(k.attempt)
	k.attempt = nil
}

func (k *KeySet) read(ctx context.Context) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, errors.New("making the request")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "portcullis")
	response, err := k.client.Do(request)
	if failure, ok := errors.AsType[*url.Error](err); ok {
		err = failure.Err // which does not repeat the URL
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	switch {
	case err != nil:
		return nil, errors.New("the answer ended early")
	case len(body) > maxKeySet:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxKeySet)
	}
	return parseKeys(body)
}

// parseKeys reads the keys that can verify a signature. Others do not count (RFC 7517 section 5), but a private key is an
// error: whoever can read it can sign. Its errors hold nothing of the text.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
		Type string            `json:"kty"`
	}
	if json.Unmarshal(text, &set) != nil || set.Keys == nil && set.Type == "" {
		return nil, errors.New("is no JWK set (RFC 7517)")
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{text}
	}
	keys := make([]jose.JSONWebKey, 0, len(set.Keys))
	for _, member := range set.Keys {
		var key jose.JSONWebKey
		switch {
		case json.Unmarshal(member, &key) != nil:
			continue
		case !key.IsPublic():
			return nil, errors.New("holds a private or a symmetric key, where the public one belongs")
		case key.Use != "" && key.Use != "sig":
			continue
		}
		if len(algorithmsOf(key.Key)) > 0 {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// algorithmsOf lists the algorithms that a public key is for.
func algorithmsOf(key any) []jose.SignatureAlgorithm {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= leastRSA {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// fits tells whether a key may have signed an assertion, by what both say of themselves. A key without an id may be any.
func (a *assertion) fits(key *jose.JSONWebKey) bool {
	return (a.kid == "" || key.KeyID == "" || key.KeyID == a.kid) &&
		(key.Algorithm == "" || key.Algorithm == string(a.algorithm)) &&
		slices.Contains(algorithmsOf(key.Key), a.algorithm)
}

// isSignedBy tells whether one of the keys has signed the assertion.
func (a *assertion) isSignedBy(keys []jose.JSONWebKey) bool {
	for i := range keys {
		if a.fits(&keys[i]) && a.isSignedWith(keys[i].Key) {
			return true
		}
	}
	return false
}
