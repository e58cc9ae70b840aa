package introspect

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Source says where an answer came from.
type Source uint8

// The sources of an answer, as the placeholder {http.introspect.cache} shows them.
const (
	Miss      Source = iota // the authority was asked for this request
	Memory                  // it was remembered
	Coalesced               // the authority was being asked already
	Stale                   // it was remembered, and could not be confirmed when it was due
)

// String is the name of the source.
func (s Source) String() string { return [...]string{"miss", "memory", "coalesced", "stale"}[s] }

// Answer is what an authorization server says of a token (RFC 7662 section 2.2). It is immutable: any number of
// requests share it. The zero value is an inactive token.
//
// The methods give the members that RFC 7662 names, already brought into one shape; a member that is absent, null, or of
// a type that means nothing is zero. Claim gives every member as it was sent. All are zero for an inactive answer.
type Answer struct {
	// Active is true only where the authority sent the JSON boolean true under exactly that name, or what Shape says.
	Active bool
	// Bound says that the token is bound to a key or a certificate (the member cnf of RFC 7800 is there, or stands beside what
	// a Shape names), so that whoever presents it has to prove possession.
	Bound bool
	// BoundWithin says that a cnf stands beside what a Shape names, inside of an object, where nobody looks for what to prove.
	BoundWithin bool
	// Source says how this answer came to be at hand.
	Source Source
	// signed is how many bytes at the end of the claims' text are the JWT in which the answer came.
	signed uint32
	// AskedAt is the instant just before the authority was asked.
	AskedAt time.Time

	claims packed
	// What is named here is in the text of the claims.
	clientID, username, subject, tokenType, scope span
	expiresAt, notBefore, issuedAt                date
}

// ClientID is the client that the token was issued to.
func (a *Answer) ClientID() string { return a.claims.at(a.clientID) }

// Username is the name of the resource owner, for people.
func (a *Answer) Username() string { return a.claims.at(a.username) }

// Subject is the sub.
func (a *Answer) Subject() string { return a.claims.at(a.subject) }

// TokenType is the token_type (RFC 6749 section 7.1).
func (a *Answer) TokenType() string { return a.claims.at(a.tokenType) }

// Signed is the verified JWT in which the answer came (RFC 9701), where a Client was told to keep it.
func (a *Answer) Signed() string { return a.claims.text[len(a.claims.text)-int(a.signed):] }

// Scope is the list of the granted scopes, with one space between two (RFC 6749 section 3.3).
func (a *Answer) Scope() string { return a.claims.at(a.scope) }

// Scopes are the granted scopes one by one.
func (a *Answer) Scopes() []string {
	if a.Scope() == "" {
		return nil
	}
	return strings.Split(a.Scope(), " ")
}

// ExpiresAt is zero where the answer has no exp. An absurd one is clamped to the years 1 to 9999.
func (a *Answer) ExpiresAt() time.Time { return a.expiresAt.time() }

// NotBefore is zero where the answer has no nbf. An absurd one is clamped to the years 1 to 9999.
func (a *Answer) NotBefore() time.Time { return a.notBefore.time() }

// IssuedAt is zero where the answer has no iat. An absurd one is clamped to the years 1 to 9999.
func (a *Answer) IssuedAt() time.Time { return a.issuedAt.time() }

// date is an instant in milliseconds, one more than since the beginning of the year 1; 0 is none.
type date int64

func dateOf(seconds float64) date { return date((seconds-earliest)*1000) + 1 }

func (d date) time() time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(d-1) + earliest*1000)
}

// Inactive returns an answer about the same token that says it is not active.
func (a *Answer) Inactive() *Answer { return &Answer{AskedAt: a.AskedAt, Source: a.Source} }

// From returns the same answer with another source.
func (a *Answer) From(source Source) *Answer {
	b := *a
	b.Source = source
	return &b
}

// HasAudience says whether the token is for an audience, which is compared to the letter.
func (a *Answer) HasAudience(audience string) bool {
	if text, ok := a.claims.string("aud"); ok {
		return text == audience
	}
	value, _ := a.claims.get("aud")
	names, _ := value.([]any)
	return slices.Contains(names, any(audience))
}

// Has says whether the answer has a member of a name, and not null.
func (a *Answer) Has(name string) bool { return a.claims.has(name) }

