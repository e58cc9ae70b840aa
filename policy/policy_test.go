package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

var now = time.Unix(1_800_000_000, 0)

// parse makes an answer of JSON text.
func parse(t *testing.T, body string) *introspect.Answer {
	t.Helper()
	answer, err := introspect.ParseAnswer([]byte(body), now)
	require.NoError(t, err)
	return answer
}

// active is an active answer with the given further members.
func active(t *testing.T, members string) *introspect.Answer {
	t.Helper()
	if members != "" {
		members = "," + members
	}
	return parse(t, `{"active":true`+members+`}`)
}

// at is a member with a date, in seconds from now.
func at(name string, seconds float64) string {
	return fmt.Sprintf("%q:%.3f", name, float64(now.Unix())+seconds)
}

func TestActive(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       policy.Outcome
	}{
		{"D01 active", `{"active":true}`, policy.Allowed},
		{"D02 not active", `{"active":false}`, policy.InvalidToken},
		{
			"D02 not active, whatever else it says",
			`{"active":false,"sub":"admin","scope":"read write","aud":"https://api.example","exp":9999999999}`,
			policy.InvalidToken,
		},
		{"D03 another member that is spelled like active", `{"active":false,"Active":true}`, policy.InvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, new(policy.Rules).Judge(parse(t, tc.body), now, policy.Presented{}).Outcome)
		})
	}
	t.Run("the zero answer", func(t *testing.T) {
		assert.Equal(t, policy.InvalidToken, new(policy.Rules).Judge(new(introspect.Answer), now, policy.Presented{}).Outcome)
	})
}

func TestDates(t *testing.T) {
	const leeway = 10 * time.Second
	for _, tc := range []struct {
		name, members string
		leeway        time.Duration
		want          policy.Outcome
	}{
		{"D07 no exp", ``, leeway, policy.Allowed},
		{"D07 exp null", `"exp":null`, leeway, policy.Allowed},
		{"D04 exp in the future", at("exp", 60), leeway, policy.Allowed},
		{"D04 exp in a second", at("exp", 1), leeway, policy.Allowed},
		{"D04 exp in a part of a second", at("exp", 0.5), leeway, policy.Allowed},
		{"D04 exp is now", at("exp", 0), leeway, policy.InvalidToken},
		{"D04 exp a part of a second ago", at("exp", -0.5), leeway, policy.InvalidToken},
		{"D04 exp a second ago, within the leeway", at("exp", -1), leeway, policy.InvalidToken},
		{"D04 exp long ago", at("exp", -120), leeway, policy.InvalidToken},
		{"D04 a huge leeway does not stretch exp", at("exp", -1), 24 * time.Hour, policy.InvalidToken},
		{"D04 exp at the epoch", `"exp":0`, leeway, policy.InvalidToken},
		{"D06 exp before the epoch", `"exp":-1`, leeway, policy.InvalidToken},
		{"D06 exp beyond the calendar", `"exp":1e300`, leeway, policy.Allowed},
		{"D06 exp beyond a float", `"exp":1e400`, leeway, policy.Allowed},
		{"D06 exp before the calendar", `"exp":-1e300`, leeway, policy.InvalidToken},
		{"D06 exp as a string", `"exp":"1799999999"`, leeway, policy.InvalidToken},
		// What a server in Go sends for a time.Time that it never set.
		{"D06 exp at the zero time of Go is long ago, not never", `"exp":-62135596800`, leeway, policy.InvalidToken},

		{"D05 nbf in the past", at("nbf", -60), leeway, policy.Allowed},
		{"D05 nbf is now", at("nbf", 0), 0, policy.Allowed},
		{"D05 nbf in a second, no leeway", at("nbf", 1), 0, policy.InvalidToken},
		{"D05 nbf within the leeway", at("nbf", 9), leeway, policy.Allowed},
		{"D05 nbf at the end of the leeway", at("nbf", 10), leeway, policy.Allowed},
		{"D05 nbf a little beyond the leeway", at("nbf", 10.5), leeway, policy.InvalidToken},
		{"D05 nbf beyond the leeway", at("nbf", 11), leeway, policy.InvalidToken},
		{"D05 nbf beyond the calendar", `"nbf":1e300`, leeway, policy.InvalidToken},
		{"D05 nbf null", `"nbf":null`, leeway, policy.Allowed},

		{"D05 iat in the past", at("iat", -60), leeway, policy.Allowed},
		{"D05 iat is now", at("iat", 0), 0, policy.Allowed},
		{"D05 iat in a second, no leeway", at("iat", 1), 0, policy.InvalidToken},
		{"D05 iat within the leeway", at("iat", 9), leeway, policy.Allowed},
		{"D05 iat at the end of the leeway", at("iat", 10), leeway, policy.Allowed},
		{"D05 iat a little beyond the leeway", at("iat", 10.5), leeway, policy.InvalidToken},
		{"D05 iat in an hour", at("iat", 3600), leeway, policy.InvalidToken},
		{"D05 iat long ago is no flaw", `"iat":1`, leeway, policy.Allowed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules := policy.Rules{Leeway: tc.leeway}
			assert.Equal(t, tc.want, rules.Judge(active(t, tc.members), now, policy.Presented{}).Outcome)
		})
	}
}

