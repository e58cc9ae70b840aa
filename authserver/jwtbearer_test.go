package authserver_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// byPartner is an assertion of the issuer partner.
func (f *fixture) byPartner(t testing.TB, changes ...object) string {
	t.Helper()
	return sign(t, jose.ES256, partnerKey, object{"kid": "p1"}, f.claims(t, partner, changes...))
}

func jwtBearer(assertion string, extra ...string) url.Values {
	form := url.Values{"grant_type": {authserver.GrantJWTBearer}, "assertion": {assertion}}
	for i := 0; i < len(extra); i += 2 {
		form.Set(extra[i], extra[i+1])
	}
	return form
}

func TestG05TheGrantOfAnAssertion(t *testing.T) {
	f := newAuthServer(t)
	of := func(iss string, changes ...object) string {
		return sign(t, jose.ES256, partnerKey, nil, f.claims(t, iss, changes...))
	}
	for name, test := range map[string]struct {
		assertion, scope string
		subject, granted string
	}{
		"the issuer itself, with default scopes": {f.byPartner(t), "", partner, "read"},
		"without sub":                            {f.byPartner(t, object{"sub": nil}), "write", partner, "write"},
		"for the token endpoint":                 {f.byPartner(t, object{"aud": issuer + "/oauth2/token"}), "read write", partner, "read write"},
		"without jti":                            {f.byPartner(t, object{"jti": nil}), "read", partner, "read"},
		"without iat":                            {f.byPartner(t, object{"iat": nil}), "read", partner, "read"},
		"typed":                                  {sign(t, jose.ES256, partnerKey, object{"typ": "authorization-grant+jwt"}, f.claims(t, partner)), "read", partner, "read"},
	} {
		t.Run(name, func(t *testing.T) {
			response, members := f.do(t, request{path: "/oauth2/token", user: "either", password: "either-secret", form: jwtBearer(test.assertion, "scope", test.scope)})
			require.Equal(t, 200, response.StatusCode, members)
			assert.Equal(t, test.granted, members["scope"])
			assert.NotContains(t, members, "refresh_token", "G06")
			answer := f.ask(t, members["access_token"].(string))
			assert.Equal(t, test.subject, answer["sub"])
			assert.Equal(t, "either", answer["client_id"])
			assert.Equal(t, test.granted, answer["scope"])
			assert.NotContains(t, answer, "username")
		})
	}
	t.Run("a subject that the issuer may speak for", func(t *testing.T) {
		response, members := f.do(t, request{path: "/oauth2/token", user: "either", password: "either-secret", form: jwtBearer(of("people", object{"sub": "bob"}), "scope", "read")})
		assert.Equal(t, 400, response.StatusCode, "which may grant no scope")
		assert.Equal(t, "invalid_scope", members["error"])
		response, members = f.do(t, request{path: "/oauth2/token", user: "either", password: "either-secret", form: jwtBearer(of("people", object{"sub": "bob"}))})
		assert.Equal(t, 400, response.StatusCode, "none of the default scopes is left")
		assert.Equal(t, "invalid_scope", members["error"])
	})
	for name, test := range map[string]struct {
		assertion string
		says      string
	}{
		"an issuer that nobody knows":        {of("https://evil.example.com"), "not of an issuer"},
		"no issuer":                          {of("people", object{"iss": nil}), "not of an issuer"},
		"a client that speaks for itself":    {f.byKey(t), "not of an issuer"},
		"a client's key":                     {sign(t, jose.ES256, clientKey, nil, f.claims(t, partner)), "not signed"},
		"an unknown kid":                     {sign(t, jose.ES256, partnerKey, object{"kid": "p9"}, f.claims(t, partner)), "not signed"},
		"HMAC under the public key":          {confused(t, f, partner), "cannot be read"},
		"none":                               {unsigned(t, `{"alg":"none"}`, f.claims(t, partner)), "cannot be read"},
		"a subject of another issuer":        {f.byPartner(t, object{"sub": "alice"}), "may not speak"},
		"an empty subject":                   {f.byPartner(t, object{"sub": ""}), "may not speak"},
		"the issuer, who is no subject here": {of("people"), "may not speak"},
		"no subject, where some are listed":  {of("people", object{"sub": nil}), "may not speak"},
		"another audience":                   {f.byPartner(t, object{"aud": "https://other.example.com"}), "aud"},
		"this server among others":           {f.byPartner(t, object{"aud": []string{issuer, "https://other.example.com"}}), "aud"},
		"no exp":                             {f.byPartner(t, object{"exp": nil}), "exp"},
		"expired":                            {f.byPartner(t, object{"exp": f.now().Unix()}), "expired"},
		"good for a year":                    {f.byPartner(t, object{"exp": f.now().Add(365 * 24 * time.Hour).Unix()}), "hour"},
		"not yet":                            {f.byPartner(t, object{"nbf": f.now().Add(2 * time.Minute).Unix()}), "not valid yet"},
		"an assertion to authenticate with":  {sign(t, jose.ES256, partnerKey, object{"typ": "client-authentication+jwt"}, f.claims(t, partner)), "another type"},
		"G07 an identity assertion":          {sign(t, jose.ES256, partnerKey, object{"typ": "oauth-id-jag+jwt"}, f.claims(t, partner)), "another type"},
		"an access token":                    {sign(t, jose.ES256, partnerKey, object{"typ": "at+jwt"}, f.claims(t, partner)), "another type"},
		"garbage":                            {"garbage", "cannot be read"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			response, members := f.do(t, request{path: "/oauth2/token", user: "either", password: "either-secret", form: jwtBearer(test.assertion)})
			assert.Equal(t, 400, response.StatusCode)
			assert.Equal(t, "invalid_grant", members["error"])
			assert.Contains(t, members["error_description"], test.says)
			assert.Regexp(t, `^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`, members["error_description"], "D08")
		})
	}
	for name, test := range map[string]struct {
		client, secret string
		form           url.Values
		status         int
		code           string
	}{
		"no assertion":                      {"either", "either-secret", jwtBearer(""), 400, "invalid_request"},
		"a scope that the issuer has not":   {"either", "either-secret", jwtBearer(f.byPartner(t), "scope", "read admin"), 400, "invalid_scope"},
		"a scope that the client has not":   {"either", "either-secret", jwtBearer(f.byPartner(t), "scope", "root"), 400, "invalid_scope"},
		"G06 a bad secret":                  {"either", "wrong", jwtBearer(f.byPartner(t)), 401, "invalid_client"},
		"no client":                         {"", "", jwtBearer(f.byPartner(t)), 401, "invalid_client"},
		"a client that has to authenticate": {"", "", jwtBearer(f.byPartner(t), "client_id", "either"), 401, "invalid_client"},
		"a client without the grant":        {"idle", "idle-secret", jwtBearer(f.byPartner(t)), 400, "unauthorized_client"},
		"a resource":                        {"either", "either-secret", jwtBearer(f.byPartner(t), "resource", "https://api.example.com"), 400, "invalid_target"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			response, members := f.do(t, request{path: "/oauth2/token", user: test.client, password: test.secret, form: test.form})
			assert.Equal(t, test.status, response.StatusCode, members)
			assert.Equal(t, test.code, members["error"])
		})
	}
}

