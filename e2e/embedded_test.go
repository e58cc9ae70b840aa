package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	config := func(lines ...string) string { return s.caddyfile(s.option(lines...), s.site(app)) }
	s.Start(t, config())
	token := s.token(t, "orders:read orders:write")

	t.Run("a token is good, and names its client alone", func(t *testing.T) {
		require.Equal(t, http.StatusOK, s.get(t, "/1", token).Status)
		assert.Equal(t, map[string][]string{"Remote-Client": {demoID}, "Remote-Scope": {"orders:read orders:write"}},
			identityIn(app.One(t, "/1").Header))
	})
	t.Run("a token with too small a scope", func(t *testing.T) {
		assert.Equal(t, http.StatusForbidden, s.get(t, "/2", s.token(t, "orders:write")).Status)
	})
	t.Run("a token that it did not issue", func(t *testing.T) {
		for _, token := range []string{"pat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "someone-elses-token", token[:len(token)-1]} {
			assert.Equal(t, http.StatusUnauthorized, s.get(t, "/3", token).Status)
		}
	})
	t.Run("a revoked token, although it is remembered", func(t *testing.T) {
		revoked := s.token(t, "")
		require.Equal(t, http.StatusOK, s.get(t, "/4", revoked).Status)
		s.revoke(t, revoked)
		got := s.get(t, "/4", revoked)
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, challengeInvalidToken, got.Challenge(t))
		s.revoke(t, revoked) // twice is no mistake
		assert.Equal(t, http.StatusOK, s.get(t, "/1", token).Status, "the others stay good")
	})
	t.Run("a token cannot be revoked by another client", func(t *testing.T) {
		got := s.post(t, "/oauth2/revoke", observerID, demoSecret, url.Values{"token": {token}})
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, http.StatusOK, s.get(t, "/1", token).Status)
	})
	t.Run("a token survives a reload", func(t *testing.T) {
		s.reload(t, config("access_token_ttl 1h"))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", token).Status)
	})
	t.Run("a revocation counts at once after a reload, too", func(t *testing.T) {
		revoked := s.token(t, "")
		require.Equal(t, http.StatusOK, s.get(t, "/4", revoked).Status)
		s.reload(t, config())
		require.Equal(t, http.StatusOK, s.get(t, "/4", revoked).Status)
		s.revoke(t, revoked)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/4", revoked).Status)
		s.reload(t, config("access_token_ttl 1h"))
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/4", revoked).Status)
	})
	t.Run("a failed reload changes nothing", func(t *testing.T) {
		kept := s.token(t, "")
		require.Equal(t, http.StatusOK, s.get(t, "/4", kept).Status)
		refused := s.Load(t, strings.Replace(config(), "client "+demoID+" "+demoSecret, "client "+demoID+" $argon2id$nonsense", 1))
		require.Equal(t, http.StatusBadRequest, refused.Status)
		assert.Equal(t, http.StatusOK, s.get(t, "/4", kept).Status)
		s.revoke(t, kept)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/4", kept).Status)
		assert.Equal(t, http.StatusOK, s.get(t, "/1", s.token(t, "")).Status)
	})
	t.Run("a client that is taken out of the configuration has no good tokens from then on", func(t *testing.T) {
		require.Equal(t, http.StatusOK, s.get(t, "/1", token).Status, "it is remembered")
		s.reload(t, s.caddyfile(s.serverOption(), s.site(app)))
		got := s.get(t, "/1", token)
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, challengeInvalidToken, got.Challenge(t))
		s.reload(t, config())
		assert.Equal(t, http.StatusOK, s.get(t, "/1", token).Status, "and has them again when it is back")
	})
	t.Run("tokens survive a restart, and so do revocations", func(t *testing.T) {
		revoked := s.token(t, "")
		s.revoke(t, revoked)
		s.Stop(t)
		s.Start(t, config())
		assert.Equal(t, http.StatusOK, s.get(t, "/1", token).Status)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/1", revoked).Status)
	})
	t.Run("tokens survive a crash, and so do revocations", func(t *testing.T) {
		kept, revoked := s.token(t, ""), s.token(t, "")
		s.revoke(t, revoked)
		s.Kill(t)
		s.Start(t, config())
		assert.Equal(t, http.StatusOK, s.get(t, "/1", kept).Status)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/1", revoked).Status)
	})
	t.Run("its paths are those that the client asked for, whatever is rewritten", func(t *testing.T) {
		s.reload(t, s.caddyfile(s.option(), "route {\nrewrite * /index.php\n"+s.site(app)+"}"))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", s.token(t, "")).Status)
		s.reload(t, config())
	})
	t.Run("an expired token", func(t *testing.T) {
		s.reload(t, config("access_token_ttl 1s"))
		short := s.token(t, "")
		require.Eventually(t, func() bool { return s.get(t, "/1", short).Status == http.StatusUnauthorized }, patience, tick)
		assert.Equal(t, http.StatusOK, s.get(t, "/1", token).Status)
	})
}