// The answer is judged by the clock of the request, not by when it was given (D12).
func TestRememberedAnswersExpire(t *testing.T) {
	rules := policy.Rules{Leeway: policy.DefaultLeeway}
	answer := active(t, at("exp", 60)+","+at("nbf", 30))
	for seconds, want := range map[int]policy.Outcome{
		0: policy.InvalidToken, 19: policy.InvalidToken, 20: policy.Allowed, 59: policy.Allowed,
		60: policy.InvalidToken, 61: policy.InvalidToken,
	} {
		verdict := rules.Judge(answer, now.Add(time.Duration(seconds)*time.Second), policy.Presented{})
		assert.Equal(t, want, verdict.Outcome, "after %d s: %s", seconds, verdict.Reason)
	}
}

func TestAudience(t *testing.T) {
	one, two := []string{"https://api.example"}, []string{"https://api.example", "https://other.example"}
	for _, tc := range []struct {
		name     string
		demanded []string
		members  string
		want     policy.Outcome
	}{
		{"D08 none demanded, none there", nil, ``, policy.Allowed},
		{"D08 none demanded, one there", nil, `"aud":"https://elsewhere.example"`, policy.Allowed},
		{"D08 string", one, `"aud":"https://api.example"`, policy.Allowed},
		{"D08 array of one", one, `"aud":["https://api.example"]`, policy.Allowed},
		{"D08 last in an array", one, `"aud":["https://y.example","https://api.example"]`, policy.Allowed},
		{"D08 among numbers in an array", one, `"aud":[1,null,"https://api.example"]`, policy.Allowed},
		{"D08 the second of two demanded", two, `"aud":"https://other.example"`, policy.Allowed},
		{"D08 absent", one, ``, policy.InvalidToken},
		{"D08 null", one, `"aud":null`, policy.InvalidToken},
		{"D08 empty string", one, `"aud":""`, policy.InvalidToken},
		{"D08 empty array", one, `"aud":[]`, policy.InvalidToken},
		{"D08 another", one, `"aud":"https://y.example"`, policy.InvalidToken},
		{"D08 others in an array", two, `"aud":["https://y.example","https://z.example"]`, policy.InvalidToken},
		{"D08 with a slash at the end", one, `"aud":"https://api.example/"`, policy.InvalidToken},
		{"D08 without its end", one, `"aud":"https://api.exampl"`, policy.InvalidToken},
		{"D08 with more at the end", one, `"aud":"https://api.example.evil.example"`, policy.InvalidToken},
		{"D08 in another case", one, `"aud":"HTTPS://api.example"`, policy.InvalidToken},
		{"D08 two in one string", one, `"aud":"https://y.example https://api.example"`, policy.InvalidToken},
		{"D08 in an array in an array", one, `"aud":[["https://api.example"]]`, policy.InvalidToken},
		{"D08 in an object", one, `"aud":{"https://api.example":true}`, policy.InvalidToken},
		{"D08 a number", []string{"1"}, `"aud":1`, policy.InvalidToken},
		{"D08 under another name", one, `"Aud":"https://api.example","audience":"https://api.example"`, policy.InvalidToken},
		{"D08 as the client", one, `"client_id":"https://api.example"`, policy.InvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules := policy.Rules{Audience: tc.demanded}
			// D09: 401 invalid_token, not 403.
			assert.Equal(t, tc.want, rules.Judge(active(t, tc.members), now, policy.Presented{}).Outcome)
		})
	}
}

