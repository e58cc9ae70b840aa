package testgateway

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsOverheard(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, test := range []struct {
		name   string
		header http.Header
		body   string
		heard  []string
	}{
		{"a bearer token", http.Header{"Authorization": {"Bearer token-1234"}}, "", []string{"token-1234"}},
		{"of two tokens each", http.Header{"Authorization": {"bearer token-1234, Bearer token-5678"}}, "", []string{
			"token-1234, Bearer token-5678", "token-1234", "token-5678",
		}},
		{"of two lines each", http.Header{"Authorization": {"Bearer token-1234", "DPoP token-5678"}}, "", []string{"token-1234", "token-5678"}},
		{"the secret in Basic credentials", http.Header{"Authorization": {"Basic " + Basic("a", "s3cr%20et1")}}, "", []string{
			Basic("a", "s3cr%20et1"), "s3cr%20et1", "s3cr et1",
		}},
		{"a cookie", http.Header{"Cookie": {"a=1; session=token-1234"}}, "", []string{"token-1234"}},
		{"a form", http.Header{"Content-Type": {form + "; charset=utf-8"}}, "x=unimportant-1&client_secret=p%40ss-word&token=token-1234", []string{
			"token-1234", "p@ss-word", "p%40ss-word",
		}},
		{"another body", http.Header{"Content-Type": {"text/plain"}}, "token=token-1234", nil},
		{"a word", http.Header{"Authorization": {"Bearer nonsense"}}, "", nil},
		{"something short", http.Header{"Authorization": {"Bearer a+b/c=="}}, "", nil},
		{"a placeholder", http.Header{"Authorization": {"Bearer {env.HOME}"}}, "", nil},
		{"another header", http.Header{"X-Request-Id": {"request-1234"}}, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var g guard
			g.overhearRequest(test.header, test.body)
			assert.Equal(t, test.heard, g.secrets)
		})
	}
}

func TestTokensInRepliesAreOverheard(t *testing.T) {
	var g guard
	g.overhearReply(`{"access_token":"token-1234","refresh_token":"token-5678","scope":"orders:read","token":7}`)
	g.overhearReply(`no JSON, "access_token":"token-9"`)
	assert.Equal(t, []string{"token-1234", "token-5678"}, g.secrets)
}

func TestSecretsInCaddyfilesAreOverheard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("secret-of-a-file\n"), 0o600))
	var g guard
	g.overhearCaddyfile(`{
	introspect a {
		client gateway "secret in quotes"
		endpoint_param key secret-of-a-parameter
	}
	introspect b {
		bearer {env.BEARER}
	}
	introspect c {
		client {$ID} {file.`+path+`}
	}
	introspect d {
		client gateway {env.UNSET_VARIABLE}
	}
	authorization_server {
		client demo {
			redirect_uris https://client.example.com
		}
	}
}
http://localhost {
	introspect @matcher https://as.example.com {$ID} {$UNSET:default-secret} scope a
	introspect scope orders:read
	# client comment no-secret-here
}
`, []string{"BEARER=bearer-of-a-variable", "ID=known"})
	for _, secret := range []string{
		"secret in quotes", "secret+in+quotes", Basic("gateway", "secret in quotes"), Basic("gateway", "secret+in+quotes"),
		"secret-of-a-parameter", "bearer-of-a-variable", "secret-of-a-file", Basic("known", "secret-of-a-file"), "default-secret",
	} {
		assert.Contains(t, g.secrets, secret)
	}
	for _, secret := range g.secrets {
		assert.NotContains(t, secret, "{")
		assert.NotContains(t, secret, "//")
		assert.NotContains(t, secret, "no-secret")
	}
}

func TestDebugging(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no global options":            {"localhost {\n}\n", "{\n\tdebug\n}\nlocalhost {\n}\n"},
		"global options":               {"{\n\tadmin off\n}\n", "{\n\tdebug\n\tadmin off\n}\n"},
		"a comment before the options": {"# {\n\n{ # options\n\tadmin off\n}\n", "# {\n\n{ # options\n\tdebug\n\tadmin off\n}\n"},
		"a snippet before the site":    {"(a) {\n}\nlocalhost {\n}\n", "{\n\tdebug\n}\n(a) {\n}\nlocalhost {\n}\n"},
		"an address that is set later": {"{$SITE} {\n}\n", "{\n\tdebug\n}\n{$SITE} {\n}\n"},
		"nothing":                      {"", "{\n\tdebug\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, debugging(test.text))
		})
	}
}

// fake is a test whose failures are looked at.
type fake struct {
	testing.TB
	failures int
}

func (f *fake) Helper()               {}
func (f *fake) Errorf(string, ...any) { f.failures++ }

func TestGuard(t *testing.T) {
	for name, test := range map[string]struct {
		written  string
		failures int
	}{
		"nothing of note": {"line\nanother line\n", 0},
		"a secret":        {"line\nanother secret-1 line\n", 1},
		"two secrets":     {"secret-1\nsecret-2\n", 2},
		"a panic":         {"panic: no\n\ngoroutine 1 [running]:\n", 2},
		"a race":          {"WARNING: DATA RACE\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var g guard
			g.add("secret-1", "secret-2", "")
			watched := &fake{TB: t}
			g.check(watched, test.written)
			assert.Equal(t, test.failures, watched.failures)
		})
	}
}

func TestWithin(t *testing.T) {
	written := "Bearer token-1234, abc and pat_0123456789"
	for name, test := range map[string]struct{ texts, found []string }{
		"long, short, at the end":     {[]string{"token-1234", "abc", "pat_0123456789"}, []string{"abc", "token-1234", "pat_0123456789"}},
		"as long as what they end by": {[]string{"ken-1234"}, []string{"ken-1234"}},
		"the whole":                   {[]string{written}, []string{written}},
		"two with one ending":         {[]string{"r token-1234", "x token-1234"}, []string{"r token-1234"}},
		"twice":                       {[]string{"pat_0123456789", "23456789"}, []string{"pat_0123456789", "23456789"}},
		"none":                        {[]string{"token-12345", "abd", "at_01234567890"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.found, within(written, test.texts))
		})
	}
}
