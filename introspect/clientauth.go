package introspect

import (
	"net/http"
	"net/url"
)

// ClientAuth signs the gateway in at an authorization server (RFC 6749 section 2.3). Exactly one is used for a
// request. Implementations are safe for concurrent use.
type ClientAuth interface {
	// Authenticate adds the credentials to the request's header or to the form that becomes its body.
	Authenticate(request *http.Request, form url.Values)
}

// ClientSecretBasic is HTTP Basic authentication with both parts form-encoded first (RFC 6749 section 2.3.1).
type ClientSecretBasic struct {
	ID     string
	Secret string
}

// Authenticate sets the Authorization header.
func (c ClientSecretBasic) Authenticate(request *http.Request, _ url.Values) {
	request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
}
