package authserver

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// accessPrefix begins every access token, so that one that was leaked is recognised by whoever scans for secrets, and
// a token of another kind is not looked up.
const accessPrefix = "pat_"

// TokenPrefix begins every access token.
const TokenPrefix = accessPrefix

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
	form, resources, err := readRequest(w, r)
	if err != nil {
		return nil, err
	}
	client, err := s.authenticate(r, form, tokenPath)
	if err != nil {
		return nil, err
	}
	kind := form["grant_type"]
	switch {
	case kind == "":
		return nil, refuse(http.StatusBadRequest, "invalid_request", "grant_type is missing")
	case !slices.Contains(s.grants(), kind):
		return nil, refuse(http.StatusBadRequest, "unsupported_grant_type", "grant_type must be one of "+strings.Join(s.grants(), ", "))
	case !client.may(kind):
		return nil, refuse(http.StatusBadRequest, "unauthorized_client", "the client may not use this grant")
	}
	request := &tokenRequest{client: client, form: form, resources: resources, proofs: r.Header["Dpop"]}
	switch kind {
	case GrantAuthorizationCode:
		return s.exchangeCode(r.Context(), request)
	case GrantRefreshToken:
		return s.refresh(r.Context(), request)
	}
	scope, err := client.grant(splitScope(form["scope"]))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_scope", err.Error())
	}
	if request.audience, err = pick(client.Audiences, resources); err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_target", err.Error())
	}
	switch kind {
	case GrantJWTBearer:
		return s.exchangeAssertion(r.Context(), request, scope)
	case GrantPassword:
		return s.exchangePassword(r, request, scope)
	}
	if err := s.prove(r.Context(), request, ""); err != nil {
		return nil, err
	}
	// RFC 6749 section 4.4.3: without a refresh token.
	g := &grant{family: rand.Text(), scope: scope}
	return s.issue(r.Context(), request, g, s.issueAccess(request, g, scope))
}
