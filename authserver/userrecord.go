package authserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// userRecord is a user as the store keeps him. His name is the subject of his tokens, as that of a user of the
// configuration is.
type userRecord struct {
	// Password is a hash.
	Password string              `json:"password"`
	Claims   map[string][]string `json:"claims,omitempty"`
	Scopes   []string            `json:"scopes,omitempty"`
	// Generation is odd while the user is disabled, and counts up whenever that changes. It begins at a number of its own, so that
	// one that is deleted and added again is another.
	Generation uint64    `json:"generation,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	// ChangedAt is when the operator last changed him.
	ChangedAt time.Time `json:"changed_at,omitzero"`
}

// readUser reads the record of a user.
func readUser(record *store.Record, before *party) (*party, error) {
	var kept userRecord
	if err := json.Unmarshal(record.Value, &kept); err != nil {
		return nil, errors.New("is not in the form of a user")
	}
	user, err := userOf(record.Name, &kept, before)
	if err != nil {
		return nil, err
	}
	return &party{user: user, generation: kept.Generation, until: record.ExpiresAt}, nil
}

func userOf(name string, kept *userRecord, before *party) (*User, error) {
	password, err := NewSecret(kept.Password)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	if before != nil && before.user != nil && before.user.Password.version == password.version {
		password = before.user.Password
	}
	user := &User{Name: name, Password: password, Claims: kept.Claims, Scopes: kept.Scopes, generation: kept.Generation, changedAt: kept.ChangedAt}
	if err := user.check(); err != nil {
		return nil, err
	}
	return user, nil
}

// version changes with the user's password, and whenever he is disabled: what began before, such as a session, ends.
func (u *User) version() string {
	if u.generation == 0 {
		return u.Password.version
	}
	return fmt.Sprintf("%s.%d", u.Password.version, u.generation)
}

// versionsOf is that of a user at a client.
func versionsOf(client *Client, user *User) string {
	return fmt.Sprintf("%s.%d", user.version(), client.generation)
}
