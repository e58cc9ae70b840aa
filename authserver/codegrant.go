package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// GrantAuthorizationCode is the grant of RFC 6749 section 4.1.
const GrantAuthorizationCode = "authorization_code"

// errInvalidGrant refuses a code or a refresh token. It says to nobody which of its faults it has.
var errInvalidGrant = refuse(http.StatusBadRequest, "invalid_grant", "the code or refresh token is invalid, expired, used, revoked, or another client's, or does not fit the request")

// exchangeCode exchanges an authorization code for tokens (RFC 6749 section 4.1.3).
func (s *Server) exchangeCode(ctx context.Context, request *tokenRequest) (map[string]any, error) {
	form := request.form
	value := form["code"]
	if value == "" {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "code is missing")
	}
	if !strings.HasPrefix(value, codePrefix) {
		return nil, errInvalidGrant
	}
	digest := introspect.DigestOf(value)
	code, err := s.store.Code(ctx, digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errInvalidGrant
	}
	if err != nil {
		return nil, err
	}
	var granted grantedCode
	if err := json.Unmarshal(code.Request, &granted); err != nil {
		return nil, err
	}
	redirectURI, sent := form["redirect_uri"]
	user, err := s.user(ctx, granted.Subject)
	if err != nil {
		return nil, err
	}
	switch {
	case code.ClientID != request.client.ID,
		sent && redirectURI != granted.RedirectURI,
		!verifies(form["code_verifier"], granted.Challenge),
		user == nil || granted.Versions != versionsOf(request.client, user):
		return nil, errInvalidGrant
	}
	if err := s.prove(ctx, request, granted.JKT); err != nil {
		return nil, err
	}
	switch {
	case code.Redeemed:
		return nil, s.punish(ctx, code.Family)
	case !s.now().Before(code.ExpiresAt):
		return nil, errInvalidGrant
	}
	if request.audience, err = request.client.narrow(granted.Audience, request.resources); err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_target", err.Error())
	}
	g := &grant{
		user: user, subject: user.Name, family: code.Family, scope: granted.Scope, audience: granted.Audience,
		nonce: granted.Nonce, authTime: granted.AuthTime, acr: granted.ACR,
	}
	issued := s.issueAccess(request, g, g.scope)
	if request.client.may(GrantRefreshToken) {
		issued.addRefresh(g, s.now().Add(s.refreshTokenTTL))
	}
	if err := s.addIDToken(ctx, issued, request, g); err != nil {
		return nil, err
	}
	switch err := s.store.Redeem(ctx, digest, issued.tokens...); {
	case errors.Is(err, store.ErrConsumed):
		return nil, s.punish(ctx, code.Family)
	case errors.Is(err, store.ErrNotFound):
		return nil, errInvalidGrant
	case err != nil:
		return nil, err
	}
	if err := s.checkConsent(ctx, granted.Consent, code.Family); err != nil {
		return nil, err
	}
	return s.handOut(ctx, request, g, issued)
}

// punish revokes all tokens of an authorization whose code or refresh token was used twice, since one of the two users
// has stolen it (RFC 9700 sections 4.14.2, RFC 6749 section 4.1.2).
func (s *Server) punish(ctx context.Context, family string) error {
	s.logger.WarnContext(ctx, "a code or refresh token was used again; its tokens are revoked")
	if err := s.store.RevokeFamily(ctx, family); err != nil {
		return err
	}
	return errInvalidGrant
}
