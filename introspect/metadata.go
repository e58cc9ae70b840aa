package introspect

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Metadata is what an authorization server publishes of itself (RFC 8414 section 2), as far as a gateway needs it.
type Metadata struct {
	// Issuer is the one that was asked for, to the letter.
	Issuer string
	// IntrospectionEndpoint, TokenEndpoint and JWKSURI are empty where the server has none.
	IntrospectionEndpoint string
	TokenEndpoint         string
	JWKSURI               string
}

// CheckIssuer says what is wrong with an issuer identifier (RFC 8414 section 2): it is a URL to which tokens may be sent,
// without a query.
func CheckIssuer(issuer string, insecureHTTP bool) error {
	if err := CheckURL(issuer, insecureHTTP); err != nil {
		return err
	}
	if strings.Contains(issuer, "?") {
		return errors.New("the issuer must not have a query (RFC 8414 section 2)")
	}
	return nil
}

// metadataURLs are the places where the metadata of an issuer may be: the well-known URI of RFC 8414 section 3.1, whose
// suffix stands between host and path, and the one of OpenID Connect Discovery 1.0 section 4.1, behind the path.
func metadataURLs(issuer string) ([]string, error) {
	parsed, err := url.Parse(issuer)
	if err != nil {
		return nil, errors.New("the issuer is not a URL")
	}
	path := strings.TrimSuffix(parsed.EscapedPath(), "/")
	origin := parsed.Scheme + "://" + parsed.Host
	return []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration",
	}, nil
}

// parseMetadata reads a metadata document. Its issuer has to be the one that was asked for, code point for code point
// (RFC 8414 section 3.3), and its endpoints have to be as safe as the issuer: whoever can write this document decides who
// sees tokens.
func parseMetadata(body []byte, issuer string, insecureHTTP bool) (*Metadata, error) {
	members, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", ErrMalformed, err)
	}
	if got, _ := members.get("issuer"); got != issuer {
		return nil, fmt.Errorf("%w: metadata: its issuer is another one (RFC 8414 section 3.3)", ErrMalformed)
	}
	metadata := &Metadata{Issuer: issuer}
	for _, endpoint := range []struct {
		name string
		into *string
	}{
		{"introspection_endpoint", &metadata.IntrospectionEndpoint},
		{"token_endpoint", &metadata.TokenEndpoint},
		{"jwks_uri", &metadata.JWKSURI},
	} {
		value, _ := members.get(endpoint.name)
		text, isString := value.(string)
		switch {
		case value == nil:
			continue
		case !isString || CheckURL(text, insecureHTTP) != nil,
			isHTTPS(issuer) && !isHTTPS(text):
			return nil, fmt.Errorf("%w: metadata: %s is no URL that is as safe as the issuer", ErrMalformed, endpoint.name)
		}
		*endpoint.into = text
	}
	return metadata, nil
}

// isHTTPS compares the scheme of a URL, without regard to case (RFC 3986 section 3.1).
func isHTTPS(text string) bool {
	scheme, _, _ := strings.Cut(text, ":")
	return strings.EqualFold(scheme, "https")
}
