package policy_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

// judged is what a rule of expressions makes of an answer and a request.
func judged(t *testing.T, answer *introspect.Answer, request *http.Request, expressions ...string) policy.Verdict {
	t.Helper()
	var rules policy.Rules
	for _, expression := range expressions {
		requirement, err := policy.NewRequirement(expression)
		require.NoError(t, err, expression)
		rules.Requirements = append(rules.Requirements, requirement)
	}
	return rules.Judge(answer, now, policy.Presented{Request: request})
}

func get(target string) *http.Request { return httptest.NewRequest(http.MethodGet, target, nil) }

func TestRequire(t *testing.T) {
	answer := active(t, `
		"sub":"alice","empty":"","yes":true,"no":false,"nothing":null,
		"level":3,"float":3.5,"whole":3.0,"exponent":3e0,"text":"3",
		"large":9007199254740993,"larger":18446744073709551616,"infinite":1e400,
		"exp":1800000060,"exp_float":1800000060.5,"exp_text":"1800000060","exp_absurd":1e300,"iat":1799999000,
		"roles":["reader","admin"],"mixed":["a",1,null,{"b":true}],
		"realm":{"roles":["boss"],"limits":{"daily":10}},
		"https://example.com/team":"blue","a.b":"whole","a":{"b":"inner"},
		"client_id":"shop","scope":"orders:read orders:write"`)
	for _, tc := range []struct {
		name, expression string
		met              bool
	}{
		{"true", `true`, true},
		{"false", `false`, false},

		{"a claim that equals", `claims.sub == "alice"`, true},
		{"a claim in another case", `claims.sub == "Alice"`, false},
		{"a claim in another case, made alike", `claims.sub.upperAscii() == "ALICE"`, true},
		{"a claim that is true", `claims.yes`, true},
		{"a claim that is false", `claims.no`, false},
		{"a claim that is null", `claims.nothing`, false},
		{"a claim that is a text is no truth", `claims.sub`, false},
		{"a claim that is a number is no truth", `claims.level`, false},
		{"a claim that is a list is no truth", `claims.roles`, false},
		{"a claim that is an object is no truth", `claims.realm`, false},
		{"a claim within a claim", `claims.realm.limits.daily < 100`, true},
		{"a list contains", `"admin" in claims.roles`, true},
		{"a list does not contain", `"adm" in claims.roles`, false},
		{"a list in an object", `"boss" in claims.realm.roles`, true},
		{"a mixed list", `1 in claims.mixed && claims.mixed[3].b && claims.mixed[2] == null`, true},
		{"past the end of a list", `claims.roles[2] == "admin"`, false},
		{"some element", `claims.roles.exists(r, r.startsWith("adm"))`, true},
		{"all elements", `claims.roles.all(r, r.startsWith("adm"))`, false},
		{"a text that looks like a number", `claims.text == 3`, false},

		{"D17 a name with dots and slashes", `claims["https://example.com/team"] == "blue"`, true},
		{"D17 a name with a dot is one name", `claims["a.b"] == "whole" && claims.a.b == "inner"`, true},
		{"D03 names are case-sensitive", `claims.SUB == "alice"`, false},

		{"an absent claim", `claims.nope == "x"`, false},
		{"an absent claim that must not equal", `claims.nope != "x"`, false},
		{"an absent claim, denied", `!claims.nope`, false},
		{"an absent claim in an absent one", `claims.nope.nor.this == 1`, false},
		{"a claim in a text", `claims.sub.nope == 1`, false},
		{"another type", `claims.sub > 3`, false},
		{"another type, denied", `!(claims.sub > 3)`, false},
		{"another type of list", `"admin" in claims.sub`, false},
		{"an error that does not matter", `claims.nope == "x" || claims.level == 3`, true},
		{"an error beside what is false", `claims.nope == "x" && false`, false},
		{"an error beside what is true", `claims.nope == "x" && true`, false},
		{"a division by zero", `1 / (claims.level - 3) == 1`, false},
		{"an overflow", `claims.large * 9007199254740993 > 0`, false},

		{"has", `has(claims.sub)`, true},
		{"has not", `has(claims.nope)`, false},
		{"has not, within", `has(claims.realm.nope)`, false},
		{"has null", `has(claims.nothing) && claims.nothing == null`, true},
		{"in", `"https://example.com/team" in claims`, true},
		{"optional, present", `claims.?realm.?limits.?daily.orValue(0) == 10`, true},
		{"optional, absent", `claims.?nope.?nor.orValue("none") == "none"`, true},
		{"optional, has a value", `claims.?sub.hasValue()`, true},
		{"optional, by index", `claims[?"https://example.com/team"].orValue("") == "blue"`, true},

		{"numbers: an integer", `claims.level == 3 && claims.level >= 3 && claims.level < 4`, true},
		{"numbers: an integer and a float", `claims.level == 3.0 && claims.level > 2.5`, true},
		{"numbers: a float and an integer", `claims.float > 3 && claims.float < 4`, true},
		{"numbers: a float that is whole", `claims.whole == 3 && claims.exponent == 3`, true},
		{"numbers: a text is none", `claims.text >= 3`, false},
		{"numbers: a text is read on demand", `int(claims.text) >= 3`, true},
		{"numbers: every digit", `claims.large == 9007199254740993`, true},
		{"numbers: every other digit", `claims.large == 9007199254740992`, false},
		{"numbers: beyond 64 bits", `claims.larger > 9223372036854775807`, true},
		{"numbers: beyond all", `claims.infinite > 1e308`, true},

		{"scopes: granted", `"orders:read" in scopes && scopes.size() == 2`, true},
		{"scopes: part of one", `"orders" in scopes`, false},
		{"scopes: some", `scopes.exists(s, s.startsWith("orders:"))`, true},

		{"now", `now == timestamp(1800000000)`, true},
		{"now, before a date", `now < timestamp("2030-01-01T00:00:00Z")`, true},
		{"now, in a zone", `now.getHours("UTC") == 8`, true},
		{"exp, ahead", `timestamp(claims.exp) > now`, true},
		{"exp, further ahead than it is", `timestamp(claims.exp) > now + duration("2m")`, false},
		{"age", `now - timestamp(claims.iat) < duration("1h")`, true},
		{"age, too old", `now - timestamp(claims.iat) < duration("10m")`, false},
		{"exp, a float", `timestamp(int(claims.exp_float)) > now`, true},
		{"exp, a text", `timestamp(int(claims.exp_text)) > now`, true},
		{"exp, absurd", `timestamp(int(claims.exp_absurd)) > now`, false},
		{"exp, absent", `timestamp(claims.nope) > now`, false},

		{"one of two claims", `"manager" in claims.?roles.orValue([]) || claims.?sub.orValue("").endsWith("ice")`, true},
		{"a method that needs a scope", `request.method in ["GET", "HEAD"] || "admin" in scopes`, true},
		{"a path of one's own", `request.path.startsWith("/" + claims["a.b"] + "/")`, false},
		{"the request", `request.method == "GET" && request.path == "/orders/7" && request.host == "api.example.com"`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict := judged(t, answer, get("http://api.example.com:8443/orders/7?x=1"), tc.expression)
			if tc.met {
				require.Equal(t, policy.Verdict{Outcome: policy.Allowed}, verdict)
				return
			}
			require.Equal(t, policy.Forbidden, verdict.Outcome)
			assert.Contains(t, verdict.Reason, tc.expression)
		})
	}
	t.Run("a token without claims and scopes", func(t *testing.T) {
		for expression, met := range map[string]bool{
			`scopes.size() == 0`:         true,
			`claims.size() == 1`:         true, // active
			`"x" in scopes`:              false,
			`claims.roles.size() == 0`:   false,
			`claims.all(name, name!="")`: true,
		} {
			want := policy.Forbidden
			if met {
				want = policy.Allowed
			}
			assert.Equal(t, want, judged(t, active(t, ""), get("/"), expression).Outcome, expression)
		}
	})
}

