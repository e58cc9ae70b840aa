// Package store says what an authorization server needs from the place where it keeps its state.
//
// Every verb is atomic: what has to happen at most once (redeeming a code, rotating a refresh token, using a jti) is
// one call that exactly one caller wins, never a read followed by a write. Nothing in a store can be used by whoever
// reads it, but for signing keys: tokens, codes and the cookies of sessions are kept as digests only.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

var (
	// ErrNotFound means that the store has no such record: never issued, or swept.
	ErrNotFound = errors.New("not found")
	// ErrConsumed means that somebody else was first: the code is redeemed, the refresh token rotated, the value used.
	ErrConsumed = errors.New("already used")
	// ErrRevoked means that the record is there, and revoked.
	ErrRevoked = errors.New("revoked")
	// ErrUnavailable means that the store could not be opened or does not answer. Nothing is known about the record.
	ErrUnavailable = errors.New("store unavailable")
)

// Kind tells an access token from a refresh token (RFC 6749 sections 1.4 and 1.5).
type Kind string

// The kinds of token.
const (
	Access  Kind = "access_token"
	Refresh Kind = "refresh_token"
)

// Token is what the server knows about a token that it has issued, except the token.
type Token struct {
	Digest introspect.Digest `json:"-"`
	Kind   Kind              `json:"kind"`
	// Family names the authorization that the token descends from. All tokens that came of one authorization code, or
	// of one request for client credentials, have the same one.
	Family   string `json:"family"`
	ClientID string `json:"client_id"`
	// Subject is the user who authorized the token; empty where the client acts for itself (RFC 6749 section 4.4).
	Subject  string   `json:"sub,omitempty"`
	Username string   `json:"username,omitempty"`
	Scope    []string `json:"scope,omitempty"`
	// Audience are the resources that an access token is for, or a refresh token may be exchanged for (RFC 8707).
	Audience []string `json:"aud,omitempty"`
	// Confirmation is the key that whoever presents the token has to have, by its method (RFC 7800 section 3.1).
	Confirmation map[string]string `json:"cnf,omitempty"`
	// AuthTime is when the user signed in, in seconds of Unix time, or 0. ACR is how (RFC 9470 section 6.2).
	AuthTime  int64     `json:"auth_time,omitempty"`
	ACR       string    `json:"acr,omitempty"`
	IssuedAt  time.Time `json:"iat"`
	ExpiresAt time.Time `json:"exp"`
	// Revoked and Rotated are set by the store alone.
	Revoked bool `json:"revoked,omitempty"`
	Rotated bool `json:"rotated,omitempty"`
}

// Code is an authorization code (RFC 6749 section 4.1.2), known by its digest.
type Code struct {
	Digest   introspect.Digest `json:"-"`
	Family   string            `json:"family"`
	ClientID string            `json:"client_id"`
	// ExpiresAt is when the code can no longer be redeemed.
	ExpiresAt time.Time `json:"exp"`
	// KeepUntil is how long the store remembers that the code was redeemed, so that a replay is seen as one while any
	// token that came of it lives. It is not before ExpiresAt.
	KeepUntil time.Time `json:"keep_until"`
	// Request is what the code was issued for, in the server's own form.
	Request []byte `json:"request,omitempty"`
	// Redeemed is set by the store alone.
	Redeemed bool `json:"redeemed,omitempty"`
}

// Session is a browser that somebody has signed in with, known by the digest of its cookie.
type Session struct {
	Digest introspect.Digest `json:"-"`
	// Subject is the user who signed in.
	Subject string `json:"sub"`
	// ExpiresAt is when the session ends by itself.
	ExpiresAt time.Time `json:"exp"`
	// State is what the server knows about the session, in its own form.
	State []byte `json:"state,omitempty"`
}

// Holder says whose tokens are meant: those of a user, of a client, or of both together. One of the two is not empty.
type Holder struct {
	Subject, ClientID string
}

// Holds says whether a token is one of the holder's.
func (h Holder) Holds(token Token) bool {
	return (h.Subject == "" || token.Subject == h.Subject) && (h.ClientID == "" || token.ClientID == h.ClientID)
}

// Record is a document of the server's own, such as a client, a user, a consent or a signing key.
type Record struct {
	// Kind and Name identify the record. They are not empty and contain no NUL.
	Kind, Name string
	// Owner is whose records of the kind are listed together, such as the consents of a user. It does not change.
	Owner string
	// Version counts the changes of the record, from 1.
	Version uint64
	// ExpiresAt is when a sweep may remove the record; zero: never.
	ExpiresAt time.Time
	Value     []byte
}

// RecordDigest is how a record is called in a Revocation.
func RecordDigest(kind, name string) introspect.Digest {
	return introspect.DigestOf(kind + "\x00" + name)
}

