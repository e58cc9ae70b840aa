package filestore

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func pathOf(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "state.db")
}

func openAt(tb testing.TB, path string) *Store {
	tb.Helper()
	s := New(path)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func token(name string) store.Token {
	return store.Token{
		Digest:    introspect.DigestOf(name),
		Kind:      store.Refresh,
		Family:    "family of " + name,
		ClientID:  "client",
		Scope:     []string{"read", "write"},
		IssuedAt:  time.Unix(1_000, 0).UTC(),
		ExpiresAt: time.Unix(5_000, 0).UTC(),
	}
}

func session(name string) store.Session {
	return store.Session{Digest: introspect.DigestOf(name), Subject: "zoë", ExpiresAt: time.Unix(5_000, 0).UTC()}
}

// edit changes the file behind the back of the store that created it.
func edit(t *testing.T, path string, change func(*bolt.Tx) error) {
	t.Helper()
	s := New(path)
	require.NoError(t, s.Issue(t.Context(), token("a")))
	require.NoError(t, s.Close())
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(change))
	require.NoError(t, db.Close())
}

func view(t *testing.T, path string, look func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	require.NoError(t, err)
	require.NoError(t, db.View(look))
	require.NoError(t, db.Close())
}

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}
