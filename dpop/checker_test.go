package dpop_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/internal/testdpop"
)

const (
	target = "https://api.example.com/orders"
	token  = "pat_0123456789"
)

// checker returns a Checker with a memory of its own, and its clock.
func checker(nonces *dpop.Nonces) (*dpop.Checker, *clock) {
	now := newClock()
	return dpop.NewChecker(dpop.Config{Memory: dpop.NewLocalMemory(1000, now.Now), Nonces: nonces, Now: now.Now}), now
}

// clock is one that only tests move.
type clock struct{ nanoseconds atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanoseconds.Store(time.Now().Truncate(time.Second).UnixNano())
	return c
}

func (c *clock) Now() time.Time                     { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) Advance(by time.Duration)           { c.nanoseconds.Add(int64(by)) }
func (c *clock) In(by time.Duration) float64        { return float64(c.Now().Add(by).UnixNano()) / 1e9 }
func (c *clock) Iat(by time.Duration) testdpop.Edit { return testdpop.Claim("iat", c.In(by)) }

func get(proofs ...string) dpop.Request {
	return dpop.Request{Header: proofs, Method: "GET", URL: target, AccessToken: token}
}

func TestG02_AGoodProofNamesItsKey(t *testing.T) {
	check, _ := checker(nil)
	key := testdpop.NewKey(t)
	proof, err := check.Check(t.Context(), get(key.Proof(t, "GET", target, testdpop.Token(token))))
	require.NoError(t, err)
	assert.Equal(t, dpop.Proof{JKT: key.JKT()}, proof)
}

func TestAS_O02_WhereATokenIsAskedForNoAthIsDemanded(t *testing.T) {
	check, _ := checker(nil)
	const endpoint = "https://as.example.com/oauth2/token"
	request := dpop.Request{Method: "POST", URL: endpoint}
	for _, ath := range []any{nil, "anything"} {
		request.Header = []string{testdpop.NewKey(t).Proof(t, "POST", endpoint, testdpop.Claim("ath", ath))}
		_, err := check.Check(t.Context(), request)
		assert.NoError(t, err)
	}
}

