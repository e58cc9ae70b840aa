package authserver_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/filestore"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const issuer = "https://auth.example.com"

// fixture is a server over a real store, with a clock that a test moves.
type fixture struct {
	*authserver.Server
	store *filestore.Store
	path  string
	nanos atomic.Int64
}

func (f *fixture) now() time.Time { return time.Unix(0, f.nanos.Load()) }

func secret(t *testing.T, text string) *authserver.Secret {
	t.Helper()
	s, err := authserver.NewSecret(text)
	require.NoError(t, err)
	return s
}

const strange = `p@ss:w+rd/é% &`

func newServer(t *testing.T, issuer string) *fixture {
	t.Helper()
	f := &fixture{store: filestore.New(filepath.Join(t.TempDir(), "as.db"))}
	t.Cleanup(func() { assert.NoError(t, f.store.Close()) })
	f.nanos.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	clientCredentials := []string{authserver.GrantClientCredentials}
	var err error
	f.Server, err = authserver.New(authserver.Config{
		Issuer: issuer,
		Clients: []authserver.Client{
			{ID: "app", Secret: secret(t, "app-secret"), Grants: clientCredentials, Scopes: []string{"read", "write"}, DefaultScopes: []string{"read"}},
			{ID: "all", Secret: secret(t, strange), Grants: clientCredentials, Scopes: []string{"read", "write"}},
			{ID: "rs", Secret: secret(t, "rs-secret"), MayIntrospect: true},
		},
		Logger: slog.New(slog.DiscardHandler),
		Now:    f.now,
	}, f.store)
	require.NoError(t, err)
	return f
}

type request struct {
	method, path, query string
	user, password      string
	header              http.Header
	form                url.Values
	body                string
	address             string
}

func (f *fixture) do(t *testing.T, r request) (*http.Response, map[string]any) {
	t.Helper()
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	body := r.body
	if r.form != nil {
		body = r.form.Encode()
	}
	request := httptest.NewRequest(method, "http://evil.example"+r.path+r.query, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.user != "" {
		request.SetBasicAuth(r.user, r.password)
	}
	if r.address != "" {
		request.RemoteAddr = r.address
	}
	maps.Copy(request.Header, r.header)
	handler := f.Endpoint(r.path)
	require.NotNil(t, handler, r.path)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	response := recorder.Result()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var members map[string]any
	if len(raw) > 0 {
		require.NoError(t, json.Unmarshal(raw, &members), string(raw))
	}
	return response, members
}

func grant(extra ...string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(extra); i += 2 {
		form.Add(extra[i], extra[i+1])
	}
	return form
}

func (f *fixture) token(t *testing.T, extra ...string) string {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/token", user: "app", password: "app-secret", form: grant(extra...)})
	require.Equal(t, 200, response.StatusCode, members)
	return members["access_token"].(string)
}

func (f *fixture) introspection(t *testing.T, token string) map[string]any {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/introspect", user: "rs", password: "rs-secret", form: url.Values{"token": {token}}})
	require.Equal(t, 200, response.StatusCode)
	return members
}

func TestClientCredentials(t *testing.T) {
	f := newServer(t, issuer)
	response, members := f.do(t, request{path: "/oauth2/token", user: "app", password: "app-secret", form: grant("scope", "write read write")})
	require.Equal(t, 200, response.StatusCode)
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"), "D07")
	assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
	token := members["access_token"].(string)
	assert.Regexp(t, `^pat_[A-Za-z0-9_-]{43}$`, token, "Q01 Q05: 256 bits behind a prefix")
	assert.Equal(t, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 900.0, "scope": "write read"}, members, "D06 D18 G02")
	assert.NotEqual(t, token, f.token(t))

	assert.Equal(t, map[string]any{
		"active": true, "iss": issuer, "client_id": "app", "sub": "app", "token_type": "Bearer", "scope": "write read",
		"iat": float64(f.now().Unix()), "exp": float64(f.now().Add(15 * time.Minute).Unix()),
	}, f.introspection(t, token), "J04")

	answer, err := f.Introspect(t.Context(), introspect.NewToken(token))
	require.NoError(t, err)
	assert.True(t, answer.Active)
	assert.Equal(t, "write read", answer.Scope())
	assert.Equal(t, answer.ClientID(), answer.Subject(), "G03: no user")

	f.nanos.Add(int64(15*time.Minute) - 1)
	assert.Equal(t, true, f.introspection(t, token)["active"])
	f.nanos.Add(1)
	assert.Equal(t, map[string]any{"active": false}, f.introspection(t, token), "J02")
}

