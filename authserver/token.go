package authserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// accessPrefix begins every access token, so that one that was leaked is recognised by whoever scans for secrets, and
// a token of another kind is not looked up.
const accessPrefix = "pat_"

// newToken returns 256 random bits behind a prefix, as a token68.
func newToken(prefix string) string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(random)
}

// serveToken is the token endpoint (RFC 6749 section 3.2).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	members, err := s.exchange(w, r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, members)
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, err
	}
	client, err := s.authenticate(r, form, tokenPath)
	if err != nil {
		return nil, err
	}
	grant := form["grant_type"]
	switch {
	case grant == "":
		return nil, refuse(http.StatusBadRequest, "invalid_request", "grant_type is missing")
	case !slices.Contains(s.grants(), grant):
		return nil, refuse(http.StatusBadRequest, "unsupported_grant_type", "grant_type must be one of "+strings.Join(s.grants(), ", "))
	case !client.may(grant):
		return nil, refuse(http.StatusBadRequest, "unauthorized_client", "the client may not use this grant")
	case form["resource"] != "":
		// RFC 8707 section 2: a token for an audience that nobody configured must not pass for one that was asked for.
		return nil, refuse(http.StatusBadRequest, "invalid_target", "the server issues no tokens for particular resources")
	}
	switch grant {
	case GrantAuthorizationCode:
		return s.exchangeCode(r.Context(), client, form)
	case GrantRefreshToken:
		return s.refresh(r.Context(), client, form)
	}
	scope, err := client.grant(splitScope(form["scope"]))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_scope", err.Error())
	}
	if form["grant_type"] == GrantJWTBearer {
		return s.exchangeAssertion(r.Context(), client, form, scope)
	}
	return s.issue(r.Context(), client, "", scope)
}

// issue makes an access token without a refresh token (RFC 6749 section 4.4.3, RFC 7521 section 4.1), of the subject, or
// of the client's own if there is none.
func (s *Server) issue(ctx context.Context, client *Client, subject string, scope []string) (map[string]any, error) {
	value := newToken(accessPrefix)
	now := s.now()
	err := s.store.Issue(ctx, store.Token{
		Digest:    introspect.DigestOf(value),
		Kind:      store.Access,
		Family:    rand.Text(),
		ClientID:  client.ID,
		Subject:   subject,
		Scope:     scope,
		IssuedAt:  now,
		ExpiresAt: now.Add(s.accessTokenTTL),
	})
	if err != nil {
		return nil, err
	}
	members := map[string]any{
		"access_token": value,
		"token_type":   "Bearer",
		"expires_in":   int64(s.accessTokenTTL.Seconds()),
	}
	if len(scope) > 0 {
		members["scope"] = strings.Join(scope, " ")
	}
	return members, nil
}
