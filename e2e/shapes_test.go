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

// shaped is an answer of some authority, and what a gateway makes of it.
type shaped struct {
	name    string
	options []string // of the authority
	rules   []string // of the route
	answer  answer

	status int                 // default: 200
	told   map[string][]string // what the backend is told of who came
}

// makesOf sends a request for each answer, and looks at the reply and at what the backend is told. Each case has a route
// and an authority of its own.
func makesOf(t *testing.T, cases []shaped) {
	t.Helper()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	var global, site strings.Builder
	for i, c := range cases {
		name := fmt.Sprintf("a%d", i)
		as.on("/"+name, c.answer)
		global.WriteString(authorityOption(name, as.URL+"/"+name, c.options...))
		fmt.Fprintf(&site, "handle /%s {\n\tintrospect %s {\n\t\t%s\n\t}\n\t%s}\n",
			name, name, strings.Join(c.rules, "\n\t\t"), app.Proxy())
	}
	g.Start(t, g.caddyfile(global.String(), site.String()))
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := fmt.Sprintf("/a%d", i)
			got := g.get(t, path, canary(i))
			if c.status != 0 {
				assert.Equal(t, c.status, got.Status)
				assert.Empty(t, app.At(path))
				return
			}
			require.Equal(t, http.StatusOK, got.Status, got.Header)
			want := c.told
			if want == nil {
				want = map[string][]string{}
			}
			assert.Equal(t, want, identityIn(app.One(t, path).Header))
		})
	}
}

// told lists headers as the backend gets them, each a name and a value.
func told(pairs ...string) map[string][]string {
	headers := make(map[string][]string)
	for i := 0; i < len(pairs); i += 2 {
		headers[pairs[i]] = []string{pairs[i+1]}
	}
	return headers
}

