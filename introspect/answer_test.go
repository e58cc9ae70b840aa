package introspect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

var asked = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestOnlyTrueUnderExactlyThatNameIsActive(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		active bool
		fails  bool
	}{
		"true":                                {body: `{"active":true}`, active: true},
		"D02 false":                           {body: `{"active":false}`},
		"D02 false with claims":               {body: `{"active":false,"sub":"admin","scope":"all"}`},
		"D01 string":                          {body: `{"active":"true"}`, fails: true},
		"D01 number":                          {body: `{"active":1}`, fails: true},
		"D01 null":                            {body: `{"active":null}`, fails: true},
		"D01 missing":                         {body: `{"sub":"admin"}`, fails: true},
		"D01 empty object":                    {body: `{}`, fails: true},
		"D03 another spelling does not count": {body: `{"active":false,"Active":true}`},
		"D03 only another spelling":           {body: `{"ACTIVE":true}`, fails: true},
		"D03 twice":                           {body: `{"active":false,"active":true}`, fails: true},
		"D03 twice, once escaped":             {body: `{"active":false,"\u0061ctive":true}`, fails: true},
		"D03 another member twice":            {body: `{"active":true,"sub":"a","sub":"b"}`, fails: true},
		"D03 twice inside":                    {body: `{"active":true,"cnf":{"jkt":"a","jkt":"b"}}`, fails: true},
		"D26 two answers":                     {body: `{"active":true}{"active":false}`, fails: true},
		"D26 trailing garbage":                {body: `{"active":true}x`, fails: true},
		"D26 byte order mark":                 {body: "\ufeff" + `{"active":true}`, fails: true},
		"D26 broken UTF-8":                    {body: "{\"active\":true,\"sub\":\"a\xff\"}", fails: true},
		"D26 half a surrogate pair":           {body: `{"active":true,"sub":"a\ud800"}`, fails: true},
		"D26 the other half":                  {body: `{"active":true,"sub":"\udc00"}`, fails: true},
		"D26 two first halves":                {body: `{"active":true,"sub":"\ud800\ud800"}`, fails: true},
		"a whole surrogate pair":              {body: `{"active":true,"sub":"\ud83d\ude00"}`, active: true},
		"an escaped backslash before a u":     {body: `{"active":true,"sub":"\\ud800"}`, active: true},
		"D26 deep":                            {body: `{"active":true,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, fails: true},
		"D26 very deep":                       {body: `{"active":true,"x":` + strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000) + `}`, fails: true},
		"as deep as real answers":             {body: `{"active":true,"x":{"y":{"z":[1,{"w":2}]}}}`, active: true},
		"C10 array":                           {body: `[]`, fails: true},
		"C10 nothing":                         {body: ``, fails: true},
		"C10 true":                            {body: `true`, fails: true},
		"C10 HTML":                            {body: `<html>`, fails: true},
		"trailing comma":                      {body: `{"active":true,}`, fails: true},
		"a megabyte":                          {body: `{"active":true,"x":"` + strings.Repeat("x", 1<<20) + `"}`, active: true},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := introspect.ParseAnswer([]byte(test.body), asked)
			if test.fails {
				require.ErrorIs(t, err, introspect.ErrMalformed)
				require.NotContains(t, err.Error(), "admin")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.active, answer.Active)
			assert.Equal(t, asked, answer.AskedAt)
			assert.Equal(t, introspect.Miss, answer.Source)
			if !test.active {
				assert.Equal(t, &introspect.Answer{AskedAt: asked, Source: introspect.Miss}, answer)
				_, ok := answer.Claim("sub")
				assert.False(t, ok, "an inactive answer has no claims")
			}
		})
	}
}

func parse(t *testing.T, members string) *introspect.Answer {
	t.Helper()
	answer, err := introspect.ParseAnswer([]byte(`{"active":true`+members+`}`), asked)
	require.NoError(t, err)
	return answer
}

func TestScopesComeInEveryShape(t *testing.T) {
	for name, test := range map[string]struct {
		members string
		scope   []string
	}{
		"string":                           {`,"scope":"read write"`, []string{"read", "write"}},
		"D11 doubled spaces":               {`,"scope":" read  write "`, []string{"read", "write"}},
		"array":                            {`,"scope":["read","write"]`, []string{"read", "write"}},
		"D11 an element with a space":      {`,"scope":["read write","x"]`, []string{"x"}},
		"array of other things":            {`,"scope":[1,null,"x",{}]`, []string{"x"}},
		"alias":                            {`,"scp":"read"`, []string{"read"}},
		"alias as array":                   {`,"scp":["read"]`, []string{"read"}},
		"scope beats its alias":            {`,"scope":"read","scp":"admin"`, []string{"read"}},
		"an empty scope beats its alias":   {`,"scope":"","scp":"admin"`, nil},
		"alias beside null":                {`,"scope":null,"scp":"read"`, []string{"read"}},
		"D11 number":                       {`,"scope":7`, nil},
		"D11 object":                       {`,"scope":{"read":true}`, nil},
		"absent":                           {``, nil},
		"a tab does not separate":          {`,"scope":"a\tb"`, []string{"a\tb"}},
		"another spelling is another name": {`,"Scope":"admin"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, strings.Join(test.scope, " "), parse(t, test.members).Scope())
		})
	}
}

