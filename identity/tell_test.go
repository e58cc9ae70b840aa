package identity_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http/httpguts"

	"github.com/portcullis-gateway/portcullis/identity"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// longestValue is the most bytes that a header value has.
const longestValue = 8 << 10

// active is an active answer with the given further members.
func active(t testing.TB, members string) *introspect.Answer {
	t.Helper()
	if members != "" {
		members = "," + members
	}
	answer, err := introspect.ParseAnswer([]byte(`{"active":true`+members+`}`), time.Unix(1_800_000_000, 0))
	require.NoError(t, err)
	return answer
}

func teller(t testing.TB, preset identity.Preset, copies ...identity.Copy) *identity.Teller {
	t.Helper()
	made, err := identity.NewTeller(identity.Config{Preset: preset, Copies: copies})
	require.NoError(t, err)
	return made
}

// tell tells about an answer on a request without headers.
func tell(t *testing.T, teller *identity.Teller, answer *introspect.Answer) http.Header {
	t.Helper()
	header := http.Header{}
	told, _, err := teller.Tell(header, answer, nil)
	require.NoError(t, err)
	require.Len(t, told, len(header))
	for _, name := range told {
		require.Len(t, header[name], 1, "J01 exactly one line: %s", name)
	}
	return header
}

func quoted(t testing.TB, text string) string {
	t.Helper()
	encoded, err := json.Marshal(text)
	require.NoError(t, err)
	return string(encoded)
}

