package bearer

import (
	"errors"
	"strings"
)

// The error codes of RFC 6750 section 3.1.
const (
	CodeInvalidRequest    = "invalid_request"
	CodeInvalidToken      = "invalid_token"
	CodeInsufficientScope = "insufficient_scope"
)

// The error codes of RFC 9449 section 7.1 and 9.
const (
	CodeInvalidDPoPProof = "invalid_dpop_proof"
	CodeUseDPoPNonce     = "use_dpop_nonce"
)

// CodeInsufficientUserAuthentication is the error code of RFC 9470 section 3.
const CodeInsufficientUserAuthentication = "insufficient_user_authentication"

// Challenge is what a refusal says in WWW-Authenticate (RFC 6750 section 3, RFC 9110 section 11.6.1). Empty fields are
// left out; a challenge needs at least a realm, for a scheme must not stand alone.
type Challenge struct {
	Scheme string
	// Realm must be printable ASCII (CheckRealm).
	Realm string
	// Error is one of the codes of RFC 6750 section 3.1, empty where the request had no token.
	Error string
	// Scope is what the resource demands, not what the token has. The scopes must be scope-tokens (CheckScope).
	Scope []string
	// ACRValues and MaxAge, in seconds, are what the user's authentication has to meet (RFC 9470 section 3). The values must
	// be such as scope-tokens are (CheckScope).
	ACRValues []string
	MaxAge    string
	// ResourceMetadata is the URL of the document that describes the resource (RFC 9728 section 5.1).
	ResourceMetadata string
	// Algorithms are those that proofs of possession may be signed with (algs, RFC 9449 section 7.1).
	Algorithms []string
}

// String writes the challenge as the value of a header line of its own.
func (c Challenge) String() string {
	var b strings.Builder
	b.WriteString(c.Scheme)
	separator := ` `
	for _, parameter := range []struct{ name, value string }{
		{"realm", c.Realm},
		{"error", c.Error},
		{"scope", strings.Join(c.Scope, " ")},
		{"acr_values", strings.Join(c.ACRValues, " ")},
		{"max_age", c.MaxAge},
		{"resource_metadata", c.ResourceMetadata},
		{"algs", strings.Join(c.Algorithms, " ")},
	} {
		if parameter.value == "" {
			continue
		}
		b.WriteString(separator)
		b.WriteString(parameter.name)
		b.WriteString(`="`)
		writeEscaped(&b, parameter.value)
		b.WriteByte('"')
		separator = `, `
	}
	return b.String()
}

// writeEscaped writes the inside of a quoted-string (RFC 9110 section 5.6.4).
func writeEscaped(b *strings.Builder, text string) {
	for i := 0; i < len(text); i++ {
		if text[i] == '"' || text[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
}

// CheckRealm says why a text cannot be a realm.
func CheckRealm(realm string) error {
	if realm == "" {
		return errors.New("must not be empty")
	}
	for i := 0; i < len(realm); i++ {
		if realm[i] < 0x20 || realm[i] > 0x7E {
			return errors.New("must be printable ASCII")
		}
	}
	return nil
}

// CheckScope says why a text cannot be a scope (the scope-token of RFC 6749 section 3.3).
func CheckScope(scope string) error {
	if scope == "" {
		return errors.New("must not be empty")
	}
	for i := 0; i < len(scope); i++ {
		if c := scope[i]; c <= 0x20 || c > 0x7E || c == '"' || c == '\\' {
			return errors.New(`must be printable ASCII without space, '"' and '\'`)
		}
	}
	return nil
}