func TestNamesOfPeopleAndClients(t *testing.T) {
	answer := parse(t, `,"sub":42,"username":null,"client_id":"c","iss":"https://as","token_type":"bearer"`)
	assert.Equal(t, "42", answer.Subject())
	assert.Empty(t, answer.Username())
	assert.Equal(t, "c", answer.ClientID())
	assert.Equal(t, "bearer", answer.TokenType())
	for _, shape := range []string{`{}`, `[]`, `true`, `["admin"]`} {
		assert.Empty(t, parse(t, `,"sub":`+shape).Subject(), shape)
	}
}

func TestAudienceIsAStringOrAnArray(t *testing.T) {
	all := []string{"x", "y", "z", "", "read", "read write", "1", "null"}
	for members, audience := range map[string][]string{
		`,"aud":"x"`:             {"x"},
		`,"aud":["y","x"]`:       {"x", "y"},
		`,"aud":["y",1,null]`:    {"y"},
		`,"aud":[]`:              {},
		`,"aud":null`:            {},
		`,"aud":{"x":1}`:         {},
		`,"aud":"read write"`:    {"read write"},
		``:                       {},
		`,"AUD":"x"`:             {},
		`,"aud":["x"],"Aud":"z"`: {"x"},
	} {
		answer := parse(t, members)
		lacks := func(name string) bool { return !answer.HasAudience(name) }
		assert.Equal(t, audience, slices.DeleteFunc(slices.Clone(all), lacks), members)
	}
}

func TestDates(t *testing.T) {
	for name, test := range map[string]struct {
		value string
		want  time.Time
		fails bool
	}{
		"integer":                        {value: `1795313288`, want: time.Unix(1795313288, 0)},
		"D06 float":                      {value: `1795313288.5`, want: time.Unix(1795313288, 500_000_000)},
		"D06 exponent":                   {value: `1e10`, want: time.Unix(10_000_000_000, 0)},
		"numeric string":                 {value: `"1795313288"`, want: time.Unix(1795313288, 0)},
		"zero is 1970, not never":        {value: `0`, want: time.Unix(0, 0)},
		"negative":                       {value: `-5`, want: time.Unix(-5, 0)},
		"D06 absurd":                     {value: `1e300`, want: time.Unix(253402300799, 0)},
		"D06 out of range":               {value: `1e400`, want: time.Unix(253402300799, 0)},
		"D06 wraps as an int64":          {value: `9223372036854775808`, want: time.Unix(253402300799, 0)},
		"absurdly early":                 {value: `-1e300`, want: time.Unix(-62135596799, 0)},
		"Go's zero time is no \"never\"": {value: `-62135596800`, want: time.Unix(-62135596799, 0)},
		"milliseconds":                   {value: `1795313288000`, want: time.Unix(253402300799, 0)},
		"null is absent":                 {value: `null`},
		"D06 word":                       {value: `"never"`, fails: true},
		"infinity":                       {value: `"inf"`, fails: true},
		"NaN":                            {value: `"NaN"`, fails: true},
		"hexadecimal":                    {value: `"0x7fffffff"`, fails: true},
		"underscores":                    {value: `"1_000"`, fails: true},
		"empty string":                   {value: `""`, fails: true},
		"a space behind":                 {value: `"1795313288 "`, fails: true},
		"RFC 3339":                       {value: `"2026-11-22T12:00:00Z"`, fails: true},
		"boolean":                        {value: `true`, fails: true},
		"object":                         {value: `{}`, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			for member, field := range map[string]func(*introspect.Answer) time.Time{
				"exp": func(a *introspect.Answer) time.Time { return a.ExpiresAt() },
				"nbf": func(a *introspect.Answer) time.Time { return a.NotBefore() },
				"iat": func(a *introspect.Answer) time.Time { return a.IssuedAt() },
			} {
				answer, err := introspect.ParseAnswer(fmt.Appendf(nil, `{"active":true,%q:%s}`, member, test.value), asked)
				if test.fails {
					require.ErrorIs(t, err, introspect.ErrMalformed, member)
					continue
				}
				require.NoError(t, err, member)
				assert.True(t, test.want.Equal(field(answer)), "%s: %v", member, field(answer))
			}
		})
	}
}

func TestConfirmationBindsWhateverItHolds(t *testing.T) {
	for members, bound := range map[string]bool{
		``:                     false,
		`,"cnf":null`:          false,
		`,"cnf":{"jkt":"x"}`:   true,
		`,"cnf":{}`:            true,
		`,"cnf":"x"`:           true,
		`,"cnf":{"kid":"x"}`:   true,
		`,"cnf":false`:         true,
		`,"Cnf":{"jkt":"x"}`:   false,
		`,"x":{"cnf":{"a":1}}`: false,
	} {
		assert.Equal(t, bound, parse(t, members).Bound, "D15 %s", members)
	}
}