func TestPresetRemote(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		want          http.Header
	}{
		{
			"everything",
			`"username":"ann","sub":"123","name":"Ann Other","email":"ann@example.com","groups":["staff","ops"],
			 "roles":["ignored"],"client_id":"app","scope":"read write"`,
			http.Header{
				"Remote-User": {"ann"}, "Remote-Name": {"Ann Other"}, "Remote-Email": {"ann@example.com"},
				"Remote-Groups": {"staff,ops"}, "Remote-Client": {"app"}, "Remote-Scope": {"read write"},
			},
		},
		{"J11 nothing", ``, http.Header{}},
		{
			"J09 everything null",
			`"username":null,"sub":null,"name":null,"email":null,"groups":null,"roles":null,"client_id":null,"scope":null`,
			http.Header{},
		},
		{
			"J11 everything empty",
			`"username":"","sub":"","name":"","email":"","groups":[],"roles":[],"client_id":"","scope":""`,
			http.Header{},
		},

		{"user is username before sub", `"username":"ann","sub":"123"`, http.Header{"Remote-User": {"ann"}}},
		{"user is sub without username", `"sub":"123"`, http.Header{"Remote-User": {"123"}}},
		{"user is sub with username null", `"username":null,"sub":"123"`, http.Header{"Remote-User": {"123"}}},
		{"user is sub with an empty username", `"username":"","sub":"123"`, http.Header{"Remote-User": {"123"}}},
		{"user is a number", `"sub":12345678901`, http.Header{"Remote-User": {"12345678901"}}},
		{"user is no object", `"username":{"name":"ann"},"sub":["ann"]`, http.Header{}},
		{"user of a client", `"sub":"ann","client_id":"app"`, http.Header{"Remote-User": {"ann"}, "Remote-Client": {"app"}}},
		{
			"user by username of a client that is called alike", `"username":"ann","sub":"app","client_id":"app"`,
			http.Header{"Remote-User": {"ann"}, "Remote-Client": {"app"}},
		},
		{"D16 a client for itself is nobody", `"client_id":"app"`, http.Header{"Remote-Client": {"app"}}},
		{"D16 a client called admin is not the user admin", `"sub":"admin","client_id":"admin"`, http.Header{"Remote-Client": {"admin"}}},
		{
			"D16 nor with an empty username", `"username":"","sub":"admin","client_id":"admin"`,
			http.Header{"Remote-Client": {"admin"}},
		},
		{"D16 nor with numbers", `"sub":7,"client_id":"7"`, http.Header{"Remote-Client": {"7"}}},
		{"J07 another case is another name", `"sub":"Admin","client_id":"admin"`, http.Header{"Remote-User": {"Admin"}, "Remote-Client": {"admin"}}},
		{"other members name nobody", `"preferred_username":"admin","user_name":"admin","Sub":"admin","uid":"admin"`, http.Header{}},

		{"groups else roles", `"roles":["a","b"]`, http.Header{"Remote-Groups": {"a,b"}}},
		{"groups null, roles", `"groups":null,"roles":["a"]`, http.Header{"Remote-Groups": {"a"}}},
		{"groups before roles", `"groups":["a"],"roles":["admin"]`, http.Header{"Remote-Groups": {"a"}}},
		{"no groups is not roles", `"groups":[],"roles":["admin"]`, http.Header{}},
		{"groups as a string", `"groups":"staff"`, http.Header{"Remote-Groups": {"staff"}}},
		{"J08 a group with a comma is not two", `"groups":["a,admin","b"]`, http.Header{"Remote-Groups": {"a%2Cadmin,b"}}},
		{"J08 a group with an encoded comma is not one with a comma", `"groups":["a%2Cadmin"]`, http.Header{"Remote-Groups": {"a%252Cadmin"}}},
		{"scope as an array", `"scope":["read","write"]`, http.Header{"Remote-Scope": {"read write"}}},
		{"name is a path of one member", `"Name":"x"`, http.Header{}},
		{"email as an object", `"email":{"a":1}`, http.Header{"Remote-Email": {`{"a":1}`}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, tell(t, teller(t, identity.Remote), active(t, tc.members)))
		})
	}
	t.Run("an inactive answer names nobody", func(t *testing.T) {
		answer, err := introspect.ParseAnswer([]byte(`{"active":false,"sub":"admin","name":"Admin"}`), time.Time{})
		require.NoError(t, err)
		assert.Empty(t, tell(t, teller(t, identity.Remote, identity.Copy{Claim: "sub"}), answer))
	})
	t.Run("none tells nothing", func(t *testing.T) {
		assert.Empty(t, tell(t, teller(t, identity.None), active(t, `"sub":"ann","name":"Ann","client_id":"app"`)))
	})
	t.Run("none tells what is copied", func(t *testing.T) {
		made := teller(t, identity.None, identity.Copy{Claim: "sub", Header: "Remote-User"})
		assert.Equal(t, http.Header{"Remote-User": {"ann"}}, tell(t, made, active(t, `"sub":"ann","name":"Ann"`)))
	})
}

func TestUser(t *testing.T) {
	for _, tc := range []struct{ name, members, want string }{
		{"username", `"username":"ann","sub":"1"`, "ann"},
		{"sub", `"sub":"1","client_id":"app"`, "1"},
		{"J06 encoded as in the header", `"sub":"José"`, "Jos%C3%A9"},
		{"nobody", ``, ""},
		{"D16 the client itself", `"sub":"app","client_id":"app"`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer := active(t, tc.members)
			user, err := teller(t, identity.Remote).User(answer)
			require.NoError(t, err)
			assert.Equal(t, tc.want, user)
			assert.Equal(t, user, tell(t, teller(t, identity.Remote), answer).Get("Remote-User"))
		})
	}
}

