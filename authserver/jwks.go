package authserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/portcullis-gateway/portcullis/internal/jwks"
)

// KeySet holds the public keys of somebody who signs assertions (RFC 7517 section 5): keys that are given, or keys that
// are published at a URL, fetched when one is first needed. It is safe for concurrent use, and nobody has to close it.
type KeySet struct {
	set *jwks.Set
	url string // empty where the keys are given
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

// leastRSA is the shortest RSA key, in bits (RFC 7518 section 3.3).
const leastRSA = 2048

// ParseKeySet reads a JWK set, or one JWK.
func ParseKeySet(text []byte) (*KeySet, error) {
	set, err := jwks.Parse(text)
	if err != nil {
		return nil, err
	}
	return &KeySet{set: set}, nil
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
	return &KeySet{url: config.URL, set: jwks.NewRemote(jwks.Remote{
		URL: config.URL, Transport: config.Transport, Logger: config.Logger, Now: config.Now,
	})}, nil
}

// place is the URL, if the keys have one, as far as it can be shown: behind its path it may hold a secret.
func (k *KeySet) place() string {
	place, _, _ := strings.Cut(k.url, "?")
	return place
}

// verify says whether one of the keys has signed an assertion. Where none has, the keys may be out of date. It returns an
// error if there is no telling, because the keys cannot be had.
func (k *KeySet) verify(ctx context.Context, a *assertion) (bool, error) {
	return k.set.Verify(ctx, a.isSignedBy)
}

// isSignedBy tells whether one of the keys has signed the assertion.
func (a *assertion) isSignedBy(keys []jose.JSONWebKey) bool {
	for i := range keys {
		if jwks.Fits(&keys[i], a.algorithm, a.kid) && a.isSignedWith(keys[i].Key) {
			return true
		}
	}
	return false
}
