package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// Two directives that ask two authorities: both have to let a request through.
func TestTwoAuthoritiesOnOneRequest(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	app, g := testgateway.StartBackend(t), newGateway(t)
	both := func(token string, atFirst, atSecond answer) {
		first.on(token, atFirst)
		second.on(token, atSecond)
	}
	both("token-of-alice",
		active(claims{"username": "alice", "client_id": "shop", "scope": "read", "email": "alice@example.com"}),
		active(claims{"username": "mallory", "client_id": "till", "scope": "write", "name": "Mallory", "tenant": "acme"}))
	both("token-of-a-client",
		active(claims{"sub": "shop", "client_id": "shop", "scope": "read"}),
		active(claims{"username": "bob", "client_id": "till", "scope": "write"}))
	both("token-with-scopes-swapped", active(claims{"scope": "write"}), active(claims{"scope": "read"}))
	both("token-with-half-the-scopes", active(claims{"scope": "read"}), active(claims{"scope": "read"}))
	first.on("token-of-the-first", active(claims{"scope": "read"}))
	second.on("token-of-the-second", active(claims{"scope": "write"}))
	both("token-of-a-failure", active(claims{"scope": "read"}), sends(500, "", ""))
	both("token-of-a-misfit", active(claims{"scope": "read"}), saysJSON(`[]`))
	const spelled = "{http.auth.user.id}|{http.introspect.authority}|{http.introspect.client_id}|{http.introspect.scope}|{http.introspect.claims.username}"
	g.Start(t, g.caddyfile(first.option("first")+second.option("second"), `
		route /both/* {
			introspect first scope read
			introspect second scope write {
				identity x_auth_request
				copy_claims tenant name>Remote-Title
			}
			reverse_proxy `+app.Address+` {
				header_up X-Told "`+spelled+`"
			}
		}
		route /same/* {
			introspect first scope read
			introspect second scope write
			`+app.Proxy()+`
		}
		route /none/* {
			introspect first scope read
			introspect second scope write {
				identity none
			}
			`+app.Proxy()+`
		}
		route /maybe/* {
			introspect first {
				optional
			}
			introspect second scope write
			`+app.Proxy()+`
		}
		route /orders/* {
			introspect first scope read
			introspect /orders/secret/* second scope write
			`+app.Proxy()+`
		}`))

	t.Run("both are asked, once each, and each tells what is its own", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/both/1", "token-of-alice").Status)
		assert.Len(t, first.asked("token-of-alice"), once)
		assert.Len(t, second.asked("token-of-alice"), once)
		seen := app.One(t, "/both/1").Header
		assert.Equal(t, map[string][]string{
			"Remote-User": {"alice"}, "Remote-Client": {"shop"}, "Remote-Scope": {"read"}, "Remote-Email": {"alice@example.com"},
			"X-Auth-Request-User": {"mallory"}, "X-Auth-Request-Preferred-Username": {"mallory"}, "X-Claim-Tenant": {"acme"},
		}, identityIn(seen))
		assert.Equal(t, []string{"Mallory"}, seen["Remote-Title"])
		assert.Equal(t, []string{"alice|second|till|write|mallory"}, seen["X-Told"], "the user is the first's, and the answer the last one")
		assert.NotContains(t, seen, "Authorization", "J13")
	})
	t.Run("what is told twice is the first's", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/same/1", "token-of-alice").Status)
		assert.Equal(t, map[string][]string{
			"Remote-User": {"alice"}, "Remote-Client": {"shop"}, "Remote-Scope": {"read"}, "Remote-Email": {"alice@example.com"},
			"Remote-Name": {"Mallory"},
		}, identityIn(app.One(t, "/same/1").Header))
	})
	t.Run("the second does not take away what the first has told", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/none/1", "token-of-alice").Status)
		assert.Equal(t, map[string][]string{
			"Remote-User": {"alice"}, "Remote-Client": {"shop"}, "Remote-Scope": {"read"}, "Remote-Email": {"alice@example.com"},
		}, identityIn(app.One(t, "/none/1").Header))
	})
	t.Run("the second names a user where the first cannot", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/same/2", "token-of-a-client").Status)
		assert.Equal(t, told("Remote-User", "bob", "Remote-Client", "shop", "Remote-Scope", "read"), identityIn(app.One(t, "/same/2").Header))
	})
	const noRead = `Bearer realm="portcullis", error="insufficient_scope", scope="read"`
	const noWrite = `Bearer realm="portcullis", error="insufficient_scope", scope="write"`
	for _, c := range []struct {
		name, path, token string
		status            int
		challenge         string
		first, second     int // questions
	}{
		{"D12 the scopes of one are not the other's", "/both/swapped", "token-with-scopes-swapped", 403, noRead, 1, 0},
		{"the second refuses", "/both/half", "token-with-half-the-scopes", 403, noWrite, 1, 1},
		{"only the first knows the token", "/both/first", "token-of-the-first", 401, challengeInvalidToken, 1, 1},
		{"only the second knows the token, and is not shown it", "/both/second", "token-of-the-second", 401, challengeInvalidToken, 1, 0},
		{"nobody knows it", "/both/nobody", "token-of-nobody-at-all", 401, challengeInvalidToken, 1, 0},
		{"the second is down", "/both/down", "token-of-a-failure", 503, challengeNone, 1, 1},
		{"the second is down, and the first has not forgotten", "/both/down", "token-of-a-failure", 503, challengeNone, 1, 2},
		{"the second talks nonsense", "/both/misfit", "token-of-a-misfit", 502, challengeNone, 1, 1},
		{"no token, and the first does not mind", "/maybe/none", "", 401, `Bearer realm="portcullis", scope="write"`, 0, 0},
		{"a token that the first refuses, although it does not need one", "/maybe/second", "token-of-the-second", 401, challengeInvalidToken, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := g.get(t, c.path, c.token)
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.challenge, got.Challenge(t))
			assert.Empty(t, app.At(c.path))
			if c.token != "" {
				assert.Len(t, first.asked(c.token), c.first)
				assert.Len(t, second.asked(c.token), c.second)
			}
		})
	}
	t.Run("an authority is not shown tokens of requests that its directive does not select", func(t *testing.T) {
		const token = "token-for-orders-only"
		both(token, active(claims{"scope": "read"}), active(claims{"scope": "write"}))
		require.Equal(t, http.StatusOK, g.get(t, "/orders/1", token).Status)
		assert.Len(t, first.asked(token), once)
		assert.Empty(t, second.asked(token))
		require.Equal(t, http.StatusOK, g.get(t, "/orders/secret/1", token).Status)
		assert.Len(t, second.asked(token), once)
		assert.Len(t, first.asked(token), once, "remembered")
	})
}

