package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// Whatever is asked and however it is spelled, nobody comes to a protected path without a token (K06, K07, K08).
func TestWaysAround(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), "@admin path /admin /admin/*\nintrospect @admin\n"+app.Proxy()))

	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"} {
		t.Run("K02 K08 "+method, func(t *testing.T) {
			got := testgateway.Send(t, testgateway.Request(t, method, "http://"+g.address+"/admin/users", ""))
			assert.Equal(t, http.StatusUnauthorized, got.Status)
			assert.Equal(t, challengeNoToken, got.Challenge(t), "B13")
		})
	}
	t.Run("K01 a preflight, where preflight is not configured", func(t *testing.T) {
		got := g.raw(t, "OPTIONS /admin/users", []string{"Origin: https://a.example.com", "Access-Control-Request-Method: GET"}, "")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
	})
	for name, headers := range map[string][]string{
		"K07 X-Forwarded-Uri": {"X-Forwarded-Uri: /public", "X-Original-Url: /public", "X-Rewrite-Url: /public"},
		"K08 overrides":       {"X-Http-Method-Override: OPTIONS", "X-Method-Override: OPTIONS"},
		"K07 trusted":         {"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, http.StatusUnauthorized, g.raw(t, "GET /admin/users", headers, "").Status)
		})
	}
	for i, target := range []string{
		"/admin", "/admin/", "/admin/users", "/ADMIN/users", "/%61dmin/users", "/%61%64%6d%69%6e/users", "//admin/users",
		"///admin//users", "/./admin/users", "/public/../admin/users", "/public/%2e%2e/admin/users", "/admin/users?x=/public",
		"/admin/users;x", "http://evil.example.com/admin/users", "/admin/%2e/users",
	} {
		t.Run("K06 "+target, func(t *testing.T) {
			mark := fmt.Sprintf("mark-%d", i)
			got := g.raw(t, "GET "+target, []string{"X-Mark: " + mark}, "")
			for _, seen := range app.All() {
				if seen.Header.Get("X-Mark") == mark {
					asked, err := url.Parse(seen.URI)
					require.NoError(t, err)
					assert.False(t, strings.HasPrefix(strings.ToLower(path.Clean("/"+asked.Path)), "/admin"),
						"the backend was asked for %s", seen.URI)
				}
			}
			assert.Equal(t, http.StatusUnauthorized, got.Status)
		})
	}
}

// A client hides what it asks for in a target without a path, which matchers and expressions do not see, and which a backend takes
// for a URL, or for the path /.
func TestK06ATargetWithoutAPath(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	const reader = "token-of-a-reader"
	as.on(reader, active(claims{"scope": "read"}))
	for name, site := range map[string]string{
		"a list of what is protected": "introspect / {\nscope admin\n}\nintrospect /admin* {\nscope admin\n}\n" + app.Proxy(),
		"everything":                  "introspect /* {\nscope admin\n}\n" + app.Proxy(),
		"an expression":               "introspect {\nrequire `!(request.path == \"/\" || request.path.startsWith(\"/admin\"))`\n}\n" + app.Proxy(),
		"a handle":                    "handle / {\nerror 401\n}\nhandle /admin* {\nintrospect {\nscope admin\n}\n}\nhandle {\n" + app.Proxy() + "}\n",
		"a rewrite":                   "rewrite * /v1{uri}\nintrospect {\nscope admin\n}\n" + app.Proxy(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			g.Start(t, g.caddyfile(as.option(""), site))
			for _, target := range []string{
				"x:http://evil.example.com/admin", "http:admin", "x:admin?page=1", "*", "http://evil.example.com", "http://evil.example.com?page=1", "/",
			} {
				for _, headers := range [][]string{nil, {"Authorization: Bearer " + reader}} {
					got := g.raw(t, "GET "+target, headers, "")
					assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, got.Status, target)
				}
			}
			if name == "everything" {
				assert.Equal(t, http.StatusUnauthorized, g.raw(t, "CONNECT evil.example.com:80", nil, "").Status)
			}
		})
	}
	t.Cleanup(func() { assert.Empty(t, app.All()) })
}

// Error pages come from the backend. Some errors are made by Caddy before any directive has seen the request, and what the client
// says of itself is still there.
func TestK06AnErrorPageIsNoWayAround(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect
		`+app.Proxy()+`
		handle_errors {
			rewrite * /errors/{err.status_code}
			`+app.Proxy()+`
		}`))
	for name, request := range map[string]string{
		"refused":       "GET x:http://evil.example.com/admin HTTP/1.1\r\nHost: a\r\n",
		"without host":  "GET x:http://evil.example.com/admin HTTP/1.1\r\nHost:\r\n",
		"a long method": strings.Repeat("G", 33) + " x:http://evil.example.com/admin HTTP/1.1\r\nHost: a\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			connection := testgateway.Dial(t, g.address)
			_, err := io.WriteString(connection, request+"Remote-User: admin\r\n\r\n")
			require.NoError(t, err)
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			require.NoError(t, err)
			defer response.Body.Close()
			assert.Equal(t, http.StatusBadRequest, response.StatusCode)
			for _, seen := range app.Take() {
				assert.NotContains(t, seen.URI, "admin")
			}
		})
	}
}
