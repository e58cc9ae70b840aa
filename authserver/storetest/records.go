package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var recordCases = []testCase{
	{"a record comes back as it was kept, and its versions count up", func(t *testing.T, s store.Store) {
		one := record("client", "wiki", "")
		put(t, s, one)
		one.Version = 1
		requireSameRecord(t, s, one)
		one.Value, one.ExpiresAt = []byte(`{"disabled":true}`), epoch.Add(time.Hour)
		put(t, s, one)
		one.Version = 2
		requireSameRecord(t, s, one)
	}},
	{"a record that never was is not found", func(t *testing.T, s store.Store) {
		_, err := s.Record(t.Context(), "client", "wiki")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"kinds do not mix", func(t *testing.T, s store.Store) {
		put(t, s, record("client", "wiki", ""))
		_, err := s.Record(t.Context(), "user", "wiki")
		require.ErrorIs(t, err, store.ErrNotFound)
		requireRecords(t, s, nil, "user", "", "", 10)
	}},
	{"attack: a record is written over one that changed meanwhile", func(t *testing.T, s store.Store) {
		one := record("user", "alice", "")
		put(t, s, one)
		require.ErrorIs(t, s.PutRecord(t.Context(), one), store.ErrConsumed, "it is there already")
		one.Version = 2
		require.ErrorIs(t, s.PutRecord(t.Context(), one), store.ErrConsumed, "a version that never was")
		one.Version = 1
		require.NoError(t, s.DeleteRecord(t.Context(), one.Kind, one.Name))
		require.ErrorIs(t, s.PutRecord(t.Context(), one), store.ErrConsumed, "it was deleted meanwhile")
	}},
	{"a deleted record is gone, and twice is no mistake", func(t *testing.T, s store.Store) {
		one := record("consent", "1", "zoë")
		put(t, s, one)
		require.NoError(t, s.DeleteRecord(t.Context(), one.Kind, one.Name))
		require.NoError(t, s.DeleteRecord(t.Context(), one.Kind, one.Name))
		_, err := s.Record(t.Context(), one.Kind, one.Name)
		require.ErrorIs(t, err, store.ErrNotFound)
		requireRecords(t, s, nil, "consent", "zoë", "", 10)
		put(t, s, one)
	}},
	{"records are listed by kind and by owner, in the order of their names, page by page", func(t *testing.T, s store.Store) {
		for _, name := range []string{"b", "a", "C", "é"} {
			put(t, s, record("consent", name, "zoë"))
		}
		put(t, s, record("consent", "d", "zo"))
		put(t, s, record("consents", "e", "zoë"))
		requireRecords(t, s, []string{"C", "a", "b", "é"}, "consent", "zoë", "", 10)
		requireRecords(t, s, []string{"C", "a", "b", "d", "é"}, "consent", "", "", 10)
		requireRecords(t, s, []string{"C", "a"}, "consent", "zoë", "", 2)
		requireRecords(t, s, []string{"b", "é"}, "consent", "zoë", "a", 2)
		requireRecords(t, s, []string{"d"}, "consent", "zo", "", 10)
	}},
	{"an expired record is there until it is swept, and one without an end stays", func(t *testing.T, s store.Store) {
		gone, moved, stays := record("client", "gone", "o"), record("client", "moved", "o"), record("client", "stays", "o")
		gone.ExpiresAt, moved.ExpiresAt = epoch.Add(time.Hour), epoch.Add(time.Hour)
		for _, one := range []store.Record{gone, moved, stays} {
			put(t, s, one)
		}
		moved.Version, moved.ExpiresAt = 1, epoch.Add(2*time.Hour)
		put(t, s, moved)
		told := subscribed(t, s)
		requireSwept(t, s, 0, gone.ExpiresAt.Add(-time.Second), 100)
		requireSwept(t, s, 1, gone.ExpiresAt, 100)
		requireRecords(t, s, []string{"moved", "stays"}, "client", "o", "", 10)
		require.Equal(t, []introspect.Digest{store.RecordDigest("client", "gone")}, told())
		requireSwept(t, s, 1, epoch.Add(1000*time.Hour), 100)
		requireRecords(t, s, []string{"stays"}, "client", "o", "", 10)
	}},
	{"a subscriber is told of each change before the call returns", func(t *testing.T, s store.Store) {
		told := subscribed(t, s)
		one := record("user", "alice", "")
		want := []introspect.Digest{store.RecordDigest("user", "alice")}
		put(t, s, one)
		require.Equal(t, want, told())
		one.Version = 1
		put(t, s, one)
		require.Equal(t, want, told())
		require.ErrorIs(t, s.PutRecord(t.Context(), one), store.ErrConsumed)
		require.Empty(t, told(), "nothing has changed")
		require.NoError(t, s.DeleteRecord(t.Context(), one.Kind, one.Name))
		require.Equal(t, want, told())
		require.NoError(t, s.DeleteRecord(t.Context(), one.Kind, one.Name))
		require.Empty(t, told(), "nothing has changed")
	}},
	{"race: one of those who replace the same version wins", func(t *testing.T, s store.Store) {
		for round := range rounds {
			one := record("user", named("user %d", round), "")
			requireOneWinner(t, race(racers, func(int) error { return s.PutRecord(t.Context(), one) }), store.ErrConsumed)
			one.Version = 1
			requireOneWinner(t, race(racers, func(int) error { return s.PutRecord(t.Context(), one) }), store.ErrConsumed)
		}
	}},
}

func record(kind, name, owner string) store.Record {
	return store.Record{Kind: kind, Name: name, Owner: owner, Value: []byte(`{"name":"` + name + `"}`)}
}

func put(t *testing.T, s store.Store, one store.Record) {
	t.Helper()
	require.NoError(t, s.PutRecord(t.Context(), one))
}

func requireSameRecord(t *testing.T, s store.Store, want store.Record) {
	t.Helper()
	got, err := s.Record(t.Context(), want.Kind, want.Name)
	require.NoError(t, err)
	require.True(t, want.ExpiresAt.Equal(got.ExpiresAt), "expires at %v, not %v", got.ExpiresAt, want.ExpiresAt)
	got.ExpiresAt = want.ExpiresAt
	require.Equal(t, want, got)
}

func requireRecords(t *testing.T, s store.Store, want []string, kind, owner, after string, limit int) {
	t.Helper()
	found, err := s.Records(t.Context(), kind, owner, after, limit)
	require.NoError(t, err)
	var names []string
	for _, one := range found {
		names = append(names, one.Name)
	}
	require.Equal(t, want, names)
}