// Every header value is written by these rules, in the presets as in copy_claims.
func TestEncoding(t *testing.T) {
	for _, tc := range []struct {
		name, claim, want string // an empty want means no header
	}{
		{"plain", `"ann"`, "ann"},
		{"every printable character", `"!\"#$&'()*+,-./0123456789:;<=>?@ABCXYZ[\\]^_` + "`" + `abcxyz{|}~"`, "!\"#$&'()*+,-./0123456789:;<=>?@ABCXYZ[\\]^_`abcxyz{|}~"},
		{"inner spaces stay", `"Ann  B. Other"`, "Ann  B. Other"},
		{"a comma in a string stays", `"Other, Ann"`, "Other, Ann"},
		{"J07 leading space", `" admin"`, "%20admin"},
		{"J07 trailing space", `"admin "`, "admin%20"},
		{"J07 several spaces at both ends", `"  admin  "`, "%20 admin %20"},
		{"J07 only a space", `" "`, "%20"},
		{"J07 only spaces", `"   "`, "%20 %20"},
		{"J07 no-break space", `"\u00a0admin"`, "%C2%A0admin"},
		{"J07 fullwidth letter", `"ａdmin"`, "%EF%BD%81dmin"},
		{"percent", `"100%"`, "100%25"},
		{"percent that looks encoded", `"%61dmin"`, "%2561dmin"},
		{"J06 Latin", `"José"`, "Jos%C3%A9"},
		{"J06 beyond the first plane", `"😀"`, "%F0%9F%98%80"},
		{"tab", `"a\tb"`, "a%09b"},
		{"delete", `"a\u007fb"`, "a%7Fb"},
		{"J05 CR LF and a header", `"a\r\nX-Admin: 1"`, "a%0D%0AX-Admin: 1"},
		{"J05 LF at the end", `"admin\n"`, "admin%0A"},
		{"J05 only LF", `"\n"`, "%0A"},
		{"J05 NUL", `"ad\u0000min"`, "ad%00min"},
		{"J05 line separator", `"a\u2028b"`, "a%E2%80%A8b"},
		{"J15 placeholder", `"{env.SECRET}"`, "{env.SECRET}"},
		{"J15 placeholder of a request", `"{http.request.header.Authorization}"`, "{http.request.header.Authorization}"},
		{"J11 empty", `""`, ""},

		{"J09 null", `null`, ""},
		{"J09 true", `true`, "true"},
		{"J09 false", `false`, "false"},
		{"J09 zero", `0`, "0"},
		{"D17 more digits than an exponent", `12345678901`, "12345678901"},
		{"D17 more digits than a float", `9007199254740993`, "9007199254740993"},
		{"D17 beyond 64 bits", `123456789012345678901234567890`, "123456789012345678901234567890"},
		{"D17 beyond a float", `1e400`, "1e400"},
		{"D17 zeros at the end", `1.50`, "1.50"},
		{"D17 negative zero", `-0`, "-0"},
		{"D17 exponent as sent", `1E+2`, "1E+2"},

		{"J08 list", `["a","b"]`, "a,b"},
		{"J08 list of one", `["a"]`, "a"},
		{"J08 comma in an element", `["a,admin","b"]`, "a%2Cadmin,b"},
		{"J08 element that is a comma", `[","]`, "%2C"},
		{"J08 spaces at the ends of elements", `[" a","b "," c d "]`, "%20a,b%20,%20c d%20"},
		{"J08 elements beyond ASCII", `["é","%"]`, "%C3%A9,%25"},
		{"J05 LF in an element", `["a\nb"]`, "a%0Ab"},
		{"J11 empty list", `[]`, ""},
		{"J11 list of an empty string", `[""]`, ""},

		{"J09 mixed list", `["a",1,null,true]`, `["a",1,null,true]`},
		{"J09 list of numbers", `[9007199254740993,1e400,1.50]`, `[9007199254740993,1e400,1.50]`},
		{"J09 list of lists", `[["a"],[]]`, `[["a"],[]]`},
		{"J09 list of objects", `[ { "a" : 1 } ]`, `[{"a":1}]`},
		{"J09 object", `{ "b" : [ "x" , 2 ] , "a" : null }`, `{"b":["x",2],"a":null}`},
		{"J09 empty object", `{}`, `{}`},
		{"J09 object with what HTML would escape", `{"a":"<b>&"}`, `{"a":"<b>&"}`},
		{"J09 object with large numbers", `{"n":12345678901234567890}`, `{"n":12345678901234567890}`},
		{"J05 object with LF", `{"a":"x\r\ny"}`, `{"a":"x\r\ny"}`},
		{"J06 object beyond ASCII", `{"é":"100%"}`, `{"%C3%A9":"100%25"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := http.Header{}
			if tc.want != "" {
				want["X-Claim-Told"] = []string{tc.want}
			}
			made := teller(t, identity.None, identity.Copy{Claim: "told"})
			assert.Equal(t, want, tell(t, made, active(t, `"told":`+tc.claim)))

			if strings.HasPrefix(tc.claim, `"`) && tc.want != "" {
				user, err := teller(t, identity.Remote).User(active(t, `"sub":`+tc.claim))
				require.NoError(t, err)
				assert.Equal(t, tc.want, user, "the user is encoded like every text")
				assert.Equal(t, tc.want, tell(t, teller(t, identity.Remote), active(t, `"client_id":`+tc.claim)).Get("Remote-Client"))
			}
		})
	}
}

