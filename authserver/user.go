package authserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// User is a person who can sign in and authorize clients (RFC 6749 section 1.1: a resource owner).
type User struct {
	// Name is what the user types to sign in, and the subject of the tokens.
	Name string
	// Password checks what else the user types. It is made of a hash.
	Password *Secret
	// Claims are what introspection and userinfo say about the user, beside sub and username. One value is a string,
	// several are an array, and the claims of OpenID Connect Core section 5.1 are what they are there.
	Claims map[string][]string
	// Scopes are those that the user can grant. Default: all that the client may have.
	Scopes []string

	// generation counts how often the user was disabled and enabled.
	generation uint64
	// changedAt is when the operator last changed the user, if that is known.
	changedAt time.Time
}

// ownClaims are the members of an introspection response that are not the operator's to write.
var ownClaims = []string{
	"active", "scope", "client_id", "username", "token_type", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "cnf", "act",
	"acr", "amr", "auth_time", "nonce", "at_hash", "azp", "sid",
}

func (u *User) check() error {
	switch {
	case u.Name == "" || len(u.Name) > maxName:
		return fmt.Errorf("the name must have between 1 and %d bytes", maxName)
	case !isText(u.Name):
		return errors.New("the name must be UTF-8 without control characters")
	case u.Password == nil || !u.Password.slow:
		return errors.New("needs the argon2id or bcrypt hash of a password, as `hash-password` writes it")
	}
	for name, values := range u.Claims {
		if slices.Contains(ownClaims, name) {
			return fmt.Errorf("claim %q is the server's own", name)
		}
		if err := checkClaim(name, values); err != nil {
			return fmt.Errorf("claim %q: %w", name, err)
		}
	}
	for _, scope := range u.Scopes {
		if err := bearer.CheckScope(scope); err != nil {
			return fmt.Errorf("scope %q: %w", scope, err)
		}
	}
	return nil
}

// grantable are those of the scopes that the user can grant: openid only with a name that can be a subject there.
func (u *User) grantable(scopes []string) []string {
	if !isSubject(u.Name) {
		scopes = slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == scopeOpenID })
	}
	if len(u.Scopes) == 0 {
		return scopes
	}
	return intersect(scopes, u.Scopes)
}

// intersect returns those of the scopes that are among others, in their order.
func intersect(scopes, others []string) []string {
	var both []string
	for _, scope := range scopes {
		if slices.Contains(others, scope) {
			both = append(both, scope)
		}
	}
	return both
}

// registerUsers checks the users and keeps them by their names.
func (s *Server) registerUsers(users []User) error {
	for i := range users {
		user := users[i]
		if err := user.check(); err != nil {
			return fmt.Errorf("user %q: %w", user.Name, err)
		}
		if s.users[user.Name] != nil {
			return fmt.Errorf("user %q is registered twice", user.Name)
		}
		if s.clients[user.Name] != nil {
			// The subject of a token must not be a client to some and a user to others (RFC 9700 section 4.15).
			return fmt.Errorf("user %q has the id of a client", user.Name)
		}
		s.users[user.Name] = &user
		s.passwords = append(s.passwords, user.Password)
	}
	return nil
}

// signIn returns the user who has the name and the password, or nil. For a name that nobody has it takes as long as for
// one of the users with the wrong password.
func (s *Server) signIn(ctx context.Context, name, password string) (*User, error) {
	user, err := s.user(ctx, name)
	if err != nil {
		return nil, err
	}
	check := s.decoyPassword(name)
	if user != nil {
		check = user.Password
	}
	if check == nil {
		return nil, nil
	}
	matches, err := check.verifySlowly(ctx, password)
	switch {
	case err != nil:
		return nil, err
	case matches:
		return user, nil
	case user != nil:
		err = s.asUnknown(ctx, name)
	}
	return nil, err
}

// decoyPassword is the password of some user, always the same one for a name, or nil if no user is known.
func (s *Server) decoyPassword(name string) *Secret {
	passwords := s.passwords
	if known := s.state.directory.password.Load(); known != nil {
		passwords = append(slices.Clone(passwords), known)
	}
	if len(passwords) == 0 {
		return nil
	}
	digest := introspect.DigestOf(name)
	return passwords[binary.BigEndian.Uint64(digest[:])%uint64(len(passwords))]
}
