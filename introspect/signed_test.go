package introspect_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	keyset "github.com/portcullis-gateway/portcullis/internal/jwks"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	signedEndpoint = "https://as.example.com/introspect"
	keysPlace      = "https://as.example.com/jwks?key=canary-in-a-url"
	signedType     = "application/token-introspection+jwt"
)

// attackerKey is a key that the issuer, who has keys, does not publish.
var attackerKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

type object = map[string]any

// forged is a signed answer that is being made.
type forged struct {
	contentType    string
	header, claims object
	sign           func(input []byte) []byte
	// edit changes the parts as they are sent, before they are signed, and spoil the whole afterwards.
	edit  func(header, claims string) (string, string)
	spoil func(text string) string
}

// answerAt is a good answer that is issued at an instant.
func answerAt(now time.Time) *forged {
	return &forged{
		contentType: signedType,
		header:      object{"typ": "token-introspection+jwt", "alg": "RS256", "kid": "k1"},
		claims: object{
			"iss": issuerURL, "aud": "gateway", "iat": now.Unix(),
			"token_introspection": object{"active": true, "sub": "jane", "scope": "read", "jti": "t1"},
		},
		sign: rs256(keys().rsa),
	}
}

// about is what the answer says of the token.
func (j *forged) about() object { return j.claims["token_introspection"].(object) }

func (j *forged) text() string {
	header, claims := string(must(json.Marshal(j.header))), string(must(json.Marshal(j.claims)))
	if j.edit != nil {
		header, claims = j.edit(header, claims)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(claims))
	text := input + "." + encode(j.sign([]byte(input)))
	if j.spoil != nil {
		text = j.spoil(text)
	}
	return text
}

func (j *forged) page() page { return page{200, j.contentType, j.text(), nil} }

func rs256(key *rsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		digest := sha256.Sum256(input)
		return must(rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]))
	}
}

