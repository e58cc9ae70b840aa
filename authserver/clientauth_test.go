package authserver_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/filestore"
)

const (
	jwtSecret     = "signer-secret-of-32-bytes-or-more-0123456789-0123456789-0123456789"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	partner       = "https://partner.example.com"
)

// The keys of these tests. Each is of somebody else.
var (
	clientKey  = newEC()
	partnerKey = newEC()
	rsaKey     = newRSA(2048)
	_, edKey   = newEd25519()
)

func newEC() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newEd25519() (ed25519.PublicKey, ed25519.PrivateKey) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return public, private
}

// jwks is a JWK set of public keys.
func jwks(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	require.NoError(t, err)
	return text
}

func keySet(t testing.TB, keys ...jose.JSONWebKey) *authserver.KeySet {
	t.Helper()
	set, err := authserver.ParseKeySet(jwks(t, keys...))
	require.NoError(t, err)
	return set
}

func publicKey(key crypto.Signer, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid}
}

// newAuthServer is a server with a client for each way to authenticate, and one issuer of assertions.
func newAuthServer(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{store: filestore.New(filepath.Join(t.TempDir(), "as.db"))}
	t.Cleanup(func() { assert.NoError(t, f.store.Close()) })
	f.nanos.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	signing, err := authserver.NewSigningSecret(jwtSecret)
	require.NoError(t, err)
	plain := func(text string) *authserver.Secret {
		secret, err := authserver.NewSecret(text)
		require.NoError(t, err)
		return secret
	}
	both := []string{authserver.GrantClientCredentials, authserver.GrantJWTBearer}
	scopes := []string{"read", "write", "admin", "introspection"}
	f.Server, err = authserver.New(authserver.Config{
		Issuer: issuer,
		Clients: []authserver.Client{
			{ID: "either", Secret: plain("either-secret"), Grants: both, Scopes: scopes, DefaultScopes: []string{"read", "admin"}},
			{ID: "basic", Auth: authserver.AuthSecretBasic, Secret: plain("basic-secret"), Grants: both, Scopes: scopes},
			{ID: "post", Auth: authserver.AuthSecretPost, Secret: plain("post-secret"), Grants: both, Scopes: scopes},
			{ID: "signer", Auth: authserver.AuthSecretJWT, Secret: signing, Grants: both, Scopes: scopes, MayIntrospect: true},
			{
				ID: "holder", Grants: both, Scopes: scopes, MayIntrospect: true,
				Keys: keySet(t, publicKey(clientKey, "k1"), publicKey(rsaKey, "k2"), publicKey(edKey, "")),
			},
			{ID: "public", Auth: authserver.AuthNone, Grants: []string{authserver.GrantJWTBearer}, Scopes: scopes},
			{ID: "idle", Secret: plain("idle-secret"), Scopes: scopes},
		},
		AssertionIssuers: []authserver.AssertionIssuer{
			{Issuer: partner, Keys: keySet(t, publicKey(partnerKey, "p1")), Scopes: []string{"read", "write"}},
			{Issuer: "people", Keys: keySet(t, publicKey(partnerKey, "")), Subjects: []string{"alice", "bob"}},
			{Issuer: "staff", Keys: keySet(t, publicKey(partnerKey, "")), Subjects: []string{"carol"}, Scopes: []string{"read", "write"}},
		},
		Logger: slog.New(slog.DiscardHandler),
		Now:    f.now,
	}, f.store)
	require.NoError(t, err)
	return f
}

// object is what a test says of a JWT: its header or its claims. A nil value takes a member away.
type object = map[string]any

// sign signs what it is given, sense or nonsense.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, header object, claims string) string {
	t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: make(map[jose.HeaderKey]any)}
	for name, value := range header {
		options.ExtraHeaders[jose.HeaderKey(name)] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	require.NoError(t, err)
	signed, err := signer.Sign([]byte(claims))
	require.NoError(t, err)
	text, err := signed.CompactSerialize()
	require.NoError(t, err)
	return text
}

// claims are those of a good assertion, with changes.
func (f *fixture) claims(t testing.TB, who string, changes ...object) string {
	t.Helper()
	claims := object{
		"iss": who, "sub": who, "aud": issuer, "jti": rand.Text(),
		"iat": f.now().Unix(), "exp": f.now().Add(time.Minute).Unix(),
	}
	for _, change := range changes {
		maps.Copy(claims, change)
	}
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	text, err := json.Marshal(claims)
	require.NoError(t, err)
	return string(text)
}

