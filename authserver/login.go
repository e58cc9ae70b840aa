package authserver

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// maxPassword bounds a password, in bytes: hashing it takes time.
const maxPassword = 1024

type loginPage struct {
	Client, Action, FormToken, Username, Message string
}

// showLogin asks the user to sign in. The authorization request stands in the address that the form is sent to, so that
// nothing has to be kept for somebody who may be anybody.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, a *authorization, status int, username, message string) {
	cookie := s.cookie(r)
	if cookie == "" {
		cookie = newToken(sessionPrefix)
		s.setCookie(w, cookie)
	}
	query := a.query()
	if len(username) > maxName {
		username = ""
	}
	writePage(w, status, "login.html", loginPage{
		Client:    a.client.title(),
		Action:    s.url(loginPath) + "?" + query,
		FormToken: formToken(cookie, "login", query),
		Username:  username,
		Message:   message,
	})
}

// serveLogin takes the form of the login page.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		redirect(w, s.url(authorizePath)+"?"+r.URL.RawQuery) // the page was loaded again
		return
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > 3*maxAuthorization {
		writeErrorPage(w, errForeignForm)
		return
	}
	a, err := s.findAuthorization(r.Context(), values, false)
	if err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	form, err := readForm(w, r)
	if err != nil {
		writeErrorPage(w, pageErrorOf(err))
		return
	}
	if err := s.checkForm(r, form["form_token"], "login", a.query()); err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	name, password := form["username"], form["password"]
	if len(name) > maxName || len(password) > maxPassword {
		name, password = "", ""
	}
	tried, wait := s.state.logins.begin(s.clientAddress(r), name)
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		s.showLogin(w, r, a, http.StatusTooManyRequests, name, "There were too many attempts. Wait a moment, then try again.")
		return
	}
	user, err := s.signIn(r.Context(), name, password)
	switch {
	case err != nil:
		tried.undo() // nobody knows whether it would have failed
		s.refuseAuthorization(w, r, nil, err)
		return
	case user == nil:
		s.logger.WarnContext(r.Context(), "sign-in failed", slog.String("address", s.clientAddress(r)))
		s.showLogin(w, r, a, http.StatusForbidden, name, "The user name or the password is wrong.")
		return
	}
	tried.succeeded()
	current, err := s.beginSession(w, r, user)
	if err != nil {
		s.refuseAuthorization(w, r, nil, err)
		return
	}
	s.proceed(w, r, a, current)
}

// pageErrorOf says to a person what readForm says to a program.
func pageErrorOf(err error) *pageError {
	var refusal *oauthError
	if errors.As(err, &refusal) && refusal.status == http.StatusMethodNotAllowed {
		return &pageError{refusal.status, "This page is opened by an application."}
	}
	return &pageError{http.StatusBadRequest, "The form could not be read."}
}

// remoteAddress is the address of the peer.
func remoteAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
