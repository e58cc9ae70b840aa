package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// The challenges of RFC 6750 section 3 as routes without scopes give them.
const (
	challengeNone           = ""
	challengeNoToken        = `Bearer realm="portcullis"`
	challengeInvalidRequest = `Bearer realm="portcullis", error="invalid_request"`
	challengeInvalidToken   = `Bearer realm="portcullis", error="invalid_token"`

	// The same under the scheme DPoP (RFC 9449 section 7.1).
	offerDPoP                   = `DPoP realm="portcullis", ` + proofAlgorithms
	challengeInvalidRequestDPoP = `DPoP realm="portcullis", error="invalid_request", ` + proofAlgorithms
	challengeInvalidTokenDPoP   = `DPoP realm="portcullis", error="invalid_token", ` + proofAlgorithms
	challengeInvalidProof       = `DPoP realm="portcullis", error="invalid_dpop_proof", ` + proofAlgorithms
	challengeUseNonce           = `DPoP realm="portcullis", error="use_dpop_nonce", ` + proofAlgorithms

	proofAlgorithms = `algs="ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"`
)

// once is how often most tokens are asked about.
const once = 1

// refusal is a request that must not reach the backend. Each has a route and an authority of its own.
type refusal struct {
	name    string
	options []string // of the authority
	rules   []string // of the route
	headers []string // raw header lines; default: a good bearer token
	query   string
	answer  answer // of the authority; default: active

	status    int
	challenge string
	calls     int
}

// refuses sends every request, and looks at the answer, the authority and the backend. The gateway must not write what
// is guarded.
func refuses(t *testing.T, cases []refusal, guarded ...string) {
	t.Helper()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.GuardClient(gatewayID, gatewaySecret)
	g.Guard(guarded...)
	var global, site strings.Builder
	for i, c := range cases {
		name := fmt.Sprintf("a%d", i)
		if c.answer != nil {
			as.on("/"+name, c.answer)
		} else {
			as.on("/"+name, active(claims{"sub": "alice"}))
		}
		global.WriteString(authorityOption(name, as.URL+"/"+name, c.options...))
		fmt.Fprintf(&site, "handle /%s {\n\tintrospect %s {\n\t\t%s\n\t}\n\t%s}\n",
			name, name, strings.Join(c.rules, "\n\t\t"), app.Proxy())
	}
	g.Start(t, g.caddyfile(global.String(), site.String()))

	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := fmt.Sprintf("/a%d", i)
			headers := c.headers
			if headers == nil {
				headers = []string{"Authorization: Bearer " + canary(i)}
			}
			g.Guard(canary(i))
			got := g.raw(t, "GET "+path+c.query, headers, "")

			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.challenge, got.Challenge(t))
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			if c.status == http.StatusServiceUnavailable {
				assert.Regexp(t, `^[1-9][0-9]*$`, got.Header.Get("Retry-After"))
			} else {
				assert.Empty(t, got.Header.Get("Retry-After"))
			}
			assert.Empty(t, got.Body)
			assert.Len(t, as.asked(path), c.calls, "questions to the authority")
			assert.Empty(t, app.At(path), "requests to the backend")
		})
	}
}

// canary is the token of a case, which must appear nowhere.
func canary(i int) string { return fmt.Sprintf("canary-%d-x9Qw.~+/=", i) }

