package examples_test

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// generated is a secret of a client that the server has made up.
var generated = regexp.MustCompile(`pcs_[\w-]{43}`)

func TestAPITokens(t *testing.T) {
	port, gateway := testgateway.Port(t), testgateway.New(t)
	site := "http://localhost:" + port
	gateway.Start(t, caddyfile(t, "api-tokens", append(backend(t), "http://localhost:8080", site)...))

	steps := story(t, "api-tokens/README.md", "Run it")
	require.Len(t, steps, 5)
	secrets := generated.FindAllString(play(t, gateway, port, steps), -1)
	require.Len(t, secrets, 2)
	gateway.Guard(secrets...)

	add := gateway.Command(t, "authorization-server", "client", "add", "release-notes",
		"--generate", "--grant", "client_credentials", "--scope", "wiki:read", "--scope", "wiki:write")
	out, err := add.Output()
	require.NoError(t, err)
	secret := generated.FindString(string(out))
	gateway.GuardClient("release-notes", secret)
	token := testgateway.Send(t, testgateway.Form(t, site+"/oauth2/token", "release-notes", secret, url.Values{"grant_type": {"client_credentials"}})).AccessToken(t)

	told := func(method, path, client, scope, authorization string) string {
		return method + " " + path + "\nRemote-User:   \nRemote-Client: " + client + "\nRemote-Scope:  " + scope + "\nAuthorization: " + authorization + "\n"
	}
	basic := "Basic " + testgateway.Basic("alice", "her-password")
	gateway.Guard("her-password")
	for _, test := range []struct {
		name, method, path, authorization string
		status                            int
		answer                            string
	}{
		{"reading", "GET", "/api/pages", "Bearer " + token, 200, told("GET", "/api/pages", "release-notes", "wiki:read wiki:write", "")},
		{"writing", "DELETE", "/api/pages/7", "Bearer " + token, 200, told("DELETE", "/api/pages/7", "release-notes", "wiki:read wiki:write", "")},
		{"B03 reading without a token", "GET", "/api", "", 401, `Bearer realm="portcullis", scope="wiki:read"`},
		{"B03 writing without a token", "POST", "/api/pages", "", 401, `Bearer realm="portcullis", scope="wiki:write"`},
		{"A08 a password in front of the API", "GET", "/api/pages", basic, 401, `Bearer realm="portcullis", scope="wiki:read"`},
		{"K06 another spelling", "GET", "//API/../api/pages", "", 401, `Bearer realm="portcullis", scope="wiki:read"`},
		{"a page", "GET", "/pages/7", "", 200, told("GET", "/pages/7", "", "", "")},
		{"a page, with a password", "POST", "/pages/7", basic, 200, told("POST", "/pages/7", "", "", basic)},
		{"B04 a page, with a bad token", "GET", "/pages/7", "Bearer bad-token", 401, `Bearer realm="portcullis", error="invalid_token"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := testgateway.Request(t, test.method, site+test.path, "")
			if test.authorization != "" {
				request.Header.Set("Authorization", test.authorization)
			}
			request.Header.Set("Remote-User", "admin")
			request.Header["Remote_Client"] = []string{"admin"}
			got := testgateway.Send(t, request)
			require.Equal(t, test.status, got.Status)
			if test.status == http.StatusOK {
				assert.Equal(t, test.answer, got.Body, "J01 J02 J13")
				return
			}
			assert.Equal(t, test.answer, got.Challenge(t))
		})
	}
}
