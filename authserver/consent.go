package authserver

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

type consentPage struct {
	Client, User, Destination, Action, FormToken, OtherUser string
	Unverified                                              bool
	Scopes                                                  []scopeText
	Resources                                               []string
}

// scopeText is a scope and what it allows, in words.
type scopeText struct{ Name, Description string }

func (s *Server) scopeTexts(scopes []string) []scopeText {
	texts := make([]scopeText, len(scopes))
	for i, scope := range scopes {
		texts[i] = scopeText{scope, s.scopes[scope]}
	}
	return texts
}

// pending is an authorization request that waits for consent, as its user sees it.
type pending struct {
	*authorization
	digest introspect.Digest
	user   *session
	// scope is what the user can grant.
	scope []string
}

var (
	errNoRequest = &pageError{http.StatusBadRequest, "This request has been answered already, or took too long. Go back to the application and start again."}
	errNoConsent = &pageError{http.StatusBadRequest, "The form could not be read."}
)

// serveConsent shows the consent page, and takes its form.
func (s *Server) serveConsent(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		s.writeErrorPage(w, &pageError{http.StatusMethodNotAllowed, "This page is opened by an application."})
		return
	}
	handle := r.URL.Query().Get("request")
	p, err := s.findPending(r, handle)
	switch {
	case err != nil:
		s.refuseAuthorization(w, r, nil, err)
	case r.Method == http.MethodGet:
		s.showConsent(w, p, handle)
	default:
		s.decide(w, r, p, handle)
	}
}

func (s *Server) findPending(r *http.Request, handle string) (*pending, error) {
	current, err := s.session(r)
	if err != nil {
		return nil, err
	}
	if current == nil || !strings.HasPrefix(handle, pendingPrefix) {
		return nil, errNoRequest
	}
	digest := introspect.DigestOf(handle)
	record, err := s.store.Code(r.Context(), digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoRequest
	}
	if err != nil {
		return nil, err
	}
	var request pendingRequest
	if err := json.Unmarshal(record.Request, &request); err != nil {
		return nil, err
	}
	if record.Redeemed || !s.now().Before(record.ExpiresAt) || request.Session != current.digest {
		return nil, errNoRequest
	}
	// It was good when it was kept. The configuration may have changed since.
	a, err := s.readAuthorization(r.Context(), valuesOf(request.Parameters, request.Resources))
	var fault *pageError
	var told *clientError
	switch {
	case errors.As(err, &fault), errors.As(err, &told):
		return nil, errNoRequest
	case err != nil:
		return nil, err
	}
	return &pending{a, digest, current, current.user.grantable(a.scope)}, nil
}

func (s *Server) showConsent(w http.ResponseWriter, p *pending, handle string) {
	again := *p.authorization
	again.parameters = maps.Clone(p.parameters)
	again.parameters["prompt"] = "login consent"
	s.writePage(w, http.StatusOK, "consent.html", consentPage{
		Client:      p.client.title(),
		User:        p.user.user.Name,
		Destination: destination(p.redirectURI),
		Action:      s.url(consentPath) + "?request=" + handle,
		FormToken:   formToken(p.user.cookie, "consent", handle),
		OtherUser:   s.url(authorizePath) + "?" + again.query(),
		Scopes:      s.scopeTexts(p.scope),
		Resources:   p.audience,
		Unverified:  p.client.registered,
	})
}

// destination says where a response goes, in words.
func destination(redirectURI string) string {
	uri, err := url.Parse(redirectURI)
	switch {
	case err != nil || uri.Scheme != "https" && uri.Scheme != "http":
		scheme, _, _ := strings.Cut(redirectURI, ":")
		return "the app " + scheme + " on this device"
	case isLoopback(uri.Hostname()):
		return "a program on this device (" + uri.Host + ")"
	default:
		return uri.Host
	}
}

// decide takes the user's decision. The first one counts.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, p *pending, handle string) {
	form, err := readChoices(w, r)
	if err == nil {
		err = s.checkForm(r, form.Get("form_token"), "consent", handle)
	}
	decision := form.Get("decision")
	if err == nil && decision != "allow" && decision != "deny" {
		err = errNoConsent
	}
	if err != nil {
		s.refuseAuthorization(w, r, nil, err)
		return
	}
	switch err := s.store.Redeem(r.Context(), p.digest); {
	case errors.Is(err, store.ErrConsumed) || errors.Is(err, store.ErrNotFound):
		s.writeErrorPage(w, errNoRequest)
		return
	case err != nil:
		s.refuseAuthorization(w, r, p.authorization, err)
		return
	}
	p.answered = true
	granted := intersect(p.scope, form["scope"])
	if decision == "deny" || len(granted) == 0 && len(p.scope) > 0 {
		s.refuseAuthorization(w, r, p.authorization, &clientError{"access_denied", "the user denied the request"})
		return
	}
	err = s.agree(r.Context(), p.authorization, p.user.user, p.scope, granted)
	if err == nil {
		err = s.issueCode(w, r, p.authorization, p.user, granted)
	}
	if err != nil {
		s.refuseAuthorization(w, r, p.authorization, err)
	}
}

// readChoices reads the form of the consent page, in which scope is there for each that is granted.
func readChoices(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, errNoConsent
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, errNoConsent
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errNoConsent
	}
	return form, nil
}
