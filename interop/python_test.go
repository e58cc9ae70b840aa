package interop_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// python is Debian's, which has Debian's packages. The first in the path may be another one.
const python = "/usr/bin/python3"

// startPython starts the server of a folder, and returns it and its URL. It imports the modules, which Debian's packages
// have.
func startPython(t *testing.T, folder, modules, packages string) (server *testgateway.Process, url string) {
	t.Helper()
	needPython(t, modules, packages)
	program := folder + "/server.py"
	require.FileExists(t, program) // and so a cached result is not used when it changes
	server = testgateway.Run(t, exec.Command(python, program))
	return server, server.Await(t, "http://127.0.0.1:")
}

// needPython skips the test if there are no such modules, which Debian's packages have.
func needPython(t *testing.T, modules, packages string) {
	t.Helper()
	if output, err := exec.Command(python, "-c", "import "+modules).CombinedOutput(); err != nil {
		missing := "needs " + modules + ": apt-get install " + packages
		if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
			t.Fatalf("%s\n%s", missing, output)
		}
		t.Skip(missing)
	}
}

// site is an authorization server in Python, one of several that have the same user and the same clients.
type site struct {
	// tokens, introspection and revocation are the URLs of its endpoints.
	tokens, introspection, revocation string
	// expiry is the URL that ends the lifetime of a token.
	expiry string
}

// The clients of a site, but for its user's application, which is app.
var (
	asker   = credentials{"gateway", "gateway-secret"}
	strange = credentials{"gateway-2", strangeSecret}
	job     = credentials{"orders-job", "orders-job-secret"}
)

// signIn gets tokens for the user jane by the password grant.
func (s site) signIn(t *testing.T, scope string) (access, refresh string) {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {"jane"}, "password": {"jane-password"}, "scope": {scope}}
	answer := testgateway.Send(t, testgateway.Form(t, s.tokens, app, appSecret, form))
	var issued struct {
		RefreshToken string `json:"refresh_token"`
	}
	access = answer.AccessToken(t)
	require.NoError(t, json.Unmarshal([]byte(answer.Body), &issued))
	require.NotEmpty(t, issued.RefreshToken)
	return access, issued.RefreshToken
}

// issue gets an access token for a client itself by the client credentials grant.
func (s site) issue(t *testing.T, client credentials, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return testgateway.Send(t, testgateway.Form(t, s.tokens, client.id, client.secret, form)).AccessToken(t)
}

// introspect returns what the site says of a token to whoever gives no token_type_hint.
func (s site) introspect(t *testing.T, endpoint, token string) string {
	t.Helper()
	answer := testgateway.Send(t, testgateway.Form(t, endpoint, asker.id, asker.secret, url.Values{"token": {token}}))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	return answer.Body
}

// revoke revokes a token of the user as its application does.
func (s site) revoke(t *testing.T, token string) {
	t.Helper()
	answer := testgateway.Send(t, testgateway.Form(t, s.revocation, app, appSecret, url.Values{"token": {token}}))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
}

// expire ends the lifetime of an access token.
func (s site) expire(t *testing.T, token string) {
	t.Helper()
	answer := testgateway.Send(t, testgateway.Form(t, s.expiry, "", "", url.Values{"token": {token}}))
	require.Equal(t, http.StatusNoContent, answer.Status, answer.Body)
}

// counterpart is what all sites have in common.
func (s site) counterpart(refused string) counterpart {
	active := func(t *testing.T) string {
		t.Helper()
		token, _ := s.signIn(t, "orders:read")
		return token
	}
	issue := func(scope string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return s.issue(t, job, scope)
		}
	}
	return counterpart{
		authority: []string{"endpoint " + s.introspection},
		client:    asker,
		strange:   strange,
		refused:   refused,
		told:      map[string]string{"Remote-User": "jane", "Remote-Client": app, "Remote-Scope": "orders:read"},
		active:    active,
		expired: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			s.expire(t, token)
			return token
		},
		revoked: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			s.revoke(t, token)
			return token
		},
		refresh: func(t *testing.T) string {
			t.Helper()
			_, token := s.signIn(t, "orders:read")
			return token
		},
		revoke: s.revoke,
		others: map[string]other{
			"D16 a client's own token names the client and no user": {
				token: issue("orders:read"),
				told:  map[string]string{"Remote-Client": job.id, "Remote-Scope": "orders:read"},
			},
			"J09 J11 no scope, no header": {
				token: issue(""),
				told:  map[string]string{"Remote-Client": job.id},
			},
		},
	}
}
