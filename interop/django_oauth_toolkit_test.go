package interop_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func startDjangoOAuthToolkit(t *testing.T) site {
	t.Helper()
	_, url := startPython(t, "django-oauth-toolkit", "oauth2_provider", "python3-django-oauth-toolkit")
	return site{
		tokens:        url + "/o/token/",
		introspection: url + "/o/introspect/",
		revocation:    url + "/o/revoke_token/",
		expiry:        url + "/test/expire",
	}
}

// Django OAuth Toolkit introspects for every client, and for everybody with a token of the scope "introspection". It
// answers anybody else with a 403 that holds an empty page. Its answers have no sub: the user is the username.
func TestTheGatewayAsksDjangoOAuthToolkit(t *testing.T) {
	dot := startDjangoOAuthToolkit(t)
	c := dot.counterpart("403")
	t.Run("as a client", func(t *testing.T) { prove(t, c) })

	t.Run("C03 with a bearer token", func(t *testing.T) {
		c.signIn = []string{"bearer {env.INTROSPECTION_TOKEN}"}
		c.secrets = map[string]string{"INTROSPECTION_TOKEN": dot.issue(t, asker, "introspection")}
		prove(t, c)
	})

	t.Run("C03 with a bearer token that it gets itself", func(t *testing.T) {
		c.signIn = []string{"client gateway {env.SECRET}", "bearer_from " + dot.tokens + " introspection"}
		c.secrets = nil
		prove(t, c)
	})

	t.Run("and is turned away", func(t *testing.T) { proveRefusals(t, dot) })
}

const turnedAwayFile = `{
	introspect unscoped {
		endpoint {endpoint}
		bearer {env.UNSCOPED}
		cache off
	}
	introspect expired {
		endpoint {endpoint}
		bearer {env.EXPIRED}
		cache off
	}
	introspect refresh {
		endpoint {endpoint}
		bearer {env.REFRESH}
		cache off
	}
	introspect slash {
		endpoint {endpoint-without-slash}
		client gateway {env.SECRET}
		cache off
	}
}

http://localhost:{$PORT} {
	introspect /unscoped unscoped
	introspect /expired expired
	introspect /refresh refresh
	introspect /slash slash
	reverse_proxy {$BACKEND}
}
`

// The client's token is good each time. That nobody can tell is the operator's to mend, and nothing for the client to see.
func proveRefusals(t *testing.T, dot site) {
	t.Helper()
	unscoped, expired := dot.issue(t, asker, "orders:read"), dot.issue(t, asker, "introspection")
	dot.expire(t, expired)
	_, refresh := dot.signIn(t, "introspection")

	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	file := strings.NewReplacer(
		"{endpoint}", dot.introspection,
		"{endpoint-without-slash}", strings.TrimSuffix(dot.introspection, "/"),
	).Replace(turnedAwayFile)
	process := testgateway.Start(t, file,
		"BACKEND="+backend.Address,
		"EXPIRED="+expired,
		"PORT="+port,
		"REFRESH="+refresh,
		"SECRET="+asker.secret,
		"UNSCOPED="+unscoped,
	)
	process.Guard(unscoped, expired, refresh)
	process.GuardClient(asker.id, asker.secret)
	g := &gateway{Gateway: process, url: "http://localhost:" + port, backend: backend}
	token, _ := dot.signIn(t, "orders:read")

	for name, test := range map[string]struct{ authority, logged string }{
		"B16 a bearer token without the scope":   {"unscoped", "status 403"},
		"B16 a bearer token that has expired":    {"expired", "status 403"},
		"B16 a refresh token for a bearer token": {"refresh", "status 403"},
		// Django redirects to the URL with the slash, and a POST that followed would arrive as a GET.
		"C08 an endpoint without its slash": {"slash", "status 301"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := g.get(t, "/"+test.authority, token)
			assert.Equal(t, http.StatusBadGateway, answer.Status)
			assert.NotContains(t, answer.Header, "Www-Authenticate")
			assert.NotContains(t, answer.Header, "Location")
			assert.Empty(t, answer.Body)
			require.Empty(t, backend.Take())
			line := g.Await(t, "authority "+test.authority)
			assert.Contains(t, line, `"level":"error"`)
			assert.Contains(t, line, test.logged)
		})
	}
}
