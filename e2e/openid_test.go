package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// hintFilter keeps ID tokens that clients put into URLs out of the logs, as the documentation says.
const hintFilter = `	log {
		format filter {
			request>uri query {
				delete id_token_hint
			}
		}
	}
`

// withOpenID are the global options of a server at which alice can sign in for OpenID Connect.
func (s *issuer) withOpenID(hash string) string {
	return hintFilter + s.option(fmt.Sprintf(`client %s %s {
		name "The web app"
		grants authorization_code refresh_token
		redirect_uris %s
		scopes openid profile email offline_access orders:read
	}
	user alice %s {
		claim name "Alice Example"
		claim email alice@example.com
		claim email_verified true
	}`, webID, webSecret, webCallback, hash))
}

// keys are those that the server publishes.
func (s *issuer) keys(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	got := testgateway.Get(t, s.url("/oauth2/jwks"))
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal([]byte(got.Body), &set))
	for _, key := range set.Keys {
		require.True(t, key.IsPublic(), "AS-K07")
	}
	return set
}

// claims checks an ID token as a relying party does (OpenID Connect Core section 3.1.3.7), and returns its claims.
func (s *issuer) claims(t *testing.T, text string) map[string]any {
	t.Helper()
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	var standard jwt.Claims
	var all map[string]any
	require.NoError(t, token.Claims(s.keys(t), &standard, &all))
	require.NoError(t, standard.Validate(jwt.Expected{Issuer: "http://" + s.address, AnyAudience: jwt.Audience{webID}}))
	return all
}

// userInfo asks with an access token who the user is.
func (s *issuer) userInfo(t *testing.T, token string) *testgateway.Reply {
	t.Helper()
	return testgateway.Send(t, testgateway.Request(t, http.MethodGet, s.url("/oauth2/userinfo"), token))
}

func TestOpenIDConnect(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	hash := s.hashOf(t, alicePassword, "argon2id")
	config := s.caddyfile(s.withOpenID(hash), s.site(app))
	s.Start(t, config)
	alice := s.person(t)
	signIn := func(p *person, scope string) map[string]any {
		got := s.asWeb(t, codeForm(p.code(t, "scope", scope, "nonce", "n-1")))
		s.tokens(t, got)
		return members(t, got.Body)
	}
	first := signIn(alice, "openid profile email orders:read")
	idToken, access := first["id_token"].(string), first["access_token"].(string)

	t.Run("AS-P02 AS-P03 the ID token", func(t *testing.T) {
		claims := s.claims(t, idToken)
		assert.Equal(t, "alice", claims["sub"])
		assert.Equal(t, "n-1", claims["nonce"])
		assert.NotContains(t, claims, "email")
	})
	t.Run("AS-K02 AS-K03 AS-K06 the documents", func(t *testing.T) {
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
			document := members(t, testgateway.Get(t, s.url(path)).Body)
			assert.Equal(t, "http://"+s.address, document["issuer"])
			assert.Equal(t, s.url("/oauth2/jwks"), document["jwks_uri"])
			assert.Equal(t, s.url("/oauth2/userinfo"), document["userinfo_endpoint"])
			assert.Contains(t, document["scopes_supported"], "offline_access")
		}
	})
	t.Run("AS-P12 AS-P13 userinfo", func(t *testing.T) {
		got := s.userInfo(t, access)
		require.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, map[string]any{
			"sub": "alice", "name": "Alice Example", "preferred_username": "alice", "email": "alice@example.com", "email_verified": true,
		}, members(t, got.Body))
		got = s.userInfo(t, idToken)
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, `Bearer realm="authorization server", error="invalid_token"`, got.Challenge(t))
		assert.Empty(t, app.At("/oauth2/userinfo"), "the endpoint is not the backend's")
	})
	t.Run("AS-P12 attack: an ID token is presented to the gateway", func(t *testing.T) {
		require.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/1", idToken).Status)
	})
	t.Run("AS-K09 the key survives a reload, a restart and a crash", func(t *testing.T) {
		kid := s.keys(t).Keys[0].KeyID
		for name, do := range map[string]func(){
			"a reload":  func() { s.reload(t, strings.Replace(config, "store file", "access_token_ttl 10m\n\tstore file", 1)) },
			"a restart": func() { s.Stop(t); s.Start(t, config) },
			"a crash":   func() { s.Kill(t); s.Start(t, config) },
		} {
			do()
			keys := s.keys(t).Keys
			require.Len(t, keys, 1, name)
			assert.Equal(t, kid, keys[0].KeyID, name)
			s.claims(t, idToken)
		}
	})
	t.Run("AS-P14 a refresh", func(t *testing.T) {
		got := s.asWeb(t, refreshForm(first["refresh_token"].(string)))
		s.tokens(t, got)
		again := s.claims(t, members(t, got.Body)["id_token"].(string))
		assert.Equal(t, s.claims(t, idToken)["auth_time"], again["auth_time"])
		assert.NotContains(t, again, "nonce")
		access = members(t, got.Body)["access_token"].(string)
	})
	t.Run("AS-P07 AS-P10 the user is known without a page", func(t *testing.T) {
		s.codeIn(t, alice.open(t, s.authorization("scope", "openid", "prompt", "none", "id_token_hint", idToken)))
		location := s.person(t).open(t, s.authorization("scope", "openid", "prompt", "none", "id_token_hint", idToken)).Header.Get("Location")
		assert.Contains(t, location, "error=login_required")
	})
	t.Run("AS-P17 AS-F09 a sign-out counts at once, although the gateway remembers", func(t *testing.T) {
		offline := signIn(alice, "openid offline_access orders:read")["access_token"].(string)
		other := signIn(s.person(t), "openid orders:read")["access_token"].(string)
		for _, token := range []string{access, offline, other} {
			require.Equal(t, http.StatusOK, s.get(t, "/2", token).Status)
		}
		got := alice.open(t, s.url("/oauth2/logout?"+url.Values{
			"id_token_hint": {idToken}, "post_logout_redirect_uri": {webCallback}, "state": {"bye"},
		}.Encode()))
		assert.Equal(t, http.StatusSeeOther, got.Status)
		assert.Equal(t, webCallback+"?state=bye", got.Header.Get("Location"))
		assert.Contains(t, alice.open(t, s.authorization("scope", "openid")).Body, "Password")
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/2", access).Status)
		assert.Equal(t, http.StatusUnauthorized, s.userInfo(t, access).Status)
		assert.Equal(t, http.StatusOK, s.get(t, "/2", offline).Status)
		assert.Equal(t, http.StatusOK, s.get(t, "/2", other).Status, "of another browser")
	})
	t.Run("AS-P17 without a hint the user is asked", func(t *testing.T) {
		signIn(alice, "openid")
		page := alice.open(t, s.url("/oauth2/logout"))
		require.Contains(t, page.Body, "Sign out?")
		assert.Contains(t, page.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'", "AS-R01")
		assert.Contains(t, alice.submit(t, page).Body, "You are signed out")
		assert.Contains(t, alice.open(t, s.authorization("scope", "openid")).Body, "Password")
	})
}
