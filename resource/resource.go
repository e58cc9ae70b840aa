// Package resource describes protected resources to their clients (RFC 9728).
package resource

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// wellKnown begins the path of every document.
const wellKnown = "/.well-known/oauth-protected-resource"

// CheckIdentifier says why a text cannot name a protected resource: https, or http on loopback, without a fragment
// (RFC 9728 section 1.2). Tokens and documents are compared with it to the letter, so it has to be written as clients
// write it, too.
func CheckIdentifier(text string) error {
	parsed, err := url.Parse(text)
	if err != nil {
		return errors.New("must be a URL")
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return errors.New("must be a URL of printable ASCII, without spaces, quotes, braces and backslashes")
		}
	}
	host := parsed.Hostname()
	switch {
	case host == "":
		return errors.New("must be a URL such as https://api.example.com/orders")
	case parsed.User != nil:
		return errors.New("must not hold credentials")
	case parsed.ForceQuery:
		return errors.New("must not end in '?'")
	case strings.Contains(text, "#"):
		return errors.New("must not have a fragment (RFC 9728 section 1.2)")
	case parsed.Scheme == "http" && host != "localhost" && !net.ParseIP(host).IsLoopback():
		return errors.New("must be https: http is for loopback")
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return errors.New("must be https")
	case !strings.HasPrefix(text, parsed.Scheme+"://"+strings.ToLower(parsed.Host)):
		return errors.New("must have its scheme and host in lower case, as clients write them")
	case parsed.Port() == defaultPorts[parsed.Scheme] || strings.HasSuffix(parsed.Host, ":"):
		return errors.New("must not name the default port, which clients leave out")
	}
	return nil
}

var defaultPorts = map[string]string{"https": "443", "http": "80"}

// location is where a document is: the hosts that requests for it name, and what they ask for there.
type location struct {
	origin string
	hosts  []string
	target string
}

// locate inserts the well-known path between host and path (RFC 9728 section 3.1). The identifier has to be a good one.
func locate(identifier string) (location, error) {
	parsed, err := url.Parse(identifier)
	if err != nil {
		return location{}, fmt.Errorf("resource: %w", err)
	}
	path := parsed.EscapedPath()
	if path == "/" {
		path = ""
	}
	if parsed.RawQuery != "" {
		path += "?" + parsed.RawQuery
	}
	hosts := []string{parsed.Host}
	if parsed.Port() == "" {
		hosts = append(hosts, parsed.Host+":"+defaultPorts[parsed.Scheme])
	}
	return location{parsed.Scheme + "://" + parsed.Host, hosts, wellKnown + path}, nil
}

// MetadataURL is where the document of a resource is, for challenges. The identifier has to be a good one.
func MetadataURL(identifier string) string {
	at, err := locate(identifier)
	if err != nil {
		return ""
	}
	return at.origin + at.target
}

// IsMetadata tells whether a path is one of those that are for documents, whether there is one or not.
func IsMetadata(path string) bool {
	rest, ok := strings.CutPrefix(path, wellKnown)
	return ok && (rest == "" || rest[0] == '/')
}
