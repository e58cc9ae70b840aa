package authserver_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/filestore"
)

const (
	callback  = "https://web.example.com/cb"
	password  = "correct horse battery"
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func userConfig(t *testing.T) authserver.Config {
	t.Helper()
	grants := []string{authserver.GrantAuthorizationCode, authserver.GrantRefreshToken}
	return authserver.Config{
		Issuer: issuer,
		Clients: []authserver.Client{
			{ID: "web", Name: "The <Web> App", Secret: secret(t, "web-secret"), Grants: grants, RedirectURIs: []string{callback}, Scopes: []string{"read", "write", "admin"}, DefaultScopes: []string{"read"}},
			{ID: "other", Secret: secret(t, "other-secret"), Grants: grants, RedirectURIs: []string{"https://other.example.com/cb?x=a%20b", "com.example.app:/cb", "http://127.0.0.1/cb"}, Scopes: []string{"read"}},
			{ID: "own", Secret: secret(t, "own-secret"), Grants: grants[:1], RedirectURIs: []string{"https://own.example.com/cb"}, Scopes: []string{"read"}, Trusted: true},
			{ID: "rs", Secret: secret(t, "rs-secret"), MayIntrospect: true},
			{ID: "robot", Secret: secret(t, "robot-secret"), Grants: []string{authserver.GrantClientCredentials}},
		},
		Users: []authserver.User{
			{Name: "alice", Password: secret(t, argon2idOf(t, password)), Claims: map[string][]string{"email": {"alice@example.com"}, "groups": {"a", "b"}}},
			{Name: "bob", Password: secret(t, argon2idOf(t, "bobs "+password)), Scopes: []string{"write"}},
		},
		Scopes: map[string]string{"read": "Read your <orders>"},
		Logger: slog.New(slog.DiscardHandler),
	}
}

func newUserServer(t *testing.T) *fixture {
	t.Helper()
	path := filepath.Join(t.TempDir(), "as.db")
	f := &fixture{store: filestore.New(path), path: path}
	t.Cleanup(func() { assert.NoError(t, f.store.Close()) })
	f.nanos.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	f.configure(t, userConfig(t))
	return f
}

// configure makes a server of another configuration, over the same store.
func (f *fixture) configure(t *testing.T, config authserver.Config) {
	t.Helper()
	config.Now = f.now
	var err error
	f.Server, err = authserver.New(config, f.store)
	require.NoError(t, err)
}

// browser keeps cookies.
type browser struct {
	*fixture
	cookies map[string]string
	header  http.Header // further fields of every request
	address string
}

func (f *fixture) browser() *browser {
	return &browser{fixture: f, cookies: make(map[string]string), address: "192.0.2.1:5000"}
}

// page is a response of the server to a browser.
type page struct {
	*http.Response
	body string
}

func (b *browser) send(t *testing.T, method, address string, form url.Values) page {
	t.Helper()
	request := httptest.NewRequest(method, address, strings.NewReader(form.Encode()))
	request.RemoteAddr = b.address
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range b.cookies {
		request.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	maps.Copy(request.Header, b.header)
	handler := b.Endpoint(request.URL.EscapedPath())
	require.NotNil(t, handler, address)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	response := recorder.Result()
	for _, cookie := range response.Cookies() {
		b.cookies[cookie.Name] = cookie.Value
	}
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"), "A18")
	assert.Empty(t, response.Header.Get("Access-Control-Allow-Origin"), "A10")
	assert.NotContains(t, []int{301, 302, 307, 308}, response.StatusCode, "A12")
	return page{response, string(body)}
}

// open follows the server's own redirects.
func (b *browser) open(t *testing.T, address string) page {
	t.Helper()
	got := b.send(t, http.MethodGet, address, nil)
	for strings.HasPrefix(got.Header.Get("Location"), issuer) {
		got = b.send(t, http.MethodGet, got.Header.Get("Location"), nil)
	}
	return got
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="(?:hidden|checkbox)" name="([^"]*)" value="([^"]*)"`)
)

// fill reads the form of a page, and adds what a user writes into it.
func (p page) fill(t *testing.T, pairs ...string) (action string, form url.Values) {
	t.Helper()
	match := formAction.FindStringSubmatch(p.body)
	require.NotNil(t, match, p.body)
	form = make(url.Values)
	for _, input := range formInput.FindAllStringSubmatch(p.body, -1) {
		form.Add(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return html.UnescapeString(match[1]), form
}

// submit sends the form of a page, and follows the server's own redirects.
func (b *browser) submit(t *testing.T, p page, pairs ...string) page {
	t.Helper()
	action, form := p.fill(t, pairs...)
	got := b.send(t, http.MethodPost, action, form)
	if strings.HasPrefix(got.Header.Get("Location"), issuer) {
		return b.open(t, got.Header.Get("Location"))
	}
	return got
}

// authorization is the address of an authorization request of the client web, with some parameters changed; one
// without a value is left out.
func authorization(pairs ...string) string {
	values := url.Values{
		"client_id": {"web"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"read write"}, "state": {"xyz"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			values.Del(pairs[i])
		}
	}
	return issuer + "/oauth2/authorize?" + values.Encode()
}

// consentPage signs alice in and opens the consent page of a request, which asks for it unless it has another prompt.
func (b *browser) consentPage(t *testing.T, pairs ...string) page {
	t.Helper()
	got := b.open(t, authorization(append([]string{"prompt", "consent"}, pairs...)...))
	if strings.Contains(got.body, "Sign in") {
		got = b.submit(t, got, "username", "alice", "password", password)
	}
	require.Equal(t, 200, got.StatusCode, got.body)
	require.Contains(t, got.body, "Allow")
	return got
}

// response reads the authorization response out of a redirect.
func (p page) response(t *testing.T) url.Values {
	t.Helper()
	require.Equal(t, http.StatusSeeOther, p.StatusCode, p.body)
	location, err := url.Parse(p.Header.Get("Location"))
	require.NoError(t, err)
	assert.Equal(t, "no-referrer", p.Header.Get("Referrer-Policy"), "A18")
	assert.Equal(t, issuer, location.Query().Get("iss"), "N05")
	return location.Query()
}

// code signs alice in, consents, and returns the code.
func (b *browser) code(t *testing.T, pairs ...string) string {
	t.Helper()
	response := b.submit(t, b.consentPage(t, pairs...), "decision", "allow").response(t)
	require.NotEmpty(t, response.Get("code"), response)
	return response.Get("code")
}

func exchange(code string, pairs ...string) url.Values {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

func (f *fixture) asWeb(t *testing.T, form url.Values) (int, map[string]any) {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/token", user: "web", password: "web-secret", form: form})
	return response.StatusCode, members
}

func (f *fixture) asOther(t *testing.T, form url.Values) (int, map[string]any) {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/token", user: "other", password: "other-secret", form: form})
	return response.StatusCode, members
}

// tokens are those of a whole flow.
func (b *browser) tokens(t *testing.T, pairs ...string) (access, refresh string) {
	t.Helper()
	status, members := b.asWeb(t, exchange(b.code(t, pairs...)))
	require.Equal(t, 200, status, members)
	return members["access_token"].(string), members["refresh_token"].(string)
}

func (f *fixture) active(t *testing.T, token string) bool {
	t.Helper()
	return f.introspection(t, token)["active"].(bool)
}

func TestTheAuthorizationCodeFlow(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()

	login := b.open(t, authorization("login_hint", `"><script>`))
	assert.Equal(t, 200, login.StatusCode, "A02: no session, so sign in")
	assert.Contains(t, login.body, "The &lt;Web&gt; App")
	assert.Contains(t, login.body, "&#34;&gt;&lt;script&gt;", "A19: a hint is shown as text")
	assertGuarded(t, login)
	before := maps.Clone(b.cookies)
	require.Len(t, before, 1)
	cookie := login.Cookies()[0]
	assert.Equal(t, "__Host-portcullis_session", cookie.Name, "R06")
	assert.True(t, cookie.Secure && cookie.HttpOnly, "R06")
	assert.Equal(t, http.SameSiteLaxMode, cookie.SameSite, "R06")
	assert.Equal(t, "/", cookie.Path, "R06")
	assert.Empty(t, cookie.Domain, "R06")

	consent := b.submit(t, login, "username", "alice", "password", password)
	require.Equal(t, 200, consent.StatusCode, consent.body)
	assertGuarded(t, consent)
	assert.NotEqual(t, before, b.cookies, "R05: the session is another after signing in")
	for _, shown := range []string{"The &lt;Web&gt; App", "web.example.com", "Read your &lt;orders&gt;", "write", "alice"} {
		assert.Contains(t, consent.body, shown, "R10")
	}

	answer := b.submit(t, consent, "decision", "allow")
	response := answer.response(t)
	assert.True(t, strings.HasPrefix(answer.Header.Get("Location"), callback+"?"))
	assert.Equal(t, "xyz", response.Get("state"))
	assert.Regexp(t, `^pac_[A-Za-z0-9_-]{43}$`, response.Get("code"), "Q01 C09")

	status, members := f.asWeb(t, exchange(response.Get("code")))
	require.Equal(t, 200, status, members)
	access, refresh := members["access_token"].(string), members["refresh_token"].(string)
	assert.Regexp(t, `^prt_[A-Za-z0-9_-]{43}$`, refresh)
	assert.Equal(t, map[string]any{
		"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 900.0, "scope": "read write",
	}, members)
	assert.Equal(t, map[string]any{
		"active": true, "iss": issuer, "client_id": "web", "sub": "alice", "username": "alice", "token_type": "Bearer", "scope": "read write",
		"iat": float64(f.now().Unix()), "exp": float64(f.now().Add(15 * time.Minute).Unix()),
		"email": "alice@example.com", "groups": []any{"a", "b"},
		"auth_time": float64(f.now().Unix()), "acr": "urn:portcullis:acr:password",
	}, f.introspection(t, access))
	assert.False(t, f.active(t, refresh), "J06: a refresh token is no access token")

	t.Run("Q02 attack: somebody has a copy of the store", func(t *testing.T) {
		unused := b.code(t)
		copied, err := os.ReadFile(f.path)
		require.NoError(t, err)
		for name, value := range b.cookies {
			assert.NotContains(t, string(copied), value, name)
		}
		for _, value := range []string{unused, response.Get("code"), access, refresh, password} {
			assert.NotContains(t, string(copied), value)
		}
		assert.Contains(t, string(copied), "alice", "it is the file")
	})
	t.Run("the session lasts, so that the next request needs no password", func(t *testing.T) {
		assert.Contains(t, b.open(t, authorization("prompt", "consent")).body, "Allow")
		f.nanos.Add(int64(8 * time.Hour))
		assert.Contains(t, b.open(t, authorization()).body, "Password", "R06: until it expires")
	})
}

// assertGuarded checks what keeps a page from being framed, read or changed by others (R01, R02).
func assertGuarded(t *testing.T, p page) {
	t.Helper()
	assert.Equal(t, "DENY", p.Header.Get("X-Frame-Options"))
	assert.Equal(t, "nosniff", p.Header.Get("X-Content-Type-Options"))
	assert.Equal(t, "same-origin", p.Header.Get("Referrer-Policy"))
	policy := p.Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.Contains(t, policy, "frame-ancestors 'none'")
	assert.NotContains(t, policy, "unsafe")
	assert.NotContains(t, policy, "form-action", "it would stop the redirect to the client")
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(p.body)
	require.NotNil(t, style)
	digest := sha256.Sum256([]byte(style[1]))
	assert.Contains(t, policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'")
	assert.NotRegexp(t, `(src|href)="https?://[^"]*"`, strings.ReplaceAll(p.body, issuer, ""), "R02: nothing from elsewhere")
}

func TestRequestsThatTheUserIsToldOf(t *testing.T) {
	for name, address := range map[string]string{
		"A06 no client":                         authorization("client_id", ""),
		"A06 an unknown client":                 authorization("client_id", "nobody"),
		"A06 a client without the grant":        authorization("client_id", "robot", "redirect_uri", "https://robot.example.com/cb"),
		"A04 two clients":                       authorization() + "&client_id=web",
		"A04 two redirect URIs":                 authorization() + "&redirect_uri=" + url.QueryEscape(callback),
		"A19 a state that is too long":          authorization("state", strings.Repeat("x", 5000)),
		"A19 a request that is too long":        authorization("foo", strings.Repeat("x", 17_000)),
		"A19 a line break":                      authorization("state", "a\r\nLocation: https://evil.example"),
		"broken encoding":                       authorization() + "&x=%zz",
		"B01 another path":                      authorization("redirect_uri", callback+"/"),
		"B01 the path in capitals":              authorization("redirect_uri", "https://web.example.com/CB"),
		"B01 the host in capitals":              authorization("redirect_uri", "https://WEB.example.com/cb"),
		"B01 a query":                           authorization("redirect_uri", callback+"?x=1"),
		"B01 encoded":                           authorization("redirect_uri", "https://web.example.com/%63b"),
		"B01 the default port":                  authorization("redirect_uri", "https://web.example.com:443/cb"),
		"B01 dot segments":                      authorization("redirect_uri", "https://web.example.com/x/../cb"),
		"B01 another host":                      authorization("redirect_uri", "https://web.example.com.evil.example/cb"),
		"B01 user information":                  authorization("redirect_uri", "https://web.example.com@evil.example/cb"),
		"B05 a fragment":                        authorization("redirect_uri", callback+"#x"),
		"B06 http":                              authorization("redirect_uri", "http://web.example.com/cb"),
		"B08 none, of several":                  authorization("client_id", "other", "redirect_uri", ""),
		"B08 none, in an OpenID request":        authorization("redirect_uri", "", "scope", "openid"),
		"B02 another path on loopback":          authorization("client_id", "other", "redirect_uri", "http://127.0.0.1:5000/cbx"),
		"B02 https on loopback":                 authorization("client_id", "other", "redirect_uri", "https://127.0.0.1/cb"),
		"B03 another name for loopback":         authorization("client_id", "other", "redirect_uri", "http://localhost/cb"),
		"B03 another address for loopback":      authorization("client_id", "other", "redirect_uri", "http://[::1]/cb"),
		"B04 a lookalike host":                  authorization("client_id", "other", "redirect_uri", "http://127.0.0.1.evil.com/cb"),
		"B04 a lookalike user":                  authorization("client_id", "other", "redirect_uri", "http://127.0.0.1@evil.com/cb"),
		"B04 a lookalike port":                  authorization("client_id", "other", "redirect_uri", "http://127.0.0.1:80@evil.com/cb"),
		"B04 a short address":                   authorization("client_id", "other", "redirect_uri", "http://127.1/cb"),
		"B04 a number":                          authorization("client_id", "other", "redirect_uri", "http://0x7f000001/cb"),
		"B04 a mapped address":                  authorization("client_id", "other", "redirect_uri", "http://[::ffff:127.0.0.1]/cb"),
		"B04 a port that is none":               authorization("client_id", "other", "redirect_uri", "http://127.0.0.1:70000/cb"),
		"B04 an empty port":                     authorization("client_id", "other", "redirect_uri", "http://127.0.0.1:/cb"),
		"B07 another app":                       authorization("client_id", "other", "redirect_uri", "com.example.evil:/cb"),
		"R16 a script for a client":             authorization("client_id", "<script>alert(1)</script>"),
		"A06 the redirect of another client":    authorization("redirect_uri", "com.example.app:/cb"),
		"A06 a bad redirect beside a bad scope": authorization("redirect_uri", "https://evil.example/", "scope", "nonsense"),
	} {
		t.Run(name, func(t *testing.T) {
			got := newUserServer(t).browser().send(t, http.MethodGet, address, nil)
			assert.GreaterOrEqual(t, got.StatusCode, 400)
			assert.Less(t, got.StatusCode, 500)
			assert.Empty(t, got.Header.Get("Location"), "A06: nobody is sent to where an attacker says")
			assert.Contains(t, got.Header.Get("Content-Type"), "text/html")
			assert.NotContains(t, got.body, "evil")
			assert.NotContains(t, got.body, "<script>")
			assertGuarded(t, got)
		})
	}
}

func TestRequestsThatTheClientIsToldOf(t *testing.T) {
	for name, test := range map[string]struct{ address, code string }{
		"A07 no response type":               {authorization("response_type", ""), "invalid_request"},
		"A11 the implicit grant":             {authorization("response_type", "token"), "unsupported_response_type"},
		"A11 a hybrid":                       {authorization("response_type", "code token"), "unsupported_response_type"},
		"A07 an unknown response type":       {authorization("response_type", "Code"), "unsupported_response_type"},
		"A04 two scopes":                     {authorization() + "&scope=read", "invalid_request"},
		"A04 an empty second one":            {authorization() + "&code_challenge=", "invalid_request"},
		"A15 a scope that it may not have":   {authorization("scope", "read root"), "invalid_scope"},
		"A15 a scope in capitals":            {authorization("scope", "Read"), "invalid_scope"},
		"A16 an unknown response mode":       {authorization("response_mode", "fragment"), "invalid_request"},
		"A17 a request object":               {authorization("request", "e30."), "request_not_supported"},
		"A17 a reference to one":             {authorization("request_uri", "https://evil.example/"), "request_uri_not_supported"},
		"C01 no challenge":                   {authorization("code_challenge", ""), "invalid_request"},
		"C01 neither challenge nor method":   {authorization("code_challenge", "", "code_challenge_method", ""), "invalid_request"},
		"C02 plain":                          {authorization("code_challenge_method", "plain"), "invalid_request"},
		"C02 a method in small letters":      {authorization("code_challenge_method", "s256"), "invalid_request"},
		"C03 no method":                      {authorization("code_challenge_method", ""), "invalid_request"},
		"C04 a short challenge":              {authorization("code_challenge", challenge[1:]), "invalid_request"},
		"C04 a long challenge":               {authorization("code_challenge", challenge+"x"), "invalid_request"},
		"C04 a padded challenge":             {authorization("code_challenge", challenge[:42]+"="), "invalid_request"},
		"C04 a challenge of another base64":  {authorization("code_challenge", challenge[:42]+"+"), "invalid_request"},
		"N02 a resource nobody configured":   {authorization("resource", "https://api.example.com"), "invalid_target"},
		"N01 two of them":                    {authorization("resource", "https://api.example.com") + "&resource=https://b.example.com", "invalid_target"},
		"P07 prompt none, nobody signed in":  {authorization("prompt", "none"), "login_required"},
		"P08 prompt none with another":       {authorization("prompt", "none login"), "invalid_request"},
		"P08 a prompt that nobody knows":     {authorization("prompt", "create"), "invalid_request"},
		"A08 the same, with the default URI": {authorization("redirect_uri", "", "prompt", "none"), "login_required"},
	} {
		t.Run(name, func(t *testing.T) {
			got := newUserServer(t).browser().send(t, http.MethodGet, test.address, nil)
			response := got.response(t)
			assert.True(t, strings.HasPrefix(got.Header.Get("Location"), callback+"?"))
			assert.Equal(t, test.code, response.Get("error"))
			assert.Equal(t, "xyz", response.Get("state"))
			assert.Regexp(t, `^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`, response.Get("error_description"))
			assert.NotContains(t, response, "code")
		})
	}
}

func TestA08StateComesBackToTheByte(t *testing.T) {
	f := newUserServer(t)
	for _, state := range []string{"x", `a b+%/é"`, "%2525", "<script>&amp;", "=&;#?", "日本", "null"} {
		for _, mode := range []string{"query", "form_post"} {
			got := f.browser().send(t, http.MethodGet, authorization("state", state, "prompt", "none", "response_mode", mode), nil)
			if mode == "query" {
				assert.Equal(t, []string{state}, got.response(t)["state"])
				continue
			}
			action, form := got.fill(t)
			assert.Equal(t, callback, action)
			assert.Equal(t, state, form.Get("state"), "A16")
			assert.Equal(t, "login_required", form.Get("error"))
			assert.Equal(t, issuer, form.Get("iss"))
		}
	}
	for _, address := range []string{authorization("state", ""), authorization("state", "") + "&state="} {
		got := f.browser().send(t, http.MethodGet, address+"&prompt=none", nil)
		assert.NotContains(t, got.response(t), "state", "A05: an empty one is none")
	}
	two := f.browser().send(t, http.MethodGet, authorization()+"&state=abc", nil).response(t)
	assert.Equal(t, "invalid_request", two.Get("error"))
	assert.NotContains(t, two, "state")
}

func TestA16FormPost(t *testing.T) {
	b := newUserServer(t).browser()
	got := b.submit(t, b.consentPage(t, "response_mode", "form_post", "state", `"><script>alert(1)</script>`), "decision", "allow")
	require.Equal(t, 200, got.StatusCode)
	assertGuarded(t, got)
	assert.Equal(t, 1, strings.Count(got.body, "<script>"), "A16: a state is text")
	script := regexp.MustCompile(`<script>(.*?)</script>`).FindStringSubmatch(got.body)
	digest := sha256.Sum256([]byte(script[1]))
	assert.Contains(t, got.Header.Get("Content-Security-Policy"), "script-src 'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'")
	action, form := got.fill(t)
	assert.Equal(t, callback, action)
	status, members := b.asWeb(t, exchange(form.Get("code")))
	assert.Equal(t, 200, status, members)

	_, form = b.send(t, http.MethodGet, authorization("client_id", "other", "redirect_uri", "com.example.app:/cb", "response_mode", "form_post", "scope", "x"), nil).fill(t)
	assert.Equal(t, "invalid_scope", form.Get("error"))
}

func TestWaysToAsk(t *testing.T) {
	f := newUserServer(t)
	t.Run("A01 by POST", func(t *testing.T) {
		b := f.browser()
		address, query, _ := strings.Cut(authorization(), "?")
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		got := b.send(t, http.MethodPost, address, values)
		assert.Contains(t, b.open(t, got.Header.Get("Location")).body, "Password")
	})
	t.Run("A04 attack: the query says one thing and the body another", func(t *testing.T) {
		b := f.browser()
		got := b.send(t, http.MethodPost, authorization(), url.Values{"redirect_uri": {"https://evil.example/"}})
		got = b.open(t, got.Header.Get("Location"))
		assert.Equal(t, 400, got.StatusCode)
	})
	t.Run("A01 not by another method", func(t *testing.T) {
		for _, method := range []string{"HEAD", "PUT", "OPTIONS"} {
			got := f.browser().send(t, method, authorization(), nil)
			assert.Equal(t, 405, got.StatusCode, "A10: a preflight is not approved")
			assert.Equal(t, "GET, POST", got.Header.Get("Allow"))
		}
	})
	t.Run("A03 with unknown parameters", func(t *testing.T) {
		assert.Contains(t, f.browser().open(t, authorization()+"&foo=1&foo=2").body, "Password")
	})
	t.Run("A09 with a redirect URI that has a query", func(t *testing.T) {
		got := f.browser().send(t, http.MethodGet, authorization("client_id", "other", "redirect_uri", "https://other.example.com/cb?x=a%20b", "scope", "x"), nil)
		assert.True(t, strings.HasPrefix(got.Header.Get("Location"), "https://other.example.com/cb?x=a%20b&error="))
	})
	for name, uri := range map[string]string{
		"B02 with another port":  "http://127.0.0.1:51234/cb",
		"B02 without a port":     "http://127.0.0.1/cb",
		"B07 with an app's link": "com.example.app:/cb",
	} {
		t.Run(name, func(t *testing.T) {
			got := f.browser().send(t, http.MethodGet, authorization("client_id", "other", "redirect_uri", uri, "scope", "x"), nil)
			assert.True(t, strings.HasPrefix(got.Header.Get("Location"), uri+"?error=invalid_scope"), got.Header.Get("Location"))
		})
	}
	t.Run("the login page, loaded again", func(t *testing.T) {
		b := f.browser()
		action, _ := b.open(t, authorization()).fill(t)
		assert.Contains(t, b.open(t, action).body, "Password")
	})
}

func TestPrompts(t *testing.T) {
	b := newUserServer(t).browser()
	b.consentPage(t)
	assert.Equal(t, "consent_required", b.send(t, http.MethodGet, authorization("prompt", "none"), nil).response(t).Get("error"), "P07")
	for _, prompt := range []string{"login", "select_account"} {
		login := b.open(t, authorization("prompt", prompt))
		require.Contains(t, login.body, "Password", "P09: although there is a session")
		assert.Contains(t, b.submit(t, login, "username", "alice", "password", password).body, "Allow", "P09: once")
	}

	own := []string{"client_id", "own", "redirect_uri", "https://own.example.com/cb", "scope", "read"}
	t.Run("a trusted client gets its code at once, with prompt none too", func(t *testing.T) {
		for _, prompt := range []string{"", "none"} {
			assert.NotEmpty(t, b.send(t, http.MethodGet, authorization(append(own, "prompt", prompt)...), nil).response(t).Get("code"))
		}
	})
	t.Run("P09 unless it asks for consent", func(t *testing.T) {
		assert.Contains(t, b.open(t, authorization(append(own, "prompt", "consent")...)).body, "Allow")
	})
	t.Run("F10 and no refresh token without the grant", func(t *testing.T) {
		code := b.send(t, http.MethodGet, authorization(own...), nil).response(t).Get("code")
		response, members := b.do(t, request{path: "/oauth2/token", user: "own", password: "own-secret", form: exchange(code, "redirect_uri", "https://own.example.com/cb")})
		require.Equal(t, 200, response.StatusCode, members)
		assert.NotContains(t, members, "refresh_token")
	})
	t.Run("another user", func(t *testing.T) {
		link := regexp.MustCompile(`<a href="([^"]*)">Not you\?</a>`).FindStringSubmatch(b.consentPage(t).body)
		require.NotNil(t, link)
		login := b.open(t, html.UnescapeString(link[1]))
		consent := b.submit(t, login, "username", "bob", "password", "bobs "+password)
		assert.Contains(t, consent.body, "bob")
		assert.NotContains(t, consent.body, `value="read"`, "which bob cannot grant")
	})
}

func TestSigningIn(t *testing.T) {
	f := newUserServer(t)
	t.Run("R08 who fails does not learn why", func(t *testing.T) {
		b := f.browser()
		login := b.open(t, authorization())
		var bodies []string
		for _, name := range []string{"alice", "nobody"} {
			got := b.submit(t, login, "username", name, "password", "wrong-password")
			assert.Equal(t, 403, got.StatusCode)
			assertGuarded(t, got)
			assert.NotContains(t, got.body, "wrong-password")
			bodies = append(bodies, strings.ReplaceAll(got.body, name, "NAME"))
		}
		assert.Equal(t, bodies[0], bodies[1])
	})
	t.Run("a second try succeeds", func(t *testing.T) {
		b := f.browser()
		failed := b.submit(t, b.open(t, authorization()), "username", "alice", "password", "wrong")
		assert.Contains(t, b.submit(t, failed, "username", "alice", "password", password).body, "Allow")
	})
	t.Run("attack: no name and no password", func(t *testing.T) {
		b := f.browser()
		login := b.open(t, authorization())
		for _, pair := range [][2]string{{"", ""}, {"alice", ""}, {"", password}, {"alice", strings.Repeat("x", 2000)}, {strings.Repeat("x", 2000), "x"}} {
			assert.Equal(t, 403, b.submit(t, login, "username", pair[0], "password", pair[1]).StatusCode)
			f.nanos.Add(int64(time.Minute))
		}
	})
	t.Run("R04 attack: a victim is signed in as the attacker by a form of the attacker's", func(t *testing.T) {
		attacker, victim := f.browser(), f.browser()
		action, form := attacker.open(t, authorization()).fill(t, "username", "bob", "password", "bobs "+password)
		assert.Equal(t, 403, victim.send(t, http.MethodPost, action, form).StatusCode, "with no cookie")
		victim.open(t, authorization())
		got := victim.send(t, http.MethodPost, action, form)
		assert.Equal(t, 403, got.StatusCode, "with a cookie of its own")
		assert.Empty(t, got.Header.Get("Location"))
	})
	t.Run("R03 attack: a form for one request is sent for another", func(t *testing.T) {
		b := f.browser()
		_, form := b.open(t, authorization()).fill(t, "username", "alice", "password", password)
		action, _ := b.open(t, authorization("client_id", "other", "redirect_uri", "com.example.app:/cb", "scope", "read")).fill(t)
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
	})
	t.Run("R05 attack: a session is fixed before the victim signs in", func(t *testing.T) {
		attacker, victim := f.browser(), f.browser()
		login := attacker.open(t, authorization())
		maps.Copy(victim.cookies, attacker.cookies)
		victim.submit(t, login, "username", "alice", "password", password)
		assert.Contains(t, attacker.open(t, authorization()).body, "Password", "the attacker's cookie is nobody's session")
	})
	t.Run("R05 signing in again ends the session before", func(t *testing.T) {
		b := f.browser()
		b.consentPage(t)
		before := maps.Clone(b.cookies)
		b.submit(t, b.open(t, authorization("prompt", "login")), "username", "alice", "password", password)
		b.cookies = before
		assert.Contains(t, b.open(t, authorization()).body, "Password")
	})
	for name, header := range map[string]http.Header{
		"R03 attack: another origin":    {"Origin": {"https://evil.example"}},
		"R03 attack: no origin":         {"Origin": {"null"}},
		"R03 attack: http":              {"Origin": {"http://auth.example.com"}},
		"R03 attack: cross-site":        {"Sec-Fetch-Site": {"cross-site"}},
		"R03 attack: a sibling domain":  {"Sec-Fetch-Site": {"same-site"}},
		"R03 attack: a typed-in origin": {"Origin": {issuer, issuer}},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.browser()
			login, consent := b.open(t, authorization()), f.browser()
			page := consent.consentPage(t)
			b.header, consent.header = header, header
			assert.Equal(t, 403, b.submit(t, login, "username", "alice", "password", password).StatusCode)
			assert.Equal(t, 403, consent.submit(t, page, "decision", "allow").StatusCode)
			consent.header = http.Header{"Origin": {issuer}, "Sec-Fetch-Site": {"same-origin"}}
			assert.NotEmpty(t, consent.submit(t, page, "decision", "allow").response(t).Get("code"), "the refusal has used nothing up")
		})
	}
	t.Run("a session ends with the password that began it, and with its user", func(t *testing.T) {
		b := f.browser()
		b.consentPage(t)
		config := userConfig(t)
		config.Users[0].Password = secret(t, argon2idOf(t, "another"))
		f.configure(t, config)
		assert.Contains(t, b.open(t, authorization()).body, "Password")
		f.configure(t, userConfig(t))
		b.consentPage(t)
		config = userConfig(t)
		config.Users = config.Users[1:]
		f.configure(t, config)
		assert.Contains(t, b.open(t, authorization()).body, "Password")
		f.configure(t, userConfig(t))
	})
}

func TestR09GuessingPasswordsIsSlow(t *testing.T) {
	f := newUserServer(t)
	try := func(b *browser, name, password string) int {
		return b.submit(t, b.open(t, authorization()), "username", name, "password", password).StatusCode
	}
	attacker, alice := f.browser(), f.browser()
	alice.address = "198.51.100.7:1000"
	for range 5 {
		assert.Equal(t, 403, try(attacker, "alice", "guess"))
	}
	got := attacker.submit(t, attacker.open(t, authorization()), "username", "alice", "password", password)
	assert.Equal(t, 429, got.StatusCode, "the right password does not help either")
	assert.Equal(t, "30", got.Header.Get("Retry-After"))
	assert.Equal(t, 200, try(alice, "alice", password), "somebody elsewhere is not locked out")
	assert.Equal(t, 403, try(attacker, "nobody", "guess"))
	f.nanos.Add(int64(30 * time.Second))
	assert.Equal(t, 200, try(attacker, "alice", password), "nobody is locked out for good")

	for name, neighbour := range map[string]string{"[2001:db8::1]:1": "[2001:db8::2]:1", "192.0.2.77:1": "192.0.2.77:2"} {
		one, other := f.browser(), f.browser()
		one.address, other.address = name, neighbour
		for range 5 {
			try(one, "bob", "guess")
		}
		assert.Equal(t, 429, try(other, "bob", "guess"), "another address of the same network, another port")
	}
	spray := f.browser()
	spray.address = "203.0.113.5:1"
	for i := range 50 {
		assert.Equal(t, 403, try(spray, strings.Repeat("x", i+1), "guess"))
	}
	assert.Equal(t, 429, try(spray, "someone", "guess"), "one password for many accounts")
}

func TestConsent(t *testing.T) {
	f := newUserServer(t)
	t.Run("A14 a scope is unticked", func(t *testing.T) {
		b := f.browser()
		response := b.submit(t, b.consentPage(t), "decision", "allow", "scope", "write").response(t)
		status, members := f.asWeb(t, exchange(response.Get("code")))
		require.Equal(t, 200, status)
		assert.Equal(t, "write", members["scope"])
		assert.Equal(t, "write", f.introspection(t, members["access_token"].(string))["scope"])
	})
	for name, pairs := range map[string][]string{
		"denied":                {"decision", "deny"},
		"every scope is denied": {"decision", "allow", "scope", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.browser()
			response := b.submit(t, b.consentPage(t), pairs...).response(t)
			assert.Equal(t, "access_denied", response.Get("error"))
			assert.Equal(t, "xyz", response.Get("state"))
			assert.NotContains(t, response, "code")
		})
	}
	t.Run("R13 attack: more is granted than was asked for, to somebody else", func(t *testing.T) {
		b := f.browser()
		action, form := b.consentPage(t).fill(t, "decision", "allow", "redirect_uri", "https://evil.example/", "client_id", "other", "code_challenge", "x")
		form["scope"] = []string{"read", "admin", "root"}
		got := b.send(t, http.MethodPost, action+"&redirect_uri=https://evil.example/", form)
		assert.True(t, strings.HasPrefix(got.Header.Get("Location"), callback))
		status, members := f.asWeb(t, exchange(got.response(t).Get("code")))
		require.Equal(t, 200, status)
		assert.Equal(t, "read", members["scope"])
	})
	t.Run("R13 the form is sent twice", func(t *testing.T) {
		b := f.browser()
		consent := b.consentPage(t)
		assert.NotEmpty(t, b.submit(t, consent, "decision", "allow").response(t).Get("code"))
		again := b.submit(t, consent, "decision", "allow")
		assert.Equal(t, 400, again.StatusCode)
		assert.Empty(t, again.Header.Get("Location"))
	})
	t.Run("R13 race: the form is sent many times at once, and there is one code", func(t *testing.T) {
		b := f.browser()
		action, form := b.consentPage(t).fill(t, "decision", "allow")
		var codes sync.Map
		var running sync.WaitGroup
		for i := range 20 {
			one := &browser{fixture: f, cookies: maps.Clone(b.cookies), address: b.address}
			running.Go(func() {
				if location := one.send(t, http.MethodPost, action, form).Header.Get("Location"); location != "" {
					codes.Store(i, location)
				}
			})
		}
		running.Wait()
		count := 0
		codes.Range(func(any, any) bool { count++; return true })
		assert.Equal(t, 1, count)
	})
	t.Run("attack: a page of one session is used in another", func(t *testing.T) {
		b, other := f.browser(), f.browser()
		action, form := b.consentPage(t).fill(t, "decision", "allow")
		other.consentPage(t)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			assert.Equal(t, 400, other.send(t, method, action, form).StatusCode)
			assert.Equal(t, 400, f.browser().send(t, method, action, form).StatusCode, "nor in none")
		}
		form.Set("form_token", "")
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
	})
	t.Run("R03 attack: a form for one request is sent for another", func(t *testing.T) {
		b := f.browser()
		_, form := b.consentPage(t, "scope", "read").fill(t, "decision", "allow")
		action, _ := b.consentPage(t, "scope", "admin").fill(t)
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
	})
	t.Run("no decision is none", func(t *testing.T) {
		b := f.browser()
		consent := b.consentPage(t)
		assert.Equal(t, 400, b.submit(t, consent).StatusCode)
		assert.NotEmpty(t, b.submit(t, consent, "decision", "allow").response(t).Get("code"))
	})
	t.Run("a request is forgotten after a while", func(t *testing.T) {
		b := f.browser()
		consent := b.consentPage(t)
		f.nanos.Add(int64(10 * time.Minute))
		assert.Equal(t, 400, b.submit(t, consent, "decision", "allow").StatusCode)
	})
	t.Run("attack: what waits for consent is taken for a code", func(t *testing.T) {
		b := f.browser()
		action, _ := b.consentPage(t).fill(t)
		_, handle, _ := strings.Cut(action, "request=")
		for _, value := range []string{handle, strings.Replace(handle, "par_", "pac_", 1)} {
			status, members := f.asWeb(t, exchange(value))
			assert.Equal(t, 400, status)
			assert.Equal(t, "invalid_grant", members["error"])
		}
		code := b.code(t)
		assert.Equal(t, 400, b.send(t, http.MethodGet, issuer+"/oauth2/consent?request="+code, nil).StatusCode)
	})
	t.Run("a user who can grant nothing of it", func(t *testing.T) {
		b := f.browser()
		got := b.submit(t, b.open(t, authorization("scope", "read")), "username", "bob", "password", "bobs "+password)
		assert.Equal(t, "invalid_scope", got.response(t).Get("error"))
	})
}