func ps256(input []byte) []byte {
	digest := sha256.Sum256(input)
	return must(rsa.SignPSS(rand.Reader, keys().rsa, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
}

func es256(input []byte) []byte {
	digest := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, keys().p256, digest[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func eddsa(input []byte) []byte { return ed25519.Sign(keys().ed25519, input) }

func hs256(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	}
}

func unsigned([]byte) []byte { return nil }

// keySet is a page with public keys.
func keySet(keys ...jose.JSONWebKey) page {
	return jsonPage(string(must(json.Marshal(jose.JSONWebKeySet{Keys: keys}))))
}

func publicKey(key crypto.Signer, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"}
}

// signing is an authority that signs, as a transport sees it, and a client of it.
type signing struct {
	*publisher
	*introspect.Client
	clock *clock
}

func newSigning(t testing.TB, change ...func(*introspect.ClientConfig)) *signing {
	t.Helper()
	s := &signing{publisher: new(publisher), clock: newClock()}
	s.publish(keysPlace, keySet(publicKey(keys().rsa, "k1"), publicKey(keys().p256, "k2"), publicKey(keys().ed25519, "k3")))
	config := introspect.ClientConfig{
		Endpoint:  signedEndpoint,
		Auth:      introspect.ClientSecretBasic{ID: "gateway", Secret: "s3cret"},
		Transport: s,
		Now:       s.clock.now,
		Signed: &introspect.Signed{
			Issuer: issuerURL, Audience: "gateway", KeysURL: keysPlace, Leeway: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
		},
	}
	for _, c := range change {
		c(&config)
	}
	var err error
	s.Client, err = introspect.NewClient(config)
	require.NoError(t, err)
	return s
}

// ask asks about a token, with a signed answer that something was done to.
func (s *signing) ask(t testing.TB, token string, change func(*forged)) (*introspect.Answer, error) {
	t.Helper()
	answer := answerAt(s.clock.now())
	if change != nil {
		change(answer)
	}
	s.publish(signedEndpoint, answer.page())
	return s.Introspect(t.Context(), introspect.NewToken(token))
}

func TestASignedAnswer(t *testing.T) {
	s := newSigning(t)
	answer, err := s.ask(t, "token", nil)
	require.NoError(t, err)
	assert.True(t, answer.Active)
	assert.Equal(t, "jane", answer.Subject())
	assert.Equal(t, "read", answer.Scope())
	assert.Empty(t, answer.Signed(), "nobody wants to hand it on")
	assert.False(t, answer.Has("aud"), "E04: what is said of the answer is not said of the token")
	assert.False(t, answer.Has("iss"), "E04")
	require.Len(t, s.requests, 2)
	assert.Equal(t, []string{signedType}, s.requests[0].Header["Accept"], "E01")
	assert.Equal(t, keysPlace, s.requests[1].URL.String())
	assert.Empty(t, s.requests[1].Header["Authorization"], "the credentials are not for the keys")
}

func TestSignedAnswersThatAreBelieved(t *testing.T) {
	for name, change := range map[string]func(*forged){
		"E02 charset":                       func(j *forged) { j.contentType += "; charset=utf-8" },
		"E02 media type in capitals":        func(j *forged) { j.contentType = strings.ToUpper(j.contentType) },
		"E02 typ in another case":           func(j *forged) { j.header["typ"] = "Token-Introspection+JWT" },
		"E02 typ with its prefix":           func(j *forged) { j.header["typ"] = "application/token-introspection+jwt" },
		"E03 one of several audiences":      func(j *forged) { j.claims["aud"] = []string{"other", "gateway"} },
		"E05 PS256":                         func(j *forged) { j.header["alg"], j.sign = "PS256", ps256 },
		"E05 ES256":                         func(j *forged) { j.header["alg"], j.header["kid"], j.sign = "ES256", "k2", es256 },
		"E05 EdDSA":                         func(j *forged) { j.header["alg"], j.header["kid"], j.sign = "EdDSA", "k3", eddsa },
		"E06 no kid":                        func(j *forged) { delete(j.header, "kid") },
		"E07 as old as the clocks allow":    func(j *forged) { j.claims["iat"] = j.claims["iat"].(int64) - 10 },
		"E07 as young as the clocks allow":  func(j *forged) { j.claims["iat"] = j.claims["iat"].(int64) + 10 },
		"E07 with an end that is not there": func(j *forged) { j.claims["exp"] = j.claims["iat"].(int64) + 1 },
		"a line break at its end":           func(j *forged) { j.spoil = func(text string) string { return text + "\r\n" } },
		"claims that nobody knows":          func(j *forged) { j.claims["sub"], j.header["jku"] = "x", "https://evil.example.com/" },
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := newSigning(t).ask(t, "token", change)
			require.NoError(t, err)
			assert.True(t, answer.Active)
		})
	}
	for name, change := range map[string]func(*forged){
		"E04 inactive": func(j *forged) { j.about()["active"] = false },
		"E04 active outside, and inactive within": func(j *forged) { j.claims["active"], j.about()["active"] = true, false },
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := newSigning(t).ask(t, "token", change)
			require.NoError(t, err)
			assert.False(t, answer.Active)
		})
	}
}

