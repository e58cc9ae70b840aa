package postgres

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestNewDoesNotConnect(t *testing.T) {
	dsn := fresh(t)
	s := openAt(t, dsn)
	require.NoError(t, s.Close())
	require.False(t, ask[bool](t, dsn, "select to_regclass('portcullis_tokens') is not null"))

	s = openAt(t, dsn)
	_, err := s.Token(t.Context(), token("a").Digest)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Equal(t, len(migrations), ask[int](t, dsn, "select version from portcullis_schema"))
}

func TestProcessesThatStartTogetherMakeOneSchema(t *testing.T) {
	dsn := fresh(t)
	stores := make([]*Store, 6)
	for i := range stores {
		stores[i] = openAt(t, dsn+"&pool_max_conns=2")
	}
	for _, err := range race(len(stores), func(racer int) error {
		return stores[racer].Issue(t.Context(), token(fmt.Sprint(racer)))
	}) {
		require.NoError(t, err)
	}
	require.Equal(t, []int32{int32(len(migrations))}, ask[[]int32](t, dsn, "select array_agg(version) from portcullis_schema"))
}

func TestRefusedDatabases(t *testing.T) {
	server := testpostgres.Shared(t)
	used := func(t *testing.T, change string) string {
		dsn := fresh(t)
		s := openAt(t, dsn)
		require.NoError(t, s.Issue(t.Context(), token("a")))
		require.NoError(t, s.Close())
		exec(t, dsn, change)
		return dsn
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T) string
		want    string
	}{
		"written by a newer version": {func(t *testing.T) string {
			return used(t, "update portcullis_schema set version = version + 1")
		}, fmt.Sprintf("schema version %d and this program knows %d", len(migrations)+1, len(migrations))},
		"a version that is none": {func(t *testing.T) string {
			return used(t, "update portcullis_schema set version = -1")
		}, "another program"},
		"no version": {func(t *testing.T) string {
			return used(t, "delete from portcullis_schema")
		}, "another program"},
		"a user who may create nothing": {func(t *testing.T) string {
			schema := server.Schema()
			exec(t, server.DSN(), "create schema "+schema+"; create role "+schema+" login password '"+testpostgres.Password+"'; "+
				"grant usage on schema "+schema+" to "+schema)
			return server.DSN("user="+schema, "search_path="+schema)
		}, "allowed to create"},
		"no such schema": {func(*testing.T) string {
			return server.DSN("search_path=nosuch")
		}, "no schema"},
		"no such database": {func(*testing.T) string {
			return server.DSN("dbname=nosuch")
		}, "does not exist"},
		"a wrong password": {func(*testing.T) string {
			return server.DSN("password=canary-wrong")
		}, "password authentication failed"},
		"nobody there": {func(t *testing.T) string {
			return server.DSN("host=" + t.TempDir())
		}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := c.prepare(t)
			err := openAt(t, dsn).Issue(t.Context(), token("b"))
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "canary", "a password")
			require.NotContains(t, err.Error(), dsn)
		})
	}
}

