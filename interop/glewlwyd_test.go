package interop_test

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// glewlwydSchema makes an empty database, with the user admin. It is part of Debian's package.
const glewlwydSchema = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"

// glewlwyd is an authorization server of Debian's package, with a database of its own.
type glewlwyd struct {
	endpoints
	database string
	api      string
	admin    []*http.Cookie
}

// startGlewlwyd starts Glewlwyd and sets up its OpenID Connect plugin as an administrator does, with the clients of the
// tests and the user jane.
func startGlewlwyd(t *testing.T) *glewlwyd {
	t.Helper()
	program, err := exec.LookPath("glewlwyd")
	if err == nil {
		_, err = os.Stat(glewlwydSchema)
	}
	if err != nil {
		unavailable(t, "needs Glewlwyd: apt-get install glewlwyd", err)
	}
	config, err := filepath.Abs("glewlwyd/glewlwyd.conf")
	require.NoError(t, err)
	require.FileExists(t, config) // and so a cached result is not used when it changes
	dir, port := t.TempDir(), testgateway.Port(t)
	g := &glewlwyd{database: filepath.Join(dir, "glewlwyd.db"), api: "http://127.0.0.1:" + port + "/api"}
	g.sql(t, ".read "+glewlwydSchema)

	command := exec.Command(program, "--config-file="+config, "--port="+port)
	command.Dir = dir
	testgateway.Run(t, command).Await(t, "Glewlwyd started on port "+port)
	require.Eventually(t, func() bool { // it says that a moment before it listens
		connection, err := net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil && connection.Close() == nil
	}, time.Minute, 5*time.Millisecond)

	g.admin = g.set(t, "/auth/", map[string]any{"username": "admin", "password": "password"})
	g.endpoints = g.plugin(t, "oidc", map[string]any{"jwt-type": "sha", "key": "a key of the tests"})
	for _, scope := range []string{"orders:read", "orders:write", "introspection"} {
		g.set(t, "/scope/", map[string]any{"name": scope, "display_name": scope, "password_required": false})
	}
	g.set(t, "/user/", map[string]any{
		"username": "jane", "password": "jane-password", "scope": []string{"orders:read", "orders:write"}, "enabled": true,
	})
	for _, client := range []struct {
		credentials
		scope []string
	}{
		{glewlwydGateway, []string{"introspection"}},
		{glewlwydStrange, []string{}},
		{glewlwydApp, []string{"orders:read", "orders:write"}},
	} {
		g.set(t, "/client/", map[string]any{
			"client_id":                  client.id,
			"password":                   client.secret,
			"scope":                      client.scope,
			"confidential":               true,
			"enabled":                    true,
			"authorization_type":         []string{"client_credentials", "password", "refresh_token"},
			"token_endpoint_auth_method": []string{"client_secret_basic"},
		})
	}
	return g
}

// plugin adds an OpenID Connect plugin, which signs with the given keys, and returns its endpoints.
func (g *glewlwyd) plugin(t *testing.T, name string, keys map[string]any) endpoints {
	t.Helper()
	url := g.api + "/" + name
	parameters := map[string]any{
		"iss":                                          url,
		"jwt-key-size":                                 "256",
		"access-token-duration":                        3600,
		"refresh-token-duration":                       3600,
		"code-duration":                                600,
		"allow-non-oidc":                               true,
		"auth-type-client-enabled":                     true,
		"auth-type-code-enabled":                       false,
		"auth-type-implicit-enabled":                   false,
		"auth-type-password-enabled":                   true,
		"auth-type-refresh-enabled":                    true,
		"introspection-revocation-allowed":             true,
		"introspection-revocation-allow-target-client": true,
		"introspection-revocation-auth-scope":          []string{"introspection"},
	}
	maps.Copy(parameters, keys)
	g.set(t, "/mod/plugin/", map[string]any{
		"module": "oidc", "name": name, "display_name": name, "enabled": true, "parameters": parameters,
	})
	return endpoints{url + "/token", url + "/introspect", url + "/revoke"}
}

// The clients of Glewlwyd.
var (
	glewlwydGateway = credentials{"gateway", "gateway-secret_0.1~glewlwyd"}
	glewlwydStrange = credentials{"gateway-2", strangeSecret}
	glewlwydApp     = credentials{app, appSecret}
)

// set sends a document to the admin API, and returns the cookies of the answer.
func (g *glewlwyd) set(t *testing.T, path string, document map[string]any) []*http.Cookie {
	t.Helper()
	body, err := json.Marshal(document)
	require.NoError(t, err)
	request := testgateway.Post(t, g.api+path, "application/json", string(body))
	for _, cookie := range g.admin {
		request.AddCookie(cookie)
	}
	answer := testgateway.Send(t, request)
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	return (&http.Response{Header: answer.Header}).Cookies()
}

