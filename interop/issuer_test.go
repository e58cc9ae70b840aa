package interop_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const (
	// webCallback is the redirect URI of the clients. Nobody is there.
	webCallback   = "https://web.example.com/cb"
	alicePassword = "correct horse battery 9"
)

// issuer is a gateway with an embedded authorization server, at which alice can sign in.
type issuer struct {
	gateway
	caddyfile   string
	environment []string
}

// startIssuer starts a gateway. In its Caddyfile {$PORT} is the port of the site, {$BACKEND} the address of the backend,
// {$STORE} a file, {env.ALICE} the hash of alice's password, and {lifetime} that of access tokens.
func startIssuer(t *testing.T, caddyfile, lifetime string, environment ...string) *issuer {
	t.Helper()
	process, backend, port := testgateway.New(t), testgateway.StartBackend(t), testgateway.Port(t)
	hashing := process.Command(t, "hash-password", "--algorithm", "argon2id", "--argon2id-memory", "1024")
	hashing.Stdin = strings.NewReader(alicePassword + "\n")
	hash, err := hashing.Output()
	require.NoError(t, err)
	s := &issuer{
		gateway:   gateway{Gateway: process, url: "http://localhost:" + port, backend: backend},
		caddyfile: caddyfile,
		environment: append(environment,
			"ALICE="+strings.TrimSpace(string(hash)), "BACKEND="+backend.Address, "PORT="+port, "STORE="+process.Dir+"/tokens.db"),
	}
	s.Guard(alicePassword)
	s.start(t, lifetime)
	return s
}

func (s *issuer) start(t *testing.T, lifetime string) {
	t.Helper()
	s.Start(t, strings.ReplaceAll(s.caddyfile, "{lifetime}", lifetime), s.environment...)
}

// restart starts the gateway again, with another lifetime of access tokens.
func (s *issuer) restart(t *testing.T, lifetime string) {
	t.Helper()
	s.Stop(t)
	s.start(t, lifetime)
}

// tells says what the backend has learned of the only request that came since it was last asked.
func (s *issuer) tells(t *testing.T, expected map[string]string) testgateway.Sight {
	t.Helper()
	seen := s.backend.Take()
	require.Len(t, seen, 1)
	assert.Equal(t, expected, told(t, seen[0]))
	assert.NotContains(t, seen[0].Header, "Authorization", "J13")
	return seen[0]
}

// userAgent is the browser of alice.
type userAgent struct {
	server *issuer
	jar    http.CookieJar
	// application is the URL of a website that uses the server, or empty.
	application string
}

func (s *issuer) userAgent(t *testing.T) *userAgent {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &userAgent{server: s, jar: jar}
}

// send sends a request with the browser's cookies, and follows redirects to the server and the application.
func (u *userAgent) send(t *testing.T, request *http.Request) *testgateway.Reply {
	t.Helper()
	request.Header.Set("Accept", "text/html, */*;q=0.8")
	for _, cookie := range u.jar.Cookies(request.URL) {
		request.AddCookie(cookie)
	}
	got := testgateway.Send(t, request)
	u.jar.SetCookies(request.URL, (&http.Response{Header: got.Header}).Cookies())
	if location := got.Header.Get("Location"); u.follows(location) {
		return u.open(t, location)
	}
	return got
}

func (u *userAgent) follows(location string) bool {
	return strings.HasPrefix(location, u.server.url+"/") || u.application != "" && strings.HasPrefix(location, u.application+"/")
}

func (u *userAgent) open(t *testing.T, address string) *testgateway.Reply {
	t.Helper()
	return u.send(t, testgateway.Request(t, http.MethodGet, address, ""))
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="(?:hidden|checkbox)" name="([^"]*)" value="([^"]*)"`)
)

// submit sends the form of a page, without some of its scopes.
func (u *userAgent) submit(t *testing.T, page *testgateway.Reply, filledIn url.Values, unticked ...string) *testgateway.Reply {
	t.Helper()
	match := formAction.FindStringSubmatch(page.Body)
	require.NotNil(t, match, page.Body)
	for _, input := range formInput.FindAllStringSubmatch(page.Body, -1) {
		if name, value := html.UnescapeString(input[1]), html.UnescapeString(input[2]); !slices.Contains(unticked, value) {
			filledIn.Add(name, value)
		}
	}
	request := testgateway.Form(t, html.UnescapeString(match[1]), "", "", filledIn)
	request.Header.Set("Origin", u.server.url)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	return u.send(t, request)
}

// authorize has alice sign in if she has to, and consent, but not to the unticked scopes, although she may have consented
// before. It returns where she is sent then.
func (u *userAgent) authorize(t *testing.T, address string, unticked ...string) (location string) {
	t.Helper()
	page := u.open(t, address+"&prompt=consent")
	if strings.Contains(page.Body, "Password") {
		page = u.submit(t, page, url.Values{"username": {"alice"}, "password": {alicePassword}})
	}
	location, answer := u.sentBack(t, u.submit(t, page, url.Values{"decision": {"allow"}}, unticked...))
	require.NotEmpty(t, answer.Get("code"), location)
	u.server.Guard(answer.Get("code"))
	return location
}

// allow has alice sign in if she has to, and consent if she is asked. It returns where that leads.
func (u *userAgent) allow(t *testing.T, address string) *testgateway.Reply {
	t.Helper()
	page := u.signIn(t, u.open(t, address))
	if strings.Contains(page.Body, `name="decision"`) {
		page = u.submit(t, page, url.Values{"decision": {"allow"}})
	}
	return page
}

// signIn has alice sign in if a page asks for that.
func (u *userAgent) signIn(t *testing.T, page *testgateway.Reply) *testgateway.Reply {
	t.Helper()
	if strings.Contains(page.Body, "Password") {
		return u.submit(t, page, url.Values{"username": {"alice"}, "password": {alicePassword}})
	}
	return page
}

// sentBack reads the authorization response that the browser is sent to the client with.
func (u *userAgent) sentBack(t *testing.T, got *testgateway.Reply) (location string, answer url.Values) {
	t.Helper()
	location = got.Header.Get("Location")
	require.True(t, strings.HasPrefix(location, webCallback+"?"), "%d %s%s", got.Status, location, got.Body)
	to, err := url.Parse(location)
	require.NoError(t, err)
	return location, to.Query()
}