func TestScope(t *testing.T) {
	for _, tc := range []struct {
		name     string
		all, any []string
		members  string
		want     policy.Outcome
	}{
		{"D11 none demanded, none granted", nil, nil, ``, policy.Allowed},
		{"D11 the only one", []string{"read"}, nil, `"scope":"read"`, policy.Allowed},
		{"D11 among others", []string{"read"}, nil, `"scope":"a read b"`, policy.Allowed},
		{"D11 order means nothing", []string{"a", "b"}, nil, `"scope":"b a"`, policy.Allowed},
		{"D11 doubled spaces", []string{"a", "b"}, nil, `"scope":" a  b "`, policy.Allowed},
		{"D11 one of two is not both", []string{"a", "b"}, nil, `"scope":"a"`, policy.InsufficientScope},
		{"D11 the other of two is not both", []string{"a", "b"}, nil, `"scope":"b"`, policy.InsufficientScope},
		{"D11 readonly is not read", []string{"read"}, nil, `"scope":"readonly"`, policy.InsufficientScope},
		{"D11 unread is not read", []string{"read"}, nil, `"scope":"unread"`, policy.InsufficientScope},
		{"D11 read is not readonly", []string{"readonly"}, nil, `"scope":"read"`, policy.InsufficientScope},
		{"D11 Read is not read", []string{"read"}, nil, `"scope":"Read"`, policy.InsufficientScope},
		{"D11 a part does not grant the whole", []string{"a:b"}, nil, `"scope":"a"`, policy.InsufficientScope},
		{"D11 the whole does not grant a part", []string{"a"}, nil, `"scope":"a:b"`, policy.InsufficientScope},
		{"D11 a star is a scope like others", []string{"read"}, nil, `"scope":"*"`, policy.InsufficientScope},
		{"D11 a comma separates nothing", []string{"read"}, nil, `"scope":"read,write"`, policy.InsufficientScope},
		{"D11 a tab separates nothing", []string{"read"}, nil, `"scope":"read\twrite"`, policy.InsufficientScope},
		{"D11 a line feed separates nothing", []string{"read"}, nil, `"scope":"write\nread"`, policy.InsufficientScope},
		{"D11 absent", []string{"read"}, nil, ``, policy.InsufficientScope},
		{"D11 null", []string{"read"}, nil, `"scope":null`, policy.InsufficientScope},
		{"D11 empty", []string{"read"}, nil, `"scope":""`, policy.InsufficientScope},
		{"D11 a number", []string{"1"}, nil, `"scope":1`, policy.InsufficientScope},
		{"D11 a boolean", []string{"true"}, nil, `"scope":true`, policy.InsufficientScope},
		{"D11 an object", []string{"read"}, nil, `"scope":{"read":true}`, policy.InsufficientScope},
		{"D11 an array", []string{"read"}, nil, `"scope":["write","read"]`, policy.Allowed},
		{"D11 two in one element of an array", []string{"read"}, nil, `"scope":["write read"]`, policy.InsufficientScope},
		{"D11 an array in an array", []string{"read"}, nil, `"scope":[["read"]]`, policy.InsufficientScope},
		{"D11 scp", []string{"read"}, nil, `"scp":"write read"`, policy.Allowed},
		{"D11 scp as an array", []string{"read"}, nil, `"scp":["write","read"]`, policy.Allowed},
		{"D11 scp adds nothing to scope", []string{"admin"}, nil, `"scope":"read","scp":"admin"`, policy.InsufficientScope},
		{"D11 scp adds nothing to an empty scope", []string{"admin"}, nil, `"scope":"","scp":"admin"`, policy.InsufficientScope},

		{"any_scope the first", nil, []string{"a", "b"}, `"scope":"a"`, policy.Allowed},
		{"any_scope the last", nil, []string{"a", "b"}, `"scope":"c b"`, policy.Allowed},
		{"any_scope all", nil, []string{"a", "b"}, `"scope":"a b"`, policy.Allowed},
		{"any_scope none", nil, []string{"a", "b"}, `"scope":"c"`, policy.InsufficientScope},
		{"any_scope none granted at all", nil, []string{"a", "b"}, ``, policy.InsufficientScope},
		{"any_scope is no prefix", nil, []string{"a", "b"}, `"scope":"ab"`, policy.InsufficientScope},
		{"scope and any_scope both hold", []string{"x"}, []string{"a", "b"}, `"scope":"x b"`, policy.Allowed},
		{"any_scope does not stand for scope", []string{"x"}, []string{"a", "b"}, `"scope":"a b"`, policy.InsufficientScope},
		{"scope does not stand for any_scope", []string{"x"}, []string{"a", "b"}, `"scope":"x"`, policy.InsufficientScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules := policy.Rules{Scope: tc.all, AnyScope: tc.any}
			assert.Equal(t, tc.want, rules.Judge(active(t, tc.members), now, policy.Presented{}).Outcome)
		})
	}
}