func TestClaimPaths(t *testing.T) {
	answer := parse(t, `,"realm_access":{"roles":["a","b"],"x.y":1},"https://example.com/roles":"r","a.b":"whole","a":{"b":"inner"},"n":9007199254740993,"null":null`)
	for path, want := range map[string]string{
		"realm_access.roles":        `["a","b"]`,
		`realm_access.x\.y`:         `1`,
		"https://example.com/roles": `"r"`,
		"a.b":                       `"whole"`,
		"a":                         `{"b":"inner"}`,
		"n":                         `9007199254740993`,
		"null":                      `null`,
	} {
		value, ok := answer.Claim(path)
		require.True(t, ok, path)
		encoded, err := introspect.CompactJSON(value)
		require.NoError(t, err)
		assert.Equal(t, want, string(encoded), path)
	}
	for _, path := range []string{"", ".", "nope", "realm_access.nope", "n.x", "realm_access.roles.0", `a\.c`, "A"} {
		_, ok := answer.Claim(path)
		assert.False(t, ok, path)
	}
}

func TestAnswerOfReadsLikeEverybodys(t *testing.T) {
	answer, err := introspect.AnswerOf(map[string]any{"active": true, "scope": "a b", "exp": 1795313288}, asked)
	require.NoError(t, err)
	assert.Equal(t, "a b", answer.Scope())
	assert.True(t, time.Unix(1795313288, 0).Equal(answer.ExpiresAt()))
	_, err = introspect.AnswerOf(map[string]any{"active": func() {}}, asked)
	assert.ErrorIs(t, err, introspect.ErrMalformed)
}

func TestFromLeavesTheSharedAnswerAlone(t *testing.T) {
	answer := parse(t, `,"sub":"a"`)
	remembered := answer.From(introspect.Memory)
	assert.Equal(t, introspect.Miss, answer.Source)
	assert.Equal(t, introspect.Memory, remembered.Source)
	assert.Equal(t, answer.Subject(), remembered.Subject())
}

func TestSizeGrowsWithWhatIsKept(t *testing.T) {
	small, large := parse(t, ``), parse(t, `,"groups":["`+strings.Repeat("x", 10_000)+`"],"o":{"a":"`+strings.Repeat("y", 5_000)+`"}`)
	assert.Greater(t, small.Size(), 100)
	assert.Greater(t, large.Size(), small.Size()+15_000)
}

func TestATokenNeverPrintsItself(t *testing.T) {
	token := introspect.NewToken("canary")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		assert.NotContains(t, fmt.Sprintf(format, token), "canary", format)
		assert.NotContains(t, fmt.Sprintf(format, struct{ T introspect.Token }{token}), "canary", format)
	}
	assert.NotContains(t, token.LogValue().String(), "canary")
	encoded, err := json.Marshal(token)
	require.NoError(t, err)
	assert.NotContains(t, string(encoded), "canary")
	assert.Equal(t, "canary", token.Value())
	assert.True(t, token.Digest().Equal(introspect.DigestOf("canary")))
	assert.False(t, token.Digest().Equal(introspect.DigestOf("Canary")))
}

func decode(t *testing.T, text []byte) (value any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&value))
	return value
}

// FuzzParseAnswer: whatever an authority sends, an answer is active only if an independent reading agrees.
func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"active":true,"scope":"a b","exp":1795313288.5,"aud":["x"],"sub":42,"cnf":{"jkt":"x"}}`,
		`{"active":false,"Active":true}`,
		`{"active":true,"active":false}`,
		`{"active":"true"}`,
		`{"active":true,"sub":"\ud800"}`,
		`{"active":true,"exp":"1e400"}`,
		`{"active":true}{"active":false}`,
		`[{"active":true}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		answer, err := introspect.ParseAnswer(body, asked)
		if err != nil {
			require.Nil(t, answer)
			require.ErrorIs(t, err, introspect.ErrMalformed)
			return
		}
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &members), "encoding/json refuses what was accepted")
		require.Equal(t, string(members["active"]) == "true", answer.Active)
		for scope := range strings.FieldsSeq(answer.Scope()) {
			require.NotEmpty(t, scope)
			require.NotContains(t, scope, " ")
		}
		for _, date := range []time.Time{answer.ExpiresAt(), answer.NotBefore(), answer.IssuedAt()} {
			if !date.IsZero() {
				require.True(t, date.UTC().Year() >= 1 && date.UTC().Year() <= 9999, "%v", date)
			}
		}
		if answer.Active {
			packed, err := json.Marshal(answer.Claims())
			require.NoError(t, err)
			require.Equal(t, decode(t, body), decode(t, packed), "something is lost or changed")
		}
		for name := range members {
			if value, ok := answer.Claim(name); ok {
				_, err := introspect.CompactJSON(value)
				require.NoError(t, err)
			}
		}
		require.Positive(t, answer.Size())
	})
}
