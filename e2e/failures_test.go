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

// Nothing that an authority does wrong says anything about the token: none of it is answered with a challenge, which
// would make the client throw its token away (B15, B16).
func TestAuthoritiesThatFail(t *testing.T) {
	t.Parallel()
	evil := testgateway.StartBackend(t) // for whoever follows a redirect
	leak := "answer-canary-3hT9"
	fails := func(name string, status, calls int, give answer, options ...string) refusal {
		return refusal{name: name, options: options, answer: give, status: status, challenge: challengeNone, calls: calls}
	}
	cases := []refusal{
		fails("B15 500", 503, once, sends(500, "text/plain", leak)),
		fails("B15 502, asked again", 503, 2, sends(502, "text/plain", leak)),
		fails("B15 503, asked again", 503, 2, sends(503, "text/plain", leak)),
		fails("B15 504, asked again", 503, 2, sends(504, "text/plain", leak)),
		fails("B15 502, not asked again", 503, once, sends(502, "text/plain", leak), "retries 0"),
		fails("B15 429", 503, once, sends(429, "text/plain", leak)),
		fails("C09 hangs up", 503, 2, hangsUp),
		fails("B16 401", 502, once, refusesGateway(401)),
		fails("B16 403", 502, once, refusesGateway(403)),
		fails("C08 a redirect that keeps the method", 502, once, redirectsTo(307, "http://"+evil.Address)),
		fails("C08 a redirect", 502, once, redirectsTo(302, "http://"+evil.Address)),
		fails("C10 400", 502, once, sends(400, "application/json", `{"error":"invalid_request","error_description":"`+leak+`"}`)),
		fails("C10 400 in text", 502, once, sends(400, "text/plain", leak)),
		fails("C10 404", 502, once, sends(404, "application/json", `{"active":true}`)),
		fails("C10 201", 502, once, sends(201, "application/json", `{"active":true}`)),
		fails("C10 204", 502, once, sends(204, "", "")),
		fails("C10 a page", 502, once, sends(200, "text/html", `{"active":true}`)),
		fails("C10 no answer", 502, once, saysJSON("")),
		fails("C10 a list", 502, once, saysJSON(`[]`)),
		fails("C10 a list of one", 502, once, saysJSON(`[{"active":true}]`)),
		fails("C10 true", 502, once, saysJSON(`true`)),
		fails("C10 null", 502, once, saysJSON(`null`)),
		fails("C10 half an answer", 502, once, saysJSON(`{"active":true`)),
		fails("C10 garbage", 502, once, saysJSON(leak)),
		fails("D01 {}", 502, once, saysJSON(`{}`)),
		fails("D01 active is a string", 502, once, saysJSON(`{"active":"true"}`)),
		fails("D01 active is a number", 502, once, saysJSON(`{"active":1}`)),
		fails("D01 active is null", 502, once, saysJSON(`{"active":null,"sub":"`+leak+`"}`)),
		fails("D01 active is missing", 502, once, saysJSON(`{"sub":"admin","scope":"orders:admin"}`)),
		fails("D03 active in another case", 502, once, saysJSON(`{"Active":true}`)),
		fails("D03 active twice", 502, once, saysJSON(`{"active":false,"active":true}`)),
		fails("D03 a claim twice", 502, once, saysJSON(`{"active":true,"sub":"a","sub":"b"}`)),
		fails("D03 a claim twice, deep inside", 502, once, saysJSON(`{"active":true,"a":[{"b":1,"b":2}]}`)),
		fails("D06 exp that cannot be read", 502, once, saysJSON(`{"active":true,"exp":"tomorrow"}`)),
		fails("D26 two answers", 502, once, saysJSON(`{"active":true}{"active":false}`)),
		fails("D26 not UTF-8", 502, once, saysJSON("{\"active\":true,\"sub\":\"\xff\"}")),
		fails("D26 a byte order mark", 502, once, saysJSON("\ufeff{\"active\":true}")),
		fails("D26 endless depth", 502, once, saysJSON(`{"active":true,"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`)),
		fails("C09 an answer over max_response", 502, once,
			saysJSON(`{"active":true,"x":"`+strings.Repeat("x", 1024)+`"}`), "max_response 1KiB"),
		fails("C09 an answer over the default of max_response", 502, once,
			saysJSON(`{"active":true,"x":"`+strings.Repeat("x", 1<<20)+`"}`)),
	}
	refuses(t, cases, leak)
	assert.Empty(t, evil.At("/"), "C08 the target of a redirect gets nothing")
}

