package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const (
	jwtBearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	partner        = "https://partner.example.com"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// jwksOf is a JWK set of the public half of a key.
func jwksOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	require.NoError(t, err)
	return text
}

// assertion signs a JWT of somebody for the server (RFC 7523 section 3), with changes to its claims.
func (s *issuer) assertion(t *testing.T, algorithm jose.SignatureAlgorithm, key any, who string, changes map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	require.NoError(t, err)
	claims := map[string]any{"iss": who, "sub": who, "aud": "http://" + s.address, "jti": rand.Text(), "exp": time.Now().Add(time.Minute).Unix()}
	maps.Copy(claims, changes)
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	s.Guard(text)
	return text
}

// asserted is a request for client credentials that is signed in by an assertion.
func asserted(assertion string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
}

// The gateway itself signs in at the embedded server of another one, in each way that both have.
func TestTheGatewaySignsInAtAnEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app, g := newIssuer(t), testgateway.StartBackend(t), newGateway(t)
	filed, published := newKey(t), newKey(t)
	var fetched atomic.Int32
	publisher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = w.Write(jwksOf(t, published))
	}))
	t.Cleanup(publisher.Close)
	s.Guard(longSecret)
	g.Guard(longSecret)
	s.Start(t, s.caddyfile(s.option(
		"client poster poster-secret-8uJn {\nauth client_secret_post\nintrospect\n}",
		"client signer "+longSecret+" {\nauth client_secret_jwt\nintrospect\n}",
		"client filed {\njwks "+s.writeFile(t, "filed.jwks", jwksOf(t, filed))+"\nintrospect\n}",
		"client published {\nauth private_key_jwt\njwks "+publisher.URL+"/jwks.json\nintrospect\ngrants client_credentials\nscopes introspection\n}",
	), "authorization_server\nrespond 404\n"))
	assert.Zero(t, fetched.Load(), "loading a configuration fetches nothing")

	endpoint := "endpoint " + s.url("/oauth2/introspect")
	filedKey := "client_key " + g.writeFile(t, "filed.pem", pkcs8(t, filed))
	publishedKey := "client_key " + g.writeFile(t, "published.pem", pkcs8(t, published)) + " k1"
	cases := map[string][]string{
		"basic":                  {endpoint, "client " + gatewayID + " " + gatewaySecret},
		"post":                   {endpoint, "client poster poster-secret-8uJn", "client_auth client_secret_post"},
		"either":                 {endpoint, "client " + gatewayID + " " + gatewaySecret, "client_auth client_secret_post"},
		"hmac-for-the-endpoint":  {endpoint, "client signer " + longSecret, "client_auth client_secret_jwt"},
		"hmac-for-the-issuer":    {"issuer http://" + s.address, "client signer " + longSecret, "client_auth client_secret_jwt"},
		"key-for-the-endpoint":   {endpoint, "client filed", filedKey},
		"key-for-the-issuer":     {"issuer http://" + s.address, "client filed", filedKey},
		"published-key":          {endpoint, "client published", publishedKey},
		"key-for-the-token-url":  {endpoint, "client published", publishedKey, "assertion_audience " + s.url("/oauth2/token")},
		"token-of-its-own":       {endpoint, "client published", publishedKey, "bearer_from " + s.url("/oauth2/token") + " introspection"},
		"wrong-key":              {endpoint, "client filed", publishedKey},
		"wrong-method":           {endpoint, "client signer " + longSecret},
		"wrong-method-in-a-form": {endpoint, "client filed filed-secret-4aBv", "client_auth client_secret_post"},
	}
	var global, site strings.Builder
	for name, lines := range cases {
		fmt.Fprintf(&global, "introspect %s {\n\t%s\n\tcache off\n}\n", name, strings.Join(lines, "\n\t"))
		fmt.Fprintf(&site, "introspect /%s %s\n", name, name)
	}
	g.Start(t, g.caddyfile(global.String(), site.String()+app.Proxy()))
	token := s.token(t, "")
	g.Guard(token)
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				got := g.get(t, "/"+name, token)
				if strings.HasPrefix(name, "wrong") {
					assert.Equal(t, http.StatusBadGateway, got.Status, "C06")
					continue
				}
				require.Equal(t, http.StatusOK, got.Status, "C06")
				assert.Equal(t, http.StatusUnauthorized, g.get(t, "/"+name, "someone-elses-token").Status)
			}
		})
	}
	assert.EqualValues(t, 1, fetched.Load())
}

