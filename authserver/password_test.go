package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

const (
	carolsPassword = "carol's " + password
	nextPassword   = "quite another password"
)

// carol is a user of the store, who has signed in.
func (f *fixture) carol(t *testing.T) *browser {
	t.Helper()
	value, err := json.Marshal(map[string]any{"password": argon2idOf(t, carolsPassword), "claims": map[string][]string{"email": {"carol@example.com"}}})
	require.NoError(t, err)
	require.NoError(t, f.store.PutRecord(t.Context(), store.Record{Kind: "party", Name: "carol", Owner: "user", Value: value}))
	return f.signedIn(t, "carol", carolsPassword)
}

// changePassword fills in the form of the account page.
func (b *browser) changePassword(t *testing.T, old, next, again string) page {
	t.Helper()
	action, form := b.passwordForm(t, old, next, again)
	return b.send(t, http.MethodPost, action, form)
}

func (b *browser) passwordForm(t *testing.T, old, next, again string) (action string, form url.Values) {
	t.Helper()
	_, form = page{body: passwordForm(b.open(t, account).body)}.fill(t, "form", "password",
		"old_password", old, "new_password", next, "repeated_password", again)
	return account, form
}

// passwordForm is the part of the account page with the form.
func passwordForm(body string) string {
	_, form, _ := strings.Cut(body, `<h2 id="password">`)
	return form
}

// canSignIn tells whether somebody can sign in anew.
func (f *fixture) canSignIn(t *testing.T, name, password string) bool {
	t.Helper()
	b := f.browser()
	b.address = "198.51.100.7:1000"
	return strings.Contains(b.submit(t, b.open(t, account), "username", name, "password", password).body, "Your account")
}