// The token is taken by the first directive, from its own places, and the second neither misses it nor takes another.
func TestTwoDirectivesTakeOneToken(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	app, g := testgateway.StartBackend(t), newGateway(t)
	const good, other = "token-of-alice", "token-of-somebody-else"
	for token, user := range map[string]string{good: "alice", other: "mallory"} {
		first.on(token, active(claims{"username": user}))
		second.on(token, active(nil))
	}
	g.Start(t, g.caddyfile(first.option("first")+second.option("second"), `
		route {
			introspect first
			introspect second {
				token_from cookie session
				token_from form access_token
			}
			`+app.Proxy()+`
		}`))
	bearer := "Authorization: Bearer " + good
	for _, c := range []struct {
		name    string
		headers []string
		form    string
		status  int
	}{
		{"one token", []string{bearer}, "", 200},
		{"a cookie beside it does not count", []string{bearer, "Cookie: session=" + other}, "", 200},
		{"A19 nor does one that is malformed", []string{bearer, "Cookie: session=a b"}, "", 200},
		{"the same in the form", []string{bearer}, "a=1&access_token=" + good, 200},
		{"A06 another in the form", []string{bearer}, "access_token=" + other, 400},
		{"A06 two in the form", []string{bearer}, "access_token=" + good + "&access_token=" + good, 400},
		{"only where the second looks", []string{"Cookie: session=" + good}, "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			app.Take()
			headers := append(slices.Clone(c.headers), "Content-Type: application/x-www-form-urlencoded", fmt.Sprint("Content-Length: ", len(c.form)))
			got := g.raw(t, "POST /", headers, c.form)
			assert.Equal(t, c.status, got.Status)
			seen := app.Take()
			if c.status != http.StatusOK {
				assert.Empty(t, seen)
				return
			}
			require.Len(t, seen, 1)
			assert.Equal(t, []string{"alice"}, seen[0].Header["Remote-User"])
			assert.NotContains(t, seen[0].Header, "Authorization")
			assert.NotContains(t, seen[0].Header, "Cookie")
			assert.NotContains(t, seen[0].Body, "access_token")
		})
	}
	assert.Empty(t, first.asked(other))
	assert.Empty(t, second.asked(other))
}

