package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var tokenCases = []testCase{
	{"a record comes back as it was issued", func(t *testing.T, s store.Store) {
		full := store.Token{
			Digest:    introspect.DigestOf("full"),
			Kind:      store.Refresh,
			Family:    "family",
			ClientID:  "client with spaces/and \"quotes\"",
			Subject:   "Zoë",
			Username:  "zoe@example.org",
			Scope:     []string{"read", "write"},
			Audience:  []string{"https://api.example", "https://other.example"},
			IssuedAt:  epoch,
			ExpiresAt: epoch.Add(time.Hour),
		}
		bare := access("bare", "family")
		issue(t, s, full, bare)
		for _, want := range []store.Token{full, bare} {
			requireSameToken(t, want, find(t, s, want.Digest))
		}
	}},
	{"an instant is the same in every time zone", func(t *testing.T, s store.Store) {
		one := access("a", "family")
		one.IssuedAt = epoch.In(time.FixedZone("east", 5*3600))
		issue(t, s, one)
		requireSameToken(t, one, find(t, s, one.Digest))
	}},
	{"a token that was never issued is not found", func(t *testing.T, s store.Store) {
		issue(t, s, access("a", "family"))
		requireUnknown(t, s, access("b", "family"))
	}},
	{"issuing nothing is no error", func(t *testing.T, s store.Store) {
		require.NoError(t, s.Issue(t.Context()))
	}},
	{"an expired token is still found: the store reads no clock", func(t *testing.T, s store.Store) {
		old := access("old", "family")
		old.IssuedAt, old.ExpiresAt = time.Unix(1, 0), time.Unix(2, 0)
		issue(t, s, old)
		requireSameToken(t, old, find(t, s, old.Digest))
	}},
	{"attack: a digest is issued again to bring a revoked token back", func(t *testing.T, s store.Store) {
		one := access("a", "family")
		issue(t, s, one)
		require.NoError(t, s.Revoke(t.Context(), one.Digest))
		require.ErrorIs(t, s.Issue(t.Context(), one), store.ErrConsumed)
		require.True(t, find(t, s, one.Digest).Revoked)
	}},
	{"tokens are issued all or none", func(t *testing.T, s store.Store) {
		taken, a, b := access("taken", "other"), access("a", "family"), refresh("b", "family")
		issue(t, s, taken)
		require.ErrorIs(t, s.Issue(t.Context(), a, taken, b), store.ErrConsumed)
		requireUnknown(t, s, a, b)
		require.ErrorIs(t, s.Issue(t.Context(), a, b, a), store.ErrConsumed)
		requireUnknown(t, s, a, b)
		require.Equal(t, "other", find(t, s, taken.Digest).Family)
	}},
	{"the marks are the store's own", func(t *testing.T, s store.Store) {
		one := refresh("a", "family")
		one.Revoked, one.Rotated = true, true
		issue(t, s, one)
		require.True(t, active(t, s, one.Digest))
	}},
	{"what the caller does to its slices afterwards changes nothing", func(t *testing.T, s store.Store) {
		one := access("a", "family")
		one.Scope = []string{"read"}
		issue(t, s, one)
		one.Scope[0] = "admin"
		found := find(t, s, one.Digest)
		require.Equal(t, []string{"read"}, found.Scope)
		found.Scope[0] = "admin"
		require.Equal(t, []string{"read"}, find(t, s, one.Digest).Scope)
	}},
	{"race: one of those who issue the same digest wins", func(t *testing.T, s store.Store) {
		for round := range rounds {
			one := access(named("%d", round), "family")
			requireOneWinner(t, race(racers, func(int) error { return s.Issue(t.Context(), one) }), store.ErrConsumed)
		}
	}},
}

// requireSameToken compares instants as instants: a store may return them in another time zone.
func requireSameToken(t *testing.T, want, got store.Token) {
	t.Helper()
	require.True(t, want.IssuedAt.Equal(got.IssuedAt), "issued at %v, not %v", got.IssuedAt, want.IssuedAt)
	require.True(t, want.ExpiresAt.Equal(got.ExpiresAt), "expires at %v, not %v", got.ExpiresAt, want.ExpiresAt)
	got.IssuedAt, got.ExpiresAt = want.IssuedAt, want.ExpiresAt
	require.Equal(t, want, got)
}