func TestAnAssertionIsOfUseOnceInItsLife(t *testing.T) {
	t.Parallel()
	s, app, key := newIssuer(t), testgateway.StartBackend(t), newKey(t)
	config := s.caddyfile(s.option(
		"client holder {\njwks "+s.writeFile(t, "holder.jwks", jwksOf(t, key))+"\ngrants client_credentials\nscopes orders:read\n}",
	), s.site(app))
	s.Start(t, config)
	ask := func(assertion string) *testgateway.Reply {
		return s.post(t, "/oauth2/token", "", "", asserted(assertion))
	}
	replayed := func(assertion, when string) {
		got := ask(assertion)
		assert.Equal(t, http.StatusUnauthorized, got.Status, when)
		assert.Equal(t, "invalid_client", members(t, got.Body)["error"], when)
		assert.Empty(t, got.Challenge(t), "the Authorization header was not used")
	}
	used := s.assertion(t, jose.ES256, key, "holder", nil)
	token := s.tokenIn(t, ask(used))
	assert.Equal(t, http.StatusOK, s.get(t, "/", token).Status)
	replayed(used, "at once")
	s.reload(t, strings.Replace(config, "scopes orders:read\n", "scopes orders:read orders:write\n", 1))
	replayed(used, "after a reload")
	s.Kill(t)
	s.Start(t, config)
	replayed(used, "after a crash")
	assert.Equal(t, http.StatusOK, s.get(t, "/", token).Status)

	const racers = 20
	raced := s.assertion(t, jose.ES256, key, "holder", nil)
	statuses := make(chan int, racers)
	for range racers {
		request := testgateway.Form(t, s.url("/oauth2/token"), "", "", asserted(raced))
		go func() {
			got, err := testgateway.Try(request)
			if err != nil {
				got = new(testgateway.Reply)
			}
			statuses <- got.Status
		}()
	}
	count := make(map[int]int)
	for range racers {
		count[<-statuses]++
	}
	assert.Equal(t, map[int]int{http.StatusOK: 1, http.StatusUnauthorized: racers - 1}, count)
}

