package authserver

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/portcullis-gateway/portcullis/bearer"
)

// GrantClientCredentials is the grant of RFC 6749 section 4.4, and GrantJWTBearer that of RFC 7523 section 2.1.
// GrantPassword and GrantImplicit are those of RFC 6749 sections 4.3 and 4.2, which RFC 9700 gives up.
const (
	GrantClientCredentials = "client_credentials"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	GrantPassword          = "password"
	GrantImplicit          = "implicit"
)

// grants are the grant types that the server knows.
var grants = []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials, GrantJWTBearer, GrantPassword, GrantImplicit}

// Client is a registered client (RFC 6749 section 2).
type Client struct {
	ID string
	// Secret authenticates the client: the secret itself, or its argon2id or bcrypt hash.
	Secret *Secret
	// Auth is how the client has to authenticate, one of ClientAuthMethods. Default: AuthSecretBasic or AuthSecretPost with a
	// Secret, AuthPrivateKeyJWT with Keys.
	Auth string
	// Keys are the public keys of a client that authenticates by AuthPrivateKeyJWT.
	Keys *KeySet
	// Name is for people.
	Name string
	// Grants are the grant types that the client may use.
	Grants []string
	// Scopes are the scopes that the client may have.
	Scopes []string
	// DefaultScopes are granted where the client asks for none. Default: all of Scopes.
	DefaultScopes []string
	// RedirectURIs are where authorization responses may be sent.
	RedirectURIs []string
	// Trusted says that users are not asked whether they consent.
	Trusted bool
	// Audiences are the resources that the client may ask tokens for (RFC 8707). One that may introspect asks in the name of
	// these. Default: none, and in the name of the server's resources.
	Audiences []string
	// IDTokenAlgorithm is what its ID tokens are signed by, ES256 or RS256 (OpenID Connect Registration section 2,
	// id_token_signed_response_alg). Default: ES256.
	IDTokenAlgorithm string
	// MayIntrospect says that the client is a protected resource that may ask about any token.
	MayIntrospect bool
	// DPoPBound says that the client gets no tokens but such as are bound to a key (dpop_bound_access_tokens, RFC 9449 section
	// 5.2).
	DPoPBound bool

	// former are the secrets before Secret that go on for a while.
	former []formerSecret
	// generation counts how often the client was disabled and enabled.
	generation uint64
	// use is nil for a client of the configuration.
	use *use
	// registered says that the client has registered itself, and so that nobody vouches for what it says.
	registered bool
}

func (c *Client) check() error {
	switch {
	case c.ID == "":
		return errors.New("needs an id")
	case !isVisible(c.ID):
		return errors.New("the id must be printable ASCII (RFC 6749 appendix A.1)")
	}
	if err := c.checkAuth(); err != nil {
		return err
	}
	if c.Trusted && c.Auth == AuthNone {
		return errors.New("a client without credentials cannot be trusted: anybody may call himself by its id")
	}
	for _, grant := range c.Grants {
		if !slices.Contains(grants, grant) {
			return fmt.Errorf("grant %q is not supported", grant)
		}
	}
	for _, scope := range append(slices.Clone(c.Scopes), c.DefaultScopes...) {
		if err := bearer.CheckScope(scope); err != nil {
			return fmt.Errorf("scope %q: %w", scope, err)
		}
	}
	for _, scope := range c.DefaultScopes {
		if !slices.Contains(c.Scopes, scope) {
			return fmt.Errorf("default scope %q is none of its scopes", scope)
		}
	}
	if len(c.DefaultScopes) == 0 {
		c.DefaultScopes = c.Scopes
	}
	if err := checkResources("audience", c.Audiences); err != nil {
		return err
	}
	if err := c.checkIDTokenAlgorithm(); err != nil {
		return err
	}
	return c.checkRedirects()
}

// title is what users know the client by.
func (c *Client) title() string {
	title := c.Name
	if title == "" {
		title = c.ID
	}
	if c.registered {
		title += " (unverified)"
	}
	return title
}

// may tells whether the client may use a grant.
func (c *Client) may(grant string) bool { return slices.Contains(c.Grants, grant) }

// grant decides which scopes the client gets of those that it asks for (RFC 6749 section 3.3). Asking for one that it
// may not have is an error, so that nobody takes a narrower token for the one that was wanted.
func (c *Client) grant(requested []string) ([]string, error) {
	if len(requested) == 0 {
		return c.DefaultScopes, nil
	}
	var granted []string
	for _, scope := range requested {
		if !slices.Contains(c.Scopes, scope) {
			return nil, errors.New("a requested scope is not one that the client may have")
		}
		if !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	return granted, nil
}

func isVisible(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < 0x20 || text[i] > 0x7E {
			return false
		}
	}
	return true
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
