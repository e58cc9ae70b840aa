package introspect

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Shape says where the parts of an answer are, for authorization servers that do not answer as RFC 7662 section 2.2
// demands. Each is a path as Answer.Claim takes it; an empty one means the member that RFC 7662 names. The zero value is
// the answer of RFC 7662.
type Shape struct {
	// Active is where an answer tells that the token is active: the member equals ActiveValue, by its JSON text if it is
	// a number or a boolean, or, where that is empty, is neither absent nor null nor false. A member "active" that is false
	// tells the opposite whatever else there is.
	Active      string
	ActiveValue string
	Scope       string
	Subject     string
	Username    string
	ClientID    string
	Expiry      string
}

// Parts lists all that makes a shape what it is.
func (s Shape) Parts() []string {
	return []string{s.Active, s.ActiveValue, s.Scope, s.Subject, s.Username, s.ClientID, s.Expiry}
}

// Parse reads the body of an answer of this shape, as strictly as ParseAnswer.
func (s Shape) Parse(body []byte, askedAt time.Time) (*Answer, error) {
	members, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return s.newAnswer(members, "", askedAt)
}

// active tells whether the answer calls the token active.
func (s Shape) active(claims object) (bool, error) {
	if s.Active != "" {
		value, _ := claims.at(s.Active)
		if plain, _ := claims.get("active"); plain == false {
			return false, nil
		}
		if s.ActiveValue == "" {
			return value != nil && value != false, nil
		}
		text, isScalar := Scalar(value)
		return isScalar && text == s.ActiveValue, nil
	}
	active, ok := claims.get("active")
	if !ok {
		return false, fmt.Errorf("%w: member %q is missing", ErrMalformed, "active")
	}
	isActive, isBool := active.(bool)
	if !isBool {
		return false, fmt.Errorf("%w: member %q is not a JSON boolean", ErrMalformed, "active")
	}
	return isActive, nil
}

// part returns a part of the answer: what is at the path, or the member that RFC 7662 names.
func (s Shape) part(claims object, path, name string) any {
	if path == "" {
		value, _ := claims.get(name)
		return value
	}
	value, _ := claims.at(path)
	return value
}

// bindsWithin tells whether a member cnf stands beside a part of the answer that is inside of an object.
func (s Shape) bindsWithin(claims object) bool {
	for _, path := range []string{s.Active, s.Scope, s.Subject, s.Username, s.ClientID, s.Expiry} {
		names := splitPath(path)
		if len(names) == 1 {
			continue
		}
		names[len(names)-1] = "cnf"
		if confirmation, _ := inside(Object{claims}, true, names); confirmation != nil {
			return true
		}
	}
	return false
}

// Scalar is the text by which a string, boolean or number is compared: the string itself, or the JSON text.
func Scalar(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case bool:
		return strconv.FormatBool(value), true
	case json.Number:
		return value.String(), true
	}
	return "", false
}
