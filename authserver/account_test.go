package authserver_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

const account = issuer + "/oauth2/account"

// signedIn is a browser in which somebody has signed in to the account page.
func (f *fixture) signedIn(t *testing.T, name, password string) *browser {
	t.Helper()
	b := f.browser()
	got := b.submit(t, b.open(t, account), "username", name, "password", password)
	require.Contains(t, got.body, "Your account")
	return b
}

// sessionID is how the account page calls the session of a browser.
func (b *browser) sessionID() string {
	digest := introspect.DigestOf(b.cookies["__Host-portcullis_session"])
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func TestAccountPage(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	b.header = http.Header{"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 <script>"}}
	b.consentPage(t)
	b.submit(t, b.consentPage(t), "decision", "allow", "scope", "read")
	f.nanos.Add(int64(25 * time.Hour))
	access, _ := b.tokens(t)
	f.signedIn(t, "bob", "bobs "+password)
	f.signedIn(t, "alice", password)

	got := b.open(t, account)
	assert.Equal(t, 200, got.StatusCode)
	assertGuarded(t, got)
	text := strings.Join(strings.Fields(regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`).ReplaceAllString(got.body, " ")), " ")
	assert.Contains(t, text, "You are signed in as alice . Sign out")
	assert.Contains(t, text, "The &lt;Web&gt; App Read your &lt;orders&gt; write "+
		"Since 22 Nov 2026 , last used 23 Nov 2026, 13:00 UTC Withdraw")
	assert.Contains(t, text, "Firefox on Linux This browser , since 23 Nov 2026, 13:00 UTC "+
		"Unknown browser Since 23 Nov 2026, 13:00 UTC Sign out Sign out everywhere else")
	assert.NotContains(t, text, "bob")
	assert.Contains(t, got.body, `href="`+issuer+`/oauth2/logout"`)

	t.Run("a client that was taken out is called by its id, and can be withdrawn from", func(t *testing.T) {
		config := userConfig(t)
		config.Clients = config.Clients[1:]
		f.configure(t, config)
		assert.Contains(t, b.open(t, account).body, "<h3>web</h3>")
		b.withdraw(t, "web")
		f.configure(t, userConfig(t))
		assert.False(t, f.active(t, access))
	})
	t.Run("a trusted client is there while it has tokens", func(t *testing.T) {
		own := []string{"client_id", "own", "redirect_uri", "https://own.example.com/cb", "scope", "read"}
		code := b.open(t, authorization(own...)).response(t).Get("code")
		assert.NotContains(t, b.open(t, account).body, "<h3>own</h3>")
		response, members := b.do(t, request{path: "/oauth2/token", user: "own", password: "own-secret", form: exchange(code, "redirect_uri", "https://own.example.com/cb")})
		require.Equal(t, 200, response.StatusCode, members)
		assert.Contains(t, b.open(t, account).body, "<h3>own</h3>")
		b.withdraw(t, "own")
		assert.False(t, f.active(t, members["access_token"].(string)))
	})
	t.Run("by another method", func(t *testing.T) {
		for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS"} {
			got := b.send(t, method, account, nil)
			assert.Equal(t, 405, got.StatusCode)
			assert.Equal(t, "GET, POST", got.Header.Get("Allow"))
		}
	})
	t.Run("without the store", func(t *testing.T) {
		require.NoError(t, f.store.Close())
		got := b.send(t, http.MethodGet, account, nil)
		assert.Equal(t, 503, got.StatusCode)
		assert.Equal(t, "1", got.Header.Get("Retry-After"))
	})
}

func TestEndingSessions(t *testing.T) {
	f := newUserServer(t)
	b, second, third := f.signedIn(t, "alice", password), f.signedIn(t, "alice", password), f.signedIn(t, "alice", password)
	bob := f.signedIn(t, "bob", "bobs "+password)
	access, _ := second.tokens(t)
	in := func(one *browser) bool { return strings.Contains(one.open(t, account).body, "Your account") }

	got := b.press(t, b.open(t, account), "end_session", second.sessionID())
	assert.Equal(t, []bool{true, false, true, true}, []bool{in(b), in(second), in(third), in(bob)})
	assert.Contains(t, got.body, "Your account")
	assert.False(t, f.active(t, access), "F09: what came of it has ended, too")
	fourth := f.signedIn(t, "alice", password)
	b.press(t, b.open(t, account), "end_other_sessions", "")
	assert.Equal(t, []bool{true, false, false, true}, []bool{in(b), in(third), in(fourth), in(bob)})
	assert.NotContains(t, b.open(t, account).body, "end_other_sessions", "there is no other")

	t.Run("attack: a user ends the session of another", func(t *testing.T) {
		f.signedIn(t, "alice", password)
		action, form := b.open(t, account).formAbout(t, "end_other_sessions", "")
		form.Set("form", "end_session")
		form.Set("object", bob.sessionID())
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
		assert.True(t, in(bob))
	})
	t.Run("a session that has ended by itself is not there", func(t *testing.T) {
		f.nanos.Add(int64(8 * time.Hour))
		again := f.signedIn(t, "alice", password)
		assert.NotContains(t, again.open(t, account).body, "end_other_sessions")
	})
}

func TestR03FormsOfTheAccountPage(t *testing.T) {
	f := newUserServer(t)
	b := f.browser()
	access, _ := b.tokens(t)
	b.code(t, "client_id", "other", "redirect_uri", "http://127.0.0.1/cb", "scope", "read")
	f.signedIn(t, "alice", password)
	action, form := b.open(t, account).formAbout(t, "withdraw", "web")
	with := func(pairs ...string) url.Values {
		changed := maps.Clone(form)
		for i := 0; i < len(pairs); i += 2 {
			changed.Set(pairs[i], pairs[i+1])
		}
		return changed
	}
	_, other := b.open(t, account).formAbout(t, "withdraw", "other")
	_, sessions := b.open(t, account).formAbout(t, "end_other_sessions", "")
	for name, test := range map[string]struct {
		form   url.Values
		header http.Header
		status int
	}{
		"attack: no token":                    {with("form_token", ""), nil, 403},
		"attack: a token that is made up":     {with("form_token", strings.Repeat("A", 43)), nil, 403},
		"attack: the token for another thing": {with("form_token", other.Get("form_token")), nil, 403},
		"attack: the token of another form":   {with("form_token", sessions.Get("form_token")), nil, 403},
		"attack: another site":                {form, http.Header{"Origin": {"https://evil.example"}}, 403},
		"attack: a sibling domain":            {form, http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		"attack: a form that is none":         {with("form", "other"), nil, 403},
		"attack: no client, so all tokens":    {with("object", ""), nil, 403},
		"attack: two clients":                 {url.Values{"form_token": form["form_token"], "form": {"withdraw"}, "object": {"web", "web"}}, nil, 400},
		"not a form":                          {form, http.Header{"Content-Type": {"text/plain"}}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			b.header = test.header
			defer func() { b.header = nil }()
			got := b.send(t, http.MethodPost, action, test.form)
			assert.Equal(t, test.status, got.StatusCode)
			assertGuarded(t, got)
			assert.True(t, f.active(t, access))
		})
	}
	t.Run("attack: the victim's browser sends a form of the attacker's", func(t *testing.T) {
		attacker := f.browser()
		attacker.code(t)
		action, form := attacker.open(t, account).formAbout(t, "withdraw", "web")
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
	})
	t.Run("attack: nobody is signed in", func(t *testing.T) {
		got := f.browser().send(t, http.MethodPost, action, form)
		assert.Equal(t, 403, got.StatusCode)
	})
	assert.True(t, f.active(t, access))
	assert.Equal(t, http.StatusSeeOther, b.send(t, http.MethodPost, action, form).StatusCode)
	assert.False(t, f.active(t, access), "the right form does it")
}

// Whoever signs in without an authorization request gets to the account, and nowhere else.
func TestR15AttackALinkLeadsElsewhereAfterSigningIn(t *testing.T) {
	f := newUserServer(t)
	for _, target := range []string{
		"https://evil.example", "//evil.example", `/\evil.example`, "https:evil.example", "%2f%2fevil.example", "/%09/evil.example",
	} {
		for _, name := range []string{"next", "return_to", "redirect_uri", "continue", "url"} {
			b := f.browser()
			login := b.open(t, account+"?"+name+"="+url.QueryEscape(target))
			assert.NotContains(t, login.body, "evil")
			action, form := login.fill(t, "username", "alice", "password", password, name, target)
			assert.Equal(t, issuer+"/oauth2/login", action)
			got := b.send(t, http.MethodPost, action, form)
			assert.Equal(t, account, got.Header.Get("Location"))

			got = b.send(t, http.MethodPost, action+"?"+name+"="+url.QueryEscape(target), form)
			assert.Equal(t, 400, got.StatusCode, "what has a query is an authorization request")
			assert.Empty(t, got.Header.Get("Location"))
		}
	}
	t.Run("the form for the account is not one for a request, and the other way round", func(t *testing.T) {
		b := f.browser()
		login, request := b.open(t, account), b.open(t, authorization())
		action, form := login.fill(t, "username", "alice", "password", password)
		requested, other := request.fill(t, "username", "alice", "password", password)
		assert.Equal(t, 403, b.send(t, http.MethodPost, requested, form).StatusCode)
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, other).StatusCode)
	})
	t.Run("the page, loaded again", func(t *testing.T) {
		b := f.browser()
		b.submit(t, b.open(t, account), "username", "alice", "password", "wrong")
		assert.Contains(t, b.open(t, issuer+"/oauth2/login").body, "to see your account")
	})
}

// R17: what the pages say of themselves comes from the issuer, whatever a client or a proxy writes.
func TestR17AttackAHostThatIsNotTheIssuer(t *testing.T) {
	b := newUserServer(t).browser()
	b.header = http.Header{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"host=evil.example"}}
	for _, path := range []string{"/oauth2/account", strings.TrimPrefix(authorization(), issuer)} {
		got := b.send(t, http.MethodGet, "https://evil.example"+path, nil)
		assert.NotContains(t, got.body, "evil.example")
		action, _ := got.fill(t)
		assert.True(t, strings.HasPrefix(action, issuer+"/"), action)
	}
}

func TestDevices(t *testing.T) {
	f := newUserServer(t)
	for userAgent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":          "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                  "Safari on Mac",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1": "Chrome on iPhone",
		"Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                         "Chrome on ChromeOS",
		"curl/8.0 <b>Linux</b>":                "Browser on Linux",
		"Firefox/1":                            "Firefox",
		"":                                     "Unknown browser",
		strings.Repeat("x", 5000) + "<script>": "Unknown browser",
	} {
		b := f.browser()
		b.header = http.Header{"User-Agent": {userAgent}}
		got := b.submit(t, b.open(t, account), "username", "alice", "password", password)
		assert.Contains(t, got.body, "<h3>"+want+"</h3>\n<p class=\"faint small\"><strong>This browser</strong>", userAgent)
		f.nanos.Add(int64(8 * time.Hour))
	}
}
