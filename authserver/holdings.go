package authserver

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// TokenStatus is a token as the server shows it to whoever manages it: never the token itself.
type TokenStatus struct {
	// ID is the beginning of the token's digest.
	ID        string     `json:"id"`
	Kind      store.Kind `json:"kind"`
	Active    bool       `json:"active"`
	Family    string     `json:"family"`
	ClientID  string     `json:"client_id"`
	Subject   string     `json:"sub,omitempty"`
	Username  string     `json:"username,omitempty"`
	Scope     string     `json:"scope,omitempty"`
	Audience  []string   `json:"aud,omitempty"`
	IssuedAt  time.Time  `json:"issued_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	Revoked   bool       `json:"revoked,omitempty"`
	// Rotated says that a refresh token has been exchanged for another.
	Rotated bool `json:"rotated,omitempty"`
}

// shownDigest is how many bytes of a token's digest are shown.
const shownDigest = 8

// Tokens returns tokens of a holder, in an order that says nothing, of at most limit that are looked at behind a cursor, and the
// cursor behind which the rest is. Only those that are active, unless all are wanted.
func (s *Server) Tokens(ctx context.Context, holder store.Holder, all bool, cursor string, limit int) (list []TokenStatus, next string, err error) {
	if err := checkHolder(holder); err != nil {
		return nil, "", err
	}
	after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	tokens, err := s.store.Tokens(ctx, holder, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, token := range tokens {
		status, err := s.tokenStatus(ctx, token)
		if err != nil {
			return nil, "", err
		}
		if all || status.Active {
			list = append(list, status)
		}
	}
	if len(tokens) == limit {
		next = hex.EncodeToString(tokens[limit-1].Digest[:])
	}
	return list, next, nil
}

func (s *Server) tokenStatus(ctx context.Context, token store.Token) (TokenStatus, error) {
	client, user, err := s.parties(ctx, token.ClientID, token.Username)
	return TokenStatus{
		ID:        hex.EncodeToString(token.Digest[:shownDigest]),
		Kind:      token.Kind,
		Active:    !token.Revoked && !token.Rotated && s.now().Before(token.ExpiresAt) && client != nil && (user != nil || token.Username == ""),
		Family:    token.Family,
		ClientID:  token.ClientID,
		Subject:   token.Subject,
		Username:  token.Username,
		Scope:     strings.Join(token.Scope, " "),
		Audience:  token.Audience,
		IssuedAt:  token.IssuedAt,
		ExpiresAt: token.ExpiresAt,
		Revoked:   token.Revoked,
		Rotated:   token.Rotated,
	}, err
}

// RevokeToken revokes a token, and with a refresh token all that came of the same authorization.
func (s *Server) RevokeToken(ctx context.Context, token string) error {
	digest := introspect.DigestOf(token)
	record, err := s.store.Token(ctx, digest)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return unknown("the server knows no such token")
	case err != nil:
		return err
	case record.Kind == store.Refresh:
		return s.store.RevokeFamily(ctx, record.Family)
	}
	return s.store.Revoke(ctx, digest)
}

// RevokeFamily revokes all tokens that came of one authorization.
func (s *Server) RevokeFamily(ctx context.Context, family string) error {
	if family == "" || !isText(family) {
		return invalid("the family of a token is the one that the list of tokens shows")
	}
	return s.store.RevokeFamily(ctx, family)
}

func checkHolder(holder store.Holder) error {
	switch {
	case holder == (store.Holder{}):
		return invalid("whose tokens? Name a user or a client, or both")
	case !isText(holder.Subject), !isText(holder.ClientID):
		return invalid("a name has no control characters")
	}
	return nil
}

// RevokeAll revokes all tokens of a user or a client, or of a user at a client.
func (s *Server) RevokeAll(ctx context.Context, holder store.Holder) error {
	if err := checkHolder(holder); err != nil {
		return err
	}
	return s.store.RevokeAll(ctx, holder)
}

// SessionStatus is a session as the server shows it to whoever manages it.
type SessionStatus struct {
	// ID is the digest of the session's cookie, from which nobody can make the cookie.
	ID        string    `json:"id"`
	User      string    `json:"user"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Sessions returns the sessions of a user that have not ended, of at most limit that are looked at behind a cursor, and the
// cursor behind which the rest is.
func (s *Server) Sessions(ctx context.Context, user, cursor string, limit int) (list []SessionStatus, next string, err error) {
	if user == "" || !isText(user) {
		return nil, "", invalid("whose sessions? Name a user")
	}
	after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	sessions, err := s.store.Sessions(ctx, user, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, session := range sessions {
		if s.now().Before(session.ExpiresAt) {
			list = append(list, SessionStatus{hex.EncodeToString(session.Digest[:]), session.Subject, session.ExpiresAt})
		}
	}
	if len(sessions) == limit {
		next = hex.EncodeToString(sessions[limit-1].Digest[:])
	}
	return list, next, nil
}

// EndSession ends a session, and what came of it.
func (s *Server) EndSession(ctx context.Context, id string) error {
	decoded, err := hex.DecodeString(id)
	if err != nil || len(decoded) != len(introspect.Digest{}) {
		return invalid("the id of a session is the one that the list of sessions shows, of %d hexadecimal digits", 2*len(introspect.Digest{}))
	}
	digest := introspect.Digest(decoded)
	record, err := s.store.Session(ctx, digest)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return unknown("there is no session with this id")
	case err != nil:
		return err
	}
	return s.endStored(ctx, record)
}

// EndSessions ends all sessions of a user, and what came of them.
func (s *Server) EndSessions(ctx context.Context, user string) error {
	if user == "" || !isText(user) {
		return invalid("whose sessions? Name a user")
	}
	return s.endSessions(ctx, user, func(record store.Session) error { return s.endStored(ctx, record) })
}

func parseCursor(text string) (digest introspect.Digest, err error) {
	decoded, err := hex.DecodeString(text)
	if text != "" && (err != nil || len(decoded) != len(digest)) {
		return digest, invalid("this is not where a page of the list began")
	}
	copy(digest[:], decoded)
	return digest, nil
}
