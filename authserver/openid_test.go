package authserver_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/filestore"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const passwordACR = "urn:portcullis:acr:password"

var openIDScopes = []string{"read", "openid", "profile", "email", "address", "phone", "groups", "offline_access"}

// openIDConfig has the client web, a trusted one that is called own, and one that wants RS256.
func openIDConfig(t *testing.T) authserver.Config {
	t.Helper()
	config := userConfig(t)
	for i := range config.Clients {
		switch config.Clients[i].ID {
		case "web", "own", "other":
			config.Clients[i].Scopes, config.Clients[i].DefaultScopes = openIDScopes, nil
		case "robot":
			config.Clients[i].Scopes = []string{"openid"}
		}
	}
	config.Clients = append(config.Clients, authserver.Client{
		ID: "rsa", Secret: secret(t, "rsa-secret"), Grants: []string{authserver.GrantAuthorizationCode}, RedirectURIs: []string{"https://rsa.example.com/cb"},
		Scopes: []string{"openid"}, IDTokenAlgorithm: "RS256", Trusted: true,
	})
	config.Users[0].Claims = map[string][]string{
		"name": {"Alice"}, "email": {"alice@example.com"}, "email_verified": {"true"}, "updated_at": {"1700000000"},
		"address": {`{"locality":"Oslo"}`}, "phone_number": {"+47 1"}, "phone_number_verified": {"false"}, "groups": {"a", "b"}, "secret": {"x"},
	}
	config.Users[1].Scopes = nil
	return config
}

func newOpenIDServer(t *testing.T) *fixture {
	t.Helper()
	f := newUserServer(t)
	f.configure(t, openIDConfig(t))
	return f
}

// keys are those that the server publishes.
func (f *fixture) keys(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	response, members := f.do(t, request{method: http.MethodGet, path: "/oauth2/jwks"})
	require.Equal(t, 200, response.StatusCode)
	text, err := json.Marshal(members)
	require.NoError(t, err)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(text, &set))
	return set
}

func kidsOf(set jose.JSONWebKeySet) []string {
	var kids []string
	for _, key := range set.Keys {
		kids = append(kids, key.KeyID)
	}
	return kids
}

// verified checks the signature of an ID token by the published keys, and returns its claims and its header.
func (f *fixture) verified(t *testing.T, text string) (claims map[string]any, header jose.Header) {
	t.Helper()
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	require.NoError(t, err)
	require.NoError(t, token.Claims(f.keys(t), &claims))
	return claims, token.Headers[0]
}

// openID signs alice in where need be, consents, and returns the response of the token endpoint.
func (b *browser) openID(t *testing.T, pairs ...string) map[string]any {
	t.Helper()
	status, members := b.asWeb(t, exchange(b.code(t, append([]string{"scope", "openid"}, pairs...)...)))
	require.Equal(t, 200, status, members)
	return members
}

// own is a request of the trusted client.
func own(pairs ...string) string {
	return authorization(append([]string{"client_id", "own", "redirect_uri", "https://own.example.com/cb", "scope", "openid"}, pairs...)...)
}

