package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
)

// postgresIssuer is a gateway whose authorization server keeps its state in PostgreSQL.
type postgresIssuer struct {
	*issuer
	dsn string
}

func newPostgresIssuer(t *testing.T, server *testpostgres.Server) *postgresIssuer {
	t.Helper()
	s := &postgresIssuer{issuer: newIssuer(t), dsn: server.DSN()}
	s.Guard(testpostgres.Password, s.dsn)
	return s
}

func (s *postgresIssuer) config(app *testgateway.Backend, lines ...string) string {
	return strings.Replace(s.caddyfile(s.option(lines...), s.site(app)), "store file "+s.store, "store postgres {env.DSN}", 1)
}

func (s *postgresIssuer) start(t *testing.T, app *testgateway.Backend) {
	t.Helper()
	s.Start(t, s.config(app), "DSN="+s.dsn)
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	server, app := testpostgres.Start(t, "fsync=off"), testgateway.StartBackend(t)
	first, second := newPostgresIssuer(t, server), newPostgresIssuer(t, server)
	first.Guard(shopSecret)
	second.Guard(shopSecret)
	server.Stop(t)

	t.Run("validating and starting connect to nobody", func(t *testing.T) {
		first.Write(t, first.config(app))
		command := first.Command(t, "validate", "--config", first.File, "--adapter", "caddyfile")
		command.Env = append(command.Env, "DSN="+first.dsn)
		said, err := command.CombinedOutput()
		require.NoError(t, err, string(said))
		assert.NotContains(t, string(said), testpostgres.Password)
		first.start(t, app)
	})
	grant := map[string][]string{"grant_type": {"client_credentials"}}
	t.Run("a database that is down", func(t *testing.T) {
		got := first.post(t, "/oauth2/token", demoID, demoSecret, grant)
		assert.Equal(t, http.StatusServiceUnavailable, got.Status)
		assert.NotEmpty(t, got.Header.Get("Retry-After"))
		got = first.get(t, "/down", "pat_unknown")
		assert.Equal(t, http.StatusServiceUnavailable, got.Status, "B15 the token may be good")
		assert.Equal(t, challengeNone, got.Challenge(t))
	})
	server.Run(t)
	require.Eventually(t, func() bool {
		return first.post(t, "/oauth2/token", demoID, demoSecret, grant).Status == http.StatusOK
	}, patience, tick)
	token, revoked := first.token(t, ""), first.token(t, "")

	t.Run("tokens and revocations survive restarts, crashes and reloads", func(t *testing.T) {
		require.Equal(t, http.StatusOK, first.get(t, "/1", revoked).Status)
		first.revoke(t, revoked)
		require.Equal(t, http.StatusUnauthorized, first.get(t, "/1", revoked).Status, "although it was remembered")
		check := func(after string) {
			assert.Equal(t, http.StatusOK, first.get(t, "/1", token).Status, after)
			assert.Equal(t, http.StatusUnauthorized, first.get(t, "/1", revoked).Status, after)
		}
		first.reload(t, first.config(app, "access_token_ttl 1h"))
		check("a reload")
		first.Stop(t)
		first.start(t, app)
		check("a restart")
		late := first.token(t, "")
		first.revoke(t, late)
		first.Kill(t)
		first.start(t, app)
		check("a crash")
		assert.Equal(t, http.StatusUnauthorized, first.get(t, "/1", late).Status)
	})
	t.Run("another gateway knows the tokens, and hears of revocations", func(t *testing.T) {
		second.start(t, app)
		shared := first.token(t, "")
		require.Equal(t, http.StatusOK, second.get(t, "/2", shared).Status)
		require.Equal(t, http.StatusOK, second.get(t, "/2", shared).Status, "it is remembered")
		first.revoke(t, shared)
		assert.Equal(t, http.StatusUnauthorized, first.get(t, "/2", shared).Status)
		require.Eventually(t, func() bool { return second.get(t, "/2", shared).Status == http.StatusUnauthorized }, patience, tick)
	})
	t.Run("AS-K09 race: two gateways need the first signing key, and one makes it", func(t *testing.T) {
		var kids [2]string
		var running sync.WaitGroup
		for i, s := range []*postgresIssuer{first, second} {
			request := testgateway.Request(t, http.MethodGet, s.url("/oauth2/jwks"), "")
			running.Go(func() {
				got, err := testgateway.Try(request)
				var set jose.JSONWebKeySet
				if assert.NoError(t, err) && assert.NoError(t, json.Unmarshal([]byte(got.Body), &set)) && assert.Len(t, set.Keys, 1) {
					kids[i] = set.Keys[0].KeyID
				}
			})
		}
		running.Wait()
		assert.Equal(t, kids[0], kids[1])
		first.Kill(t)
		first.start(t, app)
		assert.Equal(t, kids[1], first.keys(t).Keys[0].KeyID, "and it survives a crash")
	})
	t.Run("AS_F08 a client that is added or disabled at one gateway is so at the other", func(t *testing.T) {
		first.managed(t, shopSecret, "client", "add", "both", "--secret-stdin", "--grant", "client_credentials", "--scope", "orders:read")
		ask := func(s *postgresIssuer) *testgateway.Reply {
			return s.post(t, "/oauth2/token", "both", shopSecret, grant)
		}
		held := first.tokenIn(t, ask(second))
		require.Equal(t, http.StatusOK, second.get(t, "/5", held).Status)
		first.managed(t, "", "client", "disable", "both")
		require.Eventually(t, func() bool { return second.get(t, "/5", held).Status == http.StatusUnauthorized }, patience, tick)
		require.Eventually(t, func() bool { return ask(second).Status == http.StatusUnauthorized }, patience, tick)
		second.managed(t, "", "client", "enable", "both")
		require.Eventually(t, func() bool { return ask(first).Status == http.StatusOK }, patience, tick)
		assert.Contains(t, second.refused(t, "user", "delete", "both"), "there is no user")
	})
	t.Run("a revocation that nobody tells of is found when the answer is confirmed", func(t *testing.T) {
		confirming := "introspect scope orders:read {\nembedded\ncache {\nrevalidate 1s\n}\n}\n"
		first.reload(t, strings.Replace(first.config(app), "introspect scope orders:read\n", confirming, 1))
		silent := first.token(t, "")
		require.Equal(t, http.StatusOK, first.get(t, "/4", silent).Status)
		server.SQL(t, "update portcullis_tokens set revoked_at = now() where digest = sha256('"+silent+"')")
		require.Eventually(t, func() bool { return first.get(t, "/4", silent).Status == http.StatusUnauthorized }, patience, tick)
		first.reload(t, first.config(app))
	})
	t.Run("remembered tokens outlive a database that is gone, and new ones wait for it", func(t *testing.T) {
		require.Equal(t, http.StatusOK, first.get(t, "/3", token).Status)
		server.Crash(t)
		assert.Equal(t, http.StatusOK, first.get(t, "/3", token).Status)
		assert.Equal(t, http.StatusServiceUnavailable, first.post(t, "/oauth2/token", demoID, demoSecret, grant).Status)
		server.Run(t)
		require.Eventually(t, func() bool {
			return first.post(t, "/oauth2/token", demoID, demoSecret, grant).Status == http.StatusOK
		}, patience, tick)
	})
}

func TestPostgresWithALiteralPassword(t *testing.T) {
	t.Parallel()
	s := newIssuer(t)
	adapt := func(dsn string) string {
		s.Write(t, strings.Replace(s.caddyfile(s.option(), "authorization_server\n"), "store file "+s.store, "store postgres "+dsn, 1))
		command := s.Command(t, "adapt", "--config", s.File, "--adapter", "caddyfile")
		var said strings.Builder
		command.Stderr = &said
		require.NoError(t, command.Run(), said.String())
		return said.String()
	}
	warned := adapt("postgres://u:literal-pg-4xKe@db.example.com/as")
	assert.Contains(t, warned, "Caddy shows a literal secret")
	assert.NotContains(t, warned, "literal-pg-4xKe")
	assert.NotContains(t, adapt("postgres://u:{env.PASSWORD}@db.example.com/as"), "literal secret")
}
