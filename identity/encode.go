package identity

import (
	"encoding/json"
	"strings"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// longestValue bounds a header value, in bytes as sent. A longer one is not sent at all: a shortened name is another
// name, and a backend would refuse the request for its size.
const longestValue = 8 << 10

// Text writes a claim as one text: strings as they are, lists of strings joined by commas, other lists and objects as
// compact JSON, numbers with every digit, null and absence as nothing.
func Text(value any) string {
	text, _ := render(value, func(element string) string { return element })
	return text
}

// encodeClaim writes a claim as a header value. It is not ok if a header cannot carry the value.
func encodeClaim(value any) (string, bool) {
	if text, isText := value.(string); isText {
		return encodeText(text)
	}
	text, isList := render(value, func(element string) string { return percent(element, true) })
	if isList {
		return text, len(text) <= longestValue
	}
	return encodeText(text)
}

func encodeText(text string) (string, bool) {
	encoded := percent(text, false)
	return encoded, len(encoded) <= longestValue
}

// render writes a claim as text, and tells whether it is a list of strings, whose elements go through the function.
func render(value any, element func(string) string) (text string, isList bool) {
	switch value := value.(type) {
	case nil:
		return "", false
	case string:
		return value, false
	case json.Number:
		return value.String(), false
	case []any:
		if elements, ok := allStrings(value); ok {
			for i := range elements {
				elements[i] = element(elements[i])
			}
			return strings.Join(elements, ","), true
		}
	}
	compact, err := introspect.CompactJSON(value)
	if err != nil {
		return "", false
	}
	return string(compact), false
}

func allStrings(values []any) ([]string, bool) {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		text, isText := value.(string)
		if !isText {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// percent encodes what a header cannot carry unchanged to every backend: bytes outside 0x21 to 0x7E, `%` itself, and
// spaces at either end, which parsers cut off. In an element of a list a comma is encoded too, since it would begin
// another element.
func percent(text string, inList bool) string {
	plain := true
	for i := 0; i < len(text) && plain; i++ {
		plain = !mustEncode(text, i, inList)
	}
	if plain {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if mustEncode(text, i, inList) {
			b.WriteByte('%')
			b.WriteByte(digits[text[i]>>4])
			b.WriteByte(digits[text[i]&15])
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func mustEncode(text string, i int, inList bool) bool {
	switch c := text[i]; {
	case c == ' ':
		return i == 0 || i == len(text)-1
	case c == ',':
		return inList
	default:
		return c < 0x21 || c > 0x7E || c == '%'
	}
}
