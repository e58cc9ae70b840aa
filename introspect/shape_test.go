package introspect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestActiveInAnotherShape(t *testing.T) {
	is := func(path string) introspect.Shape { return introspect.Shape{Active: path} }
	equals := func(path, value string) introspect.Shape {
		return introspect.Shape{Active: path, ActiveValue: value}
	}
	for _, tc := range []struct {
		name   string
		shape  introspect.Shape
		body   string
		active bool
	}{
		{"there: a text", is("user"), `{"user":"alice"}`, true},
		{"there: a number", is("user"), `{"user":42}`, true},
		{"there: zero", is("user"), `{"user":0}`, true},
		{"there: an object", is("user"), `{"user":{"id":1}}`, true},
		{"there: an empty object", is("user"), `{"user":{}}`, true},
		{"there: a list", is("user"), `{"user":["a"]}`, true},
		{"there: an empty list", is("user"), `{"user":[]}`, true},
		{"there: true", is("user"), `{"user":true}`, true},
		{"there: the text false", is("user"), `{"user":"false"}`, true},
		{"there: an empty text", is("user"), `{"user":""}`, true},
		{"there: false", is("user"), `{"user":false}`, false},
		{"there: null", is("user"), `{"user":null}`, false},
		{"there: absent", is("user"), `{"error":"invalid_token"}`, false},
		{"there: an empty answer", is("user"), `{}`, false},
		{"D03 there: in another case", is("user"), `{"User":"alice"}`, false},
		{"there: within", is("user.id"), `{"user":{"id":1}}`, true},
		{"there: not within", is("user.id"), `{"user":{"name":"alice"}}`, false},
		{"there: within a text", is("user.id"), `{"user":"id"}`, false},
		{"there: within a list", is("user.0"), `{"user":["alice"]}`, false},
		{"there: one name with a dot", is("user.id"), `{"user.id":1}`, true},
		{"there: one name with a dot goes before a path", is("user.id"), `{"user.id":null,"user":{"id":1}}`, false},
		{"there: a dot that is none of the path's", is(`user\.id`), `{"user":{"id":1}}`, false},
		{"there: a name with a dot", is(`user\.id`), `{"user.id":1}`, true},
		{"there: a name with a dot, within", is(`data.user\.id`), `{"data":{"user.id":1}}`, true},

		{"equal: a text", equals("state", "live"), `{"state":"live"}`, true},
		{"equal: another text", equals("state", "live"), `{"state":"dead"}`, false},
		{"equal: in another case", equals("state", "live"), `{"state":"Live"}`, false},
		{"equal: longer", equals("state", "live"), `{"state":"live "}`, false},
		{"equal: true", equals("valid", "true"), `{"valid":true}`, true},
		{"equal: the text true", equals("valid", "true"), `{"valid":"true"}`, true},
		{"equal: false", equals("valid", "true"), `{"valid":false}`, false},
		{"equal: the text false", equals("valid", "true"), `{"valid":"false"}`, false},
		{"equal: one is not true", equals("valid", "true"), `{"valid":1}`, false},
		{"equal: false is what it has to be", equals("revoked", "false"), `{"revoked":false}`, true},
		{"equal: true is not what it has to be", equals("revoked", "false"), `{"revoked":true}`, false},
		{"equal: false has to be there", equals("revoked", "false"), `{}`, false},
		{"equal: a number", equals("status", "1"), `{"status":1}`, true},
		{"equal: another number", equals("status", "1"), `{"status":10}`, false},
		{"equal: a number by its JSON text", equals("status", "1"), `{"status":1.0}`, false},
		{"equal: null", equals("state", "null"), `{"state":null}`, false},
		{"equal: absent", equals("state", "live"), `{}`, false},
		{"equal: a list with it", equals("state", "live"), `{"state":["live"]}`, false},
		{"equal: an object", equals("state", "live"), `{"state":{"live":true}}`, false},
		{"equal: within", equals("status.state", "live"), `{"status":{"state":"live"}}`, true},

		{"D02 active is false, whatever else", is("user"), `{"active":false,"user":"admin"}`, false},
		{"D02 active is false, although equal", equals("state", "live"), `{"active":false,"state":"live"}`, false},
		{"active is true, and nothing is there", is("user"), `{"active":true}`, false},
		{"active is true, and it is something else", equals("state", "live"), `{"active":true,"state":"dead"}`, false},
		{"active is true as well", is("user"), `{"active":true,"user":"alice"}`, true},
		{"D03 active in another case is another name", is("user"), `{"Active":false,"user":"alice"}`, true},
		{"active under its own name", equals("active", "true"), `{"active":true}`, true},
		{"active under its own name, as a text", equals("active", "true"), `{"active":"true"}`, true},
		{"D02 active under its own name, false", equals("active", "false"), `{"active":false}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer, err := tc.shape.Parse([]byte(tc.body), asked)
			require.NoError(t, err)
			assert.Equal(t, tc.active, answer.Active)
			if !tc.active {
				assert.Equal(t, &introspect.Answer{AskedAt: asked, Source: introspect.Miss}, answer, "D02 the rest means nothing")
			}
		})
	}
}

// However the parts of an answer are called, what is no answer is none.
func TestAnotherShapeIsReadAsStrictly(t *testing.T) {
	shape := introspect.Shape{Active: "user.id", Expiry: "meta.expires"}
	for name, body := range map[string]string{
		"D03 a name twice":               `{"user":{"id":1},"user":{"id":2}}`,
		"D03 a name twice, within":       `{"user":{"id":1,"id":2}}`,
		"D03 a name twice, once escaped": `{"user":{"id":1,"\u0069d":2}}`,
		"D03 a name twice, in a list":    `{"user":{"id":1},"x":[[{"a":1,"a":1}]]}`,
		"D26 two answers":                `{"user":{"id":1}}{}`,
		"D26 trailing garbage":           `{"user":{"id":1}}]`,
		"D26 a byte order mark":          "\ufeff" + `{"user":{"id":1}}`,
		"D26 half a surrogate pair":      `{"user":{"id":"\ud800"}}`,
		"D26 half a pair in a name":      `{"user":{"id":1},"\udc00":1}`,
		"C10 a list":                     `[{"user":{"id":1}}]`,
		"C10 a text":                     `"user"`,
		"NaN":                            `{"user":{"id":NaN}}`,
		"infinity":                       `{"user":{"id":Infinity}}`,
		"a number that is none":          `{"user":{"id":01}}`,
		"D06 exp is a word":              `{"user":{"id":1},"meta":{"expires":"never"}}`,
		"D06 exp is a date":              `{"user":{"id":1},"meta":{"expires":"2026-11-22T12:00:00Z"}}`,
		"D06 exp is empty":               `{"user":{"id":1},"meta":{"expires":""}}`,
		"D06 exp is a truth":             `{"user":{"id":1},"meta":{"expires":true}}`,
		"D06 exp is an object":           `{"user":{"id":1},"meta":{"expires":{}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := shape.Parse([]byte(body), asked)
			assert.ErrorIs(t, err, introspect.ErrMalformed)
		})
	}
	t.Run("D01 active has to be there where nothing says otherwise", func(t *testing.T) {
		_, err := introspect.Shape{Subject: "user.id"}.Parse([]byte(`{"user":{"id":1}}`), asked)
		assert.ErrorIs(t, err, introspect.ErrMalformed)
	})
}

