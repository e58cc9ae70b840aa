package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// serveIntrospection is the introspection endpoint (RFC 7662 section 2), open to clients that may introspect, and to bearers of an access token
// with the scope `introspection`.
func (s *Server) serveIntrospection(w http.ResponseWriter, r *http.Request) {
	members, err := s.answer(w, r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, members)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, err
	}
	caller, credential, err := s.admitIntrospection(r, form)
	if err != nil {
		return nil, err
	}
	switch token := form["token"]; token {
	case "":
		return nil, refuse(http.StatusBadRequest, "invalid_request", "token is missing")
	case credential:
		// A token that lets somebody ask vouches for others, not for itself.
		return inactive(), nil
	default:
		return s.members(r.Context(), introspect.NewToken(token), s.heardBy(caller))
	}
}

// members says what the server knows of a token (RFC 7662 section 2.2) to somebody who asks in the name of resources. Of
// a token that is unknown, expired, revoked, for other resources, or no access token, nobody learns which of these it is.
func (s *Server) members(ctx context.Context, token introspect.Token, resources []string) (map[string]any, error) {
	record, user, err := s.activeToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if record == nil || !isFor(record, resources) {
		return inactive(), nil
	}
	members := map[string]any{
		"active":     true,
		"iss":        s.issuer,
		"client_id":  record.ClientID,
		"token_type": schemeOf(record),
		"iat":        record.IssuedAt.Unix(),
		"exp":        record.ExpiresAt.Unix(),
		// A token without a resource owner has its client as subject (RFC 9068 section 2.2 has the same rule).
		"sub": record.ClientID,
	}
	if record.Subject != "" {
		members["sub"] = record.Subject
	}
	if user != nil {
		members["username"] = user.Name
		for name, values := range user.Claims {
			members[name] = claimValue(name, values)
		}
	}
	if len(record.Scope) > 0 {
		members["scope"] = strings.Join(record.Scope, " ")
	}
	if len(record.Audience) > 0 {
		members["aud"] = record.Audience
	}
	if record.AuthTime > 0 { // RFC 9470 section 6.2
		members["auth_time"], members["acr"] = record.AuthTime, record.ACR
	}
	if len(record.Confirmation) > 0 {
		members["cnf"] = record.Confirmation
	}
	return members, nil
}

func inactive() map[string]any { return map[string]any{"active": false} }

// activeToken returns the record of an access token that is active, and its user if it has one, or nil.
func (s *Server) activeToken(ctx context.Context, token introspect.Token) (*store.Token, *User, error) {
	if !strings.HasPrefix(token.Value(), accessPrefix) {
		return nil, nil, nil
	}
	record, err := s.store.Token(ctx, token.Digest())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	case record.Kind != store.Access, record.Revoked, !s.now().Before(record.ExpiresAt):
		return nil, nil, nil
	}
	client, user, err := s.parties(ctx, record.ClientID, record.Username)
	if err != nil || client == nil || user == nil && record.Username != "" {
		return nil, nil, err
	}
	return &record, user, nil
}

// Introspect answers in the same process what the introspection endpoint answers over HTTP, in the name of the server's
// resources. The only fault that it can have is its store's, which wraps introspect.ErrUnavailable.
func (s *Server) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	askedAt := s.now()
	members, err := s.members(ctx, token, s.resources)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", introspect.ErrUnavailable, err)
	}
	return introspect.AnswerOf(members, askedAt)
}

// Confirm judges the answers of next, which may be remembered ones, by the clients, users and resources that there are
// now: one that was taken out of the configuration has no active tokens from the next request on.
func (s *Server) Confirm(next introspect.Introspector) introspect.Introspector {
	return confirmed{s, next}
}

type confirmed struct {
	server *Server
	next   introspect.Introspector
}

func (c confirmed) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	answer, err := c.next.Introspect(ctx, token)
	if err != nil || !answer.Active {
		return answer, err
	}
	client, user, err := c.server.parties(ctx, answer.ClientID(), answer.Username())
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", introspect.ErrUnavailable, err)
	case client == nil, user == nil && answer.Username() != "",
		answer.Has("aud") && !slices.ContainsFunc(c.server.resources, answer.HasAudience):
		return answer.Inactive(), nil
	case user != nil && answer.Source != introspect.Miss && answer.AskedAt.Before(user.changedAt.Add(changeTakes)):
		// It may say what was true of the user before.
		return c.next.Introspect(ctx, token.AskedSince(c.server.now()))
	}
	return answer, nil
}

// changeTakes is how long after a change of a user somebody may still have read what he was before.
const changeTakes = time.Second
