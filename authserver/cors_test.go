package authserver_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestD17ScriptsOfOtherOrigins(t *testing.T) {
	f := newUserServer(t)
	preflight := http.Header{
		"Origin": {"https://spa.example"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,dpop"},
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/par"} {
		t.Run(path, func(t *testing.T) {
			response, _ := f.do(t, request{method: http.MethodOptions, path: path, header: preflight})
			assert.Equal(t, 204, response.StatusCode)
			assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"))
			assert.Contains(t, response.Header.Get("Access-Control-Allow-Methods"), "POST")
			assert.Equal(t, "Authorization, Content-Type, DPoP", response.Header.Get("Access-Control-Allow-Headers"))
			assert.Empty(t, response.Header.Get("Access-Control-Allow-Credentials"), "no cookie means anything here")

			response, _ = f.do(t, request{path: path, header: http.Header{"Origin": {"https://spa.example"}}, user: "web", password: "wrong", form: exchange("x")})
			assert.Equal(t, 401, response.StatusCode, "a script reads why it is refused")
			assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"))
			assert.Contains(t, response.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate")
			assert.Contains(t, response.Header.Get("Access-Control-Expose-Headers"), "DPoP-Nonce")

			response, _ = f.do(t, request{method: http.MethodOptions, path: path})
			assert.Equal(t, 405, response.StatusCode, "this is no preflight")
		})
	}
	for _, path := range []string{"/oauth2/authorize", "/oauth2/login", "/oauth2/consent", "/oauth2/introspect"} {
		t.Run("A10 not "+path, func(t *testing.T) {
			b := f.browser()
			b.header = preflight
			got := b.send(t, http.MethodOptions, issuer+path, nil)
			assert.GreaterOrEqual(t, got.StatusCode, 400)
			for name := range got.Header {
				assert.NotContains(t, name, "Access-Control")
			}
		})
	}
}
