package authserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// serveAuthorize is the authorization endpoint (RFC 6749 section 3.1).
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	values, err := authorizationValues(w, r)
	if err != nil {
		s.refuseAuthorization(w, r, nil, err)
		return
	}
	if r.Method == http.MethodPost {
		// A POST request from another site comes without the session. What follows a redirect has it.
		redirect(w, s.url(authorizePath)+"?"+values.Encode())
		return
	}
	a, err := s.findAuthorization(r.Context(), values, true)
	if err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	current, err := s.session(r)
	if err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	switch {
	case a.accepts(current, s.now()):
		s.proceed(w, r, a, current)
	case a.asks("none"):
		if err = s.use(r.Context(), a); err == nil {
			err = &clientError{"login_required", "the user has to sign in"}
		}
		s.refuseAuthorization(w, r, a, err)
	default:
		s.showLogin(w, r, a, http.StatusOK, a.likelyUser(), "")
	}
}

// proceed goes on with a request once it is known who the user is: to the consent page, or at once to the response if
// the user need not be asked.
func (s *Server) proceed(w http.ResponseWriter, r *http.Request, a *authorization, current *session) {
	scope := current.user.grantable(a.scope)
	if err := s.use(r.Context(), a); err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	if !a.isExpected(current.user) {
		s.refuseAuthorization(w, r, a, &clientError{"login_required", "somebody else has signed in"})
		return
	}
	if len(scope) == 0 && len(a.scope) > 0 {
		s.refuseAuthorization(w, r, a, &clientError{"invalid_scope", "the user can grant none of the requested scopes"})
		return
	}
	agreed, err := s.agreed(r.Context(), a, current.user, scope)
	switch {
	case err != nil:
	case agreed:
		err = s.issueCode(w, r, a, current, scope)
	case a.asks("none"):
		err = &clientError{"consent_required", "the user has to be asked"}
	default:
		var handle string
		if handle, err = s.putPending(r.Context(), a, current); err == nil {
			redirect(w, s.url(consentPath)+"?request="+handle)
		}
	}
	if err != nil {
		s.refuseAuthorization(w, r, a, err)
	}
}

// refuseAuthorization tells the client or, where there is none, the user what is wrong. Any error but the two kinds
// that are meant for them is a fault of the server.
func (s *Server) refuseAuthorization(w http.ResponseWriter, r *http.Request, a *authorization, err error) {
	var toClient *clientError
	var toUser *pageError
	switch {
	case errors.As(err, &toUser):
		s.writeErrorPage(w, toUser)
		return
	case errors.As(err, &toClient):
	default:
		if r.Context().Err() == nil {
			s.logger.ErrorContext(r.Context(), "authorization server cannot answer", slog.String("error", err.Error()))
		}
		toClient = &clientError{"temporarily_unavailable", "try again later"}
	}
	if a != nil && a.client.registered && !a.answered {
		// Anybody can have a client that sends whoever follows a link to a place of his choice (RFC 9700 section 4.11.2).
		s.writeErrorPage(w, &pageError{http.StatusBadRequest, "The application sent a request that cannot be answered (" + toClient.code + ": " + toClient.description + "). It has registered itself, and so it is you who is told, and not the application."})
		return
	}
	if a == nil {
		w.Header().Set("Retry-After", "1")
		s.writeErrorPage(w, &pageError{http.StatusServiceUnavailable, "This cannot be done right now. Try again in a moment."})
		return
	}
	s.respond(w, a, parameter{"error", toClient.code}, parameter{"error_description", toClient.description})
}

// codePrefix begins every authorization code, and pendingPrefix every handle of a request that waits for consent. Both
// are kept in the same way; neither can be taken for the other.
const (
	codePrefix    = "pac_"
	pendingPrefix = "par_"
)

// pendingTTL is how long a user may think about a request.
const pendingTTL = 10 * time.Minute

// grantedCode is what an authorization code was issued for.
type grantedCode struct {
	RedirectURI string   `json:"redirect_uri"`
	Challenge   string   `json:"code_challenge"`
	Subject     string   `json:"sub"`
	Scope       []string `json:"scope,omitempty"`
	Audience    []string `json:"aud,omitempty"`
	// Versions are those of the user and the client: after either was disabled, or the user's password changed, the code is
	// worth nothing.
	Versions string `json:"versions"`
	Nonce    string `json:"nonce,omitempty"`
	AuthTime int64  `json:"auth_time"`
	ACR      string `json:"acr"`
	// JKT is the key that the code is bound to, if it is (RFC 9449 section 10).
	JKT string `json:"dpop_jkt,omitempty"`
	// Consent names the consent without which the code is not good.
	Consent string `json:"consent"`
}

// issueCode sends an authorization code to the client, or the token that it asked for in its place.
func (s *Server) issueCode(w http.ResponseWriter, r *http.Request, a *authorization, current *session, scope []string) error {
	if a.implicit {
		return s.issueImplicitly(w, r, a, current, scope)
	}
	granted, err := json.Marshal(grantedCode{
		RedirectURI: a.redirectURI,
		Challenge:   a.parameters["code_challenge"],
		Subject:     current.user.Name,
		Scope:       scope,
		Audience:    a.audience,
		Versions:    versionsOf(a.client, current.user),
		Nonce:       a.parameters["nonce"],
		AuthTime:    current.authTime.Unix(),
		ACR:         current.acr,
		JKT:         a.parameters["dpop_jkt"],
		Consent:     a.consent,
	})
	if err != nil {
		return err
	}
	code, expires := newToken(codePrefix), s.now().Add(s.codeTTL)
	if err := s.putCode(r.Context(), current, scope, store.Code{
		Digest:    introspect.DigestOf(code),
		Family:    rand.Text(),
		ClientID:  a.client.ID,
		ExpiresAt: expires,
		KeepUntil: expires.Add(s.refreshTokenTTL + s.accessTokenTTL),
		Request:   granted,
	}); err != nil {
		return err
	}
	s.respond(w, a, parameter{"code", code})
	return nil
}

// pendingRequest is an authorization request that waits for the consent of one session's user.
type pendingRequest struct {
	Parameters map[string]string `json:"parameters"`
	Resources  []string          `json:"resources,omitempty"`
	Session    introspect.Digest `json:"session"`
}

func (s *Server) putPending(ctx context.Context, a *authorization, current *session) (handle string, err error) {
	record, err := json.Marshal(pendingRequest{a.parameters, a.resources, current.digest})
	if err != nil {
		return "", err
	}
	handle = newToken(pendingPrefix)
	expires := s.now().Add(pendingTTL)
	return handle, s.store.PutCode(ctx, store.Code{
		Digest: introspect.DigestOf(handle), ClientID: a.client.ID, ExpiresAt: expires, KeepUntil: expires, Request: record,
	})
}
