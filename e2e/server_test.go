package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The clients of the embedded authorization servers of these tests.
const (
	demoID        = "demo"
	demoSecret    = "demo-secret-9wZx"
	observerID    = "observer"
	oddID         = "odd"
	oddSecret     = "p@ss:w+rd/é%-3xYz"
	stranger      = "stranger"
	storeFileName = "tokens.db"
)

// issuer is a gateway with an embedded authorization server.
type issuer struct {
	*gateway
	store string // the file
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	s := &issuer{gateway: newGateway(t)}
	s.store = filepath.Join(s.dir, storeFileName)
	s.guardClient(gatewayID, gatewaySecret)
	s.guardClient(demoID, demoSecret)
	s.guardClient(observerID, demoSecret)
	s.guardClient(oddID, oddSecret)
	return s
}

// url is the address of a path.
func (s *issuer) url(path string) string { return "http://" + s.address + path }

// option is the global option, with further lines.
func (s *issuer) option(lines ...string) string {
	return s.serverOption(append(lines, `client `+demoID+` `+demoSecret+` {
		grants client_credentials
		scopes orders:read orders:write
		default_scopes orders:read
	}`)...)
}

// serverOption is the global option without the client demo.
func (s *issuer) serverOption(lines ...string) string {
	return fmt.Sprintf(`authorization_server {
	issuer http://%s
	store file %s
	client %s %s {
		introspect
	}
	client %s %s {
		grants client_credentials
		scopes a
	}
	client %s %q
	%s
}
`, s.address, s.store, gatewayID, gatewaySecret, observerID, demoSecret, oddID, oddSecret, strings.Join(lines, "\n\t"))
}

// site is the body of the site.
func (s *issuer) site(app *backend) string {
	return "authorization_server\nintrospect scope orders:read\n" + app.proxy()
}

// post sends a form to an endpoint, as a client unless its id is empty.
func (s *issuer) post(t *testing.T, path, id, secret string, form url.Values) *reply {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, s.url(path), strings.NewReader(form.Encode()))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		request.SetBasicAuth(id, secret)
	}
	return do(t, request)
}

// token gets a token as the client demo.
func (s *issuer) token(t *testing.T, scope string) string {
	t.Helper()
	got := s.post(t, "/oauth2/token", demoID, demoSecret, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
	require.Equal(t, http.StatusOK, got.status, got.body)
	return s.tokenIn(t, got)
}

// tokenIn reads the token out of a response of the token endpoint.
func (s *issuer) tokenIn(t *testing.T, got *reply) string {
	t.Helper()
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &issued), got.body)
	require.NotEmpty(t, issued.AccessToken)
	s.guard(issued.AccessToken)
	return issued.AccessToken
}

// revoke revokes a token as the client demo.
func (s *issuer) revoke(t *testing.T, token string) {
	t.Helper()
	require.Equal(t, http.StatusOK, s.post(t, "/oauth2/revoke", demoID, demoSecret, url.Values{"token": {token}}).status)
}

