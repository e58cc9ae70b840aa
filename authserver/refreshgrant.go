package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// GrantRefreshToken is the grant of RFC 6749 section 6.
const GrantRefreshToken = "refresh_token"

// refreshPrefix begins every refresh token.
const refreshPrefix = "prt_"

// refresh exchanges a refresh token for new tokens (RFC 6749 section 6). The successor has the scope of what the user has
// granted, whatever was asked for now, and ends when its predecessor would have.
func (s *Server) refresh(ctx context.Context, request *tokenRequest) (map[string]any, error) {
	form := request.form
	value := form["refresh_token"]
	if value == "" {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "refresh_token is missing")
	}
	if !strings.HasPrefix(value, refreshPrefix) {
		return nil, errInvalidGrant
	}
	digest := introspect.DigestOf(value)
	old, err := s.store.Token(ctx, digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errInvalidGrant
	}
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, old.Username)
	if err != nil {
		return nil, err
	}
	key, known := keyOf(&old)
	if old.Kind != store.Refresh || old.ClientID != request.client.ID || old.Revoked || !known {
		return nil, errInvalidGrant
	}
	if err := s.prove(ctx, request, key); err != nil {
		return nil, err
	}
	switch {
	case old.Rotated:
		return nil, s.punish(ctx, old.Family)
	case user == nil, !s.now().Before(old.ExpiresAt):
		return nil, errInvalidGrant
	}
	scope := old.Scope
	if requested := splitScope(form["scope"]); len(requested) > 0 {
		if scope = intersect(old.Scope, requested); len(scope) < len(slices.Compact(slices.Sorted(slices.Values(requested)))) {
			return nil, refuse(http.StatusBadRequest, "invalid_scope", "a requested scope was not granted")
		}
	}
	if request.audience, err = request.client.narrow(old.Audience, request.resources); err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_target", err.Error())
	}
	g := &grant{
		user: user, subject: old.Subject, family: old.Family, scope: old.Scope, audience: old.Audience,
		authTime: old.AuthTime, acr: old.ACR,
	}
	issued := s.issueAccess(request, g, scope)
	issued.addRefresh(g, old.ExpiresAt)
	if err := s.addIDToken(ctx, issued, request, g); err != nil {
		return nil, err
	}
	switch err := s.store.Rotate(ctx, digest, issued.tokens...); {
	case errors.Is(err, store.ErrConsumed):
		return nil, s.punish(ctx, old.Family)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrRevoked):
		return nil, errInvalidGrant
	case err != nil:
		return nil, err
	}
	return s.handOut(ctx, request, g, issued)
}
