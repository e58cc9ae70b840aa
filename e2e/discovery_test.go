package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// Where the metadata of an issuer may be (RFC 8414 section 3.1, OpenID Connect Discovery 1.0 section 4.1).
func oauthMetadata(path string) string  { return "/.well-known/oauth-authorization-server" + path }
func openIDMetadata(path string) string { return path + "/.well-known/openid-configuration" }

// publishes has the authority publish metadata of the issuer with a path, in one place only unless that is empty.
func (a *authority) publishes(path string, oauth, openID answer) {
	for place, give := range map[string]answer{oauthMetadata(path): oauth, openIDMetadata(path): openID} {
		if give == nil {
			give = sends(http.StatusNotFound, "text/plain", "nothing here")
		}
		a.on(place, give)
	}
}

// metadataRequests is how often the metadata of the issuer with a path were asked for.
func (a *authority) metadataRequests(path string) int {
	return len(a.asked(oauthMetadata(path))) + len(a.asked(openIDMetadata(path)))
}

// issuerOption is the global option of an authority that is discovered.
func issuerOption(name, issuer string, lines ...string) string {
	lines = append([]string{"issuer " + issuer, "client " + gatewayID + " " + gatewaySecret}, lines...)
	return "introspect " + name + " {\n\t" + strings.Join(lines, "\n\t") + "\n}\n"
}

