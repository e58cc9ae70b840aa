package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// GrantRefreshToken is the grant of RFC 6749 section 6.
const GrantRefreshToken = "refresh_token"

// refreshPrefix begins every refresh token.
const refreshPrefix = "prt_"

// userGrant is a response of the token endpoint, and the tokens in it.
type userGrant struct {
	tokens  []store.Token
	members map[string]any
}

// newGrant makes an access token for a user, and a refresh token if the client may use one.
func (s *Server) newGrant(client *Client, user *User, family string, scope []string) userGrant {
	g := s.newAccess(client, user, family, scope)
	if client.may(GrantRefreshToken) {
		g.addRefresh(g.tokens[0], scope, s.now().Add(s.refreshTokenTTL))
	}
	return g
}

// newAccess makes an access token for a user, of those scopes that the client and the user may have now.
func (s *Server) newAccess(client *Client, user *User, family string, scope []string) userGrant {
	value, now := newToken(accessPrefix), s.now()
	scope = user.grantable(intersect(scope, client.Scopes))
	g := userGrant{
		tokens: []store.Token{{
			Digest:    introspect.DigestOf(value),
			Kind:      store.Access,
			Family:    family,
			ClientID:  client.ID,
			Subject:   user.Name,
			Username:  user.Name,
			Scope:     scope,
			IssuedAt:  now,
			ExpiresAt: now.Add(s.accessTokenTTL),
		}},
		members: map[string]any{
			"access_token": value,
			"token_type":   "Bearer",
			"expires_in":   int64(s.accessTokenTTL.Seconds()),
		},
	}
	if len(scope) > 0 {
		g.members["scope"] = strings.Join(scope, " ")
	}
	return g
}

// addRefresh adds a refresh token beside an access token.
func (g *userGrant) addRefresh(access store.Token, scope []string, expires time.Time) {
	value := newToken(refreshPrefix)
	refresh := access
	refresh.Digest, refresh.Kind, refresh.Scope, refresh.ExpiresAt = introspect.DigestOf(value), store.Refresh, scope, expires
	g.tokens = append(g.tokens, refresh)
	g.members["refresh_token"] = value
}

// refresh exchanges a refresh token for new tokens (RFC 6749 section 6). The successor has the scope of what the user has
// granted, whatever was asked for now, and ends when its predecessor would have.
func (s *Server) refresh(ctx context.Context, client *Client, form map[string]string) (map[string]any, error) {
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
	user := s.users[old.Subject]
	switch {
	case old.Kind != store.Refresh, old.ClientID != client.ID, old.Revoked:
		return nil, errInvalidGrant
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
	issued := s.newAccess(client, user, old.Family, scope)
	issued.addRefresh(issued.tokens[0], old.Scope, old.ExpiresAt)
	switch err := s.store.Rotate(ctx, digest, issued.tokens...); {
	case errors.Is(err, store.ErrConsumed):
		return nil, s.punish(ctx, old.Family)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrRevoked):
		return nil, errInvalidGrant
	case err != nil:
		return nil, err
	}
	return issued.members, nil
}