func TestPresentingNoTokenOrSeveral(t *testing.T) {
	t.Parallel()
	bearer := "Authorization: Bearer "
	cases := []refusal{
		{name: "B01 B03 no token", headers: []string{}, status: 401, challenge: challengeNoToken},
		{
			name: "B08 no token, and the scopes that the route demands", headers: []string{},
			rules:  []string{"scope orders:read", "scope orders:write", "any_scope a b"},
			status: 401, challenge: `Bearer realm="portcullis", scope="orders:read orders:write a b"`,
		},
		{
			name: "B09 a realm with quotes", headers: []string{}, rules: []string{"realm `a\"b\\c`"},
			status: 401, challenge: `Bearer realm="a\"b\\c"`,
		},
		{name: "A08 Basic", headers: []string{"Authorization: Basic eDp5"}, status: 401, challenge: challengeNoToken},
		{name: "A08 Digest", headers: []string{`Authorization: Digest username="x"`}, status: 401, challenge: challengeNoToken},
		{name: "A08 an empty line", headers: []string{"Authorization:"}, status: 401, challenge: challengeNoToken},
		{name: "A11 a token in the query", headers: []string{}, query: "?access_token=not-looked-at", status: 401, challenge: challengeNoToken},
		{name: "A19 a token in a cookie", headers: []string{"Cookie: access_token=" + canary(7)}, status: 401, challenge: challengeNoToken},
		{name: "A19 a token for a proxy", headers: []string{"Proxy-Authorization: Bearer " + canary(8)}, status: 401, challenge: challengeNoToken},
	}
	for name, headers := range map[string][]string{
		"A06 two tokens in two lines":              {bearer + "first-token", bearer + "second-token"},
		"A06 one token in two lines":               {bearer + "first-token", bearer + "first-token"},
		"A06 Bearer and Basic":                     {bearer + "first-token", "Authorization: Basic eDp5"},
		"A06 Basic and Bearer":                     {"Authorization: Basic eDp5", "authorization: Bearer first-token"},
		"A06 Basic twice":                          {"Authorization: Basic eDp5", "Authorization: Basic eDp5"},
		"A06 Bearer and an empty line":             {bearer + "first-token", "Authorization:"},
		"A06 two tokens in one line":               {bearer + "first-token, Bearer second-token"},
		"A05 Bearer":                               {"Authorization: Bearer"},
		"A05 Bearer and a space":                   {"Authorization: Bearer "},
		"A04 a comma":                              {bearer + "first-token,second-token"},
		"A04 a space":                              {bearer + "first-token second-token"},
		"A04 a trailing parameter":                 {bearer + `first-token, realm="x"`},
		"A04 quotes":                               {bearer + `"first-token"`},
		"A04 not ASCII":                            {bearer + "first-tokené"},
		"A04 = within":                             {bearer + "first=token"},
		"A04 nothing but =":                        {bearer + "===="},
		"A04 a control character that HTTP allows": {bearer + "first\ttoken"},
		"A04 a tab for the space":                  {"Authorization: Bearer\tfirst-token"},
		"A04 a comma for the space":                {"Authorization: Bearer,first-token"},
		"B07 what would end the challenge":         {bearer + `x", error="none`},
		"A04 a placeholder":                        {bearer + "{env.HOME}"},
		"A07 a folded line":                        {bearer + "first-token\r\n second-token"},
	} {
		cases = append(cases, refusal{name: name, headers: headers, status: 400, challenge: challengeInvalidRequest})
	}
	cases = append(cases, refusal{
		name: "A05 DPoP", headers: []string{"Authorization: DPoP"}, status: 400, challenge: challengeInvalidRequestDPoP,
	})
	long := strings.Repeat("t", 65)
	cases = append(cases,
		refusal{
			name: "A21 a token over max_token", options: []string{"max_token 64"}, headers: []string{bearer + long},
			status: 401, challenge: challengeInvalidToken,
		},
		refusal{
			name: "A21 a token over the default of max_token", headers: []string{bearer + strings.Repeat("t", 8193)},
			status: 401, challenge: challengeInvalidToken,
		})
	refuses(t, cases)
}

func TestTokensThatAreNotGoodHere(t *testing.T) {
	t.Parallel()
	ago, ahead := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix()
	audience := []string{"audience https://api.example.com"}
	invalid := func(name string, members claims, rules ...string) refusal {
		return refusal{name: name, rules: rules, answer: active(members), status: 401, challenge: challengeInvalidToken, calls: once}
	}
	refuses(t, []refusal{
		{
			name:   "D02 B14 inactive, whatever else it says",
			answer: says(claims{"active": false, "sub": "admin", "scope": "orders:admin", "exp": ahead}),
			status: 401, challenge: challengeInvalidToken, calls: once,
		},
		invalid("D04 B14 expired", claims{"exp": ago}),
		invalid("D04 expired just now, which leeway does not stretch", claims{"exp": time.Now().Unix()}),
		invalid("D04 expired, as a string", claims{"exp": fmt.Sprint(ago)}),
		invalid("D06 expired before everything", claims{"exp": -1e300}),
		invalid("D05 not valid yet", claims{"nbf": ahead}),
		invalid("D05 from the future", claims{"iat": ahead}),
		invalid("D08 no audience", claims{"sub": "alice"}, audience...),
		invalid("D08 D09 another audience", claims{"aud": "https://other.example.com"}, audience...),
		invalid("D08 an audience with a slash more", claims{"aud": "https://api.example.com/"}, audience...),
		invalid("D08 an audience that begins alike", claims{"aud": []string{"https://api.example.com.evil"}}, audience...),
		invalid("D08 an empty list of audiences", claims{"aud": []string{}}, audience...),
		invalid("D13 a refresh token", claims{"token_type": "refresh_token"}),
		invalid("D13 a refresh token by token_use", claims{"token_use": "refresh"}),
		invalid("D13 an ID token by token_use", claims{"token_use": "id"}),
		invalid("D13 a refresh token of Keycloak", claims{"typ": "Refresh"}),
		invalid("D13 an offline token of Keycloak", claims{"typ": "Offline"}),
		invalid("D13 an ID token by typ", claims{"typ": "ID"}),
		invalid("G10 D14 bound to a key, presented as Bearer", claims{"token_type": "DPoP", "cnf": claims{"jkt": "x"}}),
		invalid("H01 bound to a certificate", claims{"cnf": claims{"x5t#S256": "x"}}),
		invalid("D15 bound to something unknown", claims{"cnf": "x"}),
		{
			name: "G11 not bound, presented as DPoP", headers: []string{"Authorization: DPoP dpop-canary-1"},
			status: 401, challenge: challengeInvalidTokenDPoP, calls: once,
		},
		{
			name:   "B07 B14 inactive, in words of its own",
			answer: saysJSON(`{"active":false,"error":"a\"b\\c\r\nX-Admin: 1","error_description":"revoked by Zoë"}`),
			status: 401, challenge: challengeInvalidToken, calls: once,
		},
		{
			name:   "C10 unsupported_token_type means inactive",
			answer: sends(400, "application/json", `{"error":"unsupported_token_type"}`),
			status: 401, challenge: challengeInvalidToken, calls: once,
		},
		{
			name: "B05 a scope is missing", rules: []string{"scope orders:read orders:write"},
			answer: active(claims{"scope": "orders:read"}),
			status: 403, challenge: `Bearer realm="portcullis", error="insufficient_scope", scope="orders:read orders:write"`, calls: once,
		},
		{
			name: "B05 none of the scopes", rules: []string{"any_scope orders:read orders:write"},
			answer: active(claims{"scope": "profile"}),
			status: 403, challenge: `Bearer realm="portcullis", error="insufficient_scope", scope="orders:read orders:write"`, calls: once,
		},
		{
			name: "D11 a scope in another case, or longer", rules: []string{"scope read"},
			answer: active(claims{"scope": "Read readonly read:all"}),
			status: 403, challenge: `Bearer realm="portcullis", error="insufficient_scope", scope="read"`, calls: once,
		},
		{
			name: "D11 a scope within an element of a list", rules: []string{"scope admin"},
			answer: active(claims{"scope": []string{"read admin"}}),
			status: 403, challenge: `Bearer realm="portcullis", error="insufficient_scope", scope="admin"`, calls: once,
		},
		{
			name: "B05 several rules broken: the token before its scopes", rules: append(audience, "scope admin"),
			answer: active(claims{"aud": "https://other.example.com"}),
			status: 401, challenge: challengeInvalidToken, calls: once,
		},
	})
}