func TestEncodingByteByByte(t *testing.T) {
	made := teller(t, identity.None, identity.Copy{Claim: "text"}, identity.Copy{Claim: "list"})
	for c := range 0x80 {
		text := "a" + string(rune(c)) + "b"
		header := tell(t, made, active(t, fmt.Sprintf(`"text":%[1]s,"list":[%[1]s]`, quoted(t, text))))
		want := text
		if c < 0x20 || c > 0x7E || c == '%' {
			want = fmt.Sprintf("a%%%02Xb", c)
		}
		assert.Equal(t, want, header.Get("X-Claim-Text"), "byte %#02x", c)
		if c == ',' {
			want = "a%2Cb"
		}
		assert.Equal(t, want, header.Get("X-Claim-List"), "byte %#02x in a list", c)
	}
}

// What is too long for a header is not told at all: a shortened name is another name (J10).
func TestTooLong(t *testing.T) {
	fits, long := strings.Repeat("a", longestValue), strings.Repeat("a", longestValue+1)
	for _, tc := range []struct {
		name, claim string
		told        bool
	}{
		{"J10 text that just fits", `"` + fits + `"`, true},
		{"J10 text", `"` + long + `"`, false},
		{"J10 text that is short before it is encoded", `"` + strings.Repeat("é", longestValue/6+1) + `"`, false},
		{"J10 encoded text that just fits", `"aa` + strings.Repeat("é", longestValue/6) + `"`, true},
		{"J10 list that just fits", `["b","` + fits[2:] + `"]`, true},
		{"J10 list", `["b","` + fits[1:] + `"]`, false},
		{"J10 object that just fits", `{"b":"` + fits[8:] + `"}`, true},
		{"J10 object", `{"b":"` + fits[7:] + `"}`, false},
		{"J10 number", strings.Repeat("1", longestValue+1), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			made := teller(t, identity.Remote, identity.Copy{Claim: "c", Header: "X-C"})
			header := tell(t, made, active(t, `"sub":"ann","c":`+tc.claim))
			assert.Equal(t, []string{"ann"}, header["Remote-User"], "the others are told")
			_, told := header["X-C"]
			assert.Equal(t, tc.told, told)
			if told {
				assert.Len(t, header.Get("X-C"), longestValue)
			}
		})
	}
	for name, members := range map[string]string{
		"J10 username":          `"username":"` + long + `"`,
		"J10 sub":               `"sub":"` + long + `"`,
		"J10 encoded username":  `"username":"` + strings.Repeat("é", longestValue/6+1) + `","sub":"ann"`,
		"J10 username, not sub": `"username":"` + long + `","sub":"ann"`,
	} {
		for _, preset := range []identity.Preset{identity.Remote, identity.None} {
			t.Run(name+", preset "+string(preset), func(t *testing.T) {
				made := teller(t, preset, identity.Copy{Claim: "name", Header: "X-Name"})
				header := http.Header{"Accept": {"*/*"}}
				told, _, err := made.Tell(header, active(t, members+`,"name":"Ann","client_id":"app"`), identity.Told{"X-Before"})
				require.ErrorIs(t, err, identity.ErrUser)
				assert.Equal(t, http.Header{"Accept": {"*/*"}}, header, "nothing is told of somebody who cannot be named")
				assert.Equal(t, identity.Told{"X-Before"}, told)
				assert.NotContains(t, err.Error(), "aaaa")
			})
		}
	}
}

