package portcullis_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis"
	"github.com/portcullis-gateway/portcullis/authority"
)

// provision makes a handler of its JSON in a configuration with the given apps.
func provision(t testing.TB, apps, handler string) (*portcullis.Handler, error) {
	t.Helper()
	config := new(caddy.Config)
	require.NoError(t, json.Unmarshal([]byte(`{"admin":{"disabled":true},"apps":{`+apps+`}}`), config))
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("http.handlers.introspect", json.RawMessage(handler))
	if err != nil {
		return nil, err
	}
	return module.(*portcullis.Handler), nil
}

func TestJSONConfigurationsThatAreRefused(t *testing.T) {
	const server = `"authorization_server":{"issuer":"http://localhost:8080","store":{"module":"file","path":"x.db"}}`
	authorities := func(text string) string { return `"introspect":{"authorities":` + text + `}` }
	const good = `{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"}}`
	for name, test := range map[string]struct{ apps, handler, says string }{
		"no authority":                {``, `{}`, "no authority is configured"},
		"unknown name":                {authorities(`{"a":` + good + `}`), `{"authorities":["b"]}`, `no authority "b"`},
		"which one":                   {authorities(`{"a":` + good + `,"b":` + good + `}`), `{}`, "name one of a, b"},
		"name and own":                {authorities(`{"a":` + good + `}`), `{"authorities":["a"],"authority":` + good + `}`, "not both"},
		"two names":                   {authorities(`{"a":` + good + `,"b":` + good + `}`), `{"authorities":["a","b"]}`, "cannot be told apart"},
		"one name twice":              {authorities(`{"a":` + good + `,"b":` + good + `}`), `{"authorities":["a","a"],"try_each":true}`, "named twice"},
		"several, one of them not":    {authorities(`{"a":` + good + `}`), `{"authorities":["a","b"],"try_each":true}`, `no authority "b"`},
		"names and own":               {authorities(`{"a":` + good + `}`), `{"authorities":["a","b"],"authority":` + good + `}`, "not both"},
		"try_each of one":             {authorities(`{"a":` + good + `}`), `{"authorities":["a"],"try_each":true}`, "several authorities"},
		"token_prefix with a space":   {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"token_prefix":["a b"]}}`), `{}`, "token_prefix"},
		"token_prefix empty":          {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"token_prefix":[""]}}`), `{}`, "token_prefix"},
		"unknown_tokens of none":      {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"unknown_tokens":{"duration":1}}}`), `{}`, "unknown_tokens"},
		"unknown_tokens at no time":   {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"unknown_tokens":{"tokens":1}}}`), `{}`, "unknown_tokens"},
		"unknown member":              {authorities(`{"a":` + good + `}`), `{"scopes":["a"]}`, "unknown field"},
		"embedded without server":     {authorities(`{"a":{"embedded":true}}`), `{}`, "authorization_server"},
		"unset environment":           {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"{env.PORTCULLIS_UNSET}"}}}`), `{}`, "client secret"},
		"missing file":                {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"{file./nonexistent/x}"}}}`), `{}`, "client secret"},
		"empty secret":                {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a"}}}`), `{}`, "has no secret"},
		"header value with CR":        {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"request_header":[{"name":"X","value":"a\r\nb"}]}}`), `{}`, "request_header X"},
		"unset parameter":             {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"param":[{"name":"x","value":"{env.PORTCULLIS_UNSET}"}]}}`), `{}`, "param x"},
		"unset bearer":                {authorities(`{"a":{"endpoint":"https://as.example.com/i","bearer":"{env.PORTCULLIS_UNSET}"}}`), `{}`, "bearer"},
		"null":                        {authorities(`{"a":null}`), `{}`, "is null"},
		"memory too large":            {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"cache":{"memory":9000000000000000000}}}`), `{}`, "memory"},
		"http endpoint":               {authorities(`{"a":{"endpoint":"http://as.example.com/i","client":{"id":"a","secret":"b"}}}`), `{}`, "must be https"},
		"name is scope":               {authorities(`{"scope":` + good + `}`), `{}`, "not be 'scope'"},
		"cache off and more":          {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"cache":{"off":true,"ttl":1}}}`), `{}`, "cache off"},
		"memory too small":            {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"cache":{"memory":1}}}`), `{}`, "memory"},
		"negative leeway":             {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"leeway":-1}}`), `{}`, "leeway"},
		"nothing signed to hand on":   {authorities(`{"a":` + good + `}`), `{"phantom_token":{}}`, "'jwt_response' at the authority a"},
		"nothing signed in process":   {server, `{"phantom_token":{"header":"X-A"}}`, "'jwt_response' at the authority embedded"},
		"a signed answer and a token": {authorities(`{"a":{"issuer":"https://as.example.com","client":{"id":"a","secret":"b"},"jwt_response":{}}}`), `{"phantom_token":{},"pass_token":true}`, "pass_token"},
		"signed answers of nobody":    {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"jwt_response":{}}}`), `{}`, "needs 'issuer"},
		"bad scope":                   {server, `{"scope":["a b"]}`, "scope"},
		"unset client id":             {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"{env.PORTCULLIS_UNSET}","secret":"b"}}}`), `{}`, "client: {env.PORTCULLIS_UNSET} is unset"},
		"client id of a request":      {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"{env.HOME}{http.request.host}","secret":"b"}}}`), `{}`, "client: only {env.NAME}"},
		"unresolved audience of JWTs": {authorities(`{"a":{"issuer":"https://as.example.com","client":{"id":"a","secret":"b"},"jwt_response":{"audience":"{env.A}"}}}`), `{}`, "jwt_response: the placeholder {env.A}"},
		"unresolved answer":           {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"answer":{"active":{"path":"a","value":"{env.A}"}}}}`), `{}`, "answer: the placeholder {env.A}"},
		"unresolved param":            {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"param":[{"name":"{env.A}","value":"b"}]}}`), `{}`, "param: the placeholder {env.A}"},
		"unresolved scope":            {server, `{"scope":["{env.A}"]}`, "scope: the placeholder {env.A}"},
		"unresolved audience":         {server, `{"audience":["https://{http.request.host}/"]}`, "audience: the placeholder {http.request.host}"},
		"unresolved claim":            {server, `{"claim":[{"path":"a","values":["b","{vars.a}"]}]}`, "claim: the placeholder {vars.a}"},
		"unresolved requirement":      {server, `{"require":["claims.a == '{env.A}'"]}`, "require: the placeholder {env.A}"},
		"unresolved realm":            {server, `{"realm":"{system.hostname}"}`, "realm: the placeholder {system.hostname}"},
		"unresolved place":            {server, `{"token_from":[{"in":"query","name":"{env.A}"}]}`, "token_from: the placeholder {env.A}"},
		"empty audience":              {server, `{"audience":["api",""]}`, "audience: must not be empty"},
		"negative fresh":              {server, `{"fresh":-1}`, "fresh: must not be negative"},
		"too many retries":            {authorities(`{"a":{"endpoint":"https://as.example.com/i","client":{"id":"a","secret":"b"},"retries":11}}`), `{}`, "from 0 to 10"},
		"token where users are told":  {server, `{"token_from":[{"in":"header","name":"remote_user"}]}`, "name another one"},
		"token where claims are told": {server, `{"token_from":[{"in":"header","name":"X-A"}],"copy_claims":[{"claim":"a","header":"x-a"}]}`, "name another one"},
		"bad realm":                   {server, `{"realm":"\n"}`, "realm"},
		"unknown preset":              {server, `{"identity":"everything"}`, "identity"},
		"unknown demand on proofs":    {server, `{"dpop":"maybe"}`, "must be required or nonce"},
		"unknown end":                 {server, `{"end_at_expiry":"maybe"}`, "must be streams, all or off"},
		"unknown demand on certs":     {server, `{"mtls":"maybe"}`, "must be required"},
		"proofs without their scheme": {server, `{"dpop":"required","token_from":[{"in":"cookie","name":"t"}]}`, "token_from header"},
		"bad acr":                     {server, `{"acr":["a b"]}`, "acr"},
		"negative max_age":            {server, `{"max_age":-1000000000}`, "max_age"},
		"max_age without seconds":     {server, `{"max_age":5}`, "max_age"},
		"F05 bad resource":            {server, `{"resource":"http://api.example.com"}`, "must be https"},
		"F05 nothing to describe":     {server, `{"resource_metadata":{"resource_name":["x"]}}`, "is not named"},
		"F11 a demand that is none":   {server, `{"resource":"https://api.example.com","resource_metadata":{"dpop_bound_access_tokens_required":["true"]}}`, "the gateway writes it itself"},
		"F08 nobody's resource":       {authorities(`{"a":` + good + `}`), `{"resource":"https://api.example.com"}`, "no issuer"},
		"J18 hop-by-hop header":       {server, `{"copy_claims":[{"claim":"a","header":"Connection"}]}`, "meaning of its own"},
		"server: client without id":   {`"authorization_server":{"issuer":"http://localhost","client":[{"secret":"x"}]}`, `{}`, "needs an id"},
		"server: unknown store":       {`"authorization_server":{"issuer":"http://localhost","store":{"module":"paper"}}`, `{}`, "paper"},
		"server: unset environment":   {`"authorization_server":{"issuer":"http://localhost","client":[{"id":"a","secret":"{env.PORTCULLIS_UNSET}"}]}`, `{}`, "secret"},
		"server: http beyond loopack": {`"authorization_server":{"issuer":"http://auth.example.com"}`, `{}`, "must be https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			_, err := provision(t, test.apps, test.handler)
			require.ErrorContains(t, err, test.says)
		})
	}
}

// gateway is a handler in front of an authority that a test controls.
type gateway struct {
	*portcullis.Handler
	calls atomic.Int32
}

func newGateway(t testing.TB, answer, options string) *gateway {
	t.Helper()
	g := new(gateway)
	authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(authority.Close)
	var err error
	g.Handler, err = provision(t, ``, fmt.Sprintf(`{"authority":{"endpoint":%q,"client":{"id":"gw","secret":"s"}}%s}`, authority.URL, options))
	require.NoError(t, err)
	return g
}

// prepare gives a request what Caddy's server gives it.
func prepare(r *http.Request, w http.ResponseWriter) *http.Request {
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
}

// Caddy's request_header edits header values in place; what is remembered must not change with them.
func TestEditingTheForwardedRequestDoesNotPoisonTheMemory(t *testing.T) {
	g := newGateway(t, `{"active":true,"username":"alice","client_id":"app","scope":"a b"}`, ``)
	for range 3 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer t")
		w := httptest.NewRecorder()
		err := g.ServeHTTP(w, prepare(r, w), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			assert.Equal(t, []string{"alice"}, r.Header["Remote-User"])
			assert.Equal(t, []string{"a b"}, r.Header["Remote-Scope"])
			for _, values := range r.Header {
				for i := range values {
					values[i] = "mallory"
				}
			}
			return nil
		}))
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, g.calls.Load())
}

func TestPlaceholders(t *testing.T) {
	exp := time.Now().Add(time.Hour).Unix()
	g := newGateway(t, fmt.Sprintf(`{"active":true,"username":"alice","sub":"4711","client_id":"app","scope":"a b","iss":"https://as","exp":%d,"realm_access":{"roles":["x","y"]},"n":12345678901,"evil":"{env.HOME}"}`, exp), ``)
	for _, source := range []string{"miss", "memory"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer t")
		w := httptest.NewRecorder()
		err := g.ServeHTTP(w, prepare(r, w), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			for placeholder, want := range map[string]string{
				"{http.auth.user.id}": "alice", "{http.introspect.active}": "true", "{http.introspect.scope}": "a b",
				"{http.introspect.client_id}": "app", "{http.introspect.sub}": "4711", "{http.introspect.iss}": "https://as",
				"{http.introspect.exp}": fmt.Sprint(exp), "{http.introspect.cache}": source,
				"{http.introspect.claims.realm_access.roles}": "x,y", "{http.introspect.claims.n}": "12345678901",
				"{http.introspect.claims.evil}": "{env.HOME}", "{http.introspect.claims.nope}": "",
				"{http.introspect.nope}": "", "{http.introspect.error}": "",
			} {
				assert.Equal(t, want, replacer.ReplaceAll(placeholder, ""), placeholder)
				assert.Equal(t, want, replacer.ReplaceKnown(placeholder, ""), placeholder)
			}
			assert.Contains(t, replacer.ReplaceAll("{http.introspect.authority}", ""), "127.0.0.1")
			return nil
		}))
		require.NoError(t, err)
	}
}

func TestPlaceholdersOfARefusal(t *testing.T) {
	g := newGateway(t, `{"active":false}`, ``)
	for header, want := range map[string][2]string{
		"Bearer t": {"invalid_token", "the token is not active"},
		"Bearer":   {"invalid_request", "malformed request for a protected resource: Bearer without a token"},
		"Basic x":  {"no_token", "no access token"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		r = prepare(r, w)
		replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		replacer.Set("http.auth.user.id", "somebody else")
		err := g.ServeHTTP(w, r, nil)
		require.Error(t, err)
		assert.Equal(t, want[0], replacer.ReplaceAll("{http.introspect.error}", ""))
		assert.Equal(t, want[1], replacer.ReplaceAll("{http.introspect.error_description}", ""))
		assert.Empty(t, replacer.ReplaceAll("{http.auth.user.id}", ""), "J15")
	}
}

// Two directives on one request both apply, and what the first has taken and told stays as it is for the second.
func TestTwoDirectivesOnOneRequest(t *testing.T) {
	g := newGateway(t, `{"active":true,"username":"alice","scope":"a b"}`, `,"scope":["a"]`)
	g.Authority.Cache = &authority.Cache{Off: true}
	config, err := json.Marshal(g.Handler)
	require.NoError(t, err)
	first, err := provision(t, ``, string(config))
	require.NoError(t, err)
	g.Scope, g.Identity = []string{"b"}, "none"
	config, err = json.Marshal(g.Handler)
	require.NoError(t, err)
	second, err := provision(t, ``, string(config))
	require.NoError(t, err)
	g.Scope = []string{"c"}
	config, err = json.Marshal(g.Handler)
	require.NoError(t, err)
	third, err := provision(t, ``, string(config))
	require.NoError(t, err)

	serve := func(chain ...*portcullis.Handler) (int, bool) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer t")
		r.Header.Set("Remote-User", "mallory")
		w := httptest.NewRecorder()
		reached := false
		next := caddyhttp.Handler(caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			reached = true
			assert.Equal(t, []string{"alice"}, r.Header["Remote-User"])
			assert.NotContains(t, r.Header, "Authorization")
			return nil
		}))
		for _, handler := range slices.Backward(chain) {
			inner := next
			next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return handler.ServeHTTP(w, r, inner) })
		}
		err := next.ServeHTTP(w, prepare(r, w))
		if handlerError, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
			return handlerError.StatusCode, reached
		}
		require.NoError(t, err)
		return 200, reached
	}
	status, reached := serve(first, second)
	assert.Equal(t, 200, status)
	assert.True(t, reached)
	status, reached = serve(first, third)
	assert.Equal(t, 403, status)
	assert.False(t, reached)

	before := g.calls.Load()
	status, _ = serve(first, first)
	assert.Equal(t, 200, status)
	assert.EqualValues(t, 1, g.calls.Load()-before, "one request asks one authority once, whatever is remembered")
}

// run passes a request through a handler and returns the status, or 0 if it reached the end of the chain.
func run(t *testing.T, handler *portcullis.Handler, method string, header http.Header, check func(*http.Request)) (int, http.Header) {
	t.Helper()
	r := httptest.NewRequest(method, "/", nil)
	r.Header = header
	w := httptest.NewRecorder()
	err := handler.ServeHTTP(w, prepare(r, w), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		if check != nil {
			check(r)
		}
		return nil
	}))
	if handlerError, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return handlerError.StatusCode, w.Header()
	}
	require.NoError(t, err)
	return 0, w.Header()
}

func TestPreflight(t *testing.T) {
	preflight := func(change map[string][]string) http.Header {
		header := http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {"PUT"}, "Remote-User": {"mallory"}}
		maps.Copy(header, change)
		return header
	}
	with, without := newGateway(t, `{"active":false}`, `,"preflight":true`), newGateway(t, `{"active":false}`, ``)
	for name, test := range map[string]struct {
		method string
		header http.Header
		status int
	}{
		"K01 a true one":                     {"OPTIONS", preflight(nil), 0},
		"K02 with a token it is judged":      {"OPTIONS", preflight(map[string][]string{"Authorization": {"Bearer t"}}), 401},
		"K02 with a malformed token":         {"OPTIONS", preflight(map[string][]string{"Authorization": {"Bearer"}}), 400},
		"K02 another method":                 {"GET", preflight(nil), 401},
		"K02 OPTIONS without Origin":         {"OPTIONS", preflight(map[string][]string{"Origin": nil}), 401},
		"K02 OPTIONS that asks for nothing":  {"OPTIONS", preflight(map[string][]string{"Access-Control-Request-Method": nil}), 401},
		"K02 plain OPTIONS":                  {"OPTIONS", http.Header{}, 401},
		"K02 one that asks for a tunnel":     {"OPTIONS", preflight(map[string][]string{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}), 401},
		"K02 methods that are spelled alike": {"options", preflight(nil), 401},
	} {
		t.Run(name, func(t *testing.T) {
			status, _ := run(t, with.Handler, test.method, test.header.Clone(), func(r *http.Request) {
				assert.NotContains(t, r.Header, "Remote-User", "J01")
			})
			assert.Equal(t, test.status, status)
			if test.status == 0 {
				status, _ := run(t, without.Handler, test.method, test.header.Clone(), nil)
				assert.Equal(t, 401, status, "without the option")
			}
		})
	}
}

// Over HTTP/3 nothing in front of a body says whether there is one. A preflight passes, and what hides behind it does not.
func TestPreflightByLengthOfItsBody(t *testing.T) {
	g := newGateway(t, `{"active":false}`, `,"preflight":true`)
	for name, test := range map[string]struct {
		version int
		length  int64
		passes  bool
	}{
		"K01 HTTP/1.1 without":  {1, 0, true},
		"K01 HTTP/2 without":    {2, 0, true},
		"K01 HTTP/3 without":    {3, 0, true},
		"K01 HTTP/3 unknown":    {3, -1, true},
		"K02 HTTP/1.1 chunked":  {1, -1, false},
		"K02 HTTP/2 unknown":    {2, -1, false},
		"K02 HTTP/1.1 with one": {1, 8, false},
		"K02 HTTP/3 with one":   {3, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodOptions, "/", strings.NewReader("unjudged"))
			r.ProtoMajor, r.ContentLength = test.version, test.length
			if test.length == 0 {
				r.Body = http.NoBody
			}
			r.Header = http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {"PUT"}}
			w := httptest.NewRecorder()
			err := g.ServeHTTP(w, prepare(r, w), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Empty(t, body)
				assert.Zero(t, r.ContentLength)
				return nil
			}))
			assert.Equal(t, test.passes, err == nil)
		})
	}
}

// Whoever prints the variables of a request prints no token, and nobody takes the visit's place by its name.
func TestTheVariablesOfARequestShowNoToken(t *testing.T) {
	g := newGateway(t, `{"active":true}`, ``)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer canary-token")
	w := httptest.NewRecorder()
	r = prepare(r, w)
	require.NoError(t, g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
		for name, value := range vars {
			for _, format := range []string{"%v", "%+v", "%#v"} {
				assert.NotContains(t, fmt.Sprintf(format, value), "canary", name)
			}
			replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			assert.NotContains(t, replacer.ReplaceAll("{http.vars."+name+"}", ""), "canary")
		}
		return nil
	})))
}

// Of two authorities that name different users the first one counts, in the headers and in REMOTE_USER alike.
func TestTwoAuthoritiesNameOneUser(t *testing.T) {
	first, second := newGateway(t, `{"active":true,"username":"alice"}`, ``), newGateway(t, `{"active":true,"username":"bob","name":"Bob"}`, ``)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer t")
	w := httptest.NewRecorder()
	r = prepare(r, w)
	require.NoError(t, first.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return second.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			assert.Equal(t, "alice", r.Header.Get("Remote-User"))
			replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			assert.Equal(t, "alice", replacer.ReplaceAll("{http.auth.user.id}", ""))
			return nil
		}))
	})))
}

func TestObserveRefusesNobody(t *testing.T) {
	for name, test := range map[string]struct {
		answer, authorization, options string
		user                           string
		outcome                        string
	}{
		"allowed":       {`{"active":true,"username":"alice"}`, "Bearer t", ``, "alice", "allowed"},
		"inactive":      {`{"active":false}`, "Bearer t", ``, "", "invalid_token"},
		"scope missing": {`{"active":true,"username":"alice"}`, "Bearer t", `,"scope":["admin"]`, "", "insufficient_scope"},
		"malformed":     {`{"active":true}`, "Bearer a b", ``, "", "invalid_request"},
		"no token":      {`{"active":true}`, "", ``, "", "no_token"},
		"fault":         {`nonsense`, "Bearer t", ``, "", "misconfigured"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, test.answer, `,"observe":true`+test.options)
			header := http.Header{"Remote-User": {"mallory"}}
			if test.authorization != "" {
				header.Set("Authorization", test.authorization)
			}
			status, answered := run(t, g.Handler, "GET", header, func(r *http.Request) {
				assert.Equal(t, test.user, r.Header.Get("Remote-User"), "identity is told only where the request would pass")
				assert.Equal(t, test.authorization, r.Header.Get("Authorization"), "the token stays")
				logged := zapcore.NewMapObjectEncoder()
				visit := caddyhttp.GetVar(r.Context(), "http.handlers.introspect.visit").(zapcore.ObjectMarshaler)
				require.NoError(t, visit.MarshalLogObject(logged))
				assert.Equal(t, "would_be_"+test.outcome, logged.Fields["introspect"])
			})
			assert.Zero(t, status)
			assert.Empty(t, answered, "the response is the backend's alone")
		})
	}
}

func TestObserveDoesNotWaitLong(t *testing.T) {
	release := make(chan struct{})
	authority := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer authority.Close()
	defer close(release)
	handler, err := provision(t, ``, fmt.Sprintf(`{"authority":{"endpoint":%q,"client":{"id":"gw","secret":"s"},"timeout":"1h"},"observe":true}`, authority.URL))
	require.NoError(t, err)
	reached := false
	status, _ := run(t, handler, "GET", http.Header{"Authorization": {"Bearer t"}}, func(*http.Request) { reached = true })
	assert.Zero(t, status)
	assert.True(t, reached)
}

// RFC 6750 section 2.3, RFC 9111 section 3.5: shared caches know of a token in Authorization, and of no other.
func TestResponsesToTokensThatCachesDoNotKnowArePrivate(t *testing.T) {
	g := newGateway(t, `{"active":true}`, `,"token_from":[{"in":"header"},{"in":"header","name":"x-api-token"},{"in":"query","name":"access_token"},{"in":"cookie","name":"session"}]`)
	for name, test := range map[string]struct {
		query    string
		header   http.Header
		backend  []string
		expected []string
	}{
		"A13 query":              {"?access_token=t", nil, nil, []string{"private"}},
		"J14 cookie":             {"", http.Header{"Cookie": {"session=t"}}, []string{"max-age=60"}, []string{"max-age=60, private"}},
		"J14 another header":     {"", http.Header{"X-Api-Token": {"t"}}, []string{"public, max-age=60"}, []string{"max-age=60, private"}},
		"A13 public goes":        {"?access_token=t", nil, []string{"public, max-age=60", "s-maxage=600"}, []string{"max-age=60, private"}},
		"private stays":          {"?access_token=t", nil, []string{"Private, max-age=60"}, []string{"Private, max-age=60"}},
		"private for some field": {"?access_token=t", nil, []string{`private="x"`}, []string{`private="x", private`}},
		"no-store stays":         {"?access_token=t", nil, []string{"no-store"}, []string{"no-store"}},
		"header":                 {"", http.Header{"Authorization": {"Bearer t"}}, []string{"public"}, []string{"public"}},
	} {
		for how, write := range map[string]func(http.ResponseWriter) error{
			"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(200); return nil },
			"Write":       func(w http.ResponseWriter) error { _, err := w.Write([]byte("x")); return err },
			"Flush":       func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
			"ReadFrom":    func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("x")); return err },
		} {
			t.Run(name+" by "+how, func(t *testing.T) {
				r := httptest.NewRequest("GET", "/"+test.query, nil)
				maps.Copy(r.Header, test.header)
				w := httptest.NewRecorder()
				err := g.ServeHTTP(w, prepare(r, w), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
					assert.Empty(t, r.URL.RawQuery, "A14")
					assert.Empty(t, r.Header["Cookie"])
					original := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
					assert.Empty(t, original.URL.RawQuery, "A14: nor where FastCGI and error routes look")
					w.Header()["Cache-Control"] = test.backend
					return write(w)
				}))
				require.NoError(t, err)
				assert.Equal(t, test.expected, w.Result().Header["Cache-Control"])
			})
		}
	}
}

func TestAFormThatIsTooLarge(t *testing.T) {
	g := newGateway(t, `{"active":true}`, `,"token_from":[{"in":"form","name":"access_token"}]`)
	r := httptest.NewRequest("POST", "/", strings.NewReader("access_token=t&x="+strings.Repeat("x", 1<<20)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	err := g.ServeHTTP(w, prepare(r, w), nil)
	var handlerError caddyhttp.HandlerError
	require.ErrorAs(t, err, &handlerError)
	assert.Equal(t, 413, handlerError.StatusCode)
	assert.Zero(t, g.calls.Load())
}

func TestPassToken(t *testing.T) {
	for options, passes := range map[string]bool{``: false, `,"pass_token":true`: true} {
		g := newGateway(t, `{"active":true}`, options)
		status, _ := run(t, g.Handler, "GET", http.Header{"Authorization": {"Bearer t"}}, func(r *http.Request) {
			_, has := r.Header["Authorization"]
			assert.Equal(t, passes, has, "J13")
		})
		assert.Zero(t, status)
	}
}

func TestAClientThatHangsUpIsNobodysFault(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	authority := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	}))
	defer authority.Close()
	defer close(release)
	handler, err := provision(t, ``, fmt.Sprintf(`{"authority":{"endpoint":%q,"client":{"id":"gw","secret":"s"}}}`, authority.URL))
	require.NoError(t, err)
	ctx, hangUp := context.WithCancel(t.Context())
	r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer t")
	w := httptest.NewRecorder()
	go func() {
		<-entered
		hangUp()
	}()
	err = handler.ServeHTTP(w, prepare(r, w), nil)
	var handlerError caddyhttp.HandlerError
	require.ErrorAs(t, err, &handlerError)
	assert.Equal(t, 499, handlerError.StatusCode)
	assert.Empty(t, w.Header().Get("WWW-Authenticate"))
}

// BenchmarkHandler compares a request that passes the handler with one that does not. Both include what Caddy's server
// does to every request before the first handler; a new token includes the call to an authority in the same process.
func BenchmarkHandler(b *testing.B) {
	g := newGateway(b, fmt.Sprintf(`{"active":true,"username":"alice","sub":"4711","client_id":"app","scope":"orders:read orders:write","iss":"https://as.example.com","aud":"https://api.example.com","exp":%d,"groups":["a","b"]}`,
		time.Now().Add(time.Hour).Unix()), `,"scope":["orders:read"],"audience":["https://api.example.com"]`)
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	for _, run := range []struct {
		name  string
		serve func(http.ResponseWriter, *http.Request) error
	}{
		{"bare", next.ServeHTTP},
		{"remembered", func(w http.ResponseWriter, r *http.Request) error { return g.ServeHTTP(w, r, next) }},
		{"new", func(w http.ResponseWriter, r *http.Request) error {
			r.Header["Authorization"] = []string{"Bearer " + rand.Text()}
			return g.ServeHTTP(w, r, next)
		}},
	} {
		b.Run(run.name, func(b *testing.B) {
			w := httptest.NewRecorder()
			headers := map[string]string{
				"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "benchmark", "X-Request-Id": "4711",
				"Authorization": "Bearer pat_000000000000000000000000000000000000000000",
			}
			b.ReportAllocs()
			for b.Loop() {
				r := &http.Request{Method: "GET", URL: benchURL, Host: "localhost", Header: make(http.Header, 16)}
				for name, value := range headers {
					r.Header[name] = []string{value}
				}
				if err := run.serve(w, prepare(r, w)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCrowd has 64 requests come at once with a token that nobody has asked about yet, at an authority that takes 50 ms,
// and reports what the slowest of them has waited for.
func BenchmarkCrowd(b *testing.B) {
	const size, delay = 64, 50 * time.Millisecond
	var calls atomic.Int64
	authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		<-time.After(delay)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":true,"username":"alice"}`)
	}))
	b.Cleanup(authority.Close)
	handler, err := provision(b, ``, fmt.Sprintf(`{"authority":{"endpoint":%q,"client":{"id":"gw","secret":"s"}}}`, authority.URL))
	require.NoError(b, err)
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

	var slowest []float64
	for b.Loop() {
		token := "Bearer " + rand.Text()
		waited := make([]time.Duration, size)
		var group sync.WaitGroup
		for i := range size {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/orders", nil)
			r.Header.Set("Authorization", token)
			r = prepare(r, w)
			group.Go(func() {
				began := time.Now()
				assert.NoError(b, handler.ServeHTTP(w, r, next))
				waited[i] = time.Since(began)
			})
		}
		group.Wait()
		slowest = append(slowest, slices.Max(waited).Seconds()*1000)
	}
	require.EqualValues(b, len(slowest), calls.Load(), "one call for each crowd")
	slices.Sort(slowest)
	b.ReportMetric(slowest[len(slowest)/2], "slowest-ms")
	b.ReportMetric(slowest[len(slowest)-1], "worst-ms")
}

var benchURL = httptest.NewRequest("GET", "http://localhost/orders", nil).URL
