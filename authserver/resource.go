package authserver

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// CheckResource says whether a text can name a resource: an absolute URI without a fragment (RFC 8707 section 2).
func CheckResource(text string) error {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return errors.New("must be a URI: no spaces, backslashes, braces, quotes or other characters than ASCII")
		}
	}
	uri, err := url.Parse(text)
	switch {
	case err != nil || uri.Scheme == "" || uri.Host == "" && uri.Opaque == "":
		return errors.New("must be an absolute URI such as https://api.example.com")
	case strings.Contains(text, "#"):
		return errors.New("must have no fragment (RFC 8707 section 2)")
	case uri.User != nil:
		return errors.New("must have no user information")
	}
	return nil
}

// checkResources demands that each can name a resource, and that none is there twice.
func checkResources(option string, resources []string) error {
	known := make(map[string]bool, len(resources))
	for _, resource := range resources {
		if err := CheckResource(resource); err != nil {
			return fmt.Errorf("%s %q %w", option, resource, err)
		}
		if name := canonicalResource(resource); known[name] {
			return fmt.Errorf("%s %q is there twice", option, resource)
		} else {
			known[name] = true
		}
	}
	return nil
}

// canonicalResource writes scheme and host in lower case and an empty path as a slash: libraries that parse URLs write
// them so, whatever the operator wrote. The rest counts to the byte.
func canonicalResource(resource string) string {
	scheme, rest, found := strings.Cut(resource, "://")
	if !found {
		return resource
	}
	authority, path := rest, ""
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority, path = rest[:end], rest[end:]
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return strings.ToLower(scheme+"://"+authority) + path
}

var errNoTarget = errors.New("a requested resource is no absolute URI without fragment, or not one that the client may ask tokens for")

// pick returns those of the known resources that are asked for, as they are known.
func pick(known, asked []string) ([]string, error) {
	var picked []string
	for _, resource := range asked {
		if CheckResource(resource) != nil {
			return nil, errNoTarget
		}
		name := canonicalResource(resource)
		i := slices.IndexFunc(known, func(one string) bool { return canonicalResource(one) == name })
		if i < 0 {
			return nil, errNoTarget
		}
		if !slices.Contains(picked, known[i]) {
			picked = append(picked, known[i])
		}
	}
	return picked, nil
}

// narrow returns what an access token is for of the resources that were granted (RFC 8707 section 2.2): those that are
// asked for, or all if none is, as far as the client may still have them. If that is none, it is an error: a token
// without an audience would be good at more places than the one that was granted.
func (c *Client) narrow(granted, asked []string) ([]string, error) {
	left := intersect(granted, c.Audiences)
	switch {
	case len(granted) > 0 && len(left) == 0:
		return nil, errNoTarget
	case len(asked) == 0:
		return left, nil
	}
	return pick(left, asked)
}

// isFor tells whether a token is for one of the resources, or for none in particular.
func isFor(token *store.Token, resources []string) bool {
	return len(token.Audience) == 0 || len(intersect(token.Audience, resources)) > 0
}

// heardBy are the resources in whose name a client asks about tokens: its own, or those of the server.
func (s *Server) heardBy(caller *Client) []string {
	if len(caller.Audiences) > 0 {
		return caller.Audiences
	}
	return s.resources
}