// byKey is an assertion of the client holder.
func (f *fixture) byKey(t testing.TB, changes ...object) string {
	t.Helper()
	return sign(t, jose.ES256, clientKey, object{"kid": "k1"}, f.claims(t, "holder", changes...))
}

// assertionForm is a request for client credentials that is signed in by an assertion.
func assertionForm(assertion string, extra ...string) url.Values {
	return grant(append([]string{"client_assertion_type", assertionType, "client_assertion", assertion}, extra...)...)
}

func TestD12D13EachClientInItsOwnWay(t *testing.T) {
	f := newAuthServer(t)
	bySecret := func() string { return sign(t, jose.HS256, []byte(jwtSecret), nil, f.claims(t, "signer")) }
	ways := map[string]func(id, secret string) request{
		"client_secret_basic": func(id, secret string) request { return request{user: id, password: secret, form: grant()} },
		"client_secret_post": func(id, secret string) request {
			return request{form: grant("client_id", id, "client_secret", secret)}
		},
		"none":             func(id, _ string) request { return request{form: grant("client_id", id)} },
		"none with Basic":  func(id, _ string) request { return request{user: id, form: grant()} },
		"an HMAC of it":    func(_, _ string) request { return request{form: assertionForm(bySecret())} },
		"a signature":      func(_, _ string) request { return request{form: assertionForm(f.byKey(t))} },
		"an HMAC, and id":  func(id, _ string) request { return request{form: assertionForm(bySecret(), "client_id", id)} },
		"a signature, id":  func(id, _ string) request { return request{form: assertionForm(f.byKey(t), "client_id", id)} },
		"an HMAC with key": func(id, _ string) request { return request{form: assertionForm(confused(t, f, id))} },
	}
	for id, client := range map[string]struct {
		secret string
		ways   []string
	}{
		"either": {"either-secret", []string{"client_secret_basic", "client_secret_post"}},
		"basic":  {"basic-secret", []string{"client_secret_basic"}},
		"post":   {"post-secret", []string{"client_secret_post"}},
		"signer": {jwtSecret, []string{"an HMAC of it", "an HMAC, and id"}},
		"holder": {"", []string{"a signature", "a signature, id"}},
		"nobody": {"either-secret", nil},
	} {
		for way, ask := range ways {
			if named := map[string]string{"an HMAC of it": "signer", "a signature": "holder"}[way]; named != "" && named != id {
				continue // whom it authenticates does not depend on the id
			}
			t.Run(id+" by "+way, func(t *testing.T) {
				asking := ask(id, client.secret)
				asking.path = "/oauth2/token"
				response, members := f.do(t, asking)
				if slices.Contains(client.ways, way) {
					assert.Equal(t, 200, response.StatusCode, members)
					return
				}
				assert.Equal(t, 401, response.StatusCode, members)
				assert.Equal(t, "invalid_client", members["error"])
				assert.Equal(t, asking.user != "", response.Header.Get("WWW-Authenticate") != "", "D09")
			})
		}
	}
}

// confused is an assertion that takes a client's public key for a secret (RFC 8725 section 2.1).
func confused(t *testing.T, f *fixture, id string) string {
	t.Helper()
	text, err := json.Marshal(publicKey(clientKey, "k1"))
	require.NoError(t, err)
	return sign(t, jose.HS256, text, object{"kid": "k1"}, f.claims(t, id))
}

func TestD10OneWayOnly(t *testing.T) {
	f := newAuthServer(t)
	for name, asking := range map[string]request{
		"Basic and a secret":           {user: "either", password: "either-secret", form: grant("client_id", "either", "client_secret", "either-secret")},
		"Basic and an assertion":       {user: "either", password: "either-secret", form: assertionForm(f.byKey(t))},
		"a secret and an assertion":    {form: assertionForm(f.byKey(t), "client_secret", "either-secret", "client_id", "either")},
		"Basic and an assertion type":  {user: "either", password: "either-secret", form: grant("client_assertion_type", assertionType)},
		"Bearer and a secret":          {header: http.Header{"Authorization": {"Bearer x"}}, form: grant("client_id", "either", "client_secret", "either-secret")},
		"two headers, Bearer is first": {header: http.Header{"Authorization": {"Bearer x", "Basic eDp5"}}, form: grant()},
		"Basic of one, id of another":  {user: "either", password: "either-secret", form: grant("client_id", "basic")},
	} {
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			asking.path = path
			response, members := f.do(t, asking)
			assert.Equal(t, 400, response.StatusCode, "%s at %s", name, path)
			assert.Equal(t, "invalid_request", members["error"], "%s at %s", name, path)
		}
	}
}