func TestScopesThatAreGranted(t *testing.T) {
	f := newServer(t, issuer)
	for name, test := range map[string]struct {
		client, secret, scope string
		granted               any // nil: refused
	}{
		"default scopes":               {"app", "app-secret", "", "read"},
		"all scopes if none is said":   {"all", strange, "", "read write"},
		"one of them":                  {"app", "app-secret", "write", "write"},
		"A15 one that it may not have": {"app", "app-secret", "read admin", nil},
		"a lookalike":                  {"app", "app-secret", "Read", nil},
	} {
		t.Run(name, func(t *testing.T) {
			response, members := f.do(t, request{path: "/oauth2/token", user: test.client, password: url.QueryEscape(test.secret), form: grant("scope", test.scope)})
			if test.granted == nil {
				assert.Equal(t, 400, response.StatusCode)
				assert.Equal(t, "invalid_scope", members["error"])
				return
			}
			assert.Equal(t, test.granted, members["scope"])
		})
	}
}

func TestRefusalsOfTheTokenEndpoint(t *testing.T) {
	f := newServer(t, issuer)
	basic := func(text string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(text))}}
	}
	for name, test := range map[string]struct {
		request   request
		status    int
		code      string
		challenge bool
	}{
		"D01 GET":                          {request{method: "GET", user: "app", password: "app-secret"}, 405, "invalid_request", false},
		"D02 JSON":                         {request{header: http.Header{"Content-Type": {"application/json"}}, body: `{"grant_type":"client_credentials"}`}, 400, "invalid_request", false},
		"D02 no type":                      {request{header: http.Header{"Content-Type": nil}, form: grant()}, 400, "invalid_request", false},
		"D03 credentials in the URL":       {request{query: "?client_id=app&client_secret=app-secret", form: grant()}, 401, "invalid_client", false},
		"D03 grant in the URL":             {request{query: "?grant_type=client_credentials", user: "app", password: "app-secret", form: url.Values{}}, 400, "invalid_request", false},
		"D04 repeated":                     {request{user: "app", password: "app-secret", form: url.Values{"grant_type": {"client_credentials", "client_credentials"}}}, 400, "invalid_request", false},
		"D04 empty is absent":              {request{user: "app", password: "app-secret", form: url.Values{"grant_type": {""}}}, 400, "invalid_request", false},
		"D05 unknown grant":                {request{user: "app", password: "app-secret", form: url.Values{"grant_type": {"magic"}}}, 400, "unsupported_grant_type", false},
		"G04 password":                     {request{user: "app", password: "app-secret", form: url.Values{"grant_type": {"password"}}}, 400, "unsupported_grant_type", false},
		"D05 not for this client":          {request{user: "rs", password: "rs-secret", form: grant()}, 400, "unauthorized_client", false},
		"D09 wrong secret":                 {request{user: "app", password: "wrong", form: grant()}, 401, "invalid_client", true},
		"D09 unknown client":               {request{user: "nobody", password: "app-secret", form: grant()}, 401, "invalid_client", true},
		"D14 no authentication":            {request{form: grant("client_id", "app")}, 401, "invalid_client", false},
		"D12 wrong secret in the body":     {request{form: grant("client_id", "app", "client_secret", "wrong")}, 401, "invalid_client", false},
		"D10 two methods":                  {request{user: "app", password: "app-secret", form: grant("client_secret", "app-secret")}, 400, "invalid_request", false},
		"D10 secret and assertion":         {request{user: "app", password: "app-secret", form: grant("client_assertion", "x")}, 400, "invalid_request", false},
		"D10 two headers":                  {request{header: http.Header{"Authorization": {"Basic YQ==", "Basic YQ=="}}, form: grant()}, 400, "invalid_request", false},
		"D15 another client in the body":   {request{user: "app", password: "app-secret", form: grant("client_id", "all")}, 400, "invalid_request", false},
		"empty secret":                     {request{header: basic("app:"), form: grant()}, 401, "invalid_client", true},
		"no colon":                         {request{header: basic("app"), form: grant()}, 401, "invalid_client", true},
		"not base64":                       {request{header: http.Header{"Authorization": {"Basic ***"}}, form: grant()}, 401, "invalid_client", true},
		"another scheme":                   {request{header: http.Header{"Authorization": {"Bearer x"}}, form: grant()}, 401, "invalid_client", true},
		"N02 a resource nobody configured": {request{user: "app", password: "app-secret", form: grant("resource", "https://api.example.com")}, 400, "invalid_target", false},
		"too long":                         {request{user: "app", password: "app-secret", form: grant("x", strings.Repeat("x", 100_000))}, 400, "invalid_request", false},
		"broken encoding":                  {request{user: "app", password: "app-secret", body: "grant_type=%zz"}, 400, "invalid_request", false},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.path = "/oauth2/token"
			response, members := f.do(t, test.request)
			assert.Equal(t, test.status, response.StatusCode, members)
			assert.Equal(t, test.code, members["error"])
			assert.Equal(t, test.challenge, response.Header.Get("WWW-Authenticate") != "", "D09")
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"), "D07")
			assert.Regexp(t, `^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`, members["error_description"], "D08")
			assert.NotContains(t, members, "access_token")
		})
	}
}

