package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// leastPassword is how many characters a password has that people choose here.
const leastPassword = 12

// errOtherPassword says that a password was changed by somebody else meanwhile.
var errOtherPassword = errors.New("the password is another one by now")

// passwordPage is the part of the account page that a user's password is changed by.
type passwordPage struct {
	FormToken, Problem string
	// Least is how many characters the new one has.
	Least int
}

// mayChangePassword says whether the user's password is his to change: one of the configuration is the operator's.
func (s *Server) mayChangePassword(user *User) bool { return s.users[user.Name] == nil }

// changePassword takes the form with the old and the new password. The session goes on under another cookie; all others
// end, with what came of them.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, current *session, form map[string]string) error {
	if !s.mayChangePassword(current.user) {
		return errForeignForm
	}
	refuse := func(status int, problem string) error {
		return s.showAccount(w, r, current, status, accountNews{problem: problem})
	}
	old, chosen := form["old_password"], form["new_password"]
	switch {
	case !isText(chosen) || utf8.RuneCountInString(chosen) < leastPassword || len(chosen) > maxPassword:
		return refuse(http.StatusBadRequest, fmt.Sprintf("The new password needs at least %d characters.", leastPassword))
	case chosen != form["repeated_password"]:
		return refuse(http.StatusBadRequest, "The new passwords are not the same.")
	case chosen == old:
		return refuse(http.StatusBadRequest, "The new password is the old one.")
	case len(old) > maxPassword:
		old = ""
	}
	user, wait, err := s.try(r, current.user.Name, old)
	switch {
	case err != nil:
		return err
	case wait > 0:
		w.Header().Set("Retry-After", retryAfter(wait))
		return refuse(http.StatusTooManyRequests, tooManyAttempts)
	case user == nil:
		return refuse(http.StatusForbidden, "The old password is wrong.")
	}
	hash, err := hashPassword(r.Context(), chosen)
	if err != nil {
		return err
	}
	switch err := s.setPassword(r.Context(), user, hash); {
	case errors.Is(err, errOtherPassword), errors.Is(err, store.ErrNotFound):
		return errForeignForm
	case err != nil:
		return err
	}
	if err := s.endShown(r.Context(), current, func(one *shownSession) bool { return !one.Current }); err != nil {
		return err
	}
	if user, err = s.user(r.Context(), user.Name); err != nil {
		return err
	}
	if user == nil {
		return errForeignForm
	}
	if current, err = s.continueSession(w, r, user, current.id); err != nil {
		return err
	}
	return s.showAccount(w, r, current, http.StatusOK, accountNews{done: "Your password has been changed. You have been signed out everywhere else."})
}

// setPassword gives a user of the store another password, unless his is not the one that he was found with any more.
func (s *Server) setPassword(ctx context.Context, user *User, hash string) error {
	return s.changeRecord(ctx, partyKind, user.Name, func(record *store.Record) error {
		var kept userRecord
		if record.Version == 0 || record.Owner != ownerUsers {
			return store.ErrNotFound
		}
		if err := json.Unmarshal(record.Value, &kept); err != nil {
			return fmt.Errorf("reading the user: %w", err)
		}
		if versionOf(kept.Password) != user.Password.version {
			return errOtherPassword
		}
		kept.Password = hash
		var err error
		record.Value, err = json.Marshal(kept)
		return err
	})
}

// hashPassword hashes a password, as one of few at a time.
func hashPassword(ctx context.Context, password string) (hash string, err error) {
	err = slowly(ctx, func() { hash = HashSecret(password) })
	return hash, err
}
