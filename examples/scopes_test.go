package examples_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// issue asks the embedded authorization server for a token.
func issue(t *testing.T, site, client string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	return testgateway.Send(t, testgateway.Form(t, site+"/oauth2/token", client, client+"-secret", form)).AccessToken(t)
}

func TestScopes(t *testing.T) {
	port, backend := testgateway.Port(t), testgateway.Port(t)
	site := "http://localhost:" + port
	gateway := testgateway.Start(t, caddyfile(t, "scopes",
		"http://localhost:8080", site,
		"127.0.0.1:8081", "127.0.0.1:"+backend,
		"http://:8081", "http://:"+backend,
	))
	scopes := map[string]string{
		"":        "",
		"viewer":  "orders:read",
		"clerk":   "orders:read orders:write",
		"manager": "orders:read orders:write orders:admin",
	}
	tokens := make(map[string]string)
	for client := range scopes {
		if client != "" {
			tokens[client] = issue(t, site, client)
			gateway.GuardClient(client, client+"-secret")
			gateway.Guard(tokens[client])
		}
	}
	const (
		read  = `Bearer realm="portcullis", scope="orders:read"`
		write = `Bearer realm="portcullis", scope="orders:write"`

		noWrite = `Bearer realm="portcullis", error="insufficient_scope", scope="orders:write"`
		noAdmin = `Bearer realm="portcullis", error="insufficient_scope", scope="orders:admin"`
	)
	for _, test := range []struct {
		client, method, path string
		status               int
		challenge            string
	}{
		{"", "GET", "/public/prices", 200, ""},
		{"", "GET", "/health", 200, ""},
		{"", "POST", "/public/contact", 200, ""},
		{"viewer", "GET", "/public/prices", 200, ""},

		{"", "GET", "/orders/7", 401, read},
		{"", "HEAD", "/orders/7", 401, read},
		{"", "GET", "/", 401, read},
		{"", "GET", "/public", 401, read},
		{"", "GET", "/healthy", 401, read},
		{"", "GET", "/whatever", 401, read},
		{"", "POST", "/orders", 401, write},
		{"", "OPTIONS", "/orders", 401, write},
		{"", "PURGE", "/orders", 401, write},
		{"", "GET", "/admin/users", 401, read}, // the first rule that is not met answers

		// K06: there is no way round by the spelling of a path.
		{"", "GET", "/public/../orders/7", 401, read},
		{"", "GET", "/public/%2e%2e/orders/7", 401, read},
		{"", "GET", "/public/..%2forders/7", 401, read},
		{"", "GET", "//orders/7", 401, read},
		{"clerk", "GET", "/%61dmin/users", 403, noAdmin},
		{"clerk", "GET", "//admin/users", 403, noAdmin},
		{"clerk", "GET", "/ADMIN/users", 403, noAdmin},
		{"clerk", "GET", "/orders/../admin/users", 403, noAdmin},

		{"viewer", "GET", "/orders/7", 200, ""},
		{"viewer", "HEAD", "/orders/7", 200, ""},
		{"viewer", "POST", "/orders", 403, noWrite},
		{"viewer", "PUT", "/orders/7", 403, noWrite},
		{"viewer", "PATCH", "/orders/7", 403, noWrite},
		{"viewer", "DELETE", "/orders/7", 403, noWrite},
		{"viewer", "GET", "/admin", 403, noAdmin},
		{"viewer", "GET", "/admin/users", 403, noAdmin},

		{"clerk", "GET", "/orders/7", 200, ""},
		{"clerk", "POST", "/orders", 200, ""},
		{"clerk", "DELETE", "/orders/7", 200, ""},
		{"clerk", "GET", "/admin/users", 403, noAdmin},
		{"clerk", "DELETE", "/admin/users", 403, noAdmin},

		{"manager", "GET", "/orders/7", 200, ""},
		{"manager", "DELETE", "/orders/7", 200, ""},
		{"manager", "GET", "/admin", 200, ""},
		{"manager", "DELETE", "/admin/users", 200, ""},
	} {
		t.Run(fmt.Sprintf("%s of %s by %s", test.method, test.path, who(test.client)), func(t *testing.T) {
			request := testgateway.Request(t, test.method, site+test.path, tokens[test.client])
			for _, header := range []string{"Remote-User", "Remote-Client", "Remote-Scope", "Remote_User", "remote.scope"} {
				request.Header[header] = []string{"forged"}
			}
			answer := testgateway.Send(t, request)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			if test.status != http.StatusOK || test.method == http.MethodHead {
				assert.Empty(t, answer.Body)
				return
			}
			told := fmt.Sprintf("%s %s\nRemote-User:   \nRemote-Client: %s\nRemote-Scope:  %s\nAuthorization: \n",
				test.method, test.path, test.client, scopes[test.client])
			assert.Equal(t, told, answer.Body, "J01 J13")
		})
	}

	t.Run("a bad token is refused on a public path", func(t *testing.T) {
		answer := testgateway.Send(t, testgateway.Request(t, http.MethodGet, site+"/public/prices", "bad-token"))
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		assert.Equal(t, `Bearer realm="portcullis", error="invalid_token"`, answer.Challenge(t))
	})
}

func who(client string) string {
	if client == "" {
		return "nobody"
	}
	return client
}
