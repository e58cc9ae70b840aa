package interop_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func startOauthlib(t *testing.T) site {
	t.Helper()
	_, url := startPython(t, "oauthlib", "oauthlib", "python3-oauthlib")
	return site{
		tokens:        url + "/token",
		introspection: url + "/introspect",
		revocation:    url + "/revoke",
		expiry:        url + "/test/expire",
	}
}

// The challenge of oauthlib for wrong credentials is a Bearer one, which a client of the gateway would take for its own.
func TestTheGatewayAsksOauthlib(t *testing.T) {
	oauthlib := startOauthlib(t)
	prove(t, oauthlib.counterpart("401 (invalid_client)"))
	t.Run("whose claims are the developer's", func(t *testing.T) { proveClaims(t, oauthlib) })
}

const claimsFile = `{
	introspect late {
		endpoint {endpoint}/late
		client gateway {env.SECRET}
		cache off
	}
	introspect floats {
		endpoint {endpoint}/floats
		client gateway {env.SECRET}
		cache off
	}
	introspect lists {
		endpoint {endpoint}/lists
		client gateway {env.SECRET}
		cache off
	}
}

http://localhost:{$PORT} {
	introspect /late late {
		scope orders:read
		audience orders-app
	}
	introspect /floats floats {
		scope orders:read
		audience orders-app
	}
	introspect /lists lists {
		scope orders:read
		audience orders-app
	}
	reverse_proxy {$BACKEND}
}
`

// Each endpoint calls a token active whose lifetime is over. An attacker who has found an old one waits for just that.
func proveClaims(t *testing.T, oauthlib site) {
	t.Helper()
	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	process := testgateway.Start(t, strings.ReplaceAll(claimsFile, "{endpoint}", oauthlib.introspection),
		"BACKEND="+backend.Address,
		"PORT="+port,
		"SECRET="+asker.secret,
	)
	process.GuardClient(asker.id, asker.secret)
	g := &gateway{Gateway: process, url: "http://localhost:" + port, backend: backend}

	for name, test := range map[string]struct{ path, user string }{
		"as RFC 7662 has them":                      {"/late", "jane"},
		"D06 fractions of seconds":                  {"/floats", "jane"},
		"D06 D08 D11 arrays, and digits in strings": {"/lists", "42"},
	} {
		t.Run(name, func(t *testing.T) {
			token, _ := oauthlib.signIn(t, "orders:read")
			answer := g.get(t, test.path, token)
			require.Equal(t, http.StatusOK, answer.Status)
			seen := backend.Take()
			require.Len(t, seen, 1)
			want := map[string]string{"Remote-User": test.user, "Remote-Client": app, "Remote-Scope": "orders:read"}
			assert.Equal(t, want, told(t, seen[0]))

			oauthlib.expire(t, token)
			require.Contains(t, oauthlib.introspect(t, oauthlib.introspection+test.path, token), `"active": true`)
			answer = g.get(t, test.path, token)
			assert.Equal(t, http.StatusUnauthorized, answer.Status, "D04")
			assert.Equal(t, invalidToken, answer.Challenge(t), "D04")
			assert.Empty(t, backend.Take(), "D04")
		})
	}
}