// Claim returns a member of the answer: a string, bool, json.Number, []any, Object, or nil for null. The path is
// first tried as one whole member name, then split at its dots, of which `\.` is a literal one. An absent member is
// not ok. What is returned is shared and must not be changed.
func (a *Answer) Claim(path string) (value any, ok bool) {
	if value, ok = a.claims.get(path); ok || !strings.ContainsAny(path, `.\`) {
		return value, ok
	}
	names := splitPath(path)
	value, ok = a.claims.get(names[0])
	return inside(value, ok, names[1:])
}

// Claims returns all members of the answer.
func (a *Answer) Claims() Object { return Object{a.claims.object()} }

// at finds a member by its path.
func (o object) at(path string) (value any, ok bool) {
	if value, ok = o.get(path); ok || !strings.ContainsAny(path, `.\`) {
		return value, ok
	}
	return inside(Object{o}, true, splitPath(path))
}

// inside follows names into objects.
func inside(value any, ok bool, names []string) (any, bool) {
	for _, name := range names {
		inner, isObject := value.(Object)
		if !isObject {
			return nil, false
		}
		value, ok = inner.members.get(name)
		if !ok {
			return nil, false
		}
	}
	return value, ok
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
func (a *Answer) Size() int { return answerBytes + a.claims.size() }

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

// newAnswer makes an answer of its members, and of the JWT in which they came if that is to be kept.
func (s Shape) newAnswer(claims object, signed string, askedAt time.Time) (*Answer, error) {
	active, err := s.active(claims)
	if err != nil {
		return nil, err
	}
	answer := &Answer{AskedAt: askedAt}
	if !active {
		// RFC 7662 section 2.2: whatever else it says means nothing.
		return answer, nil
	}
	answer.Active = true
	packer, ok := pack(claims)
	if !ok {
		return nil, fmt.Errorf("%w: too long", ErrMalformed)
	}
	answer.clientID = packer.keep(text(s.part(claims, s.ClientID, "client_id")))
	answer.username = packer.keep(text(s.part(claims, s.Username, "username")))
	answer.subject = packer.keep(text(s.part(claims, s.Subject, "sub")))
	answer.tokenType = packer.keep(text(s.part(claims, "", "token_type")))
	answer.scope = packer.keep(s.scope(claims))
	// The last text that is written.
	answer.signed = packer.add(signed)
	answer.claims = packer.finish()
	for _, date := range []struct {
		path, name string
		into       *date
	}{{s.Expiry, "exp", &answer.expiresAt}, {"", "nbf", &answer.notBefore}, {"", "iat", &answer.issuedAt}} {
		if *date.into, err = numericDate(s.part(claims, date.path, date.name), date.name); err != nil {
			return nil, err
		}
	}
	if s.Expiry != "" {
		// An end that is told in two places is the earlier one.
		plain, err := numericDate(s.part(claims, "", "exp"), "exp")
		if err == nil && plain != 0 && (answer.expiresAt == 0 || plain < answer.expiresAt) {
			answer.expiresAt = plain
		}
	}
	confirmation, ok := claims.get("cnf")
	answer.BoundWithin = s.bindsWithin(claims)
	answer.Bound = ok && confirmation != nil || answer.BoundWithin
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

// scope reads "scope", a space-separated string (RFC 7662 section 2.2) or, as some servers send it, an array; "scp"
// is its alias. An element with a space in it is no scope (RFC 6749 section 3.3) and grants nothing.
func (s Shape) scope(claims object) string {
	value := s.part(claims, s.Scope, "scope")
	if value == nil && s.Scope == "" {
		value, _ = claims.get("scp")
	}
	var granted []string
	switch value := value.(type) {
	case string:
		granted = slices.DeleteFunc(strings.Split(value, " "), func(scope string) bool { return scope == "" })
	case []any:
		for _, element := range value {
			if scope, isString := element.(string); isString && scope != "" && !strings.Contains(scope, " ") {
				granted = append(granted, scope)
			}
		}
	}
	return strings.Join(granted, " ")
}

const (
	earliest = -62135596799 // 0001-01-01T00:00:01Z
	latest   = 253402300799 // 9999-12-31T23:59:59Z
)

// numericDate reads seconds since the epoch: an integer, a float, or the same as a string. Something else under that
// name is not an answer, since a limit that cannot be read must not count as no limit.
func numericDate(value any, name string) (date, error) {
	if value == nil {
		return 0, nil
	}
	number, isNumber := value.(json.Number)
	if digits, isString := value.(string); isString && isJSONNumber(digits) {
		number, isNumber = json.Number(digits), true
	}
	if !isNumber {
		return 0, fmt.Errorf("%w: member %q is not a number", ErrMalformed, name)
	}
	// The only error left is a value out of range, for which the float is infinite and is clamped with the rest.
	seconds, _ := number.Float64()
	return dateOf(min(max(seconds, earliest), latest)), nil
}

func isJSONNumber(s string) bool {
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	return s != "" && (s[0] == '-' || isDigit(s[0])) && isDigit(s[len(s)-1]) && json.Valid([]byte(s))
}