func TestExchangingACode(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	for name, change := range map[string][]string{
		"B09 another redirect URI": {"redirect_uri", callback + "/"},
		"C05 another verifier":     {"code_verifier", strings.Repeat("x", 43)},
		"C06 no verifier":          {"code_verifier", ""},
		"C04 a short verifier":     {"code_verifier", verifier[1:]},
		"C04 a long verifier":      {"code_verifier", strings.Repeat("x", 129)},
		"C05 the challenge itself": {"code_verifier", challenge},
	} {
		t.Run(name, func(t *testing.T) {
			code := b.code(t)
			status, members := f.asWeb(t, exchange(code, change...))
			assert.Equal(t, 400, status)
			assert.Equal(t, "invalid_grant", members["error"])
			status, _ = f.asWeb(t, exchange(code))
			assert.Equal(t, 200, status, "E07: the code is not used up")
		})
	}
	t.Run("B09 without a redirect URI", func(t *testing.T) {
		status, members := f.asWeb(t, exchange(b.code(t), "redirect_uri", ""))
		assert.Equal(t, 200, status, members)
	})
	t.Run("B09 with one that the request had not", func(t *testing.T) {
		status, members := f.asWeb(t, exchange(b.code(t, "redirect_uri", "")))
		assert.Equal(t, 200, status, members)
	})
	t.Run("E01 attack: another client has the code and the verifier", func(t *testing.T) {
		code := b.code(t)
		status, members := f.asOther(t, exchange(code))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
		status, _ = f.asWeb(t, exchange(code))
		assert.Equal(t, 200, status)
	})
	t.Run("E05 an old code", func(t *testing.T) {
		code := b.code(t)
		f.nanos.Add(int64(time.Minute))
		status, members := f.asWeb(t, exchange(code))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
	})
	t.Run("no code", func(t *testing.T) {
		_, members := f.asWeb(t, exchange(""))
		assert.Equal(t, "invalid_request", members["error"])
		_, members = f.asWeb(t, exchange("pac_x"))
		assert.Equal(t, "invalid_grant", members["error"])
	})
	t.Run("E03 attack: a code is replayed, and all that came of it ends", func(t *testing.T) {
		code := b.code(t)
		_, first := f.asWeb(t, exchange(code))
		access, refresh := first["access_token"].(string), first["refresh_token"].(string)
		_, rotated := f.asWeb(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
		f.nanos.Add(int64(5 * time.Minute)) // the code has expired since
		status, members := f.asWeb(t, exchange(code))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
		assert.False(t, f.active(t, access))
		assert.False(t, f.active(t, rotated["access_token"].(string)))
		status, _ = f.asWeb(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {rotated["refresh_token"].(string)}})
		assert.Equal(t, 400, status)
	})
	t.Run("E04 attack: who has only the code ends nobody's tokens", func(t *testing.T) {
		code := b.code(t)
		_, first := f.asWeb(t, exchange(code))
		for _, form := range []url.Values{exchange(code, "code_verifier", ""), exchange(code, "code_verifier", strings.Repeat("x", 43))} {
			status, _ := f.asWeb(t, form)
			assert.Equal(t, 400, status)
		}
		f.asOther(t, exchange(code))
		assert.True(t, f.active(t, first["access_token"].(string)))
	})
	t.Run("E02 race: one of fifty gets tokens", func(t *testing.T) {
		code := b.code(t)
		assert.Len(t, f.together(t, 50, exchange(code)), 1)
	})
	t.Run("a user who is gone", func(t *testing.T) {
		code := b.code(t)
		config := userConfig(t)
		config.Users = nil
		f.configure(t, config)
		status, _ := f.asWeb(t, exchange(code))
		assert.Equal(t, 400, status)
		f.configure(t, userConfig(t))
	})
}