func TestP01P02P03P06_IDTokens(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	for name, test := range map[string]struct {
		pairs []string
		nonce any
		none  bool
	}{
		"P02 an ID token":             {pairs: []string{"scope", "openid"}},
		"P03 the nonce that was sent": {pairs: []string{"scope", "openid read", "nonce", `n "é`}, nonce: `n "é`},
		"P01 none without openid":     {pairs: []string{"scope", "read", "nonce", "n"}, none: true},
		"P03 an empty nonce is none":  {pairs: []string{"scope", "openid", "nonce", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			status, members := b.asWeb(t, exchange(b.code(t, test.pairs...)))
			require.Equal(t, 200, status, members)
			if test.none {
				assert.NotContains(t, members, "id_token")
				return
			}
			claims, header := f.verified(t, members["id_token"].(string))
			half := sha256.Sum256([]byte(members["access_token"].(string)))
			wanted := map[string]any{
				"iss": issuer, "sub": "alice", "aud": "web", "iat": float64(f.now().Unix()), "exp": float64(f.now().Add(time.Hour).Unix()),
				"auth_time": float64(f.now().Unix()), "acr": passwordACR, "amr": []any{"pwd"},
				"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
			}
			if test.nonce != nil {
				wanted["nonce"] = test.nonce
			}
			assert.Equal(t, wanted, claims)
			assert.Equal(t, "ES256", header.Algorithm)
			assert.Equal(t, "JWT", header.ExtraHeaders["typ"])
			assert.NotEmpty(t, header.KeyID)
			assert.False(t, f.active(t, members["id_token"].(string)), "an ID token is no access token")
		})
	}
	t.Run("P01 a user who leaves openid out gets none", func(t *testing.T) {
		page := b.consentPage(t, "scope", "openid read")
		code := b.submit(t, page, "decision", "allow", "scope", "read").response(t).Get("code")
		_, members := b.asWeb(t, exchange(code))
		assert.Equal(t, "read", members["scope"])
		assert.NotContains(t, members, "id_token")
	})
	t.Run("P02 RS256 for the client that wants it", func(t *testing.T) {
		page := b.open(t, authorization("client_id", "rsa", "redirect_uri", "https://rsa.example.com/cb", "scope", "openid"))
		form := exchange(page.response(t).Get("code"), "redirect_uri", "https://rsa.example.com/cb")
		response, members := f.do(t, request{path: "/oauth2/token", user: "rsa", password: "rsa-secret", form: form})
		require.Equal(t, 200, response.StatusCode, members)
		claims, header := f.verified(t, members["id_token"].(string))
		assert.Equal(t, "RS256", header.Algorithm)
		assert.Equal(t, "rsa", claims["aud"])
	})
	t.Run("P01 a client that acts for itself gets none", func(t *testing.T) {
		response, members := f.do(t, request{path: "/oauth2/token", user: "robot", password: "robot-secret", form: grant("scope", "openid")})
		require.Equal(t, 200, response.StatusCode)
		assert.NotContains(t, members, "id_token")
	})
}

func TestP02_ANameThatCannotBeASubject(t *testing.T) {
	for name, user := range map[string]string{"not ASCII": "zoë", "too long": strings.Repeat("a", 256)} {
		t.Run(name, func(t *testing.T) {
			f := newUserServer(t)
			config := openIDConfig(t)
			config.Users[0].Name = user
			f.configure(t, config)
			b := f.browser()
			got := b.submit(t, b.open(t, authorization("scope", "openid read")), "username", user, "password", password)
			assert.NotContains(t, got.body, `value="openid"`)
			_, members := b.asWeb(t, exchange(b.submit(t, got, "decision", "allow").response(t).Get("code")))
			assert.Equal(t, "read", members["scope"])
			assert.NotContains(t, members, "id_token")
		})
	}
}

