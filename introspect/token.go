package introspect

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"time"
)

// Digest is the SHA-256 of a token. It is the only form in which a token is kept anywhere: as the key of what is
// remembered, and as the name of what an authorization server has issued. Tokens carry enough entropy that a fast,
// unkeyed hash cannot be turned back.
type Digest [sha256.Size]byte

// DigestOf is the one digest function of the project.
func DigestOf(token string) Digest {
	// Most tokens fit here, and are copied without an allocation.
	var buffer [256]byte
	return sha256.Sum256(append(buffer[:0], token...))
}

// Equal compares in constant time.
func (d Digest) Equal(other Digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

// Token is what an Introspector is asked about: an access token as the client presented it, and how fresh the answer
// has to be. It lives as long as one request, and it never prints the token. The zero value is no token.
// A Token is immutable and safe for concurrent use.
type Token struct {
	value  string
	digest Digest
	since  time.Time
	// confirming says that an answer is remembered, which has to be confirmed.
	confirming bool
	// known says that the authority has called the token active already.
	known bool
	// from is the address of the client that presented it.
	from string
}

// NewToken makes a Token of the token68 text that a client presented (RFC 6750 section 2.1).
func NewToken(value string) Token { return Token{value: value, digest: DigestOf(value)} }

// Value is the token itself.
func (t Token) Value() string { return t.value }

// Digest is the SHA-256 of the token, computed once.
func (t Token) Digest() Digest { return t.digest }

// AskedSince returns the same token with the demand that the authority be asked about it no earlier than at the given
// instant. Without the demand, or with the zero time, an answer of any age that may still be remembered will do.
func (t Token) AskedSince(instant time.Time) Token {
	t.since = instant
	return t
}

// Since is the instant given to AskedSince, or the zero time.
func (t Token) Since() time.Time { return t.since }

// Confirming returns the same token with the remark that an answer is remembered and has to be confirmed, which comes before
// what nobody knows.
func (t Token) Confirming() Token {
	t.confirming = true
	return t
}

// String hides the token.
func (t Token) String() string { return "[token]" }

// GoString hides the token from %#v.
func (t Token) GoString() string { return "[token]" }

// LogValue hides the token from log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue("[token]") }

// MarshalText hides the token from encoding/json and its like.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
