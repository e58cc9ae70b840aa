package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func logoutURL(pairs ...string) string {
	values := make(url.Values)
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return issuer + "/oauth2/logout?" + values.Encode()
}

// isSignedIn says whether the browser still has a session.
func (b *browser) isSignedIn(t *testing.T) bool {
	t.Helper()
	return b.open(t, own("prompt", "none")).response(t).Has("code")
}

func TestP17_Logout(t *testing.T) {
	ours, unregistered := "https://other.example.com/cb?x=a%20b", "https://web.example.com/"
	f := newOpenIDServer(t)
	bob := f.browser()
	login := bob.submit(t, bob.open(t, authorization("scope", "openid")), "username", "bob", "password", "bobs "+password)
	_, members := bob.asWeb(t, exchange(bob.submit(t, login, "decision", "allow").response(t).Get("code")))
	foreign := members["id_token"].(string)
	for name, test := range map[string]struct {
		parameters func(hint, foreign string) []string
		asks       bool   // whether the user is asked first
		status     int    // in the end
		location   string // in the end
		stays      bool   // signed in
	}{
		"with the hint, at once": {
			parameters: func(hint, _ string) []string { return []string{"id_token_hint", hint} },
			status:     200,
		},
		"with the hint and an address, with the state": {
			parameters: func(hint, _ string) []string {
				return []string{"id_token_hint", hint, "post_logout_redirect_uri", callback, "state", "a b+%/é", "client_id", "web"}
			},
			status: 303, location: callback + "?state=a+b%2B%25%2F%C3%A9",
		},
		"without a hint the user is asked": {
			parameters: func(string, string) []string { return nil },
			asks:       true, status: 200,
		},
		"with a client only the user is asked, and goes back": {
			parameters: func(string, string) []string {
				return []string{"client_id", "other", "post_logout_redirect_uri", ours, "state", "s"}
			},
			asks: true, status: 303, location: ours + "&state=s",
		},
		"with a hint that is none the user is asked": {
			parameters: func(string, string) []string { return []string{"id_token_hint", "x", "state", "<script>"} },
			asks:       true, status: 200,
		},
		"attack: with somebody else's hint the user is asked": {
			parameters: func(_, foreign string) []string { return []string{"id_token_hint", foreign} },
			asks:       true, status: 200,
		},
		"attack: an open redirect": {
			parameters: func(hint, _ string) []string {
				return []string{"id_token_hint", hint, "post_logout_redirect_uri", unregistered}
			},
			status: 400, stays: true,
		},
		"attack: an address of another client": {
			parameters: func(hint, _ string) []string {
				return []string{"id_token_hint", hint, "post_logout_redirect_uri", "com.example.app:/cb"}
			},
			status: 400, stays: true,
		},
		"attack: an address without a client": {
			parameters: func(string, string) []string { return []string{"post_logout_redirect_uri", callback} },
			status:     400, stays: true,
		},
		"attack: another client than in the hint": {
			parameters: func(hint, _ string) []string {
				return []string{"id_token_hint", hint, "client_id", "other", "post_logout_redirect_uri", ours}
			},
			status: 400, stays: true,
		},
		"an unknown client": {
			parameters: func(string, string) []string { return []string{"client_id", "nobody"} },
			asks:       true, status: 200,
		},
		"a state without end": {
			parameters: func(hint, _ string) []string {
				return []string{"id_token_hint", hint, "state", strings.Repeat("x", 5000)}
			},
			status: 400, stays: true,
		},
		"a line break": {
			parameters: func(hint, _ string) []string { return []string{"id_token_hint", hint, "state", "a\r\nb"} },
			status:     400, stays: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.browser()
			hint := b.openID(t)["id_token"].(string)
			cookies := len(b.cookies)
			got := b.open(t, logoutURL(test.parameters(hint, foreign)...))
			assertGuardedPage(t, got)
			if test.asks {
				require.Equal(t, 200, got.StatusCode)
				require.Contains(t, got.body, "Sign out?")
				assert.Contains(t, got.body, "alice")
				assert.Len(t, b.cookies, cookies)
				require.True(t, b.isSignedIn(t), "nothing has happened yet")
				got = b.submit(t, got)
				assertGuardedPage(t, got)
			}
			assert.Equal(t, test.status, got.StatusCode, got.body)
			assert.Equal(t, test.location, got.Header.Get("Location"))
			assert.Equal(t, test.stays, b.isSignedIn(t))
			if !test.stays {
				require.Len(t, got.Cookies(), 1, "R05")
				assert.Negative(t, got.Cookies()[0].MaxAge)
			}
			assert.True(t, bob.isSignedIn(t), "of all others nobody is")
		})
	}
}

