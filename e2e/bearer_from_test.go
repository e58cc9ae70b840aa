package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// issuesTokens answers as a token endpoint that issues own-token-…-1, -2 and so on, with further members.
func issuesTokens(g *gateway, name, members string) answer {
	var issued atomic.Int32
	return func(w http.ResponseWriter, _ *http.Request) {
		token := fmt.Sprintf("own-token-%s-%d", name, issued.Add(1))
		g.Guard(token)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"%s}`, token, members)
	}
}

// acceptsOnly answers that a token is active, to whoever presents one of the bearer tokens, and otherwise with a status.
func acceptsOnly(status int, tokens ...string) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, token := range tokens {
			if r.Header.Get("Authorization") == "Bearer "+token {
				active(nil)(w, r)
				return
			}
		}
		// What a careless authority repeats must not get into a log.
		sends(status, "text/plain", r.Header.Get("Authorization"))(w, r)
	}
}

// takesOnly answers as give, to whoever signs in with these credentials, and otherwise that the client is unknown.
func takesOnly(basic string, give answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Basic "+basic {
			give(w, r)
			return
		}
		refusesGateway(http.StatusUnauthorized)(w, r)
	}
}

// bearerFromOption is the global option of an authority at a path, which takes a token from the token endpoint there.
func bearerFromOption(as *authority, name string, lines ...string) string {
	lines = append([]string{"endpoint " + as.URL + "/" + name + "/introspect"}, lines...)
	return "introspect " + name + " {\n\t" + strings.Join(lines, "\n\t") + "\n}\n"
}

// authorizations are the Authorization headers of calls.
func authorizations(calls []call) (headers []string) {
	for _, asked := range calls {
		headers = append(headers, asked.header.Get("Authorization"))
	}
	return headers
}

