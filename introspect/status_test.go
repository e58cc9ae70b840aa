package introspect_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

type introspectorFunc func() (*introspect.Answer, error)

func (f introspectorFunc) Introspect(context.Context, introspect.Token) (*introspect.Answer, error) {
	return f()
}

// What a guard says of itself is what it does to the next call.
func TestGuardTellsWhetherItAsks(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var give func() (*introspect.Answer, error)
	config := introspect.GuardConfig{
		Failures: 3, Open: time.Minute, Breaker: new(introspect.Breaker), Now: func() time.Time { return now },
	}
	next := introspectorFunc(func() (*introspect.Answer, error) { return give() })
	guard := introspect.NewGuard(next, config)
	tokens := 0
	ask := func() {
		tokens++
		_, _ = guard.Introspect(t.Context(), introspect.NewToken(fmt.Sprint(tokens)))
	}
	fails := func(err error) func() (*introspect.Answer, error) {
		return func() (*introspect.Answer, error) { return nil, err }
	}
	answers := func() (*introspect.Answer, error) { return &introspect.Answer{Active: true}, nil }

	assert.False(t, guard.Open())
	require.NoError(t, guard.Down(), "nobody has asked yet")

	give = fails(introspect.ErrUnavailable)
	ask()
	ask()
	assert.False(t, guard.Open())
	require.NoError(t, guard.Down())
	ask()
	assert.True(t, guard.Open())
	require.ErrorIs(t, guard.Down(), introspect.ErrUnavailable)

	without := config
	without.Failures = 0
	assert.False(t, introspect.NewGuard(next, without).Open(), "a guard without a breaker, after a reload")
	require.NoError(t, introspect.NewGuard(next, without).Down())

	now = now.Add(time.Minute)
	assert.False(t, guard.Open(), "the next call is let through")
	require.NoError(t, guard.Down())
	give = func() (*introspect.Answer, error) {
		assert.True(t, guard.Open(), "while one call finds out, others are kept away")
		return answers()
	}
	ask()
	assert.False(t, guard.Open())

	give = fails(introspect.ErrCredentials)
	ask()
	require.NoError(t, guard.Down())
	ask()
	require.ErrorIs(t, guard.Down(), introspect.ErrCredentials)
	assert.False(t, guard.Open(), "that is not the breaker's doing")
	now = now.Add(time.Minute)
	require.NoError(t, guard.Down())
}

func TestDiscoveryTellsWhatItKnows(t *testing.T) {
	var up atomic.Bool
	var issuer string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":"%s/introspect"}`, issuer, issuer)
	}))
	t.Cleanup(server.Close)
	issuer = server.URL
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	discovery, err := introspect.NewDiscovery(introspect.DiscoveryConfig{Issuer: issuer, Now: func() time.Time { return now }})
	require.NoError(t, err)
	assert.Empty(t, discovery.Endpoint())
	require.NoError(t, discovery.Down(), "nobody has looked yet")

	_, err = discovery.Metadata(t.Context())
	require.Error(t, err)
	assert.Empty(t, discovery.Endpoint())
	assert.Equal(t, err, discovery.Down())

	now = now.Add(time.Hour)
	require.NoError(t, discovery.Down(), "the next call looks again")
	up.Store(true)
	_, err = discovery.Metadata(t.Context())
	require.NoError(t, err)
	assert.Equal(t, issuer+"/introspect", discovery.Endpoint())
	require.NoError(t, discovery.Down())
}
