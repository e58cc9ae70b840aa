package authority

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/portcullis-gateway/portcullis/internal/jwks"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// JWTResponse has signed answers asked for (RFC 9701), and no others believed.
type JWTResponse struct {
	// Where the issuer publishes its keys, as a JWK set: https, or http on loopback. Default: where its metadata say.
	JWKS string `json:"jwks,omitempty"`
	// What `aud` of the answers has to contain. Default: the client id.
	Audience string `json:"audience,omitempty"`
}

func (c *Config) checkJWTResponse() error {
	switch {
	case c.JWTResponse == nil:
		return nil
	case c.Issuer == "":
		return errors.New("'jwt_response' needs 'issuer <url>': an answer is believed if it names its issuer")
	case c.signedAudience() == "":
		return errors.New("'jwt_response' needs 'client <id>', or 'audience <aud>' in its block: an answer is believed if it names whom it is for")
	case c.JWTResponse.JWKS != "":
		if err := introspect.CheckURL(c.JWTResponse.JWKS, c.InsecureHTTP); err != nil {
			return fmt.Errorf("jwt_response: jwks: %w", err)
		}
	}
	return nil
}

// signedAudience is whom signed answers are for.
func (c *Config) signedAudience() string {
	if c.Client == nil {
		return c.JWTResponse.Audience
	}
	return cmp.Or(c.JWTResponse.Audience, c.Client.ID)
}

// identity is what sets the answers of an authority apart by how they are asked for.
func (j *JWTResponse) identity() []string {
	if j == nil {
		return nil
	}
	return []string{"jwt_response", j.JWKS, j.Audience}
}

// signed says how signed answers are verified, or nil where they are plain. What is known of the keys outlives a reload.
func (a *App) signed(c *Config, authority *Authority, discovery *introspect.Discovery, transport http.RoundTripper, transportDigest string) (*introspect.Signed, error) {
	if c.JWTResponse == nil {
		return nil, nil
	}
	signed := &introspect.Signed{
		Issuer:    c.Issuer,
		Audience:  c.signedAudience(),
		KeysURL:   c.JWTResponse.JWKS,
		Discovery: discovery,
		Leeway:    authority.Leeway,
		Logger:    a.logger,
	}
	known, err := outliving[jwks.Known](a, keys, digest(signed.KeysURL, c.Issuer, transportDigest, strconv.FormatBool(c.InsecureHTTP)))
	if err != nil {
		return nil, err
	}
	signed.Known = known
	if signed.KeysURL == "" && discovery == nil {
		signed.Discovery, err = a.discovery(c, transport, transportDigest, true)
	}
	return signed, err
}

// Signs tells whether its answers are signed.
func (a *Authority) Signs() bool { return a.signing != nil }

// KeepSigned has its answers keep the JWT in which they come, from now on. What is remembered of an earlier configuration
// may be without.
func (a *Authority) KeepSigned() {
	if a.signing != nil {
		a.signing.KeepSigned()
	}
}
