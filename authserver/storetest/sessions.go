package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var sessionCases = []testCase{
	{"a record comes back as it was kept", func(t *testing.T, s store.Store) {
		full, bare := session("full"), session("bare")
		bare.State = nil
		for _, want := range []store.Session{full, bare} {
			require.NoError(t, s.PutSession(t.Context(), want))
			requireSameSession(t, s, want)
		}
	}},
	{"a session that never was is not found", func(t *testing.T, s store.Store) {
		_, err := s.Session(t.Context(), introspect.DigestOf("session"))
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"an expired session is there until it is swept: the store reads no clock", func(t *testing.T, s store.Store) {
		one, long := session("session"), session("long")
		long.ExpiresAt = one.ExpiresAt.Add(time.Hour)
		require.NoError(t, s.PutSession(t.Context(), one))
		require.NoError(t, s.PutSession(t.Context(), long))
		requireSwept(t, s, 0, one.ExpiresAt.Add(-time.Second), 100)
		requireSameSession(t, s, one)
		requireSwept(t, s, 1, one.ExpiresAt, 100)
		requireNoSession(t, s, one)
		requireSameSession(t, s, long)
	}},
	{"a session ends, and the others stay", func(t *testing.T, s store.Store) {
		one, other := session("session"), session("other")
		require.NoError(t, s.PutSession(t.Context(), one))
		require.NoError(t, s.PutSession(t.Context(), other))
		require.NoError(t, s.EndSession(t.Context(), one.Digest))
		requireNoSession(t, s, one)
		requireSameSession(t, s, other)
		require.NoError(t, s.EndSession(t.Context(), one.Digest), "twice is no mistake")
		requireSwept(t, s, 1, one.ExpiresAt, 100)
	}},
	{"attack: a session is put in the place of another", func(t *testing.T, s store.Store) {
		one, forged := session("session"), session("session")
		forged.Subject = "admin"
		require.NoError(t, s.PutSession(t.Context(), one))
		require.ErrorIs(t, s.PutSession(t.Context(), forged), store.ErrConsumed)
		requireSameSession(t, s, one)
	}},
	{"race: one of those who put the same session wins", func(t *testing.T, s store.Store) {
		for round := range rounds {
			requireOneWinner(t, race(racers, func(int) error {
				return s.PutSession(t.Context(), session(named("session %d", round)))
			}), store.ErrConsumed)
		}
	}},
}

func session(name string) store.Session {
	return store.Session{
		Digest:    introspect.DigestOf(name),
		Subject:   "zoë",
		ExpiresAt: epoch.Add(time.Hour),
		State:     []byte(`{"auth_time":1}`),
	}
}

func requireNoSession(t *testing.T, s store.Store, one store.Session) {
	t.Helper()
	_, err := s.Session(t.Context(), one.Digest)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func requireSameSession(t *testing.T, s store.Store, want store.Session) {
	t.Helper()
	got, err := s.Session(t.Context(), want.Digest)
	require.NoError(t, err)
	require.True(t, want.ExpiresAt.Equal(got.ExpiresAt), "expires at %v, not %v", got.ExpiresAt, want.ExpiresAt)
	got.ExpiresAt = want.ExpiresAt
	require.Equal(t, want, got)
}