func TestP04P05_WhenTheUserSignedIn(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	signedIn := f.now().Unix()
	b.openID(t)
	f.nanos.Add(int64(10 * time.Minute))
	members := b.openID(t, "max_age", "600")
	claims, _ := f.verified(t, members["id_token"].(string))
	assert.InDelta(t, signedIn, claims["auth_time"], 0, "P04: not the time of the request")
	assert.InDelta(t, signedIn, f.introspection(t, members["access_token"].(string))["auth_time"], 0, "P11")
	assert.Equal(t, passwordACR, f.introspection(t, members["access_token"].(string))["acr"], "P11")

	for name, test := range map[string]struct{ pairs, code string }{
		"P05 old enough":                     {"max_age=599", "login_required"},
		"P05 young enough":                   {"max_age=600", ""},
		"P05 0 is a new sign-in":             {"max_age=0", "login_required"},
		"P05 empty is none":                  {"max_age=", ""},
		"P05 negative":                       {"max_age=-1", "invalid_request"},
		"P05 no number":                      {"max_age=1h", "invalid_request"},
		"P05 a fraction":                     {"max_age=1.5", "invalid_request"},
		"P05 a sign":                         {"max_age=%2B5", "invalid_request"},
		"P05 without end":                    {"max_age=99999999999999999999", "invalid_request"},
		"P05 twice":                          {"max_age=1&max_age=2", "invalid_request"},
		"P08 none stands alone":              {"prompt=login", "invalid_request"},
		"P11 the acr that there is":          {"acr_values=" + passwordACR, ""},
		"P11 one of several":                 {"acr_values=phr+" + passwordACR, ""},
		"P11 an acr that there is not":       {"acr_values=phr", "unmet_authentication_requirements"},
		"P10 ui_locales and display":         {"ui_locales=de&display=popup", ""},
		"K06 claims is not supported":        {"claims=%7B", ""},
		"P10 no ID token":                    {"id_token_hint=x", "invalid_request"},
		"A17 a request object is refused":    {"request=x", "request_not_supported"},
		"P07 prompt none, all as it must be": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.send(t, http.MethodGet, own("prompt", "none")+"&"+test.pairs, nil).response(t)
			assert.Equal(t, test.code, got.Get("error"))
			assert.Equal(t, test.code == "", got.Has("code"))
		})
	}
}

func TestP05P09_SigningInAgainEnds(t *testing.T) {
	for name, pairs := range map[string][]string{
		"P09 prompt login":          {"prompt", "login"},
		"P09 prompt select_account": {"prompt", "select_account"},
		"P05 max_age 0":             {"max_age", "0"},
		"P05 max_age that is over":  {"max_age", "60"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newOpenIDServer(t)
			b := f.browser()
			first := b.openID(t)
			f.nanos.Add(int64(2 * time.Minute))
			page := b.open(t, authorization(append([]string{"scope", "openid"}, pairs...)...))
			require.Contains(t, page.body, "Password", "although somebody is signed in")
			page = b.submit(t, page, "username", "alice", "password", password)
			require.NotContains(t, page.body, "Password", "once, and not for ever")
			status, members := b.asWeb(t, exchange(page.response(t).Get("code")))
			require.Equal(t, 200, status, members)
			claims, _ := f.verified(t, members["id_token"].(string))
			assert.InDelta(t, f.now().Unix(), claims["auth_time"], 0, "P04")
			assert.True(t, f.active(t, first["access_token"].(string)), "nobody has signed out")
		})
	}
}

func TestP10_IDTokenHints(t *testing.T) {
	f := newOpenIDServer(t)
	alice := f.browser()
	hint := alice.openID(t)["id_token"].(string)
	bob := f.browser()
	bob.submit(t, bob.open(t, own()), "username", "bob", "password", "bobs "+password)
	foreign := func() string {
		page := alice.open(t, own())
		_, members := f.do(t, request{path: "/oauth2/token", user: "own", password: "own-secret", form: exchange(page.response(t).Get("code"), "redirect_uri", "https://own.example.com/cb")})
		return members["id_token"].(string)
	}()
	parts := strings.Split(hint, ".")
	forged, err := json.Marshal(map[string]any{"iss": issuer, "sub": "bob", "aud": "web"})
	require.NoError(t, err)
	f.nanos.Add(int64(2 * time.Hour)) // it has expired

	ask := func(b *browser, hint, prompt string) page {
		return b.open(t, authorization("scope", "openid", "id_token_hint", hint, "prompt", prompt))
	}
	for name, test := range map[string]struct {
		b          *browser
		hint, code string
	}{
		"the user, by a token that has expired": {alice, hint, ""},
		"somebody else":                         {bob, hint, "login_required"},
		"nobody":                                {f.browser(), hint, "login_required"},
		"attack: another signature":             {bob, parts[0] + "." + base64.RawURLEncoding.EncodeToString(forged) + "." + parts[2], "invalid_request"},
		"attack: no signature":                  {bob, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".", "invalid_request"},
		"another client's":                      {alice, foreign, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.code, ask(test.b, test.hint, "none").response(t).Get("error"))
		})
	}
	t.Run("somebody else can sign in as the user who is meant", func(t *testing.T) {
		login := ask(bob, hint, "")
		require.Contains(t, login.body, "Password")
		assert.Contains(t, login.body, `value="alice"`)
		assert.Equal(t, "login_required", bob.submit(t, login, "username", "bob", "password", "bobs "+password).response(t).Get("error"))
		assert.NotEmpty(t, bob.submit(t, ask(bob, hint, ""), "username", "alice", "password", password).response(t).Get("code"))
	})
	t.Run("a store that does not answer is nobody's fault", func(t *testing.T) {
		config := openIDConfig(t)
		again := &fixture{store: f.store}
		again.nanos.Store(f.nanos.Load())
		again.configure(t, config)
		require.NoError(t, f.store.Close())
		assert.Equal(t, http.StatusServiceUnavailable, ask(again.browser(), hint, "none").StatusCode)
	})
}

