package dpop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// nonceLife is how long one nonce is handed out. It is good for as long again.
const nonceLife = 2 * time.Minute

// Nonces are what a server makes clients put into their proofs, so that none can be made long before it is used
// (RFC 9449 sections 8 and 9). There is one for each span of time, sealed under a secret: nothing is stored, and nobody
// else can tell the next one. They are immutable and safe for concurrent use.
type Nonces struct{ secret []byte }

// NewNonces returns nonces of their own: no other server's are good.
func NewNonces() *Nonces {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // it never fails
	return &Nonces{secret}
}

// NoncesOf returns the nonces of a secret of 32 random bytes or more. Servers that share it take each other's.
func NoncesOf(secret []byte) *Nonces { return &Nonces{secret} }

// at returns the nonce that is handed out at an instant.
func (n *Nonces) at(instant time.Time) string { return n.of(spanOf(instant)) }

func spanOf(instant time.Time) int64 { return instant.UnixNano() / int64(nonceLife) }

func (n *Nonces) of(span int64) string {
	seal := hmac.New(sha256.New, n.secret)
	_, _ = seal.Write([]byte("DPoP-Nonce"))
	_, _ = seal.Write(binary.BigEndian.AppendUint64(nil, uint64(span)))
	return base64.RawURLEncoding.EncodeToString(seal.Sum(nil)[:18])
}

// check tells whether a nonce is good, and whether it is the one before the current one.
func (n *Nonces) check(nonce string, now time.Time) (good, old bool) {
	if n == nil || nonce == "" {
		return false, false
	}
	span := spanOf(now)
	switch {
	case subtle.ConstantTimeCompare([]byte(nonce), []byte(n.of(span))) == 1:
		return true, false
	case subtle.ConstantTimeCompare([]byte(nonce), []byte(n.of(span-1))) == 1:
		return true, true
	}
	return false, false
}