// The examples of RFC 9449: a proof of section 4.1, and its key in section 6.1.
func TestG09_TheExamplesOfTheRFC(t *testing.T) {
	const proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs" +
		"cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19." +
		"eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0" +
		"IjoxNTYyMjYyNjE2fQ." +
		"2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	now := func() time.Time { return time.Unix(1562262618, 0) }
	check := dpop.NewChecker(dpop.Config{Memory: dpop.NewLocalMemory(10, now), Now: now})
	got, err := check.Check(t.Context(), dpop.Request{Header: []string{proof}, Method: "POST", URL: "https://server.example.com/token"})
	require.NoError(t, err)
	assert.Equal(t, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", got.JKT)
}

// Whoever has stolen a token makes whatever proof might pass for one.
func TestInvalidProofs(t *testing.T) {
	check, now := checker(nil)
	key := testdpop.NewKey(t)
	good := func(edits ...testdpop.Edit) string {
		return key.Proof(t, "GET", target, append([]testdpop.Edit{testdpop.Token(token)}, edits...)...)
	}
	jwk := func(edits map[string]any) map[string]any {
		edited := key.JWK()
		maps.Copy(edited, edits)
		return edited
	}
	for _, tc := range []struct {
		name   string
		header []string
	}{
		{"G01 none", nil},
		{"G01 an empty line", []string{""}},
		{"G01 two lines", []string{good(), good()}},
		{"G01 the same line twice", func() []string { proof := good(); return []string{proof, proof} }()},
		{"G01 two in one line", []string{good() + ", " + good()}},
		{"G02 no JWS", []string{"x"}},
		{"G02 a JWS in JSON", []string{`{"payload":"e30","protected":"e30","signature":""}`}},
		{"G02 four parts", []string{good() + ".x"}},
		{"G02 a space inside", []string{strings.Replace(good(), ".", ". ", 1)}},
		{"A21 too long", []string{good(testdpop.Claim("x", strings.Repeat("x", 9000)))}},
		{"G02 no typ", []string{good(testdpop.Header("typ", nil))}},
		{"G02 typ JWT", []string{good(testdpop.Header("typ", "JWT"))}},
		{"G02 typ in another case", []string{good(testdpop.Header("typ", "DPoP+jwt"))}},
		{"G02 typ with its type", []string{good(testdpop.Header("typ", "application/dpop+jwt"))}},
		{"G02 typ twice", []string{key.Sign(t, `{"typ":"JWT","typ":"dpop+jwt","alg":"ES256","jwk":`+text(t, key.JWK())+`}`, claims(t))}},
		{"G02 crit", []string{good(testdpop.Header("crit", []string{"exp"}), testdpop.Header("exp", 1))}},
		{"G02 crit b64", []string{good(testdpop.Header("crit", []string{"b64"}), testdpop.Header("b64", true))}},
		{"G02 crit empty", []string{good(testdpop.Header("crit", []string{}))}},
		{"G03 alg none", []string{unsigned(t, key, "none")}},
		{"G03 alg None", []string{unsigned(t, key, "None")}},
		{"G03 alg none, with a signature", []string{good(testdpop.Header("alg", "none"))}},
		{"G03 no alg", []string{good(testdpop.Header("alg", nil))}},
		{"G03 alg HS256", []string{symmetric(t, jwk(nil))}},
		{"G03 alg HS256, with an oct key", []string{symmetric(t, map[string]any{"kty": "oct", "k": encode(secret)})}},
		{"G03 alg RS1", []string{good(testdpop.Header("alg", "RS1"))}},
		{"G03 alg ES256K", []string{good(testdpop.Header("alg", "ES256K"))}},
		{"G03 alg of another kind of key", []string{good(testdpop.Header("alg", "RS256"))}},
		{"G03 alg of another curve", []string{good(testdpop.Header("alg", "ES384"))}},
		{"G03 alg other than that of the key", []string{good(testdpop.Header("jwk", jwk(map[string]any{"alg": "ES384"})))}},
		{"G03 RSA of 1024 bits", []string{signedWith(t, jose.RS256, rsaKey(t, 1024))}},
		{"G03 RSA of more than 4096 bits", []string{signedWith(t, jose.RS256, largeKey(t))}},
		{"G04 no jwk", []string{good(testdpop.Header("jwk", nil))}},
		{"G04 no jwk but kid", []string{good(testdpop.Header("jwk", nil), testdpop.Header("kid", "x"))}},
		{"G04 no jwk but jku", []string{good(testdpop.Header("jwk", nil), testdpop.Header("jku", "https://evil.example/jwks"))}},
		{"G04 jwk is a string", []string{good(testdpop.Header("jwk", "x"))}},
		{"G04 jwk is empty", []string{good(testdpop.Header("jwk", map[string]any{}))}},
		{"G04 jwk with d", []string{good(testdpop.Header("jwk", key.PrivateJWK()))}},
		{"G04 jwk with d that is null", []string{key.Sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+text(t, jwk(map[string]any{"d": nil}))+`}`, claims(t))}},
		{"G04 jwk with k", []string{good(testdpop.Header("jwk", jwk(map[string]any{"k": "x"})))}},
		{"G04 jwk with a prime", []string{good(testdpop.Header("jwk", jwk(map[string]any{"p": "AQ"})))}},
		{"G04 jwk with oth", []string{good(testdpop.Header("jwk", jwk(map[string]any{"oth": []any{}})))}},
		{"G04 jwk for encryption", []string{good(testdpop.Header("jwk", jwk(map[string]any{"use": "enc"})))}},
		{"G04 jwk off the curve", []string{good(testdpop.Header("jwk", jwk(map[string]any{"y": key.JWK()["x"]})))}},
		{"G04 jwk twice", []string{key.Sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+text(t, key.JWK())+`,"jwk":`+text(t, key.JWK())+`}`, claims(t))}},
		{"G04 the jwk of somebody else", []string{good(testdpop.Header("jwk", testdpop.NewKey(t).JWK()))}},
		{"G04 no signature", []string{good()[:strings.LastIndexByte(good(), '.')+1]}},
		{"G04 a signature in DER", []string{der(t, good())}},
		{"G04 a signature of nulls", []string{before(good()) + encode(make([]byte, 64))}},
		{"G02 no jti", []string{good(testdpop.Claim("jti", nil))}},
		{"G02 jti is empty", []string{good(testdpop.Claim("jti", ""))}},
		{"G02 jti is a number", []string{good(testdpop.Claim("jti", 1))}},
		{"G13 jti is too long", []string{good(testdpop.Claim("jti", strings.Repeat("x", 257)))}},
		{"G02 no htm", []string{good(testdpop.Claim("htm", nil))}},
		{"G05 htm is another", []string{good(testdpop.Claim("htm", "POST"))}},
		{"G05 htm in another case", []string{good(testdpop.Claim("htm", "get"))}},
		{"G05 htm is a list", []string{good(testdpop.Claim("htm", []string{"GET", "POST"}))}},
		{"G02 no htu", []string{good(testdpop.Claim("htu", nil))}},
		{"G06 htu is a list", []string{good(testdpop.Claim("htu", []string{target}))}},
		{"G06 htu is a path", []string{good(testdpop.Claim("htu", "/orders"))}},
		{"G02 no iat", []string{good(testdpop.Claim("iat", nil))}},
		{"G02 iat is null", []string{key.Sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+text(t, key.JWK())+`}`, `{"jti":"x","htm":"GET","htu":"`+target+`","iat":null,"ath":"`+dpop.TokenHash(token)+`"}`)}},
		{"G02 iat is text", []string{good(testdpop.Claim("iat", strconv.FormatInt(now.Now().Unix(), 10)))}},
		{"G02 iat is beyond all", []string{good(testdpop.Claim("iat", 1e300))}},
		{"G02 iat is negative", []string{good(testdpop.Claim("iat", -1))}},
		{"G12 ten minutes old", []string{good(now.Iat(-10 * time.Minute))}},
		{"G12 a minute old", []string{good(now.Iat(-time.Minute))}},
		{"G12 of ten minutes from now", []string{good(now.Iat(10 * time.Minute))}},
		{"G12 of eleven seconds from now", []string{good(now.Iat(11 * time.Second))}},
		{"G12 expired", []string{good(testdpop.Claim("exp", now.In(-time.Second)))}},
		{"G12 not valid yet", []string{good(testdpop.Claim("nbf", now.In(time.Minute)))}},
		{"G08 no ath", []string{good(testdpop.Claim("ath", nil))}},
		{"G08 ath of another token", []string{good(testdpop.Token(token + "x"))}},
		{"G08 ath is the token", []string{good(testdpop.Claim("ath", token))}},
		{"G08 ath with padding", []string{good(testdpop.Claim("ath", dpop.TokenHash(token)+"="))}},
		{"G02 a claim twice", []string{key.Sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+text(t, key.JWK())+`}`, strings.Replace(claims(t), "{", `{"jti":"x",`, 1))}},
		{"G02 claims that are no object", []string{key.Sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+text(t, key.JWK())+`}`, `[]`)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			proof, err := check.Check(t.Context(), get(tc.header...))
			require.ErrorIs(t, err, dpop.ErrInvalid)
			assert.Empty(t, proof)
			for _, line := range tc.header {
				if len(line) > 20 {
					assert.NotContains(t, err.Error(), line[:20], "K14 the error repeats what was sent")
				}
			}
		})
	}
	_, err := check.Check(t.Context(), get(good()))
	assert.NoError(t, err, "what the bad ones are made of is good")
}

