package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	// listed is how many records are asked for at once.
	listed = 200
	// maxListed bounds the tokens, and the sessions, that are looked at for one page. Of clients that have so many tokens the
	// consents say the same.
	maxListed = 10_000
	// maxShown bounds the sessions on the page.
	maxShown = 50
)

// The forms of the account page.
const (
	formWithdraw    = "withdraw"
	formEndSession  = "end_session"
	formEndSessions = "end_other_sessions"
	formPassword    = "password"
)

type accountPage struct {
	User, Action, Logout string
	Grants               []*shownGrant
	Sessions             []shownSession
	// EndOthers is the token of the form that ends all sessions but this one, if there are others.
	EndOthers string
	// Done says what has been done.
	Done string
	// Password is nil if it is not the user's to change.
	Password *passwordPage
}

// accountNews is what has come of a form: what has been done, or what is wrong with a password.
type accountNews struct{ done, problem string }

// shownGrant is what a client may do.
type shownGrant struct {
	ClientID, Client string
	Resources        []string
	Scopes           []scopeText
	Since, Used      time.Time
	FormToken        string

	scope []string
}

// shownSession is a browser that the user is signed in with.
type shownSession struct {
	ID, Device, FormToken string
	Since                 time.Time
	Current               bool

	session *session
}

// serveAccount shows people what they have allowed and where they are signed in, and takes it back when they say so.
func (s *Server) serveAccount(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		s.writeErrorPage(w, &pageError{http.StatusMethodNotAllowed, "This page is opened by a browser."})
		return
	}
	current, err := s.session(r)
	switch {
	case err != nil:
	case current == nil && r.Method == http.MethodGet:
		s.showLogin(w, r, nil, http.StatusOK, "", "")
	case current == nil:
		err = errForeignForm
	case r.Method == http.MethodGet:
		err = s.showAccount(w, r, current, http.StatusOK, accountNews{})
	default:
		err = s.changeAccount(w, r, current)
	}
	if err != nil {
		s.refuseAuthorization(w, r, nil, err)
	}
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, current *session, status int, news accountNews) error {
	page := accountPage{User: current.user.Name, Action: s.url(accountPath), Logout: s.url(logoutPath), Done: news.done}
	if s.mayChangePassword(current.user) {
		page.Password = &passwordPage{formToken(current.cookie, formPassword, ""), news.problem, leastPassword}
	}
	var err error
	if page.Grants, err = s.grantsOf(r.Context(), current); err != nil {
		return err
	}
	if page.Sessions, err = s.sessionsOf(r.Context(), current); err != nil {
		return err
	}
	if len(page.Sessions) > 1 {
		page.EndOthers = formToken(current.cookie, formEndSessions, "")
		page.Sessions = page.Sessions[:min(len(page.Sessions), maxShown)]
	}
	s.writePage(w, status, "account.html", page)
	return nil
}

// changeAccount takes a form of the account page, and shows the page again.
func (s *Server) changeAccount(w http.ResponseWriter, r *http.Request, current *session) error {
	form, err := readForm(w, r)
	if err != nil {
		return pageErrorOf(err)
	}
	kind, object := form["form"], form["object"]
	if err := s.checkForm(r, form["form_token"], kind, object); err != nil {
		return err
	}
	switch kind {
	case formWithdraw:
		err = s.withdraw(r.Context(), current.user, object)
	case formEndSession:
		err = s.endShown(r.Context(), current, func(one *shownSession) bool { return one.ID == object })
	case formEndSessions:
		err = s.endShown(r.Context(), current, func(one *shownSession) bool { return !one.Current })
	case formPassword:
		return s.changePassword(w, r, current, form)
	default:
		return errForeignForm
	}
	if err != nil {
		return err
	}
	redirect(w, s.url(accountPath))
	return nil
}

