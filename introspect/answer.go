package introspect

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Source says where an answer came from.
type Source string

// The sources of an answer, as the placeholder {http.introspect.cache} shows them.
const (
	Miss      Source = "miss"      // the authority was asked for this request
	Memory    Source = "memory"    // it was remembered
	Coalesced Source = "coalesced" // the authority was being asked already
)

// Answer is what an authorization server says of a token (RFC 7662 section 2.2). It is immutable: any number of
// requests share it. The zero value is an inactive token.
//
// The fields are the members that RFC 7662 names, already brought into one shape; a member that is absent, null, or of
// a type that means nothing leaves its field zero. Claim gives every member as it was sent.
type Answer struct {
	// Active is true only where the authority sent the JSON boolean true under exactly that name. All other fields of
	// an inactive answer are zero.
	Active bool
	// Scope holds the granted scopes (RFC 6749 section 3.3).
	Scope     []string
	ClientID  string
	Username  string
	Subject   string
	Issuer    string
	TokenType string
	// Audience is nil where the answer has no aud.
	Audience []string
	// ExpiresAt, NotBefore and IssuedAt are zero where the answer does not have them. Absurd values are clamped to the
	// years 1 to 9999.
	ExpiresAt time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	// Bound says that the token is bound to a key or a certificate (the member cnf of RFC 7800 is there), so that
	// whoever presents it has to prove possession.
	Bound bool

	// AskedAt is the instant just before the authority was asked.
	AskedAt time.Time
	// Source says how this answer came to be at hand.
	Source Source

	claims object
}

// From returns the same answer with another source.
func (a *Answer) From(source Source) *Answer {
	b := *a
	b.Source = source
	return &b
}

// HasAudience says whether the token is for an audience, which is compared to the letter.
func (a *Answer) HasAudience(audience string) bool {
	return slices.Contains(a.Audience, audience)
}

// Claim returns a member of the answer: a string, bool, json.Number, []any, Object, or nil for null. The path is
// first tried as one whole member name, then split at its dots, of which `\.` is a literal one. An absent member is
// not ok. What is returned is shared and must not be changed.
func (a *Answer) Claim(path string) (value any, ok bool) { return a.claims.at(path) }

// Claims returns all members of the answer.
func (a *Answer) Claims() Object { return Object{a.claims} }

// at finds a member by its path.
func (o object) at(path string) (value any, ok bool) {
	if value, ok = o.get(path); ok || !strings.ContainsAny(path, `.\`) {
		return value, ok
	}
	value = Object{o}
	for _, name := range splitPath(path) {
		inner, isObject := value.(Object)
		if !isObject {
			return nil, false
		}
		if value, ok = inner.members.get(name); !ok {
			return nil, false
		}
	}
	return value, true
}

// splitPath splits at dots; `\.` is a literal dot.
func splitPath(path string) []string {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && path[i+1] == '.':
			name.WriteByte('.')
			i++
		case path[i] == '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(path[i])
		}
	}
	return append(names, name.String())
}

// Size is roughly how many bytes the answer keeps in memory.
func (a *Answer) Size() int {
	return answerBytes + (len(a.Scope)+len(a.Audience))*stringBytes + a.claims.size()
}

// ParseAnswer reads the body of an introspection response: one JSON object in UTF-8 and nothing after it. Names are
// compared exactly, and an object that has one name twice, at any depth, is no answer: of two values nobody can say
// which one was meant. The error says what is wrong without repeating what was sent.
func ParseAnswer(body []byte, askedAt time.Time) (*Answer, error) {
	return Shape{}.Parse(body, askedAt)
}

// AnswerOf makes an answer of the members that an authorization server in the same process would send, which pass
// through the same reading as everybody's.
func AnswerOf(members map[string]any, askedAt time.Time) (*Answer, error) {
	body, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("%w: encoding the answer: %w", ErrMalformed, err)
	}
	return ParseAnswer(body, askedAt)
}

func (s Shape) newAnswer(claims object, askedAt time.Time) (*Answer, error) {
	active, err := s.active(claims)
	if err != nil {
		return nil, err
	}
	answer := &Answer{AskedAt: askedAt, Source: Miss}
	if !active {
		// RFC 7662 section 2.2: whatever else it says means nothing.
		return answer, nil
	}
	answer.Active = true
	answer.claims = claims
	answer.ClientID = text(s.part(claims, s.ClientID, "client_id"))
	answer.Username = text(s.part(claims, s.Username, "username"))
	answer.Subject = text(s.part(claims, s.Subject, "sub"))
	answer.Issuer = text(s.part(claims, "", "iss"))
	answer.TokenType = text(s.part(claims, "", "token_type"))
	answer.Scope = s.scopes(claims)
	answer.Audience = audience(claims)
	for _, date := range []struct {
		path, name string
		into       *time.Time
	}{{s.Expiry, "exp", &answer.ExpiresAt}, {"", "nbf", &answer.NotBefore}, {"", "iat", &answer.IssuedAt}} {
		if err := numericDate(s.part(claims, date.path, date.name), date.name, date.into); err != nil {
			return nil, err
		}
	}
	confirmation, ok := claims.get("cnf")
	answer.Bound = ok && confirmation != nil
	return answer, nil
}

// text reads a member that names somebody. Servers also send numbers there.
func text(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

// scopes reads "scope", a space-separated string (RFC 7662 section 2.2) or, as some servers send it, an array; "scp"
// is its alias. An element with a space in it is no scope (RFC 6749 section 3.3) and grants nothing.
func (s Shape) scopes(claims object) []string {
	value := s.part(claims, s.Scope, "scope")
	if value == nil && s.Scope == "" {
		value, _ = claims.get("scp")
	}
	var granted []string
	switch value := value.(type) {
	case string:
		for scope := range strings.SplitSeq(value, " ") {
			if scope != "" {
				granted = append(granted, scope)
			}
		}
	case []any:
		for _, element := range value {
			if scope, isString := element.(string); isString && scope != "" && !strings.Contains(scope, " ") {
				granted = append(granted, scope)
			}
		}
	}
	return granted
}

func audience(claims object) []string {
	value, _ := claims.get("aud")
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var audience []string
		for _, element := range value {
			if name, isString := element.(string); isString {
				audience = append(audience, name)
			}
		}
		return audience
	}
	return nil
}

const (
	earliest = -62135596799 // 0001-01-01T00:00:01Z, just after Go's zero time, which stands for an absent date
	latest   = 253402300799 // 9999-12-31T23:59:59Z
)

// numericDate reads seconds since the epoch: an integer, a float, or the same as a string. Something else under that
// name is not an answer, since a limit that cannot be read must not count as no limit.
func numericDate(value any, name string, into *time.Time) error {
	if value == nil {
		return nil
	}
	number, isNumber := value.(json.Number)
	if digits, isString := value.(string); isString && isJSONNumber(digits) {
		number, isNumber = json.Number(digits), true
	}
	if !isNumber {
		return fmt.Errorf("%w: member %q is not a number", ErrMalformed, name)
	}
	// The only error left is a value out of range, for which the float is infinite and is clamped with the rest.
	seconds, _ := number.Float64()
	seconds = min(max(seconds, earliest), latest)
	whole := int64(seconds)
	*into = time.Unix(whole, int64((seconds-float64(whole))*1e9))
	return nil
}

func isJSONNumber(s string) bool {
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	return s != "" && (s[0] == '-' || isDigit(s[0])) && isDigit(s[len(s)-1]) && json.Valid([]byte(s))
}