// What an administrator's path needs is asked for however the path is spelled (K06).
func TestRequireByPath(t *testing.T) {
	const rule = `!request.path.startsWith("/admin") || "admin" in scopes`
	visitor, admin := active(t, `"scope":"read"`), active(t, `"scope":"admin"`)
	for _, target := range []string{
		"/admin", "/admin/", "/admin/users", "//admin", "///admin//users", "/./admin", "/public/../admin", "/public/%2e%2e/admin",
		"/%61dmin", "/%61%64%6d%69%6e", "/public/..%2fadmin", "/%2fadmin", "/%2e/admin", "/admin%2fusers", "/../admin", "/../../admin/x",
		"/public/x/../../admin", "http://api.example.com/admin", "http://api.example.com//admin",
	} {
		t.Run("K06 "+target, func(t *testing.T) {
			assert.Equal(t, policy.Forbidden, judged(t, visitor, get(target), rule).Outcome)
			assert.Equal(t, policy.Allowed, judged(t, admin, get(target), rule).Outcome)
		})
	}
	for _, target := range []string{"/", "/public", "/public/admin", "/admin/../public", "/xadmin", "/%2561dmin"} {
		t.Run("open "+target, func(t *testing.T) {
			assert.Equal(t, policy.Allowed, judged(t, visitor, get(target), rule).Outcome)
		})
	}
	t.Run("its case counts, unless it is folded", func(t *testing.T) {
		assert.Equal(t, policy.Allowed, judged(t, visitor, get("/ADMIN"), rule).Outcome)
		folded := strings.Replace(rule, "request.path", "request.path.lowerAscii()", 1)
		assert.Equal(t, policy.Forbidden, judged(t, visitor, get("/ADMIN"), folded).Outcome)
	})
	for path, seen := range map[string]string{
		"": "/", "*": "/*", "/": "/", "//": "/", "/a/": "/a/", "/a//": "/a/", "/a/..": "/", "/a/../": "/", "/a/.": "/a", "a": "/a",
	} {
		request := get("/")
		request.URL = &url.URL{Path: path}
		assert.Equal(t, policy.Allowed, judged(t, visitor, request, `request.path == "`+seen+`"`).Outcome, "%q is seen as %q", path, seen)
	}
}

