package authserver

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// judgeAuthentication finds what the client is to be told of what it asks about the authentication of the user (OpenID
// Connect Core section 3.1.2.1, RFC 9470 section 5).
func (s *Server) judgeAuthentication(ctx context.Context, a *authorization) error {
	if text := a.parameters["max_age"]; text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return &clientError{"invalid_request", "max_age must be a number of seconds"}
		}
		a.maxAge = new(time.Duration(seconds) * time.Second)
	}
	wanted := splitScope(a.parameters["acr_values"])
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(acr string) bool { return authenticationMethods[acr] != nil }) {
		return &clientError{"unmet_authentication_requirements", "the server offers none of acr_values"}
	}
	text := a.parameters["id_token_hint"]
	if text == "" {
		return nil
	}
	known, err := s.readHint(ctx, text)
	switch {
	case errors.Is(err, errNoHint):
		return &clientError{"invalid_request", err.Error()}
	case err != nil:
		return err
	case known.clientID != a.client.ID:
		return &clientError{"invalid_request", "id_token_hint is another client's"}
	}
	a.expected = known.subject
	return nil
}

// accepts says whether a session will do for a request, or the user has to sign in. Once that has happened, nobody asks
// again.
func (a *authorization) accepts(current *session, now time.Time) bool {
	switch {
	case current == nil, a.asks("login"), a.asks("select_account"):
		return false
	case a.maxAge != nil && (*a.maxAge == 0 || now.Sub(current.authTime) > *a.maxAge):
		return false
	}
	return a.isExpected(current.user)
}

// isExpected says whether a user is the one that the client expects, if it does.
func (a *authorization) isExpected(user *User) bool {
	return a.expected == "" || a.expected == user.Name
}

// likelyUser is what the login page has for a name.
func (a *authorization) likelyUser() string {
	if name := strings.TrimSpace(a.parameters["login_hint"]); name != "" {
		return name
	}
	return a.expected
}
