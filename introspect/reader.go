package introspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// reader reads a text that is valid JSON, as json.Valid says, from its beginning to its end. The names and strings of
// the outermost object share the memory of the text.
type reader struct {
	text string
	at   int
}

// next returns the byte that the next token begins with, and stays in front of it.
func (r *reader) next() byte {
	for {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			r.at++
		default:
			return c
		}
	}
}

// manyMembers is from how many members on it takes too long to compare a name with each of them.
const manyMembers = 16

// members reads an object.
func (r *reader) members(depth int) (object, error) {
	members := make(object, 0, 8)
	var seen map[string]bool
	r.next()
	r.at++
	for r.next() != '}' {
		name, err := r.string(depth)
		if err != nil {
			return nil, err
		}
		if len(members) == manyMembers {
			seen = make(map[string]bool, 2*manyMembers)
			for _, m := range members {
				seen[m.name] = true
			}
		}
		_, twice := members[:min(len(members), manyMembers)].get(name)
		if twice || seen[name] {
			return nil, errors.New("one member name twice in one object")
		}
		if seen != nil {
			seen[name] = true
		}
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, value})
	}
	r.at++
	return members, nil
}

func (r *reader) value(depth int) (any, error) {
	switch r.next() {
	case '"':
		return r.string(depth)
	case 't':
		r.at += len("true")
		return true, nil
	case 'f':
		r.at += len("false")
		return false, nil
	case 'n':
		r.at += len("null")
		return nil, nil
	case '{', '[':
	default:
		return r.number(depth), nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	if r.next() == '{' {
		members, err := r.members(depth + 1)
		return Object{members}, err
	}
	r.at++
	elements := []any{}
	for r.next() != ']' {
		element, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	r.at++
	return elements, nil
}

func (r *reader) number(depth int) json.Number {
	begin := r.at
	for r.at < len(r.text) && strings.IndexByte("+-.0123456789eE", r.text[r.at]) >= 0 {
		r.at++
	}
	if depth > 1 {
		return json.Number(strings.Clone(r.text[begin:r.at]))
	}
	return json.Number(r.text[begin:r.at])
}

// string reads a string, which is as it is written unless it has escapes. Inside of what may be kept as a whole it has
// memory of its own.
func (r *reader) string(depth int) (string, error) {
	r.next()
	begin := r.at
	escaped := false
	for r.at++; r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			escaped = true
			r.at++
		}
	}
	r.at++
	written := r.text[begin:r.at]
	switch {
	case escaped:
		var text string
		if err := json.Unmarshal([]byte(written), &text); err != nil {
			return "", errors.New("not JSON")
		}
		return text, nil
	case depth > 1:
		return strings.Clone(written[1 : len(written)-1]), nil
	}
	return written[1 : len(written)-1], nil
}
