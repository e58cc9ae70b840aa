package interop_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestMain(m *testing.M) { os.Exit(testgateway.Main(m)) }

// The clients that authlib/server.py knows.
const (
	gatewaySecret = "gateway-secret_0.1~authlib"
	// strangeSecret has everything that the two ways to write Basic credentials write differently.
	strangeSecret = "p@ss w+rd/é%:& "
	app           = "orders-app"
	appSecret     = "orders-app-secret"
)

// authlib is the authorization server of authlib/server.py.
type authlib struct {
	*testgateway.Process
	url string
}

func startAuthlib(t *testing.T) *authlib {
	t.Helper()
	server, url := startPython(t, "authlib", "authlib, flask", "python3-authlib python3-flask")
	return &authlib{Process: server, url: url}
}

// issue asks Authlib for an access token by the client credentials grant.
func (a *authlib) issue(t *testing.T, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	return testgateway.Send(t, testgateway.Form(t, a.url+"/oauth/token", app, appSecret, form)).AccessToken(t)
}

// revoke revokes a token as its client does.
func (a *authlib) revoke(t *testing.T, token string) {
	t.Helper()
	form := url.Values{"token": {token}}
	answer := testgateway.Send(t, testgateway.Form(t, a.url+"/oauth/revoke", app, appSecret, form))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
}

// introspect returns what Authlib says of a token to whoever gives no token_type_hint.
func (a *authlib) introspect(t *testing.T, token string) string {
	t.Helper()
	form := url.Values{"token": {token}}
	answer := testgateway.Send(t, testgateway.Form(t, a.url+"/oauth/introspect", "gateway", gatewaySecret, form))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	return answer.Body
}

// store puts a token into Authlib's storage, with the fields of the class Token in authlib/server.py.
func (a *authlib) store(t *testing.T, fields map[string]any) {
	t.Helper()
	body, err := json.Marshal(fields)
	require.NoError(t, err)
	answer := testgateway.Send(t, testgateway.Post(t, a.url+"/test/token", "application/json", string(body)))
	require.Equal(t, http.StatusCreated, answer.Status, answer.Body)
}
