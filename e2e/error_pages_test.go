package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// Every way in which a request is refused, as a client and an error page see it.
func TestEveryRefusalOnAnErrorPage(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.GuardClient(gatewayID, gatewaySecret)
	ago, ahead := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix()
	const (
		scopes            = `Bearer realm="portcullis", error="insufficient_scope", scope="read write"`
		withScope         = `Bearer realm="portcullis", scope="read write"`
		demands           = "scope read write"
		reasonCredentials = "authorization server refuses the gateway's own credentials"
		reasonUnavailable = "authorization server unavailable"
		reasonMalformed   = "authorization server sent no introspection answer"
	)
	gone, undiscovered := "http://"+testgateway.Address(t), "http://"+testgateway.Address(t)
	cases := []struct {
		name     string
		options  []string // of the authority
		endpoint string   // default: a path of the test's authority
		issuer   string   // in place of the endpoint
		rules    []string
		headers  []string // default: a bearer token
		answer   answer
		body     string

		status    int
		challenge string
		code      string
		reason    string // part of the description
	}{
		{name: "B03 no token", headers: []string{}, rules: []string{demands}, status: 401, challenge: withScope, code: "no_token", reason: "no access token"},
		{name: "A08 another scheme", headers: []string{"Authorization: Basic eDp5"}, status: 401, challenge: challengeNoToken, code: "no_token", reason: "no access token"},
		{
			name: "A06 more than one token", headers: []string{"Authorization: Bearer a", "Authorization: Bearer b"},
			status: 400, challenge: challengeInvalidRequest, code: "invalid_request", reason: "malformed request",
		},
		{
			name: "A05 Bearer without a token", headers: []string{"Authorization: Bearer"},
			status: 400, challenge: challengeInvalidRequest, code: "invalid_request", reason: "malformed request",
		},
		{
			name: "A04 not one token68", headers: []string{"Authorization: Bearer a b"},
			status: 400, challenge: challengeInvalidRequest, code: "invalid_request", reason: "malformed request",
		},
		{
			name: "A21 over max_token", options: []string{"max_token 8"}, headers: []string{"Authorization: Bearer 123456789"},
			status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "token",
		},
		{
			name: "A18 a form that is too long", rules: []string{"token_from form access_token"}, body: "access_token=" + strings.Repeat("x", 1<<20),
			headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 413, code: "invalid_request", reason: "form",
		},
		{name: "D02 inactive", answer: says(claims{"active": false}), status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "the token is not active"},
		{name: "D04 expired", answer: active(claims{"exp": ago}), status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "the token has expired"},
		{name: "D05 not valid yet", answer: active(claims{"nbf": ahead}), status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "nbf"},
		{name: "D05 from the future", answer: active(claims{"iat": ahead}), status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "iat"},
		{
			name: "D10 another issuer", options: []string{"issuer https://as.example.com"}, answer: active(claims{"iss": "https://evil.example.com"}),
			status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "another issuer",
		},
		{
			name: "D09 another audience", rules: []string{"audience api"}, answer: active(claims{"aud": "web"}),
			status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "another audience",
		},
		{
			name: "D14 bound, and not proved", answer: active(claims{"cnf": claims{"jkt": "x"}}),
			status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "possession",
		},
		{
			name: "D13 a refresh token", answer: active(claims{"token_type": "refresh_token"}),
			status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "not an access token",
		},
		{name: "D13 an ID token", answer: active(claims{"typ": "ID"}), status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "not an access token"},
		{name: "B05 a scope is missing", rules: []string{demands}, answer: active(claims{"scope": "read"}), status: 403, challenge: scopes, code: "insufficient_scope", reason: "scope write is missing"},
		{name: "B12 a claim rule", rules: []string{"claim tenant acme"}, answer: active(nil), status: 403, code: "forbidden", reason: "claim tenant"},
		{name: "B12 a require rule", rules: []string{"require `claims.level > 3`"}, answer: active(nil), status: 403, code: "forbidden", reason: "require claims.level > 3"},
		{name: "B15 unreachable", endpoint: gone, status: 503, code: "unavailable", reason: reasonUnavailable},
		{name: "B15 500", answer: sends(500, "", ""), status: 503, code: "unavailable", reason: reasonUnavailable},
		{name: "B15 429", answer: sends(429, "", ""), status: 503, code: "unavailable", reason: reasonUnavailable},
		{name: "B15 not discovered yet", issuer: undiscovered, status: 503, code: "unavailable", reason: reasonUnavailable},
		{name: "B15 too slow", options: []string{"timeout 100ms"}, answer: as.hangs(), status: 504, code: "unavailable", reason: "authorization server too slow"},
		{name: "B16 401", answer: refusesGateway(401), status: 502, code: "misconfigured", reason: reasonCredentials},
		{name: "B16 403", answer: sends(403, "text/html", ""), status: 502, code: "misconfigured", reason: reasonCredentials},
		{name: "B16 invalid_client", answer: sends(400, "application/json", `{"error":"invalid_client"}`), status: 502, code: "misconfigured", reason: reasonCredentials},
		{name: "C10 400", answer: sends(400, "application/json", `{"error":"invalid_request"}`), status: 502, code: "misconfigured", reason: reasonMalformed},
		{
			name: "C10 unsupported_token_type", answer: sends(400, "application/json", `{"error":"unsupported_token_type"}`),
			status: 401, challenge: challengeInvalidToken, code: "invalid_token", reason: "the token is not active",
		},
		{name: "C10 a page", answer: sends(200, "text/html", `{"active":true}`), status: 502, code: "misconfigured", reason: reasonMalformed},
	}
	var global, site strings.Builder
	for i, c := range cases {
		name := fmt.Sprintf("a%d", i)
		where := "endpoint " + as.URL + "/" + name
		switch {
		case c.endpoint != "":
			where = "endpoint " + c.endpoint
		case c.issuer != "":
			where = "issuer " + c.issuer
		}
		if c.answer != nil {
			as.on("/"+name, c.answer)
		}
		fmt.Fprintf(&global, "introspect %s {\n%s\nclient %s %s\n%s\n}\n", name, where, gatewayID, gatewaySecret, strings.Join(c.options, "\n"))
		fmt.Fprintf(&site, "handle /%s {\nintrospect %s {\n%s\n}\n%s}\n", name, name, strings.Join(c.rules, "\n"), app.Proxy())
	}
	site.WriteString("handle_errors {\n\trespond \"{err.status_code}|{http.introspect.error}|{http.introspect.error_description}\"\n}\n")
	g.Start(t, g.caddyfile(global.String(), site.String()))

	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			headers, method := c.headers, http.MethodGet
			if headers == nil {
				g.Guard(canary(i))
				headers = []string{"Authorization: Bearer " + canary(i)}
			}
			if c.body != "" {
				method, headers = http.MethodPost, append(headers, fmt.Sprint("Content-Length: ", len(c.body)))
			}
			got := g.raw(t, fmt.Sprintf("%s /a%d", method, i), headers, c.body)
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.challenge, got.Challenge(t), "B01 the challenge survives")
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			assert.Equal(t, c.status == http.StatusServiceUnavailable, got.Header.Get("Retry-After") != "")
			status, rest, _ := strings.Cut(got.Body, "|")
			code, description, _ := strings.Cut(rest, "|")
			assert.Equal(t, fmt.Sprint(c.status), status)
			assert.Equal(t, c.code, code)
			assert.Contains(t, description, c.reason)
		})
	}
	assert.Empty(t, app.All())
}
