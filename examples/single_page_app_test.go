package examples_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testbrowser"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// singlePage is the app, in a browser.
type singlePage struct {
	*testgateway.Gateway

	url, issuer string
	browser     *testbrowser.Browser
}

func startSinglePage(t *testing.T, browser *testbrowser.Browser) *singlePage {
	t.Helper()
	s := &singlePage{testgateway.New(t), "http://localhost:" + testgateway.Port(t), "http://localhost:" + testgateway.Port(t), browser}
	s.start(t, caddyfile(t, "single-page-app", append(backend(t),
		"issuer http://localhost:8080", "access_token_ttl 1s\n\t\tissuer "+s.issuer,
		"http://localhost:8080", s.issuer,
		origin, s.url,
	)...))
	return s
}

// start starts the gateway, with the app's files.
func (s *singlePage) start(t *testing.T, config string) {
	t.Helper()
	app := filepath.Join(s.Dir, "app")
	require.NoError(t, os.CopyFS(app, os.DirFS("single-page-app/app")))
	script := caddyfile(t, "single-page-app/app/app.js", "http://localhost:8080", s.issuer)
	require.NoError(t, os.WriteFile(filepath.Join(app, "app.js"), []byte(script), 0o600))
	s.Guard("alice-password")
	s.Start(t, config)
}

// signedIn is a tab in which alice has signed in to the app.
func (s *singlePage) signedIn(t *testing.T) *testbrowser.Tab {
	t.Helper()
	tab := s.browser.Tab(t)
	tab.Open(t, s.url)
	tab.Submit(t, "#sign-in")
	tab.Fill(t, "[name=username]", "alice")
	tab.Fill(t, "[name=password]", "alice-password")
	tab.Enter(t)
	require.Contains(t, tab.Text(t), "See your orders")
	tab.Submit(t, "[name=decision][value=allow]")
	said(t, tab, "Remote-User")
	return tab
}

// said awaits that the app says something, and returns all that it says.
func said(t *testing.T, tab *testbrowser.Tab, holds string) (text string) {
	t.Helper()
	wanted, err := json.Marshal(holds)
	require.NoError(t, err)
	tab.Do(t, `new Promise(done => {
		const says = document.getElementById("says")
		const look = () => { if (says.textContent.includes(`+string(wanted)+`)) done(says.textContent) }
		new MutationObserver(look).observe(says, {childList: true, characterData: true, subtree: true})
		look()
	})`, &text)
	return text
}

// asked counts what the page has asked for.
func asked(t *testing.T, tab *testbrowser.Tab, path string) (times int) {
	t.Helper()
	tab.Do(t, `performance.getEntriesByType("resource").filter(entry => new URL(entry.name).pathname === "`+path+`").length`, &times)
	return times
}

// alices is what the app shows when alice has signed in.
const alices = "GET /orders\nRemote-User:   alice\nRemote-Client: shop\nRemote-Scope:  orders\nAuthorization: \n"