func TestChangingThePassword(t *testing.T) {
	f := newUserServer(t)
	b := f.carol(t)
	access, refresh := b.tokens(t)
	code := b.code(t)
	elsewhere := f.signedIn(t, "carol", carolsPassword)
	accessElsewhere, _ := elsewhere.tokens(t)
	alice := f.signedIn(t, "alice", password)
	before := b.cookies["__Host-portcullis_session"]

	got := b.changePassword(t, carolsPassword, nextPassword, nextPassword)
	require.Equal(t, 200, got.StatusCode, got.body)
	assertGuarded(t, got)
	assert.Contains(t, got.body, `role="status">Your password has been changed.`)
	assert.NotContains(t, got.body, nextPassword)
	assert.NotEqual(t, before, b.cookies["__Host-portcullis_session"], "R05")
	assert.Contains(t, b.open(t, account).body, "Your account", "this browser goes on")
	assert.Contains(t, elsewhere.open(t, account).body, "to see your account", "the others do not")
	assert.Contains(t, alice.open(t, account).body, "Your account", "somebody else does")
	stolen := f.browser()
	stolen.cookies["__Host-portcullis_session"] = before
	assert.Contains(t, stolen.open(t, account).body, "to see your account", "R05 attack: a session that was stolen before")
	assert.False(t, f.canSignIn(t, "carol", carolsPassword))
	assert.True(t, f.canSignIn(t, "carol", nextPassword))
	assert.False(t, f.active(t, accessElsewhere), "F09: nor does what came of them")
	assert.True(t, f.active(t, access), "F09: what applications may do is withdrawn by itself")
	assert.Equal(t, "carol@example.com", f.introspection(t, access)["email"], "the rest of her record stays")
	status, _ := f.asWeb(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	assert.Equal(t, 200, status, "F09")
	status, _ = f.asWeb(t, exchange(code))
	assert.Equal(t, 400, status, "F09: what is under way is not")

	got = b.open(t, issuer+"/oauth2/logout")
	require.Contains(t, b.submit(t, got).body, "You are signed out")
	assert.False(t, f.active(t, access), "F09: the session was the same until now")

	record, err := f.store.Record(t.Context(), "party", "carol")
	require.NoError(t, err)
	assert.Contains(t, string(record.Value), `"$argon2id$v=19$m=47104,t=1,p=1$`)
	assert.NotContains(t, string(record.Value), nextPassword)
}

func TestPasswordsThatAreNotChanged(t *testing.T) {
	f := newUserServer(t)
	b := f.carol(t)
	for name, test := range map[string]struct {
		old, next, again string
		status           int
		says             string
	}{
		"R03 attack: the old password is not known": {"guess", nextPassword, nextPassword, 403, "The old password is wrong."},
		"an old password that is too long":          {strings.Repeat("x", 1025), nextPassword, nextPassword, 403, "The old password is wrong."},
		"no old password":                           {"", nextPassword, nextPassword, 403, "The old password is wrong."},
		"a short one":                               {carolsPassword, "elevenchars", "elevenchars", 400, "at least 12 characters"},
		"a short one of many bytes":                 {carolsPassword, "äöüäöüäöüäö", "äöüäöüäöüäö", 400, "at least 12 characters"},
		"one that is too long":                      {carolsPassword, strings.Repeat("x", 1025), strings.Repeat("x", 1025), 400, "at least 12 characters"},
		"none":                                      {carolsPassword, "", "", 400, "at least 12 characters"},
		"one with control characters":               {carolsPassword, "abcdefghijkl\x00m", "abcdefghijkl\x00m", 400, "at least 12 characters"},
		"another the second time":                   {carolsPassword, nextPassword, nextPassword + "!", 400, "are not the same"},
		"the same":                                  {carolsPassword, carolsPassword, carolsPassword, 400, "is the old one"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.changePassword(t, test.old, test.next, test.again)
			assert.Equal(t, test.status, got.StatusCode)
			assert.Contains(t, passwordForm(got.body), test.says)
			assertGuarded(t, got)
			f.nanos.Add(int64(30 * time.Second))
			assert.True(t, f.canSignIn(t, "carol", carolsPassword))
		})
	}
	t.Run("R09 attack: somebody at a browser that was left alone guesses", func(t *testing.T) {
		f.nanos.Add(int64(time.Hour))
		for range 5 {
			assert.Equal(t, 403, b.changePassword(t, "guess", nextPassword, nextPassword).StatusCode)
		}
		got := b.changePassword(t, carolsPassword, nextPassword, nextPassword)
		assert.Equal(t, 429, got.StatusCode)
		assert.Equal(t, "30", got.Header.Get("Retry-After"))
		assert.Contains(t, passwordForm(got.body), "too many attempts")
		f.nanos.Add(int64(time.Hour))
	})
	t.Run("R03 attack: another site sends the form", func(t *testing.T) {
		action, form := b.passwordForm(t, carolsPassword, nextPassword, nextPassword)
		b.header = http.Header{"Origin": {"https://evil.example"}}
		defer func() { b.header = nil }()
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
		form.Del("form_token")
		b.header = nil
		assert.Equal(t, 403, b.send(t, http.MethodPost, action, form).StatusCode)
		assert.True(t, f.canSignIn(t, "carol", carolsPassword))
	})
	t.Run("a user of the configuration", func(t *testing.T) {
		f.signedIn(t, "alice", password)
		alice := f.signedIn(t, "alice", password)
		body := alice.open(t, account).body
		assert.Contains(t, body, "Whoever runs this server sets your password.")
		assert.NotContains(t, body, "new_password")
		_, form := alice.open(t, account).formAbout(t, "end_other_sessions", "")
		form.Set("form", "password")
		form.Set("old_password", password)
		form.Set("new_password", nextPassword)
		form.Set("repeated_password", nextPassword)
		assert.Equal(t, 403, alice.send(t, http.MethodPost, account, form).StatusCode)
	})
	t.Run("race: two change it at once, and one succeeds", func(t *testing.T) {
		f := newUserServer(t)
		browsers := []*browser{f.carol(t), f.signedIn(t, "carol", carolsPassword)}
		next := []string{"the first new password", "the second new password"}
		forms := make([]url.Values, 2)
		for i, one := range browsers {
			_, forms[i] = one.passwordForm(t, carolsPassword, next[i], next[i])
		}
		var changed [2]bool
		var running sync.WaitGroup
		for i, one := range browsers {
			running.Go(func() { changed[i] = one.send(t, http.MethodPost, account, forms[i]).StatusCode == 200 })
		}
		running.Wait()
		assert.NotEqual(t, changed[0], changed[1])
		for i := range next {
			assert.Equal(t, changed[i], f.canSignIn(t, "carol", next[i]))
		}
	})
}