// What a server publishes decides who is shown tokens.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	evil := testgateway.StartBackend(t)
	g.GuardClient(gatewayID, gatewaySecret)
	const leak = "metadata-canary-8sLq"
	g.Guard(leak)
	document := func(issuer, endpoint string) answer {
		return says(claims{"issuer": issuer, "introspection_endpoint": endpoint, "x": leak})
	}
	type discovery struct {
		name    string
		slash   bool // behind the issuer
		oauth   func(issuer, endpoint string) answer
		openID  func(issuer, endpoint string) answer
		options []string

		status int
		says   string // in a line of the log
	}
	nothing := func(string, string) answer { return nil }
	always := func(give answer) func(string, string) answer {
		return func(string, string) answer { return give }
	}
	endpointIs := func(endpoint any) func(string, string) answer {
		return func(issuer, _ string) answer {
			return says(claims{"issuer": issuer, "introspection_endpoint": endpoint})
		}
	}
	issuerIs := func(change func(string) any) func(string, string) answer {
		return func(issuer, endpoint string) answer {
			return says(claims{"issuer": change(issuer), "introspection_endpoint": endpoint})
		}
	}
	const another, unsafe, missing = "its issuer is another one", "no URL that is as safe", "add 'endpoint"
	cases := []discovery{
		{name: "RFC 8414, the path inserted", oauth: document, openID: nothing, status: 200},
		{name: "RFC 8414, a trailing slash", slash: true, oauth: document, openID: nothing, status: 200},
		{name: "OpenID, the path in front", oauth: nothing, openID: document, status: 200},
		{name: "OpenID, a trailing slash", slash: true, oauth: nothing, openID: document, status: 200},
		{name: "OpenID, since RFC 8414 fails", oauth: always(sends(500, "", "")), openID: document, status: 200},
		{
			name: "OpenID, since RFC 8414 names no endpoint", openID: document, status: 200,
			oauth: func(issuer, _ string) answer { return says(claims{"issuer": issuer}) },
		},
		{name: "both", oauth: document, openID: always(sends(500, "", "")), status: 200},

		{name: "C13 a slash too many", oauth: issuerIs(func(s string) any { return s + "/" }), openID: nothing, status: 502, says: another},
		{name: "C13 a slash too few", slash: true, oauth: issuerIs(func(s string) any { return strings.TrimSuffix(s, "/") }), openID: nothing, status: 502, says: another},
		{name: "C13 another case", oauth: issuerIs(func(s string) any { return strings.Replace(s, "http:", "HTTP:", 1) }), openID: nothing, status: 502, says: another},
		{name: "C13 another host", oauth: issuerIs(func(string) any { return "https://evil.example.com" }), openID: nothing, status: 502, says: another},
		{name: "C13 another host, OpenID", oauth: nothing, openID: issuerIs(func(string) any { return "https://evil.example.com" }), status: 502, says: another},
		{name: "C13 a list", oauth: issuerIs(func(s string) any { return []string{s} }), openID: nothing, status: 502, says: another},
		{name: "C13 none", oauth: issuerIs(func(string) any { return nil }), openID: nothing, status: 502, says: another},

		{name: "C13 http beyond loopback", oauth: endpointIs("http://0.0.0.0:" + testgateway.PortOf(t, evil.Address) + "/"), openID: nothing, status: 502, says: unsafe},
		{name: "C13 javascript", oauth: endpointIs("javascript:alert(1)"), openID: nothing, status: 502, says: unsafe},
		{name: "C13 a path only", oauth: endpointIs("/introspect"), openID: nothing, status: 502, says: unsafe},
		{name: "C13 a number", oauth: endpointIs(42), openID: nothing, status: 502, says: unsafe},
		{name: "no endpoint", oauth: endpointIs(nil), openID: nothing, status: 502, says: missing},
		{
			name: "D03 two endpoints", openID: nothing, status: 502, says: "one member name twice",
			oauth: func(issuer, endpoint string) answer {
				return saysJSON(fmt.Sprintf(`{"issuer":%q,"introspection_endpoint":%q,"introspection_endpoint":"http://%s/"}`, issuer, endpoint, evil.Address))
			},
		},
		{
			name: "C09 megabytes", openID: nothing, status: 502, says: "more than 1048576 bytes",
			oauth: func(issuer, endpoint string) answer {
				return says(claims{"issuer": issuer, "introspection_endpoint": endpoint, "x": strings.Repeat("x", 4<<20)})
			},
		},
		{name: "C09 more than max_response", oauth: document, openID: nothing, options: []string{"max_response 40B"}, status: 502, says: "more than 40 bytes"},
		{name: "garbage", oauth: always(saysJSON(leak)), openID: nothing, status: 502, says: "not JSON"},
		{name: "C08 a redirect", oauth: always(redirectsTo(302, "http://"+evil.Address)), openID: nothing, status: 503, says: "status"},
		{name: "C08 a redirect, OpenID", oauth: nothing, openID: always(redirectsTo(307, "http://"+evil.Address)), status: 503, says: "status"},
		{name: "a page", oauth: always(sends(200, "text/html", leak)), openID: nothing, status: 503, says: "not JSON"},
		{name: "nothing", oauth: nothing, openID: nothing, status: 503, says: "status 404"},
		{name: "an error", oauth: always(sends(500, "text/plain", leak)), openID: nothing, status: 503, says: "status"},
		{name: "C09 slow", oauth: always(as.hangs()), openID: nothing, options: []string{"timeout 300ms"}, status: 504, says: "too slow"},
	}
	var global, site strings.Builder
	for i, c := range cases {
		path := fmt.Sprintf("/t%d", i)
		issuer, endpoint := as.URL+path, as.URL+path+"/introspect"
		if c.slash {
			issuer += "/"
		}
		as.publishes(path, c.oauth(issuer, endpoint), c.openID(issuer, endpoint))
		as.on(path+"/introspect", active(claims{"iss": issuer}))
		name := fmt.Sprintf("a%d", i)
		global.WriteString(issuerOption(name, issuer, c.options...))
		fmt.Fprintf(&site, "handle %s {\n\tintrospect %s\n\t%s}\n", path, name, app.Proxy())
	}
	g.Start(t, g.caddyfile(global.String(), site.String()))
	for i := range cases {
		require.Zero(t, as.metadataRequests(fmt.Sprintf("/t%d", i)), "nothing is fetched at start")
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := fmt.Sprintf("/t%d", i)
			got := g.get(t, path, canary(i))
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, challengeNone, got.Challenge(t))
			if c.status == http.StatusOK {
				assert.Len(t, as.asked(path+"/introspect"), once)
				assert.Len(t, app.At(path), 1)
				return
			}
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			assert.Equal(t, c.status == http.StatusServiceUnavailable, got.Header.Get("Retry-After") != "")
			assert.Empty(t, as.asked(canary(i)), "nobody sees the token")
			assert.Empty(t, app.At(path))
			assert.Contains(t, g.Await(t, fmt.Sprintf(`authority a%d, client gateway: `, i)), c.says)
		})
	}
	assert.Empty(t, evil.All())
}

func TestDiscoveryOfAServerThatComesLate(t *testing.T) {
	t.Parallel()
	address, app, g := testgateway.Address(t), testgateway.StartBackend(t), newGateway(t)
	issuer := "http://" + address + "/tenant"
	config := g.caddyfile(issuerOption("", issuer), "introspect\n"+app.Proxy())
	g.Write(t, config)
	output, err := g.Command(t, "validate", "--config", g.File, "--adapter", "caddyfile").CombinedOutput()
	require.NoError(t, err, string(output))
	g.Start(t, config)
	g.reload(t, strings.Replace(config, "introspect\n", "introspect scope a\n", 1))
	g.reload(t, config)
	unavailable := func(token string) {
		t.Helper()
		got := g.get(t, "/", token)
		require.Equal(t, http.StatusServiceUnavailable, got.Status)
		require.NotEmpty(t, got.Header.Get("Retry-After"))
	}
	unavailable("token-before-anybody-listens")

	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	as := authorityAt(t, listener)
	as.publishes("/tenant", sends(503, "", ""), sends(503, "", ""))
	as.on("/tenant/introspect", active(nil))
	require.Eventually(t, func() bool {
		unavailable("token-while-it-starts")
		return as.metadataRequests("/tenant") >= 2
	}, patience, tick)
	asked := as.metadataRequests("/tenant")
	for range 5 {
		unavailable("token-while-it-starts")
	}
	assert.Equal(t, asked, as.metadataRequests("/tenant"), "it is not asked on every request")

	as.publishes("/tenant", says(claims{"issuer": issuer, "introspection_endpoint": issuer + "/introspect"}), nil)
	require.Eventually(t, func() bool { return g.get(t, "/", "token-at-last").Status == http.StatusOK }, patience, tick)
	assert.Empty(t, as.asked("token-while-it-starts"))

	t.Run("a reload keeps what was discovered", func(t *testing.T) {
		asked := as.metadataRequests("/tenant")
		as.publishes("/tenant", sends(503, "", ""), nil)
		g.reload(t, strings.Replace(config, "introspect\n", "introspect {\n\toptional\n}\n", 1))
		require.Equal(t, http.StatusOK, g.get(t, "/", "token-after-the-reload").Status)
		assert.Equal(t, asked, as.metadataRequests("/tenant"))
	})
}

