package identity_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/identity"
)

// protectedNames are what the contract promises to remove on every path, without copy targets and X-Claim-*.
var protectedNames = []string{
	"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Client", "Remote-Scope",
	"X-Forwarded-User", "X-Forwarded-Preferred-Username", "X-Forwarded-Email", "X-Forwarded-Groups",
	"X-Auth-Request-User", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Email", "X-Auth-Request-Groups",
	"Client-Cert", "Client-Cert-Chain",
}

// spellings of a name that some backend takes for it (J02).
func spellings(name string) map[string]string {
	alternate := func(first, second string) string {
		var b strings.Builder
		for i, part := range strings.Split(name, "-") {
			switch {
			case i == 0:
			case i%2 == 1:
				b.WriteString(first)
			default:
				b.WriteString(second)
			}
			b.WriteString(part)
		}
		return b.String()
	}
	return map[string]string{
		"another sign (lighttpd folds them all)": strings.ReplaceAll(name, "-", "+"),
		"canonical":                              name,
		"lower case":                             strings.ToLower(name),
		"upper case":                             strings.ToUpper(name),
		"underscores":                            alternate("_", "_"),
		"underscores, lower case":                strings.ToLower(alternate("_", "_")),
		"underscores, upper case":                strings.ToUpper(alternate("_", "_")),
		"underscores, as Go reads":               http.CanonicalHeaderKey(strings.ToLower(alternate("_", "_"))),
		"dots":                                   alternate(".", "."),
		"dots, lower case":                       strings.ToLower(alternate(".", ".")),
		"dot and underscore":                     alternate(".", "_"),
		"underscore and hyphen":                  alternate("_", "-"),
		"hyphen and dot":                         strings.ToLower(alternate("-", ".")),
	}
}

func request(header http.Header) *http.Request {
	return &http.Request{Method: http.MethodGet, Header: header}
}

func TestStripRemovesForgedHeaders(t *testing.T) {
	targets := []string{"X-User-Id", "X-Roles"}
	protected := identity.NewProtected(targets)
	names := slices.Concat(protectedNames, targets, []string{"X-Claim-Sub", "X-Claim-Any-Thing", "X-Claim-"})
	for _, name := range names {
		for spelling, spelled := range spellings(name) {
			t.Run("J01 J02 "+name+" "+spelling, func(t *testing.T) {
				r := request(http.Header{spelled: {"admin", "root"}, "X-Other": {"stays"}})
				protected.Strip(r, nil)
				assert.Equal(t, http.Header{"X-Other": {"stays"}}, r.Header)
				assert.True(t, protected.Has(spelled))
			})
		}
	}
	t.Run("J01 all at once", func(t *testing.T) {
		header := http.Header{"X-Other": {"stays"}}
		for _, name := range names {
			for _, spelled := range spellings(name) {
				header[spelled] = []string{"admin"}
			}
		}
		r := request(header)
		protected.Strip(r, nil)
		assert.Equal(t, http.Header{"X-Other": {"stays"}}, r.Header)
	})
}

func TestStripLeavesOtherHeadersAlone(t *testing.T) {
	want := http.Header{
		"Accept":            {"*/*"},
		"Authorization":     {"Basic YTpi"},
		"Content-Type":      {"text/plain"},
		"Cookie":            {"a=b", "c=d"},
		"Forwarded":         {"for=192.0.2.1"},
		"Remote":            {"x"},
		"Remote-":           {"x"},
		"Remote-Use":        {"x"},
		"Remote-Userx":      {"x"},
		"Remote--User":      {"x"},
		"-Remote-User":      {"x"},
		"Remoteuser":        {"x"},
		"X-Remote-User":     {"x"},
		"X-Claim":           {"x"},
		"X-Claims-Sub":      {"x"},
		"Xx-Claim-Sub":      {"x"},
		"X-User-Id":         {"a copy target of nobody"},
		"X-Forwarded-For":   {"192.0.2.1"},
		"X-Forwarded-Host":  {"example.com"},
		"X-Forwarded-Proto": {"https"},
		"Client-Certs":      {"x"},
		"Client_id":         {"x"},
		"Te":                {"trailers"},
		"":                  {"no name"},
	}
	r := request(cloned(want))
	identity.NewProtected(nil).Strip(r, nil)
	assert.Equal(t, want, r.Header)
}

