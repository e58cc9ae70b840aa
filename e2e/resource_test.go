package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// metadataPath is where the documents of RFC 9728 are.
const metadataPath = "/.well-known/oauth-protected-resource"

// at is a URL of the site.
func (g *gateway) at(path string) string { return "http://" + g.address + path }

// protecting is a directive for a path, with a resource of that path, and further lines.
func (g *gateway) protecting(path, lines string) string {
	return "introspect " + path + " {\nresource " + g.at(path) + "\n" + lines + "\n}\n"
}

func TestProtectedResourceMetadata(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(hidesTokens+as.option("", "issuer "+as.URL),
		g.protecting("/orders", "scope orders:read offline_access\nany_scope a b\nresource_metadata {\nresource_name \"The orders\"\nscopes_supported orders:write\n}")+
			g.protecting("/vault", "dpop required\nmtls required")+
			g.protecting("/forms", "token_from form access_token\ntoken_from query access_token\ntoken_from cookie session")+
			app.Proxy()))

	t.Run("the document", func(t *testing.T) {
		got := testgateway.Get(t, g.at(metadataPath+"/orders"))
		require.Equal(t, http.StatusOK, got.Status, "F01 F04 L01")
		assert.Equal(t, "application/json", got.Header.Get("Content-Type"), "F04")
		assert.Equal(t, "*", got.Header.Get("Access-Control-Allow-Origin"), "F15")
		assert.Equal(t, "public, max-age=300", got.Header.Get("Cache-Control"), "F15")
		assert.NotContains(t, got.Header, "Www-Authenticate", "F04")
		document := members(t, got.Body)
		assert.Equal(t, []any{"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}, document["dpop_signing_alg_values_supported"], "F11")
		delete(document, "dpop_signing_alg_values_supported")
		assert.Equal(t, map[string]any{
			"resource":                 g.at("/orders"), // F05
			"authorization_servers":    []any{as.URL},   // F08
			"bearer_methods_supported": []any{"header"}, // F09
			"scopes_supported":         []any{"orders:read", "a", "b", "orders:write"},
			"resource_name":            "The orders",
		}, document, "F07 F10 L07")
	})
	t.Run("F11 what another route demands", func(t *testing.T) {
		document := members(t, testgateway.Get(t, g.at(metadataPath+"/vault")).Body)
		assert.Equal(t, true, document["dpop_bound_access_tokens_required"])
		assert.Equal(t, true, document["tls_client_certificate_bound_access_tokens"])
		assert.NotContains(t, document, "scopes_supported", "F07")
	})
	t.Run("F09 the ways to present a token", func(t *testing.T) {
		document := members(t, testgateway.Get(t, g.at(metadataPath+"/forms")).Body)
		assert.Equal(t, []any{"body", "query"}, document["bearer_methods_supported"])
		assert.NotContains(t, document, "dpop_signing_alg_values_supported", "no token is taken under that scheme")
	})
	t.Run("F04 HEAD", func(t *testing.T) {
		got := testgateway.Send(t, testgateway.Request(t, http.MethodHead, g.at(metadataPath+"/orders"), ""))
		assert.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, strconv.Itoa(len(testgateway.Get(t, g.at(metadataPath+"/orders")).Body)), got.Header.Get("Content-Length"))
		assert.Empty(t, got.Body)
	})
	t.Run("F15 a browser asks whether a script may", func(t *testing.T) {
		request := testgateway.Request(t, http.MethodOptions, g.at(metadataPath+"/orders"), "")
		request.Header.Set("Origin", "https://inspector.example.com")
		request.Header.Set("Access-Control-Request-Method", "GET")
		request.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version")
		got := testgateway.Send(t, request)
		assert.Equal(t, http.StatusNoContent, got.Status)
		assert.Equal(t, "*", got.Header.Get("Access-Control-Allow-Origin"))
		assert.Equal(t, "*", got.Header.Get("Access-Control-Allow-Headers"))
	})
	t.Run("F04 it cannot be changed", func(t *testing.T) {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			got := testgateway.Send(t, testgateway.Request(t, method, g.at(metadataPath+"/orders"), ""))
			assert.Equal(t, http.StatusMethodNotAllowed, got.Status)
			assert.Equal(t, "GET, HEAD, OPTIONS", got.Header.Get("Allow"))
		}
	})
	t.Run("F14 L03 attack: a document that nobody has, and tricks with its path", func(t *testing.T) {
		for _, path := range []string{
			metadataPath, metadataPath + "/", metadataPath + "/nope", metadataPath + "/orders/", metadataPath + "/orders/7",
			metadataPath + "//orders", metadataPath + "/../orders", metadataPath + "/%2e%2e/orders", metadataPath + "/x/../orders",
			metadataPath + "/%6frders", metadataPath + "/ORDERS", metadataPath + "/orders;x", metadataPath + "/orders%00",
		} {
			got := g.raw(t, "GET "+path, nil, "")
			assert.Equal(t, http.StatusNotFound, got.Status, path)
			assert.Equal(t, challengeNone, got.Challenge(t), path)
			assert.Equal(t, "*", got.Header.Get("Access-Control-Allow-Origin"), path)
			assert.Empty(t, got.Body, path)
		}
		assert.Empty(t, app.All(), "nothing reaches the backend")
	})
	t.Run("F14 attack: other spellings of the well-known path are no documents", func(t *testing.T) {
		for _, path := range []string{"/.Well-Known/oauth-protected-resource/orders", "/x/.." + metadataPath + "/orders", "/" + metadataPath + "/orders", metadataPath + "s/orders"} {
			app.Take()
			assert.NotContains(t, g.raw(t, "GET "+path, nil, "").Body, "authorization_servers", path)
			assert.Len(t, app.Take(), 1, path)
		}
	})
	t.Run("F05 K13 attack: the client chooses the host", func(t *testing.T) {
		for _, host := range []string{"evil.example", "evil.example:443", g.address + ".evil.example"} {
			ask := func(path string) *testgateway.Reply {
				request := testgateway.Request(t, http.MethodGet, g.at(path), "")
				request.Host = host
				return testgateway.Send(t, request)
			}
			assert.NotContains(t, ask(metadataPath+"/orders").Body, "authorization_servers", host)
			challenge := ask("/orders").Challenge(t)
			assert.Contains(t, challenge, `resource_metadata="`+g.at(metadataPath+"/orders")+`"`, host)
			assert.NotContains(t, challenge, "evil", host)
		}
		request := testgateway.Request(t, http.MethodGet, g.at(metadataPath+"/orders"), "")
		for name, value := range map[string]string{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example", "X-Original-URL": "/vault", "X-Forwarded-Uri": "/vault"} {
			request.Header.Set(name, value)
		}
		assert.Equal(t, g.at("/orders"), members(t, testgateway.Send(t, request).Body)["resource"])
	})
	assert.Empty(t, as.asked("/"), "nobody was asked anything")
}