func TestC03BearerFrom(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const odd = "p@ss:w+rd/é%-7Jk"
	g.GuardClient(gatewayID, gatewaySecret)
	g.GuardClient(gatewayID, odd)
	credentials := "client " + gatewayID + " " + gatewaySecret
	oddCredentials := "client " + gatewayID + " `" + odd + "`"
	from := func(name string, scopes ...string) string {
		return strings.TrimSpace("bearer_from " + as.URL + "/" + name + "/token " + strings.Join(scopes, " "))
	}
	type endpoint struct {
		name    string
		options []string
		token   answer // default: issues tokens
		ask     answer
		status  int
		tokens  int      // token requests, after one request
		asked   []string // bearer tokens that the endpoint saw
	}
	plain := func(name string, token, ask answer, status, tokens int, asked ...string) endpoint {
		return endpoint{name, []string{credentials}, token, ask, status, tokens, asked}
	}
	garbage := func(name, body string) endpoint {
		return plain(name, saysJSON(body), active(nil), 502, once)
	}
	cases := []endpoint{
		plain("lazily", nil, acceptsOnly(401, "own-token-lazily-1"), 200, once, "own-token-lazily-1"),
		{
			"decodes",
			[]string{oddCredentials},
			takesOnly(testgateway.Basic(gatewayID, url.QueryEscape(odd)), issuesTokens(g, "decodes", "")),
			active(nil), 200, once,
			[]string{"own-token-decodes-1"},
		},
		{
			"raw",
			[]string{oddCredentials},
			takesOnly(testgateway.Basic(gatewayID, odd), issuesTokens(g, "raw", "")),
			active(nil), 200, 2,
			[]string{"own-token-raw-1"},
		},
		{
			"post",
			[]string{oddCredentials, "client_auth client_secret_post"},
			nil,
			active(nil), 200, once,
			[]string{"own-token-post-1"},
		},
		plain("B16-wrong", refusesGateway(401), active(nil), 502, once),
		plain("B16-invalid-client", sends(400, "application/json", `{"error":"invalid_client"}`), active(nil), 502, once),
		plain("B16-refused", nil, acceptsOnly(401), 502, once, "own-token-B16-refused-1"),
		plain("B16-forbidden", nil, acceptsOnly(403), 502, once, "own-token-B16-forbidden-1"),
		plain("bad-scope", sends(400, "application/json", `{"error":"invalid_scope"}`), active(nil), 502, once),
		plain("down", hangsUp, active(nil), 503, 2),
		plain("error", sends(500, "text/plain", "x"), active(nil), 503, once),
		plain("busy", sends(429, "text/plain", "x"), active(nil), 503, once),
		plain("redirects", redirectsTo(307, as.URL+"/elsewhere/token"), active(nil), 502, once),
		plain("page", sends(200, "text/html", "x"), active(nil), 502, once),
		garbage("garbage", `own-token-garbage`),
		garbage("dpop", `{"access_token":"own-token-dpop","token_type":"DPoP"}`),
		garbage("no-type", `{"access_token":"own-token-no-type"}`),
		garbage("no-token", `{"token_type":"Bearer"}`),
		garbage("header-injection", `{"access_token":"a\r\nX: own-token-header-injection","token_type":"Bearer"}`),
		{"slow", []string{credentials, "timeout 300ms"}, as.hangs(), active(nil), 504, once, nil},
	}
	g.Guard("own-token-garbage", "own-token-dpop", "own-token-no-type", "own-token-header-injection")
	var global, site strings.Builder
	for _, c := range cases {
		if c.token == nil {
			c.token = issuesTokens(g, c.name, "")
		}
		as.on("/"+c.name+"/token", c.token)
		as.on("/"+c.name+"/introspect", c.ask)
		global.WriteString(bearerFromOption(as, c.name, append(c.options, from(c.name, "introspect", "x:y"))...))
		fmt.Fprintf(&site, "introspect /%s %s\n", c.name, c.name)
	}
	g.Start(t, g.caddyfile(global.String(), site.String()+app.Proxy()))
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Empty(t, as.asked("/"+c.name+"/token"), "nothing is got at start")
			got := g.get(t, "/"+c.name, canary(i))
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, challengeNone, got.Challenge(t))
			requests := as.asked("/" + c.name + "/token")
			assert.Len(t, requests, c.tokens)
			var want []string
			for _, token := range c.asked {
				want = append(want, "Bearer "+token)
			}
			asked := as.asked(canary(i))
			assert.Equal(t, want, authorizations(asked))
			for _, question := range asked {
				assert.Equal(t, url.Values{"token": {canary(i)}, "token_type_hint": {"access_token"}}, question.form, "C05")
			}
			form := url.Values{"grant_type": {"client_credentials"}, "scope": {"introspect x:y"}}
			if c.name == "post" {
				form.Set("client_id", gatewayID)
				form.Set("client_secret", odd)
			}
			for _, request := range requests {
				assert.Equal(t, form, request.form, "C05")
				assert.Equal(t, c.name != "post", request.header.Get("Authorization") != "", "C05")
			}
		})
	}
	assert.Empty(t, as.asked("/elsewhere/token"), "C08")
}

