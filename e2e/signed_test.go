package e2e

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// signedType is the media type of signed answers (RFC 9701 section 5).
const signedType = "application/token-introspection+jwt"

// signer is an authority that signs its answers.
type signer struct {
	*authority
	key *ecdsa.PrivateKey
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s := &signer{newAuthority(t), newKey(t)}
	s.on("/.well-known/oauth-authorization-server", says(claims{
		"issuer": s.URL, "introspection_endpoint": s.URL + "/introspect", "jwks_uri": s.URL + "/jwks",
	}))
	s.publish(t, s.key)
	return s
}

// publish publishes a key.
func (s *signer) publish(t *testing.T, key *ecdsa.PrivateKey) {
	t.Helper()
	s.on("/jwks", saysJSON(string(jwksOf(t, key))))
}

// option is the global option that names this authority, which is discovered, with further lines.
func (s *signer) option(name string, lines ...string) string {
	lines = append([]string{"issuer " + s.URL, "client " + gatewayID + " " + gatewaySecret}, lines...)
	return "introspect " + name + " {\n\t" + strings.Join(lines, "\n\t") + "\n}\n"
}

// signedAnswer is a signed answer that is being made.
type signedAnswer struct {
	typ, kid  string
	algorithm jose.SignatureAlgorithm
	key       any
	claims    claims
}

// signs answers with members in a JWT, to which something may be done before it is signed.
func (s *signer) signs(members claims, change func(*signedAnswer)) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		a := &signedAnswer{
			typ: "token-introspection+jwt", kid: "k1", algorithm: jose.ES256, key: s.key,
			claims: claims{"iss": s.URL, "aud": gatewayID, "iat": time.Now().Unix(), "token_introspection": members},
		}
		if change != nil {
			change(a)
		}
		w.Header().Set("Content-Type", signedType)
		_, _ = io.WriteString(w, a.text())
	}
}

// signsActive answers that a token is active.
func (s *signer) signsActive(members claims) answer {
	all := claims{"active": true}
	maps.Copy(all, members)
	return s.signs(all, nil)
}

func (a *signedAnswer) text() string {
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(a.typ)).WithHeader("kid", a.kid)
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: a.algorithm, Key: a.key}, options)
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(a.claims)
	if err != nil {
		panic(err)
	}
	jws, err := made.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

