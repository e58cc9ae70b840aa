// Package bearer is the wire of RFC 6750: it takes the access token out of a request, and writes the challenge of a
// refusal.
package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// The authentication schemes under which an access token is presented (RFC 6750 section 2.1, RFC 9449 section 7.1).
const (
	SchemeBearer = "Bearer"
	SchemeDPoP   = "DPoP"
)

var (
	// ErrNoToken means that the request has no authentication information that this package knows, which is no
	// mistake: RFC 6750 section 3.1 answers it with a challenge that has no error code.
	ErrNoToken = errors.New("no access token")
	// ErrInvalidRequest means that the request presents a token in a way that RFC 6750 forbids (invalid_request).
	ErrInvalidRequest = errors.New("malformed request for a protected resource")
	// ErrInvalidToken means that what is presented cannot be a token of this authority (invalid_token).
	ErrInvalidToken = errors.New("not an access token")
)

// Credential is an access token and the scheme under which it was presented.
type Credential struct {
	Scheme string
	Token  string
}

// FromAuthorization takes the token out of the Authorization header (RFC 6750 section 2.1). A token may have up to
// maxToken bytes. It returns ErrNoToken if there is no header or one of another scheme, ErrInvalidRequest if there is
// more than one header line or something other than exactly one token68 after the scheme, and ErrInvalidToken if the
// token is too long. No error text repeats what was sent.
func FromAuthorization(header http.Header, maxToken int) (Credential, error) {
	lines := header["Authorization"]
	switch len(lines) {
	case 0:
		return Credential{}, ErrNoToken
	case 1:
	default:
		// RFC 9110 section 5.3: not a list. Which of them the backend would believe nobody knows.
		return Credential{}, fmt.Errorf("%w: more than one Authorization header", ErrInvalidRequest)
	}
	word, rest, _ := strings.Cut(strings.Trim(lines[0], " \t"), " ")
	var scheme string
	switch {
	case strings.EqualFold(word, SchemeBearer):
		scheme = SchemeBearer
	case strings.EqualFold(word, SchemeDPoP):
		scheme = SchemeDPoP
	case hasSchemePrefix(word):
		return Credential{}, fmt.Errorf("%w: no space after the scheme", ErrInvalidRequest)
	default:
		return Credential{}, ErrNoToken
	}
	token := strings.TrimLeft(rest, " ")
	switch {
	case token == "":
		return Credential{}, fmt.Errorf("%w: %s without a token", ErrInvalidRequest, scheme)
	case !isToken68(token):
		return Credential{}, fmt.Errorf("%w: what follows %s is not one token", ErrInvalidRequest, scheme)
	case len(token) > maxToken:
		return Credential{}, fmt.Errorf("%w: longer than %d bytes", ErrInvalidToken, maxToken)
	}
	return Credential{Scheme: scheme, Token: token}, nil
}

// hasSchemePrefix catches "Bearer\ttoken", "Bearer,token" and their like: "Bearer" followed by what cannot be part of
// a scheme's name (RFC 9110 section 5.6.2) was meant to be it.
func hasSchemePrefix(word string) bool {
	for _, scheme := range []string{SchemeBearer, SchemeDPoP} {
		if len(word) > len(scheme) && strings.EqualFold(word[:len(scheme)], scheme) && !isTokenChar(word[len(scheme)]) {
			return true
		}
	}
	return false
}

func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isToken68 says whether a text is a token68 (RFC 9110 section 11.2, the b64token of RFC 6750 section 2.1).
func isToken68(text string) bool {
	body := strings.TrimRight(text, "=")
	if body == "" {
		return false
	}
	for i := 0; i < len(body); i++ {
		if !isAlphanumeric(body[i]) && strings.IndexByte("-._~+/", body[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