func TestRequireByHost(t *testing.T) {
	for host, seen := range map[string]string{
		"api.example.com": "api.example.com", "api.example.com:8443": "api.example.com", "API.Example.COM": "api.example.com",
		"api.example.com.": "api.example.com", "API.example.com.:8443": "api.example.com",
		"[2001:DB8::1]:8443": "2001:db8::1", "[2001:db8::1]": "2001:db8::1", "127.0.0.1:80": "127.0.0.1", "": "",
	} {
		request := get("/")
		request.Host = host
		assert.Equal(t, policy.Allowed, judged(t, active(t, ""), request, `request.host == "`+seen+`"`).Outcome, host)
	}
}

func TestSeveralRequirementsAllHold(t *testing.T) {
	answer := active(t, `"level":3`)
	assert.Equal(t, policy.Allowed, judged(t, answer, get("/"), `claims.level > 1`, `claims.level > 2`).Outcome)
	for _, expressions := range [][]string{
		{`claims.level > 3`, `claims.level > 2`},
		{`claims.level > 2`, `claims.level > 3`},
		{`claims.level > 2`, `claims.nope`, `true`},
	} {
		assert.Equal(t, policy.Forbidden, judged(t, answer, get("/"), expressions...).Outcome, expressions)
	}
}

// A client that gets itself into a thousand groups, or gives itself an endless name, must not hold the gateway up.
func TestRequireIsCheap(t *testing.T) {
	groups := `["g` + strings.Repeat(`","g`, 20_000) + `"]`
	name := strings.Repeat("x", 500_000)
	answer := active(t, `"groups":`+groups+`,"name":"`+name+`"`)
	for _, expression := range []string{
		`claims.groups.all(a, a != "h" || a.startsWith("b"))`,
		`claims.groups.all(a, claims.groups.all(b, a == b))`,
		`claims.groups.map(a, claims.groups.map(b, a + b)).size() > 0`,
		`claims.groups.exists(g, claims.name.lowerAscii() == g) || true`,
		`claims.groups.all(g, claims.name.replace("x", "yy") != g)`,
		`claims.groups.all(g, claims.name.split("").size() > 0)`,
		`claims.groups.all(g, claims.name.matches("(x|y)*z") == false)`,
		`claims.groups.all(g, (claims.name + claims.name).contains("y") == false)`,
	} {
		t.Run(expression, func(t *testing.T) {
			began := time.Now()
			verdict := judged(t, answer, get("/"), expression)
			assert.Less(t, time.Since(began), 2*time.Second)
			assert.Equal(t, policy.Forbidden, verdict.Outcome)
			assert.NotContains(t, verdict.Reason, "xxxx")
		})
	}
	t.Run("and what a reasonable one asks for is not too much", func(t *testing.T) {
		groups := `["g` + strings.Repeat(`","g`, 1000) + `","admin"]`
		answer := active(t, `"groups":`+groups)
		assert.Equal(t, policy.Allowed, judged(t, answer, get("/"), `"admin" in claims.groups`).Outcome)
		assert.Equal(t, policy.Allowed, judged(t, answer, get("/"), `claims.groups.exists(g, g.startsWith("adm"))`).Outcome)
	})
}

