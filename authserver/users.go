package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// UserDocument is a user as whoever manages the server writes him.
type UserDocument struct {
	Name     string              `json:"name"`
	Claim    map[string][]string `json:"claim,omitempty"`
	Scopes   []string            `json:"scopes,omitempty"`
	Disabled bool                `json:"disabled"`
}

// UserStatus is a user as the server shows him.
type UserStatus struct {
	UserDocument
	// Origin is FromConfiguration or FromAdmin.
	Origin    string    `json:"origin"`
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// UserChange is a user who is to be added, or what is to become of one.
type UserChange struct {
	UserDocument
	// PasswordHash is the argon2id or bcrypt hash of the password.
	PasswordHash string `json:"password_hash,omitempty"`
}

// Users returns at most limit users in the order of their names, behind one, and behind which name the rest is.
func (s *Server) Users(ctx context.Context, after string, limit int) (list []UserStatus, next string, err error) {
	for name, user := range s.users {
		if name > after {
			list = append(list, statusOfUser(user))
		}
	}
	records, err := s.listRecords(ctx, after, limit+1, ownerUsers)
	if err != nil {
		return nil, "", err
	}
	for _, record := range records {
		status, err := userStatus(record)
		if err != nil {
			return nil, "", err
		}
		list = append(list, status)
	}
	list, next = page(list, func(u UserStatus) string { return u.Name }, limit)
	for i := range list {
		if list[i].Origin == FromConfiguration {
			if list[i].Disabled, err = s.isMarked(ctx, list[i].Name); err != nil {
				return nil, "", err
			}
		}
	}
	return list, next, nil
}

// UserByName returns a user.
func (s *Server) UserByName(ctx context.Context, name string) (status UserStatus, err error) {
	if configured := s.users[name]; configured != nil {
		status = statusOfUser(configured)
		status.Disabled, err = s.isMarked(ctx, name)
		return status, err
	}
	record, err := s.userRecord(ctx, name)
	if err != nil {
		return status, err
	}
	return userStatus(record)
}

func (s *Server) userRecord(ctx context.Context, name string) (record store.Record, err error) {
	err = store.ErrNotFound
	if isRecordName(name) && s.configured[name] == nil {
		record, err = s.store.Record(ctx, partyKind, name)
	}
	if err == nil && record.Owner != ownerUsers || errors.Is(err, store.ErrNotFound) {
		return record, unknown("there is no user with the name %q", name)
	}
	return record, err
}

// AddUser adds a user.
func (s *Server) AddUser(ctx context.Context, change UserChange) (UserStatus, error) {
	kept := userRecord{CreatedAt: s.now().UTC().Truncate(time.Second)}
	if change.PasswordHash == "" {
		return UserStatus{}, invalid(`the user needs "password_hash": the argon2id or bcrypt hash of a password, as 'hash-password' writes it`)
	}
	if err := kept.apply(change); err != nil {
		return UserStatus{}, err
	}
	record := store.Record{Kind: partyKind, Name: change.Name, Owner: ownerUsers}
	if err := s.add(ctx, record, store.Holder{Subject: change.Name}, func(generation uint64) any {
		kept.Generation = generation
		if change.Disabled {
			kept.Generation |= 1
		}
		return kept
	}); err != nil {
		return UserStatus{}, err
	}
	return s.UserByName(ctx, change.Name)
}

// ChangeUser changes a user by a function, which may be called several times: as often as others get in between. Another
// password ends his sessions, his tokens stay. Of a user of the configuration only Disabled can change.
func (s *Server) ChangeUser(ctx context.Context, name string, edit func(*UserChange) error) (UserStatus, error) {
	if s.users[name] != nil {
		return s.changeConfiguredUser(ctx, name, edit)
	}
	if _, err := s.userRecord(ctx, name); err != nil {
		return UserStatus{}, err
	}
	disables := false
	err := s.changeUser(ctx, name, func(kept *userRecord) error {
		change := UserChange{UserDocument: kept.document(name)}
		if err := edit(&change); err != nil {
			return err
		}
		if change.Name != name {
			return invalid("the name of a user does not change: add another user")
		}
		disables = change.Disabled
		kept.ChangedAt = s.now().UTC()
		return kept.apply(change)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return UserStatus{}, unknown("there is no user with the name %q", name)
	case errors.Is(err, store.ErrConsumed):
		return UserStatus{}, conflict("others are changing the user %q: try again", name)
	case err != nil:
		return UserStatus{}, err
	}
	if disables {
		err = s.endAll(ctx, store.Holder{Subject: name})
	} else {
		err = s.endOutdated(ctx, name)
	}
	if err != nil {
		return UserStatus{}, err
	}
	return s.UserByName(ctx, name)
}

// endOutdated ends the sessions of a user that began with another password.
func (s *Server) endOutdated(ctx context.Context, name string) error {
	user, err := s.user(ctx, name)
	if err != nil {
		return err
	}
	return s.endSessions(ctx, name, func(record store.Session) error {
		var state sessionState
		if user != nil && json.Unmarshal(record.State, &state) == nil && state.Version == user.version() {
			return nil
		}
		return s.store.EndSession(ctx, record.Digest)
	})
}

func (s *Server) changeConfiguredUser(ctx context.Context, name string, edit func(*UserChange) error) (UserStatus, error) {
	status, err := s.UserByName(ctx, name)
	if err != nil {
		return status, err
	}
	before := UserChange{UserDocument: status.UserDocument}
	after := UserChange{UserDocument: status.clone()}
	if err := edit(&after); err != nil {
		return status, err
	}
	disabled := after.Disabled
	after.Disabled = before.Disabled
	if same, err := equalJSON(before, after); err != nil || !same {
		return status, errors.Join(err, conflict("the user %q is in the configuration: change him there. Here he can be disabled and enabled", name))
	}
	if err := s.mark(ctx, name, disabled); err != nil {
		return status, err
	}
	if disabled {
		err = s.endAll(ctx, store.Holder{Subject: name})
	}
	status.Disabled = disabled
	return status, err
}

// DeleteUser deletes a user, and what he has.
func (s *Server) DeleteUser(ctx context.Context, name string) error {
	if s.users[name] != nil {
		return conflict("the user %q is in the configuration: take him out there, or disable him", name)
	}
	if _, err := s.userRecord(ctx, name); err != nil {
		return err
	}
	return s.remove(ctx, name, store.Holder{Subject: name}, func() error {
		err := s.changeUser(ctx, name, func(kept *userRecord) error {
			setGeneration(&kept.Generation, true)
			return nil
		})
		if errors.Is(err, store.ErrNotFound) {
			return unknown("there is no user with the name %q", name)
		}
		return err
	})
}

// changeUser changes the record of a user, however many others do so at the same time.
func (s *Server) changeUser(ctx context.Context, name string, change func(*userRecord) error) error {
	return s.changeRecord(ctx, partyKind, name, func(record *store.Record) error {
		var kept userRecord
		if record.Version == 0 || record.Owner != ownerUsers {
			return store.ErrNotFound
		}
		if err := json.Unmarshal(record.Value, &kept); err != nil {
			return err
		}
		if err := change(&kept); err != nil {
			return err
		}
		var err error
		record.Value, err = json.Marshal(kept)
		return err
	})
}

// apply writes a change into what is kept of a user, if he can be so.
func (u *userRecord) apply(change UserChange) error {
	u.Claims, u.Scopes = change.Claim, change.Scopes
	maps.DeleteFunc(u.Claims, func(_ string, values []string) bool { return len(values) == 0 })
	setGeneration(&u.Generation, change.Disabled)
	if change.PasswordHash != "" {
		u.Password = change.PasswordHash
	}
	if _, err := userOf(change.Name, u, nil); err != nil {
		return invalid("%v", err)
	}
	encoded, err := json.Marshal(u)
	if err == nil && len(encoded) > maxRecord {
		err = invalid("the user has more than %d bytes", maxRecord)
	}
	return err
}

// document is the user as he was written.
func (u *userRecord) document(name string) UserDocument {
	return UserDocument{Name: name, Claim: maps.Clone(u.Claims), Scopes: u.Scopes, Disabled: u.Generation%2 == 1}
}

func userStatus(record store.Record) (status UserStatus, err error) {
	var kept userRecord
	if err := json.Unmarshal(record.Value, &kept); err != nil {
		return status, fmt.Errorf("reading the user %q: %w", record.Name, err)
	}
	return UserStatus{UserDocument: kept.document(record.Name), Origin: FromAdmin, CreatedAt: kept.CreatedAt}, nil
}

// statusOfUser is the status of a user of the configuration, but for whether he is disabled.
func statusOfUser(user *User) UserStatus {
	document := UserDocument{Name: user.Name, Claim: user.Claims, Scopes: user.Scopes}
	return UserStatus{Origin: FromConfiguration, UserDocument: document.clone()}
}

// clone shares no memory with what it is a copy of, into which whoever decodes JSON would write.
func (d *UserDocument) clone() UserDocument {
	other := *d
	other.Claim, other.Scopes = maps.Clone(d.Claim), slices.Clone(d.Scopes)
	for name, values := range other.Claim {
		other.Claim[name] = slices.Clone(values)
	}
	return other
}
