package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestRequire(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const secret = "answer-canary-7yHb"
	hour := time.Now().Add(time.Hour).Unix()
	as.on("token-of-a-manager", active(claims{
		"sub": "alice", "level": 5, "scope": "orders:read orders:write", "exp": hour, "roles": []string{"manager"},
		"https://example.com/team": "blue", "secret_claim": secret,
	}))
	as.on("token-of-a-clerk", active(claims{"sub": "bob", "level": "5", "scope": "orders:read", "exp": hour, "secret_claim": secret}))
	as.on("token-of-a-crowd", active(claims{"roles": strings.Fields(strings.Repeat("staff ", 20_000)), "secret_claim": secret}))
	g.Guard(secret)

	routes := []struct {
		name    string
		require []string
		manager bool // whether the manager may pass; the clerk never does
	}{
		{"a claim", []string{"`claims.level >= 3`"}, true},
		{"D17 a claim that is named by a URL", []string{"`claims[\"https://example.com/team\"] == \"blue\"`"}, true},
		{"a scope", []string{"`\"orders:write\" in scopes`"}, true},
		{"a role", []string{"`\"manager\" in claims.roles`"}, true},
		{"the time", []string{"`timestamp(claims.exp) > now + duration(\"30m\") && has(claims.roles)`"}, true},
		{"a time that is not left", []string{"`timestamp(claims.exp) > now + duration(\"2h\")`"}, false},
		{"the host, without its port", []string{"`request.host == \"127.0.0.1\" && claims.level == 5`"}, true},
		{"the method", []string{"`request.method == \"GET\" && claims.level == 5`"}, true},
		{"another method", []string{"`request.method == \"POST\"`"}, false},
		{"several lines", []string{"`claims.level >= 3`", "`\"orders:read\" in scopes`"}, true},
		{"several lines, of which one does not hold", []string{"`claims.level >= 3`", "`claims.level >= 6`", "`true`"}, false},
		{"an absent claim", []string{"`claims.nope == 1`"}, false},
		{"an absent claim, denied", []string{"`claims.nope != 1`"}, false},
		{"another type", []string{"`claims.sub > 3`"}, false},
		{"an optional claim", []string{"`claims.?nope.orValue(1) == 1 && claims.?roles.orValue([]).size() == 1`"}, true},
		{"a claim that is too much work", []string{"`claims.roles.all(a, claims.roles.all(b, a == b))`"}, true},
	}
	var site strings.Builder
	for i, route := range routes {
		fmt.Fprintf(&site, "handle /%d/* {\n\tintrospect {\n\t\trequire %s\n\t}\n\t%s}\n", i, strings.Join(route.require, "\n\t\trequire "), app.Proxy())
	}
	site.WriteString("handle_errors {\n\trespond \"{err.status_code} {http.introspect.error}: {http.introspect.error_description}\"\n}\n")
	g.Start(t, g.caddyfile(as.option(""), site.String()))

	for i, route := range routes {
		t.Run(route.name, func(t *testing.T) {
			for who, passes := range map[string]bool{"manager": route.manager, "clerk": false, "crowd": false} {
				path := fmt.Sprintf("/%d/%s", i, who)
				began := time.Now()
				got := g.get(t, path, "token-of-a-"+who)
				assert.Less(t, time.Since(began), patience/2)
				if passes {
					require.Equal(t, http.StatusOK, got.Status, got.Body)
					continue
				}
				require.Equal(t, http.StatusForbidden, got.Status)
				assert.Equal(t, challengeNone, got.Challenge(t), "B12: no other token would help")
				assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
				assert.Regexp(t, `^403 forbidden: require .`, got.Body)
				assert.Empty(t, app.At(path))
			}
		})
	}
	for _, token := range []string{"token-of-a-manager", "token-of-a-clerk", "token-of-a-crowd"} {
		assert.Len(t, as.asked(token), once, "D12 what is remembered is judged by every route")
	}
	assert.Contains(t, g.Await(t, `"introspect":"forbidden"`), `"status":403`)
}

// A rule over paths holds for every spelling of them, and sees them as matchers do (K06).
func TestRequireByPath(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const reader, admin = "token-of-a-reader", "token-of-an-admin"
	as.on(reader, active(claims{"scope": "read"}))
	as.on(admin, active(claims{"scope": "read admin"}))
	const rule = "introspect {\n\trequire `!request.path.lowerAscii().startsWith(\"/admin\") || \"admin\" in scopes`\n}\n"
	g.Start(t, g.caddyfile(as.option(""), `
		handle_path /stripped/* {
			`+rule+app.Proxy()+`
		}
		handle /rewritten/* {
			rewrite /rewritten/users /admin/users
			`+rule+app.Proxy()+`
		}
		handle {
			`+rule+app.Proxy()+`
		}`))
	for _, target := range []string{
		"/admin", "/admin/", "/admin/users", "/ADMIN/users", "//admin", "///admin//users", "/./admin", "/public/../admin", "/public/%2e%2e/admin",
		"/public/..%2fadmin", "/%61dmin", "/%61%64%6d%69%6e/users", "/%41dmin", "/admin%2fusers", "/../admin", "/admin?x=/public", "/admin;x",
		"http://evil.example.com/admin", "/stripped/admin", "/stripped//admin", "/stripped/../admin", "/stripped/%61dmin", "/rewritten/users",
		"/rewritten/../admin",
	} {
		t.Run("K06 "+target, func(t *testing.T) {
			app.Take()
			got := g.raw(t, "GET "+target, []string{"Authorization: Bearer " + reader}, "")
			assert.Equal(t, http.StatusForbidden, got.Status)
			assert.Empty(t, app.Take())
			assert.Equal(t, http.StatusOK, g.raw(t, "GET "+target, []string{"Authorization: Bearer " + admin}, "").Status)
		})
	}
	for _, target := range []string{"/", "/public", "/public/admin", "/admin/../public", "/stripped/x", "/rewritten/x", "/%2561dmin", "/public?path=/admin"} {
		t.Run("open "+target, func(t *testing.T) {
			headers := []string{"Authorization: Bearer " + reader, "X-Forwarded-Uri: /admin", "X-Original-Url: /admin"}
			assert.Equal(t, http.StatusOK, g.raw(t, "GET "+target, headers, "").Status, "K07")
		})
	}
}
