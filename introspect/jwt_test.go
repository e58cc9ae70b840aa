package introspect_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// asJWT makes a token of the texts of its header and claims, under a signature that is none.
func asJWT(header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(claims)) + ".c2lnbmF0dXJl"
}

func TestUnverifiedIssuer(t *testing.T) {
	const header, issuer = `{"alg":"RS256"}`, "https://as.example.com"
	const claims = `{"iss":"` + issuer + `","sub":"alice"}`
	good := asJWT(header, claims)
	for _, c := range []struct {
		name, token, issuer string
		isJWT               bool
	}{
		{"a JWT", good, issuer, true},
		{"white space before the objects", asJWT(" \n"+header, "\t"+claims), issuer, true},
		{"iss is escaped", asJWT(header, `{"\u0069ss":"https:\/\/as.example.com"}`), issuer, true},
		{"alg none, without a signature", asJWT(`{"alg":"none"}`, claims)[:strings.LastIndexByte(good, '.')], issuer, true},
		{"a header that is no JSON at its end", asJWT(`{"alg`, claims), issuer, true},
		{"no iss", asJWT(header, `{"sub":"alice"}`), "", true},
		{"iss twice", asJWT(header, `{"iss":"https://as.example.com","iss":"https://other.example.com"}`), "", true},
		{"iss in another case", asJWT(header, `{"ISS":"https://as.example.com"}`), "", true},
		{"iss below", asJWT(header, `{"claims":{"iss":"https://as.example.com"}}`), "", true},
		{"iss is a list", asJWT(header, `{"iss":["https://as.example.com"]}`), "", true},
		{"iss is null", asJWT(header, `{"iss":null}`), "", true},
		{"iss is half a character", asJWT(header, `{"iss":"https://as.example.com\ud800"}`), "", true},
		{"claims are a list", asJWT(header, `["iss"]`), "", true},
		{"claims and more", asJWT(header, claims+`{}`), "", true},
		{"claims are no JSON", asJWT(header, `iss`), "", true},
		{"claims are nothing", asJWT(header, ``), "", true},
		{"claims nest too deep", asJWT(header, `{"iss":"https://as.example.com","x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`), "", true},
		{"claims are not base64url", strings.Replace(good, ".", ".~", 1), "", true},
		{"the header is text", asJWT(`alg`, claims), "", false},
		{"the header is not base64url", "~" + good, "", false},
		{"a prefix before it", "at_" + good, "", false},
		{"two parts", strings.TrimSuffix(good, ".c2lnbmF0dXJl"), "", false},
		{"four parts", good + ".c2ln", "", false},
		{"encrypted: five parts", good + ".c2ln.c2ln", "", false},
		{"opaque", "pat_0123456789", "", false},
		{"dots", "..", "", false},
		{"nothing", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			issuer, isJWT := introspect.UnverifiedIssuer(c.token)
			assert.Equal(t, c.isJWT, isJWT)
			assert.Equal(t, c.issuer, issuer)
		})
	}
}

// FuzzUnverifiedIssuer: whatever a client presents, an issuer is read only out of three parts, and an independent reading
// agrees.
func FuzzUnverifiedIssuer(f *testing.F) {
	for _, seed := range []string{
		asJWT(`{"alg":"RS256"}`, `{"iss":"https://as.example.com","aud":["a"],"exp":1}`),
		asJWT(`{"alg":"none"}`, `{"iss":"a","iss":"b"}`),
		asJWT(`{}`, `{"\u0069ss":"a\u0000"}`),
		asJWT(`[]`, `{"iss":"a"}`),
		"e30.e30.",
		"pat_x.y.z",
		"...",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		issuer, isJWT := introspect.UnverifiedIssuer(token)
		if !isJWT {
			require.Empty(t, issuer)
			return
		}
		parts := strings.Split(token, ".")
		require.Len(t, parts, 3)
		if issuer == "" {
			return
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		var claims map[string]any
		require.NoError(t, json.Unmarshal(payload, &claims))
		require.Equal(t, claims["iss"], issuer)
	})
}
