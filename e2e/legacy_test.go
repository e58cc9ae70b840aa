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

func TestLegacyGrants(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	s.GuardClient("old", webSecret)
	hash := s.hashOf(t, alicePassword, "argon2id")
	s.Start(t, s.caddyfile(s.withUsers(hash, "legacy password implicit", `client old `+webSecret+` {
		grants password
		scopes orders:read
	}`, `client spa {
		auth none
		grants implicit
		redirect_uris `+webCallback+`
		scopes orders:read
	}`), s.site(app)))
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {alicePassword}}

	t.Run("the password grant", func(t *testing.T) {
		access := s.tokenIn(t, s.post(t, "/oauth2/token", "old", webSecret, form))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)
		assert.Equal(t, []string{"alice"}, identityIn(app.One(t, "/1").Header)["Remote-User"])
	})
	t.Run("the implicit grant", func(t *testing.T) {
		alice := s.person(t)
		login := alice.open(t, s.authorization("client_id", "spa", "response_type", "token", "scope", "orders:read"))
		got := alice.submit(t, alice.submit(t, login, "username", "alice", "password", alicePassword), "decision", "allow")
		require.Equal(t, http.StatusSeeOther, got.Status)
		place, fragment, found := strings.Cut(got.Header.Get("Location"), "#")
		require.True(t, found)
		assert.Equal(t, webCallback, place)
		values, err := url.ParseQuery(fragment)
		require.NoError(t, err)
		access := values.Get("access_token")
		require.NotEmpty(t, access)
		s.Guard(access) // and so it is in no log
		assert.Equal(t, http.StatusOK, s.get(t, "/2", access).Status)
	})
	t.Run("the operator is warned", func(t *testing.T) {
		s.Await(t, "a legacy grant is on")
	})
	t.Run("AS-G04 AS-A11 off by default", func(t *testing.T) {
		s.reload(t, s.caddyfile(s.withUsers(hash), s.site(app)))
		got := s.asWeb(t, form)
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, "unsupported_grant_type", members(t, got.Body)["error"])
		got = s.person(t).open(t, s.authorization("response_type", "token"))
		assert.Contains(t, got.Header.Get("Location"), "error=unsupported_response_type")
	})
}