// together sends a form many times at once, and returns the responses that succeeded.
func (f *fixture) together(t *testing.T, n int, form url.Values) []map[string]any {
	t.Helper()
	answers := make([]map[string]any, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			status, members := f.asWeb(t, form)
			if status == 200 {
				answers[i] = members
				return
			}
			assert.Equal(t, "invalid_grant", members["error"])
		})
	}
	running.Wait()
	return slices.DeleteFunc(answers, func(one map[string]any) bool { return one == nil })
}

func TestRefreshing(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	with := func(token string, pairs ...string) url.Values {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		return form
	}
	t.Run("F02 a token is exchanged for another", func(t *testing.T) {
		access, refresh := b.tokens(t)
		status, members := f.asWeb(t, with(refresh))
		require.Equal(t, 200, status, members)
		assert.NotEqual(t, refresh, members["refresh_token"])
		assert.NotEqual(t, access, members["access_token"])
		assert.Equal(t, "read write", members["scope"])
		assert.Equal(t, "alice", f.introspection(t, members["access_token"].(string))["username"])
	})
	t.Run("F05 for a narrower one, and the whole again", func(t *testing.T) {
		_, refresh := b.tokens(t)
		_, narrow := f.asWeb(t, with(refresh, "scope", "read"))
		assert.Equal(t, "read", narrow["scope"])
		assert.Equal(t, "read", f.introspection(t, narrow["access_token"].(string))["scope"])
		_, whole := f.asWeb(t, with(narrow["refresh_token"].(string)))
		assert.Equal(t, "read write", whole["scope"])
	})
	for name, test := range map[string]struct {
		pairs []string
		code  string
	}{
		"F05 attack: a wider scope":    {[]string{"scope", "read write admin"}, "invalid_scope"},
		"F05 attack: an unknown scope": {[]string{"scope", "root"}, "invalid_scope"},
		"F06 another resource":         {[]string{"resource", "https://api.example.com"}, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			_, refresh := b.tokens(t)
			_, members := f.asWeb(t, with(refresh, test.pairs...))
			assert.Equal(t, test.code, members["error"])
			status, _ := f.asWeb(t, with(refresh))
			assert.Equal(t, 200, status, "the token is not used up")
		})
	}
	t.Run("F03 attack: a token is stolen, and used after its owner did", func(t *testing.T) {
		_, refresh := b.tokens(t)
		_, second := f.asWeb(t, with(refresh))
		status, members := f.asWeb(t, with(refresh))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
		assert.False(t, f.active(t, second["access_token"].(string)))
		status, _ = f.asWeb(t, with(second["refresh_token"].(string)))
		assert.Equal(t, 400, status)
	})
	t.Run("F01 attack: another client uses it, old or new", func(t *testing.T) {
		access, refresh := b.tokens(t)
		status, _ := f.asOther(t, with(refresh))
		assert.Equal(t, 400, status)
		_, second := f.asWeb(t, with(refresh))
		status, _ = f.asOther(t, with(refresh))
		assert.Equal(t, 400, status)
		assert.True(t, f.active(t, access))
		assert.True(t, f.active(t, second["access_token"].(string)), "and ends nothing")
	})
	t.Run("F04 race: one of twenty gets tokens", func(t *testing.T) {
		_, refresh := b.tokens(t)
		won := f.together(t, 20, with(refresh))
		require.Len(t, won, 1)
		assert.False(t, f.active(t, won[0]["access_token"].(string)), "the others have used it again")
	})
	t.Run("F07 there is an end, which no refreshing moves", func(t *testing.T) {
		_, refresh := b.tokens(t)
		began := f.nanos.Load()
		for range 3 {
			f.nanos.Add(int64(9 * 24 * time.Hour))
			status, members := f.asWeb(t, with(refresh))
			require.Equal(t, 200, status, members)
			refresh = members["refresh_token"].(string)
		}
		f.nanos.Store(began + int64(30*24*time.Hour))
		status, members := f.asWeb(t, with(refresh))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
	})
	t.Run("F11 nobody learns what is wrong with a token", func(t *testing.T) {
		access, refresh := b.tokens(t)
		var answers []map[string]any
		for _, token := range []string{"garbage", "prt_unknown", access, strings.Replace(access, "pat_", "prt_", 1)} {
			_, members := f.asWeb(t, with(token))
			answers = append(answers, members)
		}
		_, foreign := f.asOther(t, with(refresh))
		for _, one := range append(answers, foreign) {
			assert.Equal(t, answers[0], one)
		}
		assert.Equal(t, "invalid_grant", foreign["error"])
		_, members := f.asWeb(t, with(""))
		assert.Equal(t, "invalid_request", members["error"])
	})
	t.Run("I04 I05 a revoked token takes its access tokens with it", func(t *testing.T) {
		access, refresh := b.tokens(t)
		response, _ := f.do(t, request{path: "/oauth2/revoke", user: "web", password: "web-secret", form: url.Values{"token": {refresh}}})
		require.Equal(t, 200, response.StatusCode)
		assert.False(t, f.active(t, access))
		status, _ := f.asWeb(t, with(refresh))
		assert.Equal(t, 400, status)
	})
	t.Run("I08 an old token that is revoked takes those that came of it with it", func(t *testing.T) {
		_, refresh := b.tokens(t)
		_, second := f.asWeb(t, with(refresh))
		response, _ := f.do(t, request{path: "/oauth2/revoke", user: "web", password: "web-secret", form: url.Values{"token": {refresh}}})
		require.Equal(t, 200, response.StatusCode)
		assert.False(t, f.active(t, second["access_token"].(string)))
		status, _ := f.asWeb(t, with(second["refresh_token"].(string)))
		assert.Equal(t, 400, status)
	})
	t.Run("F08 a client that may have less, and a user who is gone", func(t *testing.T) {
		access, refresh := b.tokens(t)
		config := userConfig(t)
		config.Clients[0].Scopes, config.Clients[0].DefaultScopes = []string{"read"}, nil
		f.configure(t, config)
		_, members := f.asWeb(t, with(refresh))
		assert.Equal(t, "read", members["scope"])
		config = userConfig(t)
		config.Users = nil
		f.configure(t, config)
		status, _ := f.asWeb(t, with(members["refresh_token"].(string)))
		assert.Equal(t, 400, status)
		assert.False(t, f.active(t, access), "nor are there tokens of a user who is gone")
		f.configure(t, userConfig(t))
		assert.True(t, f.active(t, access))
	})
}

