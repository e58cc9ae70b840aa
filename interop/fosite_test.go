package interop_test

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// startFosite builds and starts the server of fosite/main.go, which is a module of its own.
func startFosite(t *testing.T) endpoints {
	t.Helper()
	const folder = "fosite"
	for _, source := range []string{"go.mod", "go.sum", "main.go"} {
		require.FileExists(t, filepath.Join(folder, source)) // and so a cached result is not used when it changes
	}
	program := filepath.Join(t.TempDir(), folder)
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", program, ".")
	build.Dir = folder
	if output, err := build.CombinedOutput(); err != nil {
		unavailable(t, "needs ory/fosite, which `go mod download` in interop/fosite fetches: "+string(output), err)
	}
	url := testgateway.Run(t, exec.Command(program)).Await(t, "http://127.0.0.1:")
	return endpoints{url + "/oauth/token", url + "/oauth/introspect", url + "/oauth/revoke"}
}

// fosite decodes Basic credentials as RFC 6749 section 2.3.1 demands, answers wrong ones with an error of its own and
// no challenge, and leaves token_type out, so that nothing tells a refresh token from an access token.
func TestTheGatewayAsksFosite(t *testing.T) {
	fosite := startFosite(t)
	client, brief := credentials{app, appSecret}, credentials{"brief-app", "brief-app-secret"}
	asker := credentials{"gateway", "gateway-secret_0.1~fosite"}
	own := func(form url.Values) string {
		form.Set("grant_type", "client_credentials")
		return fosite.issue(t, client, form).Access
	}
	signIn := func(t *testing.T) issued {
		t.Helper()
		return fosite.issue(t, client, url.Values{
			"grant_type": {"password"}, "username": {"jane"}, "password": {"jane-password"}, "scope": {"orders:read offline"},
		})
	}
	active := func(t *testing.T) string {
		t.Helper()
		return signIn(t).Access
	}
	c := counterpart{
		authority: []string{"endpoint " + fosite.introspection},
		client:    asker,
		strange:   credentials{"gateway-2", strangeSecret},
		refused:   "401",
		told:      map[string]string{"Remote-User": "jane", "Remote-Client": app, "Remote-Scope": "orders:read offline"},
		active:    active,
		expired: func(t *testing.T) string {
			t.Helper()
			token := fosite.issue(t, brief, url.Values{"grant_type": {"client_credentials"}}).Access
			fosite.outlive(t, asker, token)
			return token
		},
		revoked: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			fosite.revoke(t, client, token)
			return token
		},
		refresh: func(t *testing.T) string {
			t.Helper()
			return signIn(t).Refresh
		},
		refreshPasses: true,
		revoke:        func(t *testing.T, token string) { fosite.revoke(t, client, token) },
		others: map[string]other{
			"D16 a client's own token names the client and no user": {
				token: func(*testing.T) string { return own(url.Values{"scope": {"orders:read"}}) },
				told:  map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
			},
			"J09 J11 no scope, no header": {
				token: func(*testing.T) string { return own(url.Values{}) },
				told:  map[string]string{"Remote-Client": app},
			},
		},
	}
	t.Run("as a client", func(t *testing.T) { prove(t, c) })

	// Any active token will do, except for the one that is asked about.
	t.Run("C03 with a bearer token", func(t *testing.T) {
		c.signIn = []string{"bearer {env.INTROSPECTION_TOKEN}"}
		c.secrets = map[string]string{"INTROSPECTION_TOKEN": own(url.Values{})}
		prove(t, c)
	})
}