func TestConcurrentRequestsDiscoverOnce(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	gate := make(chan struct{})
	as.publishes("", as.after(gate, says(claims{"issuer": as.URL, "introspection_endpoint": as.URL + "/introspect"})), nil)
	as.on("/introspect", active(nil))
	g.Start(t, g.caddyfile(issuerOption("", as.URL), "introspect\n"+app.Proxy()))
	const many = 20
	var replies []<-chan *testgateway.Reply
	for i := range many {
		replies = append(replies, g.send(t, t.Context(), "/", canary(i)))
	}
	require.Eventually(t, func() bool { return g.inFlight(t) == many }, patience, tick)
	close(gate)
	for _, pending := range replies {
		assert.Equal(t, http.StatusOK, receive(t, pending).Status)
	}
	assert.Equal(t, once, as.metadataRequests(""), "C11")
	assert.Len(t, as.asked("/introspect"), many)
}

// A token of another issuer is not good here, whoever calls it active.
func TestTheIssuerOfAnAnswer(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.publishes("", says(claims{"issuer": as.URL, "introspection_endpoint": as.URL + "/discovered"}), nil)
	g.Start(t, g.caddyfile(
		issuerOption("discovered", as.URL)+
			authorityOption("given", as.URL+"/given", "issuer "+as.URL+"/tenant"),
		"introspect /discovered discovered\nintrospect /given given\n"+app.Proxy()))
	for path, issuer := range map[string]string{"/discovered": as.URL, "/given": as.URL + "/tenant"} {
		for _, c := range []struct {
			name   string
			iss    any // nil: absent
			status int
		}{
			{"its own", issuer, 200},
			{"absent", nil, 200},
			{"a slash too many", issuer + "/", 401},
			{"another", "https://evil.example.com", 401},
			{"another case", strings.ToUpper(issuer), 401},
			{"empty", "", 401},
			{"a number", 42, 401},
			{"a list", []string{issuer}, 401},
			{"an object", claims{"iss": issuer}, 401},
			{"false", false, 401},
		} {
			t.Run(c.name+" at "+path, func(t *testing.T) {
				members := make(claims)
				if c.iss != nil {
					members["iss"] = c.iss
				}
				token := "token-of-" + strings.ReplaceAll(c.name, " ", "-") + strings.ReplaceAll(path, "/", "-")
				as.on(token, active(members))
				got := g.get(t, path, token)
				assert.Equal(t, c.status, got.Status)
				if c.status == http.StatusUnauthorized {
					assert.Equal(t, challengeInvalidToken, got.Challenge(t))
				}
				assert.Equal(t, path, as.asked(token)[0].path)
			})
		}
	}
	assert.Zero(t, as.metadataRequests("/tenant"), "an endpoint that is given is not discovered")
	assert.Equal(t, once, as.metadataRequests(""))
}

// What a configuration that allowed it has discovered must not be used by one that does not.
func TestC07WhatWasDiscoveredOverInsecureHTTPIsForgotten(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	insecure := "http://0.0.0.0:" + testgateway.PortOf(t, as.Listener.Addr().String()) + "/introspect" // it is not loopback
	as.publishes("", says(claims{"issuer": as.URL, "introspection_endpoint": insecure}), nil)
	as.on("/introspect", active(nil))
	site := "introspect\n" + app.Proxy()
	g.Start(t, g.caddyfile(issuerOption("", as.URL, "insecure_http"), site))
	require.Equal(t, http.StatusOK, g.get(t, "/", "token-that-may-be-seen").Status)
	g.reload(t, g.caddyfile(issuerOption("", as.URL), site))
	assert.Equal(t, http.StatusBadGateway, g.get(t, "/", "token-that-may-not-be-seen").Status)
	assert.Empty(t, as.asked("token-that-may-not-be-seen"))
}
