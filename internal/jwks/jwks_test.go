package jwks_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/jwks"
)

// transport answers after a while with a key that is named after the path, or never.
type transport struct{ fetched map[string]int }

func (p *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	path := request.URL.Path
	p.fetched[path]++
	var answer string
	switch path {
	case "/garbage":
		answer = "garbage"
	case "/slow":
		time.Sleep(3 * time.Second)
		fallthrough
	default:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: path}}})
		if err != nil {
			return nil, err
		}
		answer = string(text)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

func (p *transport) set(path string, known *jwks.Known) *jwks.Set {
	return jwks.NewRemote(jwks.Remote{
		URL: "https://as.example.com" + path + "?canary", Transport: p, Known: known, Logger: slog.New(slog.DiscardHandler),
	})
}

// has tells whether a set has a key of a name.
func has(ctx context.Context, set *jwks.Set, name string) (bool, error) {
	return set.Verify(ctx, func(keys []jose.JSONWebKey) bool { return len(keys) == 1 && keys[0].KeyID == name })
}

func TestWhatIsKnownOutlivesASet(t *testing.T) {
	p, known := &transport{make(map[string]int)}, new(jwks.Known)
	for range 3 {
		found, err := has(t.Context(), p.set("/a", known), "/a")
		require.NoError(t, err)
		assert.True(t, found)
	}
	assert.Equal(t, map[string]int{"/a": 1}, p.fetched)
}

// An issuer moves its keys while somebody waits for them. What is published at the old place must not pass for the new.
func TestKeysOfAnotherPlaceCountForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, known := &transport{make(map[string]int)}, new(jwks.Known)
		waiting := make(chan error, 1)
		go func() {
			_, err := has(t.Context(), p.set("/slow", known), "/slow")
			waiting <- err
		}()
		synctest.Wait()
		found, err := has(t.Context(), p.set("/new", known), "/new")
		require.NoError(t, err)
		assert.True(t, found)
		require.ErrorContains(t, <-waiting, "moved")
		found, err = has(t.Context(), p.set("/new", known), "/slow")
		require.NoError(t, err)
		assert.False(t, found)
		assert.Equal(t, map[string]int{"/slow": 1, "/new": 1}, p.fetched)
	})
}

func TestErrorsSayWhyAndNothingElse(t *testing.T) {
	p := &transport{make(map[string]int)}
	_, err := has(t.Context(), p.set("/garbage", nil), "")
	require.ErrorIs(t, err, jwks.ErrMalformed)
	assert.NotContains(t, err.Error(), "garbage")
	assert.NotContains(t, err.Error(), "canary")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	synctest.Test(t, func(t *testing.T) {
		_, err := has(ctx, p.set("/slow", nil), "/slow")
		require.ErrorIs(t, err, context.Canceled)
		time.Sleep(3 * time.Second)
	})
}
