package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var codeCases = []testCase{
	{"a record comes back as it was kept", func(t *testing.T, s store.Store) {
		full, bare := code("full", "family"), code("bare", "family")
		bare.Request = nil
		for _, want := range []store.Code{full, bare} {
			putCode(t, s, want)
			requireSameCode(t, s, want)
		}
	}},
	{"a code that was never issued is not found", func(t *testing.T, s store.Store) {
		_, err := s.Code(t.Context(), introspect.DigestOf("code"))
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"a redeemed code is kept as such, and its tokens are issued", func(t *testing.T, s store.Store) {
		one, a, r := code("code", "family"), access("a", "family"), refresh("r", "family")
		putCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest, a, r))
		one.Redeemed = true
		requireSameCode(t, s, one)
		requireSameToken(t, a, find(t, s, a.Digest))
		requireSameToken(t, r, find(t, s, r.Digest))
	}},
	{"the mark is the store's own", func(t *testing.T, s store.Store) {
		one := code("code", "family")
		one.Redeemed = true
		putCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest))
	}},
	{"an expired code is still redeemed: the store reads no clock", func(t *testing.T, s store.Store) {
		one := code("code", "family")
		one.ExpiresAt, one.KeepUntil = time.Unix(1, 0), time.Unix(2, 0)
		putCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest))
	}},
	{"attack: a code is made up", func(t *testing.T, s store.Store) {
		a := access("a", "family")
		require.ErrorIs(t, s.Redeem(t.Context(), introspect.DigestOf("code"), a), store.ErrNotFound)
		requireUnknown(t, s, a)
	}},
	{"attack: a code is replayed", func(t *testing.T, s store.Store) {
		one, a, b := code("code", "family"), access("a", "family"), access("b", "family")
		putCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest, a))
		for range 3 {
			require.ErrorIs(t, s.Redeem(t.Context(), one.Digest, b), store.ErrConsumed)
		}
		requireUnknown(t, s, b)
		require.True(t, active(t, s, a.Digest))
	}},
	{"attack: a redeemed code is put again to be redeemed again", func(t *testing.T, s store.Store) {
		one := code("code", "family")
		putCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest))
		require.ErrorIs(t, s.PutCode(t.Context(), one), store.ErrConsumed)
		require.ErrorIs(t, s.Redeem(t.Context(), one.Digest), store.ErrConsumed)
	}},
	{"a token that is known already leaves the code as it was", func(t *testing.T, s store.Store) {
		one, a, taken := code("code", "family"), access("a", "family"), access("taken", "other")
		issue(t, s, taken)
		putCode(t, s, one)
		require.ErrorIs(t, s.Redeem(t.Context(), one.Digest, a, taken), store.ErrConsumed)
		requireUnknown(t, s, a)
		requireSameCode(t, s, one)
		require.NoError(t, s.Redeem(t.Context(), one.Digest, a))
	}},
	{"race: one of those who redeem the same code wins, and only its tokens are kept", func(t *testing.T, s store.Store) {
		for round := range rounds {
			one := code(named("code %d", round), named("family %d", round))
			putCode(t, s, one)
			tokens := make([]store.Token, racers)
			for racer := range racers {
				tokens[racer] = access(named("%d.%d", round, racer), one.Family)
			}
			winner := requireOneWinner(t, race(racers, func(racer int) error {
				return s.Redeem(t.Context(), one.Digest, tokens[racer])
			}), store.ErrConsumed)
			require.True(t, active(t, s, tokens[winner].Digest))
			requireUnknown(t, s, tokens[:winner]...)
			requireUnknown(t, s, tokens[winner+1:]...)
		}
	}},
}

var onceCases = []testCase{
	{"attack: an assertion is replayed", func(t *testing.T, s store.Store) {
		until := epoch.Add(time.Minute)
		require.NoError(t, s.PutOnce(t.Context(), "jti", until))
		require.ErrorIs(t, s.PutOnce(t.Context(), "jti", until), store.ErrConsumed)
		require.ErrorIs(t, s.PutOnce(t.Context(), "jti", until.Add(time.Hour)), store.ErrConsumed)
		require.NoError(t, s.PutOnce(t.Context(), "other jti", until))
	}},
	{"any value will do", func(t *testing.T, s store.Store) {
		for _, value := range []string{"", " ", "\x00", "\xff", "Zoë", "jti", "JTI", "jti ", string(make([]byte, 1<<16))} {
			require.NoError(t, s.PutOnce(t.Context(), value, epoch))
			require.ErrorIs(t, s.PutOnce(t.Context(), value, epoch), store.ErrConsumed)
		}
	}},
	{"race: one of those who use the same value wins", func(t *testing.T, s store.Store) {
		for round := range rounds {
			requireOneWinner(t, race(racers, func(int) error {
				return s.PutOnce(t.Context(), named("jti %d", round), epoch)
			}), store.ErrConsumed)
		}
	}},
}

func requireSameCode(t *testing.T, s store.Store, want store.Code) {
	t.Helper()
	got, err := s.Code(t.Context(), want.Digest)
	require.NoError(t, err)
	require.True(t, want.ExpiresAt.Equal(got.ExpiresAt), "expires at %v, not %v", got.ExpiresAt, want.ExpiresAt)
	require.True(t, want.KeepUntil.Equal(got.KeepUntil), "kept until %v, not %v", got.KeepUntil, want.KeepUntil)
	got.ExpiresAt, got.KeepUntil = want.ExpiresAt, want.KeepUntil
	require.Equal(t, want, got)
}