// What is not forbidden passes: members of the header that mean nothing here, clocks that differ a little.
func TestValidProofs(t *testing.T) {
	check, now := checker(nil)
	key := testdpop.NewKey(t)
	for _, tc := range []struct {
		name string
		edit testdpop.Edit
	}{
		{"G12 five seconds from now", now.Iat(5 * time.Second)},
		{"G12 59 seconds old", now.Iat(-59 * time.Second)},
		{"G12 iat with a fraction", now.Iat(-1500 * time.Millisecond)},
		{"G02 kid beside jwk", testdpop.Header("kid", "x")},
		{"G02 a member that nobody knows", testdpop.Header("x", "y")},
		{"G02 a claim that nobody knows", testdpop.Claim("x", "y")},
		{"G12 exp ahead", testdpop.Claim("exp", now.In(time.Minute))},
		{"G13 jti of 256 bytes", testdpop.Claim("jti", strings.Repeat("x", 256))},
		{"G15 a nonce that nobody demands", testdpop.Nonce("x")},
		{"G09 members of the key that are not in its thumbprint", testdpop.Header("jwk", with(key.JWK(), "kid", "x", "use", "sig", "alg", "ES256"))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			proof, err := check.Check(t.Context(), get(key.Proof(t, "GET", target, testdpop.Token(token), tc.edit)))
			require.NoError(t, err)
			assert.Equal(t, key.JKT(), proof.JKT)
		})
	}
}