func cloned(header http.Header) http.Header { return maps.Clone(header) }

// Names that are much longer than any protected one (J02): a prefix protects at any length, a name only itself.
func TestStripLongNames(t *testing.T) {
	longest := "X-" + strings.Repeat("a", 126)
	_, err := identity.NewTeller(identity.Config{Preset: identity.None, Copies: []identity.Copy{{Claim: "sub", Header: longest}}})
	require.NoError(t, err, "128 bytes are allowed")
	protected := identity.NewProtected([]string{longest})
	for _, tc := range []struct {
		name, header string
		gone         bool
	}{
		{"the longest target", longest, true},
		{"the longest target in another spelling", "x_" + strings.Repeat("A", 126), true},
		{"one byte longer than the longest target", longest + "a", false},
		{"X-Claim-* of 128 bytes", "X-Claim-" + strings.Repeat("a", 120), true},
		{"X-Claim-* of 129 bytes", "X-Claim-" + strings.Repeat("a", 121), true},
		{"X-Claim-* of 64 KiB", "x.cLaIm_" + strings.Repeat("a", 1<<16), true},
		{"another name of 64 KiB", "X-Other-" + strings.Repeat("a", 1<<16), false},
		{"a protected name and 64 KiB more", "Remote-User" + strings.Repeat("r", 1<<16), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(http.Header{tc.header: {"admin"}})
			protected.Strip(r, nil)
			_, present := r.Header[tc.header]
			assert.Equal(t, tc.gone, !present)
		})
	}
}

// A second directive must not take from the backend what the first one told it, and nothing else passes with it.
func TestStripKeepsWhatWasTold(t *testing.T) {
	r := request(http.Header{
		"Remote-User": {"ann"}, "remote_user": {"admin"}, "Remote_user": {"admin"}, "Remote.User": {"admin"},
		"Remote-Name": {"admin"}, "X-Claim-Sub": {"ann"}, "X-Claim-Role": {"admin"},
	})
	identity.NewProtected(nil).Strip(r, identity.Told{"Remote-User", "X-Claim-Sub"})
	assert.Equal(t, http.Header{"Remote-User": {"ann"}, "X-Claim-Sub": {"ann"}}, r.Header)
}

// With a Connection option a client could have the proxy drop what the gateway set: some backends take a request
// without Remote-User for one of their own (J03). Options that HTTP needs stay (J04).
func TestStripGuardsConnection(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		want  []string // nil: no Connection header is left
	}{
		{"J03 alone", []string{"Remote-User"}, nil},
		{"J03 lower case", []string{"remote-user"}, nil},
		{"J03 upper case", []string{"REMOTE-USER"}, nil},
		{"J03 underscore", []string{"Remote_User"}, nil},
		{"J03 dot", []string{"remote.user"}, nil},
		{"J03 after close", []string{"close, Remote-User"}, []string{"close"}},
		{"J03 before close", []string{"x-claim-sub,close"}, []string{"close"}},
		{"J03 between", []string{"close, Remote-User, keep-alive"}, []string{"close, keep-alive"}},
		{"J03 tabs and empty options", []string{",	 Remote-User	 ,, close ,"}, []string{"close"}},
		{"J03 on the second line", []string{"close", "Remote-User"}, []string{"close"}},
		{"J03 on two lines", []string{"Remote-User", "X_Forwarded_Groups"}, nil},
		{"J03 among options on two lines", []string{"Upgrade, Remote-User", "x.auth.request.user, te"}, []string{"Upgrade, te"}},
		{"J03 twice", []string{"Remote-User, Remote-User"}, nil},
		{"J03 copy target", []string{"x_user_id"}, nil},
		{"J03 X-Claim-*", []string{"X-Claim-Whatever"}, nil},
		{"J03 Client-Cert", []string{"Client-Cert, Client-Cert-Chain"}, nil},
		{"J03 Authorization", []string{"authorization"}, nil},
		{"J03 DPoP", []string{"DPoP"}, nil},
		{"J03 Cookie", []string{"Cookie"}, nil},
		{"J03 Host", []string{"host"}, nil},
		{"J03 Forwarded", []string{"Forwarded"}, nil},
		{"J03 X-Forwarded-*", []string{"X-Forwarded-For, x-forwarded-proto, X_Forwarded_Host, close"}, []string{"close"}},
		{"J04 upgrade", []string{"Upgrade"}, []string{"Upgrade"}},
		{"J04 upgrade of a client that attacks", []string{"keep-alive, Upgrade, Remote-User"}, []string{"keep-alive, Upgrade"}},
		{"J04 upgrade of h2c", []string{"Upgrade, HTTP2-Settings, TE"}, []string{"Upgrade, HTTP2-Settings, TE"}},
		{"J04 several lines", []string{"keep-alive", "Upgrade"}, []string{"keep-alive", "Upgrade"}},
		{"J04 a header of the client's own", []string{"close, X-Hop"}, []string{"close, X-Hop"}},
		{"J04 begins like a protected name", []string{"Remote-Users, Remote"}, []string{"Remote-Users, Remote"}},
		{"J04 an empty line", []string{""}, []string{""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(http.Header{"Connection": tc.lines, "Upgrade": {"websocket"}, "X-Hop": {"x"}})
			identity.NewProtected([]string{"X-User-Id"}).Strip(r, nil)
			lines, present := r.Header["Connection"]
			assert.Equal(t, tc.want != nil, present)
			assert.Equal(t, tc.want, lines)
			assert.Equal(t, []string{"websocket"}, r.Header["Upgrade"])
			assert.Equal(t, []string{"x"}, r.Header["X-Hop"])
		})
	}
	t.Run("J03 what was told is guarded too", func(t *testing.T) {
		r := request(http.Header{"Remote-User": {"ann"}, "Connection": {"close, remote-user"}})
		identity.NewProtected(nil).Strip(r, identity.Told{"Remote-User"})
		assert.Equal(t, http.Header{"Remote-User": {"ann"}, "Connection": {"close"}}, r.Header)
	})
}

