package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/policy"
)

func TestScopeMatch(t *testing.T) {
	for _, tc := range []struct {
		granted, demanded           string
		exact, hierarchic, wildcard bool
	}{
		{"read", "read", true, true, true},
		{"Read", "read", false, false, false},
		{"read", "readonly", false, false, false},
		{"orders", "orders:read", false, true, false},
		{"orders", "orders.read", false, true, false},
		{"orders", "orders/read", false, true, false},
		{"orders", "orders:read:all", false, true, false},
		{"orders", "orders-read", false, false, false},
		{"orders:read", "orders", false, false, false},
		{"orders:", "orders:read", false, false, false},
		{"orders:*", "orders:read", false, false, true},
		{"orders.*", "orders.read", false, false, true},
		{"orders/*", "orders/read/all", false, false, true},
		{"orders:*", "orders", false, false, false},
		{"orders:*", "orders:", false, false, false},
		{"orders:*", "orders.read", false, false, false},
		{"orders*", "orders:read", false, false, false},
		{"orders:r*", "orders:read", false, false, false},
		{"*", "read", false, false, false},
		{":*", ":read", false, false, false},
		{"*:*", "orders:read", false, false, false},
		{"orders:*:x", "orders:read:x", false, false, false},
	} {
		for match, covers := range map[policy.ScopeMatch]bool{
			"": tc.exact, policy.Exact: tc.exact, policy.Hierarchic: tc.hierarchic, policy.Wildcard: tc.wildcard,
		} {
			t.Run(string(match)+" "+tc.granted+" for "+tc.demanded, func(t *testing.T) {
				answer := active(t, `"scope":"`+tc.granted+`"`)
				want := policy.InsufficientScope
				if covers {
					want = policy.Allowed
				}
				all := policy.Rules{Scope: []string{tc.demanded}, ScopeMatch: match}
				assert.Equal(t, want, all.Judge(answer, now, policy.Presented{}).Outcome)
				anyOf := policy.Rules{AnyScope: []string{"nothing", tc.demanded}, ScopeMatch: match}
				assert.Equal(t, want, anyOf.Judge(answer, now, policy.Presented{}).Outcome)
			})
		}
	}
}

func TestClaims(t *testing.T) {
	const members = `"sub":"ann","null":null,"yes":true,"n":9007199254740993,"f":1.50,"empty":"","none":[],
		"roles":["a","admin",7],"realm":{"roles":["x"]},"a.b":"whole","objects":[{"admin":true}]`
	for _, tc := range []struct {
		name  string
		claim policy.Claim
		met   bool
	}{
		{"present", policy.Claim{Path: "sub"}, true},
		{"absent", policy.Claim{Path: "nope"}, false},
		{"null is absent", policy.Claim{Path: "null"}, false},
		{"null has no text", policy.Claim{Path: "null", Values: []string{"null"}}, false},
		{"empty is present", policy.Claim{Path: "empty"}, true},
		{"equals", policy.Claim{Path: "sub", Values: []string{"bob", "ann"}}, true},
		{"another case", policy.Claim{Path: "sub", Values: []string{"Ann"}}, false},
		{"part of it", policy.Claim{Path: "sub", Values: []string{"an"}}, false},
		{"boolean", policy.Claim{Path: "yes", Values: []string{"true"}}, true},
		{"number, every digit", policy.Claim{Path: "n", Values: []string{"9007199254740993"}}, true},
		{"D17 number, nearly", policy.Claim{Path: "n", Values: []string{"9007199254740992"}}, false},
		{"number by its JSON text", policy.Claim{Path: "f", Values: []string{"1.50"}}, true},
		{"number by its value", policy.Claim{Path: "f", Values: []string{"1.5"}}, false},
		{"array contains", policy.Claim{Path: "roles", Values: []string{"admin"}}, true},
		{"array contains a number", policy.Claim{Path: "roles", Values: []string{"7"}}, true},
		{"array does not", policy.Claim{Path: "roles", Values: []string{"a,admin"}}, false},
		{"empty array is present", policy.Claim{Path: "none"}, true},
		{"empty array contains nothing", policy.Claim{Path: "none", Values: []string{""}}, false},
		{"path", policy.Claim{Path: "realm.roles", Values: []string{"x"}}, true},
		{"whole name", policy.Claim{Path: "a.b", Values: []string{"whole"}}, true},
		{"object equals nothing", policy.Claim{Path: "realm", Values: []string{`{"roles":["x"]}`}}, false},
		{"array of objects", policy.Claim{Path: "objects", Values: []string{"admin"}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules := policy.Rules{Claims: []policy.Claim{{Path: "active", Values: []string{"true"}}, tc.claim}}
			verdict := rules.Judge(active(t, members), now, policy.Presented{})
			if tc.met {
				require.Equal(t, policy.Allowed, verdict.Outcome)
				return
			}
			require.Equal(t, policy.Forbidden, verdict.Outcome, "B12: not a matter of scope")
			assert.NotContains(t, verdict.Reason, "ann")
		})
	}
	t.Run("scope before claims", func(t *testing.T) {
		rules := policy.Rules{Scope: []string{"x"}, Claims: []policy.Claim{{Path: "nope"}}}
		assert.Equal(t, policy.InsufficientScope, rules.Judge(active(t, members), now, policy.Presented{}).Outcome)
	})
}