func TestG03_Algorithms(t *testing.T) {
	check, _ := checker(nil)
	_, edward, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rsa2048 := rsaKey(t, 2048)
	keys := map[jose.SignatureAlgorithm]crypto.Signer{
		jose.ES256: ecKey(t, elliptic.P256()), jose.ES384: ecKey(t, elliptic.P384()), jose.ES512: ecKey(t, elliptic.P521()),
		jose.EdDSA: edward,
		jose.PS256: rsa2048, jose.PS384: rsa2048, jose.PS512: rsa2048, jose.RS256: rsa2048, jose.RS384: rsa2048, jose.RS512: rsa2048,
	}
	require.Len(t, keys, len(dpop.Algorithms()))
	for _, name := range dpop.Algorithms() {
		t.Run(name, func(t *testing.T) {
			algorithm := jose.SignatureAlgorithm(name)
			proof, err := check.Check(t.Context(), get(signedWith(t, algorithm, keys[algorithm])))
			require.NoError(t, err)
			thumbprint, err := (&jose.JSONWebKey{Key: keys[algorithm].Public()}).Thumbprint(crypto.SHA256)
			require.NoError(t, err)
			assert.Equal(t, encode(thumbprint), proof.JKT)
		})
	}
}

func TestG09_AnotherKeyUsesNothingUp(t *testing.T) {
	memory := new(counting)
	check := dpop.NewChecker(dpop.Config{Memory: memory})
	request := get(testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token)))
	request.Key = testdpop.NewKey(t).JKT()
	_, err := check.Check(t.Context(), request)
	require.ErrorIs(t, err, dpop.ErrOtherKey)
	assert.Zero(t, memory.calls.Load())
}

func TestG13_AProofIsGoodOnce(t *testing.T) {
	check, now := checker(nil)
	key := testdpop.NewKey(t)
	for _, tc := range []struct {
		name  string
		first testdpop.Edit
		then  time.Duration
	}{
		{"at once", now.Iat(0), 0},
		{"at the end of its life", now.Iat(0), 59 * time.Second},
		{"from the future, at the end of its life", now.Iat(10 * time.Second), 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			request := get(key.Proof(t, "GET", target, testdpop.Token(token), tc.first))
			_, err := check.Check(t.Context(), request)
			require.NoError(t, err)
			now.Advance(tc.then)
			_, err = check.Check(t.Context(), request)
			require.ErrorIs(t, err, dpop.ErrInvalid)
			assert.ErrorIs(t, err, dpop.ErrReplayed)
		})
	}
}

// A jti names a proof among those of its key for its URL: others may have chosen the same.
func TestG13_AJTIBelongsToItsKeyAndURL(t *testing.T) {
	check, _ := checker(nil)
	key, id := testdpop.NewKey(t), testdpop.Claim("jti", "1")
	_, err := check.Check(t.Context(), get(key.Proof(t, "GET", target, testdpop.Token(token), id)))
	require.NoError(t, err)
	_, err = check.Check(t.Context(), get(testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token), id)))
	require.NoError(t, err, "another key")
	request := get(key.Proof(t, "GET", target+"/2", testdpop.Token(token), id))
	request.URL += "/2"
	_, err = check.Check(t.Context(), request)
	require.NoError(t, err, "another URL")
	_, err = check.Check(t.Context(), get(key.Proof(t, "GET", strings.Replace(target, "https", "HTTPS", 1)+"?x", testdpop.Token(token), id)))
	assert.ErrorIs(t, err, dpop.ErrReplayed, "the same URL, spelled differently")
}

func TestG14_OneOfManyPasses(t *testing.T) {
	check, _ := checker(nil)
	request := get(testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token)))
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := check.Check(t.Context(), request); err == nil {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, passed.Load())
}

// Somebody who knows the jti that a victim will use cannot use it up.
func TestG14_AProofThatIsNotSignedUsesNothingUp(t *testing.T) {
	check, _ := checker(nil)
	proof := testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token))
	_, err := check.Check(t.Context(), get(before(proof)+encode(make([]byte, 64))))
	require.ErrorIs(t, err, dpop.ErrInvalid)
	_, err = check.Check(t.Context(), get(proof))
	assert.NoError(t, err)
}