func TestG05AnAssertionIsGrantedOnce(t *testing.T) {
	f := newAuthServer(t)
	ask := func(form url.Values) int {
		response, _ := f.do(t, request{path: "/oauth2/token", user: "either", password: "either-secret", form: form})
		return response.StatusCode
	}
	t.Run("a thief who has read an assertion", func(t *testing.T) {
		for name, assertion := range map[string]string{"with jti": f.byPartner(t), "without jti": f.byPartner(t, object{"jti": nil})} {
			require.Equal(t, 200, ask(jwtBearer(assertion)), name)
			assert.Equal(t, 400, ask(jwtBearer(assertion)), name)
		}
	})
	t.Run("who writes it in another way", func(t *testing.T) {
		assertion := f.byPartner(t, object{"jti": nil, "nonce": rand.Text()})
		require.Equal(t, 200, ask(jwtBearer(assertion)))
		parts := strings.Split(assertion, ".")
		assert.Equal(t, 400, ask(jwtBearer(parts[0][:4]+"\n"+parts[0][4:]+"."+parts[1]+"."+parts[2])), "with a line break")
		assert.Equal(t, 400, ask(jwtBearer(assertion+"=")), "with padding")
		assert.Equal(t, 400, ask(jwtBearer(" "+assertion)), "with a space")
		for i, part := range parts {
			if len(part)%4 == 0 {
				continue
			}
			alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			last := strings.IndexByte(alphabet, part[len(part)-1])
			other := append([]string{}, parts...)
			other[i] = part[:len(part)-1] + alphabet[last^1:last^1+1]
			assert.Equal(t, 400, ask(jwtBearer(strings.Join(other, "."))), "with spare bits in part %d", i)
		}
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		require.NoError(t, err)
		assert.Equal(t, 400, ask(jwtBearer(parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(negated(signature)))),
			"with the other of the two signatures that anybody can make of one")
	})
	t.Run("a failed attempt changes nothing", func(t *testing.T) {
		assertion := f.byPartner(t)
		require.Equal(t, 400, ask(jwtBearer(assertion, "scope", "admin")))
		require.Equal(t, 400, ask(jwtBearer(assertion, "resource", "https://api.example.com")))
		assert.Equal(t, 200, ask(jwtBearer(assertion)))
	})
	t.Run("the jti of a client's assertion is another", func(t *testing.T) {
		jti := rand.Text()
		require.Equal(t, 200, ask(jwtBearer(f.byPartner(t, object{"jti": jti}))))
		response, _ := f.do(t, request{path: "/oauth2/token", form: assertionForm(f.byKey(t, object{"jti": jti}))})
		assert.Equal(t, 200, response.StatusCode)
	})
	t.Run("F08 attack: somebody speaks for a user who is disabled", func(t *testing.T) {
		spoken := func() url.Values { return jwtBearer(f.byPartner(t, object{"iss": "staff", "sub": "carol"})) }
		require.Equal(t, 200, ask(spoken()), "there is no such user")
		f.addUser(t, "carol", password)
		require.Equal(t, 200, ask(spoken()))
		f.disableUser(t, "carol", true)
		assert.Equal(t, 400, ask(spoken()))
		f.disableUser(t, "carol", false)
		assert.Equal(t, 200, ask(spoken()))
	})
	t.Run("fifty at once, one winner", func(t *testing.T) {
		assert.Equal(t, 1, winners(t, f, jwtBearer(f.byPartner(t), "client_id", "public")))
		assert.Equal(t, 1, winners(t, f, jwtBearer(f.byPartner(t, object{"jti": nil, "nonce": rand.Text()}), "client_id", "public")))
	})
}

