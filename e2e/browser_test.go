package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/filestore"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/testbrowser"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const evilHost = "evil.example.com"

// shop is an authorization server that is seen in a real browser, with a client that people come back to and a foreign
// site beside it.
type shop struct {
	*issuer
	browser *testbrowser.Browser
	// answers are the parameters of the authorization responses that came to the client.
	answers chan url.Values

	mu   sync.Mutex
	evil string // the page of the foreign site
}

const shopLogo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><script>document.title = "XSS"</script>` +
	`<rect width="40" height="40" rx="9" fill="#2b59c8"/><path d="M10 30V16a10 10 0 0 1 20 0v14M16 30V18m8 12V18M10 23h20" ` +
	`fill="none" stroke="#fff" stroke-width="2.5"/></svg>`

func openShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{issuer: newIssuer(t), answers: make(chan url.Values, 1)}
	client := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err == nil && r.URL.Path == "/cb" {
			s.Guard(r.Form.Get("code"))
			s.answers <- r.Form
		}
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><title>Web</title><p>Welcome back") // the browser hung up
	}))
	t.Cleanup(client.Close)
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, s.evil) // the browser hung up
	}))
	t.Cleanup(foreign.Close)
	s.browser = testbrowser.Start(t, map[string]string{
		"web.example.com": client.Listener.Addr().String(), evilHost: foreign.Listener.Addr().String(),
	})
	app := testgateway.StartBackend(t)
	s.Guard(alicePassword)
	s.writeFile(t, "logo.svg", []byte(shopLogo))
	hash := s.hashOf(t, alicePassword, "argon2id")
	s.addUsers(t, hash, "carol", "dave")
	s.Start(t, s.caddyfile(s.withUsers(hash, `branding "Example Shop" logo.svg`, `client desk {
		auth none
		name "Desk, the app for your computer"
		grants authorization_code
		redirect_uris http://127.0.0.1/cb
		scopes orders:read
	}`), s.site(app)))
	return s
}

// addUsers writes users into the store, before the server opens it.
func (s *issuer) addUsers(t *testing.T, hash string, names ...string) {
	t.Helper()
	file := filestore.New(s.store)
	for _, name := range names {
		value, err := json.Marshal(map[string]string{"password": hash})
		require.NoError(t, err)
		require.NoError(t, file.PutRecord(t.Context(), store.Record{Kind: "party", Name: name, Owner: "user", Value: value}))
	}
	require.NoError(t, file.Close())
}

// show has the foreign site show a page.
func (s *shop) show(t *testing.T, tab *testbrowser.Tab, page string) {
	t.Helper()
	s.mu.Lock()
	s.evil = "<!DOCTYPE html><title>Evil</title>" + page
	s.mu.Unlock()
	tab.Open(t, "http://"+evilHost+"/")
}

// answered is what the client was told, after the browser came back to it.
func (s *shop) answered(t *testing.T, tab *testbrowser.Tab) url.Values {
	t.Helper()
	require.Contains(t, tab.Text(t), "Welcome back", tab.URL(t))
	return <-s.answers
}

// signIn fills in the login page as a person does.
func (s *shop) signIn(t *testing.T, tab *testbrowser.Tab, name, password string) {
	t.Helper()
	tab.Fill(t, "[name=username]", name)
	tab.Fill(t, "[name=password]", password)
	tab.Enter(t)
}

// signedIn is a tab with the consent page, behind the login page.
func (s *shop) signedIn(t *testing.T, pairs ...string) *testbrowser.Tab {
	t.Helper()
	tab := s.browser.Tab(t)
	tab.Open(t, s.authorization(append([]string{"prompt", "consent"}, pairs...)...))
	s.signIn(t, tab, "alice", alicePassword)
	require.Contains(t, tab.Text(t), "Allow The web app?")
	return tab
}

const (
	allow = "[name=decision][value=allow]"
	deny  = "[name=decision][value=deny]"
)

// The pages in Chromium, as people meet them.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	s := openShop(t)

	t.Run("AS-R10 signing in, allowing a part, and withdrawing it", func(t *testing.T) {
		tab := s.browser.Tab(t)
		tab.Open(t, s.authorization())
		assert.Contains(t, tab.Text(t), "Example Shop")
		assert.NotContains(t, tab.Text(t), "XSS")
		s.signIn(t, tab, "alice", "not her password")
		assert.Equal(t, http.StatusForbidden, tab.Status(t))
		assert.Contains(t, tab.Text(t), "The user name or the password is wrong.")
		tab.Fill(t, "[name=password]", alicePassword)
		tab.Submit(t, "button")
		for _, shown := range []string{"Allow The web app?", "web.example.com", "See your orders", "orders:write", "alice"} {
			assert.Contains(t, tab.Text(t), shown)
		}
		tab.Press(t, "[value='orders:write']")
		tab.Submit(t, allow)
		access, refresh := s.tokens(t, s.asWeb(t, codeForm(s.answered(t, tab).Get("code"))))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)

		tab.Open(t, s.authorization("scope", "orders:read"))
		assert.NotEmpty(t, s.answered(t, tab).Get("code"), "AS-R12: it is remembered")
		tab.Open(t, s.authorization())
		assert.Contains(t, tab.Text(t), "Allow The web app?", "AS-R12: more is asked for")

		tab.Open(t, s.url("/oauth2/account"))
		for _, shown := range []string{"The web app", "See your orders", "This browser", "Chrome on Linux"} {
			assert.Contains(t, tab.Text(t), shown)
		}
		assert.NotContains(t, tab.Text(t), "orders:write")
		tab.Submit(t, "[value=withdraw]")
		assert.NotContains(t, tab.Text(t), "The web app")
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/1", access).Status, "AS-R12: at once")
		assert.Equal(t, http.StatusBadRequest, s.asWeb(t, refreshForm(refresh)).Status)
		tab.Open(t, s.authorization("scope", "orders:read"))
		assert.Contains(t, tab.Text(t), "Allow The web app?", "AS-R12: it is forgotten")
		assert.Empty(t, tab.Says()[1:], "the failed sign-in alone")
	})
	t.Run("denying", func(t *testing.T) {
		tab := s.signedIn(t)
		tab.Submit(t, deny)
		assert.Equal(t, "access_denied", s.answered(t, tab).Get("error"))
	})
	t.Run("AS-R13 going back after the decision", func(t *testing.T) {
		tab := s.signedIn(t)
		tab.Submit(t, allow)
		assert.NotEmpty(t, s.answered(t, tab).Get("code"))
		tab.Back(t)
		if strings.Contains(tab.Text(t), "Allow The web app?") {
			tab.Submit(t, allow)
		}
		assert.Equal(t, http.StatusBadRequest, tab.Status(t))
		assert.Contains(t, tab.Text(t), "answered already")
	})
	t.Run("AS-A16 a response by form, with scripts and without", func(t *testing.T) {
		tab := s.signedIn(t, "response_mode", "form_post")
		tab.Submit(t, allow)
		tab.Await(t, "Welcome back")
		assert.NotEmpty(t, s.answered(t, tab).Get("code"))

		tab.Scripts(t, false)
		tab.Open(t, s.authorization("response_mode", "form_post"))
		tab.Submit(t, "form button")
		assert.NotEmpty(t, s.answered(t, tab).Get("code"))
	})
	t.Run("AS-R02 a client on the user's computer", func(t *testing.T) {
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.Guard(r.FormValue("code"))
			_, _ = fmt.Fprint(w, "<!DOCTYPE html><title>Desk</title><p>You can close this") // the browser hung up
		}))
		defer app.Close()
		tab := s.browser.Tab(t)
		request := s.authorization("client_id", "desk", "redirect_uri", app.URL+"/cb", "scope", "orders:read")
		tab.Open(t, request)
		s.signIn(t, tab, "alice", alicePassword)
		assert.Contains(t, tab.Text(t), "a program on this device ("+strings.TrimPrefix(app.URL, "http://")+")", "AS-R10")
		tab.Submit(t, allow)
		assert.Contains(t, tab.Text(t), "You can close this")
		tab.Open(t, request)
		assert.Contains(t, tab.Text(t), "Allow Desk", "AS-R11: another program could pass for it")
	})
	t.Run("AS-R03 attack: another site sends the forms of somebody who is signed in", func(t *testing.T) {
		tab := s.signedIn(t)
		consent := tab.URL(t)
		for name, form := range map[string]string{
			"consent":  fmt.Sprintf(`<form method=post action="%s"><input name=decision value=allow><input name=scope value=orders:read>`, html.EscapeString(consent)),
			"withdraw": fmt.Sprintf(`<form method=post action="%s"><input name=form value=withdraw><input name=object value=web>`, s.url("/oauth2/account")),
			"sign-in": fmt.Sprintf(`<form method=post action="%s"><input name=username value=alice><input name=password value="%s">`,
				s.url("/oauth2/login"), alicePassword),
		} {
			s.show(t, tab, form+"<button>Win</button></form>")
			tab.Submit(t, "button")
			assert.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, tab.Status(t), name)
		}
		tab.Open(t, consent)
		tab.Submit(t, allow)
		assert.NotEmpty(t, s.answered(t, tab).Get("code"), "nothing was used up")
	})
	t.Run("AS-R01 attack: another site frames the pages", func(t *testing.T) {
		tab := s.signedIn(t)
		for _, address := range []string{tab.URL(t), s.url("/oauth2/account"), s.authorization("prompt", "login"), s.url("/oauth2/authorize")} {
			tab.Says()
			s.show(t, tab, fmt.Sprintf(`<iframe src="%s"></iframe>`, html.EscapeString(address)))
			tab.AwaitSays(t, "frame-ancestors 'none'")
		}
	})
	t.Run("AS-R15 signing in to the account leads there and nowhere else", func(t *testing.T) {
		tab := s.browser.Tab(t)
		tab.Open(t, s.url("/oauth2/account?next=//"+evilHost+"&return_to=http://"+evilHost))
		s.signIn(t, tab, "alice", alicePassword)
		assert.Equal(t, s.url("/oauth2/account"), tab.URL(t))
		assert.Contains(t, tab.Text(t), "Your account")
	})
	t.Run("a session is ended from another browser", func(t *testing.T) {
		here, there := s.signedIn(t), s.signedIn(t)
		here.Open(t, s.url("/oauth2/account"))
		here.Submit(t, "[value=end_other_sessions]")
		assert.NotContains(t, here.Text(t), "Sign out everywhere else")
		there.Open(t, s.url("/oauth2/account"))
		assert.Contains(t, there.Text(t), "Password")
	})
	t.Run("AS-R05 a password is changed, and a thief with the old one is out", func(t *testing.T) {
		const next = "a horse of another colour"
		s.Guard(next)
		here, thief := s.browser.Tab(t), s.browser.Tab(t)
		for _, tab := range []*testbrowser.Tab{thief, here} {
			tab.Open(t, s.url("/oauth2/account"))
			s.signIn(t, tab, "dave", alicePassword)
		}
		here.Fill(t, "[name=old_password]", "not his password")
		here.Fill(t, "[name=new_password]", next)
		here.Fill(t, "[name=repeated_password]", next)
		here.Submit(t, "[value=password]")
		assert.Contains(t, here.Text(t), "The old password is wrong.")
		here.Fill(t, "[name=old_password]", alicePassword)
		here.Fill(t, "[name=new_password]", next)
		here.Fill(t, "[name=repeated_password]", next)
		here.Enter(t)
		assert.Contains(t, here.Text(t), "Your password has been changed.")
		thief.Open(t, s.url("/oauth2/account"))
		s.signIn(t, thief, "dave", alicePassword)
		assert.Contains(t, thief.Text(t), "The user name or the password is wrong.")
		s.signIn(t, thief, "dave", next)
		assert.Contains(t, thief.Text(t), "Your account")
	})
	t.Run("AS-R09 guessing", func(t *testing.T) {
		tab := s.browser.Tab(t)
		tab.Open(t, s.authorization())
		for range 5 {
			s.signIn(t, tab, "mallory", "guess")
			require.Equal(t, http.StatusForbidden, tab.Status(t))
		}
		s.signIn(t, tab, "mallory", "guess")
		assert.Equal(t, http.StatusTooManyRequests, tab.Status(t))
		assert.Contains(t, tab.Text(t), "too many attempts")
		s.look(t, tab, "throttled")
	})
	t.Run("how the pages look", func(t *testing.T) {
		tab := s.browser.Tab(t)
		tab.Open(t, s.authorization("prompt", "consent"))
		s.look(t, tab, "login")
		s.signIn(t, tab, "carol", "not her password")
		s.look(t, tab, "login-failed")
		tab.Fill(t, "[name=password]", alicePassword)
		tab.Enter(t)
		s.look(t, tab, "consent")
		tab.Submit(t, allow)
		s.tokens(t, s.asWeb(t, codeForm(s.answered(t, tab).Get("code"))))
		phone := s.browser.Tab(t)
		phone.Open(t, s.url("/oauth2/account"))
		s.signIn(t, phone, "carol", alicePassword)
		tab.Open(t, s.url("/oauth2/account"))
		s.look(t, tab, "account")
		tab.Submit(t, "a[href$='/oauth2/logout']")
		s.look(t, tab, "logout")
		tab.Submit(t, "button")
		assert.Contains(t, tab.Text(t), "You are signed out")
		s.look(t, tab, "signed-out")
		tab.Open(t, s.authorization("redirect_uri", "https://"+evilHost))
		s.look(t, tab, "error")
		tab.Scripts(t, false)
		tab.Open(t, s.authorization("response_mode", "form_post", "scope", "nothing"))
		tab.Scripts(t, true)
		s.look(t, tab, "form-post")
	})
}

// screenshots is the environment variable that names the folder which screenshots are to be written to.
const screenshots = "PORTCULLIS_SCREENSHOTS"

// look looks at a page as people do: on a wide screen and on a phone, in light and in dark colours, and with axe-core for those
// who see or use it in other ways.
func (s *shop) look(t *testing.T, tab *testbrowser.Tab, name string) {
	t.Helper()
	for _, shape := range []struct {
		name          string
		width, height int
		mobile        bool
		scheme        string
	}{
		{"", 800, 640, false, "light"},
		{"-dark", 800, 640, false, "dark"},
		{"-phone", 390, 640, true, "light"},
		{"-phone-dark", 390, 640, true, "dark"},
	} {
		tab.Shape(t, shape.width, shape.height, shape.mobile)
		tab.Scheme(t, shape.scheme)
		if !shape.mobile {
			assert.Empty(t, axe(t, tab), "%s%s", name, shape.name)
		}
		var size []int
		tab.Do(t, "[document.documentElement.scrollWidth, innerWidth, document.documentElement.scrollHeight]", &size)
		assert.LessOrEqual(t, size[0], size[1], "%s%s is wider than the screen", name, shape.name)
		tab.Shape(t, shape.width, max(shape.height, size[2]), shape.mobile)
		image, err := png.Decode(bytes.NewReader(tab.Screenshot(t)))
		require.NoError(t, err)
		red, _, _, _ := image.At(2, 2).RGBA()
		assert.Equal(t, shape.scheme == "dark", red < 0x8000, "%s%s: the background", name, shape.name)
		if folder := os.Getenv(screenshots); folder != "" && (shape.name == "" || shape.name == "-phone-dark") {
			file, err := os.Create(filepath.Join(folder, name+shape.name+".png"))
			require.NoError(t, err)
			require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(file, image))
			require.NoError(t, file.Close())
		}
	}
	tab.Shape(t, 1000, 800, false)
	tab.Scheme(t, "light")
}

var axeSource = sync.OnceValues(func() ([]byte, error) {
	return os.ReadFile("axe-core/node_modules/axe-core/axe.min.js")
})

// axe lists what axe-core finds wrong with a page.
func axe(t *testing.T, tab *testbrowser.Tab) (found []string) {
	t.Helper()
	source, err := axeSource()
	if err != nil {
		testgateway.Missing(t, "needs axe-core: npm ci in e2e/axe-core")
	}
	tab.Do(t, string(source)+"; null", nil)
	tab.Do(t, `axe.run().then(found => found.violations.flatMap(rule => rule.nodes.map(node => rule.id + ": " + node.html + " " + node.failureSummary)))`, &found)
	return found
}

var hrefs = regexp.MustCompile(`\b(?:src|href|action)="([^"]*)"`)

