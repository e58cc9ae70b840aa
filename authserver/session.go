package authserver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// session is a browser that a user has signed in with.
type session struct {
	digest introspect.Digest
	cookie string
	user   *User
	// id stays the same when the user signs in again.
	id string
	// authTime is when the user signed in last, and acr how.
	authTime time.Time
	acr      string
}

// sessionState is what the store keeps of a session, beside its user.
type sessionState struct {
	// Version is that of the user when he signed in: another one ends the session.
	Version  string `json:"password"`
	ID       string `json:"id"`
	AuthTime int64  `json:"auth_time"`
	ACR      string `json:"acr"`
	// Device is what the user signed in with.
	Device string `json:"device"`
}

// sessionCookie is the form of a cookie's value.
var sessionCookie = regexp.MustCompile(`^pse_[A-Za-z0-9_-]{43}$`)

const sessionPrefix = "pse_"

// cookieName is the name of the session cookie. The prefix has browsers take it only over https, from the host itself.
func cookieName(issuer *url.URL) string {
	if issuer.Scheme == "https" {
		return "__Host-portcullis_session"
	}
	return "portcullis_session"
}

// originOf is the origin of the server's pages, as browsers write it (RFC 6454 section 6.1).
func originOf(issuer *url.URL) string {
	host := strings.ToLower(issuer.Host)
	if port := issuer.Port(); port == "" || issuer.Scheme == "https" && port == "443" || issuer.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return issuer.Scheme + "://" + host
}

// cookie is the value of the request's session cookie, or nothing: one that is there twice is none.
func (s *Server) cookie(r *http.Request) string {
	cookies := r.CookiesNamed(s.cookieName)
	if len(cookies) != 1 || !sessionCookie.MatchString(cookies[0].Value) {
		return ""
	}
	return cookies[0].Value
}

// setCookie gives the browser a cookie that ends with it.
func (s *Server) setCookie(w http.ResponseWriter, value string) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // it is secure but on loopback
		Name: s.cookieName, Value: value, Path: "/", Secure: strings.HasPrefix(s.origin, "https:"), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// dropCookie has the browser forget its cookie.
func (s *Server) dropCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // it is secure but on loopback
		Name: s.cookieName, Path: "/", MaxAge: -1, Secure: strings.HasPrefix(s.origin, "https:"), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// WithoutSession takes the session cookie out of a request that is meant for somebody else.
func (s *Server) WithoutSession(r *http.Request) {
	lines := r.Header["Cookie"]
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, s.cookieName) }) {
		return
	}
	var left []string
	for _, line := range lines {
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if strings.TrimSpace(name) != s.cookieName {
				pairs = append(pairs, pair)
			}
		}
		if line := strings.TrimLeft(strings.Join(pairs, ";"), " "); line != "" {
			left = append(left, line)
		}
	}
	r.Header.Del("Cookie")
	if len(left) > 0 {
		r.Header["Cookie"] = left
	}
}

// session is the session that the request belongs to, or nil.
func (s *Server) session(r *http.Request) (*session, error) {
	cookie := s.cookie(r)
	if cookie == "" {
		return nil, nil
	}
	digest := introspect.DigestOf(cookie)
	record, err := s.store.Session(r.Context(), digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	user, err := s.user(r.Context(), record.Subject)
	if err != nil || user == nil {
		return nil, err
	}
	state, err := s.sessionState(&record, user)
	if err != nil || state == nil {
		return nil, err
	}
	return &session{digest, cookie, user, state.ID, time.Unix(state.AuthTime, 0), state.ACR}, nil
}

// sessionState is what the server knows about a session of a user, or nil if the session has ended.
func (s *Server) sessionState(record *store.Session, user *User) (*sessionState, error) {
	var state sessionState
	if err := json.Unmarshal(record.State, &state); err != nil {
		return nil, fmt.Errorf("reading a session: %w", err)
	}
	if user.version() != state.Version || state.ID == "" || !s.now().Before(record.ExpiresAt) {
		return nil, nil
	}
	return &state, nil
}

// beginSession signs a user in: under a new cookie, so that whoever knows the one before has gained nothing, whose
// session ends.
func (s *Server) beginSession(w http.ResponseWriter, r *http.Request, user *User) (*session, error) {
	before, err := s.session(r)
	if err != nil {
		return nil, err
	}
	if before != nil && before.user.Name == user.Name {
		return s.continueSession(w, r, user, before.id)
	}
	return s.continueSession(w, r, user, rand.Text())
}

// continueSession begins a session as the one with an id.
func (s *Server) continueSession(w http.ResponseWriter, r *http.Request, user *User, id string) (*session, error) {
	ctx, cookie, now := r.Context(), newToken(sessionPrefix), s.now()
	begun := &session{introspect.DigestOf(cookie), cookie, user, id, now, acrPassword}
	state, err := json.Marshal(sessionState{user.version(), begun.id, now.Unix(), begun.acr, deviceOf(r.UserAgent())})
	if err != nil {
		return nil, err
	}
	if err := s.store.PutSession(ctx, store.Session{
		Digest: begun.digest, Subject: user.Name, ExpiresAt: now.Add(s.sessionTTL), State: state,
	}); err != nil {
		return nil, err
	}
	if err := s.store.EndSession(ctx, introspect.DigestOf(s.cookie(r))); err != nil {
		return nil, err
	}
	s.setCookie(w, cookie)
	return begun, nil
}

// formToken is what a form has to send back: only a page that this server has shown to the browser with the cookie,
// for one purpose and one request, has it.
func formToken(cookie, purpose, request string) string {
	mac := hmac.New(sha256.New, []byte(cookie))
	mac.Write([]byte(purpose + "\n" + request))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

var errForeignForm = &pageError{http.StatusForbidden, "This page was out of date or did not come from here, and nothing has been done. Go back to the application and start again."}

// checkForm refuses a form that did not come from a page of this server's, shown to the same browser for the same request.
func (s *Server) checkForm(r *http.Request, token, purpose, request string) error {
	cookie := s.cookie(r)
	site, hasSite := r.Header["Sec-Fetch-Site"]
	origin, hasOrigin := r.Header["Origin"]
	switch {
	case hasSite && !slices.Equal(site, []string{"same-origin"}),
		hasOrigin && !slices.Equal(origin, []string{s.origin}),
		cookie == "",
		!hmac.Equal([]byte(formToken(cookie, purpose, request)), []byte(token)):
		return errForeignForm
	}
	return nil
}
