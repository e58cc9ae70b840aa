package authserver

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxPassword bounds a password, in bytes: hashing it takes time.
const maxPassword = 1024

type loginPage struct {
	Client, Action, FormToken, Username, Message string
}

// showLogin asks the user to sign in. The authorization request stands in the address that the form is sent to, so that
// nothing has to be kept for somebody who may be anybody. Without one, and without anything in its place that could
// lead elsewhere, it is the account that the user signs in for.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, a *authorization, status int, username, message string) {
	cookie := s.cookie(r)
	if cookie == "" {
		cookie = newToken(sessionPrefix)
		s.setCookie(w, cookie)
	}
	page := loginPage{Action: s.url(loginPath), FormToken: formToken(cookie, "login", ""), Username: username, Message: message}
	if a != nil {
		query := a.query()
		page.Client = a.client.title()
		page.Action += "?" + query
		page.FormToken = formToken(cookie, "login", query)
	}
	if len(username) > maxName {
		page.Username = ""
	}
	s.writePage(w, status, "login.html", page)
}

// serveLogin takes the form of the login page.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	switch { // the page was loaded again
	case r.Method == http.MethodGet && r.URL.RawQuery == "":
		redirect(w, s.url(accountPath))
		return
	case r.Method == http.MethodGet:
		redirect(w, s.url(authorizePath)+"?"+r.URL.RawQuery)
		return
	}
	a, query, err := s.signInFor(r)
	if err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	form, err := readForm(w, r)
	if err != nil {
		s.writeErrorPage(w, pageErrorOf(err))
		return
	}
	if err := s.checkForm(r, form["form_token"], "login", query); err != nil {
		s.refuseAuthorization(w, r, a, err)
		return
	}
	name, password := form["username"], form["password"]
	if len(name) > maxName || len(password) > maxPassword {
		name, password = "", ""
	}
	user, wait, err := s.try(r, name, password)
	switch {
	case err != nil:
		s.refuseAuthorization(w, r, nil, err)
		return
	case wait > 0:
		w.Header().Set("Retry-After", retryAfter(wait))
		s.showLogin(w, r, a, http.StatusTooManyRequests, name, tooManyAttempts)
		return
	case user == nil:
		s.showLogin(w, r, a, http.StatusForbidden, name, "The user name or the password is wrong.")
		return
	}
	current, err := s.beginSession(w, r, user)
	switch {
	case err != nil:
		s.refuseAuthorization(w, r, nil, err)
	case a == nil:
		redirect(w, s.url(accountPath))
	default:
		s.proceed(w, r, a, current)
	}
}

const tooManyAttempts = "There were too many attempts. Wait a moment, then try again."

// signInFor is the authorization request that a login form is for, and its query: both nothing if it is for the account.
func (s *Server) signInFor(r *http.Request) (*authorization, string, error) {
	if r.URL.RawQuery == "" {
		return nil, "", nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > 3*maxAuthorization {
		return nil, "", errForeignForm
	}
	a, err := s.findAuthorization(r.Context(), values, false)
	if err != nil {
		return a, "", err
	}
	return a, a.query(), nil
}

// try returns the user who has the name and the password, or nil, or how long to wait before the next try.
func (s *Server) try(r *http.Request, name, password string) (*User, time.Duration, error) {
	tried, wait := s.state.logins.begin(s.clientAddress(r), name)
	if wait > 0 {
		return nil, wait, nil
	}
	user, err := s.signIn(r.Context(), name, password)
	switch {
	case err != nil:
		tried.undo() // nobody knows whether it would have failed
	case user == nil:
		s.logger.WarnContext(r.Context(), "sign-in failed", slog.String("address", s.clientAddress(r)))
	default:
		tried.succeeded()
	}
	return user, 0, err
}

// retryAfter is a time to wait, as the header of that name has it.
func retryAfter(wait time.Duration) string { return strconv.Itoa(int(math.Ceil(wait.Seconds()))) }

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