func assertGuardedPage(t *testing.T, p page) {
	t.Helper()
	if p.StatusCode != http.StatusSeeOther {
		assertGuarded(t, p)
		assert.NotContains(t, p.body, "<script>")
	}
}

func TestP17_NobodyIsSignedIn(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	hint := b.openID(t)["id_token"].(string)
	for name, test := range map[string]struct {
		pairs    []string
		location string
		link     string
	}{
		"with the hint":      {[]string{"id_token_hint", hint, "post_logout_redirect_uri", callback}, callback, ""},
		"R14 with no hint":   {[]string{"client_id", "web", "post_logout_redirect_uri", callback}, "", `<a href="` + callback + `">Go on to web.example.com</a>`},
		"R14 an app":         {[]string{"client_id", "other", "post_logout_redirect_uri", "com.example.app:/cb"}, "", `<a href="com.example.app:/cb">Go on to the app com.example.app on this device</a>`},
		"without an address": {nil, "", "You can close this page."},
	} {
		t.Run(name, func(t *testing.T) {
			got := f.browser().open(t, logoutURL(test.pairs...))
			assert.Equal(t, test.location, got.Header.Get("Location"))
			assert.Contains(t, got.body, test.link)
			assert.Empty(t, got.Cookies(), "a sign-in that somebody has begun goes on")
			if !strings.Contains(got.body, "<a ") {
				assertGuardedPage(t, got)
			}
		})
	}
	assert.True(t, b.isSignedIn(t))
}

func TestP17_LogoutByPOST(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	hint := b.openID(t)["id_token"].(string)
	got := b.send(t, http.MethodPost, issuer+"/oauth2/logout", url.Values{"id_token_hint": {hint}, "state": {"s"}, "x": {"y"}})
	assert.Equal(t, logoutURL("id_token_hint", hint, "state", "s"), got.Header.Get("Location"), "from another site it comes without the cookie")
	require.True(t, b.isSignedIn(t))
	b.open(t, got.Header.Get("Location"))
	assert.False(t, b.isSignedIn(t))
	assert.Equal(t, 405, b.send(t, http.MethodPut, issuer+"/oauth2/logout", nil).StatusCode)
}

func TestR03_AttackALogoutThatTheUserDoesNotWant(t *testing.T) {
	f := newOpenIDServer(t)
	b, stranger := f.browser(), f.browser()
	b.openID(t)
	stranger.openID(t)
	_, planted := stranger.open(t, logoutURL()).fill(t)
	action, form := b.open(t, logoutURL()).fill(t)
	for name, try := range map[string]func() page{
		"a token of another session": func() page { return b.send(t, http.MethodPost, action, planted) },
		"a token that is none":       func() page { return b.send(t, http.MethodPost, action, url.Values{"form_token": {"x"}}) },
		"an empty token":             func() page { return b.send(t, http.MethodPost, action, url.Values{"form_token": {""}}) },
		"for another request": func() page {
			return b.send(t, http.MethodPost, logoutURL("client_id", "web", "post_logout_redirect_uri", callback), form)
		},
		"in the URL": func() page { return b.send(t, http.MethodGet, action+"form_token="+form.Get("form_token"), nil) },
		"from another site": func() page {
			b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
			defer func() { b.header = nil }()
			return b.send(t, http.MethodPost, action, form)
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := try()
			assert.Empty(t, got.Header.Get("Location"))
			assert.NotContains(t, got.body, "You are signed out")
			assert.True(t, b.isSignedIn(t))
		})
	}
	assert.Contains(t, b.send(t, http.MethodPost, action, form).body, "You are signed out")
}

