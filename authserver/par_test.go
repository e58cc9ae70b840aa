package authserver_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// pushing is an authorization request of the client web as the form that pushes it, with some parameters changed.
func pushing(pairs ...string) url.Values {
	_, query, _ := strings.Cut(authorization(pairs...), "?")
	form, _ := url.ParseQuery(query)
	return form
}

// push pushes a request of the client web, and returns its name.
func (f *fixture) push(t *testing.T, form url.Values) string {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/par", user: "web", password: "web-secret", form: form})
	require.Equal(t, 201, response.StatusCode, members)
	return members["request_uri"].(string)
}

// pushed is the address at which the user opens a request that was pushed.
func pushed(requestURI string, pairs ...string) string {
	values := url.Values{"client_id": {"web"}, "request_uri": {requestURI}}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return issuer + "/oauth2/authorize?" + values.Encode()
}

func TestN07PushingARequest(t *testing.T) {
	f := newResourceServer(t)
	response, members := f.do(t, request{path: "/oauth2/par", user: "web", password: "web-secret", form: pushing("response_mode", "form_post")})
	require.Equal(t, 201, response.StatusCode, members)
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	assert.Regexp(t, `^urn:ietf:params:oauth:request_uri:[A-Za-z0-9_-]{43}$`, members["request_uri"], "Q01")
	assert.Equal(t, 90.0, members["expires_in"])
	assert.NotEqual(t, members["request_uri"], f.push(t, pushing()))

	b := f.browser()
	form := resources(pushing(), apiResource, ownResource)
	login := b.open(t, pushed(f.push(t, form)))
	require.Contains(t, login.body, "Sign in")
	assert.NotContains(t, login.body, url.QueryEscape(callback), "the request stays with the server")
	assert.Equal(t, 403, b.submit(t, login, "username", "alice", "password", "wrong").StatusCode)
	consent := b.submit(t, login, "username", "alice", "password", password)
	require.Contains(t, consent.body, "Allow")
	answer := b.submit(t, consent, "decision", "allow").response(t)
	assert.Equal(t, "xyz", answer.Get("state"))
	status, tokens := f.asWeb(t, exchange(answer.Get("code")))
	require.Equal(t, 200, status, tokens)
	assert.Equal(t, "read write", tokens["scope"])
	assert.Equal(t, []any{apiResource, ownResource}, f.audience(t, "api", "api-secret", tokens["access_token"].(string)))

	_, metadata := f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.Equal(t, issuer+"/oauth2/par", metadata["pushed_authorization_request_endpoint"], "K06")
}

func TestN06PushedRequestsThatAreRefused(t *testing.T) {
	f := newResourceServer(t)
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("web:web-secret"))}}
	as := func(id, secret string, form url.Values) request {
		return request{user: id, password: secret, form: form}
	}
	for name, test := range map[string]struct {
		request request
		status  int
		code    string
	}{
		"GET":                                {request{method: "GET", header: basic}, 405, "invalid_request"},
		"JSON":                               {request{header: http.Header{"Authorization": basic["Authorization"], "Content-Type": {"application/json"}}, body: "{}"}, 400, "invalid_request"},
		"parameters in the URL":              {request{header: basic, query: "?" + pushing().Encode(), form: url.Values{}}, 400, "invalid_request"},
		"no client authentication":           {request{form: pushing()}, 401, "invalid_client"},
		"a wrong secret":                     {as("web", "guess", pushing()), 401, "invalid_client"},
		"another client's id":                {as("web", "web-secret", pushing("client_id", "other")), 400, "invalid_request"},
		"D10 two authentications":            {as("web", "web-secret", pushing("client_secret", "web-secret")), 400, "invalid_request"},
		"a client without the grant":         {as("robot", "robot-secret", pushing("client_id", "robot")), 400, "invalid_request"},
		"request_uri":                        {as("web", "web-secret", pushing("request_uri", "urn:ietf:params:oauth:request_uri:x")), 400, "invalid_request"},
		"request":                            {as("web", "web-secret", pushing("request", "e30.e30.")), 400, "request_not_supported"},
		"a redirect URI of nobody's":         {as("web", "web-secret", pushing("redirect_uri", "https://evil.example/cb")), 400, "invalid_request"},
		"A04 a repeated parameter":           {as("web", "web-secret", url.Values{"scope": {"read", "write"}}), 400, "invalid_request"},
		"C01 no challenge":                   {as("web", "web-secret", pushing("code_challenge", "")), 400, "invalid_request"},
		"A11 a token":                        {as("web", "web-secret", pushing("response_type", "token")), 400, "unsupported_response_type"},
		"A15 a scope that it may not have":   {as("web", "web-secret", pushing("scope", "root")), 400, "invalid_scope"},
		"N02 a resource that it may not ask": {as("web", "web-secret", resources(pushing(), "https://c.example.com")), 400, "invalid_target"},
		"A19 a parameter that is too long":   {as("web", "web-secret", pushing("state", strings.Repeat("x", 5<<10))), 400, "invalid_request"},
		"A19 too much":                       {as("web", "web-secret", resources(pushing(), strings.Split(strings.Repeat(apiResource+" ", 900), " ")...)), 413, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.path = "/oauth2/par"
			response, members := f.do(t, test.request)
			assert.Equal(t, test.status, response.StatusCode, members)
			assert.Equal(t, test.code, members["error"])
			assert.Empty(t, response.Header.Get("Location"), "the client is told here")
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		})
	}
}

