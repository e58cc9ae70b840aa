package introspect

import (
	"net/http"
	"net/url"
)

// ClientAuth signs the gateway in at an authorization server (RFC 6749 section 2.3). Exactly one is used for a
// request. Implementations are safe for concurrent use.
type ClientAuth interface {
	// Authenticate adds the credentials to the request's header or to the form that becomes its body. It may have to ask
	// for them first, for which the request's context is the bound; its errors are those of an Introspector.
	Authenticate(request *http.Request, form url.Values) error
}

// ClientSecretBasic is HTTP Basic authentication with both parts form-encoded first (RFC 6749 section 2.3.1).
type ClientSecretBasic struct {
	ID     string
	Secret string
	// Raw leaves both parts as they are, for the many servers that do not decode them.
	Raw bool
}

// Authenticate sets the Authorization header.
func (c ClientSecretBasic) Authenticate(request *http.Request, _ url.Values) error {
	if c.Raw {
		request.SetBasicAuth(c.ID, c.Secret)
		return nil
	}
	request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	return nil
}

// Distinct says whether encoding makes a difference for these credentials.
func (c ClientSecretBasic) Distinct() bool {
	return url.QueryEscape(c.ID) != c.ID || url.QueryEscape(c.Secret) != c.Secret
}

// ClientSecretPost sends the credentials in the body (RFC 6749 section 2.3.1).
type ClientSecretPost struct {
	ID     string
	Secret string
}

// Authenticate sets the parameters client_id and client_secret.
func (c ClientSecretPost) Authenticate(_ *http.Request, form url.Values) error {
	form.Set("client_id", c.ID)
	form.Set("client_secret", c.Secret)
	return nil
}

// BearerToken presents an access token of the gateway's own (RFC 7662 section 2.1).
type BearerToken string

// Authenticate sets the Authorization header.
func (t BearerToken) Authenticate(request *http.Request, _ url.Values) error {
	request.Header.Set("Authorization", "Bearer "+string(t))
	return nil
}

// NoAuth sends no credentials, only the id of a client, if it has one: to a server that wants none, or to one that sees
// them in the TLS handshake (RFC 8705 section 2).
type NoAuth struct{ ID string }

// Authenticate sets the parameter client_id.
func (n NoAuth) Authenticate(_ *http.Request, form url.Values) error {
	if n.ID != "" {
		form.Set("client_id", n.ID)
	}
	return nil
}
