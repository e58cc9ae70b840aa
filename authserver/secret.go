package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Secret checks a client secret or a password. It is kept as a digest, or as the hash that the operator gave. It is safe for
// concurrent use.
type Secret struct {
	verify func(secret string) bool
	slow   bool
	// key is the secret itself, where clients sign with it.
	key []byte
	// version changes with the hash.
	version string
	// known is the digest of a secret that has passed a slow check, so that a client pays for it once.
	known atomic.Pointer[[sha256.Size]byte]
}

// NewSecret takes a secret as it is, or its hash: argon2id ($argon2id$…) or bcrypt ($2…).
func NewSecret(text string) (*Secret, error) {
	switch {
	case text == "":
		return nil, errors.New("the secret is empty")
	case strings.HasPrefix(text, "$argon2"):
		hash, err := parseArgon2id(text)
		if err != nil {
			return nil, fmt.Errorf("argon2id hash: %w", err)
		}
		return &Secret{verify: hash.verify, slow: true, version: versionOf(text)}, nil
	case strings.HasPrefix(text, "$2"):
		if _, err := bcrypt.Cost([]byte(text)); err != nil {
			return nil, errors.New("the secret begins like a bcrypt hash and is none")
		}
		verify := func(secret string) bool { return bcrypt.CompareHashAndPassword([]byte(text), []byte(secret)) == nil }
		return &Secret{verify: verify, slow: true, version: versionOf(text)}, nil
	}
	wanted := sha256.Sum256([]byte(text))
	return &Secret{verify: func(secret string) bool {
		digest := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(digest[:], wanted[:]) == 1
	}}, nil
}

// How secrets are hashed that are hashed here, as Caddy's own hash-password does.
const (
	hashTime    = 1
	hashMemory  = 46 << 10 // KiB
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

// HashSecret returns the argon2id hash of a secret.
func HashSecret(secret string) string {
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails
	hash := argon2.IDKey([]byte(secret), salt, hashTime, hashMemory, hashThreads, hashLength)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads, encode(salt), encode(hash))
}

// leastSigningSecret is the shortest secret that a client may sign with, in bytes (RFC 7518 section 3.2).
const leastSigningSecret = 32

// NewSigningSecret takes the secret of a client that signs with it, by client_secret_jwt. It cannot be a hash.
func NewSigningSecret(text string) (*Secret, error) {
	secret, err := NewSecret(text)
	switch {
	case err != nil:
		return nil, err
	case secret.slow:
		return nil, errors.New("client_secret_jwt needs the secret itself, not its hash")
	case len(text) < leastSigningSecret:
		return nil, fmt.Errorf("client_secret_jwt needs a secret of at least %d bytes (RFC 7518 section 3.2)", leastSigningSecret)
	}
	secret.key = []byte(text)
	return secret, nil
}

// versionOf tells one hash from another, and nothing else about it: a hash is salted.
func versionOf(hash string) string {
	digest := sha256.Sum256([]byte(hash))
	return base64.RawURLEncoding.EncodeToString(digest[:16])
}

// slowChecks bounds the slow checks under way, each of which takes a core and megabytes for a while: strangers who try
// secrets get half of the machine at most, and the gateway the rest. slowWaiting bounds who waits for one.
var (
	slowChecks  = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	slowWaiting atomic.Int64
)

const maxSlowWaiting = 64

// errBusy means that too many secrets are being checked.
var errBusy = errors.New("too many secrets are being checked")

// isKnown says whether a secret is the right one, if that takes no time worth mentioning.
func (s *Secret) isKnown(secret string) bool {
	if !s.slow {
		return s.verify(secret)
	}
	digest := sha256.Sum256([]byte(secret))
	known := s.known.Load()
	return known != nil && subtle.ConstantTimeCompare(digest[:], known[:]) == 1
}

// matches says whether a secret is the right one, in a time that does not tell how much of it is. It returns an error
// if the context ends before the check could begin, or too many others wait.
func (s *Secret) matches(ctx context.Context, secret string) (bool, error) {
	if !s.slow {
		return s.verify(secret), nil
	}
	digest := sha256.Sum256([]byte(secret))
	if known := s.known.Load(); known != nil && subtle.ConstantTimeCompare(digest[:], known[:]) == 1 {
		return true, nil
	}
	matches, err := s.verifySlowly(ctx, secret)
	if matches {
		s.known.Store(&digest)
	}
	return matches, err
}

// verifySlowly checks a secret as one of few at a time, and remembers nothing of it.
func (s *Secret) verifySlowly(ctx context.Context, secret string) (matches bool, err error) {
	err = slowly(ctx, func() { matches = s.verify(secret) })
	return matches, err
}

// slowly does something that takes a core for a while, as one of few at a time.
func slowly(ctx context.Context, do func()) error {
	defer slowWaiting.Add(-1)
	if slowWaiting.Add(1) > maxSlowWaiting {
		return errBusy
	}
	select {
	case slowChecks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-slowChecks }()
	do()
	return nil
}

// decoySecret is the secret of whoever names a client that does not exist: if some clients' secrets take long to check, so
// does this one.
func (s *Server) decoySecret() *Secret {
	if known := s.state.directory.secret.Load(); known != nil && !s.decoy.Secret.slow {
		verify := known.verify
		return &Secret{slow: true, verify: func(secret string) bool { verify(secret); return false }}
	}
	return s.decoy.Secret
}

// newDecoy returns a client for those who name one that does not exist: checking its secret takes as long as checking
// a registered one's, and never succeeds.
func newDecoy(clients map[string]*Client) *Client {
	decoy := &Client{Secret: &Secret{verify: func(secret string) bool {
		digest := sha256.Sum256([]byte(secret))
		unguessable := sha256.Sum256([]byte(rand.Text()))
		return subtle.ConstantTimeCompare(digest[:], unguessable[:]) == 1
	}}}
	for _, client := range clients {
		if client.Secret != nil && client.Secret.slow {
			verify := client.Secret.verify
			decoy.Secret = &Secret{slow: true, verify: func(secret string) bool { verify(secret); return false }}
			break
		}
	}
	return decoy
}

// argon2idHash is a hash in the PHC string format: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
type argon2idHash struct {
	memory, time uint32
	threads      uint8
	salt, hash   []byte
}

// The most that a hash may cost to check. A hash is written by the operator; a mistyped one must not stop the server.
const (
	maxArgon2Memory = 1 << 20 // KiB
	maxArgon2Time   = 64
)

func parseArgon2id(text string) (*argon2idHash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return nil, errors.New("must be $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	}
	var h argon2idHash
	var version int
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return nil, fmt.Errorf("version must be v=%d", argon2.Version)
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return nil, errors.New("parameters must be m=…,t=…,p=…")
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return nil, errors.New("salt is not base64 without padding")
	}
	if h.hash, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return nil, errors.New("hash is not base64 without padding")
	}
	switch {
	case h.time < 1 || h.time > maxArgon2Time || h.threads < 1 || h.memory < 8 || h.memory > maxArgon2Memory:
		return nil, errors.New("parameters out of range")
	case len(h.salt) < 8 || len(h.hash) < 16 || len(h.hash) > 128:
		return nil, errors.New("salt or hash is too short or too long")
	}
	return &h, nil
}

func (h *argon2idHash) verify(secret string) bool {
	hash := argon2.IDKey([]byte(secret), h.salt, h.time, h.memory, h.threads, uint32(len(h.hash)))
	return subtle.ConstantTimeCompare(hash, h.hash) == 1
}
