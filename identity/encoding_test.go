package identity_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/identity"
)

func TestEncodingsThatCannotCarryEverything(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	for _, tc := range []struct {
		name, claim  string
		utf8, base64 string // empty: not sent
	}{
		{"ASCII", `"ann"`, "ann", b64([]byte("ann"))},
		{"J06 beyond ASCII", `"José 日本"`, "José 日本", b64([]byte("José 日本"))},
		{"percent is a sign like others", `"100%"`, "100%", b64([]byte("100%"))},
		{"J05 CR and LF", `"a\r\nX-Admin: 1"`, "", b64([]byte("a\r\nX-Admin: 1"))},
		{"J05 NUL", `"a\u0000b"`, "", b64([]byte("a\x00b"))},
		{"J05 tab", `"a\tb"`, "", b64([]byte("a\tb"))},
		{"J05 DEL", `"a\u007fb"`, "", b64([]byte("a\x7fb"))},
		{"J07 leading space", `" admin"`, "", b64([]byte(" admin"))},
		{"J07 trailing space", `"admin "`, "", b64([]byte("admin "))},
		{"J07 leading space of another kind", `"\u00a0admin"`, "", b64([]byte("\u00a0admin"))},
		{"inner spaces", `"Ann  Other"`, "Ann  Other", b64([]byte("Ann  Other"))},
		{"list", `["a","é"]`, "a,é", b64([]byte("a,é"))},
		{"J08 an element with a comma", `["a,admin","b"]`, "", ""},
		{"empty list", `[]`, "", ""},
		{"mixed list", `["a,b",1]`, `["a,b",1]`, b64([]byte(`["a,b",1]`))},
		{"object", `{"é":1}`, `{"é":1}`, b64([]byte(`{"é":1}`))},
		{"number", `9007199254740993`, "9007199254740993", b64([]byte("9007199254740993"))},
		{"null", `null`, "", ""},
		{"J10 too long", `"` + strings.Repeat("x", longestValue+1) + `"`, "", ""},
		{"J10 too long when encoded", `"` + strings.Repeat("x", longestValue) + `"`, strings.Repeat("x", longestValue), ""},
	} {
		for encoding, want := range map[identity.Encoding]string{identity.UTF8: tc.utf8, identity.Base64URL: tc.base64} {
			t.Run(string(encoding)+" "+tc.name, func(t *testing.T) {
				made, err := identity.NewTeller(identity.Config{
					Preset: identity.None, Copies: []identity.Copy{{Claim: "told"}}, Encoding: encoding,
				})
				require.NoError(t, err)
				expected := http.Header{}
				if want != "" {
					expected["X-Claim-Told"] = []string{want}
				}
				assert.Equal(t, expected, tell(t, made, active(t, `"told":`+tc.claim)))

				if !strings.HasPrefix(tc.claim, `"`) {
					return
				}
				user, err := made.User(active(t, `"sub":`+tc.claim))
				assert.Equal(t, want, user)
				if want == "" {
					require.ErrorIs(t, err, identity.ErrUser, "a user who cannot be named must not be nobody")
				}
			})
		}
	}
}

func TestPresetsOfProxies(t *testing.T) {
	const everything = `"username":"ann","sub":"1","preferred_username":"Ann","email":"a@example.com","groups":["x","y"],"name":"Ann Other","client_id":"app","scope":"read"`
	for _, tc := range []struct {
		name, members string
		want          map[string]string // behind the preset's prefix
	}{
		{"everything", everything, map[string]string{"User": "ann", "Preferred-Username": "Ann", "Email": "a@example.com", "Groups": "x,y"}},
		{"preferred username is username", `"username":"ann"`, map[string]string{"User": "ann", "Preferred-Username": "ann"}},
		{"preferred username is not sub", `"sub":"1"`, map[string]string{"User": "1"}},
		{"D16 a client is nobody", `"sub":"app","client_id":"app"`, nil},
	} {
		for preset, prefix := range map[identity.Preset]string{identity.XForwarded: "X-Forwarded-", identity.XAuthRequest: "X-Auth-Request-"} {
			t.Run(string(preset)+" "+tc.name, func(t *testing.T) {
				want := http.Header{}
				for name, value := range tc.want {
					want[prefix+name] = []string{value}
				}
				assert.Equal(t, want, tell(t, teller(t, preset), active(t, tc.members)))
			})
		}
	}
}

func TestClientAsUser(t *testing.T) {
	made, err := identity.NewTeller(identity.Config{ClientAsUser: true})
	require.NoError(t, err)
	for members, user := range map[string]string{
		`"client_id":"app"`:                            "app",
		`"client_id":"app","sub":"app"`:                "app",
		`"client_id":"app","sub":"1"`:                  "1",
		`"client_id":"app","sub":"1","username":"ann"`: "ann",
		`"client_id":"app","sub":"app","username":""`:  "app",
		``: "",
		`"client_id":"a pp\u0000","sub":null,"username":null`: "a pp%00",
	} {
		got, err := made.User(active(t, members))
		require.NoError(t, err)
		assert.Equal(t, user, got, members)
	}
}

func TestAnUnknownEncodingIsRefused(t *testing.T) {
	_, err := identity.NewTeller(identity.Config{Encoding: "rot13"})
	assert.ErrorContains(t, err, "claim_encoding")
}