// members reads the members of a JSON object.
func members(t *testing.T, body string) map[string]any {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &object), body)
	return object
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), newBackend(t)
	s.start(t, s.caddyfile(s.option(), s.site(app)))

	t.Run("a token", func(t *testing.T) {
		got := s.post(t, "/oauth2/token", demoID, demoSecret, url.Values{"grant_type": {"client_credentials"}})
		require.Equal(t, http.StatusOK, got.status)
		assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
		assert.Equal(t, "application/json", got.header.Get("Content-Type"))
		assert.Regexp(t, `^pat_[A-Za-z0-9_-]{43}$`, s.tokenIn(t, got))
		issued := members(t, got.body)
		assert.Equal(t, "Bearer", issued["token_type"])
		assert.Equal(t, "orders:read", issued["scope"])
		assert.EqualValues(t, 900, issued["expires_in"])
		assert.NotContains(t, issued, "refresh_token")
	})
	grant := url.Values{"grant_type": {"client_credentials"}}
	with := func(name string, values ...string) url.Values {
		form := url.Values{"grant_type": {"client_credentials"}}
		form[name] = values
		return form
	}
	const challenge = `Basic realm="authorization server"`
	for _, c := range []struct {
		name, id, secret string
		form             url.Values
		status           int
		code             string
		challenge        string
	}{
		{"a wrong secret", demoID, "wrong", grant, 401, "invalid_client", challenge},
		{"no secret", demoID, "", grant, 401, "invalid_client", challenge},
		{"an unknown client", stranger, demoSecret, grant, 401, "invalid_client", challenge},
		{"another client's secret", demoID, gatewaySecret, grant, 401, "invalid_client", challenge},
		{"no client", "", "", grant, 401, "invalid_client", ""},
		{"the secret in the body", "", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {demoID}, "client_secret": {demoSecret}}, 401, "invalid_client", ""},
		{"two ways to sign in", demoID, demoSecret, with("client_secret", demoSecret), 400, "invalid_request", ""},
		{"another client_id", demoID, demoSecret, with("client_id", gatewayID), 400, "invalid_request", ""},
		{"a repeated parameter", demoID, demoSecret, with("scope", "orders:read", "orders:read"), 400, "invalid_request", ""},
		{"no grant", demoID, demoSecret, url.Values{"scope": {"orders:read"}}, 400, "invalid_request", ""},
		{"an unknown grant", demoID, demoSecret, url.Values{"grant_type": {"magic"}}, 400, "unsupported_grant_type", ""},
		{"the password grant", demoID, demoSecret, url.Values{"grant_type": {"password"}, "username": {"a"}, "password": {"b"}}, 400, "unsupported_grant_type", ""},
		{"a grant that the client has not", gatewayID, gatewaySecret, grant, 400, "unauthorized_client", ""},
		{"an unknown scope", demoID, demoSecret, with("scope", "orders:read orders:admin"), 400, "invalid_scope", ""},
		{"a resource", demoID, demoSecret, with("resource", "https://api.example.com"), 400, "invalid_target", ""},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			got := s.post(t, "/oauth2/token", c.id, c.secret, c.form)
			assert.Equal(t, c.status, got.status)
			assert.Equal(t, c.code, members(t, got.body)["error"])
			assert.Equal(t, c.challenge, got.challenge(t))
			assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
		})
	}
	t.Run("refused: GET", func(t *testing.T) {
		got := s.raw(t, "GET /oauth2/token?grant_type=client_credentials", []string{"Authorization: Basic " + basic(demoID, demoSecret)}, "")
		assert.Equal(t, http.StatusMethodNotAllowed, got.status)
		assert.Equal(t, "POST", got.header.Get("Allow"))
		assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	})
	for name, headers := range map[string][]string{
		"JSON":            {"Content-Type: application/json"},
		"no content type": {},
		"multipart":       {"Content-Type: multipart/form-data; boundary=x"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			body := `{"grant_type":"client_credentials"}`
			got := s.raw(t, "POST /oauth2/token", append(headers, fmt.Sprintf("Content-Length: %d", len(body)),
				"Authorization: Basic "+basic(demoID, demoSecret)), body)
			assert.Equal(t, http.StatusBadRequest, got.status)
			assert.Equal(t, "invalid_request", members(t, got.body)["error"])
		})
	}
	t.Run("refused: two Authorization lines", func(t *testing.T) {
		got := s.raw(t, "POST /oauth2/token", []string{
			"Content-Type: application/x-www-form-urlencoded", "Content-Length: 29",
			"Authorization: Basic " + basic(demoID, demoSecret), "Authorization: Basic " + basic(demoID, "wrong"),
		}, "grant_type=client_credentials")
		assert.Equal(t, http.StatusBadRequest, got.status)
	})
	t.Run("a secret with odd characters, form-encoded as RFC 6749 demands and as it is typed", func(t *testing.T) {
		for _, secret := range []string{oddSecret, url.QueryEscape(oddSecret)} {
			got := s.post(t, "/oauth2/token", oddID, secret, grant)
			// It may not use the grant, which it hears only after it was recognised.
			assert.Equal(t, "unauthorized_client", members(t, got.body)["error"], secret)
		}
		got := s.post(t, "/oauth2/token", oddID, url.PathEscape("x"+oddSecret), grant)
		assert.Equal(t, "invalid_client", members(t, got.body)["error"])
	})
	assert.Empty(t, app.at("/oauth2/token"), "the endpoint is not the backend's")
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), newBackend(t)
	s.start(t, s.caddyfile(s.option(), s.site(app)))
	const path = "/.well-known/oauth-authorization-server"
	got := get(t, s.url(path))
	require.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	document := members(t, got.body)
	assert.Equal(t, "http://"+s.address, document["issuer"])
	for name, path := range map[string]string{
		"token_endpoint":         "/oauth2/token",
		"introspection_endpoint": "/oauth2/introspect",
		"revocation_endpoint":    "/oauth2/revoke",
	} {
		assert.Equal(t, s.url(path), document[name])
	}

	t.Run("K13 nothing in it comes from the request", func(t *testing.T) {
		request, err := http.NewRequest(http.MethodGet, s.url(path), nil)
		require.NoError(t, err)
		request.Host = "evil.example.com"
		request.Header.Set("X-Forwarded-Host", "evil.example.com")
		request.Header.Set("X-Forwarded-Proto", "https")
		request.Header.Set("Forwarded", "host=evil.example.com")
		evil := do(t, request)
		assert.Equal(t, got.body, evil.body)
	})
	t.Run("F01 its path is inserted between host and path of the issuer", func(t *testing.T) {
		s.reload(t, s.caddyfile(strings.Replace(s.option(), "issuer http://"+s.address, "issuer http://"+s.address+"/tenant/a", 1), s.site(app)))
		got := get(t, s.url(path+"/tenant/a"))
		require.Equal(t, http.StatusOK, got.status)
		document := members(t, got.body)
		assert.Equal(t, s.url("/tenant/a"), document["issuer"])
		assert.Equal(t, s.url("/tenant/a/oauth2/token"), document["token_endpoint"])
		assert.Equal(t, http.StatusUnauthorized, get(t, s.url(path)).status, "that is somebody else's")
		assert.Equal(t, http.StatusMethodNotAllowed, get(t, s.url("/tenant/a/oauth2/token")).status)
	})
}