func TestP14_RefreshedIDTokens(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	members := b.openID(t, "scope", "openid read", "nonce", "n")
	first, _ := f.verified(t, members["id_token"].(string))
	f.nanos.Add(int64(30 * time.Minute))
	refresh := func(scope string) map[string]any {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {members["refresh_token"].(string)}, "scope": {scope}}
		status, refreshed := f.asWeb(t, form)
		require.Equal(t, 200, status, refreshed)
		members = refreshed
		return refreshed
	}
	second, _ := f.verified(t, refresh("")["id_token"].(string))
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "acr", "amr"} {
		assert.Equal(t, first[name], second[name], name)
	}
	assert.InDelta(t, f.now().Unix(), second["iat"], 0)
	assert.NotContains(t, second, "nonce")
	assert.NotEqual(t, first["at_hash"], second["at_hash"])
	assert.InDelta(t, first["auth_time"], f.introspection(t, members["access_token"].(string))["auth_time"], 0, "P11")
	assert.NotContains(t, refresh("read"), "id_token", "the access token has not the scope")
	assert.Contains(t, refresh(""), "id_token", "the grant still has it")
}

func TestP12P13_UserInfo(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	token := func(scope string) string { return b.openID(t, "scope", scope)["access_token"].(string) }
	bearerOf := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

	for name, test := range map[string]struct {
		scope string
		says  map[string]any
	}{
		"openid alone":                        {"openid", map[string]any{"sub": "alice"}},
		"profile":                             {"openid profile", map[string]any{"sub": "alice", "preferred_username": "alice", "name": "Alice", "updated_at": 1700000000.0}},
		"email":                               {"openid email", map[string]any{"sub": "alice", "email": "alice@example.com", "email_verified": true}},
		"address":                             {"openid address", map[string]any{"sub": "alice", "address": map[string]any{"locality": "Oslo"}}},
		"phone":                               {"openid phone", map[string]any{"sub": "alice", "phone_number": "+47 1", "phone_number_verified": false}},
		"a scope that is called like a claim": {"openid groups", map[string]any{"sub": "alice", "groups": []any{"a", "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			access := token(test.scope)
			for _, r := range []request{
				{method: http.MethodGet, header: bearerOf(access)},
				{method: http.MethodPost, header: bearerOf(access)},
				{method: http.MethodPost, form: url.Values{"access_token": {access}}},
			} {
				r.path = "/oauth2/userinfo"
				response, members := f.do(t, r)
				assert.Equal(t, 200, response.StatusCode)
				assert.Equal(t, test.says, members)
				assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
				assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"))
			}
		})
	}
	t.Run("P13 introspection says the same", func(t *testing.T) {
		members := f.introspection(t, token("openid"))
		assert.Equal(t, true, members["email_verified"])
		assert.InDelta(t, 1700000000, members["updated_at"], 0)
		assert.Equal(t, map[string]any{"locality": "Oslo"}, members["address"])
	})

	good := token("openid")
	full := b.openID(t)
	response, robot := f.do(t, request{path: "/oauth2/token", user: "robot", password: "robot-secret", form: grant("scope", "openid")})
	require.Equal(t, 200, response.StatusCode)
	for name, test := range map[string]struct {
		request request
		status  int
		code    string
	}{
		"no token":                     {request{method: "GET"}, 401, ""},
		"another scheme":               {request{method: "GET", user: "a", password: "b"}, 401, ""},
		"no token in a form":           {request{form: url.Values{"x": {"y"}}}, 401, ""},
		"a token in the URL":           {request{method: "GET", query: "?access_token=" + good}, 401, ""},
		"an unknown token":             {request{method: "GET", header: bearerOf("pat_x")}, 401, "invalid_token"},
		"attack: an ID token":          {request{method: "GET", header: bearerOf(full["id_token"].(string))}, 401, "invalid_token"},
		"attack: a refresh token":      {request{method: "GET", header: bearerOf(full["refresh_token"].(string))}, 401, "invalid_token"},
		"a client's own token":         {request{method: "GET", header: bearerOf(robot["access_token"].(string))}, 401, "invalid_token"},
		"attack: a token called bound": {request{method: "GET", header: http.Header{"Authorization": {"DPoP " + good}}}, 401, "invalid_token"},
		"without openid":               {request{method: "GET", header: bearerOf(b.openID(t, "scope", "read")["access_token"].(string))}, 403, "insufficient_scope"},
		"two tokens":                   {request{method: "POST", header: bearerOf(good), form: url.Values{"access_token": {good}}}, 400, "invalid_request"},
		"two lines":                    {request{method: "GET", header: http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}}, 400, "invalid_request"},
		"a form without end":           {request{body: "access_token=" + strings.Repeat("x", 70_000)}, 400, "invalid_request"},
		"another method":               {request{method: "PUT", header: bearerOf(good)}, 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.path = "/oauth2/userinfo"
			response, members := f.do(t, test.request)
			assert.Equal(t, test.status, response.StatusCode)
			assert.NotContains(t, members, "sub")
			challenge := response.Header.Get("WWW-Authenticate")
			if test.status == 405 {
				assert.Equal(t, "GET, POST", response.Header.Get("Allow"))
				return
			}
			wanted := `Bearer realm="authorization server"`
			if test.code != "" {
				wanted += `, error="` + test.code + `"`
			}
			if test.code == "insufficient_scope" {
				wanted += `, scope="openid"`
			}
			if strings.HasPrefix(test.request.header.Get("Authorization"), "DPoP ") {
				wanted = strings.Replace(wanted, "Bearer", "DPoP", 1) + `, algs="` + strings.Join(dpop.Algorithms(), " ") + `"`
			}
			assert.Equal(t, wanted, challenge)
			assert.Contains(t, response.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate")
		})
	}
	for name, test := range map[string]struct {
		change func(*store.Token)
		status int
	}{
		"a token without an audience":                    {func(*store.Token) {}, 200},
		"a token for the server, too":                    {func(token *store.Token) { token.Audience = []string{"https://api.example.com", issuer} }, 200},
		"attack: a resource shows the token that it got": {func(token *store.Token) { token.Audience = []string{"https://api.example.com"} }, 401},
		"attack: a stolen token that is bound to a key":  {func(token *store.Token) { token.Confirmation = map[string]string{"jkt": "x"} }, 401},
	} {
		t.Run(name, func(t *testing.T) {
			value := "pat_" + rand.Text()
			token := store.Token{
				Digest: introspect.DigestOf(value), Kind: store.Access, Family: name, ClientID: "web", Subject: "alice", Username: "alice",
				Scope: []string{"openid"}, IssuedAt: f.now(), ExpiresAt: f.now().Add(time.Minute),
			}
			test.change(&token)
			require.NoError(t, f.store.Issue(t.Context(), token))
			response, _ := f.do(t, request{path: "/oauth2/userinfo", form: url.Values{"access_token": {value}}})
			assert.Equal(t, test.status, response.StatusCode)
		})
	}
	t.Run("a script of another origin may ask", func(t *testing.T) {
		response, _ := f.do(t, request{method: http.MethodOptions, path: "/oauth2/userinfo", header: http.Header{
			"Origin": {"https://spa.example.com"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"},
		}})
		assert.Equal(t, 204, response.StatusCode)
		assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"))
		assert.Contains(t, response.Header.Get("Access-Control-Allow-Headers"), "Authorization")
		assert.Empty(t, response.Header.Get("Access-Control-Allow-Credentials"))
	})
	t.Run("a user who is gone", func(t *testing.T) {
		config := openIDConfig(t)
		config.Users = config.Users[1:]
		f.configure(t, config)
		response, _ := f.do(t, request{method: "GET", path: "/oauth2/userinfo", header: bearerOf(good)})
		assert.Equal(t, 401, response.StatusCode)
	})
}

func TestP13_ClaimsThatAreNotWhatTheyMustBe(t *testing.T) {
	for name, test := range map[string]struct {
		claim  string
		values []string
		says   string
	}{
		"a boolean":               {"email_verified", []string{"yes"}, "must be true or false"},
		"a number":                {"updated_at", []string{"yesterday"}, "seconds since 1970"},
		"an object that is none":  {"address", []string{`{"locality":`}, "JSON object"},
		"an empty address":        {"address", []string{""}, "JSON object"},
		"two addresses":           {"email", []string{"a@example.com", "b@example.com"}, "has one value"},
		"a claim of the ID token": {"nonce", []string{"x"}, "the server's own"},
	} {
		t.Run(name, func(t *testing.T) {
			config := openIDConfig(t)
			config.Users[0].Claims = map[string][]string{test.claim: test.values}
			_, err := authserver.New(config, nil)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, test.claim)
		})
	}
	t.Run("an address as on a letter", func(t *testing.T) {
		f := newUserServer(t)
		config := openIDConfig(t)
		config.Users[0].Claims = map[string][]string{"address": {"Oslo"}}
		f.configure(t, config)
		members := f.introspection(t, f.browser().openID(t)["access_token"].(string))
		assert.Equal(t, map[string]any{"formatted": "Oslo"}, members["address"])
	})
}