func TestASchemaOfVersionTwoLearnsWhoseTokensItHas(t *testing.T) {
	dsn, ctx := fresh(t), t.Context()
	exec(t, dsn, migrations[0]+migrations[1]+"update portcullis_schema set version = 2")
	conn := connect(t, dsn)
	// The rows of that version: what is known of whose they are stands in their documents alone.
	names := []string{"zoë", `a"b\c<d>&e`, "line\u2028end", "app"}
	for i, name := range names {
		for _, subject := range []string{name, ""} {
			issued := token(fmt.Sprint(i, subject))
			issued.Subject, issued.ClientID = subject, "client of "+name
			document, err := json.Marshal(issued)
			require.NoError(t, err)
			family := introspect.DigestOf(issued.Family)
			_, err = conn.Exec(ctx, "insert into portcullis_tokens (digest, family, kind, due, record) values ($1, $2, $3, $4, $5)",
				issued.Digest[:], family[:], string(issued.Kind), issued.ExpiresAt, document)
			require.NoError(t, err)
		}
		session := store.Session{Digest: introspect.DigestOf("browser of " + name), Subject: name, ExpiresAt: time.Unix(5_000, 0).UTC()}
		document, err := json.Marshal(session)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "insert into portcullis_sessions (digest, due, record) values ($1, $2, $3)",
			session.Digest[:], session.ExpiresAt, document)
		require.NoError(t, err)
	}

	s := openAt(t, dsn)
	for _, name := range names {
		found, err := s.Tokens(ctx, store.Holder{Subject: name}, introspect.Digest{}, 10)
		require.NoError(t, err)
		require.Len(t, found, 1, name)
		found, err = s.Tokens(ctx, store.Holder{ClientID: "client of " + name}, introspect.Digest{}, 10)
		require.NoError(t, err)
		require.Len(t, found, 2, name)
		sessions, err := s.Sessions(ctx, name, introspect.Digest{}, 10)
		require.NoError(t, err)
		require.Len(t, sessions, 1, name)
	}
	require.NoError(t, s.RevokeAll(ctx, store.Holder{Subject: "zoë"}))
	for subject, revoked := range map[string]bool{"zoë": true, "": false} {
		found, err := s.Token(ctx, introspect.DigestOf(fmt.Sprint(0, subject)))
		require.NoError(t, err)
		require.Equal(t, revoked, found.Revoked)
	}
	require.NoError(t, s.PutRecord(ctx, store.Record{Kind: "kind", Name: "name", Value: []byte("{}")}))
	require.Equal(t, len(migrations), ask[int](t, dsn, "select version from portcullis_schema"))
}

// A failure answers for a second, so that a flood of requests is no flood on a database that is coming back.
func TestAFailureIsNotTriedAgainAtOnce(t *testing.T) {
	server := testpostgres.Shared(t)
	schema := server.Schema()
	s := openAt(t, server.DSN("search_path="+schema))
	first := s.Issue(t.Context(), token("a"))
	require.ErrorIs(t, first, store.ErrUnavailable)
	exec(t, server.DSN(), "create schema "+schema)
	require.EqualError(t, s.Issue(t.Context(), token("a")), first.Error())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.NoError(c, s.Issue(t.Context(), token("a")))
	}, patience, 20*time.Millisecond)
}

// A database that is locked against changes of its schema must hold up neither whoever gives up nor Close.
func TestClosingEndsTheAttemptToOpen(t *testing.T) {
	dsn := empty(t, testpostgres.Shared(t), "application_name=opening")
	holder := connect(t, dsn)
	_, err := holder.Exec(t.Context(), "select pg_advisory_lock($1)", int64(migrationLock))
	require.NoError(t, err)
	s := openAt(t, dsn)
	answer := make(chan error)
	go func() { answer <- s.Issue(t.Context(), token("a")) }()
	require.Eventually(t, func() bool { return backends(t, dsn, "opening", "wait_event = 'advisory'") == 1 }, patience, 5*time.Millisecond)
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), statementTimeout)
	require.ErrorIs(t, <-answer, store.ErrUnavailable)
	_, err = holder.Exec(t.Context(), "select pg_advisory_unlock($1)", int64(migrationLock))
	require.NoError(t, err)
}

// Neither the server nor the connection string can make a session forget what was acknowledged, or wait without end.
func TestSessions(t *testing.T) {
	t.Parallel()
	server := testpostgres.Start(t, "synchronous_commit=off", "default_transaction_isolation=serializable", "fsync=off")
	s := openAt(t, server.DSN("options=-c%20statement_timeout%3D0"))
	require.NoError(t, s.Issue(t.Context(), token("a")))
	for setting, want := range map[string]string{
		"synchronous_commit":                  "on",
		"default_transaction_isolation":       "read committed",
		"statement_timeout":                   "5s",
		"idle_in_transaction_session_timeout": "5s",
		"application_name":                    "portcullis",
	} {
		t.Run(setting, func(t *testing.T) { require.Equal(t, want, show(t, s, setting)) })
	}
	t.Run("a stricter synchronous_commit is the operator's", func(t *testing.T) {
		exec(t, server.DSN(), "alter role postgres set synchronous_commit = remote_apply")
		require.Equal(t, "remote_apply", show(t, openAt(t, server.DSN()), "synchronous_commit"))
	})
}

