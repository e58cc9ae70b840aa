package authserver

import (
	"net/http"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// scopeIntrospection is the scope of an access token whose bearer may ask about others.
const scopeIntrospection = "introspection"

// admitIntrospection lets those through who may ask about tokens (RFC 7662 section 2.1): clients that may introspect, and
// bearers of a token of that scope, which it returns beside the client that asks.
func (s *Server) admitIntrospection(r *http.Request, form map[string]string) (caller *Client, credential string, err error) {
	credential, ok := bearerToken(r)
	if !ok || isAmbiguous(r.Header["Authorization"], form) {
		caller, err = s.admitClient(r, form)
		return caller, "", err
	}
	record, _, err := s.activeToken(r.Context(), introspect.NewToken(credential))
	challenge := bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "authorization server"}
	switch {
	case err != nil:
		return nil, "", err
	case record == nil, !isFor(record, s.resources):
		challenge.Error = "invalid_token"
		return nil, "", &oauthError{
			status: http.StatusUnauthorized, code: challenge.Error, description: "the access token is not active", challenge: challenge.String(),
		}
	case !slices.Contains(record.Scope, scopeIntrospection):
		challenge.Error, challenge.Scope = "insufficient_scope", []string{scopeIntrospection}
		return nil, "", &oauthError{
			status: http.StatusForbidden, code: challenge.Error, description: "the access token may not introspect tokens", challenge: challenge.String(),
		}
	}
	if caller, err = s.client(r.Context(), record.ClientID); err == nil && caller == nil {
		caller = new(Client)
	}
	return caller, credential, err
}

func (s *Server) admitClient(r *http.Request, form map[string]string) (*Client, error) {
	client, err := s.authenticate(r, form, introspectionPath)
	switch {
	case err != nil:
		return nil, err
	case client.Auth == AuthNone:
		return nil, refuse(http.StatusUnauthorized, "invalid_client", "the client must authenticate")
	case !client.MayIntrospect:
		return nil, refuse(http.StatusForbidden, "unauthorized_client", "the client may not introspect tokens")
	}
	return client, nil
}

// bearerToken returns what stands behind the scheme Bearer in the first Authorization line, if it has that scheme.
func bearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.Trim(token, " "), strings.EqualFold(scheme, bearer.SchemeBearer)
}