func TestH06AlgorithmsOfAssertions(t *testing.T) {
	f := newAuthServer(t)
	weak := newRSA(2048)
	for name, test := range map[string]struct {
		assertion string
		status    int
	}{
		"ES256":                         {f.byKey(t), 200},
		"EdDSA, and no kid":             {sign(t, jose.EdDSA, edKey, nil, f.claims(t, "holder")), 200},
		"RS256":                         {sign(t, jose.RS256, rsaKey, object{"kid": "k2"}, f.claims(t, "holder")), 200},
		"PS512, and no kid":             {sign(t, jose.PS512, rsaKey, nil, f.claims(t, "holder")), 200},
		"a kid that is another key's":   {sign(t, jose.ES256, clientKey, object{"kid": "k2"}, f.claims(t, "holder")), 401},
		"an unknown kid":                {sign(t, jose.ES256, clientKey, object{"kid": "k9"}, f.claims(t, "holder")), 401},
		"HS512":                         {sign(t, jose.HS512, []byte(jwtSecret), nil, f.claims(t, "signer")), 200},
		"HS256 under the public key":    {confused(t, f, "holder"), 401},
		"HS256 under an empty key":      {unsigned(t, `{"alg":"HS256"}`, f.claims(t, "holder")), 401},
		"none":                          {unsigned(t, `{"alg":"none"}`, f.claims(t, "holder")), 401},
		"None":                          {unsigned(t, `{"alg":"None"}`, f.claims(t, "signer")), 401},
		"a key that comes along":        {sign(t, jose.RS256, weak, object{"jwk": publicKey(weak, "")}, f.claims(t, "holder")), 401},
		"another client's key":          {sign(t, jose.ES256, partnerKey, object{"kid": "k1"}, f.claims(t, "holder")), 401},
		"a signature of other claims":   {swapped(f.byKey(t), f.byKey(t)), 401},
		"a header that has to be known": {sign(t, jose.ES256, clientKey, object{"kid": "k1", "crit": []string{"x"}, "x": 1}, f.claims(t, "holder")), 401},
		"no JWT":                        {"garbage", 401},
		"four parts":                    {f.byKey(t) + ".x", 401},
		"RS256 of an EC client's key":   {sign(t, jose.RS256, rsaKey, object{"kid": "k1"}, f.claims(t, "holder")), 401},
		"a client that does not exist":  {sign(t, jose.ES256, clientKey, nil, f.claims(t, "nobody")), 401},
		"the same by RSA":               {sign(t, jose.RS256, rsaKey, nil, f.claims(t, "nobody")), 401},
		"the same by HMAC":              {sign(t, jose.HS384, []byte(jwtSecret), nil, f.claims(t, "nobody")), 401},
	} {
		t.Run(name, func(t *testing.T) {
			response, members := f.do(t, request{path: "/oauth2/token", form: assertionForm(test.assertion)})
			assert.Equal(t, test.status, response.StatusCode, members)
			if test.status != 200 {
				assert.Equal(t, map[string]any{"error": "invalid_client", "error_description": "client authentication failed"}, members,
					"D16: whoever has no key learns nothing, not even whether there is such a client")
			}
		})
	}
}

func unsigned(t *testing.T, header, claims string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(claims)) + "."
}

// swapped is one JWT with the signature of another.
func swapped(one, other string) string {
	return one[:strings.LastIndexByte(one, '.')] + other[strings.LastIndexByte(other, '.'):]
}