// One answer is judged by each route's own rules (D12).
func TestOneAnswerManyRoutes(t *testing.T) {
	answer := active(t, `"scope":"read","aud":"https://api.example"`)
	for _, tc := range []struct {
		name  string
		rules policy.Rules
		want  policy.Outcome
	}{
		{"reads", policy.Rules{Scope: []string{"read"}}, policy.Allowed},
		{"writes", policy.Rules{Scope: []string{"write"}}, policy.InsufficientScope},
		{"of another audience", policy.Rules{Audience: []string{"https://b.example"}}, policy.InvalidToken},
		{"reads again", policy.Rules{Scope: []string{"read"}}, policy.Allowed},
	} {
		assert.Equal(t, tc.want, tc.rules.Judge(answer, now, policy.Presented{}).Outcome, "D12 a route that %s", tc.name)
	}
}

func TestOnlyAccessTokens(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		want          policy.Outcome
	}{
		{"D13 says nothing", ``, policy.Allowed},
		{"D13 token_type Bearer", `"token_type":"Bearer"`, policy.Allowed},
		{"D13 token_type bearer", `"token_type":"bearer"`, policy.Allowed},
		{"D13 token_type null", `"token_type":null`, policy.Allowed},
		{"D13 token_type refresh_token", `"token_type":"refresh_token"`, policy.InvalidToken},
		{"D13 token_type Refresh", `"token_type":"Refresh"`, policy.InvalidToken},
		{"D13 token_type id_token", `"token_type":"id_token"`, policy.InvalidToken},
		{"D13 token_type N_A", `"token_type":"N_A"`, policy.InvalidToken},
		{"D13 token_type mac", `"token_type":"mac"`, policy.InvalidToken},
		{"D13 token_type begins like Bearer", `"token_type":"Bearer refresh"`, policy.InvalidToken},
		{"D13 token_type a number", `"token_type":1`, policy.InvalidToken},
		{"D13 token_type an array", `"token_type":["refresh_token"]`, policy.InvalidToken},
		{"D13 token_type an object", `"token_type":{"kind":"refresh_token"}`, policy.InvalidToken},

		{"D13 token_use access", `"token_use":"access"`, policy.Allowed},
		{"D13 token_use access_token", `"token_use":"access_token"`, policy.Allowed},
		{"D13 token_use null", `"token_use":null`, policy.Allowed},
		{"D13 token_use refresh", `"token_use":"refresh"`, policy.InvalidToken},
		{"D13 token_use refresh_token", `"token_use":"refresh_token"`, policy.InvalidToken},
		{"D13 token_use id", `"token_use":"id"`, policy.InvalidToken},
		{"D13 token_use id_token", `"token_use":"id_token"`, policy.InvalidToken},
		{"D13 token_use an array", `"token_use":["refresh_token"]`, policy.InvalidToken},
		{"D13 token_use an object", `"token_use":{}`, policy.InvalidToken},
		{"D13 a refresh token of type Bearer", `"token_type":"Bearer","token_use":"refresh_token"`, policy.InvalidToken},

		{"D13 typ Bearer", `"typ":"Bearer"`, policy.Allowed},
		{"D13 typ JWT", `"typ":"JWT"`, policy.Allowed},
		{"D13 typ at+jwt", `"typ":"at+jwt"`, policy.Allowed},
		{"D13 typ application/at+jwt", `"typ":"application/at+jwt"`, policy.Allowed},
		{"D13 typ null", `"typ":null`, policy.Allowed},
		{"D13 typ Refresh, as Keycloak says", `"typ":"Refresh"`, policy.InvalidToken},
		{"D13 typ Offline, as Keycloak says", `"typ":"Offline"`, policy.InvalidToken},
		{"D13 typ ID, as Keycloak says", `"typ":"ID"`, policy.InvalidToken},
		{"D13 typ Logout, as Keycloak says", `"typ":"Logout"`, policy.InvalidToken},
		{"D13 typ refresh_token", `"typ":"refresh_token"`, policy.InvalidToken},
		{"D13 typ id_token", `"typ":"id_token"`, policy.InvalidToken},
		{"D13 typ logout+jwt", `"typ":"logout+jwt"`, policy.InvalidToken},
		{"D13 typ secevent+jwt", `"typ":"secevent+jwt"`, policy.InvalidToken},
		{"D13 typ application/secevent+jwt", `"typ":"application/secevent+jwt"`, policy.InvalidToken},
		{"D13 typ Application/Logout+JWT", `"typ":"Application/Logout+JWT"`, policy.InvalidToken},
		{"D13 typ token-introspection+jwt", `"typ":"token-introspection+jwt"`, policy.InvalidToken},
		{"D13 typ dpop+jwt", `"typ":"dpop+jwt"`, policy.InvalidToken},
		{"D13 typ client-authentication+jwt", `"typ":"client-authentication+jwt"`, policy.InvalidToken},
		{"D13 a refresh token of type Bearer by typ", `"token_type":"Bearer","typ":"Refresh"`, policy.InvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, new(policy.Rules).Judge(active(t, tc.members), now, policy.Presented{}).Outcome)
		})
	}
}