func TestD11SecretsEncodedOrAsTyped(t *testing.T) {
	f := newServer(t, issuer)
	for name, typed := range map[string]string{"form-encoded": url.QueryEscape(strange), "raw": strange, "percent for everything": "%70%40ss%3Aw%2Brd%2F%C3%A9%25%20%26"} {
		response, _ := f.do(t, request{path: "/oauth2/token", header: http.Header{
			"Authorization": {"bAsIc " + base64.StdEncoding.EncodeToString([]byte("all:"+typed))},
		}, form: grant()})
		assert.Equal(t, 200, response.StatusCode, name)
	}
}

func TestIntrospectionEndpoint(t *testing.T) {
	f := newServer(t, issuer)
	token := f.token(t)
	for name, test := range map[string]struct {
		request request
		status  int
		code    string
	}{
		"J01 anonymous":                      {request{form: url.Values{"token": {token}}}, 401, "invalid_client"},
		"J01 a client without the right":     {request{user: "app", password: "app-secret", form: url.Values{"token": {token}}}, 403, "unauthorized_client"},
		"J01 wrong secret":                   {request{user: "rs", password: "x", form: url.Values{"token": {token}}}, 401, "invalid_client"},
		"J08 GET":                            {request{method: "GET", query: "?token=" + token, user: "rs", password: "rs-secret"}, 405, "invalid_request"},
		"J08 no token":                       {request{user: "rs", password: "rs-secret", form: url.Values{}}, 400, "invalid_request"},
		"J08 empty token":                    {request{user: "rs", password: "rs-secret", form: url.Values{"token": {""}}}, 400, "invalid_request"},
		"token twice":                        {request{user: "rs", password: "rs-secret", form: url.Values{"token": {token, token}}}, 400, "invalid_request"},
		"J01 the token itself opens nothing": {request{header: http.Header{"Authorization": {"Bearer " + token}}, form: url.Values{"token": {token}}}, 403, "insufficient_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.path = "/oauth2/introspect"
			response, members := f.do(t, test.request)
			assert.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, test.code, members["error"])
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		})
	}
	inactive := map[string]any{"active": false}
	for _, unknown := range []string{"x", "pat_unknown", token + "x", strings.ToUpper(token), "prt_" + token[4:], " " + token} {
		assert.Equal(t, inactive, f.introspection(t, unknown), "J02 %q", unknown)
	}
	response, members := f.do(t, request{
		path: "/oauth2/introspect", user: "rs", password: "rs-secret",
		form: url.Values{"token": {token}, "token_type_hint": {"refresh_token"}},
	})
	assert.Equal(t, 200, response.StatusCode)
	assert.Equal(t, true, members["active"], "J07: a hint is a hint")
}

func TestRevocationEndpoint(t *testing.T) {
	f := newServer(t, issuer)
	revoke := func(user, password string, form url.Values) (*http.Response, map[string]any) {
		return f.do(t, request{path: "/oauth2/revoke", user: user, password: password, form: form})
	}
	token := f.token(t)
	told := make(chan struct{}, 10)
	cancel := f.store.Subscribe(func(store.Revocation) { told <- struct{}{} })
	defer cancel()

	response, members := revoke("all", url.QueryEscape(strange), url.Values{"token": {token}})
	assert.Equal(t, 400, response.StatusCode, "I03")
	assert.Equal(t, "unauthorized_client", members["error"])
	assert.Equal(t, true, f.introspection(t, token)["active"], "I03: somebody else's token stays active")

	for name, test := range map[string]struct {
		user, password string
		form           url.Values
		status         int
	}{
		"I01 nobody":           {"", "", url.Values{"token": {token}}, 401},
		"I01 wrong secret":     {"app", "x", url.Values{"token": {token}}, 401},
		"I07 no token":         {"app", "app-secret", url.Values{}, 400},
		"I02 unknown token":    {"app", "app-secret", url.Values{"token": {"garbage"}}, 200},
		"I06 wrong hint":       {"app", "app-secret", url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}, 200},
		"I02 already revoked":  {"app", "app-secret", url.Values{"token": {token}}, 200},
		"I06 a hint of no use": {"app", "app-secret", url.Values{"token": {token}, "token_type_hint": {"foo"}}, 200},
	} {
		response, _ := revoke(test.user, test.password, test.form)
		assert.Equal(t, test.status, response.StatusCode, name)
		assert.Equal(t, "no-store", response.Header.Get("Cache-Control"), name)
	}
	assert.Len(t, told, 1, "whoever remembers the token is told once, before the answer")
	assert.Equal(t, map[string]any{"active": false}, f.introspection(t, token))
}

