package dpop

import (
	"errors"
	"net/url"
	"strings"
)

// normalize brings the URLs that mean the same target into one shape (RFC 3986 sections 6.2.2 and 6.2.3), without query
// and fragment: scheme and host in lower case, no default port, characters escaped only where they have to be, no dot
// segments, a path of at least a slash. What means something is left alone: a slash at the end, two slashes, %2F.
func normalize(text string) (string, error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("it cannot be read") // the error repeats the text
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Hostname() == "":
		return "", errors.New("it is not an absolute http or https URL")
	case parsed.User != nil:
		return "", errors.New("it has user information")
	}
	host := strings.ToLower(parsed.Host)
	if port := parsed.Port(); port == "" || port == defaultPorts[parsed.Scheme] {
		host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	}
	escaped := parsed.EscapedPath()
	if escaped != "" && escaped[0] != '/' {
		return "", errors.New("its path does not begin with a slash")
	}
	path, err := unescape(escaped)
	if err != nil {
		return "", err
	}
	return parsed.Scheme + "://" + host + withoutDots(path), nil
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// unescape takes back the escapes of characters that need none (RFC 3986 section 2.3), writes the others in upper case,
// and escapes what cannot stand in a path.
func unescape(path string) (string, error) {
	if !strings.ContainsFunc(path, func(r rune) bool { return r > 0x7E || !isPlain(byte(r)) }) {
		return path, nil
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c, escaped := path[i], path[i] == '%'
		if escaped {
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return "", errors.New("it has a broken escape")
			}
			c = fromHex(path[i+1])<<4 | fromHex(path[i+2])
			i += 2
		}
		if isUnreserved(c) || !escaped && isPlain(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String(), nil
}

// withoutDots resolves the segments . and .. of an absolute path (RFC 3986 section 5.2.4).
func withoutDots(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	kept := make([]string, 0, len(segments))
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

const upperHex = "0123456789ABCDEF"

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func fromHex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// isUnreserved tells the characters that mean the same whether they are escaped or not.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// isPlain tells the characters that stand in a path as they are (RFC 3986 section 3.3).
func isPlain(c byte) bool { return isUnreserved(c) || strings.IndexByte("/!$&'()*+,;=:@", c) >= 0 }
