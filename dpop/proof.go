package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// algorithms are those that a proof may be signed with: asymmetric ones only (RFC 9449 section 4.3).
var algorithms = []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512,
}

// Algorithms lists the algorithms that a proof may be signed with, as metadata and challenges name them.
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, algorithm := range algorithms {
		names[i] = string(algorithm)
	}
	return names
}

const (
	// The RSA keys that are taken, in bits: RFC 7518 section 3.3 sets the least, and the time that a verification takes
	// the most.
	leastRSA, mostRSA = 2048, 4096
	// lastInstant is the end of the year 9999.
	lastInstant = 253402300799
)

// proof is a proof that has been read. Until its signature is verified, what it says is only what somebody says.
type proof struct {
	jws    *jose.JSONWebSignature
	key    *jose.JSONWebKey
	claims claims
}

// claims are those of RFC 9449 section 4.2, and those of RFC 7519 that bound any JWT.
type claims struct {
	ID        string   `json:"jti"`
	Method    string   `json:"htm"`
	URL       string   `json:"htu"`
	IssuedAt  *instant `json:"iat"`
	Expiry    *instant `json:"exp"`
	NotBefore *instant `json:"nbf"`
	TokenHash string   `json:"ath"`
	Nonce     string   `json:"nonce"`
}

// privateMembers are the members of a JWK that hold a private or a symmetric key (RFC 7518 section 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// read reads the one proof of a header. Members that are there twice, or of another type, are errors.
func read(lines []string) (*proof, error) {
	switch {
	case len(lines) == 0:
		return nil, errors.New("the header DPoP is absent")
	case len(lines) > 1:
		return nil, errors.New("the header DPoP has more than one line")
	case len(lines[0]) > maxProof:
		return nil, fmt.Errorf("it has more than %d bytes", maxProof)
	}
	text := strings.Trim(lines[0], " \t")
	header, _, _ := strings.Cut(text, ".")
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errors.New("it is not a JWS signed by one of the algorithms, with a public key of its kind")
	}
	p := &proof{jws: jws, key: jws.Signatures[0].Protected.JSONWebKey}
	if err := checkKey(p.key, jose.SignatureAlgorithm(jws.Signatures[0].Protected.Algorithm)); err != nil {
		return nil, err
	}
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &p.claims) != nil {
		return nil, errors.New("its claims cannot be read")
	}
	return p, nil
}

// checkHeader checks what makes a JWS a proof: its type, and that its key is there and public. No extension is
// understood, so that none may be critical (RFC 7515 section 4.1.11).
func checkHeader(text string) error {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	var header struct {
		Type     string                     `json:"typ"`
		Key      map[string]json.RawMessage `json:"jwk"`
		Critical json.RawMessage            `json:"crit"`
		Encoded  json.RawMessage            `json:"b64"`
	}
	switch {
	case err != nil || json.Unmarshal(decoded, &header) != nil:
		return errors.New("it is not one JWS in compact form")
	case header.Type != "dpop+jwt":
		return errors.New("typ is not dpop+jwt")
	case header.Critical != nil || header.Encoded != nil:
		return errors.New("it has a critical extension")
	case len(header.Key) == 0:
		return errors.New("it has no jwk")
	}
	for _, member := range privateMembers {
		if _, found := header.Key[member]; found {
			return errors.New("its jwk is not a public key")
		}
	}
	return nil
}

// checkKey checks that a key is for signatures of an algorithm.
func checkKey(key *jose.JSONWebKey, algorithm jose.SignatureAlgorithm) error {
	switch {
	case key == nil || !slices.Contains(algorithmsOf(key.Key), algorithm), key.Algorithm != "" && key.Algorithm != string(algorithm):
		return errors.New("its key is not for its algorithm")
	case key.Use != "" && key.Use != "sig":
		return errors.New("its key is not for signatures")
	}
	return nil
}

// algorithmsOf lists the algorithms that a public key is for.
func algorithmsOf(key any) []jose.SignatureAlgorithm {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= leastRSA && bits <= mostRSA {
			return []jose.SignatureAlgorithm{jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512}
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// thumbprint is that of the key (RFC 7638).
func (p *proof) thumbprint() string {
	thumbprint, _ := p.key.Thumbprint(crypto.SHA256) // it has one, as its algorithm is known
	return base64.RawURLEncoding.EncodeToString(thumbprint)
}

func (p *proof) verify() error {
	if _, err := p.jws.Verify(p.key.Key); err != nil {
		return errors.New("its signature is wrong")
	}
	return nil
}

// instant is a NumericDate (RFC 7519 section 2).
type instant struct{ time.Time }

func (i *instant) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || seconds < 0 || seconds > lastInstant {
		return errors.New("not a NumericDate")
	}
	whole, fraction := math.Modf(seconds)
	i.Time = time.Unix(int64(whole), int64(fraction*float64(time.Second)))
	return nil
}