func TestAssertionIssuersThatAreRefused(t *testing.T) {
	keys := keySet(t, publicKey(partnerKey, ""))
	for name, test := range map[string]struct {
		issuers []authserver.AssertionIssuer
		says    string
	}{
		"no name":       {[]authserver.AssertionIssuer{{Keys: keys}}, "printable"},
		"strange name":  {[]authserver.AssertionIssuer{{Issuer: "a\x00b", Keys: keys}}, "printable"},
		"no keys":       {[]authserver.AssertionIssuer{{Issuer: "a"}}, "needs 'jwks'"},
		"strange scope": {[]authserver.AssertionIssuer{{Issuer: "a", Keys: keys, Scopes: []string{"a b"}}}, "scope"},
		"empty subject": {[]authserver.AssertionIssuer{{Issuer: "a", Keys: keys, Subjects: []string{""}}}, "subject"},
		"twice":         {[]authserver.AssertionIssuer{{Issuer: "a", Keys: keys}, {Issuer: "a", Keys: keys}}, "twice"},
	} {
		_, err := authserver.New(authserver.Config{Issuer: issuer, AssertionIssuers: test.issuers}, nil)
		require.ErrorContains(t, err, test.says, name)
	}
	server, err := authserver.New(authserver.Config{Issuer: issuer, Clients: []authserver.Client{{ID: "a", Secret: secret(t, "s")}}}, new(memory))
	require.NoError(t, err)
	response, members := (&fixture{Server: server}).do(t, request{path: "/oauth2/token", user: "a", password: "s", form: jwtBearer("x")})
	assert.Equal(t, 400, response.StatusCode)
	assert.Equal(t, "unsupported_grant_type", members["error"], "without an issuer there is no such grant")
}

// negated is an ECDSA signature (r, s) over P-256 as (r, -s), which is as good.
func negated(signature []byte) []byte {
	order := elliptic.P256().Params().N
	s := new(big.Int).SetBytes(signature[32:])
	return append(bytes.Clone(signature[:32]), s.Sub(order, s).FillBytes(make([]byte, 32))...)
}
