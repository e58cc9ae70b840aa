package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var sweepCases = []testCase{
	{"an empty store has nothing to sweep", func(t *testing.T, s store.Store) {
		requireSwept(t, s, 0, epoch, 10)
	}},
	{"only that goes whose time is up", func(t *testing.T, s store.Store) {
		for name, after := range map[string]time.Duration{
			"long over": -1000 * time.Hour, "just over": -time.Second, "now": 0, "soon": time.Second, "later": 1000 * time.Hour,
		} {
			one := access(name, "family")
			one.ExpiresAt = epoch.Add(after)
			issue(t, s, one)
			require.NoError(t, s.PutOnce(t.Context(), name, one.ExpiresAt))
		}
		requireSwept(t, s, 6, epoch, 100)
		requireUnknown(t, s, access("long over", ""), access("just over", ""), access("now", ""))
		for _, name := range []string{"soon", "later"} {
			require.True(t, active(t, s, introspect.DigestOf(name)))
			require.ErrorIs(t, s.PutOnce(t.Context(), name, epoch), store.ErrConsumed)
		}
		requireSwept(t, s, 0, epoch, 100)
	}},
	{"a sweep ends at its limit, and the next one goes on", func(t *testing.T, s store.Store) {
		const all, limit = 25, 10
		for i := range all {
			issue(t, s, access(named("%d", i), "family"))
		}
		later := epoch.Add(2 * time.Hour)
		requireSwept(t, s, 0, later, 0)
		requireSwept(t, s, 0, later, -1)
		for left := all; left > 0; {
			left -= requireSwept(t, s, min(limit, left), later, limit)
			found := 0
			for i := range all {
				if active(t, s, introspect.DigestOf(named("%d", i))) {
					found++
				}
			}
			require.Equal(t, left, found)
		}
		requireSwept(t, s, 0, later, limit)
	}},
	{"a sweep without a limit takes everything", func(t *testing.T, s store.Store) {
		const all = 700
		tokens := make([]store.Token, all)
		for i := range tokens {
			tokens[i] = access(named("%d", i), named("family %d", i%7))
		}
		issue(t, s, tokens...)
		requireSwept(t, s, all, epoch.Add(2*time.Hour), math.MaxInt)
		requireUnknown(t, s, tokens...)
	}},
	{"a revoked or a rotated token is remembered until it expires", func(t *testing.T, s store.Store) {
		revoked, rotated := access("revoked", "family"), refresh("rotated", "family")
		issue(t, s, revoked, rotated)
		require.NoError(t, s.Revoke(t.Context(), revoked.Digest))
		require.NoError(t, s.Rotate(t.Context(), rotated.Digest))
		requireSwept(t, s, 0, epoch.Add(time.Hour-time.Second), 100)
		require.True(t, find(t, s, revoked.Digest).Revoked)
		require.True(t, find(t, s, rotated.Digest).Rotated)
		requireSwept(t, s, 2, epoch.Add(time.Hour), 100)
		requireUnknown(t, s, revoked, rotated)
	}},
	{"nothing can be done to a swept token", func(t *testing.T, s store.Store) {
		one := refresh("a", "family")
		issue(t, s, one)
		requireSwept(t, s, 1, one.ExpiresAt, 100)
		require.ErrorIs(t, s.Revoke(t.Context(), one.Digest), store.ErrNotFound)
		require.ErrorIs(t, s.Rotate(t.Context(), one.Digest), store.ErrNotFound)
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		issue(t, s, one)
		require.True(t, active(t, s, one.Digest))
	}},
	{"what is left of a family that was swept in part can be revoked", func(t *testing.T, s store.Store) {
		short, long := access("short", "family"), refresh("long", "family")
		long.ExpiresAt = epoch.Add(24 * time.Hour)
		issue(t, s, short, long)
		requireSwept(t, s, 1, short.ExpiresAt, 100)
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		require.True(t, find(t, s, long.Digest).Revoked)
		requireSwept(t, s, 1, long.ExpiresAt, 100)
	}},
	{"a code that nobody redeemed goes when it expires", func(t *testing.T, s store.Store) {
		one := code("code", "family")
		putCode(t, s, one)
		requireSwept(t, s, 0, one.ExpiresAt.Add(-time.Second), 100)
		requireSwept(t, s, 1, one.KeepUntil, 100)
		require.ErrorIs(t, s.Redeem(t.Context(), one.Digest), store.ErrNotFound)
	}},
	{"attack: a code is replayed after it expired and the store was swept", func(t *testing.T, s store.Store) {
		one := code("code", "family")
		putCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest))
		requireSwept(t, s, 0, one.KeepUntil.Add(-time.Second), 100)
		require.ErrorIs(t, s.Redeem(t.Context(), one.Digest), store.ErrConsumed)
		requireSwept(t, s, 1, one.KeepUntil, 100)
		_, err := s.Code(t.Context(), one.Digest)
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"attack: an assertion is replayed while it is valid and the store is swept", func(t *testing.T, s store.Store) {
		require.NoError(t, s.PutOnce(t.Context(), "jti", epoch))
		requireSwept(t, s, 0, epoch.Add(-time.Second), 100)
		require.ErrorIs(t, s.PutOnce(t.Context(), "jti", epoch), store.ErrConsumed)
		requireSwept(t, s, 1, epoch, 100)
		require.NoError(t, s.PutOnce(t.Context(), "jti", epoch))
	}},
	{"race: sweeps together remove each record once", func(t *testing.T, s store.Store) {
		const all = 200
		tokens := make([]store.Token, all)
		for i := range tokens {
			tokens[i] = access(named("%d", i), "family")
		}
		issue(t, s, tokens...)
		removed := make([]int, racers)
		for _, err := range race(racers, func(racer int) (err error) {
			removed[racer], err = s.Sweep(t.Context(), epoch.Add(time.Hour), all/2)
			return err
		}) {
			require.NoError(t, err)
		}
		total := 0
		for _, n := range removed {
			total += n
		}
		total += requireSwept(t, s, all-total, epoch.Add(time.Hour), all)
		require.Equal(t, all, total)
		requireUnknown(t, s, tokens...)
	}},
}

func requireSwept(t *testing.T, s store.Store, want int, now time.Time, limit int) int {
	t.Helper()
	removed, err := s.Sweep(t.Context(), now, limit)
	require.NoError(t, err)
	require.Equal(t, want, removed)
	return removed
}