func TestMetadata(t *testing.T) {
	for name, test := range map[string]struct{ issuer, path, base string }{
		"K01 without a path":        {issuer, "/.well-known/oauth-authorization-server", issuer},
		"K01 inserted":              {issuer + "/t1", "/.well-known/oauth-authorization-server/t1", issuer + "/t1"},
		"K01 the final slash drops": {issuer + "/t1/", "/.well-known/oauth-authorization-server/t1", issuer + "/t1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newServer(t, test.issuer)
			response, members := f.do(t, request{method: "GET", path: test.path})
			require.Equal(t, 200, response.StatusCode)
			assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
			assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"), "K10")
			assert.Contains(t, response.Header.Get("Cache-Control"), "max-age", "K10")
			assert.Equal(t, test.issuer, members["issuer"], "K03: to the byte, whatever Host says")
			assert.Equal(t, test.base+"/oauth2/token", members["token_endpoint"])
			assert.Equal(t, []any{"authorization_code", "refresh_token", "client_credentials"}, members["grant_types_supported"], "K05")
			assert.Equal(t, []any{"code"}, members["response_types_supported"], "A11")
			assert.Equal(t, []any{"query", "form_post"}, members["response_modes_supported"], "K05")
			assert.Equal(t, []any{"S256"}, members["code_challenge_methods_supported"], "C08")
			assert.Equal(t, true, members["authorization_response_iss_parameter_supported"], "N05")
			assert.Equal(t, test.base+"/oauth2/authorize", members["authorization_endpoint"])
			for _, endpoint := range []string{"token_endpoint", "introspection_endpoint", "revocation_endpoint"} {
				address, err := url.Parse(members[endpoint].(string))
				require.NoError(t, err)
				assert.NotNil(t, f.Endpoint(address.Path), "K06: what is advertised is there: %s", endpoint)
				assert.Equal(t, []any{"client_secret_basic", "client_secret_post"}, members[endpoint+"_auth_methods_supported"])
			}
			response, _ = f.do(t, request{method: "POST", path: test.path})
			assert.Equal(t, 405, response.StatusCode)
		})
	}
}

