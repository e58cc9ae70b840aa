package authserver

import (
	"errors"
	"net/http"
	"slices"

	"github.com/portcullis-gateway/portcullis/bearer"
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
		// RFC 6750 section 3.1: it has made no mistake, and is told of none.
		return nil, refusePresented(http.StatusUnauthorized, challengeOf(bearer.SchemeBearer, ""), "an access token is needed")
	case errors.Is(err, bearer.ErrInvalidToken):
		return nil, refusePresented(http.StatusUnauthorized, challengeOf(bearer.SchemeBearer, bearer.CodeInvalidToken), "the access token is not active")
	case err != nil:
		return nil, refusePresented(http.StatusBadRequest, challengeOf(bearer.SchemeBearer, bearer.CodeInvalidRequest), "the request must present one access token in one way")
	}
	record, user, err := s.admitToken(r, userInfoPath, credential)
	switch {
	case err != nil:
		return nil, err
	case user == nil,
		// A token for a resource is for that alone (RFC 8707 section 2).
		len(record.Audience) > 0 && !slices.Contains(record.Audience, s.issuer):
		return nil, refusePresented(http.StatusUnauthorized, challengeOf(credential.Scheme, bearer.CodeInvalidToken), "the access token is of no user, or not for this")
	case !slices.Contains(record.Scope, scopeOpenID):
		return nil, refuseScope(credential.Scheme, scopeOpenID)
	}
	return released(user, record.Scope), nil
}