func TestG15_G16_Nonces(t *testing.T) {
	nonces := dpop.NewNonces()
	check, now := checker(nonces)
	key := testdpop.NewKey(t)
	ask := func(edits ...testdpop.Edit) (dpop.Proof, error) {
		edits = append([]testdpop.Edit{testdpop.Token(token), now.Iat(0)}, edits...)
		request := get(key.Proof(t, "GET", target, edits...))
		request.Nonce = true
		return check.Check(t.Context(), request)
	}
	first := check.Nonce()
	require.NotEmpty(t, first)
	assert.Regexp(t, `^[\x21\x23-\x5B\x5D-\x7E]+$`, first, "NQCHAR")

	for name, edits := range map[string][]testdpop.Edit{
		"none":                   nil,
		"empty":                  {testdpop.Nonce("")},
		"another":                {testdpop.Nonce("x")},
		"that of another server": {testdpop.Nonce(dpop.NewChecker(dpop.Config{Nonces: dpop.NewNonces()}).Nonce())},
	} {
		_, err := ask(edits...)
		assert.ErrorIs(t, err, dpop.ErrNonce, name)
	}

	proof, err := ask(testdpop.Nonce(first))
	require.NoError(t, err)
	assert.Equal(t, dpop.Proof{JKT: key.JKT(), HasNonce: true}, proof)
	_, err = ask(testdpop.Nonce(first))
	require.NoError(t, err, "a nonce is for any number of proofs")

	now.Advance(2 * time.Minute)
	second := check.Nonce()
	assert.NotEqual(t, first, second)
	proof, err = ask(testdpop.Nonce(first))
	require.NoError(t, err, "the one before is still good")
	assert.True(t, proof.Renew)
	proof, err = ask(testdpop.Nonce(second))
	require.NoError(t, err)
	assert.False(t, proof.Renew)

	now.Advance(2 * time.Minute)
	_, err = ask(testdpop.Nonce(first))
	assert.ErrorIs(t, err, dpop.ErrNonce)
}

func TestG16_ServersThatShareASecretTakeEachOthersNonces(t *testing.T) {
	secret := make([]byte, 32)
	one, now := checker(dpop.NoncesOf(secret))
	other := dpop.NewChecker(dpop.Config{Memory: new(counting), Nonces: dpop.NoncesOf(secret), Now: now.Now})
	request := get(testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token), testdpop.Nonce(other.Nonce())))
	request.Nonce = true
	_, err := one.Check(t.Context(), request)
	assert.NoError(t, err)
}

// A proof without the nonce is not used up: whoever demands a nonce may say so to a client that had no way to know.
func TestG15_ANonceIsDemandedOfGoodProofsOnly(t *testing.T) {
	memory := new(counting)
	check := dpop.NewChecker(dpop.Config{Memory: memory, Nonces: dpop.NewNonces()})
	proof := testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token))
	request := get(before(proof) + encode(make([]byte, 64)))
	request.Nonce = true
	_, err := check.Check(t.Context(), request)
	require.ErrorIs(t, err, dpop.ErrInvalid)
	request.Header = []string{proof}
	_, err = check.Check(t.Context(), request)
	require.ErrorIs(t, err, dpop.ErrNonce)
	assert.Zero(t, memory.calls.Load())
}

func TestG15_WithoutNoncesNoneIsGood(t *testing.T) {
	check, _ := checker(nil)
	assert.Empty(t, check.Nonce())
	request := get(testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token), testdpop.Nonce("x")))
	request.Nonce = true
	_, err := check.Check(t.Context(), request)
	assert.ErrorIs(t, err, dpop.ErrNonce)
}

func TestG13_WithoutTellingAProofIsRefused(t *testing.T) {
	memory := &counting{err: errors.New("the store is down")}
	check := dpop.NewChecker(dpop.Config{Memory: memory})
	_, err := check.Check(t.Context(), get(testdpop.NewKey(t).Proof(t, "GET", target, testdpop.Token(token))))
	require.ErrorIs(t, err, dpop.ErrUnavailable)
	assert.NotErrorIs(t, err, dpop.ErrInvalid)
}

// counting is a memory that counts how often it is asked.
type counting struct {
	calls atomic.Int32
	err   error
}

func (m *counting) UseOnce(context.Context, dpop.Digest, time.Time) error {
	m.calls.Add(1)
	return m.err
}

