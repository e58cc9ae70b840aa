package authserver_test

import (
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// asks tells whether a request leads to the consent page, rather than to a code.
func (b *browser) asks(t *testing.T, pairs ...string) bool {
	t.Helper()
	got := b.open(t, authorization(pairs...))
	if got.StatusCode == http.StatusOK {
		require.Contains(t, got.body, "Allow", got.body)
		return true
	}
	require.NotEmpty(t, got.response(t).Get("code"), got.Header.Get("Location"))
	return false
}

// consenting is the browser of alice, who has allowed the client web to read and write.
func (f *fixture) consenting(t *testing.T) *browser {
	t.Helper()
	b := f.browser()
	b.code(t)
	return b
}

func TestR12ConsentIsRemembered(t *testing.T) {
	for name, test := range map[string]struct {
		pairs []string
		asks  bool
	}{
		"the same again":                     {nil, false},
		"the same in another order":          {[]string{"scope", "write read"}, false},
		"less":                               {[]string{"scope", "read"}, false},
		"what the client gets by default":    {[]string{"scope", ""}, false},
		"without a page":                     {[]string{"prompt", "none"}, false},
		"more":                               {[]string{"scope", "read write admin"}, true},
		"something else":                     {[]string{"scope", "admin"}, true},
		"P09 a client that wants to be sure": {[]string{"prompt", "consent"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.asks, newUserServer(t).consenting(t).asks(t, test.pairs...))
		})
	}
	t.Run("P07 more without a page", func(t *testing.T) {
		b := newUserServer(t).consenting(t)
		got := b.open(t, authorization("scope", "read admin", "prompt", "none"))
		assert.Equal(t, "consent_required", got.response(t).Get("error"))
	})
	t.Run("what was unticked is asked for again", func(t *testing.T) {
		b := newUserServer(t).browser()
		b.submit(t, b.consentPage(t), "decision", "allow", "scope", "read")
		assert.True(t, b.asks(t))
		assert.False(t, b.asks(t, "scope", "read"))
	})
	t.Run("consents add up, and the last word counts", func(t *testing.T) {
		b := newUserServer(t).consenting(t)
		b.submit(t, b.consentPage(t, "scope", "admin"), "decision", "allow")
		assert.False(t, b.asks(t, "scope", "read write admin"))
		b.submit(t, b.consentPage(t, "scope", "read write"), "decision", "allow", "scope", "read")
		assert.True(t, b.asks(t, "scope", "write"), "it was unticked")
		assert.False(t, b.asks(t, "scope", "read admin"))
	})
	t.Run("a denial takes nothing back and gives nothing", func(t *testing.T) {
		b := newUserServer(t).consenting(t)
		b.submit(t, b.consentPage(t, "scope", "read admin"), "decision", "deny")
		assert.False(t, b.asks(t, "scope", "read"))
		assert.True(t, b.asks(t, "scope", "admin"))
	})
	t.Run("in another browser", func(t *testing.T) {
		f := newUserServer(t)
		f.consenting(t)
		b := f.browser()
		got := b.submit(t, b.open(t, authorization()), "username", "alice", "password", password)
		assert.NotEmpty(t, got.response(t).Get("code"))
	})
	t.Run("not of another user", func(t *testing.T) {
		f := newUserServer(t)
		f.consenting(t)
		b := f.browser()
		got := b.submit(t, b.open(t, authorization("scope", "write")), "username", "bob", "password", "bobs "+password)
		assert.Contains(t, got.body, "Allow")
	})
	t.Run("not for another client", func(t *testing.T) {
		b := newUserServer(t).consenting(t)
		assert.True(t, b.asks(t, "client_id", "other", "redirect_uri", "https://other.example.com/cb?x=a%20b", "scope", "read"))
	})
	t.Run("not for another resource", func(t *testing.T) {
		b := newResourceServer(t).browser()
		b.code(t, "resource", apiResource)
		assert.False(t, b.asks(t, "resource", apiResource))
		assert.True(t, b.asks(t, "resource", ownResource))
		both := authorization("resource", apiResource) + "&resource=" + url.QueryEscape(ownResource)
		consent := b.open(t, both)
		require.Contains(t, consent.body, "Allow")
		b.submit(t, consent, "decision", "allow")
		both = authorization("resource", ownResource) + "&resource=" + url.QueryEscape(apiResource)
		assert.NotEmpty(t, b.open(t, both).response(t).Get("code"), "in another order")
		assert.True(t, b.asks(t, "resource", ownResource))
		b.withdraw(t, "web")
		assert.True(t, b.asks(t, "resource", apiResource), "a withdrawal is for all of them")
	})
	t.Run("not for ever, if it is not used", func(t *testing.T) {
		f := newUserServer(t)
		b := f.consenting(t)
		again := func() page {
			return b.submit(t, b.open(t, authorization()), "username", "alice", "password", password)
		}
		for range 2 {
			f.nanos.Add(int64(179 * 24 * time.Hour))
			assert.NotEmpty(t, again().response(t).Get("code"), "it was used")
		}
		f.nanos.Add(int64(180 * 24 * time.Hour))
		assert.Contains(t, again().body, "Allow")
	})
	t.Run("attack: a client that was trusted has consent that nobody gave", func(t *testing.T) {
		for _, scopes := range [][]string{{"read"}, nil} {
			f := newUserServer(t)
			config := userConfig(t)
			config.Clients[2].Scopes = scopes
			f.configure(t, config)
			b := f.browser()
			b.consentPage(t)
			own := []string{"client_id", "own", "redirect_uri", "https://own.example.com/cb", "scope", strings.Join(scopes, " ")}
			assert.False(t, b.asks(t, own...))
			config.Clients[2].Trusted = false
			f.configure(t, config)
			assert.True(t, b.asks(t, own...), scopes)
		}
	})
	t.Run("race: many consents at once, and none is lost", func(t *testing.T) {
		f := newUserServer(t)
		b := f.browser()
		var running sync.WaitGroup
		for _, scope := range []string{"read", "write", "admin"} {
			action, form := b.consentPage(t, "scope", scope).fill(t, "decision", "allow")
			one := &browser{fixture: f, cookies: maps.Clone(b.cookies), address: b.address}
			running.Go(func() {
				assert.Equal(t, http.StatusSeeOther, one.send(t, http.MethodPost, action, form).StatusCode)
			})
		}
		running.Wait()
		assert.False(t, b.asks(t, "scope", "read write admin"))
	})
}