func TestH02H03H04H05ClaimsOfAssertions(t *testing.T) {
	f := newAuthServer(t)
	at := func(d time.Duration) int64 { return f.now().Add(d).Unix() }
	for name, test := range map[string]struct {
		claims object
		path   string // default: the token endpoint
		says   string // empty: it is good
	}{
		"as it should be":                      {},
		"aud in an array of one":               {claims: object{"aud": []string{issuer}}},
		"aud is the token endpoint":            {claims: object{"aud": issuer + "/oauth2/token"}},
		"aud is this endpoint":                 {claims: object{"aud": issuer + "/oauth2/introspect"}, path: "/oauth2/introspect"},
		"aud is the token endpoint, at this":   {claims: object{"aud": issuer + "/oauth2/token"}, path: "/oauth2/introspect"},
		"aud is the revocation endpoint":       {claims: object{"aud": issuer + "/oauth2/revoke"}, path: "/oauth2/revoke"},
		"aud is another endpoint":              {claims: object{"aud": issuer + "/oauth2/introspect"}, says: "aud"},
		"aud is another server":                {claims: object{"aud": "https://evil.example.com"}, says: "aud"},
		"aud is what Host said":                {claims: object{"aud": "http://evil.example/oauth2/token"}, says: "aud"},
		"aud names another server, too":        {claims: object{"aud": []string{issuer, "https://evil.example.com"}}, says: "aud"},
		"aud with a slash":                     {claims: object{"aud": issuer + "/"}, says: "aud"},
		"no aud":                               {claims: object{"aud": nil}, says: "aud"},
		"an empty aud":                         {claims: object{"aud": []string{}}, says: "aud"},
		"iss is another client":                {claims: object{"iss": "signer"}, says: "iss and sub"},
		"no iss":                               {claims: object{"iss": nil}, says: "iss and sub"},
		"no jti":                               {claims: object{"jti": nil}, says: "jti"},
		"an empty jti":                         {claims: object{"jti": ""}, says: "jti"},
		"no exp":                               {claims: object{"exp": nil}, says: "exp"},
		"exp now":                              {claims: object{"exp": at(0)}, says: "expired"},
		"exp in a moment":                      {claims: object{"exp": at(time.Second)}},
		"exp with a fraction":                  {claims: object{"exp": float64(at(time.Minute)) + 0.5}},
		"exp in an hour":                       {claims: object{"exp": at(time.Hour)}},
		"exp in an hour of a clock ahead":      {claims: object{"exp": at(time.Hour + 50*time.Second), "iat": at(50 * time.Second)}},
		"exp in a year":                        {claims: object{"exp": at(365 * 24 * time.Hour)}, says: "hour"},
		"exp beyond all time":                  {claims: object{"exp": int64(253402300799)}, says: "hour"},
		"an old one that lasted for a year":    {claims: object{"iat": at(-365 * 24 * time.Hour)}, says: "hour"},
		"iat in the future of a clock ahead":   {claims: object{"iat": at(50 * time.Second), "exp": at(2 * time.Minute)}},
		"iat in the future":                    {claims: object{"iat": at(2 * time.Minute), "exp": at(3 * time.Minute)}, says: "not valid yet"},
		"nbf in the future":                    {claims: object{"nbf": at(2 * time.Minute), "exp": at(3 * time.Minute)}, says: "not valid yet"},
		"nbf in the past, and no iat":          {claims: object{"nbf": at(-time.Minute), "iat": nil}},
		"claims that nobody knows are no harm": {claims: object{"x": object{"y": []int{1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			path := test.path
			if path == "" {
				path = "/oauth2/token"
			}
			assertion := f.byKey(t, test.claims)
			form := assertionForm(assertion, "token", "x")
			response, members := f.do(t, request{path: path, form: form})
			if test.says == "" {
				assert.Equal(t, 200, response.StatusCode, members)
				return
			}
			assert.Equal(t, 401, response.StatusCode)
			assert.Equal(t, "invalid_client", members["error"])
			assert.Contains(t, members["error_description"], test.says)
			assert.Regexp(t, `^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`, members["error_description"], "D08")
			assert.Empty(t, response.Header.Get("WWW-Authenticate"), "D09")
		})
	}
	for name, claims := range map[string]string{
		"sub twice":          strings.Replace(f.claims(t, "holder"), `{`, `{"sub":"either",`, 1),
		"exp as text":        f.claims(t, "holder", object{"exp": "1795348860"}),
		"exp beyond numbers": strings.Replace(f.claims(t, "holder", object{"exp": nil}), `{`, `{"exp":1e400,`, 1),
		"exp before 1970":    f.claims(t, "holder", object{"exp": -1}),
		"sub in an array":    f.claims(t, "holder", object{"sub": []string{"holder"}}),
		"aud a number":       f.claims(t, "holder", object{"aud": 1}),
		"no object":          `"holder"`,
		"nothing":            ``,
		"SUB":                strings.Replace(f.claims(t, "holder"), `"sub"`, `"SUB"`, 1),
	} {
		response, members := f.do(t, request{path: "/oauth2/token", form: assertionForm(sign(t, jose.ES256, clientKey, nil, claims))})
		assert.Equal(t, 401, response.StatusCode, name)
		assert.Equal(t, "invalid_client", members["error"], name)
	}
	for typ, status := range map[any]int{
		"JWT": 200, "jwt": 200, "client-authentication+jwt": 200, "application/client-authentication+jwt": 200,
		"at+jwt": 401, "dpop+jwt": 401, "authorization-grant+jwt": 401, "": 401, 1: 401,
	} {
		assertion := sign(t, jose.ES256, clientKey, object{"typ": typ}, f.claims(t, "holder"))
		response, _ := f.do(t, request{path: "/oauth2/token", form: assertionForm(assertion)})
		assert.Equal(t, status, response.StatusCode, "H05 %v", typ)
	}
	for name, form := range map[string]url.Values{
		"H01 another type":         grant("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "client_assertion", f.byKey(t)),
		"H01 no type":              grant("client_assertion", f.byKey(t)),
		"H01 a type alone":         grant("client_assertion_type", assertionType),
		"H02 another client's id":  assertionForm(f.byKey(t), "client_id", "signer"),
		"H02 no sub":               assertionForm(f.byKey(t, object{"sub": nil})),
		"H02 sub is somebody else": assertionForm(f.byKey(t, object{"sub": "signer"})),
	} {
		response, members := f.do(t, request{path: "/oauth2/token", form: form})
		assert.Equal(t, 401, response.StatusCode, name)
		assert.Equal(t, "invalid_client", members["error"], name)
	}
}

func TestH04AnAssertionIsOfUseOnce(t *testing.T) {
	f := newAuthServer(t)
	ask := func(form url.Values) (int, map[string]any) {
		response, members := f.do(t, request{path: "/oauth2/token", form: form})
		return response.StatusCode, members
	}
	t.Run("a thief who has read an assertion from a log", func(t *testing.T) {
		assertion := f.byKey(t)
		status, _ := ask(assertionForm(assertion))
		require.Equal(t, 200, status)
		status, members := ask(assertionForm(assertion))
		assert.Equal(t, 401, status)
		assert.Equal(t, "the assertion was used before", members["error_description"])
		response, _ := f.do(t, request{path: "/oauth2/introspect", form: assertionForm(assertion, "token", "x")})
		assert.Equal(t, 401, response.StatusCode, "nor is it of use anywhere else")
	})
	t.Run("the same jti in another assertion", func(t *testing.T) {
		status, _ := ask(assertionForm(f.byKey(t, object{"jti": "same"})))
		require.Equal(t, 200, status)
		status, _ = ask(assertionForm(f.byKey(t, object{"jti": "same", "aud": []string{issuer}})))
		assert.Equal(t, 401, status)
	})
	t.Run("the jti of another client is nobody's business", func(t *testing.T) {
		status, _ := ask(assertionForm(f.byKey(t, object{"jti": "shared"})))
		require.Equal(t, 200, status)
		status, _ = ask(assertionForm(sign(t, jose.HS256, []byte(jwtSecret), nil, f.claims(t, "signer", object{"jti": "shared"}))))
		assert.Equal(t, 200, status)
	})
	t.Run("whoever cannot sign cannot use up the jti of somebody else", func(t *testing.T) {
		victim := f.byKey(t, object{"jti": "victim"})
		for name, forged := range map[string]string{
			"another key":        sign(t, jose.ES256, partnerKey, object{"kid": "k1"}, f.claims(t, "holder", object{"jti": "victim"})),
			"a broken signature": swapped(victim, f.byKey(t)),
		} {
			status, _ := ask(assertionForm(forged))
			require.Equal(t, 401, status, name)
		}
		status, _ := ask(assertionForm(victim, "client_id", "signer"))
		require.Equal(t, 401, status, "a failed attempt changes nothing")
		status, _ = ask(assertionForm(victim))
		assert.Equal(t, 200, status)
	})
	t.Run("to sweep is not to forget, as long as it is good", func(t *testing.T) {
		assertion := f.byKey(t)
		status, _ := ask(assertionForm(assertion))
		require.Equal(t, 200, status)
		f.nanos.Add(int64(time.Minute - time.Second))
		_, err := f.store.Sweep(t.Context(), f.now(), 1000)
		require.NoError(t, err)
		status, members := ask(assertionForm(assertion))
		assert.Equal(t, 401, status)
		assert.Equal(t, "the assertion was used before", members["error_description"])
	})
	t.Run("fifty at once, one winner", func(t *testing.T) {
		assert.Equal(t, 1, winners(t, f, assertionForm(f.byKey(t))))
	})
}

// winners sends the same request many times at once and counts those that succeed.
func winners(t *testing.T, f *fixture, form url.Values) int {
	t.Helper()
	const racers = 50
	results := make(chan int, racers)
	start := make(chan struct{})
	var ready sync.WaitGroup
	for range racers {
		ready.Go(func() {
			<-start
			response, _ := f.do(t, request{path: "/oauth2/token", form: form})
			results <- response.StatusCode
		})
	}
	close(start)
	ready.Wait()
	won := 0
	for range racers {
		if <-results == 200 {
			won++
		}
	}
	return won
}

func TestPublicClients(t *testing.T) {
	f := newAuthServer(t)
	form := func(extra ...string) url.Values {
		form := url.Values{"grant_type": {authserver.GrantJWTBearer}, "client_id": {"public"}, "assertion": {f.byPartner(t)}}
		for i := 0; i < len(extra); i += 2 {
			form.Set(extra[i], extra[i+1])
		}
		return form
	}
	response, members := f.do(t, request{path: "/oauth2/token", form: form()})
	require.Equal(t, 200, response.StatusCode, members)
	token := members["access_token"].(string)

	response, members = f.do(t, request{path: "/oauth2/token", form: form("client_secret", "made-up")})
	assert.Equal(t, 401, response.StatusCode, "D13")
	assert.Equal(t, "invalid_client", members["error"])
	response, members = f.do(t, request{path: "/oauth2/token", form: form("grant_type", "client_credentials")})
	assert.Equal(t, 400, response.StatusCode)
	assert.Equal(t, "unauthorized_client", members["error"], "G01")
	for _, id := range []string{"", "nobody", "either", "holder"} {
		response, members = f.do(t, request{path: "/oauth2/token", form: form("client_id", id)})
		assert.Equal(t, 401, response.StatusCode, "D14 %q", id)
		assert.Equal(t, "invalid_client", members["error"], "D14 %q", id)
	}
	response, members = f.do(t, request{path: "/oauth2/introspect", form: url.Values{"client_id": {"public"}, "token": {token}}})
	assert.Equal(t, 401, response.StatusCode, "J01: anybody may say that he is a public client")
	assert.NotContains(t, members, "active")
	response, _ = f.do(t, request{path: "/oauth2/revoke", form: url.Values{"client_id": {"public"}, "token": {token}}})
	assert.Equal(t, 200, response.StatusCode, "I01")
	assert.Equal(t, map[string]any{"active": false}, f.ask(t, token))
}

// ask introspects a token as the client signer.
func (f *fixture) ask(t *testing.T, token string) map[string]any {
	t.Helper()
	form := assertionForm(sign(t, jose.HS256, []byte(jwtSecret), nil, f.claims(t, "signer")), "token", token)
	response, members := f.do(t, request{path: "/oauth2/introspect", form: form})
	require.Equal(t, 200, response.StatusCode, members)
	return members
}

func TestBearersWhoIntrospect(t *testing.T) {
	f := newAuthServer(t)
	get := func(scope string) string {
		response, members := f.do(t, request{path: "/oauth2/token", user: "basic", password: "basic-secret", form: grant("scope", scope)})
		require.Equal(t, 200, response.StatusCode)
		return members["access_token"].(string)
	}
	allowed, lesser, asked := get("introspection"), get("read"), get("read")
	ask := func(form url.Values, lines ...string) (*http.Response, map[string]any) {
		return f.do(t, request{path: "/oauth2/introspect", header: http.Header{"Authorization": lines}, form: form})
	}
	question := url.Values{"token": {asked}}

	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		response, members := ask(question, scheme+allowed)
		assert.Equal(t, 200, response.StatusCode)
		assert.Equal(t, true, members["active"])
	}
	response, members := ask(url.Values{"token": {allowed}}, "Bearer "+allowed)
	assert.Equal(t, 200, response.StatusCode)
	assert.Equal(t, map[string]any{"active": false}, members, "never for itself")
	response, members = ask(url.Values{"token": {allowed}}, "Bearer "+get("introspection"))
	assert.Equal(t, 200, response.StatusCode)
	assert.Equal(t, true, members["active"], "another one may")
	response, _ = ask(url.Values{}, "Bearer "+allowed)
	assert.Equal(t, 400, response.StatusCode)

	response, members = ask(question, "Bearer "+lesser)
	assert.Equal(t, 403, response.StatusCode)
	assert.Equal(t, "insufficient_scope", members["error"])
	assert.Equal(t, `Bearer realm="authorization server", error="insufficient_scope", scope="introspection"`, response.Header.Get("WWW-Authenticate"))
	for _, line := range []string{"Bearer x", "Bearer", "Bearer ", "Bearer pat_unknown", "Bearer " + allowed + " " + allowed} {
		response, members = ask(question, line)
		assert.Equal(t, 401, response.StatusCode, line)
		assert.Equal(t, "invalid_token", members["error"], line)
		assert.Equal(t, `Bearer realm="authorization server", error="invalid_token"`, response.Header.Get("WWW-Authenticate"))
	}
	for name, form := range map[string]url.Values{
		"a secret as well":     {"token": {asked}, "client_id": {"either"}, "client_secret": {"either-secret"}},
		"an assertion as well": assertionForm(f.byKey(t), "token", asked),
	} {
		response, members = ask(form, "Bearer "+allowed)
		assert.Equal(t, 400, response.StatusCode, name)
		assert.Equal(t, "invalid_request", members["error"], name)
	}
	response, _ = ask(question, "Bearer "+allowed, "Bearer "+allowed)
	assert.Equal(t, 400, response.StatusCode)
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke"} {
		response, _ = f.do(t, request{path: path, header: http.Header{"Authorization": {"Bearer " + allowed}}, form: grant("token", asked)})
		assert.Equal(t, 401, response.StatusCode, "a token is no client: %s", path)
	}
	response, _ = f.do(t, request{path: "/oauth2/revoke", user: "basic", password: "basic-secret", form: url.Values{"token": {allowed}}})
	require.Equal(t, 200, response.StatusCode)
	response, _ = ask(question, "Bearer "+allowed)
	assert.Equal(t, 401, response.StatusCode, "a revoked token opens nothing")
	fresh := get("introspection")
	f.nanos.Add(int64(15 * time.Minute))
	response, _ = ask(question, "Bearer "+fresh)
	assert.Equal(t, 401, response.StatusCode, "nor does an expired one")
}

func TestK05K06H09MetadataOfClientAuthentication(t *testing.T) {
	asymmetric := []any{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	algorithms := append(append([]any{}, asymmetric...), "HS256", "HS384", "HS512")
	_, members := newAuthServer(t).do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.Equal(t, []any{"authorization_code", "refresh_token", "client_credentials", authserver.GrantJWTBearer}, members["grant_types_supported"])
	all := []any{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"}
	for endpoint, methods := range map[string][]any{
		"token_endpoint": all, "revocation_endpoint": all, "introspection_endpoint": append(append([]any{}, all[:4]...), "Bearer", "DPoP"),
	} {
		assert.Equal(t, methods, members[endpoint+"_auth_methods_supported"])
		assert.Equal(t, algorithms, members[endpoint+"_auth_signing_alg_values_supported"])
	}
	for name, test := range map[string]struct {
		clients    []authserver.Client
		methods    []any
		algorithms any
	}{
		"no client":      {nil, []any{"client_secret_basic", "client_secret_post"}, nil},
		"H08 hashes":     {[]authserver.Client{{ID: "a", Secret: secret(t, argon2idOf(t, "s"))}}, []any{"client_secret_basic", "client_secret_post"}, nil},
		"one way":        {[]authserver.Client{{ID: "a", Auth: "client_secret_basic", Secret: secret(t, "s")}}, []any{"client_secret_basic"}, nil},
		"keys":           {[]authserver.Client{{ID: "a", Keys: keySet(t, publicKey(clientKey, ""))}}, []any{"private_key_jwt"}, asymmetric},
		"public clients": {[]authserver.Client{{ID: "a", Auth: "none"}}, []any{"none"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := authserver.New(authserver.Config{Issuer: issuer, Clients: test.clients}, nil)
			require.NoError(t, err)
			_, members := (&fixture{Server: server}).do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
			assert.Equal(t, test.methods, members["token_endpoint_auth_methods_supported"])
			assert.Equal(t, test.algorithms, members["token_endpoint_auth_signing_alg_values_supported"])
			assert.NotContains(t, members["introspection_endpoint_auth_methods_supported"], "none")
			assert.Equal(t, []any{"authorization_code", "refresh_token", "client_credentials"}, members["grant_types_supported"])
		})
	}
}

func TestClientsThatAreRefused(t *testing.T) {
	signing, err := authserver.NewSigningSecret(jwtSecret)
	require.NoError(t, err)
	plain, keys := secret(t, jwtSecret), keySet(t, publicKey(clientKey, ""))
	for name, test := range map[string]struct {
		client authserver.Client
		says   string
	}{
		"nothing":                   {authserver.Client{}, "needs a secret, or"},
		"basic without secret":      {authserver.Client{Auth: "client_secret_basic"}, "needs a secret"},
		"post without secret":       {authserver.Client{Auth: "client_secret_post", Keys: keys}, "needs a secret"},
		"jwt without secret":        {authserver.Client{Auth: "client_secret_jwt"}, "needs a secret to sign with"},
		"jwt with another secret":   {authserver.Client{Auth: "client_secret_jwt", Secret: plain}, "needs a secret to sign with"},
		"key without keys":          {authserver.Client{Auth: "private_key_jwt"}, "needs 'jwks'"},
		"key with a secret":         {authserver.Client{Auth: "private_key_jwt", Keys: keys, Secret: plain}, "uses no secret"},
		"secret with keys":          {authserver.Client{Secret: plain, Keys: keys}, "'jwks' is for"},
		"signing secret with keys":  {authserver.Client{Auth: "client_secret_jwt", Secret: signing, Keys: keys}, "'jwks' is for"},
		"public with a secret":      {authserver.Client{Auth: "none", Secret: plain}, "uses no secret"},
		"public with keys":          {authserver.Client{Auth: "none", Keys: keys}, "'jwks' is for"},
		"G01 public, by itself":     {authserver.Client{Auth: "none", Grants: []string{"client_credentials"}}, "not for a public client"},
		"J01 public, and may ask":   {authserver.Client{Auth: "none", MayIntrospect: true}, "not for a public client"},
		"an unknown way":            {authserver.Client{Auth: "digest", Secret: plain}, "must be one of"},
		"a grant without an issuer": {authserver.Client{Auth: "none", Grants: []string{authserver.GrantJWTBearer}}, "needs an 'assertion_issuer'"},
	} {
		t.Run(name, func(t *testing.T) {
			test.client.ID = "a"
			_, err := authserver.New(authserver.Config{Issuer: issuer, Clients: []authserver.Client{test.client}}, nil)
			require.ErrorContains(t, err, test.says)
		})
	}
	for name, test := range map[string]struct{ text, says string }{
		"H08 argon2id": {argon2idOf(t, jwtSecret), "the secret itself"},
		"31 bytes":     {jwtSecret[:31], "at least 32 bytes"},
		"empty":        {"", "empty"},
	} {
		_, err := authserver.NewSigningSecret(test.text)
		require.ErrorContains(t, err, test.says, name)
	}
	for _, length := range []int{32, 48} { // RFC 7518 section 3.2: no longer hash than the secret
		short, err := authserver.NewSigningSecret(jwtSecret[:length])
		require.NoError(t, err)
		f := newAuthServer(t)
		f.Server, err = authserver.New(authserver.Config{
			Issuer: issuer, Now: f.now,
			Clients: []authserver.Client{{ID: "a", Auth: "client_secret_jwt", Secret: short, Grants: []string{"client_credentials"}}},
		}, f.store)
		require.NoError(t, err)
		for algorithm, least := range map[jose.SignatureAlgorithm]int{jose.HS256: 32, jose.HS384: 48} {
			if length >= least {
				assertion := sign(t, algorithm, []byte(jwtSecret[:length]), nil, f.claims(t, "a"))
				response, _ := f.do(t, request{path: "/oauth2/token", form: assertionForm(assertion)})
				assert.Equal(t, 200, response.StatusCode, algorithm)
			}
		}
	}
}