func TestTheGrantOfAnAssertion(t *testing.T) {
	t.Parallel()
	s, app, key := newIssuer(t), testgateway.StartBackend(t), newKey(t)
	jwks := s.writeFile(t, "partner.jwks", jwksOf(t, key))
	s.Start(t, s.caddyfile(s.option(
		"client broker broker-secret-7yHb {\ngrants "+jwtBearerGrant+"\nscopes orders:read orders:write\n}",
		"client tool {\nauth none\ngrants "+jwtBearerGrant+"\nscopes orders:read\n}",
		"assertion_issuer "+partner+" {\njwks "+jwks+"\nsubjects alice "+partner+"\nscopes orders:read\n}",
	), s.site(app)))
	form := func(changes map[string]any, extra ...string) url.Values {
		values := url.Values{"grant_type": {jwtBearerGrant}, "assertion": {s.assertion(t, jose.ES256, key, partner, changes)}}
		for i := 0; i < len(extra); i += 2 {
			values.Set(extra[i], extra[i+1])
		}
		return values
	}
	broker := func(form url.Values) *testgateway.Reply {
		return s.post(t, "/oauth2/token", "broker", "broker-secret-7yHb", form)
	}
	s.GuardClient("broker", "broker-secret-7yHb")

	granted := broker(form(map[string]any{"sub": "alice"}))
	token := s.tokenIn(t, granted)
	assert.Equal(t, "orders:read", members(t, granted.Body)["scope"])
	assert.NotContains(t, members(t, granted.Body), "refresh_token")
	require.Equal(t, http.StatusOK, s.get(t, "/alice", token).Status)
	assert.Equal(t, map[string][]string{"Remote-User": {"alice"}, "Remote-Client": {"broker"}, "Remote-Scope": {"orders:read"}},
		identityIn(app.One(t, "/alice").Header))

	public := s.tokenIn(t, s.post(t, "/oauth2/token", "", "", form(nil, "client_id", "tool")))
	require.Equal(t, http.StatusOK, s.get(t, "/partner", public).Status)
	assert.Equal(t, []string{"tool"}, app.One(t, "/partner").Header["Remote-Client"])
	require.Equal(t, http.StatusOK, s.post(t, "/oauth2/revoke", "", "", url.Values{"client_id": {"tool"}, "token": {public}}).Status)
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/partner", public).Status)

	for name, test := range map[string]struct {
		reply  *testgateway.Reply
		status int
		code   string
	}{
		"a subject that nobody listed":     {broker(form(map[string]any{"sub": "root"})), 400, "invalid_grant"},
		"a scope beyond the issuer's":      {broker(form(nil, "scope", "orders:write")), 400, "invalid_scope"},
		"without a client":                 {s.post(t, "/oauth2/token", "", "", form(nil)), 401, "invalid_client"},
		"by a client without the grant":    {s.post(t, "/oauth2/token", demoID, demoSecret, form(nil)), 400, "unauthorized_client"},
		"a public client that introspects": {s.post(t, "/oauth2/introspect", "", "", url.Values{"client_id": {"tool"}, "token": {token}}), 401, "invalid_client"},
	} {
		assert.Equal(t, test.status, test.reply.Status, name)
		assert.Equal(t, test.code, members(t, test.reply.Body)["error"], name)
	}
	metadata := members(t, testgateway.Get(t, s.url("/.well-known/oauth-authorization-server")).Body)
	assert.Equal(t, []any{"authorization_code", "refresh_token", "client_credentials", jwtBearerGrant}, metadata["grant_types_supported"])
	assert.Equal(t, []any{"client_secret_basic", "client_secret_post", "none"}, metadata["token_endpoint_auth_methods_supported"])
	assert.NotContains(t, metadata, "token_endpoint_auth_signing_alg_values_supported")
}

// What cannot work is said when the configuration is loaded, and nothing of a key or a secret with it.
func TestKeysOfClientsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newIssuer(t)
	key := newKey(t)
	private, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: "canary-kid"})
	require.NoError(t, err)
	missing := filepath.Join(s.Dir, "missing.jwks")
	for name, test := range map[string]struct {
		jwks, environment, says string
	}{
		"a file that is missing":       {missing, "", "no such file"},
		"a private key":                {s.writeFile(t, "private.jwk", private), "", "private"},
		"a PEM file":                   {s.writeFile(t, "key.pem", pkcs8(t, key)), "", "no JWK set"},
		"the set itself":               {"{env.KEYS}", "KEYS=" + string(jwksOf(t, key)), "takes the path of a file"},
		"a variable that nobody set":   {"{env.NO_SUCH_KEYS}", "", "unset"},
		"a URL that is http elsewhere": {"{env.KEYS}", "KEYS=http://client.example.com/jwks.json", "must be https"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, option := range []string{"client holder {\njwks %s\n}", "assertion_issuer " + partner + " {\njwks %s\n}"} {
				s.Write(t, s.caddyfile(s.option(fmt.Sprintf(option, test.jwks)), "authorization_server\n"))
				command := s.Command(t, "validate", "--config", s.File, "--adapter", "caddyfile")
				command.Env = append(command.Env, test.environment)
				output, err := command.CombinedOutput()
				assert.Error(t, err)
				assert.Contains(t, string(output), test.says)
				assert.NotContains(t, string(output), "canary")
			}
		})
	}
	t.Run("nobody is asked for keys while a configuration is checked", func(t *testing.T) {
		s.Write(t, s.caddyfile(s.option("client holder {\njwks http://"+testgateway.Address(t)+"/jwks.json\n}"), "authorization_server\n"))
		output, err := s.Command(t, "validate", "--config", s.File, "--adapter", "caddyfile").CombinedOutput()
		assert.NoError(t, err, string(output))
	})
}
