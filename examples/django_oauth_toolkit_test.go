package examples_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// startDjango starts the site that the example's README names, and returns its URL.
func startDjango(t *testing.T) string {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's, which has Debian's packages
	if output, err := exec.Command(python, "-c", "import oauth2_provider").CombinedOutput(); err != nil {
		const missing = "needs Django OAuth Toolkit: apt-get install python3-django-oauth-toolkit"
		if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
			t.Fatalf("%s\n%s", missing, output)
		}
		t.Skip(missing)
	}
	const program = "../interop/django-oauth-toolkit/server.py"
	require.FileExists(t, program) // and so a cached result is not used when it changes
	return testgateway.Run(t, exec.Command(python, program)).Await(t, "http://127.0.0.1:")
}

// signIn gets jane's tokens.
func signIn(t *testing.T, site, scope string) (access, refresh string) {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {"jane"}, "password": {"jane-password"}, "scope": {scope}}
	answer := testgateway.Send(t, testgateway.Form(t, site+"/o/token/", "orders-app", "orders-app-secret", form))
	var issued struct {
		RefreshToken string `json:"refresh_token"`
	}
	access = answer.AccessToken(t)
	require.NoError(t, json.Unmarshal([]byte(answer.Body), &issued))
	require.NotEmpty(t, issued.RefreshToken)
	return access, issued.RefreshToken
}

func TestDjangoOAuthToolkit(t *testing.T) {
	const secret = "gateway-secret"
	site := startDjango(t)
	port, backend := testgateway.Port(t), testgateway.Port(t)
	gateway := testgateway.Start(t, caddyfile(t, "django-oauth-toolkit",
		"http://localhost:8000", site,
		"http://localhost:8080", "http://localhost:"+port,
		"127.0.0.1:8081", "127.0.0.1:"+backend,
		"http://:8081", "http://:"+backend,
	), "DJANGO_SECRET="+secret)
	gateway.GuardClient("gateway", secret)
	read, refresh := signIn(t, site, "orders:read")
	write, _ := signIn(t, site, "orders:write")
	gateway.Guard(read, refresh, write)

	for name, test := range map[string]struct {
		token     string
		status    int
		challenge string
	}{
		"A01 jane's":               {read, http.StatusOK, ""},
		"B03 none":                 {"", http.StatusUnauthorized, `Bearer realm="portcullis", scope="orders:read"`},
		"B04 one that is made up":  {"made-up", http.StatusUnauthorized, `Bearer realm="portcullis", error="invalid_token"`},
		"D13 jane's refresh token": {refresh, http.StatusUnauthorized, `Bearer realm="portcullis", error="invalid_token"`},
		"B05 jane's for something else": {
			write, http.StatusForbidden, `Bearer realm="portcullis", error="insufficient_scope", scope="orders:read"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			request := testgateway.Request(t, http.MethodGet, "http://localhost:"+port+"/orders/7", test.token)
			request.Header.Set("Remote-User", "admin")
			answer := testgateway.Send(t, request)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			if test.status != http.StatusOK {
				assert.Empty(t, answer.Body)
				return
			}
			const told = "GET /orders/7\nRemote-User:   jane\nRemote-Client: orders-app\nRemote-Scope:  orders:read\nAuthorization: \n"
			assert.Equal(t, told, answer.Body, "J01 J13")
		})
	}
}