// A backend that goes on in HTTP/2 would take requests from the client that nobody has judged.
func TestStripRefusesAnotherHTTP(t *testing.T) {
	for upgrade, stays := range map[string]bool{
		"websocket": true, "WebSocket": true, "SPDY/3.1": true,
		"h2c": false, "H2C": false, "websocket, h2c": false, " h2c ": false, "HTTP/2.0": false, "h2": false, "h3": false,
	} {
		r := request(http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {upgrade}, "Http2-Settings": {"AAMAAABkAAQ"}})
		identity.NewProtected(nil).Strip(r, nil)
		_, has := r.Header["Upgrade"]
		assert.Equal(t, stays, has, upgrade)
		assert.NotContains(t, r.Header, "Http2-Settings")
	}
}

func TestStripRemovesTrailers(t *testing.T) {
	for _, name := range []string{"Remote-User", "remote_user", "X-Checksum"} {
		t.Run("J12 "+name, func(t *testing.T) {
			r := request(http.Header{"Trailer": {name}, "X-Other": {"stays"}})
			r.Trailer = http.Header{name: nil}
			identity.NewProtected(nil).Strip(r, nil)
			assert.Empty(t, r.Trailer)
			assert.Equal(t, http.Header{"X-Other": {"stays"}}, r.Header)
		})
	}
}

func TestZeroProtectedProtectsNothing(t *testing.T) {
	var protected identity.Protected
	for _, name := range append(protectedNames, "X-Claim-Sub", "") {
		assert.False(t, protected.Has(name), name)
	}
}

func TestProtectedConcurrently(t *testing.T) {
	protected := identity.NewProtected([]string{"X-User-Id"})
	left := make(chan http.Header)
	for range 8 {
		go func() {
			r := request(http.Header{"x_user_id": {"admin"}, "X-Other": {"stays"}, "Connection": {"x-user-id"}})
			protected.Strip(r, nil)
			left <- r.Header
		}()
	}
	for range 8 {
		assert.Equal(t, http.Header{"X-Other": {"stays"}}, <-left)
	}
}