func TestK02K04K06_Discovery(t *testing.T) {
	for name, test := range map[string]struct{ issuer, path, base string }{
		"K02 without a path":        {issuer, "/.well-known/openid-configuration", issuer},
		"K02 appended":              {issuer + "/t1", "/t1/.well-known/openid-configuration", issuer + "/t1"},
		"K02 inserted":              {issuer + "/t1", "/.well-known/openid-configuration/t1", issuer + "/t1"},
		"K02 the final slash drops": {issuer + "/t1/", "/t1/.well-known/openid-configuration", issuer + "/t1"},
		"S02 the other document":    {issuer + "/t1", "/.well-known/oauth-authorization-server/t1", issuer + "/t1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newUserServer(t)
			config := openIDConfig(t)
			config.Issuer = test.issuer
			f.configure(t, config)
			response, members := f.do(t, request{method: "GET", path: test.path})
			require.Equal(t, 200, response.StatusCode)
			assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
			assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"), "K10")
			assert.Contains(t, response.Header.Get("Cache-Control"), "max-age", "K10")
			assert.Empty(t, response.Header.Get("Set-Cookie"), "K10")
			assert.Equal(t, test.issuer, members["issuer"], "K03")
			for member, path := range map[string]string{
				"authorization_endpoint": "authorize", "token_endpoint": "token", "userinfo_endpoint": "userinfo", "jwks_uri": "jwks",
				"end_session_endpoint": "logout", "revocation_endpoint": "revoke", "introspection_endpoint": "introspect",
			} {
				assert.Equal(t, test.base+"/oauth2/"+path, members[member], member)
				address, err := url.Parse(members[member].(string))
				require.NoError(t, err)
				assert.NotNil(t, f.Endpoint(address.Path), "K06: %s", member)
			}
			for member, value := range map[string]any{
				"subject_types_supported": []any{"public"}, "id_token_signing_alg_values_supported": []any{"ES256", "RS256"},
				"acr_values_supported": []any{passwordACR}, "claims_parameter_supported": false, "request_parameter_supported": false,
				"request_uri_parameter_supported": false, "response_types_supported": []any{"code"}, "code_challenge_methods_supported": []any{"S256"},
				"scopes_supported": []any{"address", "email", "groups", "offline_access", "openid", "phone", "profile", "read"},
			} {
				assert.Equal(t, value, members[member], "K04 K06 C08 S09: %s", member)
			}
			for member, value := range members {
				assert.NotNil(t, value, "K04: %s", member)
				assert.NotEqual(t, []any{}, value, "K04: %s", member)
			}
			response, _ = f.do(t, request{method: http.MethodOptions, path: test.path, header: http.Header{
				"Origin": {"https://spa.example.com"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"mcp-protocol-version"},
			}})
			assert.Equal(t, 204, response.StatusCode, "K10: MCP clients send a header of their own")
			response, _ = f.do(t, request{method: http.MethodPost, path: test.path})
			assert.Equal(t, 405, response.StatusCode)
		})
	}
}

