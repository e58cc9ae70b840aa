package authserver

import (
	"net/http"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/bearer"
)

// scopeIntrospection is the scope of an access token whose bearer may ask about others.
const scopeIntrospection = "introspection"

// admitIntrospection lets those through who may ask about tokens (RFC 7662 section 2.1): clients that may introspect, and
// bearers of a token of that scope, which it returns beside the client that asks.
func (s *Server) admitIntrospection(r *http.Request, form map[string]string) (caller *Client, credential string, err error) {
	presented, ok := presentedToken(r)
	if !ok || isAmbiguous(r.Header["Authorization"], form) {
		caller, err = s.admitClient(r, form)
		return caller, "", err
	}
	record, _, err := s.admitToken(r, introspectionPath, presented)
	switch {
	case err != nil:
		return nil, "", err
	case !isFor(record, s.resources):
		return nil, "", refusePresented(http.StatusUnauthorized, challengeOf(presented.Scheme, bearer.CodeInvalidToken), "the access token is not active")
	case !slices.Contains(record.Scope, scopeIntrospection):
		return nil, "", refuseScope(presented.Scheme, scopeIntrospection)
	}
	if caller, err = s.client(r.Context(), record.ClientID); err == nil && caller == nil {
		caller = new(Client)
	}
	return caller, presented.Token, err
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

// presentedToken returns what stands in the first Authorization line, if it has a scheme for access tokens.
func presentedToken(r *http.Request) (presented bearer.Credential, ok bool) {
	said, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	for _, scheme := range []string{bearer.SchemeBearer, bearer.SchemeDPoP} {
		if strings.EqualFold(said, scheme) {
			return bearer.Credential{Scheme: scheme, Token: strings.Trim(token, " "), In: bearer.InHeader}, true
		}
	}
	return bearer.Credential{}, false
}