// Whoever may pass for the client gets nothing without the user's knowledge, whatever was allowed before.
func TestR11ClientsThatAreUnprovenAskEveryTime(t *testing.T) {
	for name, test := range map[string]struct {
		pairs []string
		asks  bool
	}{
		"a web server with a secret":                 {[]string{"client_id", "other", "redirect_uri", "https://other.example.com/cb?x=a%20b"}, false},
		"attack: another app has taken the scheme":   {[]string{"client_id", "other", "redirect_uri", "com.example.app:/cb"}, true},
		"attack: another program listens":            {[]string{"client_id", "other", "redirect_uri", "http://127.0.0.1:5000/cb"}, true},
		"attack: somebody uses an id without secret": {[]string{"client_id", "spa", "redirect_uri", "https://spa.example.com/cb"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newUserServer(t)
			config := userConfig(t)
			config.Clients = append(config.Clients, authserver.Client{
				ID: "spa", Auth: authserver.AuthNone, Grants: []string{authserver.GrantAuthorizationCode},
				RedirectURIs: []string{"https://spa.example.com/cb"}, Scopes: []string{"read"},
			})
			f.configure(t, config)
			b := f.browser()
			request := slices.Concat(test.pairs, []string{"scope", "read"})
			require.NotEmpty(t, b.code(t, request...))
			assert.Equal(t, test.asks, b.asks(t, request...))
			got := b.open(t, authorization(slices.Concat(request, []string{"prompt", "none"})...)).response(t)
			assert.Equal(t, test.asks, got.Get("error") == "consent_required", "P07")
		})
	}
}

