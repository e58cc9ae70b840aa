package authserver

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// privateScheme is a scheme that an app has made its own, a domain name of its owner's in reverse (RFC 8252 section 7.1).
var privateScheme = regexp.MustCompile(`^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+$`)

// CheckRedirectURI says whether a URI can be registered as one that authorization responses are sent to.
func CheckRedirectURI(text string) error {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return errors.New("must be a URI: no spaces, backslashes, braces, quotes or other characters than ASCII")
		}
	}
	uri, err := url.Parse(text)
	if err != nil {
		return errors.New("is not a URI")
	}
	scheme, _, _ := strings.Cut(text, ":")
	switch {
	case strings.Contains(text, "#"):
		return errors.New("must have no fragment (RFC 6749 section 3.1.2)")
	case uri.User != nil:
		return errors.New("must have no user information")
	case scheme == "https":
		if uri.Hostname() == "" {
			return errors.New("must be an absolute URI")
		}
	case scheme == "http":
		if _, loopback := cutLoopback(text); !loopback {
			return errors.New("must be https, or http on 127.0.0.1, [::1] or localhost")
		}
	case !privateScheme.MatchString(scheme):
		return errors.New("must be https, http on loopback, or of a private-use scheme such as com.example.app (RFC 8252)")
	}
	return nil
}

// isPublicRedirect says whether whoever answers at a redirect URI need not be the client: any program of the same
// computer can (RFC 8252 section 8.6).
func isPublicRedirect(uri string) bool {
	parsed, err := url.Parse(uri)
	return err != nil || parsed.Scheme != "https" || isLoopback(parsed.Hostname())
}

// checkRedirects checks what of a client concerns the authorization endpoint.
func (c *Client) checkRedirects() error {
	wants := c.may(GrantAuthorizationCode) || c.may(GrantImplicit)
	switch {
	case c.may(GrantAuthorizationCode) && len(c.RedirectURIs) == 0:
		return errors.New("the grant authorization_code needs redirect_uris")
	case c.may(GrantImplicit) && len(c.RedirectURIs) == 0:
		return errors.New("the grant implicit needs redirect_uris")
	case !wants && len(c.RedirectURIs) > 0:
		return errors.New("redirect_uris need the grant authorization_code")
	case !c.may(GrantAuthorizationCode) && !c.may(GrantPassword) && c.may(GrantRefreshToken):
		return errors.New("the grant refresh_token needs the grant authorization_code")
	case !wants && c.Trusted:
		return errors.New("trusted needs the grant authorization_code")
	}
	for _, uri := range c.RedirectURIs {
		if err := CheckRedirectURI(uri); err != nil {
			return fmt.Errorf("redirect URI %q %w", uri, err)
		}
		if c.Trusted && isPublicRedirect(uri) {
			return fmt.Errorf("trusted is not for the redirect URI %q, which any program on the user's device can have", uri)
		}
	}
	return nil
}

// redirectURI decides where the response to an authorization request goes (RFC 9700 section 4.1.3): to the registered
// URI that is, to the byte, the one of the request, or to the only one there is if the request has none.
func (c *Client) redirectURI(requested string) (string, bool) {
	if requested == "" {
		if len(c.RedirectURIs) != 1 {
			return "", false
		}
		return c.RedirectURIs[0], true
	}
	return requested, slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		return registered == requested || sameLoopback(registered, requested)
	})
}

// sameLoopback says whether two URIs on the loopback interface differ in the port at most, which an app does not choose
// (RFC 8252 section 7.3). The ways to write the host are not the same.
func sameLoopback(registered, requested string) bool {
	one, ok := cutLoopback(registered)
	other, ok2 := cutLoopback(requested)
	return ok && ok2 && one == other
}

// cutLoopback takes the port out of an http URI on the loopback interface. It parses nothing, so there are no two ways
// to understand it.
func cutLoopback(uri string) (rest string, ok bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]", "http://localhost"} {
		rest, found := strings.CutPrefix(uri, host)
		if !found {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			digits := len(port) - len(strings.TrimLeft(port, "0123456789"))
			number, err := strconv.ParseUint(port[:digits], 10, 16)
			if err != nil || number == 0 {
				return "", false
			}
			rest = port[digits:]
		}
		if rest == "" || rest[0] == '/' || rest[0] == '?' {
			return host + rest, true
		}
	}
	return "", false
}

// addQuery adds parameters to a URI, whose own stay as they are (RFC 6749 section 3.1.2).
func addQuery(uri string, parameters []parameter) string {
	var b strings.Builder
	b.WriteString(uri)
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
		if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
			separator = ""
		}
	}
	for _, p := range parameters {
		b.WriteString(separator + p.Name + "=" + url.QueryEscape(p.Value))
		separator = "&"
	}
	return b.String()
}

// addFragment makes the fragment of a URI, which has none, of parameters (RFC 6749 section 4.2.2).
func addFragment(uri string, parameters []parameter) string {
	return uri + "#" + strings.TrimPrefix(addQuery("", parameters), "?")
}

// parameter is one of an authorization response.
type parameter struct{ Name, Value string }
