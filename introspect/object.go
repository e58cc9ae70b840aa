package introspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep an answer may nest. Real answers nest three or four levels.
const maxDepth = 32

// What the parts of an answer take in memory on a 64-bit machine, in bytes.
const (
	answerBytes = 224
	memberBytes = 32
	stringBytes = 16
)

// object is a JSON object in the order in which it was sent. Answers have few members, for which a slice is smaller
// than a map and as fast.
type object []member

type member struct {
	name  string
	value any
}

func (o object) get(name string) (any, bool) {
	for i := range o {
		if o[i].name == name {
			return o[i].value, true
		}
	}
	return nil, false
}

func (o object) size() int {
	size := len(o) * memberBytes
	for _, m := range o {
		size += len(m.name) + sizeOf(m.value)
	}
	return size
}

func sizeOf(value any) int {
	switch value := value.(type) {
	case string:
		return stringBytes + len(value)
	case json.Number:
		return stringBytes + len(value)
	case []any:
		size := stringBytes
		for _, element := range value {
			size += stringBytes + sizeOf(element)
		}
		return size
	case Object:
		return stringBytes + value.members.size()
	}
	return 0
}

// Object is a JSON object inside an answer. It marshals to the JSON that it was read from, without white space.
type Object struct{ members object }

// All yields the members in the order in which they were sent, with values as Answer.Claim returns them.
func (o Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, m := range o.members {
			if !yield(m.name, m.value) {
				return
			}
		}
	}
}

// MarshalJSON keeps the order of the members and every digit of a number.
func (o Object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := CompactJSON(m.name)
		if err != nil {
			return nil, err
		}
		value, err := CompactJSON(m.value)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// CompactJSON encodes a claim without white space and without escaping what only HTML would need escaped.
func CompactJSON(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// parseObject reads one JSON object. encoding/json alone would take the last of two members with one name, fold their
// case where it fills a struct, and repair broken UTF-8; none of that may decide who gets in.
func parseObject(body []byte) (object, error) {
	switch {
	case !utf8.Valid(body):
		return nil, errors.New("not UTF-8")
	case !json.Valid(body):
		return nil, errors.New("not JSON")
	case hasLoneSurrogate(body):
		return nil, errors.New("half of a UTF-16 surrogate pair")
	}
	r := reader{text: string(body)}
	if r.next() != '{' {
		return nil, errors.New("not a JSON object")
	}
	return r.members(1)
}

// hasLoneSurrogate tells whether a string escape of valid JSON names half a character. encoding/json would replace it,
// and make one name of two different ones.
func hasLoneSurrogate(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		unit, isUnit := escapedUnit(body[i:])
		if !isUnit {
			i++
			continue
		}
		i += 5
		if !utf16.IsSurrogate(unit) {
			continue
		}
		low, isUnit := escapedUnit(body[i+1:])
		if !isUnit || utf16.DecodeRune(unit, low) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escapedUnit reads a UTF-16 code unit written as \uXXXX.
func escapedUnit(escape []byte) (rune, bool) {
	if len(escape) < 6 || escape[0] != '\\' || escape[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(escape[2:6]), 16, 16)
	return rune(unit), err == nil
}