func TestOnlyItsOwnPaths(t *testing.T) {
	f := newServer(t, issuer+"/t1")
	for _, path := range []string{"/", "/oauth2/token", "/t1", "/t1/", "/t1/oauth2/token/", "/t1//oauth2/token", "/t1/oauth2%2ftoken", "/T1/oauth2/token"} {
		assert.Nil(t, f.Endpoint(path), path)
	}
	assert.NotNil(t, f.Endpoint("/t1/oauth2/token"))
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	good := authserver.Client{ID: "a", Secret: secret(t, "s")}
	with := func(change func(*authserver.Client)) []authserver.Client {
		client := good
		change(&client)
		return []authserver.Client{client}
	}
	for name, test := range map[string]struct {
		config authserver.Config
		says   string
	}{
		"no issuer":             {authserver.Config{}, "must be a URL"},
		"http beyond loopback":  {authserver.Config{Issuer: "http://auth.example.com"}, "must be https"},
		"query":                 {authserver.Config{Issuer: "https://auth.example.com?x=1"}, "query"},
		"fragment":              {authserver.Config{Issuer: "https://auth.example.com#"}, "fragment"},
		"user information":      {authserver.Config{Issuer: "https://u:p@auth.example.com"}, "user information"},
		"negative ttl":          {authserver.Config{Issuer: issuer, AccessTokenTTL: -1}, "access_token_ttl"},
		"twice":                 {authserver.Config{Issuer: issuer, Clients: []authserver.Client{good, good}}, "twice"},
		"no id":                 {authserver.Config{Issuer: issuer, Clients: with(func(c *authserver.Client) { c.ID = "" })}, "needs an id"},
		"strange id":            {authserver.Config{Issuer: issuer, Clients: with(func(c *authserver.Client) { c.ID = "a\nb" })}, "printable"},
		"no secret":             {authserver.Config{Issuer: issuer, Clients: with(func(c *authserver.Client) { c.Secret = nil })}, "needs a secret"},
		"unknown grant":         {authserver.Config{Issuer: issuer, Clients: with(func(c *authserver.Client) { c.Grants = []string{"magic"} })}, "not supported"},
		"strange scope":         {authserver.Config{Issuer: issuer, Clients: with(func(c *authserver.Client) { c.Scopes = []string{"a b"} })}, "scope"},
		"default not its scope": {authserver.Config{Issuer: issuer, Clients: with(func(c *authserver.Client) { c.DefaultScopes = []string{"x"} })}, "default scope"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := authserver.New(test.config, nil)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestSecretsAndTheirHashes(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("s3cret"), bcrypt.MinCost)
	require.NoError(t, err)

	for name, text := range map[string]string{"plain": "s3cret", "bcrypt": string(hash), "argon2id": argon2idOf(t, "s3cret")} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{store: filestore.New(filepath.Join(t.TempDir(), "as.db"))}
			t.Cleanup(func() { assert.NoError(t, f.store.Close()) })
			var err error
			f.Server, err = authserver.New(authserver.Config{Issuer: issuer, Clients: []authserver.Client{
				{ID: "a", Secret: secret(t, text), Grants: []string{authserver.GrantClientCredentials}},
			}}, f.store)
			require.NoError(t, err)
			for password, status := range map[string]int{"s3cret": 200, "S3cret": 401, "\ts3cret": 401, text + "x": 401} {
				for range 2 { // the second time from what is known
					response, _ := f.do(t, request{path: "/oauth2/token", user: "a", password: password, form: grant()})
					assert.Equal(t, status, response.StatusCode, password)
				}
			}
			if name != "plain" {
				response, _ := f.do(t, request{path: "/oauth2/token", user: "a", password: text, form: grant()})
				assert.Equal(t, 401, response.StatusCode, "a stolen hash is no secret")
			}
			response, _ := f.do(t, request{path: "/oauth2/token", user: "nobody", password: "s3cret", form: grant()})
			assert.Equal(t, 401, response.StatusCode, "D16")
		})
	}
	for _, broken := range []string{
		"", "$2a$broken", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19",
		"$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$m=64,t=1,p=1$***$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$***", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFz", "$argon2id$v=19$x$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
	} {
		_, err := authserver.NewSecret(broken)
		assert.Error(t, err, broken)
	}
}

func TestAFaultOfTheStoreIsNobodysFault(t *testing.T) {
	f := newServer(t, issuer)
	token := f.token(t)
	require.NoError(t, f.store.Close())
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke"} {
		form := grant("token", token)
		response, members := f.do(t, request{path: path, user: "app", password: "app-secret", form: form})
		assert.Equal(t, 503, response.StatusCode, path)
		assert.Equal(t, "temporarily_unavailable", members["error"])
		assert.NotEmpty(t, response.Header.Get("Retry-After"))
	}
	response, _ := f.do(t, request{path: "/oauth2/introspect", user: "rs", password: "rs-secret", form: url.Values{"token": {token}}})
	assert.Equal(t, 503, response.StatusCode)
	_, err := f.Introspect(t.Context(), introspect.NewToken(token))
	require.ErrorIs(t, err, introspect.ErrUnavailable)
	answer, err := f.Introspect(t.Context(), introspect.NewToken("not one of ours"))
	require.NoError(t, err, "what cannot be ours is answered without the store")
	assert.False(t, answer.Active)
}

func TestAClientThatIsGoneHasNoActiveTokens(t *testing.T) {
	f := newServer(t, issuer)
	token := introspect.NewToken(f.token(t))
	without, err := authserver.New(authserver.Config{Issuer: issuer}, f.store)
	require.NoError(t, err)
	remembered, err := f.Introspect(t.Context(), token)
	require.NoError(t, err)
	require.True(t, remembered.Active)
	memory := source{remembered, nil}

	answer, err := f.Confirm(memory).Introspect(t.Context(), token)
	require.NoError(t, err)
	assert.Same(t, remembered, answer)
	answer, err = without.Confirm(memory).Introspect(t.Context(), token)
	require.NoError(t, err)
	assert.False(t, answer.Active, "a remembered answer does not outlive the client")
	answer, err = without.Introspect(t.Context(), token)
	require.NoError(t, err)
	assert.False(t, answer.Active)
	fault := errors.New("fault")
	_, err = without.Confirm(source{nil, fault}).Introspect(t.Context(), token)
	assert.ErrorIs(t, err, fault)
}