func TestSignedAnswers(t *testing.T) {
	t.Parallel()
	as, app, g := newSigner(t), testgateway.StartBackend(t), newGateway(t)
	other := newKey(t)
	alice := claims{"active": true, "username": "alice", "scope": "read"}
	g.Start(t, g.caddyfile(
		as.option("", "jwt_response")+
			as.option("given", "endpoint "+as.URL+"/here", "jwt_response {\naudience orders\njwks "+as.URL+"/jwks\n}")+
			as.option("beside", "endpoint "+as.URL+"/here", "jwt_response")+
			as.option("plain"),
		"introspect /given/* given\nintrospect /beside/* beside\nintrospect /plain/* plain\nintrospect /default/* default\n"+app.Proxy()))

	as.on("token-that-is-good", as.signs(alice, nil))
	t.Run("E01 are asked for, and tell who came", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/default/good", "token-that-is-good").Status)
		assert.Equal(t, told("Remote-User", "alice", "Remote-Scope", "read"), identityIn(app.One(t, "/default/good").Header))
		asked := as.asked("token-that-is-good")
		require.Len(t, asked, once)
		assert.Equal(t, "/introspect", asked[0].path)
		assert.Equal(t, []string{signedType}, asked[0].header["Accept"])
	})
	t.Run("are remembered", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get(t, "/default/again", "token-that-is-good").Status)
		assert.Len(t, as.asked("token-that-is-good"), once)
	})
	t.Run("E03 are for an audience that is given", func(t *testing.T) {
		as.on("token-for-orders", as.signs(alice, func(a *signedAnswer) { a.claims["aud"] = "orders" }))
		assert.Equal(t, http.StatusOK, g.get(t, "/given/good", "token-for-orders").Status)
		assert.Equal(t, http.StatusBadGateway, g.get(t, "/default/bad", "token-for-orders").Status)
		assert.Equal(t, http.StatusBadGateway, g.get(t, "/given/bad", "token-that-is-good").Status)
	})
	t.Run("E06 the keys are found beside an endpoint that is given", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, g.get(t, "/beside/good", "token-that-is-good").Status)
	})
	t.Run("E04 an inactive token", func(t *testing.T) {
		as.on("token-that-is-over", as.signs(claims{"active": false, "username": "alice"}, func(a *signedAnswer) { a.claims["active"] = true }))
		got := g.get(t, "/default/inactive", "token-that-is-over")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Contains(t, got.Challenge(t), "invalid_token")
	})
	t.Run("E09 an answer is no access token", func(t *testing.T) {
		a := signedAnswer{typ: "token-introspection+jwt", kid: "k1", algorithm: jose.ES256, key: as.key, claims: claims{"iss": as.URL, "token_introspection": alice}}
		token := a.text()
		as.on(token, as.signs(claims{"active": false}, nil))
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/default/presented", token).Status)
	})

	public, err := json.Marshal(jose.JSONWebKey{Key: as.key.Public()})
	require.NoError(t, err)
	forged := func(change func(*signedAnswer)) answer { return as.signs(alice, change) }
	for name, give := range map[string]answer{
		"E02 an access token of the same issuer": forged(func(a *signedAnswer) { a.typ = "at+jwt" }),
		"E02 an ID token of the same issuer":     forged(func(a *signedAnswer) { a.typ = "JWT" }),
		"E03 of another issuer":                  forged(func(a *signedAnswer) { a.claims["iss"] = "https://evil.example.com" }),
		"E03 without issuer":                     forged(func(a *signedAnswer) { delete(a.claims, "iss") }),
		"E03 for another client":                 forged(func(a *signedAnswer) { a.claims["aud"] = "another-client" }),
		"E04 active outside only":                forged(func(a *signedAnswer) { a.claims["active"], a.claims["token_introspection"] = true, nil }),
		"E05 HS256 with the public key":          forged(func(a *signedAnswer) { a.algorithm, a.key = jose.HS256, public }),
		"E05 signed by somebody else":            forged(func(a *signedAnswer) { a.key = other }),
		"E05 unsigned":                           sends(200, signedType, "eyJhbGciOiJub25lIiwidHlwIjoidG9rZW4taW50cm9zcGVjdGlvbitqd3QifQ.e30."),
		"E07 an answer of a minute ago":          forged(func(a *signedAnswer) { a.claims["iat"] = time.Now().Unix() - 60 }),
		"E08 plain JSON":                         says(alice),
		"E08 encrypted":                          sends(200, signedType, "eyJhbGciOiJSU0EtT0FFUCJ9.e30.e30.e30.e30"),
		"C10 nothing":                            sends(200, signedType, ""),
		"C10 400":                                sends(400, "", ""),
	} {
		t.Run("not believed: "+name, func(t *testing.T) {
			token := "token-" + strings.ReplaceAll(name, " ", "-")
			as.on(token, give)
			got := g.get(t, "/default/attack", token)
			assert.Equal(t, http.StatusBadGateway, got.Status)
			assert.NotContains(t, got.Header, "Www-Authenticate")
			assert.Empty(t, app.At("/default/attack"))
			assert.Len(t, as.asked(token), once)
		})
	}
	t.Run("nobody who does not ask for it believes a signed one", func(t *testing.T) {
		assert.Equal(t, http.StatusBadGateway, g.get(t, "/plain/good", "token-that-is-good").Status)
		assert.Equal(t, []string{"application/json"}, as.asked("token-that-is-good")[len(as.asked("token-that-is-good"))-1].header["Accept"])
	})
	t.Run("E06 unknown keys are looked for now and then", func(t *testing.T) {
		before := len(as.asked("/jwks"))
		began := time.Now()
		for i := range 20 {
			token := fmt.Sprintf("token-of-a-key-%d", i)
			as.on(token, forged(func(a *signedAnswer) { a.kid = token }))
			require.Equal(t, http.StatusBadGateway, g.get(t, "/default/flood", token).Status)
		}
		// At one of the two places there may have been no attempt for long enough, and then one in each 10 seconds.
		assert.LessOrEqual(t, len(as.asked("/jwks"))-before, 1+int(time.Since(began)/(10*time.Second)))
	})
}