func TestN08APushedRequestIsForItsClientOnceAndShortly(t *testing.T) {
	f := newUserServer(t)
	refused := func(t *testing.T, address string) {
		t.Helper()
		got := f.browser().open(t, address)
		assert.Equal(t, 400, got.StatusCode, got.body)
		assert.Empty(t, got.Header.Get("Location"))
		assert.NotContains(t, got.body, "Sign in")
	}
	t.Run("attack: another client opens it", func(t *testing.T) {
		name := f.push(t, pushing())
		refused(t, pushed(name, "client_id", "other"))
		refused(t, issuer+"/oauth2/authorize?request_uri="+url.QueryEscape(name))
		refused(t, pushed(name)+"&client_id=web")
		refused(t, pushed(name)+"&request_uri="+url.QueryEscape(f.push(t, pushing())))
		assert.Contains(t, f.browser().open(t, pushed(name)).body, "Sign in", "none of this has used it up")
	})
	t.Run("attack: it is guessed", func(t *testing.T) {
		name := f.push(t, pushing())
		refused(t, pushed(name[:len(name)-1]))
		refused(t, pushed(name+"A"))
		refused(t, pushed("urn:ietf:params:oauth:request_uri:"))
	})
	t.Run("a second use, after each way to end the first", func(t *testing.T) {
		for _, decision := range []string{"allow", "deny"} {
			name, b := f.push(t, pushing("prompt", "consent")), f.browser()
			consent := b.submit(t, b.open(t, pushed(name)), "username", "alice", "password", password)
			refused(t, pushed(name))
			b.submit(t, consent, "decision", decision).response(t)
			refused(t, pushed(name))
		}
		name := f.push(t, pushing("prompt", "none"))
		assert.Equal(t, "login_required", f.browser().open(t, pushed(name)).response(t).Get("error"))
		refused(t, pushed(name))
	})
	t.Run("N09 attack: what stands beside it on the way through the browser", func(t *testing.T) {
		b := f.browser()
		name := f.push(t, pushing("scope", "read", "prompt", "consent"))
		address := pushed(name, "scope", "read write admin", "redirect_uri", "https://evil.example/cb", "state", "evil",
			"code_challenge", strings.Repeat("A", 43), "prompt", "none", "response_mode", "form_post", "resource", apiResource)
		consent := b.submit(t, b.open(t, address), "username", "alice", "password", password)
		got := b.submit(t, consent, "decision", "allow")
		assert.True(t, strings.HasPrefix(got.Header.Get("Location"), callback+"?"))
		answer := got.response(t)
		assert.Equal(t, "xyz", answer.Get("state"))
		status, tokens := f.asWeb(t, exchange(answer.Get("code")))
		require.Equal(t, 200, status, tokens)
		assert.Equal(t, "read", tokens["scope"])
	})
	t.Run("its time", func(t *testing.T) {
		first, second, b := f.push(t, pushing("prompt", "consent")), f.push(t, pushing()), f.browser()
		f.nanos.Add(int64(90*time.Second) - 1)
		login := b.open(t, pushed(first))
		require.Contains(t, login.body, "Sign in")
		f.nanos.Add(1)
		refused(t, pushed(second))
		f.nanos.Add(int64(9 * time.Minute))
		assert.Contains(t, b.submit(t, login, "username", "alice", "password", password).body, "Allow", "who opened it in time may sign in")
		third, c := f.push(t, pushing()), f.browser()
		login = c.open(t, pushed(third))
		f.nanos.Add(int64(12 * time.Minute))
		assert.Equal(t, 400, c.submit(t, login, "username", "alice", "password", password).StatusCode)
	})
	t.Run("what it says is judged again", func(t *testing.T) {
		name, config := f.push(t, pushing()), userConfig(t)
		config.Clients[0].RedirectURIs = []string{"https://new.example.com/cb"}
		f.configure(t, config)
		refused(t, pushed(name))
		f.configure(t, userConfig(t))
	})
	t.Run("POST", func(t *testing.T) {
		b := f.browser()
		_, query, _ := strings.Cut(pushed(f.push(t, pushing())), "?")
		form, _ := url.ParseQuery(query)
		got := b.send(t, http.MethodPost, issuer+"/oauth2/authorize", form)
		assert.Contains(t, b.open(t, got.Header.Get("Location")).body, "Sign in", "A01")
	})
}

