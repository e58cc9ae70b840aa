package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/policy"
)

func TestStepUp(t *testing.T) {
	acr := policy.Authentication{ACR: []string{"gold", "silver"}}
	age := policy.Authentication{MaxAge: 5 * time.Minute}
	both := policy.Authentication{ACR: acr.ACR, MaxAge: age.MaxAge}
	for _, test := range []struct {
		name    string
		demands policy.Authentication
		members string
		want    policy.Outcome
	}{
		{"nothing is demanded", policy.Authentication{}, ``, policy.Allowed},
		{"I06 the acr", acr, `"acr":"gold"`, policy.Allowed},
		{"I06 another one that will do", acr, `"acr":"silver"`, policy.Allowed},
		{"I06 too weak", acr, `"acr":"bronze"`, policy.StepUp},
		{"I06 another case", acr, `"acr":"Gold"`, policy.StepUp},
		{"I06 several in one", acr, `"acr":"gold silver"`, policy.StepUp},
		{"I06 absent", acr, ``, policy.StepUp},
		{"I06 null", acr, `"acr":null`, policy.StepUp},
		{"I06 a list", acr, `"acr":["gold"]`, policy.StepUp},
		{"I06 in another member", acr, `"amr":["gold"]`, policy.StepUp},
		{"I07 young", age, at("auth_time", -1), policy.Allowed},
		{"I07 just young enough", age, at("auth_time", -300), policy.Allowed},
		{"I07 too old", age, at("auth_time", -301), policy.StepUp},
		{"I07 absent", age, ``, policy.StepUp},
		{"I07 absent, and the token is new", age, at("iat", 0), policy.StepUp},
		{"I07 that cannot be read", age, `"auth_time":"now"`, policy.StepUp},
		{"I07 of clocks that differ", age, at("auth_time", 9), policy.Allowed},
		{"I07 in the future", age, at("auth_time", 3600), policy.StepUp},
		{"I07 in the year 9999", age, `"auth_time":1e300`, policy.StepUp},
		{"I06 I07 both", both, `"acr":"gold",` + at("auth_time", -1), policy.Allowed},
		{"I06 I07 strong and old", both, `"acr":"gold",` + at("auth_time", -3600), policy.StepUp},
		{"I06 I07 weak and young", both, `"acr":"bronze",` + at("auth_time", -1), policy.StepUp},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules := policy.Rules{Authentication: test.demands, Leeway: policy.DefaultLeeway}
			assert.Equal(t, test.want, rules.Judge(active(t, test.members), now, policy.Presented{}).Outcome)
		})
	}
}

func TestI08OrderOfStepUp(t *testing.T) {
	rules := policy.Rules{
		Authentication: policy.Authentication{ACR: []string{"gold"}},
		Scope:          []string{"read"},
		Resource:       "https://api.example.com",
		MTLS:           policy.MTLSRequired,
	}
	judge := func(members string) policy.Verdict {
		return rules.Judge(active(t, members), now, policy.Presented{})
	}
	assert.Equal(t, policy.InvalidToken, judge(`"acr":"bronze"`).Outcome, "the token first")
	assert.Contains(t, judge(`"aud":"https://api.example.com"`).Reason, "certificate", "then its binding")
	rules.MTLS = ""
	assert.Equal(t, policy.StepUp, judge(`"aud":"https://api.example.com"`).Outcome, "then the step-up")
	assert.Equal(t, policy.InsufficientScope, judge(`"aud":"https://api.example.com","acr":"gold"`).Outcome, "then scopes")
}

// A session grows old while the answer about its token is remembered.
func TestI10ARememberedAnswerGrowsOld(t *testing.T) {
	rules := policy.Rules{Authentication: policy.Authentication{MaxAge: 5 * time.Minute}}
	answer := active(t, at("auth_time", -240))
	for after, want := range map[time.Duration]policy.Outcome{0: policy.Allowed, time.Minute: policy.Allowed, 61 * time.Second: policy.StepUp} {
		assert.Equal(t, want, rules.Judge(answer, now.Add(after), policy.Presented{}).Outcome, after)
	}
}

func TestI01Resource(t *testing.T) {
	rules := policy.Rules{Resource: "https://api.example.com/a", Audience: []string{"x", "y"}}
	for members, want := range map[string]policy.Outcome{
		`"aud":["https://api.example.com/a","y"]`:  policy.Allowed,
		`"aud":"https://api.example.com/a"`:        policy.InvalidToken,
		`"aud":["x","y"]`:                          policy.InvalidToken,
		`"aud":["x","https://api.example.com/a/"]`: policy.InvalidToken,
		`"aud":["x","https://api.example.com/"]`:   policy.InvalidToken,
		`"aud":["x","https://API.example.com/a"]`:  policy.InvalidToken,
		`"scope":"https://api.example.com/a x"`:    policy.InvalidToken,
	} {
		assert.Equal(t, want, rules.Judge(active(t, members), now, policy.Presented{}).Outcome, members)
	}
}

func TestDemandsOnAuthenticationThatAreNone(t *testing.T) {
	for name, demands := range map[string]policy.Authentication{
		"an empty acr":       {ACR: []string{"gold", ""}},
		"negative":           {MaxAge: -time.Second},
		"a part of a second": {MaxAge: 1500 * time.Millisecond},
		"less than a second": {MaxAge: 1},
	} {
		assert.Error(t, (&policy.Rules{Authentication: demands}).Check(), name)
	}
	assert.NoError(t, (&policy.Rules{Authentication: policy.Authentication{ACR: []string{"gold"}, MaxAge: time.Second}}).Check())
}