func TestChallengesOfAProtectedResource(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "issuer "+as.URL), g.protecting("/orders", "scope orders:read")+
		"introspect /rule {\nresource "+g.at("/orders")+"\nclaim role admin\n}\n"+
		g.protecting("/stock", "audience warehouse")+app.Proxy()))
	const orders, stock, nobodys = "token-for-the-orders", "token-for-the-stock", "token-for-nobody-at-all"
	as.on(orders, active(claims{"aud": g.at("/orders"), "scope": "orders:read"}))
	as.on(stock, active(claims{"aud": []string{"warehouse", g.at("/stock")}}))
	as.on(nobodys, active(claims{"scope": "orders:read"}))
	const shipping = "token-for-the-orders-to-ship"
	as.on(shipping, active(claims{"aud": []string{g.at("/orders"), "x"}, "scope": "orders:ship"}))
	for i, audience := range []any{g.at("/orders") + "/", g.at("/order"), g.at("/"), "warehouse", []string{}, []any{[]any{g.at("/orders")}}} {
		as.on(canary(i), active(claims{"aud": audience, "scope": "orders:read"}))
	}
	where := `, resource_metadata="` + g.at(metadataPath+"/orders") + `"`

	t.Run("F13 L02 L04 no token", func(t *testing.T) {
		got := g.get(t, "/orders", "")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, []string{
			`Bearer realm="portcullis", scope="orders:read"` + where,
			`DPoP realm="portcullis", scope="orders:read"` + where + `, ` + proofAlgorithms,
		}, got.Header["Www-Authenticate"])
	})
	t.Run("F06 the challenge leads to the document of what was asked for", func(t *testing.T) {
		for _, path := range []string{"/orders", "/stock"} {
			match := regexp.MustCompile(`resource_metadata="([^"]*)"`).FindStringSubmatch(g.get(t, path, "").Challenge(t))
			require.NotNil(t, match)
			assert.Equal(t, g.at(path), members(t, testgateway.Get(t, match[1]).Body)["resource"])
		}
	})
	t.Run("F13 a token that nobody knows", func(t *testing.T) {
		got := g.get(t, "/orders", "token-of-somebody-else")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, challengeInvalidToken+where, got.Challenge(t))
	})
	t.Run("F13 L05 a scope is missing", func(t *testing.T) {
		got := g.get(t, "/orders", shipping)
		assert.Equal(t, http.StatusForbidden, got.Status)
		assert.Equal(t, `Bearer realm="portcullis", error="insufficient_scope", scope="orders:read"`+where, got.Challenge(t))
	})
	t.Run("two tokens, and a rule that is not met", func(t *testing.T) {
		got := g.raw(t, "GET /orders", []string{"Authorization: Bearer a", "Authorization: Bearer b"}, "")
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, `Bearer realm="portcullis", error="invalid_request"`, got.Challenge(t))
		got = g.get(t, "/rule", orders)
		assert.Equal(t, http.StatusForbidden, got.Status)
		assert.Equal(t, challengeNone, got.Challenge(t))
	})
	t.Run("I01 D08 L08 the token's own resource", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, g.get(t, "/orders", orders).Status)
		assert.Equal(t, http.StatusOK, g.get(t, "/stock", stock).Status)
	})
	t.Run("I01 D08 D09 L08 attack: a token of one resource is shown to another", func(t *testing.T) {
		app.Take()
		for token, path := range map[string]string{orders: "/stock", stock: "/orders", nobodys: "/orders"} {
			got := g.get(t, path, token)
			assert.Equal(t, http.StatusUnauthorized, got.Status, token)
			assert.Contains(t, got.Challenge(t), `error="invalid_token"`, token)
		}
		for i := range 6 {
			assert.Equal(t, http.StatusUnauthorized, g.get(t, "/orders", canary(i)).Status, i)
		}
		assert.Empty(t, app.Take())
	})
}