// Revocation tells a subscriber which tokens stopped being active, and which records were changed or deleted.
type Revocation struct {
	Digests []introspect.Digest
	// Records are RecordDigest values.
	Records []introspect.Digest
}

// Store keeps the state of one authorization server.
//
// All methods are safe for concurrent use. A method that returned without an error has made its effect durable: it
// outlives the process being killed. A context bounds the wait for the answer; when it ends first the effect may or
// may not have happened. Any error that is none of the package's own wraps ErrUnavailable. The store reads no clock:
// whoever asks judges expiry.
type Store interface {
	// Issue keeps the tokens of one response, all of them or none. As with all verbs that keep a token, a code or a
	// session, one whose digest is there already is ErrConsumed, so that nothing revoked or redeemed is ever brought back.
	Issue(ctx context.Context, tokens ...Token) error
	// Token returns the record of a token, revoked, rotated and expired ones included, or ErrNotFound.
	Token(ctx context.Context, digest introspect.Digest) (Token, error)
	// Rotate marks a refresh token as rotated and keeps its successors, in one step. It returns ErrNotFound,
	// ErrRevoked, or ErrConsumed if the token was rotated before (RFC 9700 section 4.14.2); then nothing is kept. An
	// access token is ErrNotFound here.
	Rotate(ctx context.Context, old introspect.Digest, successors ...Token) error
	// Revoke makes one token inactive for ever. It is idempotent, and ErrNotFound if the token is unknown.
	Revoke(ctx context.Context, digest introspect.Digest) error
	// RevokeFamily makes every token of a family inactive for ever that has been issued by then. An unknown family is
	// no error.
	RevokeFamily(ctx context.Context, family string) error
	// RevokeAll makes every token of a holder inactive for ever that has been issued by then.
	RevokeAll(ctx context.Context, holder Holder) error
	// Tokens returns at most limit tokens of a holder, revoked, rotated and expired ones included, in the order of their
	// digests and behind the given one.
	Tokens(ctx context.Context, holder Holder, after introspect.Digest, limit int) ([]Token, error)

	// PutCode keeps an authorization code.
	PutCode(ctx context.Context, code Code) error
	// Code returns the record of a code, redeemed and expired ones included, or ErrNotFound.
	Code(ctx context.Context, digest introspect.Digest) (Code, error)
	// Redeem marks a code as redeemed and keeps the tokens that it is exchanged for, in one step. It returns
	// ErrNotFound, or ErrConsumed if the code was redeemed before; then nothing is kept.
	Redeem(ctx context.Context, code introspect.Digest, tokens ...Token) error

	// PutOnce keeps a value that may be used once, such as the jti of an assertion (RFC 7523 section 3), until the
	// given instant. It returns ErrConsumed if the value is there.
	PutOnce(ctx context.Context, value string, until time.Time) error

	// PutSession keeps a session.
	PutSession(ctx context.Context, session Session) error
	// Session returns the record of a session, expired ones included, or ErrNotFound.
	Session(ctx context.Context, digest introspect.Digest) (Session, error)
	// EndSession forgets a session. An unknown one is no error.
	EndSession(ctx context.Context, digest introspect.Digest) error
	// Sessions returns at most limit sessions of a user, expired ones included, in the order of their digests and behind
	// the given one.
	Sessions(ctx context.Context, subject string, after introspect.Digest, limit int) ([]Session, error)

	// PutRecord keeps a record in the place of the version that record.Version names, 0 for none, and counts it up. It
	// returns ErrConsumed if the store has another version by now, or has none.
	PutRecord(ctx context.Context, record Record) error
	// Record returns a record, expired ones included, or ErrNotFound.
	Record(ctx context.Context, kind, name string) (Record, error)
	// DeleteRecord forgets a record. An unknown one is no error.
	DeleteRecord(ctx context.Context, kind, name string) error
	// Records returns at most limit records of a kind, of one owner unless owner is empty, expired ones included, in the
	// order of their names and behind the given one.
	Records(ctx context.Context, kind, owner, after string, limit int) ([]Record, error)

	// Sweep removes at most limit records whose time was up at the given instant, and says how many it removed.
	Sweep(ctx context.Context, now time.Time, limit int) (int, error)

	// Subscribe calls notify for every revocation and rotation, and every change of a record, that took effect in this process, after it is durable
	// and before the call that caused it returns, so that whoever was told of a success knows that it is seen
	// everywhere in the process. A store that several processes share tells of those of the others, too, when it hears of
	// them. notify must not block and must not call the store. The returned function ends it.
	Subscribe(notify func(Revocation)) (cancel func())

	// Close releases what the store holds. It waits for calls under way; later calls return ErrUnavailable.
	Close() error
}