// grantsOf are the clients that the user has allowed something, by their names: those that have tokens, and those that
// would get some without asking.
func (s *Server) grantsOf(ctx context.Context, current *session) ([]*shownGrant, error) {
	byClient := make(map[string]*shownGrant)
	add := func(clientID string, scope, resources []string, since, used time.Time) {
		g := byClient[clientID]
		if g == nil {
			g = &shownGrant{ClientID: clientID, Since: since, Used: used}
			byClient[clientID] = g
		}
		g.scope = union(g.scope, scope)
		g.Resources = union(g.Resources, resources)
		if since.Before(g.Since) {
			g.Since = since
		}
		if used.After(g.Used) {
			g.Used = used
		}
	}
	err := s.tokensOf(ctx, current.user, func(token *store.Token) {
		add(token.ClientID, token.Scope, token.Audience, token.IssuedAt.UTC(), token.IssuedAt.UTC())
	})
	if err != nil {
		return nil, err
	}
	err = s.consents(ctx, current.user, func(_ string, c *consent) error {
		if c.Asked || byClient[c.ClientID] != nil {
			add(c.ClientID, c.Scope, c.Resources, time.Unix(c.Since, 0).UTC(), time.Unix(c.Used, 0).UTC())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var grants []*shownGrant
	for _, g := range byClient {
		client, err := s.client(ctx, g.ClientID)
		if err != nil {
			return nil, err
		}
		if g.Client = g.ClientID; client != nil {
			g.Client = client.title()
		}
		g.Scopes = s.scopeTexts(g.scope)
		g.FormToken = formToken(current.cookie, formWithdraw, g.ClientID)
		grants = append(grants, g)
	}
	slices.SortFunc(grants, func(a, b *shownGrant) int {
		return strings.Compare(a.Client+"\x00"+a.ClientID, b.Client+"\x00"+b.ClientID)
	})
	return grants, nil
}

// tokensOf calls a function for the tokens of a user that are of use to their clients.
func (s *Server) tokensOf(ctx context.Context, user *User, do func(*store.Token)) error {
	var after introspect.Digest
	for range maxListed / listed {
		tokens, err := s.store.Tokens(ctx, store.Holder{Subject: user.Name}, after, listed)
		if err != nil {
			return err
		}
		for i := range tokens {
			token := &tokens[i]
			if token.Username == user.Name && !token.Revoked && !token.Rotated && s.now().Before(token.ExpiresAt) {
				do(token)
			}
		}
		if len(tokens) < listed {
			return nil
		}
		after = tokens[len(tokens)-1].Digest
	}
	return nil
}

// sessionsOf are the sessions of the user of one: this one, then the others, the latest first.
func (s *Server) sessionsOf(ctx context.Context, current *session) ([]shownSession, error) {
	var sessions []shownSession
	var after introspect.Digest
	for range maxListed / listed {
		records, err := s.store.Sessions(ctx, current.user.Name, after, listed)
		if err != nil {
			return nil, err
		}
		for i := range records {
			record := &records[i]
			state, err := s.sessionState(record, current.user)
			if err != nil {
				return nil, err
			}
			if state == nil {
				continue
			}
			id := base64.RawURLEncoding.EncodeToString(record.Digest[:])
			sessions = append(sessions, shownSession{
				ID: id, Device: state.Device, Since: time.Unix(state.AuthTime, 0).UTC(), Current: record.Digest == current.digest,
				FormToken: formToken(current.cookie, formEndSession, id), session: &session{digest: record.Digest, id: state.ID},
			})
		}
		if len(records) < listed {
			break
		}
		after = records[len(records)-1].Digest
	}
	slices.SortFunc(sessions, func(a, b shownSession) int {
		switch {
		case a.Current != b.Current && a.Current:
			return -1
		case a.Current != b.Current:
			return 1
		case !a.Since.Equal(b.Since):
			return b.Since.Compare(a.Since)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return sessions, nil
}

// endShown ends those sessions of a user that a function selects, and what came of them, as signing out there would.
func (s *Server) endShown(ctx context.Context, current *session, selected func(*shownSession) bool) error {
	sessions, err := s.sessionsOf(ctx, current)
	if err != nil {
		return err
	}
	for i := range sessions {
		if selected(&sessions[i]) {
			err = errors.Join(err, s.endSession(ctx, sessions[i].session))
		}
	}
	return err
}

// union adds those of more to some texts that are not among them, and sorts them.
func union(some, more []string) []string {
	all := append(slices.Clone(some), more...)
	slices.Sort(all)
	return slices.Compact(all)
}