func TestA13AFaultOfTheStoreIsToldToTheClient(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	b.consentPage(t)
	require.NoError(t, f.store.Close())
	assert.Equal(t, "temporarily_unavailable", b.send(t, http.MethodGet, authorization(), nil).response(t).Get("error"))
	got := b.send(t, http.MethodGet, issuer+"/oauth2/consent?request=par_x", nil)
	assert.Equal(t, 503, got.StatusCode)
	assertGuarded(t, got)
}

func TestR07TheSessionIsTakenOutOfOtherRequests(t *testing.T) {
	f := newUserServer(t)
	const name = "__Host-portcullis_session"
	for _, test := range []struct{ given, left []string }{
		{nil, nil},
		{[]string{"a=b; c=d"}, []string{"a=b; c=d"}},
		{[]string{name + "=x"}, nil},
		{[]string{"a=b; " + name + "=x; c=d"}, []string{"a=b; c=d"}},
		{[]string{name + "=x; c=\"d;\""}, []string{`c="d;"`}},
		{[]string{"a=b", name + "=x", name + "=y;e=f"}, []string{"a=b", "e=f"}},
		{[]string{"a=" + name}, []string{"a=" + name}},
		{[]string{" " + name + " =x;  a=b"}, []string{"a=b"}},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if test.given != nil {
			r.Header["Cookie"] = test.given
		}
		f.WithoutSession(r)
		assert.Equal(t, test.left, r.Header["Cookie"], test.given)
	}
}

func TestUsersAndClientsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*authserver.Config)
		says   string
	}{
		"a user without a name":           {func(c *authserver.Config) { c.Users[0].Name = "" }, "name"},
		"a name with a line break":        {func(c *authserver.Config) { c.Users[0].Name = "a\nb" }, "control"},
		"a password that is no hash":      {func(c *authserver.Config) { c.Users[0].Password = secret(t, "clear") }, "hash"},
		"a user twice":                    {func(c *authserver.Config) { c.Users[1].Name = "alice" }, "twice"},
		"G03 a user with a client's name": {func(c *authserver.Config) { c.Users[0].Name = "web" }, "client"},
		"a claim of the server's":         {func(c *authserver.Config) { c.Users[0].Claims = map[string][]string{"sub": {"x"}} }, "own"},
		"a scope that is none":            {func(c *authserver.Config) { c.Users[0].Scopes = []string{"a b"} }, "scope"},
		"E05 a code that lives long":      {func(c *authserver.Config) { c.CodeTTL = 11 * time.Minute }, "10m"},
		"a session that has no time":      {func(c *authserver.Config) { c.SessionTTL = -1 }, "session_ttl"},
		"B06 http":                        {redirectTo("http://app.example/cb"), "https"},
		"B05 a fragment":                  {redirectTo("https://app.example/cb#"), "fragment"},
		"B07 a scheme without a dot":      {redirectTo("myapp:/cb"), "private-use"},
		"B07 a script":                    {redirectTo("javascript:alert(1)"), "private-use"},
		"B07 data":                        {redirectTo("data:text/html,x"), "private-use"},
		"B07 a backslash":                 {redirectTo(`https://a\@b/`), "backslashes"},
		"B07 user information":            {redirectTo("https://u:p@a.example/"), "user information"},
		"B07 a space":                     {redirectTo("https://a.example/ b"), "spaces"},
		"B05 no host":                     {redirectTo("https:///cb"), "absolute"},
		"B05 a path":                      {redirectTo("/cb"), "private-use"},
		"no redirect URI":                 {func(c *authserver.Config) { c.Clients[0].RedirectURIs = nil }, "redirect_uris"},
		"a redirect URI without a use":    {func(c *authserver.Config) { c.Clients[0].Grants = nil }, "redirect_uris"},
		"a refresh token without a use":   {func(c *authserver.Config) { c.Clients[4].Grants = []string{"refresh_token"} }, "authorization_code"},
		"trusted without a use":           {func(c *authserver.Config) { c.Clients[4].Trusted = true }, "trusted"},
		"R11 trusted on loopback":         {func(c *authserver.Config) { c.Clients[2].RedirectURIs = []string{"http://127.0.0.1/cb"} }, "trusted"},
		"R11 a trusted app":               {func(c *authserver.Config) { c.Clients[1].Trusted = true }, "trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			config := userConfig(t)
			test.change(&config)
			_, err := authserver.New(config, nil)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func redirectTo(uri string) func(*authserver.Config) {
	return func(c *authserver.Config) { c.Clients[0].RedirectURIs = []string{uri} }
}

// Whatever an authorization request says, nobody is sent anywhere but to a redirect URI of the client, and without
// signing in nobody gets a code.
func FuzzAuthorize(f *testing.F) {
	for _, address := range []string{authorization(), authorization("response_mode", "form_post", "prompt", "none"), authorization("state", "%\r\n"), authorization() + "&client_id=x;y", authorization("scope", "openid", "max_age", "0", "acr_values", "x", "nonce", "n")} {
		_, query, _ := strings.Cut(address, "?")
		f.Add(query)
	}
	config := authserver.Config{
		Issuer: issuer,
		Clients: []authserver.Client{{
			ID: "web", Secret: &authserver.Secret{}, Grants: []string{authserver.GrantAuthorizationCode}, RedirectURIs: []string{callback, "http://127.0.0.1/cb"}, Scopes: []string{"read", "write"},
		}},
		Logger: slog.New(slog.DiscardHandler),
	}
	server, err := authserver.New(config, filestore.New(filepath.Join(f.TempDir(), "as.db")))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/oauth2/authorize", nil)
		r.URL.RawQuery = query
		recorder := httptest.NewRecorder()
		server.Endpoint("/oauth2/authorize").ServeHTTP(recorder, r)
		location := recorder.Header().Get("Location")
		if recorder.Code != http.StatusSeeOther {
			assert.Empty(t, location)
			return
		}
		assert.Regexp(t, `^(https://web\.example\.com/cb|http://127\.0\.0\.1(:[0-9]+)?/cb)\?error=[a-z_]+&error_description=[^&]+(&state=[^&]+)?&iss=https%3A%2F%2Fauth\.example\.com$`, location)
		asked, err := url.ParseQuery(query)
		require.NoError(t, err)
		answer, err := url.Parse(location)
		require.NoError(t, err)
		if len(asked["state"]) == 1 {
			assert.Equal(t, asked.Get("state"), answer.Query().Get("state"))
		}
	})
}