func TestTarget(t *testing.T) {
	for _, tc := range []struct{ claim, header, want string }{
		{"sub", "", "X-Claim-Sub"},
		{"realm_access.roles", "", "X-Claim-Realm-Access-Roles"},
		{"https://example.com/roles", "", "X-Claim-Https---Example-Com-Roles"},
		{`https://example\.com/roles`, "", "X-Claim-Https---Example-Com-Roles"},
		{"urn:example:level", "", "X-Claim-Urn-Example-Level"},
		{"a_b.c/d:e-f", "", "X-Claim-A-B-C-D-E-F"},
		{"UPPER_case", "", "X-Claim-Upper-Case"},
		{"sub", "X-User-Id", "X-User-Id"},
		{"sub", "x-user-ID", "X-User-Id"},
	} {
		t.Run(tc.claim+">"+tc.header, func(t *testing.T) {
			c := identity.Copy{Claim: tc.claim, Header: tc.header}
			assert.Equal(t, tc.want, c.Target())
			assert.Equal(t, []string{tc.want}, teller(t, identity.Remote, c).Targets())
			assert.True(t, identity.NewProtected(nil).Has(tc.want) != (tc.header != ""), "X-Claim-* is protected everywhere")
		})
	}
}

func TestNewTellerRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		preset identity.Preset
		copies []identity.Copy
	}{
		{"unknown preset", "everything", nil},
		{"preset in another case", "Remote", nil},
		{"one claim twice", identity.None, []identity.Copy{{Claim: "sub"}, {Claim: "sub"}}},
		{"one header for two claims", identity.None, []identity.Copy{{Claim: "sub", Header: "X-A"}, {Claim: "name", Header: "X-A"}}},
		{"one header in another case", identity.None, []identity.Copy{{Claim: "sub", Header: "X-A"}, {Claim: "name", Header: "x-a"}}},
		{"two claims whose headers are equal", identity.None, []identity.Copy{{Claim: "a_b"}, {Claim: "a.b"}}},
		{"a header named twice, once by its claim", identity.None, []identity.Copy{{Claim: "sub"}, {Claim: "name", Header: "X-Claim-Sub"}}},
		{"a header of the preset", identity.Remote, []identity.Copy{{Claim: "sub", Header: "Remote-User"}}},
		{"a header of the preset in another case", identity.Remote, []identity.Copy{{Claim: "sub", Header: "REMOTE-scope"}}},
		{"underscore", identity.None, []identity.Copy{{Claim: "sub", Header: "X_User"}}},
		{"dot", identity.None, []identity.Copy{{Claim: "sub", Header: "X.User"}}},
		{"an alias of a header of the preset", identity.Remote, []identity.Copy{{Claim: "sub", Header: "Remote_User"}}},
		{"J18 space", identity.None, []identity.Copy{{Claim: "sub", Header: "X User"}}},
		{"J18 colon", identity.None, []identity.Copy{{Claim: "sub", Header: "X-User:"}}},
		{"J18 pseudo header", identity.None, []identity.Copy{{Claim: "sub", Header: ":authority"}}},
		{"J18 line feed", identity.None, []identity.Copy{{Claim: "sub", Header: "X-User\r\nX-Admin"}}},
		{"J18 NUL", identity.None, []identity.Copy{{Claim: "sub", Header: "X-User\x00"}}},
		{"J18 not ASCII", identity.None, []identity.Copy{{Claim: "sub", Header: "X-Usér"}}},
		{"J18 a claim that makes no name", identity.None, []identity.Copy{{Claim: "first name"}}},
		{"J18 a claim that makes no name, not ASCII", identity.None, []identity.Copy{{Claim: "größe"}}},
		{"too long", identity.None, []identity.Copy{{Claim: "sub", Header: "X-" + strings.Repeat("a", 127)}}},
		{"too long by its claim", identity.None, []identity.Copy{{Claim: strings.Repeat("a", 121)}}},
		{"the second of two", identity.None, []identity.Copy{{Claim: "sub"}, {Claim: "name", Header: "Host"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			made, err := identity.NewTeller(identity.Config{Preset: tc.preset, Copies: tc.copies})
			require.Error(t, err)
			assert.Nil(t, made)
		})
	}
	for _, header := range []string{
		"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
		"Transfer-Encoding", "Upgrade", "Host", "Content-Length", "Content-Type", "Content-Encoding", "Expect",
		"Authorization", "Cookie", "DPoP", "Forwarded", "Via", "Accept-Encoding",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
	} {
		for _, spelled := range []string{header, strings.ToLower(header), strings.ToUpper(header)} {
			t.Run("J18 reserved "+spelled, func(t *testing.T) {
				_, err := identity.NewTeller(identity.Config{Preset: identity.None, Copies: []identity.Copy{{Claim: "sub", Header: spelled}}})
				require.Error(t, err)
			})
		}
	}
}

