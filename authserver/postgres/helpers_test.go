package postgres

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/authserver/storetest"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// victimDSN makes the test binary write to the store there until it is killed.
const victimDSN = "POSTGRES_TEST_VICTIM_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(victimDSN); dsn != "" {
		s, err := New(dsn)
		if err == nil {
			err = storetest.BeVictim(s)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(testpostgres.Main(m))
}

// patience is how long anything may take that should happen at once, on a busy machine.
const patience = 20 * time.Second

// empty makes a schema that nobody else has, and returns the connection string of it.
func empty(tb testing.TB, server *testpostgres.Server, parameters ...string) string {
	tb.Helper()
	schema := server.Schema()
	exec(tb, server.DSN(), "create schema "+schema)
	return server.DSN(append(parameters, "search_path="+schema)...)
}

// fresh returns the connection string of an empty schema of the shared server.
func fresh(tb testing.TB) string {
	tb.Helper()
	return empty(tb, testpostgres.Shared(tb))
}

func openAt(tb testing.TB, dsn string) *Store {
	tb.Helper()
	s, err := New(dsn)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// connect opens a connection behind the back of the store.
func connect(tb testing.TB, dsn string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), dsn)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close(context.Background()) }) // the server may be gone
	return conn
}

// exec runs SQL behind the back of the store.
func exec(tb testing.TB, dsn, sql string) {
	tb.Helper()
	_, err := connect(tb, dsn).Exec(tb.Context(), sql)
	require.NoError(tb, err)
}

// ask returns the one value that a query returns.
func ask[T any](tb testing.TB, dsn, sql string) (value T) {
	tb.Helper()
	require.NoError(tb, connect(tb, dsn).QueryRow(tb.Context(), sql).Scan(&value))
	return value
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

// race calls f from n goroutines at once and returns what each call returned.
func race(n int, f func(racer int) error) []error {
	errs, done, start := make([]error, n), make(chan struct{}), make(chan struct{})
	for racer := range n {
		go func() {
			<-start
			errs[racer] = f(racer)
			done <- struct{}{}
		}()
	}
	close(start)
	for range n {
		<-done
	}
	return errs
}