// What was said in plain JSON is worth nothing where a signature is demanded.
func TestSignedAnswersAreRememberedApart(t *testing.T) {
	t.Parallel()
	as, app, g := newSigner(t), testgateway.StartBackend(t), newGateway(t)
	config := func(options ...string) string {
		return g.caddyfile(as.option("", options...), "introspect\n"+app.Proxy())
	}
	const token = "token-of-two-kinds"
	as.on(token, active(claims{"username": "mallory"}))
	g.Start(t, config())
	require.Equal(t, http.StatusOK, g.get(t, "/plain", token).Status)
	g.reload(t, config("jwt_response"))
	require.Equal(t, http.StatusBadGateway, g.get(t, "/signed", token).Status)
	as.on(token, as.signsActive(claims{"username": "alice"}))
	require.Equal(t, http.StatusOK, g.get(t, "/signed", token).Status)
	assert.Equal(t, told("Remote-User", "alice"), identityIn(app.One(t, "/signed").Header))
	fetched := len(as.asked("/jwks"))
	g.reload(t, config("jwt_response", "leeway 20s"))
	require.Equal(t, http.StatusOK, g.get(t, "/again", token).Status)
	assert.Len(t, as.asked(token), 3, "the memory stays warm")
	as.on("another-token", as.signsActive(nil))
	require.Equal(t, http.StatusOK, g.get(t, "/again", "another-token").Status)
	assert.Len(t, as.asked("/jwks"), fetched, "and so do the keys")
}