func show(t *testing.T, s *Store, setting string) (value string) {
	t.Helper()
	conn, err := s.acquire(t.Context())
	require.NoError(t, err)
	defer s.calls.Done()
	defer conn.Release()
	require.NoError(t, conn.QueryRow(t.Context(), "select current_setting($1)", setting).Scan(&value))
	return value
}

func TestConnectionStrings(t *testing.T) {
	t.Setenv("PGPASSFILE", filepath.Join(t.TempDir(), "none"))
	t.Run("refused, and not repeated", func(t *testing.T) {
		for _, dsn := range []string{
			"canary", "postgres://canary:canary@host:canary/db", "postgres://user:canary%zz@host/db", "mysql://canary@host/db",
			"host=h password='canary", "postgres://user:can/ary@host:1x/db", "postgres://h/db?sslmode=canary",
			"postgres://h/db?pool_max_conns=canary", "postgres://h/db?pool_max_conns=0&password=canary",
			"postgres://u:canary@h/db?sslmode=verify-full&sslrootcert=/nonexistent/canary.pem",
		} {
			_, err := New(dsn)
			require.Error(t, err, dsn)
			require.NotContains(t, err.Error(), "canary")
		}
	})
	t.Run("a place", func(t *testing.T) {
		for dsn, want := range map[string]string{
			"postgres://u:canary@db.example.com:5433/as?sslmode=disable":  "postgres u@db.example.com:5433/as",
			"host=db user=u password=canary dbname=as sslmode=disable":    "postgres u@db:5432/as",
			"postgres://u:canary@a:1,b:2/as?sslmode=prefer":               "postgres u@a:1,b:2/as",
			"postgres://u@/as?host=/run/pg&search_path=one,two":           "postgres u@/run/pg:5432/as search_path=one,two",
			"postgres://u@/as?host=/run/pg&options=-csearch_path%3Dthree": "postgres u@/run/pg:5432/as options=-csearch_path=three",
		} {
			require.Equal(t, want, openAt(t, dsn).Place())
		}
	})
	t.Run("limits", func(t *testing.T) {
		config, err := parse("postgres://u@h/as")
		require.NoError(t, err)
		require.EqualValues(t, maxConnections, config.MaxConns)
		require.Equal(t, connectTimeout, config.ConnConfig.ConnectTimeout)
		config, err = parse("postgres://u@h/as?pool_max_conns=3&connect_timeout=2&application_name=x")
		require.NoError(t, err)
		require.EqualValues(t, 3, config.MaxConns)
		require.Equal(t, 2*time.Second, config.ConnConfig.ConnectTimeout)
		require.Equal(t, "x", config.ConnConfig.RuntimeParams["application_name"])
	})
	t.Run("attack: somebody on the way reads along, or says that he is the database", func(t *testing.T) {
		for dsn, safe := range map[string]bool{
			"postgres://u@h/as":                                           false,
			"postgres://u@h/as?sslmode=disable":                           false,
			"postgres://u@h/as?sslmode=require":                           false,
			"postgres://u@h/as?sslmode=verify-full":                       true,
			"postgres://u@127.0.0.1,h/as?sslmode=disable":                 false,
			"postgres://u@127.0.0.1,[::1],localhost/as?sslmode=disable":   true,
			"postgres://u@/as?host=/run/postgresql&sslmode=disable":       true,
			"host=/run/postgresql,h user=u dbname=as sslmode=verify-full": true,
			"host=/run/postgresql,h user=u dbname=as sslmode=require":     false,
			"host=127.0.0.1,127.0.0.2 user=u dbname=as sslmode=disable":   true,
			"host=127.0.0.1,128.0.0.1 user=u dbname=as sslmode=disable":   false,
			"postgres://u@localhost.example.com:5432/as?sslmode=disable":  false,
		} {
			config, err := pgxpool.ParseConfig(dsn)
			require.NoError(t, err)
			require.Equal(t, safe, allSafe(config.ConnConfig), dsn)
		}
	})
}

func allSafe(config *pgx.ConnConfig) bool {
	for _, one := range servers(config) {
		if !one.safe {
			return false
		}
	}
	return true
}