// What a page needs is in the page: without it nothing is fetched from anywhere.
func TestPagesNeedNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	s := newIssuer(t)
	s.writeFile(t, "logo.svg", []byte(shopLogo))
	s.Start(t, s.caddyfile(s.withUsers(s.hashOf(t, "x", "argon2id"), `branding "Example Shop" logo.svg`), "authorization_server"))
	page := s.person(t).open(t, s.url("/oauth2/account"))
	require.Equal(t, http.StatusOK, page.Status)
	assert.Contains(t, page.Header.Get("Content-Security-Policy"), "; img-src data:", "AS-R02")
	for _, match := range hrefs.FindAllStringSubmatch(html.UnescapeString(page.Body), -1) {
		assert.Regexp(t, `^(data:image/svg\+xml;base64,|http://`+regexp.QuoteMeta(s.address)+`/)`, match[1])
	}
	for name, content := range map[string]string{
		"no image":  "MZ\x90\x00",
		"a page":    "<!DOCTYPE html><script>alert(1)</script>",
		"nothing":   "",
		"too large": shopLogo + strings.Repeat(" ", 64<<10),
	} {
		t.Run("attack: a logo that is "+name, func(t *testing.T) {
			s.writeFile(t, "bad", []byte(content))
			loaded := s.Load(t, s.caddyfile(s.withUsers(s.hashOf(t, "x", "argon2id"), `branding "Example Shop" bad`), "authorization_server"))
			assert.Equal(t, http.StatusBadRequest, loaded.Status)
			assert.Contains(t, loaded.Body, "branding: ")
		})
	}
}