func TestR11AClientThatHasRegisteredItselfAsksEveryTime(t *testing.T) {
	f := newRegistry(t)
	id := f.registered(t, object{"token_endpoint_auth_method": "client_secret_basic"})["client_id"].(string)
	b := f.browser()
	request := []string{"client_id", id, "redirect_uri", appCallback, "scope", "read"}
	require.NotEmpty(t, b.code(t, request...))
	assert.True(t, b.asks(t, request...), "although it has a secret: anybody could have registered it under this name")
}

func TestR12Withdrawing(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	access, refresh := b.tokens(t)
	forOther := b.code(t, "client_id", "other", "redirect_uri", "http://127.0.0.1/cb", "scope", "read")
	status, members := f.asOther(t, exchange(forOther, "redirect_uri", "http://127.0.0.1/cb"))
	require.Equal(t, 200, status)
	elsewhere := members["access_token"].(string)
	bob := f.browser()
	code := bob.submit(t, bob.submit(t, bob.open(t, authorization("scope", "write")), "username", "bob", "password", "bobs "+password),
		"decision", "allow").response(t).Get("code")
	status, members = f.asWeb(t, exchange(code))
	require.Equal(t, 200, status)
	ofBob := members["access_token"].(string)
	waiting := b.code(t)

	b.withdraw(t, "web")
	assert.False(t, f.active(t, access))
	status, _ = f.asWeb(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	assert.Equal(t, 400, status)
	assert.True(t, f.active(t, elsewhere), "another client keeps what it has")
	assert.True(t, f.active(t, ofBob), "and so does another user")
	assert.True(t, b.asks(t))

	t.Run("attack: a code from before the withdrawal is exchanged after it", func(t *testing.T) {
		status, members := f.asWeb(t, exchange(waiting))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
	})
	t.Run("attack: and after a new consent", func(t *testing.T) {
		before := b.code(t)
		b.withdraw(t, "web")
		access, _ := b.tokens(t)
		status, _ := f.asWeb(t, exchange(before))
		assert.Equal(t, 400, status)
		assert.True(t, f.active(t, access), "what was allowed after it stays")
	})
	t.Run("race: codes are exchanged while the user withdraws, and no token is good afterwards", func(t *testing.T) {
		const n = 10
		var codes [n]string
		for i := range codes {
			codes[i] = b.code(t)
		}
		var tokens sync.Map
		var running sync.WaitGroup
		for _, code := range codes {
			running.Go(func() {
				if _, members := f.asWeb(t, exchange(code)); members["access_token"] != nil {
					tokens.Store(members["access_token"], true)
				}
			})
		}
		b.withdraw(t, "web")
		running.Wait()
		tokens.Range(func(token, _ any) bool {
			assert.False(t, f.active(t, token.(string)))
			return true
		})
	})
}

// withdraw presses the button on the account page.
func (b *browser) withdraw(t *testing.T, client string) {
	t.Helper()
	got := b.press(t, b.open(t, issuer+"/oauth2/account"), "withdraw", client)
	require.Equal(t, http.StatusOK, got.StatusCode, got.body)
	require.NotContains(t, got.body, `value="`+client+`"`)
}

// press sends the form of the account page that is about something.
func (b *browser) press(t *testing.T, p page, kind, object string) page {
	t.Helper()
	action, form := p.formAbout(t, kind, object)
	got := b.send(t, http.MethodPost, action, form)
	if got.StatusCode == http.StatusSeeOther {
		return b.open(t, got.Header.Get("Location"))
	}
	return got
}

var accountForm = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)"(?: class="narrow")?>\n<input type="hidden" name="form_token" value="([^"]*)">\n` +
	`(?:<input type="hidden" name="object" value="([^"]*)">\n)?<button[^>]* name="form" value="([^"]*)"`)

// formAbout is the form of the account page that is about something.
func (p page) formAbout(t *testing.T, kind, object string) (action string, form url.Values) {
	t.Helper()
	for _, match := range accountForm.FindAllStringSubmatch(p.body, -1) {
		if match[4] == kind && html.UnescapeString(match[3]) == object {
			form := url.Values{"form_token": {html.UnescapeString(match[2])}, "form": {kind}}
			if object != "" {
				form.Set("object", object)
			}
			return html.UnescapeString(match[1]), form
		}
	}
	require.Fail(t, "no form", "%s %s: %s", kind, object, p.body)
	return "", nil
}