// A route with copies must not change what the preset tells on other routes.
func TestTellersShareNothing(t *testing.T) {
	a := teller(t, identity.Remote, identity.Copy{Claim: "a", Header: "X-A"})
	b := teller(t, identity.Remote, identity.Copy{Claim: "b", Header: "X-B"})
	plain := teller(t, identity.Remote)
	answer := active(t, `"sub":"ann","a":"1","b":"2"`)
	assert.Equal(t, http.Header{"Remote-User": {"ann"}, "X-A": {"1"}}, tell(t, a, answer))
	assert.Equal(t, http.Header{"Remote-User": {"ann"}, "X-B": {"2"}}, tell(t, b, answer))
	assert.Equal(t, http.Header{"Remote-User": {"ann"}}, tell(t, plain, answer))
	assert.Empty(t, plain.Targets())
}

func TestCopyClaims(t *testing.T) {
	const members = `"sub":"ann","realm_access":{"roles":["a","b"]},"a.b":"whole","a":{"b":"split","c.d":"dotted"},"n":null`
	for _, tc := range []struct {
		name string
		copy identity.Copy
		want http.Header
	}{
		{"a member", identity.Copy{Claim: "sub", Header: "X-User-Id"}, http.Header{"X-User-Id": {"ann"}}},
		{"a path", identity.Copy{Claim: "realm_access.roles", Header: "X-Roles"}, http.Header{"X-Roles": {"a,b"}}},
		{"a member with a dot before a path", identity.Copy{Claim: "a.b"}, http.Header{"X-Claim-A-B": {"whole"}}},
		{"a path with an escaped dot", identity.Copy{Claim: `a.c\.d`}, http.Header{"X-Claim-A-C-D": {"dotted"}}},
		{"J11 absent", identity.Copy{Claim: "nothing"}, http.Header{}},
		{"J11 absent below", identity.Copy{Claim: "sub.name"}, http.Header{}},
		{"J09 null", identity.Copy{Claim: "n"}, http.Header{}},
		{"another case is another claim", identity.Copy{Claim: "Sub"}, http.Header{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, tell(t, teller(t, identity.None, tc.copy), active(t, members)))
		})
	}
}

func TestTellReplacesWhatTheClientSent(t *testing.T) {
	header := http.Header{"Remote-User": {"admin", "root"}, "Accept": {"*/*"}}
	told, _, err := teller(t, identity.Remote).Tell(header, active(t, `"sub":"ann"`), nil)
	require.NoError(t, err)
	assert.Equal(t, http.Header{"Remote-User": {"ann"}, "Accept": {"*/*"}}, header)
	assert.Equal(t, identity.Told{"Remote-User"}, told)
}