func TestSinglePageApp(t *testing.T) {
	s := startSinglePage(t, testbrowser.Start(t, nil))

	t.Run("AS-C01 signing in, and out", func(t *testing.T) {
		tab := s.signedIn(t)
		assert.Equal(t, alices, said(t, tab, "Remote-User"))
		assert.Equal(t, s.url+"/", tab.URL(t), "the code is not in the address")
		var stored int
		tab.Do(t, "localStorage.length + sessionStorage.length + document.cookie.length", &stored)
		assert.Zero(t, stored, "another script finds nothing")
		for _, complaint := range tab.Says() {
			assert.Contains(t, complaint, "401", "the policy lets the app do what it does")
		}

		before := asked(t, tab, "/oauth2/token")
		assert.Eventually(t, func() bool {
			tab.Press(t, "#orders")
			assert.Equal(t, alices, said(t, tab, "Remote-User"))
			return asked(t, tab, "/oauth2/token") == before+1
		}, patience, 100*time.Millisecond, "an expired token is replaced")

		tab.Submit(t, "#sign-out")
		tab.Submit(t, "button")
		assert.Contains(t, tab.Text(t), "You are signed out")
		tab.Open(t, s.url)
		tab.Submit(t, "#sign-in")
		assert.Contains(t, tab.Text(t), "Password")
	})
	t.Run("the user does not want to", func(t *testing.T) {
		tab := s.browser.Tab(t)
		tab.Open(t, s.url)
		tab.Submit(t, "#sign-in")
		tab.Fill(t, "[name=username]", "alice")
		tab.Fill(t, "[name=password]", "alice-password")
		tab.Enter(t)
		tab.Submit(t, "[name=decision][value=deny]")
		said(t, tab, "You are not signed in: access_denied")
	})
	t.Run("the operator ends it", func(t *testing.T) {
		tab := s.signedIn(t)
		revoke := s.Command(t, "authorization-server", "token", "revoke", "--user", "alice", "--address", s.Admin)
		out, err := revoke.CombinedOutput()
		require.NoError(t, err, string(out))
		tab.Press(t, "#orders")
		said(t, tab, "You are not signed in any more: invalid_grant")
		tab.Submit(t, "#sign-in")
	})
	for name, attack := range map[string]struct {
		waiting string // what the tab waits for
		answer  url.Values
	}{
		"to nobody's request":      {`null`, url.Values{"code": {"stolen"}, "state": {"guessed"}, "iss": {s.issuer}}},
		"without a state":          {`{"state": "this"}`, url.Values{"code": {"stolen"}, "iss": {s.issuer}}},
		"to another tab's request": {`{"state": "this"}`, url.Values{"code": {"stolen"}, "state": {"another"}, "iss": {s.issuer}}},
		"of another server":        {`{"state": "this"}`, url.Values{"code": {"stolen"}, "state": {"this"}, "iss": {"https://evil.example.com"}}},
	} {
		t.Run("attack: an answer "+name, func(t *testing.T) {
			tab := s.browser.Tab(t)
			tab.Open(t, s.url)
			tab.Do(t, "sessionStorage.setItem('request', '"+attack.waiting+"')", nil)
			tab.Open(t, s.url+"/?"+attack.answer.Encode())
			said(t, tab, "That was no answer to a request of this tab")
			assert.Zero(t, asked(t, tab, "/oauth2/token"), "the code is shown to nobody")
		})
	}
	t.Run("attack: a script that got into the page sends what it found elsewhere", func(t *testing.T) {
		tab := s.browser.Tab(t)
		tab.Open(t, s.url)
		var sent bool
		tab.Do(t, `fetch("http://127.0.0.1:9/", {mode: "no-cors"}).then(() => true, () => false)`, &sent)
		assert.False(t, sent)
		tab.AwaitSays(t, "connect-src")
	})
	t.Run("K01 K03 K05 whom the API talks to", func(t *testing.T) {
		for from, allowed := range map[string]string{s.url: s.url, "https://evil.example.com": "", "null": ""} {
			for method, status := range map[string]int{http.MethodOptions: http.StatusNoContent, http.MethodGet: http.StatusUnauthorized} {
				request := testgateway.Request(t, method, s.issuer+"/orders", "")
				request.Header.Set("Origin", from)
				if method == http.MethodOptions {
					request.Header.Set("Access-Control-Request-Method", "GET")
				}
				answer := testgateway.Send(t, request)
				assert.Equal(t, status, answer.Status, method+" "+from)
				assert.Equal(t, allowed, strings.Join(answer.Header["Access-Control-Allow-Origin"], " "), method+" "+from)
				assert.Contains(t, answer.Header["Vary"], "Origin")
			}
		}
	})
	t.Run("the API of the same origin", func(t *testing.T) {
		s := startOfOneOrigin(t, s.browser)
		tab := s.signedIn(t)
		assert.Equal(t, alices, said(t, tab, "Remote-User"))
		assert.Empty(t, tab.Says())
		answer := testgateway.Get(t, s.url+"/orders")
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		assert.NotContains(t, answer.Header, "Access-Control-Allow-Origin")
	})
	t.Run("the token endpoint has one CORS header", func(t *testing.T) {
		request := testgateway.Form(t, s.issuer+"/oauth2/token", "", "", url.Values{"client_id": {"shop"}})
		request.Header.Set("Origin", s.url)
		assert.Equal(t, []string{"*"}, testgateway.Send(t, request).Header["Access-Control-Allow-Origin"])
	})
}

var siteOfOneOrigin = regexp.MustCompile("(?s)```caddyfile snippet\n(http://localhost:8080 .*?)```")

// startOfOneOrigin starts the app, the API and the authorization server as one site, as the README says how.
func startOfOneOrigin(t *testing.T, browser *testbrowser.Browser) *singlePage {
	t.Helper()
	readme, err := os.ReadFile("single-page-app/README.md")
	require.NoError(t, err)
	site := siteOfOneOrigin.FindSubmatch(readme)
	require.NotNil(t, site)
	address := "http://localhost:" + testgateway.Port(t)
	s := &singlePage{testgateway.New(t), address, address, browser}

	config := caddyfile(t, "single-page-app", "redirect_uris "+origin+"/", "redirect_uris http://localhost:8080/")
	options, _, found := strings.Cut(config, "\n# The authorization server, which")
	require.True(t, found)
	_, theirs, found := strings.Cut(config, "\n# The backend")
	require.True(t, found)
	ports := append(backend(t), "http://localhost:8080", address)
	s.start(t, strings.NewReplacer(ports...).Replace(options+"\n"+string(site[1])+"\n# The backend"+theirs))
	return s
}