// The attacks of J03, J04 and J12 as they come over a wire, through the proxy of the standard library, which drops what
// Connection names and hands trailers on.
func TestAttacksThroughAProxy(t *testing.T) {
	teller, err := identity.NewTeller(identity.Config{})
	require.NoError(t, err)
	protected := identity.NewProtected(nil)
	type seen struct {
		header, trailer http.Header
		body            string
	}
	arrived := make(chan seen, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- seen{r.Header, r.Trailer, string(body)}
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protected.Strip(r, nil)
		if _, _, err := teller.Tell(r.Header, active(t, `"sub":"ann","client_id":"app"`), nil); err != nil {
			t.Error(err)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer gateway.Close()

	for _, tc := range []struct {
		name, head, body string
		check            func(*testing.T, seen)
	}{
		{"J01 forged header", "Remote-User: admin\r\nremote-name: Admin\r\nX-Claim-Role: root\r\n", "", nil},
		{"J02 forged alias", "Remote_User: admin\r\nREMOTE.USER: admin\r\n", "", nil},
		{"J03 Connection names the header", "Connection: remote-user\r\nConnection: close, Remote-Client\r\n", "", nil},
		{
			"J04 upgrade", "Connection: Upgrade, Remote-User\r\nUpgrade: websocket\r\n", "",
			func(t *testing.T, got seen) {
				assert.Equal(t, []string{"websocket"}, got.header["Upgrade"])
				assert.Equal(t, []string{"Upgrade"}, got.header["Connection"])
			},
		},
		{
			"J12 trailer", "Transfer-Encoding: chunked\r\nTrailer: Remote-Name, X-Any\r\n",
			"5\r\nhello\r\n0\r\nRemote-Name: admin\r\nRemote-User: admin\r\nX-Any: x\r\n\r\n",
			func(t *testing.T, got seen) { assert.Equal(t, "hello", got.body) },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			connection, err := net.Dial("tcp", gateway.Listener.Addr().String())
			require.NoError(t, err)
			defer connection.Close()
			_, err = fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: example.com\r\n%s\r\n%s", tc.head, tc.body)
			require.NoError(t, err)
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			require.NoError(t, err)
			defer response.Body.Close()
			require.Equal(t, http.StatusOK, response.StatusCode)

			got := <-arrived
			told := http.Header{}
			for name, values := range got.header {
				if protected.Has(name) {
					told[name] = values
				}
			}
			assert.Equal(t, http.Header{"Remote-User": {"ann"}, "Remote-Client": {"app"}}, told)
			assert.Empty(t, got.trailer)
			if tc.check != nil {
				tc.check(t, got)
			}
		})
	}
}

// folded is what a name is to a backend that tells no spellings apart, written down independently of the package.
func folded(name string) string {
	bytes := []byte(name)
	for i, c := range bytes {
		switch {
		case 'a' <= c && c <= 'z':
			bytes[i] = c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			bytes[i] = '_'
		}
	}
	return string(bytes)
}

func FuzzStrip(f *testing.F) {
	for _, name := range append([]string{
		"x_user_id", "X.User-ID", "X-User-Idx", "x-claim-", "X_CLAIM.a", "x-claim", "Connection", "Trailer", "Accept", "",
		"X-Claim-" + strings.Repeat("a", 200), strings.Repeat("r", 200), "Remote-User\x00", "Remote\u2010User", "ſ", "Host",
		"X-Forwarded-For",
	}, protectedNames...) {
		f.Add(name)
		f.Add(strings.ToLower(strings.ReplaceAll(name, "-", "_")))
		f.Add(strings.Replace(name, "-", ".", 1))
	}
	forbidden := map[string]bool{"X_USER_ID": true}
	for _, name := range protectedNames {
		forbidden[folded(name)] = true
	}
	protected := identity.NewProtected([]string{"X-User-Id"})
	f.Fuzz(func(t *testing.T, name string) {
		gone := forbidden[folded(name)] || strings.HasPrefix(folded(name), "X_CLAIM_")
		require.Equal(t, gone, protected.Has(name))

		r := request(http.Header{name: {"admin"}})
		protected.Strip(r, nil)
		_, present := r.Header[name]
		// These are treated by their own rules.
		if name != "Trailer" && name != "Connection" && name != "Http2-Settings" {
			require.Equal(t, gone, !present)
		}

		r = request(http.Header{"Connection": {"close, " + name, name}})
		protected.Strip(r, nil)
		var options []string
		for _, line := range r.Header["Connection"] {
			for option := range strings.SplitSeq(line, ",") {
				options = append(options, strings.TrimSpace(option))
			}
		}
		require.Contains(t, options, "close")
		for _, option := range options {
			option = folded(option)
			require.False(t, forbidden[option] || strings.HasPrefix(option, "X_CLAIM_"), "Connection: %s", option)
		}
	})
}