// refusesGateway answers that the gateway's own credentials are not good.
func refusesGateway(status int) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="authority"`)
		// What a careless authority repeats must not get into a log either.
		sends(status, "application/json", fmt.Sprintf(`{"error":"invalid_client","error_description":%q}`,
			r.Header.Get("Authorization")))(w, r)
	}
}

func redirectsTo(status int, target string) answer {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, status) }
}

func TestAuthoritiesThatAreSlowOrGone(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/slow", as.hangs())
	g.Start(t, g.caddyfile(
		authorityOption("slow", as.URL+"/slow", "timeout 200ms")+
			authorityOption("gone", "http://"+testgateway.Address(t)),
		"introspect /slow slow\nintrospect /gone gone\n"+app.Proxy()))

	t.Run("C09 too slow", func(t *testing.T) {
		got := g.get(t, "/slow", "token-for-the-slow")
		assert.Equal(t, http.StatusGatewayTimeout, got.Status)
		assert.Equal(t, challengeNone, got.Challenge(t))
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		assert.Len(t, as.asked("/slow"), once, "there is no time to ask again")
		assert.Empty(t, app.At("/slow"))
	})
	t.Run("B15 nobody listens", func(t *testing.T) {
		got := g.get(t, "/gone", "token-for-the-gone")
		assert.Equal(t, http.StatusServiceUnavailable, got.Status)
		assert.Equal(t, challengeNone, got.Challenge(t))
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		assert.NotEmpty(t, got.Header.Get("Retry-After"))
		assert.Empty(t, app.At("/gone"))
	})
}

func TestStartingWhileTheAuthorityIsDown(t *testing.T) {
	t.Parallel()
	address, app, g := testgateway.Address(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(authorityOption("", "http://"+address), "introspect\n"+app.Proxy()))
	const token = "token-of-a-late-authority"
	require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/", token).Status)

	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	as := authorityAt(t, listener)
	as.on(token, active(nil))
	require.Equal(t, http.StatusOK, g.get(t, "/", token).Status, "D23 a failure is not remembered")
	assert.Len(t, app.At("/"), 1)
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-without-scope", active(nil))
	as.on("token-of-a-failure", sends(500, "", ""))
	as.on("token-of-no-answer", saysJSON(`[]`))
	g.Start(t, g.caddyfile(as.option(""), `
		introspect scope orders:read
		`+app.Proxy()+`
		handle_errors {
			respond "{err.status_code} {http.introspect.error}"
		}`))
	for _, c := range []struct {
		name      string
		token     string
		status    int
		body      string
		challenge string
	}{
		{"no token", "", 401, "401 no_token", `Bearer realm="portcullis", scope="orders:read"`},
		{"malformed", "not,a,token", 400, "400 invalid_request", challengeInvalidRequest},
		{"inactive", "token-nobody-knows", 401, "401 invalid_token", challengeInvalidToken},
		{
			"scope missing", "token-without-scope", 403, "403 insufficient_scope",
			`Bearer realm="portcullis", error="insufficient_scope", scope="orders:read"`,
		},
		{"authority fails", "token-of-a-failure", 503, "503 unavailable", challengeNone},
		{"authority answers nonsense", "token-of-no-answer", 502, "502 misconfigured", challengeNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := g.get(t, "/", c.token)
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.body, got.Body)
			assert.Equal(t, c.challenge, got.Challenge(t), "B01 the challenge survives")
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		})
	}
	assert.Empty(t, app.At("/"))
}