// The answers of servers that are in use, as they are sent.
func TestAnswersOfOtherServers(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	ahead := now + 3600
	issuer := []string{"issuer https://as.example.com"}
	text := func(format string, values ...any) answer { return saysJSON(fmt.Sprintf(format, values...)) }
	client := told("Remote-Client", "shop", "Remote-Scope", "read write")
	alice := told("Remote-User", "alice", "Remote-Client", "shop", "Remote-Scope", "read write")
	makesOf(t, []shaped{
		{
			name: "Authlib: a user", options: issuer, told: alice,
			answer: text(`{"active": true, "client_id": "shop", "token_type": "Bearer", "username": "alice", "scope": "read write",
				"sub": "1", "aud": "shop", "iss": "https://as.example.com", "exp": %d, "iat": %d}`, ahead, now),
		},
		{
			name: "Authlib: a client", told: client,
			answer: text(`{"active": true, "client_id": "shop", "token_type": "Bearer", "username": null, "scope": "read write",
				"sub": "shop", "aud": "shop", "iss": "https://as.example.com", "exp": %d, "iat": %d}`, ahead, now),
		},
		{
			name: "D04 Authlib: a token without a lifetime, whose exp is its iat", status: 401,
			answer: text(`{"active": true, "client_id": "shop", "token_type": "Bearer", "username": "alice", "exp": %d, "iat": %d}`, now-60, now-60),
		},
		{
			name: "Authlib: aud is the client, and not the API", rules: []string{"audience https://api.example.com"}, status: 401,
			answer: text(`{"active": true, "client_id": "shop", "aud": "shop", "username": "alice"}`),
		},
		{
			name: "Django OAuth Toolkit: a user", options: issuer, told: alice,
			answer: text(`{"active": true, "scope": "read write", "exp": %d, "client_id": "shop", "username": "alice"}`, ahead),
		},
		{
			name: "Django OAuth Toolkit: a client", told: client,
			answer: text(`{"active": true, "scope": "read write", "exp": %d, "client_id": "shop"}`, ahead),
		},
		{
			name: "Django OAuth Toolkit: nobody's", answer: text(`{"active": true, "scope": "", "exp": %d}`, ahead),
		},
		{
			name: "Django OAuth Toolkit: an empty scope grants nothing", rules: []string{"scope read"}, status: 403,
			answer: text(`{"active": true, "scope": "", "exp": %d, "client_id": "shop"}`, ahead),
		},
		{
			name: "D06 oauthlib: floats", told: told("Remote-User", "42", "Remote-Client", "shop", "Remote-Scope", "read write"),
			answer: text(`{"active": true, "exp": %d.039466, "iat": %d.5, "scope": "read write", "sub": "42", "client_id": "shop"}`, ahead, now),
		},
		{
			name: "D04 oauthlib: floats, expired", status: 401, answer: text(`{"active": true, "exp": %d.039466, "sub": "42"}`, now-60),
		},
		{
			name: "D06 D08 D11 oauthlib: lists, and a number for a name", rules: []string{"audience api", "scope write"},
			told: told("Remote-User", "42", "Remote-Client", "shop", "Remote-Scope", "read write"),
			answer: text(`{"active": true, "scope": ["read", "write"], "aud": ["web", "api"], "exp": "%d", "sub": 42,
				"client_id": "shop"}`, ahead),
		},
		{
			name: "oauthlib: without a user", told: client,
			answer: text(`{"active": true, "scope": "read write", "sub": null, "username": null, "client_id": "shop", "exp": %d}`, ahead),
		},
		{
			name: "oidc-provider: a user", options: issuer, told: told("Remote-User", "248289761001", "Remote-Client", "shop", "Remote-Scope", "read write"),
			answer: sends(200, "application/json; charset=utf-8", fmt.Sprintf(`{"active":true,"sub":"248289761001","client_id":"shop",
				"exp":%d,"iat":%d,"sid":"s1","iss":"https://as.example.com","scope":"read write","token_type":"Bearer"}`, ahead, now)),
		},
		{
			name: "oidc-provider: a client without scopes", options: issuer, told: told("Remote-Client", "shop"),
			answer: text(`{"active":true,"client_id":"shop","exp":%d,"iat":%d,"iss":"https://as.example.com","token_type":"Bearer"}`, ahead, now),
		},
		{
			name: "D08 oidc-provider: for a resource", rules: []string{"audience https://api.example.com"}, told: told("Remote-Client", "shop"),
			answer: text(`{"active":true,"client_id":"shop","exp":%d,"aud":"https://api.example.com"}`, ahead),
		},
		{
			name: "D08 oidc-provider: for no resource", rules: []string{"audience https://api.example.com"}, status: 401,
			answer: text(`{"active":true,"client_id":"shop","exp":%d}`, ahead),
		},
		{
			name: "D14 oidc-provider: bound to a key", status: 401,
			answer: text(`{"active":true,"client_id":"shop","sub":"1","exp":%d,"cnf":{"jkt":"0ZcOCORZNYy"},"token_type":"DPoP"}`, ahead),
		},
		{
			name: "D14 oidc-provider: bound to a certificate, and called Bearer", status: 401,
			answer: text(`{"active":true,"client_id":"shop","sub":"1","exp":%d,"cnf":{"x5t#S256":"bwcK0esc3ACC"},"token_type":"Bearer"}`, ahead),
		},
		{
			name: "D10 oidc-provider: of another issuer", options: issuer, status: 401,
			answer: text(`{"active":true,"client_id":"shop","sub":"1","exp":%d,"iss":"https://as.example.com/"}`, ahead),
		},
		{
			name: "fosite: a user, with an extension", rules: []string{"audience https://api.example.com", "copy_claims ext.tenant"},
			told: told("Remote-User", "alice", "Remote-Client", "shop", "Remote-Scope", "read write", "X-Claim-Ext-Tenant", "acme"),
			answer: sends(200, "application/json;charset=UTF-8", fmt.Sprintf(`{"active":true,"aud":["https://api.example.com"],"client_id":"shop",
				"exp":%d,"ext":{"tenant":"acme"},"iat":%d,"scope":"read write","sub":"1","username":"alice"}`+"\n", ahead, now)),
		},
		{
			name: "fosite: a client", told: told("Remote-Client", "shop"),
			answer: text(`{"active":true,"client_id":"shop","exp":%d,"iat":%d}`+"\n", ahead, now),
		},
		{
			name: "D02 fosite: inactive", status: 401, answer: sends(200, "application/json;charset=UTF-8", `{"active":false}`+"\n"),
		},
		{
			name: "Glewlwyd: a user", told: alice,
			answer: text(`{"username":"alice","sub":"6d1f","client_id":"shop","scope":"read write","aud":"read write","iss":"https://as.example.com",
				"token_type":"bearer","jti":"j1","iat":%d,"nbf":%d,"exp":%d,"active":true}`, now, now, ahead),
		},
		{
			name: "D13 Glewlwyd: a refresh token", status: 401,
			answer: text(`{"username":"alice","client_id":"shop","token_type":"refresh_token","exp":%d,"active":true}`, ahead),
		},
		{
			name: "D08 Glewlwyd: aud is the list of scopes", rules: []string{"audience read"}, status: 401,
			answer: text(`{"username":"alice","aud":"read write","exp":%d,"active":true}`, ahead),
		},
		{
			name: "names of the wrong kind name nobody",
			answer: text(`{"active":true,"sub":["admin"],"username":{"name":"admin"},"client_id":true,"scope":{"admin":true},
				"groups":null,"email":[],"name":"","exp":%d}`, ahead),
			told: map[string][]string{},
		},
	})
}