// Of two directives the second adds to what the first told, and changes nothing of it.
func TestTellTwice(t *testing.T) {
	header := http.Header{}
	told, _, err := teller(t, identity.Remote).Tell(header, active(t, `"sub":"ann"`), nil)
	require.NoError(t, err)
	told, _, err = teller(t, identity.Remote, identity.Copy{Claim: "x", Header: "X-X"}).
		Tell(header, active(t, `"sub":"ben","name":"Ben","x":"1"`), told)
	require.NoError(t, err)
	assert.Equal(t, http.Header{"Remote-User": {"ann"}, "Remote-Name": {"Ben"}, "X-X": {"1"}}, header)
	assert.Equal(t, identity.Told{"Remote-User", "Remote-Name", "X-X"}, told)

	identity.NewProtected([]string{"X-X"}).Strip(request(header), told)
	assert.Len(t, header, 3, "and the second directive does not strip what the first told")
}

// Handlers behind the gateway may change header values in place; the next request must not see it (D25).
func TestTellSharesNoHeaderValues(t *testing.T) {
	made := teller(t, identity.Remote, identity.Copy{Claim: "roles", Header: "X-Roles"})
	answer := active(t, `"sub":"ann","name":"Ann","groups":["a"],"roles":["b"],"client_id":"app","scope":"read"`)
	first := tell(t, made, answer)
	require.Len(t, first, 6)
	want := first.Clone()
	for name := range first {
		first[name] = append(first[name], "root")
	}
	for name := range first {
		require.Equal(t, []string{want[name][0], "root"}, first[name], "a line added to one header is in no other")
		first[name][0] = "admin"
	}
	assert.Equal(t, want, tell(t, made, answer))
	groups, _ := answer.Claim("groups")
	assert.Equal(t, []any{"a"}, groups)
}

func TestTellConcurrently(t *testing.T) {
	made := teller(t, identity.Remote, identity.Copy{Claim: "roles", Header: "X-Roles"})
	answer := active(t, `"sub":"ann","groups":["é,","b"],"roles":[{"a":1}]`)
	want := http.Header{"Remote-User": {"ann"}, "Remote-Groups": {"%C3%A9%2C,b"}, "X-Roles": {`[{"a":1}]`}}
	headers := make(chan http.Header)
	for range 8 {
		go func() {
			header := http.Header{}
			_, _, _ = made.Tell(header, answer, nil)
			headers <- header
		}()
	}
	for range 8 {
		assert.Equal(t, want, <-headers)
	}
}

// Text feeds placeholders, which are not headers: nothing is encoded.
func TestText(t *testing.T) {
	answer := active(t, `"string":"Jos\u00e9, 100% ","empty":"","null":null,"true":true,"number":9007199254740993,"huge":1e400,
		"list":["a,b"," c"],"none":[],"mixed":["a",1],"object":{ "b" : 1.50, "a" : ["<x>"] },"placeholder":"{env.SECRET}"`)
	for claim, want := range map[string]string{
		"string":      "José, 100% ",
		"empty":       "",
		"null":        "",
		"absent":      "",
		"true":        "true",
		"number":      "9007199254740993",
		"huge":        "1e400",
		"list":        "a,b, c",
		"none":        "",
		"mixed":       `["a",1]`,
		"object":      `{"b":1.50,"a":["<x>"]}`,
		"object.b":    "1.50",
		"placeholder": "{env.SECRET}",
	} {
		value, _ := answer.Claim(claim)
		assert.Equal(t, want, identity.Text(value), claim)
	}
	assert.Empty(t, identity.Text(func() {}), "what no answer holds")
}