// An attack: somebody with a token that is good enough for the site, and not for a part of it, asks for that part. The error
// page comes from the same backend, which must not take the request for one of the user's that was let through.
func TestK09_WhatASecondDirectiveRefusesIsNobodys(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const token = "token-of-alice"
	as.on(token, active(claims{"username": "alice", "client_id": "shop", "scope": "read", "tenant": "acme"}))
	g.Start(t, g.caddyfile(as.option(""), `
		introspect {
			copy_claims tenant
		}
		route /admin/* {
			introspect scope admin
		}
		handle_errors {
			reverse_proxy `+app.Address+` {
				header_up X-User "{http.auth.user.id}"
			}
		}
		`+app.Proxy()))
	require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
	assert.Equal(t, "alice", app.One(t, "/").Header.Get("Remote-User"))
	app.Take()
	got := g.get(t, "/admin/delete", token)
	assert.Equal(t, `Bearer realm="portcullis", error="insufficient_scope", scope="admin"`, got.Challenge(t))
	seen := app.One(t, "/admin/delete").Header
	assert.Empty(t, identityIn(seen))
	assert.Empty(t, seen.Get("X-User"))
}

// Caddy puts the directive with the most specific path first, and the one that is for the whole site last.
func TestTheMostSpecificDirectiveAnswers(t *testing.T) {
	t.Parallel()
	as, g := newAuthority(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect {
			realm site
		}
		introspect /a* {
			realm part
		}
		introspect /a/b* {
			realm page
		}`))
	for path, realm := range map[string]string{"/": "site", "/a": "part", "/a/b": "page"} {
		assert.Contains(t, g.get(t, path, "").Header.Get("WWW-Authenticate"), realm, path)
	}
}

// Where one route takes its token from, another one cannot tell the backend who came.
func TestRoutesThatDisagreeAboutAHeader(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	config := func(target string) string {
		return g.caddyfile(hidesTokens+as.option(""), "introspect /a* {\ntoken_from header X-Api-Token\n}\nintrospect /b* {\ncopy_claims sub>"+target+"\n}\n"+app.Proxy())
	}
	g.Start(t, config("X-Subject"))
	got := g.Load(t, config("X-Api-Token"))
	assert.Equal(t, http.StatusBadRequest, got.Status)
	assert.Contains(t, got.Body, "name another one")
}

// What a site does to the headers of one request is done to that request. Were it done to what is remembered, the next
// one would come as whoever the site has made of the first.
func TestHeaderEditsDoNotReachTheMemory(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const token = "token-of-alice"
	as.on(token, active(claims{
		"username": "alice", "client_id": "shop", "scope": "read", "groups": []string{"staff", "ops"},
		"email": "alice@example.com", "tenants": []string{"acme", "initech"},
	}))
	g.Start(t, g.caddyfile(as.option(""), `
		introspect {
			copy_claims tenants
		}
		request_header /edited/* Remote-User admin
		request_header /edited/* Remote-Groups staff boss
		request_header /edited/* X-Claim-Tenants "acme|initech" every
		request_header /edited/* +Remote-Scope write
		request_header /edited/* -Remote-Email
		handle /edited/up {
			reverse_proxy `+app.Address+` {
				header_up Remote-Client shop till
				header_up +Remote-User root
			}
		}
		handle {
			`+app.Proxy()+`
		}`))
	original := map[string][]string{
		"Remote-User": {"alice"}, "Remote-Client": {"shop"}, "Remote-Scope": {"read"}, "Remote-Groups": {"staff,ops"},
		"Remote-Email": {"alice@example.com"}, "X-Claim-Tenants": {"acme,initech"},
	}
	edited := map[string][]string{
		"Remote-User": {"admin"}, "Remote-Client": {"shop"}, "Remote-Scope": {"read", "write"}, "Remote-Groups": {"boss,ops"},
		"X-Claim-Tenants": {"every,every"},
	}
	up := map[string][]string{
		"Remote-User": {"admin", "root"}, "Remote-Client": {"till"}, "Remote-Scope": {"read", "write"}, "Remote-Groups": {"boss,ops"},
		"X-Claim-Tenants": {"every,every"},
	}
	for range 2 {
		for path, want := range map[string]map[string][]string{"/plain": original, "/edited/x": edited, "/edited/up": up} {
			app.Take()
			require.Equal(t, http.StatusOK, g.get(t, path, token).Status)
			assert.Equal(t, want, identityIn(app.One(t, path).Header), path)
		}
	}
	app.Take()
	require.Equal(t, http.StatusOK, g.get(t, "/plain", token).Status)
	assert.Equal(t, original, identityIn(app.One(t, "/plain").Header))
	assert.Len(t, as.asked(token), once)
}