// Authorization servers that answer in a shape of their own.
func TestAnswersOfAnotherShape(t *testing.T) {
	t.Parallel()
	ahead := time.Now().Unix() + 3600
	answerBlock := func(lines ...string) []string { return []string{"answer {\n" + strings.Join(lines, "\n") + "\n}"} }
	someone := answerBlock("active user.id", "sub user.id", "username user.login", "client_id app.client_id", "scope scopes", "exp expires_at")
	alice := told("Remote-User", "alice", "Remote-Client", "shop", "Remote-Scope", "read write")
	const user = `"user":{"id":7,"login":"alice"},"app":{"client_id":"shop"},"scopes":["read","write"]`
	makesOf(t, []shaped{
		{name: "all parts", options: someone, told: alice, answer: saysJSON(fmt.Sprintf(`{%s,"expires_at":%d}`, user, ahead))},
		{name: "an error instead", options: someone, status: 401, answer: saysJSON(`{"error":"invalid_token"}`)},
		{name: "an empty answer", options: someone, status: 401, answer: saysJSON(`{}`)},
		{name: "D02 active is false, and all parts are there", options: someone, status: 401, answer: saysJSON(`{"active":false,` + user + `}`)},
		{name: "active is true, and nothing is there", options: someone, status: 401, answer: saysJSON(`{"active":true}`)},
		{name: "no user", options: someone, status: 401, answer: saysJSON(`{"user":null}`)},
		{
			name: "D04 the mapped exp is past", options: someone, status: 401,
			answer: saysJSON(fmt.Sprintf(`{%s,"expires_at":%d,"exp":%d}`, user, ahead-7200, ahead)),
		},
		{name: "D06 the mapped exp cannot be read", options: someone, status: 502, answer: saysJSON(`{` + user + `,"expires_at":"tomorrow"}`)},
		{name: "D04 an end is never forgotten, mapped or not", options: someone, status: 401, answer: saysJSON(`{` + user + `,"exp":1}`)},
		{name: "D03 a name twice", options: someone, status: 502, answer: saysJSON(`{` + user + `,"app":{}}`)},
		{name: "C10 an error with its own status is no answer", options: someone, status: 502, answer: sends(400, "application/json", `{"error":"invalid_token"}`)},
		{
			name: "scopes are judged", options: someone, rules: []string{"scope admin"}, status: 403, answer: saysJSON(`{` + user + `,"scope":"admin"}`),
		},
		{name: "equal to a text", options: answerBlock("active status live"), answer: saysJSON(`{"status":"live"}`)},
		{name: "not equal to a text", options: answerBlock("active status live"), status: 401, answer: saysJSON(`{"status":"dead"}`)},
		{name: "equal to true", options: answerBlock("active valid true"), answer: saysJSON(`{"valid":true}`)},
		{name: "not equal to true: the text false", options: answerBlock("active valid true"), status: 401, answer: saysJSON(`{"valid":"false"}`)},
		{name: "equal to a number", options: answerBlock("active code 0"), answer: saysJSON(`{"code":0}`)},
		{name: "not equal to a number", options: answerBlock("active code 0"), status: 401, answer: saysJSON(`{"code":17}`)},
		{
			name: "names with dots", options: answerBlock("active https://as.example.com/ok", `username profile.login\.name`),
			told: told("Remote-User", "alice"), answer: saysJSON(`{"https://as.example.com/ok":1,"profile":{"login.name":"alice"}}`),
		},
		{
			name: "what else is there is RFC 7662", options: answerBlock("username login"),
			told:   told("Remote-User", "alice", "Remote-Client", "shop", "Remote-Scope", "read"),
			answer: saysJSON(`{"active":true,"login":"alice","client_id":"shop","scope":"read","username":"root"}`),
		},
		{name: "D01 and has to say so", options: answerBlock("username login"), status: 502, answer: saysJSON(`{"login":"alice"}`)},
		{
			name: "D16 a client is no user here either", options: answerBlock("active app", "sub owner", "client_id app"),
			told: told("Remote-Client", "admin"), answer: saysJSON(`{"app":"admin","owner":"admin"}`),
		},
	})
}

// How an answer is read is part of what makes an authority itself: what was remembered as one thing must not come back as
// another.
func TestRememberingAnotherShape(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const token = "token-of-another-shape"
	as.on(token, saysJSON(`{"state":"live","first":"alice","second":"bob"}`))
	config := func(options ...string) string {
		return g.caddyfile(as.option("", options...), "introspect\n"+app.Proxy())
	}
	first := config("answer {\nactive state live\nusername first\n}")
	second := config("answer {\nactive state live\nusername second\n}")
	g.Start(t, first)
	for i, step := range []struct {
		name      string
		caddyfile string
		status    int
		user      string
		asked     int
	}{
		{"asked", first, 200, "alice", 1},
		{"remembered", first, 200, "alice", 1},
		{"another user", second, 200, "bob", 2},
		{"remembered as another user", second, 200, "bob", 2},
		{"another state", config("answer {\nactive state dead\nusername second\n}"), 401, "", 3},
		{"a user who may not be there", config("answer {\nactive third\nusername second\n}"), 401, "", 4},
		{"no shape of its own", config(), 502, "", 5},
		{"as at first", first, 200, "alice", 6},
	} {
		t.Run(step.name, func(t *testing.T) {
			g.reload(t, step.caddyfile)
			path := fmt.Sprintf("/%d", i)
			assert.Equal(t, step.status, g.get(t, path, token).Status)
			assert.Len(t, as.asked(token), step.asked)
			if step.status == http.StatusOK {
				assert.Equal(t, told("Remote-User", step.user), identityIn(app.One(t, path).Header))
			}
		})
	}
}
