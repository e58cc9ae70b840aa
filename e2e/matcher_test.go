package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Sites choose by the token's scopes and claims what a request gets.
func TestTheMatcher(t *testing.T) {
	t.Parallel()
	as, g := newAuthority(t), newGateway(t)
	as.on("token-of-a-writer", active(claims{"scope": "orders:read orders:write", "tenant": "acme", "level": 3, "roles": []string{"a", "b"}}))
	as.on("token-of-a-reader", active(claims{"scope": "orders:read", "tenant": "other", "aud": "https://elsewhere.example.com"}))
	as.on("token-of-all-orders", active(claims{"scope": "orders"}))
	matchers := []struct{ name, matcher string }{
		{"active", "introspect active"},
		{"scope", "introspect scope orders:write"},
		{"scopes", "introspect scope orders:read orders:write"},
		{"any_scope", "introspect any_scope admin orders:write"},
		{"claim", "introspect claim tenant acme umbrella"},
		{"claim-is-present", "introspect claim tenant"},
		{"number", "introspect claim level 3"},
		{"list", "introspect claim roles b"},
		{"all", "introspect {\nscope orders:read\nclaim tenant acme\nactive\n}"},
		{"not", "not introspect scope orders:write"},
		{"expression", "expression `introspect(\"scope\", \"orders:write\") && introspect('claim', 'tenant', 'acme')`"},
		{"expression-not", "expression `!introspect('active')`"},
		{"expression-placeholder", "expression `introspect('claim', 'tenant', {query.tenant})`"},
	}
	site := "introspect /enforced/* {\nscope_match hierarchic\n}\nintrospect /optional/* {\noptional\n}\n" +
		"introspect /observed/* {\nobserve\naudience https://api.example.com\n}\n"
	for _, m := range matchers {
		site += fmt.Sprintf("@%s {\npath */%[1]s\n%s\n}\nrespond @%[1]s yes\n", m.name, m.matcher)
	}
	g.Start(t, g.caddyfile(as.option(""), site+"respond no\n"+"handle_errors {\n@good introspect active\nrespond @good \"active\"\nrespond {err.status_code}\n}\n"))

	const writer, reader, orders = "token-of-a-writer", "token-of-a-reader", "token-of-all-orders"
	for _, c := range []struct {
		matcher string
		yes     map[string]bool // by token, where it is demanded
	}{
		{"active", map[string]bool{writer: true, reader: true, orders: true}},
		{"scope", map[string]bool{writer: true, orders: true}},
		{"scopes", map[string]bool{writer: true, orders: true}},
		{"any_scope", map[string]bool{writer: true, orders: true}},
		{"claim", map[string]bool{writer: true}},
		{"claim-is-present", map[string]bool{writer: true, reader: true}},
		{"number", map[string]bool{writer: true}},
		{"list", map[string]bool{writer: true}},
		{"all", map[string]bool{writer: true}},
		{"not", map[string]bool{reader: true}},
		{"expression", map[string]bool{writer: true}},
		{"expression-not", nil},
		{"expression-placeholder?tenant=acme", map[string]bool{writer: true}},
		{"expression-placeholder?tenant=%7B", nil},
		{"expression-placeholder?tenant=", nil},
	} {
		t.Run(c.matcher, func(t *testing.T) {
			answer := map[bool]string{true: "yes", false: "no"}
			for _, token := range []string{writer, reader, orders} {
				assert.Equal(t, answer[c.yes[token]], g.get(t, "/enforced/"+c.matcher, token).Body, token)
			}
			negated := c.matcher == "not" || c.matcher == "expression-not"
			assert.Equal(t, answer[negated], g.get(t, "/optional/"+c.matcher, "").Body, "without a token it matches nothing")
			assert.Equal(t, answer[negated], g.get(t, "/observed/"+c.matcher, "").Body, "observed, without a token")
			assert.Equal(t, answer[negated], g.get(t, "/observed/"+c.matcher, reader).Body, "observed, and the token is not good here")
			got := g.get(t, "/unprotected/"+c.matcher, writer)
			assert.Equal(t, http.StatusInternalServerError, got.Status, "K09 nobody has looked at the token")
		})
	}
	t.Run("what was refused is not active on an error page", func(t *testing.T) {
		got := g.get(t, "/enforced/active", "token-of-nobody")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, "401", got.Body)
	})
}
