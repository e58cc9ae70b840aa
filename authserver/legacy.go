package authserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// setLegacy demands that no client has a grant that the operator has not allowed by name.
func (s *Server) setLegacy(config Config) error {
	s.legacyPassword, s.legacyImplicit = config.LegacyPassword, config.LegacyImplicit
	for _, client := range s.clients {
		if err := s.checkLegacy(client); err != nil {
			return fmt.Errorf("client %q: %w", client.ID, err)
		}
	}
	return nil
}

func (s *Server) checkLegacy(client *Client) error {
	for grant, allowed := range map[string]bool{GrantPassword: s.legacyPassword, GrantImplicit: s.legacyImplicit} {
		if client.may(grant) && !allowed {
			return fmt.Errorf("the grant %s is not safe (RFC 9700): it needs 'legacy %s'", grant, grant)
		}
	}
	return nil
}

// describeLegacy says in the metadata what the operator has allowed.
func (s *Server) describeLegacy(members map[string]any) {
	if s.legacyImplicit {
		members["grant_types_supported"] = append(s.grants(), GrantImplicit)
		members["response_types_supported"] = []string{"code", "token"}
		members["response_modes_supported"] = []string{"query", "fragment", "form_post"}
	}
}

// exchangePassword issues tokens to a client that has the name and the password of a user (RFC 6749 section 4.3). Guessing
// is slowed down as it is on the login page, together with what is tried there.
func (s *Server) exchangePassword(r *http.Request, request *tokenRequest, scope []string) (map[string]any, error) {
	name, password := request.form["username"], request.form["password"]
	switch {
	case name == "" || password == "":
		return nil, refuse(http.StatusBadRequest, "invalid_request", "username or password is missing")
	case len(name) > maxName || len(password) > maxPassword:
		return nil, refuse(http.StatusBadRequest, "invalid_grant", wrongPassword)
	}
	tried, wait := s.state.logins.begin(s.clientAddress(r), name)
	if wait > 0 {
		return nil, tooMany(wait)
	}
	user, err := s.signIn(r.Context(), name, password)
	switch {
	case err != nil:
		tried.undo() // nobody knows whether it would have failed
		return nil, err
	case user == nil:
		s.logger.WarnContext(r.Context(), "sign-in failed", slog.String("address", s.clientAddress(r)))
		return nil, refuse(http.StatusBadRequest, "invalid_grant", wrongPassword)
	}
	tried.succeeded()
	granted := user.grantable(scope)
	if len(granted) == 0 && len(scope) > 0 {
		return nil, refuse(http.StatusBadRequest, "invalid_scope", "the user can grant none of the requested scopes")
	}
	if err := s.prove(r.Context(), request, ""); err != nil {
		return nil, err
	}
	g := &grant{user: user, subject: user.Name, family: rand.Text(), scope: granted, audience: request.audience, authTime: s.now().Unix(), acr: acrPassword}
	issued := s.issueAccess(request, g, granted)
	if request.client.may(GrantRefreshToken) {
		issued.addRefresh(g, s.now().Add(s.refreshTokenTTL))
	}
	return s.issue(r.Context(), request, g, issued)
}

const wrongPassword = "the user name or the password is wrong"

// issueImplicitly sends an access token to the client, where it asked for one in the place of a code (RFC 6749 section
// 4.2.2): without a refresh token.
func (s *Server) issueImplicitly(w http.ResponseWriter, r *http.Request, a *authorization, current *session, scope []string) error {
	request := &tokenRequest{client: a.client, audience: a.audience}
	g := &grant{user: current.user, subject: current.user.Name, family: rand.Text(), scope: scope, authTime: current.authTime.Unix(), acr: current.acr}
	members, err := s.issue(r.Context(), request, g, s.issueAccess(request, g, scope))
	if err != nil {
		return err
	}
	if err := s.noteIssued(r.Context(), current, scope, g.family, introspect.Digest{}, s.now().Add(s.accessTokenTTL)); err != nil {
		return errors.Join(err, s.store.RevokeFamily(context.WithoutCancel(r.Context()), g.family))
	}
	switch err := s.checkConsent(r.Context(), a.consent, g.family); {
	case errors.Is(err, errInvalidGrant):
		return &clientError{"access_denied", "the user has withdrawn the consent"}
	case err != nil:
		return err
	}
	var parameters []parameter
	for _, name := range []string{"access_token", "token_type", "expires_in", "scope"} {
		if value, ok := members[name]; ok {
			parameters = append(parameters, parameter{name, fmt.Sprint(value)})
		}
	}
	s.respond(w, a, parameters...)
	return nil
}