// Another gateway asks the embedded server over HTTP, as it would ask anybody's.
func TestAskingTheEmbeddedServerOverHTTP(t *testing.T) {
	t.Parallel()
	s, app, g := newIssuer(t), testgateway.StartBackend(t), newGateway(t)
	s.Start(t, s.caddyfile(s.option("client special `p@ss:w+rd/é%-9aBc` {\nintrospect\n}"), "authorization_server\nrespond 404\n"))
	endpoint := s.url("/oauth2/introspect")
	asClient := func(name, id, secret string) string {
		s.GuardClient(id, secret)
		g.GuardClient(id, secret)
		return "introspect " + name + " {\nendpoint " + endpoint + "\nclient " + id + " `" + secret + "`\ncache off\n}\n"
	}
	g.Start(t, g.caddyfile(
		asClient("permitted", gatewayID, gatewaySecret)+
			asClient("special", "special", "p@ss:w+rd/é%-9aBc")+
			asClient("forbidden", demoID, demoSecret)+
			asClient("mistyped", gatewayID, "mistyped-secret-1eRt"), `
		introspect /permitted permitted scope orders:read
		introspect /special special
		introspect /forbidden forbidden
		introspect /mistyped mistyped
		`+app.Proxy()))
	token := s.token(t, "")

	for _, path := range []string{"/permitted", "/special"} {
		require.Equal(t, http.StatusOK, g.get(t, path, token).Status, path)
		assert.Equal(t, []string{demoID}, app.One(t, path).Header["Remote-Client"])
		assert.Equal(t, http.StatusUnauthorized, g.get(t, path, "someone-elses-token").Status)
	}
	for _, path := range []string{"/forbidden", "/mistyped"} {
		got := g.get(t, path, token)
		assert.Equal(t, http.StatusBadGateway, got.Status, "B16 "+path)
		assert.Equal(t, challengeNone, got.Challenge(t), "B16 "+path)
		assert.Empty(t, app.At(path))
	}

	ask := func(id, secret string, form url.Values) *testgateway.Reply {
		return s.post(t, "/oauth2/introspect", id, secret, form)
	}
	question := url.Values{"token": {token}}
	t.Run("an answer", func(t *testing.T) {
		got := ask(gatewayID, gatewaySecret, question)
		require.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		answer := members(t, got.Body)
		assert.Equal(t, true, answer["active"])
		assert.Equal(t, "http://"+s.address, answer["iss"])
		assert.Equal(t, demoID, answer["client_id"])
		assert.Equal(t, "orders:read", answer["scope"])
		assert.EqualValues(t, 900, answer["exp"].(float64)-answer["iat"].(float64))
	})
	t.Run("no oracle: unknown and revoked tokens look alike", func(t *testing.T) {
		revoked := s.token(t, "")
		s.revoke(t, revoked)
		for _, token := range []string{revoked, "nonsense", "pat_nonsense"} {
			got := ask(gatewayID, gatewaySecret, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}})
			assert.Equal(t, http.StatusOK, got.Status)
			assert.JSONEq(t, `{"active":false}`, got.Body)
		}
	})
	t.Run("not everybody may ask", func(t *testing.T) {
		assert.Equal(t, http.StatusForbidden, ask(demoID, demoSecret, question).Status)
		assert.Equal(t, http.StatusUnauthorized, ask(gatewayID, "wrong", question).Status)
		assert.Equal(t, http.StatusUnauthorized, ask("", "", question).Status)
		assert.Equal(t, http.StatusBadRequest, ask(gatewayID, gatewaySecret, url.Values{}).Status)
	})
	t.Run("a revocation is seen by the next question", func(t *testing.T) {
		s.revoke(t, token)
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/permitted", token).Status)
	})
	g.Await(t, "forbidden")
}