// Whatever else a site does, the documents are where clients look for them.
func TestWhereMetadataAreServed(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	for name, site := range map[string]func(g *gateway) string{
		"a site that rewrites everything": func(g *gateway) string {
			return "rewrite * /index.php\nintrospect {\nresource " + g.at("/mcp") + "\n}\n"
		},
		"the route begins behind another that demands a token": func(g *gateway) string {
			return "introspect scope a\n" + "introspect {\nresource " + g.at("/mcp") + "\n}\n"
		},
		"only one path is protected": func(g *gateway) string { return g.protecting("/mcp", "") },
		"inside route": func(g *gateway) string {
			return "route {\nintrospect {\nresource " + g.at("/mcp") + "\n}\n" + app.Proxy() + "}\n"
		},
		"inside handle_path, with the line, behind redir": func(g *gateway) string {
			return "introspect_metadata\nredir /.well-known/* /login\nhandle_path /mcp* {\nintrospect {\nresource " + g.at("/mcp") + "\n}\n" + app.Proxy() + "}\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			g.Start(t, g.caddyfile(as.option("", "issuer "+as.URL), site(g)+app.Proxy()))
			got := testgateway.Get(t, g.at(metadataPath+"/mcp"))
			require.Equal(t, http.StatusOK, got.Status, "F04")
			assert.Equal(t, g.at("/mcp"), members(t, got.Body)["resource"], "F05")
			assert.Equal(t, http.StatusNotFound, testgateway.Get(t, g.at(metadataPath)).Status, "L03")
			assert.Equal(t, http.StatusUnauthorized, g.get(t, "/mcp", "").Status)
			g.reload(t, g.caddyfile(as.option("", "issuer "+as.URL), "respond 418\n"))
			assert.Equal(t, http.StatusTeapot, testgateway.Get(t, g.at(metadataPath+"/mcp")).Status, "it goes with its route")
		})
	}
	t.Run("F14 attack: a path that is rewritten to that of a document", func(t *testing.T) {
		g := newGateway(t)
		g.Start(t, g.caddyfile(as.option("", "issuer "+as.URL),
			"rewrite /sneaky "+metadataPath+"/mcp\nintrospect {\nresource "+g.at("/mcp")+"\n}\n"+app.Proxy()))
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/sneaky", "").Status)
	})
}

