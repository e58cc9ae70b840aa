package authserver

import (
	"context"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// tokenRequest is a request to the token endpoint of a client that has authenticated (RFC 6749 section 3.2).
type tokenRequest struct {
	client *Client
	form   map[string]string
	// resources are those that the request names, and audience those that the access token is for (RFC 8707).
	resources, audience []string
	// proofs are the lines of the header DPoP, and key is the one that they prove possession of, once that is known.
	proofs []string
	key    string
}

// grant is what a client was authorized to do: what its tokens are made of.
type grant struct {
	// user is who authorized it, or nil.
	user *User
	// subject is who the tokens speak of: the user, the subject of an assertion, or nobody but the client.
	subject string
	// family names the tokens that come of this grant.
	family string
	// scope is all that was granted, and audience the resources that it was granted for, if it was for particular ones.
	scope, audience []string
	// nonce is that of the authorization request, authTime when the user signed in, and acr how.
	nonce    string
	authTime int64
	acr      string
}

// issuance is a response of the token endpoint, and the tokens in it (RFC 6749 section 5.1).
type issuance struct {
	tokens  []store.Token
	members map[string]any
	// refreshConfirmation is what a refresh token is bound to. A confidential client has credentials instead (RFC 9449
	// section 5).
	refreshConfirmation map[string]string
}

// issueAccess makes an access token for a grant, of a part of its scope: as much as the client and the user may have now.
func (s *Server) issueAccess(request *tokenRequest, g *grant, scope []string) *issuance {
	value, now := newToken(accessPrefix), s.now()
	token := store.Token{
		Digest:    introspect.DigestOf(value),
		Kind:      store.Access,
		Family:    g.family,
		ClientID:  request.client.ID,
		Subject:   g.subject,
		Scope:     intersect(scope, request.client.Scopes),
		Audience:  request.audience,
		AuthTime:  g.authTime,
		ACR:       g.acr,
		IssuedAt:  now,
		ExpiresAt: now.Add(s.accessTokenTTL),

		Confirmation: confirmationOf(request.key),
	}
	if g.user != nil {
		token.Username = g.user.Name
		token.Scope = g.user.grantable(token.Scope)
	}
	issued := &issuance{
		tokens: []store.Token{token},
		members: map[string]any{
			"access_token": value,
			"token_type":   schemeOf(&token),
			"expires_in":   int64(s.accessTokenTTL.Seconds()),
		},
	}
	if request.client.Auth == AuthNone {
		issued.refreshConfirmation = token.Confirmation
	}
	if len(token.Scope) > 0 {
		issued.members["scope"] = strings.Join(token.Scope, " ")
	}
	return issued
}

// addRefresh adds a refresh token for the whole grant beside the access token.
func (i *issuance) addRefresh(g *grant, expires time.Time) {
	value := newToken(refreshPrefix)
	refresh := i.tokens[0]
	refresh.Digest, refresh.Kind, refresh.ExpiresAt = introspect.DigestOf(value), store.Refresh, expires
	refresh.Scope, refresh.Audience = g.scope, g.audience
	refresh.Confirmation = i.refreshConfirmation
	i.tokens = append(i.tokens, refresh)
	i.members["refresh_token"] = value
}

// issue keeps the tokens of a grant that nothing is used up for.
func (s *Server) issue(ctx context.Context, request *tokenRequest, g *grant, issued *issuance) (map[string]any, error) {
	if err := s.store.Issue(ctx, issued.tokens...); err != nil {
		return nil, err
	}
	return s.handOut(ctx, request, g, issued)
}
