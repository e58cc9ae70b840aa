// Package bearer is the wire of RFC 6750: it takes the access token out of a request, and writes the challenge of a
// refusal.
package bearer

import (
	"errors"
	"fmt"
	"slices"
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
	// ErrTooLarge means that the form in which a token may be is longer than anybody wants to look through.
	ErrTooLarge = errors.New("the form is too large")
)

// Credential is an access token and how it was presented.
type Credential struct {
	// Scheme is SchemeDPoP where the token came under that scheme, else SchemeBearer.
	Scheme string
	Token  string
	// In is the kind of place that the token was in.
	In Kind
	// Hidden says that caches do not know the place for one of credentials, as they know Authorization (RFC 9111 section 3.5).
	Hidden bool
}

// String hides the token.
func (c Credential) String() string { return "[credential]" }

// GoString hides the token from %#v.
func (c Credential) GoString() string { return "[credential]" }

// fromHeader takes the token out of a header whose values begin with one of the schemes (RFC 6750 section 2.1), or are
// bare tokens if there is none.
func fromHeader(lines, schemes []string) (Credential, error) {
	switch len(lines) {
	case 0:
		return Credential{}, ErrNoToken
	case 1:
	default:
		// RFC 9110 section 5.3: not a list. Which of them the backend would believe nobody knows.
		return Credential{}, fmt.Errorf("%w: more than one header line for the token", ErrInvalidRequest)
	}
	if len(schemes) == 0 {
		return credential(SchemeBearer, strings.Trim(lines[0], " \t"))
	}
	scheme, rest, found := cutScheme(lines[0], schemes)
	switch {
	case !found:
		return Credential{}, ErrNoToken
	case scheme == "":
		return Credential{}, fmt.Errorf("%w: no space after the scheme", ErrInvalidRequest)
	}
	return credential(scheme, rest)
}

// cutScheme finds one of the schemes at the beginning of a header line, and what follows it. The scheme is empty where
// something that was meant to be it stands there.
func cutScheme(line string, schemes []string) (scheme, rest string, found bool) {
	word, rest, _ := strings.Cut(strings.Trim(line, " \t"), " ")
	for _, scheme := range schemes {
		if strings.EqualFold(word, scheme) {
			return scheme, strings.TrimLeft(rest, " "), true
		}
		if isLookalike(word, scheme) {
			return "", "", true
		}
	}
	return "", "", false
}

// credential checks a token, which is a token68 wherever it was.
func credential(scheme, token string) (Credential, error) {
	switch {
	case token == "":
		return Credential{}, fmt.Errorf("%w: %s without a token", ErrInvalidRequest, scheme)
	case !isToken68(token):
		return Credential{}, fmt.Errorf("%w: what is presented is not one token", ErrInvalidRequest)
	case !strings.EqualFold(scheme, SchemeDPoP):
		scheme = SchemeBearer
	}
	return Credential{Scheme: scheme, Token: token}, nil
}

// isLookalike catches "Bearer\ttoken", "Bearer,token" and their like: a scheme followed by what cannot be part of a
// scheme's name (RFC 9110 section 5.6.2) was meant to be it.
func isLookalike(word, scheme string) bool {
	return len(word) > len(scheme) && strings.EqualFold(word[:len(scheme)], scheme) && !isTokenChar(word[len(scheme)])
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
		if !token68[body[i]] {
			return false
		}
	}
	return true
}

// token68 are the characters of a token68 before its `=`.
var token68 = func() (is [256]bool) {
	for c := range is {
		is[c] = isAlphanumeric(byte(c)) || strings.IndexByte("-._~+/", byte(c)) >= 0
	}
	return is
}()

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// authorizationSchemes are those that the Authorization header is read for where nobody says otherwise.
var authorizationSchemes = []string{SchemeBearer, SchemeDPoP}

// Schemes lists those of the schemes under which the lines of an Authorization header present something, well-formed or not.
func Schemes(lines []string) []string {
	var schemes []string
	for _, scheme := range authorizationSchemes {
		if slices.ContainsFunc(lines, func(line string) bool { return presents(line, scheme) }) {
			schemes = append(schemes, scheme)
		}
	}
	return schemes
}

// presents tells whether a line, or a list in one, has credentials of a scheme.
func presents(line, scheme string) bool {
	for credentials := range strings.SplitSeq(line, ",") {
		word, _, _ := strings.Cut(strings.Trim(credentials, " \t"), " ")
		if strings.EqualFold(word, scheme) || isLookalike(word, scheme) {
			return true
		}
	}
	return false
}