func FuzzCheck(f *testing.F) {
	check, _ := checker(dpop.NewNonces())
	key := testdpop.NewKey(f)
	f.Add(key.Proof(f, "GET", target, testdpop.Token(token)), target)
	f.Add(key.Proof(f, "GET", "HTTPS://API.example.com:443/a/../%6frders", testdpop.Nonce("x")), "https://api.example.com/%zz")
	f.Add(`e30.e30.`, "https://[::1]:443")
	f.Add(key.Sign(f, `{"typ":"dpop+jwt","alg":"none","jwk":{"kty":"oct","k":"x"}}`, `{"iat":1e400}`), "//x")
	f.Fuzz(func(t *testing.T, proof, url string) {
		request := dpop.Request{Header: []string{proof}, Method: "GET", URL: url}
		got, err := check.Check(t.Context(), request)
		if err != nil {
			assert.Empty(t, got)
			return
		}
		assert.Len(t, got.JKT, 43)
		_, err = check.Check(t.Context(), request)
		assert.ErrorIs(t, err, dpop.ErrReplayed)
	})
}

func BenchmarkCheck(b *testing.B) {
	check, _ := checker(nil)
	for _, algorithm := range []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256} {
		var key crypto.Signer
		switch algorithm {
		case jose.ES256:
			key = ecKey(b, elliptic.P256())
		case jose.EdDSA:
			_, key, _ = ed25519.GenerateKey(rand.Reader)
		default:
			key = rsaKey(b, 2048)
		}
		b.Run(string(algorithm), func(b *testing.B) {
			forgetful := dpop.NewChecker(dpop.Config{Memory: new(counting)})
			request := get(signedWith(b, algorithm, key))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := forgetful.Check(b.Context(), request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = check.Check(b.Context(), get())
		}
	})
}

var secret = []byte("0123456789abcdef0123456789abcdef")

func symmetric(t testing.TB, jwk map[string]any) string {
	t.Helper()
	header := text(t, map[string]any{"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk})
	signed := encode([]byte(header)) + "." + encode([]byte(claims(t)))
	seal := hmac.New(sha256.New, secret)
	seal.Write([]byte(signed))
	return signed + "." + encode(seal.Sum(nil))
}

func unsigned(t testing.TB, key *testdpop.Key, algorithm string) string {
	t.Helper()
	header := text(t, map[string]any{"typ": "dpop+jwt", "alg": algorithm, "jwk": key.JWK()})
	return encode([]byte(header)) + "." + encode([]byte(claims(t))) + "."
}

// signedWith makes a proof as go-jose does.
func signedWith(t testing.TB, algorithm jose.SignatureAlgorithm, key crypto.Signer) string {
	t.Helper()
	options := &jose.SignerOptions{EmbedJWK: true}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options.WithType("dpop+jwt"))
	require.NoError(t, err)
	jws, err := signer.Sign([]byte(claims(t)))
	require.NoError(t, err)
	compact, err := jws.CompactSerialize()
	require.NoError(t, err)
	return compact
}

func claims(t testing.TB) string {
	t.Helper()
	return text(t, map[string]any{
		"jti": rand.Text(), "htm": "GET", "htu": target, "iat": time.Now().Unix(), "ath": dpop.TokenHash(token),
	})
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return key
}

// largeKey is an RSA key of 4101 to 4104 bits. It has eight primes, since two of that size take seconds.
func largeKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	one, totient := big.NewInt(1), big.NewInt(1)
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(1), E: 65537}}
	exponent := big.NewInt(int64(key.E))
	for len(key.Primes) < 8 {
		prime, err := rand.Prime(rand.Reader, 513)
		require.NoError(t, err)
		less := new(big.Int).Sub(prime, one)
		if new(big.Int).ModInverse(exponent, less) == nil {
			continue
		}
		key.Primes = append(key.Primes, prime)
		key.N.Mul(key.N, prime)
		totient.Mul(totient, less)
	}
	key.D = new(big.Int).ModInverse(exponent, totient)
	require.Greater(t, key.N.BitLen(), 4096)
	return key
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

// der is a proof whose signature is the same, but written as X.509 does.
func der(t testing.TB, proof string) string {
	t.Helper()
	signature, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(proof, before(proof)))
	require.NoError(t, err)
	half := len(signature) / 2
	written, err := asn1.Marshal([]*big.Int{new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])})
	require.NoError(t, err)
	return before(proof) + encode(written)
}

// before is a proof without its signature.
func before(proof string) string { return proof[:strings.LastIndexByte(proof, '.')+1] }

func with(members map[string]any, pairs ...any) map[string]any {
	for i := 0; i < len(pairs); i += 2 {
		members[pairs[i].(string)] = pairs[i+1]
	}
	return members
}

func text(t testing.TB, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	require.NoError(t, err)
	return string(encoded)
}

func encode(bytes []byte) string { return base64.RawURLEncoding.EncodeToString(bytes) }