// encoded is claim_encoding percent as the contract words it, written down independently of the package.
func encoded(text string, inList bool) string {
	var b strings.Builder
	for i, c := range []byte(text) {
		atEnd := i == 0 || i == len(text)-1
		if c < 0x20 || c > 0x7E || c == '%' || c == ' ' && atEnd || c == ',' && inList {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// checkWire says that a value is one that every server reads as it was sent.
func checkWire(t *testing.T, header http.Header) {
	t.Helper()
	for name, values := range header {
		require.Len(t, values, 1, name)
		require.NotEmpty(t, values[0], name)
		require.LessOrEqual(t, len(values[0]), longestValue, name)
		require.True(t, httpguts.ValidHeaderFieldValue(values[0]), "%s: %q", name, values[0])
		require.Equal(t, strings.Trim(values[0], " \t"), values[0], name)
		outside := strings.IndexFunc(values[0], func(r rune) bool { return r < 0x20 || r > 0x7E })
		require.Equal(t, -1, outside, "%s: %q", name, values[0])
	}
}

// FuzzTell gives the same text to every member that is told, and any JSON value to a claim.
func FuzzTell(f *testing.F) {
	for _, seed := range []struct{ text, value string }{
		{"ann", `"x"`},
		{"José", `["a,b"," c ","é"]`},
		{" admin ", `{"a":[1,2.50,1e400,null,true,"\u0000"]}`},
		{"a\r\nX-Admin: 1", `["a\r\nb"]`},
		{"\x00\x7f\xff", `"\u007f"`},
		{"{env.SECRET}", `[[],{}]`},
		{"100%", `12345678901234567890`},
		{"", `[]`},
		{"%2561", `["",""]`},
		{"a,b", `null`},
		{strings.Repeat("é", longestValue/6+1), `"` + strings.Repeat("a", longestValue+1) + `"`},
	} {
		f.Add(seed.text, seed.value)
	}
	made := teller(f, identity.Remote, identity.Copy{Claim: "text"}, identity.Copy{Claim: "list"}, identity.Copy{Claim: "value"})
	f.Fuzz(func(t *testing.T, text, value string) {
		text = strings.ToValidUTF8(text, "\uFFFD") // an answer is UTF-8
		q := quoted(t, text)
		body := fmt.Sprintf(`{"active":true,"sub":%[1]s,"name":%[1]s,"email":%[1]s,"text":%[1]s,"list":["x",%[1]s],"value":%[2]s}`, q, value)
		answer, err := introspect.ParseAnswer([]byte(body), time.Time{})
		if err != nil {
			answer = active(t, fmt.Sprintf(`"sub":%[1]s,"name":%[1]s,"email":%[1]s,"text":%[1]s,"list":["x",%[1]s]`, q))
		}
		header := http.Header{}
		told, _, err := made.Tell(header, answer, nil)
		want := encoded(text, false)
		if err != nil {
			require.ErrorIs(t, err, identity.ErrUser)
			require.Greater(t, len(want), longestValue)
			require.Empty(t, header)
			require.Empty(t, told)
			return
		}
		require.Len(t, told, len(header))
		checkWire(t, header)
		for _, name := range []string{"Remote-User", "Remote-Name", "Remote-Email", "X-Claim-Text"} {
			require.Equal(t, want, header.Get(name), name)
			decoded, err := url.PathUnescape(header.Get(name))
			require.NoError(t, err, name)
			require.Equal(t, text, decoded, name)
		}
		if list := "x," + encoded(text, true); len(list) <= longestValue {
			require.Equal(t, list, header.Get("X-Claim-List"))
			elements := strings.Split(header.Get("X-Claim-List"), ",")
			require.Len(t, elements, 2, "J08: an element became two")
			decoded, err := url.PathUnescape(elements[1])
			require.NoError(t, err)
			require.Equal(t, text, decoded)
		} else {
			require.NotContains(t, header, "X-Claim-List")
		}

		claim, _ := answer.Claim("value")
		plain := identity.Text(claim)
		if _, isList := claim.([]any); isList {
			return
		}
		if want := encoded(plain, false); len(want) <= longestValue {
			require.Equal(t, want, header.Get("X-Claim-Value"))
		} else {
			require.NotContains(t, header, "X-Claim-Value")
		}
	})
}
