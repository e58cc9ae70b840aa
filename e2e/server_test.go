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

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
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
	s.store = filepath.Join(s.Dir, storeFileName)
	s.GuardClient(gatewayID, gatewaySecret)
	s.GuardClient(demoID, demoSecret)
	s.GuardClient(observerID, demoSecret)
	s.GuardClient(oddID, oddSecret)
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
func (s *issuer) site(app *testgateway.Backend) string {
	return "authorization_server\nintrospect scope orders:read\n" + app.Proxy()
}

// post sends a form to an endpoint, as a client unless its id is empty.
func (s *issuer) post(t *testing.T, path, id, secret string, form url.Values) *testgateway.Reply {
	t.Helper()
	return testgateway.Send(t, testgateway.Form(t, s.url(path), id, secret, form))
}

// token gets a token as the client demo.
func (s *issuer) token(t *testing.T, scope string) string {
	t.Helper()
	got := s.post(t, "/oauth2/token", demoID, demoSecret, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
	return s.tokenIn(t, got)
}

// tokenIn reads the token out of a response of the token endpoint.
func (s *issuer) tokenIn(t *testing.T, got *testgateway.Reply) string {
	t.Helper()
	token := got.AccessToken(t)
	s.Guard(token)
	return token
}

// revoke revokes a token as the client demo.
func (s *issuer) revoke(t *testing.T, token string) {
	t.Helper()
	require.Equal(t, http.StatusOK, s.post(t, "/oauth2/revoke", demoID, demoSecret, url.Values{"token": {token}}).Status)
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
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Start(t, s.caddyfile(s.option(), s.site(app)))

	t.Run("a token", func(t *testing.T) {
		got := s.post(t, "/oauth2/token", demoID, demoSecret, url.Values{"grant_type": {"client_credentials"}})
		require.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
		assert.Regexp(t, `^pat_[A-Za-z0-9_-]{43}$`, s.tokenIn(t, got))
		issued := members(t, got.Body)
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
		{"a wrong secret in the body", "", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {demoID}, "client_secret": {"wrong"}}, 401, "invalid_client", ""},
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
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.code, members(t, got.Body)["error"])
			assert.Equal(t, c.challenge, got.Challenge(t))
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		})
	}
	t.Run("refused: GET", func(t *testing.T) {
		got := s.raw(t, "GET /oauth2/token?grant_type=client_credentials", []string{"Authorization: Basic " + testgateway.Basic(demoID, demoSecret)}, "")
		assert.Equal(t, http.StatusMethodNotAllowed, got.Status)
		assert.Equal(t, "POST", got.Header.Get("Allow"))
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	})
	for name, headers := range map[string][]string{
		"JSON":            {"Content-Type: application/json"},
		"no content type": {},
		"multipart":       {"Content-Type: multipart/form-data; boundary=x"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			body := `{"grant_type":"client_credentials"}`
			got := s.raw(t, "POST /oauth2/token", append(headers, fmt.Sprintf("Content-Length: %d", len(body)),
				"Authorization: Basic "+testgateway.Basic(demoID, demoSecret)), body)
			assert.Equal(t, http.StatusBadRequest, got.Status)
			assert.Equal(t, "invalid_request", members(t, got.Body)["error"])
		})
	}
	t.Run("refused: two Authorization lines", func(t *testing.T) {
		got := s.raw(t, "POST /oauth2/token", []string{
			"Content-Type: application/x-www-form-urlencoded", "Content-Length: 29",
			"Authorization: Basic " + testgateway.Basic(demoID, demoSecret), "Authorization: Basic " + testgateway.Basic(demoID, "wrong"),
		}, "grant_type=client_credentials")
		assert.Equal(t, http.StatusBadRequest, got.Status)
	})
	t.Run("a secret with odd characters, form-encoded as RFC 6749 demands and as it is typed", func(t *testing.T) {
		for _, secret := range []string{oddSecret, url.QueryEscape(oddSecret)} {
			got := s.post(t, "/oauth2/token", oddID, secret, grant)
			// It may not use the grant, which it hears only after it was recognised.
			assert.Equal(t, "unauthorized_client", members(t, got.Body)["error"], secret)
		}
		got := s.post(t, "/oauth2/token", oddID, url.PathEscape("x"+oddSecret), grant)
		assert.Equal(t, "invalid_client", members(t, got.Body)["error"])
	})
	assert.Empty(t, app.At("/oauth2/token"), "the endpoint is not the backend's")
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Start(t, s.caddyfile(s.option(), s.site(app)))
	const path = "/.well-known/oauth-authorization-server"
	got := testgateway.Get(t, s.url(path))
	require.Equal(t, http.StatusOK, got.Status)
	assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
	document := members(t, got.Body)
	assert.Equal(t, "http://"+s.address, document["issuer"])
	for name, path := range map[string]string{
		"token_endpoint":         "/oauth2/token",
		"introspection_endpoint": "/oauth2/introspect",
		"revocation_endpoint":    "/oauth2/revoke",
	} {
		assert.Equal(t, s.url(path), document[name])
	}

	t.Run("K13 nothing in it comes from the request", func(t *testing.T) {
		request := testgateway.Request(t, http.MethodGet, s.url(path), "")
		request.Host = "evil.example.com"
		request.Header.Set("X-Forwarded-Host", "evil.example.com")
		request.Header.Set("X-Forwarded-Proto", "https")
		request.Header.Set("Forwarded", "host=evil.example.com")
		evil := testgateway.Send(t, request)
		assert.Equal(t, got.Body, evil.Body)
	})
	t.Run("F01 its path is inserted between host and path of the issuer", func(t *testing.T) {
		s.reload(t, s.caddyfile(strings.Replace(s.option(), "issuer http://"+s.address, "issuer http://"+s.address+"/tenant/a", 1), s.site(app)))
		got := testgateway.Get(t, s.url(path+"/tenant/a"))
		require.Equal(t, http.StatusOK, got.Status)
		document := members(t, got.Body)
		assert.Equal(t, s.url("/tenant/a"), document["issuer"])
		assert.Equal(t, s.url("/tenant/a/oauth2/token"), document["token_endpoint"])
		assert.Equal(t, http.StatusUnauthorized, testgateway.Get(t, s.url(path)).Status, "that is somebody else's")
		assert.Equal(t, http.StatusMethodNotAllowed, testgateway.Get(t, s.url("/tenant/a/oauth2/token")).Status)
	})
}