// A token that is bound to a key or a certificate is worth nothing in the hands of who stole it, and a gateway that
// does not check proofs must not make it worth something (D14, D15).
func TestBoundTokens(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		possession    bool
		want          policy.Outcome
	}{
		{"D14 no cnf", ``, false, policy.Allowed},
		{"D14 cnf null", `"cnf":null`, false, policy.Allowed},
		{"D14 jkt", `"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, false, policy.InvalidToken},
		{"D14 x5t#S256", `"cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`, false, policy.InvalidToken},
		{"D15 an unknown member", `"cnf":{"kid":"x"}`, false, policy.InvalidToken},
		{"D15 an empty object", `"cnf":{}`, false, policy.InvalidToken},
		{"D15 a string", `"cnf":"x"`, false, policy.InvalidToken},
		{"D15 an empty string", `"cnf":""`, false, policy.InvalidToken},
		{"D15 an array", `"cnf":[]`, false, policy.InvalidToken},
		{"D15 a boolean", `"cnf":false`, false, policy.InvalidToken},
		{"D15 a number", `"cnf":0`, false, policy.InvalidToken},
		{"D14 bound, under the scheme DPoP", `"token_type":"DPoP","cnf":{"jkt":"x"}`, true, policy.InvalidToken},
		{"D14 not bound, under the scheme DPoP", ``, true, policy.InvalidToken},
		{"D14 Bearer, under the scheme DPoP", `"token_type":"Bearer"`, true, policy.InvalidToken},
		{"D14 cnf null, under the scheme DPoP", `"cnf":null`, true, policy.InvalidToken},
		{"D14 token_type DPoP without cnf, under the scheme DPoP", `"token_type":"DPoP"`, true, policy.InvalidToken},
		// RFC 9449 section 7.1: the answer says that the token is bound, if not to what.
		{"D14 token_type DPoP without cnf, as a bearer token", `"token_type":"DPoP"`, false, policy.InvalidToken},
		{"D14 token_type dpop without cnf, as a bearer token", `"token_type":"dpop"`, false, policy.InvalidToken},
		{"D14 token_type DPoP with cnf null, as a bearer token", `"token_type":"DPoP","cnf":null`, false, policy.InvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, new(policy.Rules).Judge(active(t, tc.members), now, policy.Presented{Possession: tc.possession}).Outcome)
		})
	}
}

