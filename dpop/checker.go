// Package dpop checks proofs of possession (RFC 9449): that whoever presents a token, or asks for one, holds a private
// key, and proves it for this request and now.
package dpop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrInvalid means that the request has no valid proof (invalid_dpop_proof).
	ErrInvalid = errors.New("no valid DPoP proof")
	// ErrNonce means that the proof is valid but for its nonce, which is demanded and absent, or not good any more
	// (use_dpop_nonce).
	ErrNonce = errors.New("the DPoP proof has no nonce that is good now")
	// ErrOtherKey means that the proof is made with another key than the one that is demanded.
	ErrOtherKey = errors.New("the DPoP proof is made with another key")
	// ErrUnavailable means that there is no telling whether the proof was used before, so that it is not accepted.
	ErrUnavailable = errors.New("no telling whether the DPoP proof was used before")
)

const (
	// DefaultMaxAge is how old a proof may be where nobody says otherwise. A client makes one for each request, so that
	// this is for the way and for the difference of the clocks.
	DefaultMaxAge = time.Minute
	// DefaultAhead is how far in the future a proof may be from where nobody says otherwise.
	DefaultAhead = 10 * time.Second
	// maxProof bounds the length of a proof, in bytes. One with an RSA key of 4096 bits takes 2 KB.
	maxProof = 8 << 10
	// maxID bounds the length of a jti, in bytes.
	maxID = 256
)

// Memory remembers which proofs were used. It is safe for concurrent use.
type Memory interface {
	// UseOnce uses a proof up, and remembers that until the given instant at least. It returns ErrReplayed if it was used
	// before; of any number of calls for one proof, one succeeds. Any other error means that there is no telling.
	UseOnce(ctx context.Context, proof Digest, until time.Time) error
}

// ErrReplayed means that a proof was used before.
var ErrReplayed = errors.New("the proof was used before")

// Digest names a proof, by its key, its jti and its URL.
type Digest [sha256.Size]byte

// Config is what a Checker is made of.
type Config struct {
	// Memory remembers which proofs were used. It is needed.
	Memory Memory
	// Nonces are those that a proof may have to hold one of. Without them no nonce is ever good.
	Nonces *Nonces
	// MaxAge is how old a proof may be. Default: DefaultMaxAge.
	MaxAge time.Duration
	// Ahead is how far in the future a proof may be from. Default: DefaultAhead.
	Ahead time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Checker checks proofs. It is immutable and safe for concurrent use.
type Checker struct{ config Config }

// NewChecker makes a Checker.
func NewChecker(config Config) *Checker {
	if config.MaxAge == 0 {
		config.MaxAge = DefaultMaxAge
	}
	if config.Ahead == 0 {
		config.Ahead = DefaultAhead
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Checker{config}
}

// Request is a request and what its proof has to prove.
type Request struct {
	// Header are the lines of the DPoP header, all of them.
	Header []string
	// Method is the method of the request, in its own case.
	Method string
	// URL is the target of the request as its client wrote it: scheme, host and escaped path. Query and fragment do not count.
	URL string
	// AccessToken is the token that the request presents. It is empty where a token is asked for, and no ath is demanded.
	AccessToken string
	// Key is the thumbprint of the key that the proof has to be made with (the jkt of RFC 9449 section 6.1). If it is empty
	// any key will do.
	Key string
	// Nonce says that the proof has to hold a nonce that is good.
	Nonce bool
}

// Proof is what a valid proof proves.
type Proof struct {
	// JKT is the thumbprint of the key (RFC 7638, with SHA-256, in base64url).
	JKT string
	// HasNonce says that the proof holds a nonce that is good, demanded or not.
	HasNonce bool
	// Renew says that this nonce is not the current one, and will not be good for long.
	Renew bool
}

// Check does all that RFC 9449 section 4.3 demands, and uses the proof up: it is not valid another time. Only a proof
// that is good in all else is used up. The errors are ErrInvalid, ErrNonce, ErrOtherKey and ErrUnavailable, and their
// texts repeat nothing of what was sent.
func (c *Checker) Check(ctx context.Context, request Request) (Proof, error) {
	now := c.config.Now()
	p, err := read(request.Header)
	if err != nil {
		return Proof{}, invalid(err)
	}
	target, err := p.check(request, now, c.config)
	if err != nil {
		return Proof{}, invalid(err)
	}
	proof := Proof{JKT: p.thumbprint()}
	if request.Key != "" && request.Key != proof.JKT {
		return Proof{}, ErrOtherKey
	}
	if err := p.verify(); err != nil {
		return Proof{}, invalid(err)
	}
	proof.HasNonce, proof.Renew = c.config.Nonces.check(p.claims.Nonce, now)
	if request.Nonce && !proof.HasNonce {
		return Proof{}, ErrNonce
	}
	err = c.config.Memory.UseOnce(ctx, digestOf(proof.JKT, p.claims.ID, target), p.claims.IssuedAt.Add(c.config.MaxAge))
	switch {
	case errors.Is(err, ErrReplayed):
		return Proof{}, invalid(err)
	case err != nil:
		return Proof{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return proof, nil
}

// Nonce is the nonce that clients should use now, or nothing if there are none.
func (c *Checker) Nonce() string {
	if c.config.Nonces == nil {
		return ""
	}
	return c.config.Nonces.at(c.config.Now())
}

func invalid(err error) error { return fmt.Errorf("%w: %w", ErrInvalid, err) }

// check compares what the proof says with the request, and returns the target of both.
func (p *proof) check(request Request, now time.Time, config Config) (target string, err error) {
	c := &p.claims
	switch {
	case c.ID == "" || len(c.ID) > maxID:
		return "", fmt.Errorf("jti must have from 1 to %d bytes", maxID)
	case c.Method == "" || c.Method != request.Method:
		return "", errors.New("htm is not the method of the request")
	case c.IssuedAt == nil:
		return "", errors.New("it has no iat")
	case !now.Before(c.IssuedAt.Add(config.MaxAge)):
		return "", errors.New("it is too old (iat)")
	case c.IssuedAt.After(now.Add(config.Ahead)):
		return "", errors.New("it is from the future (iat)")
	case c.Expiry != nil && !now.Before(c.Expiry.Time):
		return "", errors.New("it has expired (exp)")
	case c.NotBefore != nil && c.NotBefore.After(now.Add(config.Ahead)):
		return "", errors.New("it is not valid yet (nbf)")
	case request.AccessToken != "" && c.TokenHash != TokenHash(request.AccessToken):
		return "", errors.New("ath is not the hash of the token")
	}
	if target, err = normalize(request.URL); err != nil {
		return "", fmt.Errorf("the URL of the request: %w", err)
	}
	claimed, err := normalize(c.URL)
	switch {
	case err != nil:
		return "", fmt.Errorf("htu: %w", err)
	case claimed != target:
		return "", errors.New("htu is not the URL of the request")
	}
	return target, nil
}

// TokenHash is the ath of an access token.
func TokenHash(token string) string {
	hash := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// digestOf is a digest over texts, each behind its length.
func digestOf(texts ...string) (digest Digest) {
	var buffer [512]byte
	all := buffer[:0]
	for _, text := range texts {
		all = binary.BigEndian.AppendUint32(all, uint32(len(text)))
		all = append(all, text...)
	}
	return sha256.Sum256(all)
}
