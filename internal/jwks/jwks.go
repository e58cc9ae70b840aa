// Package jwks holds the public keys of somebody who signs (RFC 7517): keys that are given, or keys that are published at
// a URL, fetched when one is first needed.
package jwks

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

// ErrMalformed means that what was read is no JWK set, or one that shows a private key.
var ErrMalformed = errors.New("no JWK set (RFC 7517)")

// Set is a set of public keys. It is safe for concurrent use, and nobody has to close it.
type Set struct {
	// url is where the keys are published. Empty: they never change.
	url    string
	pause  time.Duration
	client *http.Client
	logger *slog.Logger
	now    func() time.Time
	known  *Known
}

// Remote says where keys are published and how to get them.
type Remote struct {
	// URL is that of a JWK set. Whoever configures it has judged it.
	URL string
	// Pause is how soon keys in which one is missing are fetched again, counted from the last attempt. So whoever sends
	// signatures that fit none does not have them fetched more often. Default: a minute.
	Pause time.Duration
	// Transport carries the calls. Default: http.DefaultTransport.
	Transport http.RoundTripper
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger
	// Known is what an earlier Set has fetched from the same place. Default: nothing.
	Known *Known
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Known is what is known of published keys. It outlives the Set that fetches them, if it is given to the next one. What is
// known of one URL counts for no other. The zero value knows nothing. It is safe for concurrent use.
type Known struct {
	mu        sync.Mutex
	url       string
	keys      []jose.JSONWebKey
	fetched   bool          // somebody has said which keys there are
	err       error         // why the last attempt failed
	attempted time.Time     // when the last attempt ended
	attempt   chan struct{} // closed when the attempt that is under way ends; nil if none is
}

const (
	// keysLife is how long published keys are used before they are fetched again. If that fails they stay in use.
	keysLife = 15 * time.Minute
	// defaultPause is the Pause where nobody says otherwise.
	defaultPause = time.Minute
	// unknownKeysLife is how soon a first attempt that failed is repeated.
	unknownKeysLife = 10 * time.Second
	// FetchTimeout bounds an attempt.
	FetchTimeout = 5 * time.Second
	// maxKeySet is the longest key set that is read, in bytes.
	maxKeySet = 256 << 10
	// leastRSA is the shortest RSA key, in bits (RFC 7518 section 3.3).
	leastRSA = 2048
)

// Parse reads a JWK set, or one JWK.
func Parse(text []byte) (*Set, error) {
	keys, err := parseKeys(text)
	if err == nil && len(keys) == 0 {
		err = errors.New("holds no public key that can be used: RSA of 2048 bits or more, EC (P-256, P-384, P-521) or Ed25519")
	}
	if err != nil {
		return nil, err
	}
	return &Set{known: &Known{keys: keys, fetched: true}}, nil
}

// Len is how many keys are known.
func (s *Set) Len() int {
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	return len(s.known.keys)
}

// NewRemote returns the key set of a URL. It opens no connection.
func NewRemote(config Remote) *Set {
	s := &Set{url: config.URL, pause: config.Pause, logger: config.Logger, now: config.Now, known: config.Known}
	if s.pause <= 0 {
		s.pause = defaultPause
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.known == nil {
		s.known = new(Known)
	}
	s.client = &http.Client{
		Transport:     config.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// Verify tells whether one of the keys has signed something. Where none has, the keys may be out of date. It returns an
// error if there is no telling, because the keys cannot be had: the context's own, or why they could not be fetched.
func (s *Set) Verify(ctx context.Context, signed func([]jose.JSONWebKey) bool) (bool, error) {
	keys, err := s.current(ctx, false)
	if err != nil || signed(keys) {
		return err == nil, err
	}
	if s.url == "" {
		return false, nil
	}
	keys, err = s.current(ctx, true)
	return err == nil && signed(keys), err
}

// current returns the keys, fetched anew if it is time for that. All who want the same keys wait for one attempt.
func (s *Set) current(ctx context.Context, doubted bool) ([]jose.JSONWebKey, error) {
	k := s.known
	k.mu.Lock()
	if s.url != k.url {
		k.url, k.keys, k.fetched, k.err, k.attempted, k.attempt = s.url, nil, false, nil, time.Time{}, nil
	}
	if !s.due(doubted) {
		defer k.mu.Unlock()
		return k.found()
	}
	if k.attempt == nil {
		k.attempt = make(chan struct{})
		go s.fetch(k.attempt)
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
	if k.url != s.url {
		return nil, errors.New("the keys have moved meanwhile")
	}
	return k.found()
}

// due tells whether it is time for an attempt. The caller holds the lock.
func (s *Set) due(doubted bool) bool {
	life := keysLife
	switch {
	case s.url == "":
		return false
	case s.known.attempted.IsZero():
		return true
	case !s.known.fetched:
		life = unknownKeysLife
	case doubted:
		life = s.pause
	}
	return s.now().Sub(s.known.attempted) >= life
}

// found returns the keys. The caller holds the lock.
func (k *Known) found() ([]jose.JSONWebKey, error) {
	if !k.fetched {
		return nil, fmt.Errorf("the keys cannot be fetched: %w", k.err)
	}
	return k.keys, nil
}

// fetch makes one attempt, which nobody's request can end.
func (s *Set) fetch(attempt chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), FetchTimeout)
	defer cancel()
	keys, err := s.read(ctx)
	if err != nil {
		// A URL may hold a secret behind its path.
		place, _, _ := strings.Cut(s.url, "?")
		s.logger.Warn("cannot fetch the keys of signatures", slog.String("url", place), slog.String("error", err.Error()))
	}
	k := s.known
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(attempt)
	if k.attempt != attempt {
		return // what is known is of another URL by now
	}
	k.attempted, k.attempt, k.err = s.now(), nil, err
	if err == nil {
		k.keys, k.fetched = keys, true
	}
}

func (s *Set) read(ctx context.Context) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, errors.New("making the request")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "portcullis")
	response, err := s.client.Do(request)
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
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrMalformed, maxKeySet)
	}
	keys, err := parseKeys(body)
	if err != nil {
		err = fmt.Errorf("%w: it %w", ErrMalformed, err)
	}
	return keys, err
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
		if len(AlgorithmsOf(key.Key)) > 0 {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Algorithms are those of signatures that a public key verifies.
var Algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// AlgorithmsOf lists the algorithms that a public key is for.
func AlgorithmsOf(key any) []jose.SignatureAlgorithm {
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

// Fits tells whether a key may have made a signature, by what both say of themselves. A key without an id may be any.
func Fits(key *jose.JSONWebKey, algorithm jose.SignatureAlgorithm, keyID string) bool {
	return (keyID == "" || key.KeyID == "" || key.KeyID == keyID) &&
		(key.Algorithm == "" || key.Algorithm == string(algorithm)) &&
		slices.Contains(AlgorithmsOf(key.Key), algorithm)
}
