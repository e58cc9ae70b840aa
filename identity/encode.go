package identity

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// longestValue bounds a header value, in bytes as sent. A longer one is not sent at all: a shortened name is another
// name, and a backend would refuse the request for its size.
const longestValue = 8 << 10

// Encoding is how values are written into headers. What an encoding cannot carry is not sent.
type Encoding string

// The encodings.
const (
	// Percent encodes bytes outside 0x21 to 0x7E, `%` itself, and spaces at either end; inner spaces stay. In an element
	// of a list it encodes commas too. It can carry everything, and is the default.
	Percent Encoding = "percent"
	// Base64URL encodes each whole value (RFC 4648 section 5, without padding). It cannot carry an element of a list
	// that has a comma in it.
	Base64URL Encoding = "base64url"
	// UTF8 writes values as they are. It cannot carry control characters, a space at either end, which parsers cut
	// off, and an element of a list that has a comma in it.
	UTF8 Encoding = "utf8"
)

// Check says why an encoding is none.
func (e Encoding) Check() error {
	switch e {
	case Percent, Base64URL, UTF8:
		return nil
	}
	return fmt.Errorf("claim_encoding %q: must be percent, base64url or utf8", string(e))
}

// encode writes a claim as a header value. It is not ok if the encoding cannot carry it.
func (e Encoding) encode(value any) (encoded string, ok bool) {
	elements, isList := value.([]any)
	if !isList || !allStrings(elements) {
		return e.encodeText(Text(value))
	}
	if e != Percent {
		for _, element := range elements {
			if strings.Contains(element.(string), ",") {
				return "", false
			}
		}
		return e.encodeText(Text(value))
	}
	var list strings.Builder
	for i, element := range elements {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(percent(element.(string), true))
	}
	return fits(list.String())
}

// encodeText writes one text as a header value.
func (e Encoding) encodeText(text string) (encoded string, ok bool) {
	switch e {
	case Percent:
		return fits(percent(text, false))
	case Base64URL:
		return fits(base64.RawURLEncoding.EncodeToString([]byte(text)))
	case UTF8:
		if isPlain(text) {
			return fits(text)
		}
	}
	return "", false
}

// fits refuses what is too long.
func fits(encoded string) (string, bool) { return encoded, len(encoded) <= longestValue }

// Text writes a claim as one text: strings as they are, lists of strings joined by commas, other lists and objects as
// compact JSON, numbers with every digit, null and absence as nothing.
func Text(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case json.Number:
		return value.String()
	}
	if elements, isList := value.([]any); isList && allStrings(elements) {
		texts := make([]string, len(elements))
		for i, element := range elements {
			texts[i] = element.(string)
		}
		return strings.Join(texts, ",")
	}
	compact, err := introspect.CompactJSON(value)
	if err != nil {
		return ""
	}
	return string(compact)
}

// allStrings says whether a list has only strings.
func allStrings(values []any) bool {
	for _, value := range values {
		if _, isString := value.(string); !isString {
			return false
		}
	}
	return true
}

// isPlain says whether a text arrives as it is: no control character, and nothing at either end that is cut off.
func isPlain(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < 0x20 || text[i] == 0x7F {
			return false
		}
	}
	return strings.TrimSpace(text) == text && utf8.ValidString(text)
}

// percent encodes what a header cannot carry unchanged to every backend.
func percent(text string, inList bool) string {
	plain := 0
	for plain < len(text) && plainBytes[text[plain]] {
		plain++
	}
	for plain < len(text) && !mustEncode(text, plain, inList) {
		plain++
	}
	if plain == len(text) {
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

// plainBytes are those that are never encoded.
var plainBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = 0x21 <= c && c <= 0x7E && c != '%' && c != ','
	}
	return plain
}()

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