func TestJ17PhantomToken(t *testing.T) {
	t.Parallel()
	as, app, g := newSigner(t), testgateway.StartBackend(t), newGateway(t)
	second := newAuthority(t)
	handle := func(path string, directives ...string) string {
		return "handle " + path + " {\nroute {\n" + strings.Join(append(directives, app.Proxy()), "\n") + "}\n}\n"
	}
	const inHeader = "introspect signing {\nphantom_token X-Signed-Answer\n%s\n}"
	const asBearer = "introspect signing {\nphantom_token\n%s\n}"
	config := g.caddyfile(as.option("signing", "jwt_response")+second.option("second"), strings.Join([]string{
		handle("/bearer", fmt.Sprintf(asBearer, "")),
		handle("/header", fmt.Sprintf(inHeader, "")),
		handle("/optional", fmt.Sprintf(asBearer, "optional")),
		handle("/cookie", fmt.Sprintf(asBearer, "optional\ntoken_from cookie session")),
		handle("/scope", fmt.Sprintf(asBearer, "scope admin")),
		handle("/observe", fmt.Sprintf(asBearer, "observe")),
		handle("/observe-header", fmt.Sprintf(inHeader, "observe\nscope read")),
		handle("/observe-refused", fmt.Sprintf(inHeader, "observe\nscope admin")),
		handle("/pass", fmt.Sprintf(inHeader, "pass_token")),
		handle("/encoded", fmt.Sprintf(inHeader, "claim_encoding base64url")),
		handle("/two", fmt.Sprintf(asBearer, ""), "introspect second"),
		handle("/twice", fmt.Sprintf(asBearer, ""), fmt.Sprintf(asBearer, "scope read")),
		handle("/plain", "introspect signing {\noptional\n}"),
	}, ""))
	plain := g.caddyfile(as.option("signing", "jwt_response"), "introspect signing\n"+app.Proxy())
	g.Start(t, plain)
	as.on("token-of-alice", as.signsActive(claims{"username": "alice", "scope": "read", "exp": time.Now().Unix() + 3600}))
	as.on("token-in-a-header", as.signsActive(claims{"username": "alice"}))
	as.on("token-of-nobody", as.signs(claims{"active": false}, nil))
	second.on("token-of-alice", active(claims{"username": "mallory"}))
	require.Equal(t, http.StatusOK, g.get(t, "/before", "token-of-alice").Status)
	g.reload(t, config)

	// proof is the only value of a header, which has to be an answer that the authority has signed.
	proof := func(t *testing.T, path, header, prefix string) string {
		t.Helper()
		seen := app.One(t, path)
		require.Len(t, seen.Header[header], 1)
		text, ok := strings.CutPrefix(seen.Header[header][0], prefix)
		require.True(t, ok)
		jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
		require.NoError(t, err)
		payload, err := jws.Verify(as.key.Public())
		require.NoError(t, err)
		assert.Contains(t, string(payload), `"alice"`)
		return text
	}
	send := func(t *testing.T, path, token string, headers ...string) *testgateway.Reply {
		t.Helper()
		request := g.request(t, t.Context(), path, token)
		for i := 0; i < len(headers); i += 2 {
			request.Header[headers[i]] = []string{headers[i+1]}
		}
		return testgateway.Send(t, request)
	}

	t.Run("as the bearer token, although the answer was remembered without it", func(t *testing.T) {
		require.Equal(t, http.StatusOK, send(t, "/bearer", "token-of-alice").Status)
		g.Guard(proof(t, "/bearer", "Authorization", "Bearer "))
		assert.Len(t, as.asked("token-of-alice"), 2)
		assert.Equal(t, told("Remote-User", "alice", "Remote-Scope", "read"), identityIn(app.One(t, "/bearer").Header))
	})
	t.Run("in a header, and remembered", func(t *testing.T) {
		for range 2 {
			app.Take()
			require.Equal(t, http.StatusOK, send(t, "/header", "token-in-a-header").Status)
			proof(t, "/header", "X-Signed-Answer", "")
			assert.NotContains(t, app.One(t, "/header").Header, "Authorization", "J13")
		}
		assert.Len(t, as.asked("token-in-a-header"), once)
	})
	t.Run("a forged one is removed, in every spelling and on every route", func(t *testing.T) {
		for _, path := range []string{"/plain", "/optional", "/header"} {
			app.Take()
			token := ""
			if path == "/header" {
				token = "token-in-a-header"
			}
			require.Equal(t, http.StatusOK, send(t, path, token, "X-Signed-Answer", "forged", "X.Signed.Answer", "forged", "x-signed-answer", "forged",
				"Connection", "X-Signed-Answer").Status)
			for name, values := range app.One(t, path).Header {
				assert.NotContains(t, values, "forged", name)
			}
		}
		proof(t, "/header", "X-Signed-Answer", "")
	})
	t.Run("what a client puts in its place does not reach the backend", func(t *testing.T) {
		app.Take()
		require.Equal(t, http.StatusOK, send(t, "/optional", "", "Authorization", "Basic Zm9yZ2VkOmZvcmdlZA==").Status)
		assert.NotContains(t, app.One(t, "/optional").Header, "Authorization")
		require.Equal(t, http.StatusOK, send(t, "/cookie", "", "Authorization", "Bearer forged-signed-answer").Status)
		assert.NotContains(t, app.One(t, "/cookie").Header, "Authorization")
		app.Take()
		require.Equal(t, http.StatusOK, send(t, "/cookie", "", "Authorization", "Bearer forged-signed-answer", "Cookie", "session=token-of-alice").Status)
		proof(t, "/cookie", "Authorization", "Bearer ")
	})
	t.Run("not of a request that is refused", func(t *testing.T) {
		assert.Equal(t, http.StatusForbidden, send(t, "/scope", "token-of-alice").Status)
		assert.Equal(t, http.StatusUnauthorized, send(t, "/header", "token-of-nobody").Status)
		assert.Empty(t, app.At("/scope"))
	})
	t.Run("where nobody is refused the token stays where it is", func(t *testing.T) {
		require.Equal(t, http.StatusOK, send(t, "/observe", "token-of-alice").Status)
		assert.Equal(t, []string{"Bearer token-of-alice"}, app.One(t, "/observe").Header["Authorization"])
		require.Equal(t, http.StatusOK, send(t, "/observe-refused", "token-in-a-header").Status)
		assert.NotContains(t, app.One(t, "/observe-refused").Header, "X-Signed-Answer")
		as.on("token-that-is-observed", as.signsActive(claims{"username": "alice", "scope": "read"}))
		require.Equal(t, http.StatusOK, send(t, "/observe-header", "token-that-is-observed").Status)
		proof(t, "/observe-header", "X-Signed-Answer", "")
	})
	t.Run("beside the token, where that is passed on", func(t *testing.T) {
		require.Equal(t, http.StatusOK, send(t, "/pass", "token-in-a-header").Status)
		proof(t, "/pass", "X-Signed-Answer", "")
		assert.Equal(t, []string{"Bearer token-in-a-header"}, app.One(t, "/pass").Header["Authorization"])
	})
	t.Run("as it is, however claims are written", func(t *testing.T) {
		require.Equal(t, http.StatusOK, send(t, "/encoded", "token-in-a-header").Status)
		proof(t, "/encoded", "X-Signed-Answer", "")
	})
	t.Run("a second directive takes it for no token, and leaves it alone", func(t *testing.T) {
		require.Equal(t, http.StatusOK, send(t, "/two", "token-of-alice").Status)
		proof(t, "/two", "Authorization", "Bearer ")
		require.Equal(t, http.StatusOK, send(t, "/twice", "token-of-alice").Status)
		proof(t, "/twice", "Authorization", "Bearer ")
		assert.Len(t, second.asked("token-of-alice"), once)
	})
	t.Run("J10 one that fits into no header is no answer", func(t *testing.T) {
		as.on("token-of-a-giant", as.signsActive(claims{"username": "alice", "groups": strings.Repeat("x", 16<<10)}))
		assert.Equal(t, http.StatusBadGateway, send(t, "/header", "token-of-a-giant").Status)
	})
}