// Somebody between the authority and the gateway, or a server that signs for others too, passes something else off as the
// answer.
func TestSignedAnswersThatAreAttacks(t *testing.T) {
	body := func(contentType, text string) func(*forged) {
		return func(j *forged) { j.contentType, j.spoil = contentType, func(string) string { return text } }
	}
	header := func(name string, value any) func(*forged) { return func(j *forged) { j.header[name] = value } }
	claim := func(name string, value any) func(*forged) { return func(j *forged) { j.claims[name] = value } }
	without := func(name string) func(*forged) {
		return func(j *forged) { delete(j.claims, name); delete(j.header, name) }
	}
	later := func(name string, by int64) func(*forged) {
		return func(j *forged) { j.claims[name] = j.claims["iat"].(int64) + by }
	}
	spoil := func(change func(string) string) func(*forged) { return func(j *forged) { j.spoil = change } }
	edit := func(old, replacement string) func(*forged) {
		return func(j *forged) {
			j.edit = func(header, claims string) (string, string) {
				return strings.Replace(header, old, replacement, 1), strings.Replace(claims, old, replacement, 1)
			}
		}
	}
	ownKey := must(json.Marshal(publicKey(attackerKey(), "k1")))

	for name, test := range map[string]struct {
		change func(*forged)
		says   string
	}{
		"E08 plain JSON, signed by nobody":               {body("application/json", `{"active":true}`), "plain JSON"},
		"E08 plain JSON without a type":                  {body("", `{"active":true}`), "plain JSON"},
		"E02 a JWT that is said to be JSON":              {func(j *forged) { j.contentType = "application/json" }, "plain JSON"},
		"E02 a JWT of no special type":                   {func(j *forged) { j.contentType = "application/jwt" }, "content type"},
		"E02 HTML":                                       {body("text/html", "canary"), "content type"},
		"E02 an ID token of the same issuer":             {without("typ"), "another kind of JWT"},
		"E02 a JWT of any kind":                          {header("typ", "JWT"), "another kind of JWT"},
		"E02 an access token of the same issuer":         {header("typ", "at+jwt"), "another kind of JWT"},
		"E02 a logout token of the same issuer":          {header("typ", "logout+jwt"), "another kind of JWT"},
		"E02 a typ that is no text":                      {header("typ", []string{"token-introspection+jwt"}), "another kind of JWT"},
		"E02 a typ with one prefix too many":             {header("typ", "application/application/token-introspection+jwt"), "another kind of JWT"},
		"E03 of another issuer":                          {claim("iss", "https://evil.example.com"), "no iss"},
		"E03 of an issuer that looks like it":            {claim("iss", issuerURL+"/"), "no iss"},
		"E03 of several issuers":                         {claim("iss", []string{issuerURL}), "no iss"},
		"E03 of nobody":                                  {without("iss"), "no iss"},
		"E03 for another client":                         {claim("aud", "other"), "not for this client"},
		"E03 for others":                                 {claim("aud", []string{"other", "gateway2"}), "not for this client"},
		"E03 for a client that looks like it":            {claim("aud", "Gateway"), "not for this client"},
		"E03 for nobody":                                 {without("aud"), "not for this client"},
		"E03 for null":                                   {claim("aud", nil), "not for this client"},
		"E03 from no time":                               {without("iat"), "no iat"},
		"E07 an older answer":                            {later("iat", -11), "older one"},
		"E07 an answer of an hour ago":                   {later("iat", -3600), "older one"},
		"E07 an answer that was made ahead":              {later("iat", 11), "in the future"},
		"E07 from a time that wraps":                     {claim("iat", 1e300), "in the future"},
		"E07 from a time that is no number":              {claim("iat", "now"), "cannot be read"},
		"E07 one that has expired":                       {later("exp", 0), "expired"},
		"E07 one that is not valid yet":                  {later("nbf", 11), "in the future"},
		"E04 nothing about a token":                      {without("token_introspection"), "no object"},
		"E04 active, but only outside":                   {func(j *forged) { delete(j.claims, "token_introspection"); j.claims["active"] = true }, "no object"},
		"E04 an array":                                   {claim("token_introspection", []any{object{"active": true}}), "no object"},
		"E04 JSON in a text":                             {claim("token_introspection", `{"active":true}`), "no object"},
		"E04 neither active nor not":                     {claim("token_introspection", object{"sub": "jane"}), "active"},
		"E04 active as a text":                           {claim("token_introspection", object{"active": "true"}), "active"},
		"E05 without a signature":                        {func(j *forged) { j.header["alg"], j.sign = "none", unsigned }, "not signed with one of"},
		"E05 none in capitals":                           {func(j *forged) { j.header["alg"], j.sign = "NONE", unsigned }, "not signed with one of"},
		"E05 without an algorithm":                       {without("alg"), "not signed with one of"},
		"E05 HS256 with the public key for a secret":     {func(j *forged) { j.header["alg"], j.sign = "HS256", hs256(publicPEM(keys().rsa)) }, "not signed with one of"},
		"E05 HS256 with the client secret":               {func(j *forged) { j.header["alg"], j.sign = "HS256", hs256([]byte("s3cret")) }, "not signed with one of"},
		"E05 an algorithm of another key":                {func(j *forged) { j.header["alg"], j.sign = "ES256", es256 }, "none of the issuer's keys"},
		"E05 RS256 said to be RS384":                     {header("alg", "RS384"), "none of the issuer's keys"},
		"E05 signed by an attacker":                      {func(j *forged) { j.sign = rs256(attackerKey()) }, "none of the issuer's keys"},
		"E05 claims changed behind the signature":        {spoil(swapClaims), "none of the issuer's keys"},
		"E05 the signature is cut off":                   {spoil(func(text string) string { return text[:strings.LastIndexByte(text, '.')+1] }), "none of the issuer's keys"},
		"E06 an unknown kid":                             {header("kid", "k9"), "none of the issuer's keys"},
		"E06 a kid that is no text":                      {header("kid", 1), "kid"},
		"E06 a key that it brings along":                 {func(j *forged) { j.header["jwk"], j.sign = json.RawMessage(ownKey), rs256(attackerKey()) }, "none of the issuer's keys"},
		"E06 a place for keys that it brings along":      {func(j *forged) { j.header["jku"], j.sign = "https://evil.example.com/", rs256(attackerKey()) }, "none of the issuer's keys"},
		"E08 encrypted":                                  {spoil(func(text string) string { return text + ".e30.e30" }), "encrypted"},
		"E08 in another form":                            {body(signedType, `{"payload":"e30","signatures":[]}`), "compact form"},
		"E08 empty":                                      {body(signedType, ""), "compact form"},
		"padded":                                         {spoil(func(text string) string { return strings.Replace(text, ".", "==.", 1) }), "compact form"},
		"broken in two lines":                            {spoil(func(text string) string { return text[:10] + "\n" + text[10:] }), "compact form"},
		"D03 typ twice":                                  {edit(`"typ":`, `"typ":"at+jwt","typ":`), "twice"},
		"D03 alg twice, one time escaped":                {edit(`"alg":`, `"\u0061lg":"none","alg":`), "twice"},
		"D03 iss twice":                                  {edit(`"iss":`, `"iss":"https://evil.example.com","iss":`), "twice"},
		"D03 active twice":                               {edit(`"active":`, `"active":false,"active":`), "twice"},
		"D03 half a character":                           {edit(`"jane"`, `"jane\ud800"`), "surrogate"},
		"something behind the claims":                    {edit(`"jane"`, `"jane"}}{{"x":"y"`), "not JSON"},
		"claims that are no object":                      {func(j *forged) { j.edit = func(header, _ string) (string, string) { return header, `[]` } }, "not a JSON object"},
		"a header that demands more":                     {func(j *forged) { j.header["crit"], j.header["x"] = []string{"x"}, true }, "nobody here understands"},
		"a payload that is not encoded":                  {header("b64", false), "nobody here understands"},
		"C09 too long":                                   {claim("x", strings.Repeat("x", 10_000)), "more than"},
		"an older answer about another token, by its id": {func(j *forged) { j.about()["jti"] = "t2" }, "another token"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigning(t, func(c *introspect.ClientConfig) { c.MaxResponse = 8 << 10 })
			token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"jti":"t1"}`)) + ".canary"
			_, err := s.ask(t, token, test.change)
			require.ErrorIs(t, err, introspect.ErrMalformed)
			require.ErrorContains(t, err, test.says)
			for _, secret := range []string{"canary", "s3cret", "evil", "jane"} {
				assert.NotContains(t, err.Error(), secret)
			}
			for _, url := range s.asked() {
				assert.Contains(t, []string{signedEndpoint, keysPlace}, url)
			}
		})
	}
}

// swapClaims puts other claims under the signature.
func swapClaims(text string) string {
	parts := strings.Split(text, ".")
	other := strings.Split(answerAt(time.Unix(1_800_000_001, 0)).text(), ".")
	return parts[0] + "." + other[1] + "." + parts[2]
}

// An answer names its token by a jti only, and only where both have one.
func TestWhichTokenASignedAnswerIsAbout(t *testing.T) {
	payload := func(text string) string { return "e30." + base64.RawURLEncoding.EncodeToString([]byte(text)) + ".x" }
	for name, token := range map[string]string{
		"an opaque token":         "opaque",
		"the same jti":            payload(`{"jti":"t1"}`),
		"a JWT without jti":       payload(`{"sub":"x"}`),
		"a jti that is no text":   payload(`{"jti":1}`),
		"something like a JWT":    "a.b.c",
		"something with two dots": payload(`x`),
	} {
		_, err := newSigning(t).ask(t, token, nil)
		assert.NoError(t, err, name)
	}
	_, err := newSigning(t).ask(t, payload(`{"jti":"t2"}`), func(j *forged) { delete(j.about(), "jti") })
	assert.NoError(t, err, "the answer has none")
}

func TestErrorsOfAnAuthorityThatSigns(t *testing.T) {
	for name, test := range map[string]struct {
		page page
		err  error
	}{
		"unsupported token type means inactive": {page{400, "application/json", `{"error":"unsupported_token_type"}`, nil}, nil},
		"C10 bad request":                       {page{400, "", "", nil}, introspect.ErrMalformed},
		"B16 credentials refused":               {page{401, "application/json", `{"error":"invalid_client"}`, nil}, introspect.ErrCredentials},
		"C10 created":                           {page{201, signedType, answerAt(newClock().now()).text(), nil}, introspect.ErrMalformed},
		"unavailable":                           {page{503, "", "", nil}, introspect.ErrUnavailable},
	} {
		s := newSigning(t)
		s.publish(signedEndpoint, test.page)
		answer, err := s.Introspect(t.Context(), introspect.NewToken("token"))
		require.ErrorIs(t, err, test.err, name)
		if err == nil {
			assert.False(t, answer.Active, name)
		}
	}
}

func TestE06KeysOfSignedAnswers(t *testing.T) {
	rotated := func(j *forged) { j.header["kid"], j.sign = "k9", rs256(attackerKey()) }
	next := keySet(publicKey(attackerKey(), "k9"))
	fetches := func(s *signing) int {
		return len(slices.DeleteFunc(s.asked(), func(url string) bool { return url != keysPlace }))
	}
	t.Run("are fetched once", func(t *testing.T) {
		s := newSigning(t)
		for range 5 {
			_, err := s.ask(t, "token", nil)
			require.NoError(t, err)
			s.clock.advance(time.Minute)
		}
		assert.Equal(t, 1, fetches(s))
	})
	t.Run("are rotated", func(t *testing.T) {
		s := newSigning(t)
		_, err := s.ask(t, "token", nil)
		require.NoError(t, err)
		s.publish(keysPlace, next)
		s.clock.advance(10 * time.Second)
		_, err = s.ask(t, "token", rotated)
		require.NoError(t, err, "a key that is not known yet is looked for")
		_, err = s.ask(t, "token", nil)
		require.ErrorIs(t, err, introspect.ErrMalformed, "a key that is gone counts no longer")
		assert.Equal(t, 2, fetches(s))
	})
	t.Run("a flood of unknown ones is a few fetches", func(t *testing.T) {
		s := newSigning(t)
		for i := range 60 {
			_, err := s.ask(t, "token", func(j *forged) { j.header["kid"] = fmt.Sprint("unknown", i) })
			require.ErrorIs(t, err, introspect.ErrMalformed)
			s.clock.advance(time.Second / 2)
		}
		assert.LessOrEqual(t, fetches(s), 3)
		_, err := s.ask(t, "token", nil)
		require.NoError(t, err)
	})
	t.Run("those who wait for them are one fetch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSigning(t)
			s.publish(signedEndpoint, answerAt(s.clock.now()).page())
			gate := make(chan struct{})
			s.gate = gate
			var waiting sync.WaitGroup
			for range 20 {
				waiting.Go(func() {
					_, err := s.Introspect(t.Context(), introspect.NewToken("token"))
					assert.NoError(t, err)
				})
			}
			synctest.Wait()
			close(gate)
			waiting.Wait()
			assert.Equal(t, 1, fetches(s))
		})
	})
	t.Run("that cannot be had are no fault of the token's", func(t *testing.T) {
		for name, test := range map[string]struct {
			page page
			err  error
		}{
			"unreachable":   {page{err: errors.New("connection refused")}, introspect.ErrUnavailable},
			"not there":     {page{404, "text/html", "", nil}, introspect.ErrUnavailable},
			"elsewhere":     {page{302, "", "", nil}, introspect.ErrUnavailable},
			"no keys":       {jsonPage(`{}`), introspect.ErrMalformed},
			"private keys":  {jsonPage(string(must(json.Marshal(jose.JSONWebKey{Key: keys().rsa})))), introspect.ErrMalformed},
			"too many keys": {jsonPage(`{"keys":[` + strings.Repeat(" ", 256<<10) + `]}`), introspect.ErrMalformed},
			"a short key":   {keySet(publicKey(must(rsa.GenerateKey(rand.Reader, 1024)), "k1")), introspect.ErrMalformed},
			"for encryption": {
				keySet(jose.JSONWebKey{Key: keys().rsa.Public(), KeyID: "k1", Use: "enc"}), introspect.ErrMalformed,
			},
			"for another algorithm": {
				keySet(jose.JSONWebKey{Key: keys().rsa.Public(), KeyID: "k1", Algorithm: "PS256"}), introspect.ErrMalformed,
			},
		} {
			s := newSigning(t)
			s.publish(keysPlace, test.page)
			_, err := s.ask(t, "token", nil)
			require.ErrorIs(t, err, test.err, name)
			assert.NotContains(t, err.Error(), "canary", name)
			for _, url := range s.asked() {
				assert.Contains(t, []string{signedEndpoint, keysPlace}, url, name)
			}
		}
	})
	t.Run("stay in use while they cannot be fetched", func(t *testing.T) {
		s := newSigning(t)
		_, err := s.ask(t, "token", nil)
		require.NoError(t, err)
		s.publish(keysPlace, page{503, "", "", nil})
		s.clock.advance(time.Hour)
		_, err = s.ask(t, "token", nil)
		require.NoError(t, err)
	})
	t.Run("outlive their client, for the same place", func(t *testing.T) {
		known := new(keyset.Known)
		with := func(place string) func(*introspect.ClientConfig) {
			return func(c *introspect.ClientConfig) { c.Signed.Known, c.Signed.KeysURL = known, place }
		}
		_, err := newSigning(t, with(keysPlace)).ask(t, "token", nil)
		require.NoError(t, err)
		again := newSigning(t, with(keysPlace))
		_, err = again.ask(t, "token", nil)
		require.NoError(t, err)
		assert.Zero(t, fetches(again))
		elsewhere := newSigning(t, with("https://as.example.com/other"))
		_, err = elsewhere.ask(t, "token", nil)
		require.ErrorIs(t, err, introspect.ErrUnavailable)
	})
	t.Run("are not waited for longer than for the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSigning(t, func(c *introspect.ClientConfig) {
				c.Timeout, c.Transport = time.Second, &hanging{c.Transport, keysPlace}
			})
			s.publish(signedEndpoint, answerAt(s.clock.now()).page())
			began := time.Now()
			_, err := s.Introspect(t.Context(), introspect.NewToken("token"))
			require.ErrorIs(t, err, introspect.ErrTimeout)
			assert.Equal(t, time.Second, time.Since(began))
			time.Sleep(5 * time.Second) // until the attempt, which is nobody's, has ended
		})
	})
}

func TestSignedAnswersAreFoundBehindAnIssuer(t *testing.T) {
	document := func(members object) page {
		all := object{"issuer": issuerURL}
		maps.Copy(all, members)
		return jsonPage(string(must(json.Marshal(all))))
	}
	discovered := func(keysOnly bool) func(*introspect.ClientConfig) {
		return func(c *introspect.ClientConfig) {
			discovery := must(introspect.NewDiscovery(introspect.DiscoveryConfig{
				Issuer: issuerURL, Transport: c.Transport, Now: c.Now, Keys: keysOnly,
			}))
			c.Signed.KeysURL, c.Signed.Discovery = "", discovery
			if !keysOnly {
				c.Endpoint, c.Discovery = "", discovery
			}
		}
	}
	endpoint, onlyKeys := object{"introspection_endpoint": signedEndpoint}, object{"jwks_uri": keysPlace}
	both := object{"introspection_endpoint": signedEndpoint, "jwks_uri": keysPlace}
	for name, test := range map[string]struct {
		keysOnly bool
		document object
		says     string
	}{
		"endpoint and keys":                 {false, both, ""},
		"keys of an endpoint that is given": {true, onlyKeys, ""},
		"no keys":                           {false, endpoint, "name no jwks_uri"},
		"no keys of an endpoint":            {true, endpoint, "name no jwks_uri"},
		"keys that are not safe":            {true, object{"jwks_uri": "http://as.example.com/jwks"}, "as safe as the issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigning(t, discovered(test.keysOnly))
			s.publish(openIDPlace, document(test.document))
			_, err := s.ask(t, "token", nil)
			if test.says != "" {
				require.ErrorIs(t, err, introspect.ErrMalformed)
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
		})
	}
	t.Run("keys that have moved are looked for", func(t *testing.T) {
		s := newSigning(t, discovered(true))
		s.publish(openIDPlace, document(onlyKeys))
		_, err := s.ask(t, "token", nil)
		require.NoError(t, err)
		rotated := func(j *forged) { j.header["kid"], j.sign = "k9", rs256(attackerKey()) }
		s.publish(openIDPlace, document(object{"jwks_uri": "https://as.example.com/new"}))
		s.publish("https://as.example.com/new", keySet(publicKey(attackerKey(), "k9")))
		s.clock.advance(time.Minute)
		_, err = s.ask(t, "token", rotated)
		require.ErrorIs(t, err, introspect.ErrMalformed)
		require.Eventually(t, func() bool {
			_, err := s.ask(t, "token", rotated)
			return err == nil
		}, 10*time.Second, time.Millisecond, "what is published is doubted")
	})
}

func TestSignedAnswersThatAreKept(t *testing.T) {
	s := newSigning(t)
	without, err := s.ask(t, "token", nil)
	require.NoError(t, err)
	s.KeepSigned()
	var sent string
	answer, err := s.ask(t, "token", func(j *forged) { sent = j.text() })
	require.NoError(t, err)
	assert.Equal(t, sent, answer.Signed())
	assert.Equal(t, sent, answer.From(introspect.Memory).Signed())
	assert.Equal(t, without.Size()+len(sent), answer.Size(), "what is kept is counted")
	assert.Equal(t, "jane", answer.Subject())

	inactive, err := s.ask(t, "token", func(j *forged) { j.about()["active"] = false })
	require.NoError(t, err)
	assert.Empty(t, inactive.Signed())
	assert.Empty(t, answer.Inactive().Signed())

	nobody, err := s.ask(t, "token", func(j *forged) { j.claims["token_introspection"] = object{"active": true}; sent = j.text() })
	require.NoError(t, err)
	assert.Equal(t, sent, nobody.Signed())

	_, err = s.ask(t, "token", func(j *forged) { j.claims["x"] = strings.Repeat("x", introspect.MaxSigned) })
	require.ErrorIs(t, err, introspect.ErrMalformed)
	require.ErrorContains(t, err, "hand on")

	plain := endpoint(t, reply(200, "application/json", `{"active":true}`))
	plain.KeepSigned()
	answer, err = plain.Introspect(t.Context(), introspect.NewToken("token"))
	require.NoError(t, err)
	assert.Empty(t, answer.Signed(), "nothing that nobody has signed is handed on")
}

func TestBadConfigurationsOfSignedAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*introspect.Signed)
		says   string
	}{
		"no issuer":   {func(s *introspect.Signed) { s.Issuer = "" }, "issuer"},
		"no audience": {func(s *introspect.Signed) { s.Audience = "" }, "audience"},
		"no keys":     {func(s *introspect.Signed) { s.KeysURL = "" }, "jwks"},
		"C07 http":    {func(s *introspect.Signed) { s.KeysURL = "http://as.example.com/jwks" }, "https"},
	} {
		signed := introspect.Signed{Issuer: issuerURL, Audience: "gateway", KeysURL: keysPlace}
		test.change(&signed)
		_, err := introspect.NewClient(introspect.ClientConfig{Endpoint: signedEndpoint, Auth: introspect.NoAuth{}, Signed: &signed})
		assert.ErrorContains(t, err, test.says, name)
	}
}

// FuzzSignedAnswer: whatever is sent as a signed answer, an error repeats nothing of it, and what is believed was signed. Its
// key is always the same one, so that its corpus goes on meaning the same.
func FuzzSignedAnswer(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	now := newClock().now()
	signed := func(change func(*forged)) string {
		answer := answerAt(now)
		answer.header["alg"] = "EdDSA"
		answer.sign = func(input []byte) []byte { return ed25519.Sign(key, input) }
		if change != nil {
			change(answer)
		}
		return answer.text()
	}
	header := func(text string) func(*forged) {
		return func(j *forged) { j.edit = func(_, claims string) (string, string) { return text, claims } }
	}
	good := signed(nil)
	for _, seed := range []string{
		good, good + "\n", good[:len(good)-1], strings.ToUpper(good), swapClaims(good), good + "." + good, "", "..", "....",
		signed(header(`{"alg":"none"}`)),
		signed(header(`{"typ":"token-introspection+jwt","alg":"HS256"}`)),
		signed(header(`{"typ":"token-introspection+jwt","alg":"EdDSA","crit":["b64"],"b64":false}`)),
		signed(func(j *forged) { j.claims["iat"] = now.Unix() - 11 }),
		`{"active":true}`, `{"payload":"e30","protected":"e30","signature":"e30"}`,
	} {
		f.Add([]byte(seed))
	}
	s := newSigning(f)
	s.publish(keysPlace, keySet(publicKey(key, "k1")))
	f.Fuzz(func(t *testing.T, body []byte) {
		s.publish(signedEndpoint, page{200, signedType, string(body), nil})
		answer, err := s.Introspect(t.Context(), introspect.NewToken("token"))
		s.asked()
		if err == nil {
			require.Equal(t, good, strings.TrimSpace(string(body)), "nobody else has the key")
			require.True(t, answer.Active)
			return
		}
		require.Nil(t, answer)
		require.ErrorIs(t, err, introspect.ErrMalformed)
	})
}

// hanging is a transport that does not answer at one URL.
type hanging struct {
	http.RoundTripper
	url string
}

func (h *hanging) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.String() == h.url {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	return h.RoundTripper.RoundTrip(request)
}