// What the store keeps under a secret name is of one of three kinds. Nothing is taken for another.
func TestAttackAHandleOfOneKindIsUsedAsAnother(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	consent := b.consentPage(t)
	action, _ := consent.fill(t)
	address, err := url.Parse(action)
	require.NoError(t, err)
	waiting := address.Query().Get("request")
	code := b.code(t)
	name := f.push(t, pushing())

	for _, handle := range []string{waiting, code, "urn:ietf:params:oauth:request_uri:" + waiting, "urn:ietf:params:oauth:request_uri:" + code} {
		assert.NotContains(t, f.browser().open(t, pushed(handle)).body, "Sign in", "as a request that was pushed")
	}
	for _, handle := range []string{code, name} {
		assert.Equal(t, 400, b.open(t, issuer+"/oauth2/consent?request="+url.QueryEscape(handle)).StatusCode, "as one that waits for consent")
	}
	for _, handle := range []string{waiting, name} {
		status, members := f.asWeb(t, exchange(handle))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"], "as a code")
	}
	assert.NotEmpty(t, b.submit(t, consent, "decision", "allow").response(t).Get("code"), "none of this has used anything up")
}

func TestN08RaceForAPushedRequest(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	b.consentPage(t)
	response, members := f.do(t, request{path: "/oauth2/par", user: "own", password: "own-secret", form: pushing("client_id", "own", "redirect_uri", "https://own.example.com/cb", "scope", "read")})
	require.Equal(t, 201, response.StatusCode, members)
	address := pushed(members["request_uri"].(string), "client_id", "own")

	var winners, losers sync.Map
	var race sync.WaitGroup
	start := make(chan struct{})
	for i := range 30 {
		racer := &browser{fixture: f, cookies: b.cookies, address: b.address}
		race.Go(func() {
			<-start
			got := racer.send(t, http.MethodGet, address, nil)
			if got.StatusCode == http.StatusSeeOther {
				winners.Store(i, got.Header.Get("Location"))
			} else {
				losers.Store(i, got.StatusCode)
			}
		})
	}
	close(start)
	race.Wait()
	codes := 0
	winners.Range(func(_, location any) bool {
		assert.Contains(t, location, "https://own.example.com/cb?code=pac_")
		codes++
		return true
	})
	assert.Equal(t, 1, codes, "one request, one code")
	losers.Range(func(_, status any) bool { return assert.Equal(t, 400, status) })
}

func TestPublicClientsPushSoMuchAndNoMore(t *testing.T) {
	f, config := newUserServer(t), userConfig(t)
	config.Clients = append(config.Clients, authserver.Client{ID: "app", Auth: authserver.AuthNone, Grants: []string{authserver.GrantAuthorizationCode}, RedirectURIs: []string{callback}, Scopes: []string{"read", "write"}})
	var address string
	config.ClientAddress = func(*http.Request) string { return address }
	f.configure(t, config)
	push := func(from string) (int, http.Header) {
		address = from
		response, _ := f.do(t, request{path: "/oauth2/par", form: pushing("client_id", "app")})
		return response.StatusCode, response.Header
	}
	for i := range 60 {
		status, _ := push("2001:db8::" + strconv.Itoa(i))
		require.Equal(t, 201, status)
	}
	status, header := push("2001:db8::ffff")
	assert.Equal(t, 429, status, "attack: the store is filled by somebody who needs no secret, from a /64")
	assert.Equal(t, "1", header.Get("Retry-After"))
	status, _ = push("2001:db8:0:1::1")
	assert.Equal(t, 201, status, "somebody elsewhere is not held up")
	f.push(t, pushing())
	f.nanos.Add(int64(time.Second))
	status, _ = push("2001:db8::1")
	assert.Equal(t, 201, status)
}

func TestN06PushingWithAnAssertion(t *testing.T) {
	f, config := newUserServer(t), userConfig(t)
	config.Clients = append(config.Clients, authserver.Client{ID: "holder", Keys: keySet(t, publicKey(clientKey, "k1")), Grants: []string{authserver.GrantAuthorizationCode}, RedirectURIs: []string{callback}, Scopes: []string{"read", "write"}})
	f.configure(t, config)
	push := func(audience, id string) int {
		form := pushing("client_id", "holder", "client_assertion_type", assertionType, "client_assertion", f.byKey(t, object{"aud": audience, "jti": id}))
		response, _ := f.do(t, request{path: "/oauth2/par", form: form})
		return response.StatusCode
	}
	for i, audience := range []string{issuer, issuer + "/oauth2/token", issuer + "/oauth2/par"} {
		assert.Equal(t, 201, push(audience, strconv.Itoa(i)), audience)
		assert.Equal(t, 401, push(audience, strconv.Itoa(i)), "H04 it is of use once")
	}
	assert.Equal(t, 401, push(issuer+"/oauth2/revoke", "x"), "H03")
}