// A route that takes tokens of several servers names them all, or none of its own accord.
func TestF08ServersOfSeveralAuthorities(t *testing.T) {
	t.Parallel()
	first, second, third, app, g := newAuthority(t), newAuthority(t), newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	config := func(lines string) string {
		return g.caddyfile(first.option("first", "issuer "+first.URL)+second.option("second", "issuer "+second.URL)+third.option("third"),
			"introspect /two second first {\nresource "+g.at("/two")+"\n}\n"+
				"introspect /three first third {\nresource "+g.at("/three")+"\n"+lines+"\n}\n"+app.Proxy())
	}
	servers := "resource_metadata {\nauthorization_servers https://as.example.com\n}"
	g.Start(t, config(servers))
	assert.Equal(t, []any{second.URL, first.URL}, members(t, testgateway.Get(t, g.at(metadataPath+"/two")).Body)["authorization_servers"])
	assert.Equal(t, []any{"https://as.example.com"}, members(t, testgateway.Get(t, g.at(metadataPath+"/three")).Body)["authorization_servers"])
	got := g.Load(t, config(""))
	assert.Equal(t, http.StatusBadRequest, got.Status)
	assert.Contains(t, got.Body, "has no issuer that clients could be told")
}

// Clients of the embedded server ask for tokens for the resource, and no other tokens pass.
func TestI01AResourceOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.GuardClient("robot", demoSecret)
	orders, stock := s.at("/orders"), s.at("/stock")
	s.Start(t, s.caddyfile(s.serverOption("resource "+orders+" "+stock, `client robot `+demoSecret+` {
		grants client_credentials
		scopes orders:read
		audiences `+orders+` `+stock+`
	}`), "authorization_server\n"+s.protecting("/orders", "scope orders:read")+s.protecting("/stock", "")+app.Proxy()))
	token := func(resources ...string) string {
		form := url.Values{"grant_type": {"client_credentials"}, "resource": resources}
		return s.tokenIn(t, s.post(t, "/oauth2/token", "robot", demoSecret, form))
	}
	document := members(t, testgateway.Get(t, s.at(metadataPath+"/orders")).Body)
	assert.Equal(t, []any{"http://" + s.address}, document["authorization_servers"], "F08")
	assert.Equal(t, document["authorization_servers"].([]any)[0], members(t, testgateway.Get(t, s.url("/.well-known/oauth-authorization-server")).Body)["issuer"], "F08")

	for name, test := range map[string]struct {
		token         string
		orders, stock int
	}{
		"for the orders":                    {token(document["resource"].(string)), 200, 401},
		"attack: for the stock":             {token(stock), 401, 200},
		"for both":                          {token(orders, stock), 200, 200},
		"attack: for nothing in particular": {token(), 401, 401},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.orders, s.get(t, "/orders", test.token).Status)
			assert.Equal(t, test.stock, s.get(t, "/stock", test.token).Status)
		})
	}
}

// Two routes that say different things of one resource are an error, and the configuration before goes on.
func TestRoutesThatContradictEachOther(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	config := func(name string) string {
		return g.caddyfile(as.option("", "issuer "+as.URL), g.protecting("/orders", "scope a\nresource_metadata {\nresource_name Orders\n}")+
			"introspect /orders/admin {\nscope b\nresource "+g.at("/orders")+"\nresource_metadata {\nresource_name "+name+"\n}\n}\n"+app.Proxy())
	}
	g.Start(t, config("Orders"))
	assert.Equal(t, []any{"b", "a"}, members(t, testgateway.Get(t, g.at(metadataPath+"/orders")).Body)["scopes_supported"], "F10")
	got := g.Load(t, config("Stock"))
	assert.Equal(t, http.StatusBadRequest, got.Status)
	assert.Contains(t, got.Body, "two routes say different things of its 'resource_name'")
	assert.Equal(t, "Orders", members(t, testgateway.Get(t, g.at(metadataPath+"/orders")).Body)["resource_name"])
}