// Where several rules are broken: token, then binding, then scopes. The order of the flaws of a token itself shows in
// no answer, so only the reasons for the operator tell them apart.
func TestPrecedence(t *testing.T) {
	rules := policy.Rules{Scope: []string{"write"}, AnyScope: []string{"a", "b"}, Audience: []string{"https://api.example"}}
	const scope, noneOf, aud, cnf = `"scope":"write a"`, `"scope":"write"`, `"aud":"https://api.example"`, `"cnf":{"jkt":"x"}`
	for _, tc := range []struct {
		name       string
		answer     *introspect.Answer
		possession bool
		want       policy.Outcome
		reason     string
	}{
		{"inactive before everything", parse(t, `{"active":false}`), true, policy.InvalidToken, "not active"},
		{"expired before binding and scope", active(t, aud+","+at("exp", -1)+","+cnf), true, policy.InvalidToken, "expired"},
		{"nbf before binding and scope", active(t, aud+","+at("nbf", 60)+","+cnf), true, policy.InvalidToken, "nbf"},
		{"iat before binding and scope", active(t, aud+","+at("iat", 60)+","+cnf), true, policy.InvalidToken, "iat"},
		{
			"kind before binding and scope", active(t, aud+`,"token_use":"refresh",`+cnf),
			true, policy.InvalidToken, "not an access token",
		},
		{"audience before binding and scope", active(t, cnf), true, policy.InvalidToken, "audience"},
		{"audience before scope", active(t, ``), false, policy.InvalidToken, "audience"},
		{"binding before scope", active(t, aud+","+cnf), false, policy.InvalidToken, "bound"},
		{"possession before scope", active(t, aud), true, policy.InvalidToken, "DPoP"},
		{"scope before any_scope", active(t, aud), false, policy.InsufficientScope, "write"},
		{"any_scope last", active(t, aud+","+noneOf), false, policy.InsufficientScope, "a, b"},
		{"nothing broken", active(t, aud+","+scope), false, policy.Allowed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict := rules.Judge(tc.answer, now, policy.Presented{Possession: tc.possession})
			assert.Equal(t, tc.want, verdict.Outcome)
			if tc.reason == "" {
				assert.Empty(t, verdict.Reason)
			} else {
				assert.Contains(t, verdict.Reason, tc.reason)
			}
		})
	}
}

// Reasons go into logs (K14): they name rules, never what the authority said.
func TestReasonsHoldNothingOfTheToken(t *testing.T) {
	rules := policy.Rules{Scope: []string{"write"}, Audience: []string{"https://api.example"}}
	const aud, said = `"aud":"https://api.example"`,
		`,"sub":"canary","username":"canary","client_id":"canary","iss":"canary","scope":"canary","jti":"canary"`
	for _, members := range []string{
		aud + said,
		aud + said + `,"cnf":{"jkt":"canary"}`,
		aud + said + `,"token_type":"canary"`,
		aud + said + `,"token_use":"canary"`,
		aud + said + `,"typ":"refresh","x":"canary"`,
		aud + said + `,"exp":1`,
		aud + said + `,"nbf":9e9`,
		`"aud":"canary"` + said,
	} {
		verdict := rules.Judge(active(t, members), now, policy.Presented{})
		assert.NotEqual(t, policy.Allowed, verdict.Outcome, members)
		assert.NotEmpty(t, verdict.Reason, members)
		assert.NotContains(t, verdict.Reason, "canary", members)
	}
}

func TestDemanded(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rules policy.Rules
		want  []string
	}{
		{"nothing", policy.Rules{Audience: []string{"x"}}, []string{}},
		{"scope", policy.Rules{Scope: []string{"b", "a"}}, []string{"b", "a"}},
		{"any_scope", policy.Rules{AnyScope: []string{"b", "a"}}, []string{"b", "a"}},
		{"both", policy.Rules{Scope: []string{"a"}, AnyScope: []string{"b", "c"}}, []string{"a", "b", "c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, tc.rules.Demanded())
		})
	}
	t.Run("what is returned is not the rules themselves", func(t *testing.T) {
		backing := []string{"a", "b", "c"}
		rules := policy.Rules{Scope: backing[:1], AnyScope: []string{"x"}}
		demanded := rules.Demanded()
		demanded[0] = "changed"
		assert.Equal(t, []string{"a", "b", "c"}, backing)
		assert.Equal(t, []string{"a", "x"}, rules.Demanded())
	})
}

// Rules and answers are shared by all requests (D25); the race detector watches.
func TestJudgeConcurrently(t *testing.T) {
	rules := policy.Rules{Scope: []string{"read"}, AnyScope: []string{"a"}, Audience: []string{"https://api.example"}}
	answer := active(t, `"scope":"read a","aud":"https://api.example"`)
	verdicts := make(chan policy.Outcome)
	for range 8 {
		go func() {
			rules.Demanded()
			verdicts <- rules.Judge(answer, now, policy.Presented{}).Outcome
		}()
	}
	for range 8 {
		assert.Equal(t, policy.Allowed, <-verdicts)
	}
}
