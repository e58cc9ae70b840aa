package e2e

import (
	"fmt"
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