func TestP02_AnAlgorithmThatTheServerHasNot(t *testing.T) {
	for _, algorithm := range []string{"none", "HS256", "es256", "EdDSA"} {
		config := openIDConfig(t)
		config.Clients[0].IDTokenAlgorithm = algorithm
		_, err := authserver.New(config, nil)
		require.ErrorContains(t, err, "id_token_signed_response_alg", algorithm)
	}
}

// Whatever a client sends as the hint, only what this server has signed names a user or a client.
func FuzzIDTokenHint(f *testing.F) {
	claims := `{"iss":"` + issuer + `","sub":"alice","aud":"web"}`
	f.Add(`{"alg":"ES256","typ":"JWT","kid":"KID"}`, claims, "")
	f.Add(`{"alg":"ES256","typ":"JWT","kid":"KID"}`, `{"iss":1}`, strings.Repeat("x", 64))
	f.Add(`{"alg":"RS256","typ":"JWT","kid":"KID"}`, claims, "x")
	f.Add(`{"alg":"none","typ":"JWT"}`, claims, "")
	server, err := authserver.New(authserver.Config{
		Issuer: issuer,
		Clients: []authserver.Client{{
			ID: "web", Secret: &authserver.Secret{}, Grants: []string{authserver.GrantAuthorizationCode}, RedirectURIs: []string{callback}, Scopes: []string{"openid"},
		}},
		Logger: slog.New(slog.DiscardHandler),
	}, filestore.New(filepath.Join(f.TempDir(), "as.db")))
	require.NoError(f, err)
	get := func(address string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, address, nil)
		recorder := httptest.NewRecorder()
		server.Endpoint(r.URL.Path).ServeHTTP(recorder, r)
		return recorder
	}
	var set jose.JSONWebKeySet
	require.NoError(f, json.Unmarshal(get(issuer+"/oauth2/jwks").Body.Bytes(), &set))
	encode := base64.RawURLEncoding.EncodeToString
	f.Fuzz(func(t *testing.T, header, claims, signature string) {
		header = strings.ReplaceAll(header, "KID", set.Keys[0].KeyID)
		hint := encode([]byte(header)) + "." + encode([]byte(claims)) + "." + encode([]byte(signature))
		if len(hint) > 4096 {
			t.Skip("too long for a parameter")
		}
		assert.Contains(t, get(authorization("scope", "openid", "id_token_hint", hint)).Header().Get("Location"), "error=invalid_request")
		query := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {callback}}
		recorder := get(issuer + "/oauth2/logout?" + query.Encode())
		assert.Equal(t, http.StatusBadRequest, recorder.Code, "it names no client")
		assert.Empty(t, recorder.Header().Get("Location"))
	})
}