func TestRequirementsThatAreNone(t *testing.T) {
	for name, expression := range map[string]string{
		"nothing":                      ``,
		"a comment":                    `// true`,
		"syntax":                       `claims.level >=`,
		"two expressions":              `true; true`,
		"an unknown name":              `token == "x"`,
		"an unknown part of a request": `request.headers["x"] == "y"`,
		"the request itself":           `request == null`,
		"an unknown function":          `claims.sub.shout()`,
		"a text":                       `"true"`,
		"a number":                     `1`,
		"an optional":                  `claims.?admin`,
		"types that never compare":     `request.path == 1`,
		"a bad regular expression":     `request.path.matches("(")`,
		"too long":                     `true || ` + strings.Repeat(" ", 16<<10) + `true`,
		"too deep":                     strings.Repeat("(", 5000) + `true` + strings.Repeat(")", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.NewRequirement(expression)
			assert.Error(t, err)
		})
	}
}

// FuzzRequire: any expression is refused or evaluated, and one that is met is true wherever else it is asked.
func FuzzRequire(f *testing.F) {
	for _, seed := range []struct{ expression, path, host string }{
		{`claims.level >= 3 && "admin" in scopes`, "/orders", "api.example.com"},
		{`!request.path.startsWith("/admin")`, "/public/../admin", "api.example.com:8443"},
		{`claims.?nope.orValue(now) > timestamp("2020-01-01T00:00:00Z")`, "//", "[::1]:80"},
		{`scopes.map(s, s + "%s".format([claims])).size() > 0`, "", ""},
		{`claims["https://x/y"].all(x, has(x.y) ? x.y : 1 / 0 == 1)`, "/..", "["},
	} {
		f.Add(seed.expression, seed.path, seed.host)
	}
	answer, err := introspect.ParseAnswer([]byte(`{"active":true,"level":3,"scope":"admin read","sub":"alice","exp":1800000060.5,
		"big":1e400,"null":null,"https://x/y":[{"y":true},{}],"roles":["a",1,[null]]}`), now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, expression, path, host string) {
		requirement, err := policy.NewRequirement(expression)
		if err != nil {
			return
		}
		request := &http.Request{Method: http.MethodGet, Host: host, URL: &url.URL{Path: path}}
		rules := policy.Rules{Requirements: []*policy.Requirement{requirement}}
		verdict := rules.Judge(answer, now, policy.Presented{Request: request})
		require.Contains(t, []policy.Outcome{policy.Allowed, policy.Forbidden}, verdict.Outcome)
		require.Equal(t, verdict, rules.Judge(answer, now, policy.Presented{Request: request}), "once more")
		if verdict.Outcome == policy.Allowed {
			denied, err := policy.NewRequirement("!(\n" + expression + "\n)")
			if err == nil {
				rules.Requirements = append(rules.Requirements, denied)
				require.Equal(t, policy.Forbidden, rules.Judge(answer, now, policy.Presented{Request: request}).Outcome)
			}
		}
	})
}