func TestF09_WhatASignOutEnds(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	ended, other := b.openID(t), f.browser().openID(t)
	kept := b.openID(t, "scope", "openid offline_access")
	waiting := b.code(t, "scope", "openid")
	again := func() map[string]any { // the same session, as far as a user knows
		page := b.submit(t, b.open(t, authorization("scope", "openid", "prompt", "login consent")), "username", "alice", "password", password)
		_, members := b.asWeb(t, exchange(b.submit(t, page, "decision", "allow").response(t).Get("code")))
		return members
	}()
	told := make(map[introspect.Digest]bool)
	defer f.store.Subscribe(func(revocation store.Revocation) {
		for _, digest := range revocation.Digests {
			told[digest] = true
		}
	})()
	require.Contains(t, b.submit(t, b.open(t, logoutURL())).body, "You are signed out")

	refresh := func(members map[string]any) int {
		status, _ := f.asWeb(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {members["refresh_token"].(string)}})
		return status
	}
	for name, test := range map[string]struct {
		members map[string]any
		active  bool
	}{
		"tokens of the session":                       {ended, false},
		"tokens from before the user signed in again": {again, false},
		"P15 tokens with offline_access":              {kept, true},
		"tokens of another browser of the user":       {other, true},
	} {
		t.Run(name, func(t *testing.T) {
			access := test.members["access_token"].(string)
			assert.Equal(t, test.active, f.active(t, access))
			assert.Equal(t, !test.active, told[introspect.DigestOf(access)], "every memory in the process hears of it")
			assert.Equal(t, map[bool]int{true: 200, false: 400}[test.active], refresh(test.members))
		})
	}
	t.Run("a code that nobody has redeemed yet", func(t *testing.T) {
		status, members := f.asWeb(t, exchange(waiting))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_grant", members["error"])
	})
	t.Run("a page that waits for consent", func(t *testing.T) {
		one := f.browser()
		consent := one.consentPage(t, "scope", "openid")
		one.submit(t, one.open(t, logoutURL()))
		assert.Equal(t, 400, one.submit(t, consent, "decision", "allow").StatusCode)
	})
	records, err := f.store.Records(t.Context(), "issued", "", "", 10)
	require.NoError(t, err)
	assert.Len(t, records, 1, "of the other browser")
	assert.Equal(t, f.now().Add(time.Minute+30*day+15*time.Minute).UTC(), records[0].ExpiresAt.UTC(), "and not for ever")
}

// However a sign-out and the last steps of an authorization interleave, no token that works comes of both.
func TestF09_ASignOutDuringAnAuthorization(t *testing.T) {
	f := newOpenIDServer(t)
	for range 10 {
		b := f.browser()
		b.submit(t, b.open(t, own()), "username", "alice", "password", password)
		action, form := b.open(t, logoutURL()).fill(t)
		other := &browser{fixture: f, cookies: map[string]string{"__Host-portcullis_session": b.cookies["__Host-portcullis_session"]}, address: b.address}
		var members map[string]any
		var group sync.WaitGroup
		group.Go(func() {
			got := other.send(t, http.MethodGet, own(), nil)
			if !strings.HasPrefix(got.Header.Get("Location"), "https://own.example.com/cb?code=") {
				return
			}
			location, err := url.Parse(got.Header.Get("Location"))
			if assert.NoError(t, err) {
				_, members = f.do(t, request{path: "/oauth2/token", user: "own", password: "own-secret", form: exchange(location.Query().Get("code"), "redirect_uri", "https://own.example.com/cb")})
			}
		})
		group.Go(func() { b.send(t, http.MethodPost, action, form) })
		group.Wait()
		if token, ok := members["access_token"].(string); ok {
			assert.False(t, f.active(t, token))
		}
	}
}

func TestP17_AStoreThatFailsEndsNothing(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	hint := b.openID(t)["id_token"].(string)
	page := b.open(t, logoutURL())
	require.NoError(t, f.store.Close())
	assert.Equal(t, 503, b.submit(t, page).StatusCode)
	assert.Equal(t, 503, b.open(t, logoutURL("id_token_hint", hint)).StatusCode)
}
