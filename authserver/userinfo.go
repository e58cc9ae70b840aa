package authserver

import (
	"errors"
	"net/http"
	"slices"

	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// maxAccessToken bounds a token that is presented, in bytes. Those of this server are shorter.
const maxAccessToken = 8 << 10

// tokenPlaces are where a token may be presented (RFC 6750 sections 2.1 and 2.2).
var tokenPlaces = bearer.Places{{In: bearer.InHeader}, {In: bearer.InForm, Name: "access_token"}}

// serveUserInfo is the UserInfo endpoint (OpenID Connect Core section 5.3), a protected resource of this server's own.
func (s *Server) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	if answerPreflight(w, r, "GET, POST", "Authorization, Content-Type, DPoP") {
		return
	}
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce")
	claims, err := s.userInfo(w, r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, claims)
}

func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return nil, refuse(http.StatusMethodNotAllowed, "invalid_request", "the method must be GET or POST")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	credential, err := tokenPlaces.Take(r, maxAccessToken)
	switch {
	case errors.Is(err, bearer.ErrNoToken):
		return nil, refuseToken(http.StatusUnauthorized, "", "an access token is needed")
	case errors.Is(err, bearer.ErrInvalidToken):
		return nil, refuseToken(http.StatusUnauthorized, bearer.CodeInvalidToken, "the access token is not active")
	case err != nil:
		return nil, refuseToken(http.StatusBadRequest, bearer.CodeInvalidRequest, "the request must present one access token in one way")
	}
	record, user, err := s.activeToken(r.Context(), introspect.NewToken(credential.Token))
	switch {
	case err != nil:
		return nil, err
	case record == nil, user == nil,
		// A token that is bound to a key is none without a proof (RFC 9449 section 7.2), and one for a resource is for that
		// alone (RFC 8707 section 2).
		len(record.Confirmation) > 0, credential.Scheme != bearer.SchemeBearer,
		len(record.Audience) > 0 && !slices.Contains(record.Audience, s.issuer):
		return nil, refuseToken(http.StatusUnauthorized, bearer.CodeInvalidToken, "the access token is not active, of no user, or not for this")
	case !slices.Contains(record.Scope, scopeOpenID):
		return nil, refuseToken(http.StatusForbidden, bearer.CodeInsufficientScope, "the access token has not the scope openid")
	}
	return released(user, record.Scope), nil
}

// refuseToken refuses a request for a protected resource (RFC 6750 section 3). One without a token has made no mistake,
// and is told of none.
func refuseToken(status int, code, description string) error {
	challenge := bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "authorization server", Error: code}
	if code == bearer.CodeInsufficientScope {
		challenge.Scope = []string{scopeOpenID}
	}
	return &oauthError{status: status, code: code, description: description, challenge: challenge.String()}
}
