// Package testdpop makes DPoP proofs (RFC 9449), good and bad ones, for tests.
package testdpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Key is a client's key pair, on P-256.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key pair.
func NewKey(t testing.TB) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return &Key{private}
}

// JWK is the public key (RFC 7517).
func (k *Key) JWK() map[string]any {
	point, err := k.private.PublicKey.Bytes()
	if err != nil {
		panic(err) // it is on the curve
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
}

// PrivateJWK is the key pair.
func (k *Key) PrivateJWK() map[string]any {
	jwk := k.JWK()
	secret, err := k.private.Bytes()
	if err != nil {
		panic(err) // it is on the curve
	}
	jwk["d"] = encode(secret)
	return jwk
}

// JKT is the thumbprint of the key (RFC 7638).
func (k *Key) JKT() string {
	jwk := k.JWK()
	hash := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + jwk["x"].(string) + `","y":"` + jwk["y"].(string) + `"}`))
	return encode(hash[:])
}

// Parts are what a proof says: its header and its claims.
type Parts struct{ Header, Claims map[string]any }

// Edit changes what a proof says before it is signed.
type Edit func(Parts)

// Claim sets a claim, or removes it if the value is nil.
func Claim(name string, value any) Edit {
	return func(p Parts) { set(p.Claims, name, value) }
}

// Header sets a member of the header, or removes it if the value is nil.
func Header(name string, value any) Edit {
	return func(p Parts) { set(p.Header, name, value) }
}

// Token sets the ath of an access token.
func Token(token string) Edit {
	hash := sha256.Sum256([]byte(token))
	return Claim("ath", encode(hash[:]))
}

// Nonce sets the nonce.
func Nonce(nonce string) Edit { return Claim("nonce", nonce) }

func set(members map[string]any, name string, value any) {
	if value == nil {
		delete(members, name)
		return
	}
	members[name] = value
}

// Proof makes a proof for a request, with a jti of its own, of now.
func (k *Key) Proof(t testing.TB, method, url string, edits ...Edit) string {
	t.Helper()
	p := Parts{
		Header: map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.JWK()},
		Claims: map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()},
	}
	for _, edit := range edits {
		edit(p)
	}
	header, err := json.Marshal(p.Header)
	require.NoError(t, err)
	claims, err := json.Marshal(p.Claims)
	require.NoError(t, err)
	return k.Sign(t, string(header), string(claims))
}

// Sign makes a JWS of a header and a payload as they are, signed with ES256 whatever the header says.
func (k *Key) Sign(t testing.TB, header, payload string) string {
	t.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, hash[:])
	require.NoError(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature)
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }
