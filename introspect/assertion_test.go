package introspect_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// hmacSecret has the 32 bytes that HS256 needs.
const hmacSecret = "a-secret-of-exactly-32-bytes-4Rt"

// keys are the private keys of these tests.
var keys = sync.OnceValue(func() (all struct {
	rsa, shortRSA    *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	p224             *ecdsa.PrivateKey
	ed25519          ed25519.PrivateKey
},
) {
	all.rsa = must(rsa.GenerateKey(rand.Reader, 2048))
	all.shortRSA = must(rsa.GenerateKey(rand.Reader, 1024))
	all.p224 = must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	all.p256 = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	all.p384 = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	all.p521 = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, all.ed25519, _ = ed25519.GenerateKey(rand.Reader)
	return all
})

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(key any) []byte { return pemBlock("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }

func sec1(key *ecdsa.PrivateKey) []byte {
	return pemBlock("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key)))
}

func pkcs1(key *rsa.PrivateKey) []byte {
	return pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

// parameters is the block that OpenSSL writes before an EC key: the name of the curve P-256.
func parameters() []byte {
	return pemBlock("EC PARAMETERS", must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})))
}

func publicPEM(key crypto.Signer) []byte {
	return pemBlock("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public())))
}

func jwk(key any, kid, algorithm string) []byte {
	return must(json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: algorithm}))
}

func jwks(keys ...[]byte) []byte {
	return slices.Concat([]byte(` {"keys":[`), bytes.Join(keys, []byte(",")), []byte("]}\n"))
}

// members are what an assertion says.
type members struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// readAssertion verifies an assertion as an authorization server does, and returns its header and what it says.
func readAssertion(t *testing.T, assertion string, key any, algorithm jose.SignatureAlgorithm) (jose.Header, members) {
	t.Helper()
	parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{algorithm})
	require.NoError(t, err)
	var said members
	require.NoError(t, parsed.Claims(key, &said))
	require.Len(t, parsed.Headers, 1)
	return parsed.Headers[0], said
}

func TestC06ClientAssertions(t *testing.T) {
	k := keys()
	for name, test := range map[string]struct {
		key       []byte
		kid       string // that is asked for
		algorithm jose.SignatureAlgorithm
		public    crypto.PublicKey
		names     string // the kid in the header
	}{
		"RSA, PKCS #8":                    {pkcs8(k.rsa), "", jose.RS256, k.rsa.Public(), ""},
		"RSA, PKCS #1":                    {pkcs1(k.rsa), "k1", jose.RS256, k.rsa.Public(), "k1"},
		"RSA, JWK":                        {jwk(k.rsa, "k1", ""), "", jose.RS256, k.rsa.Public(), "k1"},
		"RSA, JWK, RS512":                 {jwk(k.rsa, "", "RS512"), "", jose.RS512, k.rsa.Public(), ""},
		"RSA, JWK, PS256":                 {jwk(k.rsa, "", "PS256"), "", jose.PS256, k.rsa.Public(), ""},
		"P-256, PKCS #8":                  {pkcs8(k.p256), "", jose.ES256, k.p256.Public(), ""},
		"P-256, SEC 1":                    {sec1(k.p256), "", jose.ES256, k.p256.Public(), ""},
		"P-256, SEC 1, as OpenSSL writes": {slices.Concat(parameters(), sec1(k.p256)), "", jose.ES256, k.p256.Public(), ""},
		"P-256, behind words":             {slices.Concat([]byte("Bag Attributes\n  x: y\n"), pkcs8(k.p256)), "", jose.ES256, k.p256.Public(), ""},
		"P-256, behind its public key":    {slices.Concat(publicPEM(k.p256), pkcs8(k.p256)), "", jose.ES256, k.p256.Public(), ""},
		"P-256, lines that end in CR LF":  {bytes.ReplaceAll(pkcs8(k.p256), []byte("\n"), []byte("\r\n")), "", jose.ES256, k.p256.Public(), ""},
		"P-256, JWK, another kid":         {jwk(k.p256, "k1", "ES256"), "k2", jose.ES256, k.p256.Public(), "k2"},
		"P-384, PKCS #8":                  {pkcs8(k.p384), "", jose.ES384, k.p384.Public(), ""},
		"P-521, SEC 1":                    {sec1(k.p521), "", jose.ES512, k.p521.Public(), ""},
		"P-521, JWK":                      {jwk(k.p521, "", ""), "", jose.ES512, k.p521.Public(), ""},
		"Ed25519, PKCS #8":                {pkcs8(k.ed25519), "", jose.EdDSA, k.ed25519.Public(), ""},
		"Ed25519, JWK":                    {jwk(k.ed25519, "k1", "EdDSA"), "", jose.EdDSA, k.ed25519.Public(), "k1"},
		"a set of one":                    {jwks(jwk(k.p256, "k1", "")), "", jose.ES256, k.p256.Public(), "k1"},
		"a set, by kid":                   {jwks(jwk(k.rsa, "k1", ""), jwk(k.p384, "k2", "")), "k2", jose.ES384, k.p384.Public(), "k2"},
		"a set with one private key":      {jwks(jwk(k.rsa.Public(), "k1", ""), jwk(k.p384, "k2", "")), "", jose.ES384, k.p384.Public(), "k2"},
		"a set with a key that is unknown": {
			jwks([]byte(`{"kty":"AKP","alg":"ML-DSA-44","kid":"k1","pub":"AAAA","priv":"AAAA"}`), jwk(k.p384, "k2", "")), "k2",
			jose.ES384, k.p384.Public(), "k2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := newClock()
			auth, err := introspect.NewKeyAssertion("gate way", test.key, test.kid, "https://as.example.com/", now.now)
			require.NoError(t, err)
			form := url.Values{"token": {"t"}}
			request := httptest.NewRequest(http.MethodPost, "/", nil)
			require.NoError(t, auth.Authenticate(request, form))
			assert.Empty(t, request.Header, "C05")
			header, said := readAssertion(t, form.Get("client_assertion"), test.public, test.algorithm)
			assert.Equal(t, string(test.algorithm), header.Algorithm)
			assert.Equal(t, test.names, header.KeyID)
			assert.Equal(t, "client-authentication+jwt", header.ExtraHeaders[jose.HeaderType])
			assert.Nil(t, header.JSONWebKey, "the key is not sent")
			assert.Equal(t, members{
				Issuer: "gate way", Subject: "gate way", Audience: "https://as.example.com/", ID: said.ID,
				IssuedAt: now.now().Unix(), Expiry: now.now().Add(time.Minute).Unix(),
			}, said)
			assert.GreaterOrEqual(t, len(said.ID), 16)
			assert.Equal(t, url.Values{
				"token": {"t"}, "client_id": {"gate way"}, "client_assertion": form["client_assertion"],
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			}, form, "C05 nothing else")
		})
	}
	t.Run("a secret", func(t *testing.T) {
		auth, err := introspect.NewSecretAssertion("gw", hmacSecret, "https://as.example.com", nil)
		require.NoError(t, err)
		form := make(url.Values)
		require.NoError(t, auth.Authenticate(httptest.NewRequest(http.MethodPost, "/", nil), form))
		header, said := readAssertion(t, form.Get("client_assertion"), []byte(hmacSecret), jose.HS256)
		assert.Equal(t, "client-authentication+jwt", header.ExtraHeaders[jose.HeaderType])
		assert.Empty(t, header.KeyID)
		assert.InDelta(t, time.Now().Unix(), said.IssuedAt, 60)
		assert.EqualValues(t, 60, said.Expiry-said.IssuedAt)
		assert.NotContains(t, form, "client_secret")
	})
}

// A server refuses an assertion that it has seen already.
func TestC06EveryCallHasAnAssertionOfItsOwn(t *testing.T) {
	var calls atomic.Int32
	assertions := make(chan string, 10)
	auth, err := introspect.NewSecretAssertion("gw", hmacSecret, "https://as.example.com", nil)
	require.NoError(t, err)
	client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseForm())
		assertions <- r.PostForm.Get("client_assertion")
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		reply(200, "application/json", `{"active":true}`)(w, r)
	}, func(c *introspect.ClientConfig) { c.Auth, c.Retries = auth, 1 })
	for range 3 {
		_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
		require.NoError(t, err)
	}
	seen := make(map[string]bool)
	for range 6 { // retries included
		_, said := readAssertion(t, <-assertions, []byte(hmacSecret), jose.HS256)
		assert.False(t, seen[said.ID], "seen before")
		seen[said.ID] = true
	}
}

func TestKeysThatCannotSign(t *testing.T) {
	k := keys()
	whole := string(pkcs8(k.rsa))
	lines := strings.SplitAfter(whole, "\n")
	holed := strings.Join(slices.Delete(slices.Clone(lines), 3, 4), "")
	for name, test := range map[string]struct {
		key       []byte
		kid, says string
	}{
		"nothing":                   {nil, "", "neither a PEM block"},
		"words":                     {[]byte("canary-in-the-file"), "", "neither a PEM block"},
		"a public key":              {publicPEM(k.rsa), "", "neither a PEM block 'PRIVATE KEY' nor a JWK"},
		"a certificate":             {pemBlock("CERTIFICATE", []byte("x")), "", "neither a PEM block"},
		"EC PARAMETERS alone":       {parameters(), "", "neither a PEM block"},
		"half a block":              {[]byte(whole[:len(whole)/2]), "", "neither a PEM block"},
		"a block with a hole":       {[]byte(holed), "", "cannot be read"},
		"PKCS #1 in a PKCS #8 name": {pemBlock("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.rsa)), "", "cannot be read"},
		"an empty block":            {pemBlock("PRIVATE KEY", nil), "", "cannot be read"},
		"an encrypted key":          {pemBlock("ENCRYPTED PRIVATE KEY", []byte("canary")), "", "is encrypted"},
		"a key encrypted in the old way": {
			pem.EncodeToMemory(&pem.Block{
				Type: "RSA PRIVATE KEY", Bytes: []byte("canary"),
				Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
			}), "", "encrypted",
		},
		"RSA of 1024 bits":           {pkcs8(k.shortRSA), "", "at least 2048 bits"},
		"RSA of 1024 bits, JWK":      {jwk(k.shortRSA, "", ""), "", "at least 2048 bits"},
		"P-224":                      {pkcs8(k.p224), "", "kind that cannot sign"},
		"a public JWK":               {jwk(k.rsa.Public(), "", ""), "", "public key"},
		"a symmetric JWK":            {jwk([]byte("canary-canary-canary-canary-1234"), "", ""), "", "kind that cannot sign"},
		"alg of another kind":        {jwk(k.rsa, "", "ES256"), "", "does not fit its own alg"},
		"alg none":                   {jwk(k.rsa, "", "none"), "", "does not fit its own alg"},
		"alg HS256":                  {jwk(k.rsa, "", "HS256"), "", "does not fit its own alg"},
		"alg of another curve":       {jwk(k.p256, "", "ES384"), "", "does not fit its own alg"},
		"JSON, but no JWK":           {[]byte(`{"canary":1}`), "", "no JWK"},
		"half a JWK":                 {jwk(k.rsa, "", "")[:500], "", "no JWK"},
		"a JWK off its curve":        {[]byte(`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ","d":"canary"}`), "", "no JWK"},
		"an empty set":               {jwks(), "", "no JWK"},
		"a set of two":               {jwks(jwk(k.rsa, "k1", ""), jwk(k.p256, "k2", "")), "", "2 private keys that fit"},
		"a set without the kid":      {jwks(jwk(k.rsa, "k1", "")), "k2", "0 private keys that fit"},
		"a set with the kid twice":   {jwks(jwk(k.rsa, "k1", ""), jwk(k.p256, "k1", "")), "k1", "2 private keys that fit"},
		"a set with its public half": {jwks(jwk(k.rsa.Public(), "k1", "")), "k1", "0 private keys that fit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := introspect.NewKeyAssertion("gw", test.key, test.kid, "https://as.example.com", nil)
			require.ErrorContains(t, err, test.says)
			holdsNothingOf(t, err, test.key)
		})
	}
	_, err := introspect.NewSecretAssertion("gw", hmacSecret[1:], "https://as.example.com", nil)
	require.ErrorContains(t, err, "at least 32 bytes")
	holdsNothingOf(t, err, []byte(hmacSecret[1:]))
}

// holdsNothingOf demands that an error repeats no eight bytes of the text of a key, apart from what all keys have in
// common.
func holdsNothingOf(t *testing.T, err error, key []byte) {
	t.Helper()
	said := strings.NewReplacer("PRIVATE KEY", "", "ENCRYPTED", "", "encrypted", "").Replace(err.Error())
	for i := 0; i+8 <= len(key); i++ {
		require.NotContains(t, said, string(key[i:i+8]))
	}
}

// FuzzPrivateKey: whatever is in the file of a key, it is refused without being repeated, or signs by an algorithm that
// fits it.
func FuzzPrivateKey(f *testing.F) {
	k := keys()
	for _, seed := range [][]byte{
		pkcs8(k.p256), sec1(k.p256), slices.Concat(parameters(), sec1(k.p384)), pkcs8(k.ed25519), pkcs1(k.rsa), jwk(k.p256, "k1", "ES256"),
		jwk(k.ed25519, "k1", ""), jwks(jwk(k.p256, "k1", ""), jwk(k.ed25519, "k2", "")), publicPEM(k.p256),
		pemBlock("ENCRYPTED PRIVATE KEY", []byte("x")), []byte(`{"kty":"oct","k":"AAAA"}`), []byte(`{"keys":[{}]}`),
		[]byte(`{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}`),
	} {
		f.Add(seed, "")
		f.Add(seed, "k1")
	}
	f.Fuzz(func(t *testing.T, key []byte, kid string) {
		auth, err := introspect.NewKeyAssertion("gw", key, kid, "https://as.example.com", nil)
		if err != nil {
			require.Nil(t, auth)
			require.Less(t, len(err.Error()), 300)
			return
		}
		form := make(url.Values)
		require.NoError(t, auth.Authenticate(httptest.NewRequest(http.MethodPost, "/", nil), form))
		parsed, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{
			jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
		})
		require.NoError(t, err)
		require.Nil(t, parsed.Headers[0].JSONWebKey)
		if kid != "" && utf8.ValidString(kid) {
			require.Equal(t, kid, parsed.Headers[0].KeyID)
		}
	})
}
