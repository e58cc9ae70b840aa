package authserver_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const oldCallback = "https://old.example.com/cb?x=1"

// legacyConfig is that of a server with both legacy grants, each for one client.
func legacyConfig(t *testing.T) authserver.Config {
	t.Helper()
	config := userConfig(t)
	config.LegacyPassword, config.LegacyImplicit = true, true
	config.Clients = append(config.Clients,
		authserver.Client{ID: "old", Secret: secret(t, "old-secret"), Grants: []string{authserver.GrantPassword, authserver.GrantRefreshToken}, Scopes: []string{"read", "write"}, Audiences: []string{apiResource}},
		authserver.Client{ID: "spa", Auth: authserver.AuthNone, Grants: []string{authserver.GrantImplicit}, RedirectURIs: []string{oldCallback}, Scopes: []string{"read", "write"}},
	)
	return config
}

func newLegacyServer(t *testing.T) *fixture {
	t.Helper()
	f := newUserServer(t)
	f.configure(t, legacyConfig(t))
	return f
}

func passwordGrant(pairs ...string) url.Values {
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {password}, "scope": {"read"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

func (f *fixture) asOld(t *testing.T, form url.Values) (*http.Response, map[string]any) {
	t.Helper()
	return f.do(t, request{path: "/oauth2/token", user: "old", password: "old-secret", form: form})
}

func implicit(pairs ...string) string {
	return authorization(append([]string{"client_id", "spa", "redirect_uri", oldCallback, "response_type", "token", "code_challenge", "", "code_challenge_method", ""}, pairs...)...)
}

func TestG04LegacyGrantsAreOff(t *testing.T) {
	f := newUserServer(t)
	status, members := f.asWeb(t, passwordGrant())
	assert.Equal(t, 400, status)
	assert.Equal(t, "unsupported_grant_type", members["error"])
	assert.NotContains(t, members["error_description"], "password")
	for _, kind := range []string{"token", "code token", "id_token token"} {
		assert.Equal(t, "unsupported_response_type", f.browser().open(t, authorization("response_type", kind)).response(t).Get("error"), "A11")
	}
	for _, grant := range []string{authserver.GrantPassword, authserver.GrantImplicit} {
		config := legacyConfig(t)
		config.LegacyPassword, config.LegacyImplicit = grant != authserver.GrantPassword, grant != authserver.GrantImplicit
		_, err := authserver.New(config, nil)
		require.ErrorContains(t, err, "it needs 'legacy "+grant+"'")
	}
}

func TestThePasswordGrant(t *testing.T) {
	f := newLegacyServer(t)
	response, members := f.asOld(t, resources(passwordGrant(), apiResource))
	require.Equal(t, 200, response.StatusCode, members)
	assert.Equal(t, "read", members["scope"])
	token, refresh := members["access_token"].(string), members["refresh_token"].(string)
	assert.Equal(t, "alice", f.userOf(t, token))
	assert.Nil(t, f.audience(t, "rs", "rs-secret", token), "N02: it is for another resource")
	response, members = f.asOld(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	assert.Equal(t, 200, response.StatusCode, members)

	for name, test := range map[string]struct {
		form   url.Values
		status int
		code   string
	}{
		"a wrong password":                    {passwordGrant("password", "guess"), 400, "invalid_grant"},
		"R08 nobody":                          {passwordGrant("username", "nobody"), 400, "invalid_grant"},
		"no password":                         {passwordGrant("password", ""), 400, "invalid_request"},
		"a password that is too long":         {passwordGrant("password", string(make([]byte, 2000))), 400, "invalid_grant"},
		"A15 a scope that it may not have":    {passwordGrant("scope", "admin"), 400, "invalid_scope"},
		"a scope that the user cannot grant":  {passwordGrant("username", "bob", "password", "bobs "+password), 400, "invalid_scope"},
		"N02 a resource that it may not have": {resources(passwordGrant(), deepResource), 400, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			response, members := f.asOld(t, test.form)
			assert.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, test.code, members["error"])
		})
	}
	t.Run("another client", func(t *testing.T) {
		status, members := f.asWeb(t, passwordGrant())
		assert.Equal(t, 400, status)
		assert.Equal(t, "unauthorized_client", members["error"])
	})
	t.Run("R09 attack: guessing where there is no login page", func(t *testing.T) {
		f := newLegacyServer(t)
		for range 5 {
			response, _ := f.asOld(t, passwordGrant("password", "guess"))
			assert.Equal(t, 400, response.StatusCode)
		}
		response, _ := f.asOld(t, passwordGrant())
		assert.Equal(t, 429, response.StatusCode)
		assert.Equal(t, "30", response.Header.Get("Retry-After"))
		b := f.browser()
		assert.Equal(t, 429, b.submit(t, b.open(t, authorization()), "username", "alice", "password", password).StatusCode, "and together with the login page")
	})
}

// userOf is whom a token names.
func (f *fixture) userOf(t *testing.T, token string) any {
	t.Helper()
	answer, err := f.store.Token(t.Context(), introspect.DigestOf(token))
	require.NoError(t, err)
	return answer.Username
}

// fragment reads the authorization response out of the fragment of a redirect.
func (p page) fragment(t *testing.T) url.Values {
	t.Helper()
	require.Equal(t, http.StatusSeeOther, p.StatusCode, p.body)
	location, err := url.Parse(p.Header.Get("Location"))
	require.NoError(t, err)
	assert.Equal(t, "x=1", location.RawQuery, "A16: nothing of it is in the query")
	values, err := url.ParseQuery(location.EscapedFragment())
	require.NoError(t, err)
	assert.Equal(t, issuer, values.Get("iss"), "N05")
	return values
}

func TestTheImplicitGrant(t *testing.T) {
	f := newLegacyServer(t)
	b := f.browser()
	answer := b.submit(t, b.consentPage(t, "client_id", "spa", "redirect_uri", oldCallback, "response_type", "token", "state", "a b&c"), "decision", "allow").fragment(t)
	assert.Equal(t, "a b&c", answer.Get("state"), "A08")
	assert.Equal(t, "Bearer", answer.Get("token_type"))
	assert.Equal(t, "900", answer.Get("expires_in"))
	assert.Equal(t, "read write", answer.Get("scope"))
	assert.Equal(t, "alice", f.userOf(t, answer.Get("access_token")))
	assert.True(t, f.active(t, answer.Get("access_token")))
	assert.Empty(t, answer.Get("refresh_token"))
	assert.Empty(t, answer.Get("code"))

	answer = b.submit(t, b.open(t, implicit()), "decision", "deny").fragment(t)
	assert.Equal(t, "access_denied", answer.Get("error"))
	answer = b.open(t, implicit("scope", "admin")).fragment(t)
	assert.Equal(t, "invalid_scope", answer.Get("error"))
	answer = b.open(t, implicit("response_mode", "query")).fragment(t)
	assert.Equal(t, "invalid_request", answer.Get("error"), "A16: a token does not go into a query")
	got := b.submit(t, b.open(t, implicit("response_mode", "form_post")), "decision", "allow")
	assert.Equal(t, 200, got.StatusCode)
	assert.Contains(t, got.body, `name="access_token"`)

	assert.Equal(t, "unauthorized_client", b.open(t, authorization("response_type", "token")).fragmentError(t), "web has no such grant")
	location, err := url.Parse(b.open(t, authorization("client_id", "spa", "redirect_uri", oldCallback)).Header.Get("Location"))
	require.NoError(t, err)
	assert.Equal(t, "unauthorized_client", location.Query().Get("error"), "spa has no other one")
	response, members := f.do(t, request{path: "/oauth2/token", form: url.Values{"grant_type": {"implicit"}, "client_id": {"spa"}}})
	assert.Equal(t, 400, response.StatusCode)
	assert.Equal(t, "unsupported_grant_type", members["error"], "it is none of the token endpoint's")
}

// A consent to codes, which only the client can redeem, is none to tokens that lie in the browser.
func TestR11AnImplicitTokenIsAskedForEveryTime(t *testing.T) {
	f := newLegacyServer(t)
	config := legacyConfig(t)
	config.Clients = append(config.Clients, authserver.Client{
		ID: "both", Secret: secret(t, "both-secret"), Grants: []string{authserver.GrantAuthorizationCode, authserver.GrantImplicit},
		RedirectURIs: []string{oldCallback}, Scopes: []string{"read"},
	})
	f.configure(t, config)
	b := f.browser()
	code := []string{"client_id", "both", "redirect_uri", oldCallback, "scope", "read"}
	token := slices.Concat(code, []string{"response_type", "token", "code_challenge", "", "code_challenge_method", ""})
	require.NotEmpty(t, b.code(t, code...))
	assert.False(t, b.asks(t, code...))
	assert.True(t, b.asks(t, token...), "attack: a code was allowed, a token is fetched")
	require.NotEmpty(t, b.submit(t, b.open(t, authorization(token...)), "decision", "allow").fragment(t).Get("access_token"))
	assert.True(t, b.asks(t, token...))
}

func TestF09AnImplicitTokenEndsWithTheSession(t *testing.T) {
	f := newLegacyServer(t)
	b := f.browser()
	token := b.submit(t, b.consentPage(t, "client_id", "spa", "redirect_uri", oldCallback, "response_type", "token"), "decision", "allow").
		fragment(t).Get("access_token")
	require.True(t, f.active(t, token))
	b.submit(t, b.open(t, logoutURL()))
	assert.False(t, f.active(t, token))
}

// fragmentError is the error in the fragment of a redirect.
func (p page) fragmentError(t *testing.T) string {
	t.Helper()
	location, err := url.Parse(p.Header.Get("Location"))
	require.NoError(t, err)
	values, err := url.ParseQuery(location.EscapedFragment())
	require.NoError(t, err)
	return values.Get("error")
}

func TestK05MetadataSaysWhichLegacyGrantsAreOn(t *testing.T) {
	for name, test := range map[string]struct {
		password, implicit   bool
		grants, kinds, modes []any
	}{
		"neither":  {false, false, []any{"authorization_code", "refresh_token", "client_credentials"}, []any{"code"}, []any{"query", "form_post"}},
		"password": {true, false, []any{"authorization_code", "refresh_token", "client_credentials", "password"}, []any{"code"}, []any{"query", "form_post"}},
		"implicit": {false, true, []any{"authorization_code", "refresh_token", "client_credentials", "implicit"}, []any{"code", "token"}, []any{"query", "fragment", "form_post"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, config := newUserServer(t), userConfig(t)
			config.LegacyPassword, config.LegacyImplicit = test.password, test.implicit
			f.configure(t, config)
			_, members := f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
			assert.Equal(t, test.grants, members["grant_types_supported"])
			assert.Equal(t, test.kinds, members["response_types_supported"])
			assert.Equal(t, test.modes, members["response_modes_supported"])
		})
	}
}