func TestRulesThatAreNone(t *testing.T) {
	rules := policy.Rules{ScopeMatch: "fuzzy"}
	require.ErrorContains(t, rules.Check(), "scope_match")
	rules = policy.Rules{Claims: []policy.Claim{{}}}
	require.ErrorContains(t, rules.Check(), "claim")
	rules = policy.Rules{}
	require.NoError(t, rules.Check())
}

func TestIssuer(t *testing.T) {
	const issuer = "https://as.example.com/tenant"
	for _, tc := range []struct {
		name, members string
		want          policy.Outcome
	}{
		{"D10 the same", `"iss":"` + issuer + `"`, policy.Allowed},
		{"D10 absent", ``, policy.Allowed},
		{"D10 null", `"iss":null`, policy.Allowed},
		{"D10 another", `"iss":"https://evil.example.com"`, policy.InvalidToken},
		{"D10 a slash more", `"iss":"` + issuer + `/"`, policy.InvalidToken},
		{"D10 another case", `"iss":"https://AS.example.com/tenant"`, policy.InvalidToken},
		{"D10 begins alike", `"iss":"` + issuer + `.evil.example.com"`, policy.InvalidToken},
		{"D10 ends alike", `"iss":"x` + issuer + `"`, policy.InvalidToken},
		{"D10 another tenant", `"iss":"https://as.example.com/other"`, policy.InvalidToken},
		{"D10 empty", `"iss":""`, policy.InvalidToken},
		{"D10 a list with it", `"iss":["` + issuer + `"]`, policy.InvalidToken},
		{"D10 an object", `"iss":{"` + issuer + `":true}`, policy.InvalidToken},
		{"D10 a number", `"iss":1`, policy.InvalidToken},
		{"D10 false", `"iss":false`, policy.InvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules := policy.Rules{Issuer: issuer}
			assert.Equal(t, tc.want, rules.Judge(active(t, tc.members), now, policy.Presented{}).Outcome)
			assert.Equal(t, policy.Allowed, new(policy.Rules).Judge(active(t, tc.members), now, policy.Presented{}).Outcome,
				"where no issuer is configured")
		})
	}
}

// The client is told the first of several rules that are broken: the token, its binding, its scopes, its claims, and
// then what is required.
func TestOrderOfAllRules(t *testing.T) {
	requirement, err := policy.NewRequirement(`claims.level >= 3`)
	require.NoError(t, err)
	rules := policy.Rules{
		Issuer: "https://as.example.com", Scope: []string{"read"}, Claims: []policy.Claim{{Path: "tenant"}},
		Requirements: []*policy.Requirement{requirement},
	}
	for _, tc := range []struct {
		name, members string
		want          policy.Outcome
		reason        string
	}{
		{"another issuer, bound", `"iss":"https://evil.example.com","cnf":{"jkt":"x"}`, policy.InvalidToken, "issuer"},
		{"bound, without scope", `"iss":"https://as.example.com","cnf":{"jkt":"x"}`, policy.InvalidToken, "bound"},
		{"without scope and claim", `"level":1`, policy.InsufficientScope, "scope read"},
		{"without claim", `"scope":"read","level":1`, policy.Forbidden, "claim tenant"},
		{"what is required is not met", `"scope":"read","tenant":"acme","level":1`, policy.Forbidden, "claims.level >= 3"},
		{"nothing broken", `"scope":"read","tenant":"acme","level":3`, policy.Allowed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict := rules.Judge(active(t, tc.members), now, policy.Presented{Request: get("/")})
			assert.Equal(t, tc.want, verdict.Outcome)
			assert.Contains(t, verdict.Reason, tc.reason)
		})
	}
}