// sql changes the database.
func (g *glewlwyd) sql(t *testing.T, statement string) {
	t.Helper()
	output, err := exec.Command("sqlite3", "-bail", "-cmd", ".timeout 10000", g.database, statement).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// own gets an access token for a client itself by the client credentials grant.
func (g *glewlwyd) own(t *testing.T, client credentials, scope string) string {
	t.Helper()
	return g.issue(t, client, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}).Access
}

// signIn gets tokens for the user jane by the password grant.
func (g *glewlwyd) signIn(t *testing.T) issued {
	t.Helper()
	return g.issue(t, glewlwydApp, url.Values{
		"grant_type": {"password"}, "username": {"jane"}, "password": {"jane-password"}, "scope": {"orders:read"},
	})
}

// Glewlwyd takes Basic credentials as they are typed, answers wrong ones with an empty page, and says of the audience what
// it says of the scope.
func TestTheGatewayAsksGlewlwyd(t *testing.T) {
	g := startGlewlwyd(t)
	active := func(t *testing.T) string {
		t.Helper()
		return g.signIn(t).Access
	}
	c := counterpart{
		authority: []string{"endpoint " + g.introspection},
		client:    glewlwydGateway,
		strange:   glewlwydStrange,
		refused:   "401",
		told:      map[string]string{"Remote-User": "jane", "Remote-Client": app, "Remote-Scope": "orders:read"},
		active:    active,
		expired: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			require.True(t, g.endpoints.active(t, glewlwydGateway, token))
			// It was issued two hours ago. The lifetime of access tokens is an hour.
			g.sql(t, "UPDATE gpo_access_token SET gpoa_issued_at = gpoa_issued_at - 7200 WHERE gpoa_id = (SELECT max(gpoa_id) FROM gpo_access_token)")
			require.False(t, g.endpoints.active(t, glewlwydGateway, token))
			return token
		},
		revoked: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			g.revoke(t, glewlwydApp, token)
			return token
		},
		refresh: func(t *testing.T) string {
			t.Helper()
			token := g.signIn(t).Refresh
			require.True(t, g.endpoints.active(t, glewlwydGateway, token), "without token_type_hint it is active")
			return token
		},
		revoke: func(t *testing.T, token string) { g.revoke(t, glewlwydApp, token) },
		others: map[string]other{
			"D16 a client's own token names the client and no user": {
				token: func(t *testing.T) string {
					t.Helper()
					return g.own(t, glewlwydApp, "orders:read orders:write")
				},
				told: map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read orders:write"},
			},
		},
	}
	t.Run("as a client", func(t *testing.T) { prove(t, c) })

	t.Run("C03 with a bearer token, and D13 without a hint", func(t *testing.T) {
		c.authority = append(c.authority, "token_type_hint off")
		c.signIn = []string{"bearer {env.INTROSPECTION_TOKEN}"}
		c.secrets = map[string]string{"INTROSPECTION_TOKEN": g.own(t, glewlwydGateway, "introspection")}
		prove(t, c)
	})
	t.Run("E05 an answer that is signed with a secret is not believed", func(t *testing.T) {
		c := c
		c.authority = []string{"endpoint " + g.introspection, "issuer " + g.api + "/oidc", `jwt_response {
			audience orders:read
		}`}
		c.signIn = nil
		refuseSigned(t, c, active(t), "not signed with one of")
	})
	t.Run("signed answers", func(t *testing.T) { proveGlewlwydSigns(t, g, c) })
}

// What Glewlwyd signs is for the audience of the token, which is the list of its scopes, and it signs nothing about a token
// that is not active.
func proveGlewlwydSigns(t *testing.T, g *glewlwyd, c counterpart) {
	t.Helper()
	private, public := newRSAKey(t)
	g.endpoints = g.plugin(t, "signing", map[string]any{"jwt-type": "rsa", "key": private, "cert": public, "jwks-show": true})
	issuer := g.api + "/signing"
	c.authority = []string{"endpoint " + g.introspection, "issuer " + issuer, `jwt_response {
			jwks ` + issuer + `/jwks
			audience orders:read
		}`}
	c.signIn = nil
	t.Run("J17 the backend verifies what it is handed", func(t *testing.T) {
		proveSigned(t, c, issuer+"/jwks", map[string]any{"aud": "orders:read", "iss": issuer})
	})
	t.Run("E03 for another audience nothing is believed", func(t *testing.T) {
		refuseSigned(t, c, g.own(t, glewlwydApp, "orders:read orders:write"), "not for this client")
	})
	t.Run("C10 about a token of nobody it says nothing", func(t *testing.T) { refuseSigned(t, c, "token-of-nobody-4rT", "status 400") })
	t.Run("C10 about a token that was revoked it says nothing", func(t *testing.T) { refuseSigned(t, c, c.revoked(t), "status 400") })
}
