package authserver

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// logoutParameters are those that the logout endpoint understands. The others are ignored.
var logoutParameters = []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}

// logout is a request to sign the user out (OpenID Connect RP-Initiated Logout section 2).
type logout struct {
	// parameters are those of the request, without the empty and the unknown ones.
	parameters url.Values
	// client is who asks, or nil where nobody knows.
	client *Client
	// hint is what the client knows of the user, or nil.
	hint *hint
	// continueAt is where the user goes afterwards, or empty.
	continueAt string
}

type logoutPage struct{ Client, User, Action, FormToken string }

type signedOutPage struct {
	Continue    template.URL
	Destination string
}

// serveLogout signs the user out (OpenID Connect RP-Initiated Logout): at once if the client shows that it knows who
// that is, else after asking.
func (s *Server) serveLogout(w http.ResponseWriter, r *http.Request) {
	if err := s.signOut(w, r); err != nil {
		s.refuseAuthorization(w, r, nil, err)
	}
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	values, err := authorizationValues(w, r)
	if err != nil {
		return err
	}
	l, err := s.readLogout(r.Context(), values)
	if err != nil {
		return err
	}
	query := l.parameters.Encode()
	confirmed := r.Method == http.MethodPost && values.Has("form_token")
	switch {
	case confirmed:
		if err := s.checkForm(r, values.Get("form_token"), "logout", query); err != nil {
			return err
		}
	case r.Method == http.MethodPost:
		// A POST request from another site comes without the session. What follows a redirect has it.
		redirect(w, s.url(logoutPath)+"?"+query)
		return nil
	}
	current, err := s.session(r)
	if err != nil {
		return err
	}
	if current != nil {
		if !confirmed && (l.hint == nil || l.hint.subject != current.user.Name) {
			s.showLogout(w, l, current)
			return nil
		}
		if err := s.endSession(r.Context(), current); err != nil {
			return err
		}
		s.dropCookie(w)
	}
	if l.continueAt == "" {
		s.writePage(w, http.StatusOK, "signed_out.html", signedOutPage{})
		return nil
	}
	if confirmed || l.hint != nil && !l.client.registered { // anybody can have an ID token of a client that he has registered
		redirect(w, l.continueAt)
		return nil
	}
	s.writePage(w, http.StatusOK, "signed_out.html", signedOutPage{
		template.URL(l.continueAt), destination(l.continueAt), //nolint:gosec // it is registered for a client, and its scheme was judged
	})
	return nil
}

// readLogout judges a request to sign out.
func (s *Server) readLogout(ctx context.Context, values url.Values) (*logout, error) {
	l := &logout{parameters: make(url.Values)}
	for _, name := range logoutParameters {
		switch all := values[name]; {
		case len(all) > 1:
			return nil, &pageError{http.StatusBadRequest, "The application sent a request with a parameter that is repeated."}
		case len(all) == 0 || all[0] == "":
		case len(all[0]) > maxParameter || !isText(all[0]):
			return nil, &pageError{http.StatusBadRequest, "The application sent a request with a parameter that is too long or no text."}
		default:
			l.parameters.Set(name, all[0])
		}
	}
	id := l.parameters.Get("client_id")
	if text := l.parameters.Get("id_token_hint"); text != "" {
		known, err := s.readHint(ctx, text)
		switch {
		case errors.Is(err, errNoHint): // the user is asked
		case err != nil:
			return nil, err
		case id != "" && id != known.clientID:
			return nil, &pageError{http.StatusBadRequest, "The application sent what belongs to another one."}
		default:
			l.hint, id = known, known.clientID
		}
	}
	if id != "" {
		var err error
		if l.client, err = s.client(ctx, id); err != nil {
			return nil, err
		}
	}
	uri := l.parameters.Get("post_logout_redirect_uri")
	if uri == "" {
		return l, nil
	}
	registered := false
	if l.client != nil {
		_, registered = l.client.redirectURI(uri)
	}
	if !registered {
		return nil, &pageError{http.StatusBadRequest, "The application asked to be answered at an address that is not registered for it."}
	}
	l.continueAt = uri
	if state := l.parameters.Get("state"); state != "" {
		l.continueAt = addQuery(uri, []parameter{{"state", state}})
	}
	return l, nil
}

// showLogout asks the user.
func (s *Server) showLogout(w http.ResponseWriter, l *logout, current *session) {
	query := l.parameters.Encode()
	page := logoutPage{
		User:      current.user.Name,
		Action:    s.url(logoutPath) + "?" + query,
		FormToken: formToken(current.cookie, "logout", query),
	}
	if l.client != nil {
		page.Client = l.client.title()
	}
	s.writePage(w, http.StatusOK, "logout.html", page)
}

// issuedRecord is the kind of the records that say which authorizations came of a session. Such a record is called by the
// family of the tokens, belongs to the session, and holds the digest of the code.
const issuedRecord = "issued"

// putCode keeps an authorization code of a session, whose end is to be the end of what comes of it, too, unless the scope
// has offline_access.
func (s *Server) putCode(ctx context.Context, current *session, scope []string, code store.Code) error {
	// The code first, so that whoever finds the record finds the code.
	if err := s.store.PutCode(ctx, code); err != nil {
		return err
	}
	return s.noteIssued(ctx, current, scope, code.Family, code.Digest, code.KeepUntil)
}

// noteIssued writes down what has come of a session: a family of tokens, and the code that they are exchanged for if there
// is one. It refuses if the session is over.
func (s *Server) noteIssued(
	ctx context.Context, current *session, scope []string, family string, code introspect.Digest, until time.Time,
) error {
	if !outlivesSession(scope) {
		if err := s.store.PutRecord(ctx, store.Record{
			Kind: issuedRecord, Name: family, Owner: current.id, ExpiresAt: until, Value: code[:],
		}); err != nil {
			return err
		}
	}
	// Either the session is over by now, or whoever ends it looks for records from now on.
	_, err := s.store.Session(ctx, current.digest)
	if errors.Is(err, store.ErrNotFound) {
		return &clientError{"login_required", "the user has signed out"}
	}
	return err
}

// endSession ends a session, and what came of it. If it fails it can be tried again.
func (s *Server) endSession(ctx context.Context, current *session) error {
	ctx = context.WithoutCancel(ctx) // whoever has begun to sign out need not wait
	if err := s.endIssued(ctx, current.id); err != nil {
		return err
	}
	if err := s.store.EndSession(ctx, current.digest); err != nil {
		return err
	}
	return s.endIssued(ctx, current.id) // what came of it meanwhile
}

// endIssued ends the authorizations that came of a session: codes can no longer be redeemed, and tokens are revoked.
func (s *Server) endIssued(ctx context.Context, session string) error {
	const batch = 100
	for after := ""; ; {
		records, err := s.store.Records(ctx, issuedRecord, session, after, batch)
		if err != nil {
			return err
		}
		for _, record := range records {
			var code introspect.Digest
			copy(code[:], record.Value)
			// The code first, so that no tokens can come of it when those that are there have been revoked.
			if err := s.store.Redeem(ctx, code); err != nil && !errors.Is(err, store.ErrConsumed) && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err := s.store.RevokeFamily(ctx, record.Name); err != nil {
				return err
			}
			if err := s.store.DeleteRecord(ctx, issuedRecord, record.Name); err != nil {
				return err
			}
			after = record.Name
		}
		if len(records) < batch {
			return nil
		}
	}
}
