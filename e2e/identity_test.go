package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// What claims become on the way to the backend.
func TestClaimsInHeaders(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect {
			copy_claims sub>X-Roles tenant/id a\.b deep.inner big flag object list
		}
		reverse_proxy `+app.Address+` {
			header_up X-Who "{http.auth.user.id}"
		}`))
	huge := strings.Repeat("é", 4096)
	cases := []struct {
		name   string
		claims string
		header string
		value  string // empty: there is no such header
	}{
		{"J05 a line break", `{"username":"a\r\nX-Admin: 1"}`, "Remote-User", "a%0D%0AX-Admin: 1"},
		{"J05 a line break, no second header", `{"username":"a\r\nX-Admin: 1"}`, "X-Admin", ""},
		{"J05 NUL", `{"username":"ad\u0000min"}`, "Remote-User", "ad%00min"},
		{"J05 a tab and DEL", `{"username":"a\tb\u007f"}`, "Remote-User", "a%09b%7F"},
		{"J05 a line break in a list", `{"groups":["a\nb","c"]}`, "Remote-Groups", "a%0Ab,c"},
		{"J05 a line break in the client", `{"client_id":"a\nb"}`, "Remote-Client", "a%0Ab"},
		{"J05 a line break in a scope", `{"scope":"a\nb c"}`, "Remote-Scope", "a%0Ab c"},
		{"J06 not ASCII", `{"username":"José"}`, "Remote-User", "Jos%C3%A9"},
		{"J07 full-width letters stay what they are", `{"username":"ａdmin"}`, "Remote-User", "%EF%BD%81dmin"},
		{"J07 a leading space", `{"username":" admin"}`, "Remote-User", "%20admin"},
		{"J07 a trailing space", `{"username":"admin "}`, "Remote-User", "admin%20"},
		{"J07 an inner space", `{"name":"Alice A."}`, "Remote-Name", "Alice A."},
		{"J07 a percent sign", `{"username":"%61dmin"}`, "Remote-User", "%2561dmin"},
		{"J08 a comma in a list", `{"groups":["a,admin","b"]}`, "Remote-Groups", "a%2Cadmin,b"},
		{"J08 a comma in a text", `{"name":"A., Alice"}`, "Remote-Name", "A., Alice"},
		{"J09 null", `{"email":null}`, "Remote-Email", ""},
		{"J09 absent", `{}`, "Remote-Email", ""},
		{"J11 empty", `{"email":""}`, "Remote-Email", ""},
		{"J11 an empty list", `{"groups":[]}`, "Remote-Groups", ""},
		{"D17 a number with every digit", `{"big":9007199254740993}`, "X-Claim-Big", "9007199254740993"},
		{"J09 a boolean", `{"flag":false}`, "X-Claim-Flag", "false"},
		{"J09 an object", `{"object":{"b":1,"a":[true,null]}}`, "X-Claim-Object", `{"b":1,"a":[true,null]}`},
		{"J09 a mixed list", `{"list":["a",1]}`, "X-Claim-List", `["a",1]`},
		{"a claim in an object", `{"deep":{"inner":"x"}}`, "X-Claim-Deep-Inner", "x"},
		{"a name with a slash", `{"tenant/id":"x"}`, "X-Claim-Tenant-Id", "x"},
		{"a name with a dot", `{"a.b":"x","a":{"b":"y"}}`, "X-Claim-A-B", "x"},
		{"roles in place of groups", `{"roles":["r"]}`, "Remote-Groups", "r"},
		{"sub in place of username", `{"sub":"248289761001"}`, "Remote-User", "248289761001"},
		{"username before sub", `{"sub":"1","username":"alice"}`, "Remote-User", "alice"},
		{"D16 a client that is called like a user", `{"sub":"admin","client_id":"admin"}`, "Remote-User", ""},
		{"D16 a token without a subject", `{"client_id":"admin"}`, "Remote-User", ""},
		{"D16 a client with a username", `{"sub":"shop","client_id":"shop","username":"alice"}`, "Remote-User", "alice"},
		{"J10 a claim that is too long for a header is not cut off", `{"name":"` + huge + `"}`, "Remote-Name", ""},
		{"J15 a placeholder in a name", `{"username":"{env.HOME}"}`, "Remote-User", "{env.HOME}"},
		{"J15 a placeholder in a name, in a placeholder", `{"username":"{env.HOME}"}`, "X-Who", "{env.HOME}"},
		{"copied claims", `{"sub":"s"}`, "X-Roles", "s"},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			token, path := canary(i), fmt.Sprintf("/%d", i)
			var members claims
			require.NoError(t, json.Unmarshal([]byte(c.claims), &members))
			as.on(token, saysJSON(`{"active":true,`+c.claims[1:]))
			if c.claims == "{}" {
				as.on(token, active(nil))
			}
			require.Equal(t, http.StatusOK, g.get(t, path, token).Status)
			var want []string
			if c.value != "" {
				want = []string{c.value}
			}
			assert.Equal(t, want, app.One(t, path).Header[c.header])
		})
	}
	t.Run("J10 a user whose name no header can carry is refused", func(t *testing.T) {
		as.on("token-of-a-long-name", active(claims{"username": huge}))
		got := g.get(t, "/long", "token-of-a-long-name")
		assert.Equal(t, http.StatusForbidden, got.Status)
		assert.Equal(t, challengeNone, got.Challenge(t))
		assert.Empty(t, app.At("/long"))
	})
}

// Placeholders are there on every request that passes the directive, and what the token does not have is empty.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	as, g := newAuthority(t), newGateway(t)
	as.on("token-of-alice", active(claims{
		"username": "alice", "sub": "1", "client_id": "shop", "scope": "a b", "iss": "https://as.example.com",
		"exp": 4102444800, "n": claims{"m": 1}, "secret_claim": "answer-canary-8kLm",
	}))
	g.Guard("answer-canary-8kLm")
	g.Start(t, g.caddyfile(as.option("main"), `
		introspect main {
			optional
		}
		respond "{http.auth.user.id}|{http.introspect.active}|{http.introspect.scope}|{http.introspect.client_id}|{http.introspect.sub}|{http.introspect.iss}|{http.introspect.exp}|{http.introspect.authority}|{http.introspect.cache}|{http.introspect.claims.n.m}|{http.introspect.claims.none}|{http.introspect.error}"
	`))
	assert.Equal(t, "alice|true|a b|shop|1|https://as.example.com|4102444800|main|miss|1||", g.get(t, "/", "token-of-alice").Body)
	assert.Equal(t, "alice|true|a b|shop|1|https://as.example.com|4102444800|main|memory|1||", g.get(t, "/", "token-of-alice").Body)
	assert.Equal(t, "|||||||||||", g.get(t, "/", "").Body)
	g.Await(t, `"introspect":"anonymous"`)
	for _, field := range []string{`"introspect":"allowed"`, `"client_id":"shop"`, `"user_id":"alice"`} {
		assert.Contains(t, g.Output.String(), field)
	}
}

// Two directives on one request both apply, each by its own rules.
func TestTwoDirectives(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]string{"remembering": "", "not remembering": "cache off"} {
		t.Run(name, func(t *testing.T) {
			as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
			as.on("token-of-an-admin", active(claims{"scope": "orders:read admin", "username": "alice", "tenant": "acme"}))
			as.on("token-of-a-reader", active(claims{"scope": "orders:read", "username": "bob"}))
			as.on("token-of-a-mere-admin", active(claims{"scope": "admin"}))
			g.Start(t, g.caddyfile(as.option("", cache), `
				introspect scope orders:read
				introspect /admin/* scope admin {
					copy_claims tenant
				}
				`+app.Proxy()))

			require.Equal(t, http.StatusOK, g.get(t, "/admin/1", "token-of-an-admin").Status)
			assert.Len(t, as.asked("token-of-an-admin"), once, "one request, one question")
			assert.Equal(t, map[string][]string{
				"Remote-User": {"alice"}, "Remote-Scope": {"orders:read admin"}, "X-Claim-Tenant": {"acme"},
			}, identityIn(app.One(t, "/admin/1").Header), "the second does not remove what the first has told")

			got := g.get(t, "/admin/2", "token-of-a-reader")
			assert.Equal(t, http.StatusForbidden, got.Status)
			assert.Equal(t, `Bearer realm="portcullis", error="insufficient_scope", scope="admin"`, got.Challenge(t))
			got = g.get(t, "/admin/3", "token-of-a-mere-admin")
			assert.Equal(t, http.StatusForbidden, got.Status)
			assert.Equal(t, `Bearer realm="portcullis", error="insufficient_scope", scope="orders:read"`, got.Challenge(t))
			assert.Empty(t, app.At("/admin/2"))
			assert.Empty(t, app.At("/admin/3"))
			assert.Equal(t, http.StatusOK, g.get(t, "/orders", "token-of-a-reader").Status)
		})
	}
}