func TestBearerFromOverTime(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const wrong = "wrong-secret-3pLm"
	g.GuardClient(gatewayID, gatewaySecret)
	g.GuardClient(gatewayID, wrong)
	config := func(secret string, lines ...string) string {
		var global, site strings.Builder
		for _, name := range []string{"once", "renews", "revoked", "refused", "reload"} {
			lines := append(lines, "client "+gatewayID+" "+secret, "bearer_from "+as.URL+"/"+name+"/token")
			global.WriteString(bearerFromOption(as, name, lines...))
			fmt.Fprintf(&site, "introspect /%s %s\n", name, name)
		}
		return g.caddyfile(global.String(), site.String()+app.Proxy())
	}
	for _, name := range []string{"once", "revoked", "refused", "reload"} {
		as.on("/"+name+"/token", issuesTokens(g, name, `,"expires_in":3600`))
		as.on("/"+name+"/introspect", active(nil))
	}
	g.Start(t, config(gatewaySecret))

	t.Run("C11 many requests, one token", func(t *testing.T) {
		gate := make(chan struct{})
		as.on("/once/token", as.after(gate, issuesTokens(g, "once", "")))
		const many = 20
		var replies []<-chan *testgateway.Reply
		for i := range many {
			replies = append(replies, g.send(t, t.Context(), "/once", canary(i)))
		}
		require.Eventually(t, func() bool { return g.inFlight(t) == many }, patience, tick)
		close(gate)
		for _, pending := range replies {
			assert.Equal(t, http.StatusOK, receive(t, pending).Status)
		}
		assert.Len(t, as.asked("/once/token"), once)
		assert.Len(t, as.asked("/once/introspect"), many)
	})
	t.Run("it is renewed before it expires", func(t *testing.T) {
		as.on("/renews/token", issuesTokens(g, "renews", `,"expires_in":2`))
		as.on("/renews/introspect", active(nil))
		n := 0
		require.Eventually(t, func() bool {
			n++
			assert.Equal(t, http.StatusOK, g.get(t, "/renews", fmt.Sprintf("token-renews-%d", n)).Status)
			return len(as.asked("/renews/token")) == 3
		}, patience, tick)
	})
	for _, status := range []int{401, 403} {
		t.Run(fmt.Sprintf("B16 it is renewed when it is refused with %d", status), func(t *testing.T) {
			path := fmt.Sprintf("revoked-%d", status)
			require.Equal(t, http.StatusOK, g.get(t, "/revoked", "token-before-"+path).Status)
			tokens := len(as.asked("/revoked/token"))
			as.on("/revoked/introspect", acceptsOnly(status, fmt.Sprintf("own-token-revoked-%d", tokens+1)))
			require.Equal(t, http.StatusOK, g.get(t, "/revoked", "token-after-"+path).Status)
			assert.Len(t, as.asked("token-after-"+path), 2, "the call is repeated")
			assert.Len(t, as.asked("/revoked/token"), tokens+1)
		})
	}
	t.Run("B16 refused for good", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/refused", "token-before-the-refusal").Status)
		as.on("/refused/introspect", acceptsOnly(401))
		for i := range 10 {
			require.Equal(t, http.StatusBadGateway, g.get(t, "/refused", fmt.Sprintf("token-refused-%d", i)).Status)
		}
		assert.Len(t, as.asked("/refused/token"), 3, "one for each question until nobody is asked")
		assert.Len(t, as.asked("/refused/introspect"), 5)
	})
	t.Run("a reload keeps it", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/reload", "token-before-the-reload").Status)
		g.reload(t, config(gatewaySecret, "timeout 4s"))
		require.Equal(t, http.StatusOK, g.get(t, "/reload", "token-after-the-reload").Status)
		assert.Len(t, as.asked("/reload/token"), once)
		g.reload(t, config(wrong))
		require.Equal(t, http.StatusOK, g.get(t, "/reload", "token-of-another-secret").Status)
		assert.Len(t, as.asked("/reload/token"), 2, "other credentials get their own")
	})
	t.Run("K14 no page of the admin endpoint shows it", func(t *testing.T) {
		for _, page := range []string{"/config/", "/metrics", "/debug/vars"} {
			assert.NotContains(t, testgateway.Get(t, "http://"+g.Admin+page).Body, "own-token-")
		}
	})
}

// A private key signs in at the token endpoint, for which the assertion is then.
func TestBearerFromWithAnAssertion(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/token", issuesTokens(g, "jwt", ""))
	as.on("/introspect", acceptsOnly(401, "own-token-jwt-1"))
	g.Guard(longSecret)
	g.Start(t, g.caddyfile("introspect {\nendpoint "+as.URL+"/introspect\nclient "+gatewayID+" "+longSecret+
		"\nclient_auth client_secret_jwt\nbearer_from "+as.URL+"/token\n}\n", "introspect\n"+app.Proxy()))
	require.Equal(t, http.StatusOK, g.get(t, "/", "token-of-a-client").Status)
	requests := as.asked("/token")
	require.Len(t, requests, once)
	said := readAssertion(t, requests[0].form.Get("client_assertion"), []byte(longSecret), "HS256", "")
	assert.Equal(t, as.URL+"/token", said.Audience)
	assert.NotContains(t, requests[0].header, "Authorization", "C05")
	assert.NotContains(t, as.asked("token-of-a-client")[0].form, "client_assertion", "C05")
}
