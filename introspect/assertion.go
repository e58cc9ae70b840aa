package introspect

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// ClientAssertion signs in with a JWT that the client has signed (RFC 7523 section 2.2): with its secret, which is
// client_secret_jwt, or with its private key, which is private_key_jwt. Every request has an assertion of its own.
type ClientAssertion struct {
	id       string
	audience string
	signer   jose.Signer
	now      func() time.Time
}

const (
	// assertionType is the client_assertion_type of a JWT (RFC 7523 section 2.2).
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// assertionLife is how long an assertion is good: long enough for clocks that differ, too short to be of use to whoever
	// finds it.
	assertionLife = time.Minute
	// leastSecret is the shortest secret for HS256, in bytes (RFC 7518 section 3.2), and leastRSA the shortest RSA key, in
	// bits (section 3.3).
	leastSecret = 32
	leastRSA    = 2048
)

// NewSecretAssertion returns a ClientAssertion that is signed with the client's secret, by HS256.
func NewSecretAssertion(id, secret, audience string, now func() time.Time) (*ClientAssertion, error) {
	if len(secret) < leastSecret {
		return nil, fmt.Errorf("client_secret_jwt needs a secret of at least %d bytes (RFC 7518 section 3.2)", leastSecret)
	}
	return newAssertion(id, audience, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret)}, now)
}

// NewKeyAssertion returns a ClientAssertion that is signed with a private key, which is a PEM block, a JWK, or a JWK set
// (RFC 7517). The key id is the given one, else the JWK's own; in a set it chooses the key.
func NewKeyAssertion(id string, key []byte, keyID, audience string, now func() time.Time) (*ClientAssertion, error) {
	jwk, err := parsePrivateKey(key, keyID)
	if err != nil {
		return nil, err
	}
	algorithm, err := signatureAlgorithm(jwk)
	if err != nil {
		return nil, err
	}
	return newAssertion(id, audience, jose.SigningKey{Algorithm: algorithm, Key: jwk}, now)
}

func newAssertion(id, audience string, key jose.SigningKey, now func() time.Time) (*ClientAssertion, error) {
	// The type is of RFC 7523bis, which tells a client assertion from any other JWT.
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("client-authentication+jwt"))
	if err != nil {
		return nil, fmt.Errorf("the key cannot sign: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	return &ClientAssertion{id: id, audience: audience, signer: signer, now: now}, nil
}

// Authenticate sets the parameters client_id, client_assertion_type and client_assertion.
func (a *ClientAssertion) Authenticate(_ *http.Request, form url.Values) error {
	now := a.now()
	// RFC 7523 section 3. The audience is one string, since servers compare it.
	assertion, err := jwt.Signed(a.signer).Claims(map[string]any{
		"iss": a.id,
		"sub": a.id,
		"aud": a.audience,
		"jti": rand.Text(),
		"iat": now.Unix(),
		"exp": now.Add(assertionLife).Unix(),
	}).Serialize()
	if err != nil {
		return fmt.Errorf("%w: signing the client assertion", ErrCredentials)
	}
	form.Set("client_id", a.id)
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion)
	return nil
}

// parsePrivateKey reads a PEM block, a JWK or a JWK set. Its errors hold nothing of the key.
func parsePrivateKey(text []byte, keyID string) (jose.JSONWebKey, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		key, err := parsePEM(text)
		return jose.JSONWebKey{Key: key, KeyID: keyID}, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) == nil && len(set.Keys) > 0 {
		return chooseKey(set.Keys, keyID)
	}
	var jwk jose.JSONWebKey
	if json.Unmarshal(text, &jwk) != nil {
		return jwk, errors.New("the file holds no JWK that can be used")
	}
	if jwk.IsPublic() {
		return jwk, errors.New("the file holds a public key: the private one is needed to sign")
	}
	if keyID != "" {
		jwk.KeyID = keyID
	}
	return jwk, nil
}

// chooseKey finds the private key in a set. A key that is not understood does not count (RFC 7517 section 5).
func chooseKey(set []json.RawMessage, keyID string) (jose.JSONWebKey, error) {
	var found []jose.JSONWebKey
	for _, text := range set {
		var jwk jose.JSONWebKey
		if json.Unmarshal(text, &jwk) == nil && !jwk.IsPublic() && (keyID == "" || jwk.KeyID == keyID) {
			found = append(found, jwk)
		}
	}
	if len(found) != 1 {
		return jose.JSONWebKey{}, fmt.Errorf("the JWK set has %d private keys that fit: name one, 'client_key <file> <kid>'", len(found))
	}
	return found[0], nil
}

func parsePEM(text []byte) (any, error) {
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			return nil, errors.New("the file holds neither a PEM block 'PRIVATE KEY' nor a JWK")
		}
		// The header is of RFC 1421, which OpenSSL wrote before PKCS #8.
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the private key is encrypted: decrypt it, for example with 'openssl pkey'")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default: // EC PARAMETERS and certificates stand in the same files
			continue
		}
		if err != nil {
			return nil, errors.New("the private key in the PEM block cannot be read")
		}
		return key, nil
	}
}

// signatureAlgorithm is the one that the key says, or the one that every server knows for keys of its kind.
func signatureAlgorithm(jwk jose.JSONWebKey) (jose.SignatureAlgorithm, error) {
	var fitting []jose.SignatureAlgorithm
	switch key := jwk.Key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < leastRSA {
			return "", fmt.Errorf("an RSA key must have at least %d bits (RFC 7518 section 3.3)", leastRSA)
		}
		fitting = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			fitting = []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			fitting = []jose.SignatureAlgorithm{jose.ES384}
		case elliptic.P521():
			fitting = []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PrivateKey:
		fitting = []jose.SignatureAlgorithm{jose.EdDSA}
	}
	if len(fitting) == 0 {
		return "", errors.New("the key is of a kind that cannot sign: it must be RSA, EC (P-256, P-384, P-521) or Ed25519")
	}
	if jwk.Algorithm == "" {
		return fitting[0], nil
	}
	for _, algorithm := range fitting {
		if string(algorithm) == jwk.Algorithm {
			return algorithm, nil
		}
	}
	return "", fmt.Errorf("the key does not fit its own alg %q", jwk.Algorithm)
}