func TestGoodTokens(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect {
			scope read
			any_scope a b
			audience https://api.example.com https://www.example.com
		}
		`+app.Proxy()))
	good := func(changes claims) answer {
		members := claims{"scope": "b read", "aud": "https://api.example.com"}
		maps.Copy(members, changes)
		return active(members)
	}
	const goodBody = `{"active":true,"scope":"a read","aud":"https://api.example.com"}`
	hour := time.Now().Add(time.Hour).Unix()
	cases := []struct {
		name   string
		header string
		answer answer
	}{
		{"A01 Bearer", "Authorization: Bearer %s", good(nil)},
		{"A02 bearer", "authorization: bearer %s", good(nil)},
		{"A02 bEaReR", "AUTHORIZATION: bEaReR %s", good(nil)},
		{"A03 several spaces", "Authorization: Bearer    %s", good(nil)},
		{"D06 exp as an integer", "Authorization: Bearer %s", good(claims{"exp": hour})},
		{"D06 exp as a float", "Authorization: Bearer %s", good(claims{"exp": float64(hour) + 0.5})},
		{"D06 exp as a string", "Authorization: Bearer %s", good(claims{"exp": fmt.Sprint(hour)})},
		{"D06 exp beyond all times", "Authorization: Bearer %s", good(claims{"exp": 1e300})},
		{"D05 nbf within leeway", "Authorization: Bearer %s", good(claims{"nbf": time.Now().Add(5 * time.Second).Unix()})},
		{"D08 aud as a list", "Authorization: Bearer %s", good(claims{"aud": []string{"x", "https://www.example.com"}})},
		{"D11 scope as a list", "Authorization: Bearer %s", good(claims{"scope": []string{"read", "a"}})},
		{"D11 scope with doubled spaces", "Authorization: Bearer %s", good(claims{"scope": "  a   read "})},
		{"D11 scp", "Authorization: Bearer %s", good(claims{"scope": nil, "scp": "a read"})},
		{"C10 JSON with a charset", "Authorization: Bearer %s", sends(200, "application/json; charset=utf-8", goodBody)},
		{"C10 an answer without a content type", "Authorization: Bearer %s", sends(200, "", goodBody)},
		{"token_type in lower case", "Authorization: Bearer %s", good(claims{"token_type": "bearer"})},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			token, path := canary(i), fmt.Sprintf("/%d", i)
			g.Guard(token)
			as.on(token, c.answer)
			got := g.raw(t, "GET "+path, []string{fmt.Sprintf(c.header, token)}, "")
			assert.Equal(t, http.StatusOK, got.Status, got.Header)
			assert.NotContains(t, app.One(t, path).Header, "Authorization", "J13")
			assert.Len(t, as.asked(token), once)
		})
	}
}
