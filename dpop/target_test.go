package dpop_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/internal/testdpop"
)

// What a proof is for is compared as URIs are (RFC 3986), not as texts.
func TestTargets(t *testing.T) {
	check, _ := checker(nil)
	key := testdpop.NewKey(t)
	for _, tc := range []struct {
		name, url, htu string
		same           bool
	}{
		{"G06 to the letter", "https://h/a", "https://h/a", true},
		{"G06 query of the request", "https://h/a?x=1", "https://h/a", true},
		{"G06 query and fragment of htu", "https://h/a", "https://h/a?x=1#y", true},
		{"G06 another path", "https://h/a", "https://h/b", false},
		{"G06 a longer path", "https://h/a", "https://h/a/b", false},
		{"G06 another host", "https://h/a", "https://evil/a", false},
		{"G06 another scheme", "https://h/a", "http://h/a", false},
		{"G06 another port", "https://h/a", "https://h:8443/a", false},
		{"G06 the same port", "https://h:8443/a", "https://h:8443/a", true},
		{"G06 a host that begins alike", "https://h/a", "https://h.evil/a", false},
		{"G06 user information", "https://h/a", "https://h@h/a", false},
		{"G06 the host as user information", "https://h/a", "https://h:443@evil/a", false},
		{"G06 another kind of URL", "https://h/a", "ftp://h/a", false},
		{"G06 opaque", "https://h/a", "https:h/a", false},
		{"G06 without scheme", "https://h/a", "//h/a", false},
		{"G06 without host", "https:///a", "https:///a", false},
		{"G07 case of scheme and host", "https://h/~a", "HTTPS://H:443/%7ea", true},
		{"G07 default port of http", "http://h/a", "http://h:80/a", true},
		{"G07 default port of the other scheme", "https://h/a", "https://h:80/a", false},
		{"G07 an empty port", "https://h:/a", "https://h/a", true},
		{"G07 an IPv6 address", "https://[::1]/a", "https://[::1]:443/a", true},
		{"G07 another IPv6 address", "https://[::1]/a", "https://[::2]/a", false},
		{"G07 an empty path", "https://h", "https://h/", true},
		{"G07 an empty path with a query", "https://h/", "https://h?x", true},
		{"G07 case of escapes", "https://h/%c3%a9", "https://h/%C3%A9", true},
		{"G07 a character that needs an escape", "https://h/%C3%A9", "https://h/é", true},
		{"G07 a character that needs none", "https://h/a-b", "https://h/%61%2Db", true},
		{"G07 dot segments", "https://h/b/c", "https://h/a/../b/./c", true},
		{"G07 escaped dot segments", "https://h/b", "https://h/a/%2e%2E/b", true},
		{"G07 more dots than segments", "https://h/b", "https://h/../../b", true},
		{"G07 dots at the end", "https://h/a/", "https://h/a/b/..", true},
		{"G07 a dot at the end", "https://h/a/", "https://h/a/.", true},
		{"G07 three dots are a name", "https://h/a", "https://h/.../a", false},
		{"G07 an escaped slash is not a slash", "https://h/a/b", "https://h/a%2Fb", false},
		{"G07 an escaped delimiter is another", "https://h/a;b", "https://h/a%3Bb", false},
		{"G07 case of the path", "https://h/a", "https://h/A", false},
		{"G07 a slash at the end", "https://h/a", "https://h/a/", false},
		{"G07 two slashes", "https://h/a/b", "https://h/a//b", false},
		{"G07 an escape is undone once", "https://h/%61", "https://h/%2561", false},
		{"G07 a broken escape", "https://h/%zz", "https://h/%zz", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := check.Check(t.Context(), dpop.Request{
				Header: []string{key.Proof(t, "GET", tc.htu)}, Method: "GET", URL: tc.url,
			})
			if tc.same {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, dpop.ErrInvalid)
		})
	}
}