// A thief shows a bound token without its key, where the authority says beside the other parts, and not where RFC 7662 has it,
// that it is bound.
func TestD14AnAnswerOfAnotherShapeBindsItsToken(t *testing.T) {
	const bound = `{"data":{"active":true,"token":{"user":"a"},"cnf":{"jkt":"x"}},"id":"y","cnf":null}`
	for name, test := range map[string]struct {
		shape introspect.Shape
		body  string
		bound bool
	}{
		"beside active":             {introspect.Shape{Active: "data.active"}, bound, true},
		"beside another part":       {introspect.Shape{Active: "id", Scope: "data.scopes"}, bound, true},
		"beside a name with a dot":  {introspect.Shape{Active: "id", Username: `data.login\.name`}, bound, true},
		"at the top":                {introspect.Shape{Active: "id"}, `{"id":"y","cnf":{"jkt":"x"}}`, true},
		"where nothing is read":     {introspect.Shape{Active: "id", Subject: "data.token.user"}, bound, false},
		"null":                      {introspect.Shape{Active: "data.active"}, `{"data":{"active":true,"cnf":null}}`, false},
		"nowhere":                   {introspect.Shape{Active: "data.active"}, `{"data":{"active":true}}`, false},
		"in what is not an object":  {introspect.Shape{Active: "id.active", ActiveValue: ""}, `{"id.active":true,"id":"cnf"}`, false},
		"at the top alone":          {introspect.Shape{Username: `login\.name`, Active: "id"}, `{"id":"y","login.name":"a","cnf":null}`, false},
		"without a mapping":         {introspect.Shape{}, `{"active":true,"data":{"cnf":{"jkt":"x"}}}`, false},
		"without a mapping, at top": {introspect.Shape{}, `{"active":true,"cnf":{}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := test.shape.Parse([]byte(test.body), asked)
			require.NoError(t, err)
			require.True(t, answer.Active)
			assert.Equal(t, test.bound, answer.Bound)
		})
	}
}

func TestPartsInAnotherShape(t *testing.T) {
	shape := introspect.Shape{
		Active: "user", Scope: "scopes", Subject: "user.id", Username: `user.login\.name`, ClientID: "app.client_id", Expiry: "expires_at",
	}
	read := func(body string) *introspect.Answer {
		answer, err := shape.Parse([]byte(body), asked)
		require.NoError(t, err)
		require.True(t, answer.Active)
		return answer
	}
	answer := read(`{"user":{"id":7,"login.name":"alice"},"app":{"client_id":"shop"},"scopes":["a","b"],"expires_at":1795313288,
		"sub":"admin","username":"root","client_id":"x","scope":"all","scp":"all","exp":9999999999,
		"iss":"https://as.example.com","aud":"api","token_type":"Bearer","nbf":1,"iat":"2"}`)
	assert.Equal(t, "7", answer.Subject())
	assert.Equal(t, "alice", answer.Username())
	assert.Equal(t, "shop", answer.ClientID())
	assert.Equal(t, []string{"a", "b"}, answer.Scopes())
	assert.True(t, time.Unix(1795313288, 0).Equal(answer.ExpiresAt()))
	assert.True(t, answer.HasAudience("api"), "what is not mapped is where RFC 7662 says")
	assert.Equal(t, "Bearer", answer.TokenType())
	assert.True(t, time.Unix(1, 0).Equal(answer.NotBefore()))
	assert.True(t, time.Unix(2, 0).Equal(answer.IssuedAt()))
	value, ok := answer.Claim("sub")
	assert.True(t, ok)
	assert.Equal(t, "admin", value, "claims are shown as they were sent")

	t.Run("what is mapped and absent is not looked for elsewhere", func(t *testing.T) {
		answer := read(`{"user":"x","sub":"admin","username":"root","client_id":"x","scope":"all","scp":"all","exp":9999999999}`)
		assert.Empty(t, answer.Subject())
		assert.Empty(t, answer.Username())
		assert.Empty(t, answer.ClientID())
		assert.Empty(t, answer.Scopes())
		assert.Equal(t, int64(9999999999), answer.ExpiresAt().Unix(), "but for an end, which is never forgotten")
	})
	t.Run("D04 of two ends the earlier one counts", func(t *testing.T) {
		for _, members := range []string{`"exp":1,"expires_at":2`, `"exp":2,"expires_at":1`, `"exp":"nonsense","expires_at":1`} {
			answer := read(`{"user":"x",` + members + `}`)
			assert.Equal(t, int64(1), answer.ExpiresAt().Unix(), members)
		}
	})
	t.Run("scopes in a text", func(t *testing.T) {
		assert.Equal(t, []string{"a", "b"}, read(`{"user":1,"scopes":"a b"}`).Scopes())
	})
	t.Run("D15 a confirmation binds", func(t *testing.T) {
		assert.True(t, read(`{"user":1,"cnf":{"jkt":"x"}}`).Bound)
	})
	t.Run("D06 dates in every form", func(t *testing.T) {
		for text, want := range map[string]time.Time{
			`1795313288`:   time.Unix(1795313288, 0),
			`1795313288.5`: time.Unix(1795313288, 500_000_000),
			`"1795313288"`: time.Unix(1795313288, 0),
			`1e300`:        time.Unix(253402300799, 0),
			`1e99999`:      time.Unix(253402300799, 0),
			`-1e99999`:     time.Unix(-62135596799, 0),
			`0`:            time.Unix(0, 0),
		} {
			assert.True(t, want.Equal(read(`{"user":1,"expires_at":`+text+`}`).ExpiresAt()), text)
		}
	})
}
