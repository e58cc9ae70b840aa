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

const initialToken = "initial-access-token-4hWz"

func (s *issuer) registerClient(t *testing.T, token, document string) *testgateway.Reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("/oauth2/register"), strings.NewReader(document))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return testgateway.Send(t, request)
}

// A program that the operator has never heard of gets a token with which a user lets it in.
func TestClientsThatRegisterThemselves(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword, initialToken)
	config := s.caddyfile(s.withUsers(s.hashOf(t, alicePassword, "argon2id"), "resource "+ordersResource, `registration {
		token {env.INITIAL_TOKEN}
		scopes orders:read
	}`), s.site(app))
	s.Start(t, config, "INITIAL_TOKEN="+initialToken)
	alice := s.person(t)
	const document = `{"redirect_uris":["` + webCallback + `"],"client_name":"A program","grant_types":["authorization_code","refresh_token"],"scope":"orders:read orders:write"}`

	got := s.registerClient(t, initialToken, document)
	require.Equal(t, http.StatusCreated, got.Status, got.Body)
	client := members(t, got.Body)
	id, secret := client["client_id"].(string), client["client_secret"].(string)
	s.GuardClient(id, secret)
	assert.Equal(t, "orders:read", client["scope"], "AS-L10")

	t.Run("AS-L02 the whole flow, with a crash in the middle of it", func(t *testing.T) {
		s.Kill(t)
		s.Start(t, config, "INITIAL_TOKEN="+initialToken)
		login := alice.open(t, s.authorization("client_id", id, "scope", "orders:read", "resource", ordersResource))
		consent := alice.submit(t, login, "username", "alice", "password", alicePassword)
		assert.Contains(t, consent.Body, "A program (unverified)", "AS-L08")
		assert.Contains(t, consent.Body, "web.example.com", "AS-S07")
		code := s.codeIn(t, alice.submit(t, consent, "decision", "allow"))
		access, refresh := s.tokens(t, s.post(t, "/oauth2/token", id, secret, codeForm(code)))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)
		access, _ = s.tokens(t, s.post(t, "/oauth2/token", id, secret, refreshForm(refresh)))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)
	})
	t.Run("AS-L01 without the initial access token, or with another", func(t *testing.T) {
		for _, token := range []string{"", "guess"} {
			got := s.registerClient(t, token, document)
			assert.Equal(t, http.StatusUnauthorized, got.Status)
			assert.Contains(t, got.Header.Get("WWW-Authenticate"), "Bearer ")
		}
	})
	t.Run("AS-L05 a redirect URI that nobody may have", func(t *testing.T) {
		got := s.registerClient(t, initialToken, `{"redirect_uris":["javascript:alert(1)"]}`)
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, "invalid_redirect_uri", members(t, got.Body)["error"])
	})
	t.Run("AS-L04 attack: more than it may have", func(t *testing.T) {
		got := s.registerClient(t, initialToken, `{"redirect_uris":["`+webCallback+`"],"grant_types":["client_credentials"]}`)
		assert.Equal(t, http.StatusBadRequest, got.Status)
		got = s.post(t, "/oauth2/token", id, secret, url.Values{"grant_type": {"client_credentials"}})
		assert.Equal(t, "unauthorized_client", members(t, got.Body)["error"])
		assert.Equal(t, http.StatusForbidden, s.post(t, "/oauth2/introspect", id, secret, url.Values{"token": {"x"}}).Status)
	})
	t.Run("AS-R14 attack: the server as an open redirector", func(t *testing.T) {
		for _, p := range []*person{alice, s.person(t)} {
			got := p.open(t, s.authorization("client_id", id, "scope", "root"))
			assert.Equal(t, http.StatusBadRequest, got.Status)
			assert.Empty(t, got.Header.Get("Location"))
		}
	})
	t.Run("AS-K06 it is off unless it is on", func(t *testing.T) {
		metadata := func() map[string]any {
			return members(t, testgateway.Send(t, testgateway.Request(t, http.MethodGet, s.url("/.well-known/oauth-authorization-server"), "")).Body)
		}
		assert.Equal(t, s.url("/oauth2/register"), metadata()["registration_endpoint"])
		s.reload(t, s.caddyfile(s.option(), s.site(app)))
		assert.NotContains(t, metadata(), "registration_endpoint")
		assert.Equal(t, http.StatusUnauthorized, s.registerClient(t, "", document).Status, "it is what the gateway protects")
	})
}
