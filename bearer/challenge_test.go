package bearer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/bearer"
)

func TestChallengeString(t *testing.T) {
	for _, tc := range []struct {
		name      string
		challenge bearer.Challenge
		want      string
	}{
		{
			"B03 no token, no error code",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "portcullis"},
			`Bearer realm="portcullis"`,
		},
		{
			"B03 no token, what the route demands",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "portcullis", Scope: []string{"a", "b"}},
			`Bearer realm="portcullis", scope="a b"`,
		},
		{
			"B04 invalid_token",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "portcullis", Error: bearer.CodeInvalidToken},
			`Bearer realm="portcullis", error="invalid_token"`,
		},
		{
			"I06 I08 insufficient_user_authentication, and all that would do",
			bearer.Challenge{
				Scheme: bearer.SchemeBearer, Realm: "portcullis", Error: bearer.CodeInsufficientUserAuthentication,
				Scope: []string{"a"}, ACRValues: []string{"gold", "silver"}, MaxAge: "0",
			},
			`Bearer realm="portcullis", error="insufficient_user_authentication", scope="a", acr_values="gold silver", max_age="0"`,
		},
		{
			"F13 resource_metadata",
			bearer.Challenge{Scheme: bearer.SchemeDPoP, Realm: "portcullis", ResourceMetadata: "https://h/.well-known/x", Algorithms: []string{"ES256"}},
			`DPoP realm="portcullis", resource_metadata="https://h/.well-known/x", algs="ES256"`,
		},
		{
			"B04 invalid_request",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "portcullis", Error: bearer.CodeInvalidRequest},
			`Bearer realm="portcullis", error="invalid_request"`,
		},
		{
			"B05 insufficient_scope",
			bearer.Challenge{
				Scheme: bearer.SchemeBearer, Realm: "portcullis", Error: bearer.CodeInsufficientScope,
				Scope: []string{"write", "read"},
			},
			`Bearer realm="portcullis", error="insufficient_scope", scope="write read"`,
		},
		{
			"G17 algs",
			bearer.Challenge{
				Scheme: bearer.SchemeDPoP, Realm: "portcullis", Error: bearer.CodeInvalidDPoPProof,
				Scope: []string{"a"}, Algorithms: []string{"ES256", "EdDSA"},
			},
			`DPoP realm="portcullis", error="invalid_dpop_proof", scope="a", algs="ES256 EdDSA"`,
		},
		{
			"B08 one scope",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "portcullis", Scope: []string{"a:b/c.d"}},
			`Bearer realm="portcullis", scope="a:b/c.d"`,
		},
		{
			"B09 quote and backslash in the realm",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: `a"b\c`},
			`Bearer realm="a\"b\\c"`,
		},
		{
			"B09 a realm that would end its quoted-string",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: `x", error="none`},
			`Bearer realm="x\", error=\"none"`,
		},
		{
			"B09 a realm that ends in a backslash",
			bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: `x\`, Error: bearer.CodeInvalidToken},
			`Bearer realm="x\\", error="invalid_token"`,
		},
		{
			"DPoP",
			bearer.Challenge{Scheme: bearer.SchemeDPoP, Realm: "portcullis", Error: bearer.CodeInvalidToken},
			`DPoP realm="portcullis", error="invalid_token"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, tc.challenge.String())
		})
	}
}

// What is written reads back as what was meant, whatever an operator calls the realm.
func TestChallengeReadsBack(t *testing.T) {
	realms := []string{"portcullis", `a"b\c`, `"`, `\`, `\"`, `""\\`, "a, b", "a=b", ` space `, `x", scope="admin`}
	var all strings.Builder
	for c := byte(0x20); c <= 0x7E; c++ {
		all.WriteByte(c)
	}
	realms = append(realms, all.String())
	for _, realm := range realms {
		require.NoError(t, bearer.CheckRealm(realm), "%q", realm)
		for _, code := range []string{"", bearer.CodeInvalidRequest, bearer.CodeInvalidToken, bearer.CodeInsufficientScope} {
			for _, scope := range [][]string{nil, {"read"}, {"read", "write", "a,b=c"}} {
				written := bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: realm, Error: code, Scope: scope}.String()
				scheme, parameters, err := parseChallenge(written)
				require.NoError(t, err, written)
				want := map[string]string{"realm": realm}
				if code != "" {
					want["error"] = code
				}
				if scope != nil {
					want["scope"] = strings.Join(scope, " ")
				}
				assert.Equal(t, "Bearer", scheme, written)
				assert.Equal(t, want, parameters, written)
			}
		}
	}
}

// parseChallenge reads one challenge of RFC 9110 section 11.6.1. A parameter that is there twice is an error (B06).
func parseChallenge(text string) (scheme string, parameters map[string]string, err error) {
	scheme, rest, ok := strings.Cut(text, " ")
	if !ok {
		return "", nil, fmt.Errorf("B02: scheme %q without a parameter", text)
	}
	parameters = make(map[string]string)
	for {
		name, quoted, ok := strings.Cut(rest, `="`)
		if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return "", nil, fmt.Errorf("parameter name %q", name)
		}
		var value []byte
		i := 0
		for ; ; i++ {
			if i >= len(quoted) {
				return "", nil, fmt.Errorf("the value of %s does not end", name)
			}
			if quoted[i] == '"' {
				break
			}
			if quoted[i] == '\\' {
				i++
			}
			if i >= len(quoted) || quoted[i] < 0x20 || quoted[i] > 0x7E {
				return "", nil, fmt.Errorf("a byte in the value of %s", name)
			}
			value = append(value, quoted[i])
		}
		if _, twice := parameters[name]; twice {
			return "", nil, fmt.Errorf("B06: %s twice", name)
		}
		parameters[name] = string(value)
		if rest = quoted[i+1:]; rest == "" {
			return scheme, parameters, nil
		}
		if rest, ok = strings.CutPrefix(rest, ", "); !ok {
			return "", nil, fmt.Errorf("%q after %s", rest, name)
		}
	}
}

func TestCheckRealm(t *testing.T) {
	require.Error(t, bearer.CheckRealm(""))
	for c := range 256 {
		err := bearer.CheckRealm("a" + string([]byte{byte(c)}) + "b")
		if c >= 0x20 && c <= 0x7E {
			assert.NoError(t, err, "byte %#02x", c)
		} else {
			assert.Error(t, err, "byte %#02x", c)
		}
	}
	for name, realm := range map[string]string{
		"another header line": "x\r\nSet-Cookie: a=b",
		"not ASCII":           "Köln",
		"only a tab":          "\t",
	} {
		assert.Error(t, bearer.CheckRealm(realm), name)
	}
}

// NQCHAR of RFC 6749 section 3.3: %x21 / %x23-5B / %x5D-7E (B08).
func TestCheckScope(t *testing.T) {
	require.Error(t, bearer.CheckScope(""))
	for c := range 256 {
		allowed := c == 0x21 || c >= 0x23 && c <= 0x5B || c >= 0x5D && c <= 0x7E
		for _, scope := range []string{
			string([]byte{byte(c)}), string([]byte{byte(c), 'b'}), string([]byte{'a', byte(c), 'b'}), string([]byte{'a', byte(c)}),
		} {
			err := bearer.CheckScope(scope)
			if allowed {
				assert.NoError(t, err, "%q", scope)
			} else {
				assert.Error(t, err, "%q", scope)
			}
		}
	}
	assert.NoError(t, bearer.CheckScope("https://api.example.com/read:all"))
	assert.Error(t, bearer.CheckScope("read write"), "two scopes are not one")
}
