package e2e

import (
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// The client, the user and the proof key (RFC 7636 appendix B) of these tests.
const (
	webID         = "web"
	webSecret     = "web-secret-7kQv"
	webCallback   = "https://web.example.com/cb"
	alicePassword = "correct horse battery 9"
	verifier      = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge     = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	sessionCookie = "portcullis_session"
)

// hashOf hashes a password with the program's own command, at a cost that is for tests.
func (s *issuer) hashOf(t *testing.T, password, algorithm string) string {
	t.Helper()
	command := s.Command(t, "hash-password", "--algorithm", algorithm, "--argon2id-memory", "1024", "--bcrypt-cost", "10")
	command.Stdin = strings.NewReader(password + "\n")
	hash, err := command.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(hash))
}

// withUsers is the global option of a server at which alice can sign in, with further lines.
func (s *issuer) withUsers(hash string, lines ...string) string {
	return s.option(append(lines, fmt.Sprintf(`client %s %s {
		name "The web app"
		grants authorization_code refresh_token
		redirect_uris %s
		scopes orders:read orders:write
	}
	user alice %s {
		claim email alice@example.com
		claim groups staff admins
	}
	scope orders:read "See your orders"`, webID, webSecret, webCallback, hash))...)
}

// person is somebody with a browser.
type person struct {
	*issuer
	jar http.CookieJar
}

func (s *issuer) person(t *testing.T) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &person{s, jar}
}

// send sends a request with the browser's cookies, and follows redirects within the site.
func (p *person) send(t *testing.T, request *http.Request) *testgateway.Reply {
	t.Helper()
	for _, cookie := range p.jar.Cookies(request.URL) {
		request.AddCookie(cookie)
	}
	got := testgateway.Send(t, request)
	p.jar.SetCookies(request.URL, (&http.Response{Header: got.Header}).Cookies())
	if location := got.Header.Get("Location"); strings.HasPrefix(location, p.url("/")) {
		return p.open(t, location)
	}
	return got
}

func (p *person) open(t *testing.T, address string) *testgateway.Reply {
	t.Helper()
	return p.send(t, testgateway.Request(t, http.MethodGet, address, ""))
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="(?:hidden|checkbox)" name="([^"]*)" value="([^"]*)"`)
)

// submit fills in the form of a page and sends it, as a browser does.
func (p *person) submit(t *testing.T, page *testgateway.Reply, pairs ...string) *testgateway.Reply {
	t.Helper()
	match := formAction.FindStringSubmatch(page.Body)
	require.NotNil(t, match, page.Body)
	form := make(url.Values)
	for _, input := range formInput.FindAllStringSubmatch(page.Body, -1) {
		form.Add(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	request := testgateway.Form(t, html.UnescapeString(match[1]), "", "", form)
	request.Header.Set("Origin", "http://"+p.address)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.send(t, request)
}

// authorization is the address of an authorization request, with some parameters changed.
func (s *issuer) authorization(pairs ...string) string {
	values := url.Values{
		"client_id": {webID}, "redirect_uri": {webCallback}, "response_type": {"code"}, "scope": {"orders:read orders:write"},
		"state": {"a b+%/é"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return s.url("/oauth2/authorize?" + values.Encode())
}

// codeIn reads the code out of an authorization response.
func (s *issuer) codeIn(t *testing.T, got *testgateway.Reply) string {
	t.Helper()
	require.Equal(t, http.StatusSeeOther, got.Status, got.Body)
	location, err := url.Parse(got.Header.Get("Location"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(location.String(), webCallback+"?"), location)
	assert.Equal(t, "a b+%/é", location.Query().Get("state"), "AS-A08")
	assert.Equal(t, "http://"+s.address, location.Query().Get("iss"), "AS-N05")
	code := location.Query().Get("code")
	require.NotEmpty(t, code, location)
	s.Guard(code)
	return code
}

// code has the person sign in if need be, and consent.
func (p *person) code(t *testing.T, pairs ...string) string {
	t.Helper()
	page := p.open(t, p.authorization(append([]string{"prompt", "consent"}, pairs...)...))
	if strings.Contains(page.Body, "Password") {
		page = p.submit(t, page, "username", "alice", "password", alicePassword)
	}
	return p.codeIn(t, p.submit(t, page, "decision", "allow"))
}

func codeForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webCallback}, "code_verifier": {verifier}}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// asWeb sends a form to the token endpoint.
func (s *issuer) asWeb(t *testing.T, form url.Values) *testgateway.Reply {
	t.Helper()
	return s.post(t, "/oauth2/token", webID, webSecret, form)
}

// tokens reads the tokens out of a response of the token endpoint.
func (s *issuer) tokens(t *testing.T, got *testgateway.Reply) (access, refresh string) {
	t.Helper()
	access = s.tokenIn(t, got)
	refresh, _ = members(t, got.Body)["refresh_token"].(string)
	require.NotEmpty(t, refresh, got.Body)
	return access, refresh
}

// together sends a form to the token endpoint many times at once, and returns the responses that are no refusals.
func (s *issuer) together(t *testing.T, n int, form url.Values) []*testgateway.Reply {
	t.Helper()
	replies := make([]*testgateway.Reply, n)
	var running sync.WaitGroup
	for i := range n {
		request := testgateway.Form(t, s.url("/oauth2/token"), webID, webSecret, form)
		running.Go(func() {
			reply, err := testgateway.Try(request)
			if assert.NoError(t, err) {
				replies[i] = reply
			}
		})
	}
	running.Wait()
	return slices.DeleteFunc(replies, func(one *testgateway.Reply) bool {
		return one == nil || one.Status == http.StatusBadRequest && members(t, one.Body)["error"] == "invalid_grant"
	})
}

func TestAuthorizationCodeFlow(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	argon2id := s.hashOf(t, alicePassword, "argon2id")
	config := func(lines ...string) string { return s.caddyfile(s.withUsers(argon2id, lines...), s.site(app)) }
	s.Start(t, config())
	alice := s.person(t)

	t.Run("AS-Q10 AS-Q07 a reload, a restart and a crash in the middle of it lose nothing", func(t *testing.T) {
		login := alice.open(t, s.authorization())
		require.Equal(t, http.StatusOK, login.Status)
		s.reload(t, config("access_token_ttl 10m"))
		consent := alice.submit(t, login, "username", "alice", "password", alicePassword)
		require.Contains(t, consent.Body, "See your orders", "AS-R10")
		s.Stop(t)
		s.Start(t, config())
		code := s.codeIn(t, alice.submit(t, consent, "decision", "allow"))
		s.Kill(t)
		s.Start(t, config())
		access, refresh := s.tokens(t, s.asWeb(t, codeForm(code)))

		require.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)
		assert.Equal(t, map[string][]string{
			"Remote-User": {"alice"}, "Remote-Email": {"alice@example.com"}, "Remote-Groups": {"staff,admins"},
			"Remote-Client": {webID}, "Remote-Scope": {"orders:read orders:write"},
		}, identityIn(app.One(t, "/1").Header))

		s.Kill(t)
		s.Start(t, config())
		second, _ := s.tokens(t, s.asWeb(t, refreshForm(refresh)))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", second).Status)
		assert.NotContains(t, alice.open(t, s.authorization()).Body, "Password", "she is still signed in")

		s.Kill(t)
		s.Start(t, config())
		assert.Equal(t, http.StatusBadRequest, s.asWeb(t, codeForm(code)).Status, "AS-E03 attack: a code is replayed after a crash")
		for _, token := range []string{access, second} {
			assert.Equal(t, http.StatusUnauthorized, s.get(t, "/1", token).Status)
		}
	})
	t.Run("AS-R06 the cookie of a server on loopback", func(t *testing.T) {
		set := s.person(t).open(t, s.authorization()).Header.Get("Set-Cookie")
		assert.Regexp(t, `^`+sessionCookie+`=pse_[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Lax$`, set)
	})
	t.Run("AS-R07 the cookie does not reach the backend", func(t *testing.T) {
		access, _ := s.tokens(t, s.asWeb(t, codeForm(alice.code(t))))
		request := testgateway.Request(t, http.MethodGet, s.url("/2"), access)
		request.AddCookie(&http.Cookie{Name: "theme", Value: "dark"})
		require.Equal(t, http.StatusOK, alice.send(t, request).Status)
		assert.Equal(t, []string{"theme=dark"}, app.One(t, "/2").Header["Cookie"])
	})
	t.Run("AS-A06 attack: the user is sent to the attacker's site", func(t *testing.T) {
		for _, address := range []string{
			s.authorization("redirect_uri", "https://evil.example/cb"), s.authorization("redirect_uri", webCallback+"/../evil"),
			s.authorization("client_id", stranger), s.authorization() + "&redirect_uri=https://evil.example/cb",
		} {
			got := alice.open(t, address)
			assert.Equal(t, http.StatusBadRequest, got.Status)
			assert.Empty(t, got.Header.Get("Location"))
			assert.NotContains(t, got.Body, "evil")
			assert.Contains(t, got.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'", "AS-R01")
		}
	})
	t.Run("AS-R03 attack: another site sends the consent form", func(t *testing.T) {
		page := alice.open(t, s.authorization("prompt", "consent"))
		match := formAction.FindStringSubmatch(page.Body)
		require.NotNil(t, match, page.Body)
		request := testgateway.Form(t, html.UnescapeString(match[1]), "", "", url.Values{"decision": {"allow"}, "scope": {"orders:read"}})
		request.Header.Set("Origin", "https://evil.example")
		assert.Equal(t, http.StatusForbidden, alice.send(t, request).Status)
		assert.NotEmpty(t, s.codeIn(t, alice.submit(t, page, "decision", "allow")), "nothing was used up")
	})
	t.Run("AS-E02 race: fifty exchange a code, and one gets tokens", func(t *testing.T) {
		won := s.together(t, 50, codeForm(alice.code(t)))
		require.Len(t, won, 1)
		s.tokens(t, won[0])
	})
	t.Run("AS-F04 race: twenty refresh a token, and one gets tokens", func(t *testing.T) {
		_, refresh := s.tokens(t, s.asWeb(t, codeForm(alice.code(t))))
		won := s.together(t, 20, refreshForm(refresh))
		require.Len(t, won, 1)
		access, _ := s.tokens(t, won[0])
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/3", access).Status, "AS-F03: the others have used it again")
	})
	t.Run("AS-F03 attack: a stolen refresh token ends what the gateway remembers", func(t *testing.T) {
		_, refresh := s.tokens(t, s.asWeb(t, codeForm(alice.code(t))))
		access, _ := s.tokens(t, s.asWeb(t, refreshForm(refresh)))
		require.Equal(t, http.StatusOK, s.get(t, "/3", access).Status)
		assert.Equal(t, http.StatusBadRequest, s.asWeb(t, refreshForm(refresh)).Status)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/3", access).Status)
	})
	t.Run("AS-R09 guessing is slow", func(t *testing.T) {
		guesser := s.person(t)
		page := guesser.open(t, s.authorization())
		for range 5 {
			page = guesser.submit(t, page, "username", "mallory", "password", "guess")
			require.Equal(t, http.StatusForbidden, page.Status)
		}
		page = guesser.submit(t, page, "username", "mallory", "password", "guess")
		assert.Equal(t, http.StatusTooManyRequests, page.Status)
		assert.NotEmpty(t, page.Header.Get("Retry-After"))
		s.person(t).code(t)
	})
	t.Run("a user whose password is a bcrypt hash, at a server with a path", func(t *testing.T) {
		bcrypt := s.hashOf(t, alicePassword, "bcrypt")
		global := strings.Replace(s.withUsers(bcrypt), "issuer http://"+s.address, "issuer http://"+s.address+"/tenant/a", 1)
		s.reload(t, s.caddyfile(global, s.site(app)))
		other := s.person(t)
		address := strings.Replace(s.authorization("response_mode", "form_post", "prompt", "consent"), "/oauth2/", "/tenant/a/oauth2/", 1)
		consent := other.submit(t, other.open(t, address), "username", "alice", "password", alicePassword)
		got := other.submit(t, consent, "decision", "allow")
		require.Equal(t, http.StatusOK, got.Status)
		assert.Contains(t, got.Body, `action="`+webCallback+`"`, "AS-A16")
		assert.Contains(t, html.UnescapeString(got.Body), `value="http://`+s.address+`/tenant/a"`)
		s.reload(t, config())
	})
	t.Run("a user who is taken out of the configuration has no good tokens from then on", func(t *testing.T) {
		access, _ := s.tokens(t, s.asWeb(t, codeForm(alice.code(t))))
		require.Equal(t, http.StatusOK, s.get(t, "/4", access).Status, "it is remembered")
		s.reload(t, s.caddyfile(strings.Replace(s.withUsers(argon2id), "user alice", "user zoe", 1), s.site(app)))
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/4", access).Status)
		s.reload(t, config())
		assert.Equal(t, http.StatusOK, s.get(t, "/4", access).Status, "and has them again when she is back")
	})
	assert.Empty(t, app.At("/oauth2/authorize"), "the endpoint is not the backend's")
}

// A single-page application keeps no secret: its code is good with the verifier alone, and its refresh token once.
func TestAPublicClient(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	s.Start(t, s.caddyfile(s.withUsers(s.hashOf(t, alicePassword, "argon2id"), `client spa {
		auth none
		grants authorization_code refresh_token
		redirect_uris `+webCallback+`
		scopes orders:read
	}`), s.site(app)))
	alice := s.person(t)
	ask := func(form url.Values, id, secret string) *testgateway.Reply {
		t.Helper()
		if id == "" {
			form.Set("client_id", "spa")
		}
		return s.post(t, "/oauth2/token", id, secret, form)
	}
	spa := []string{"client_id", "spa", "scope", "orders:read"}

	code := alice.code(t, spa...)
	stolen := codeForm(code)
	stolen.Set("code_verifier", "x"+verifier[1:])
	assert.Equal(t, http.StatusBadRequest, ask(stolen, "", "").Status, "AS-C05 attack: a code without its verifier")
	without := codeForm(code)
	without.Del("code_verifier")
	assert.Equal(t, http.StatusBadRequest, ask(without, "", "").Status, "AS-C06 attack: a code without any verifier")
	assert.Equal(t, http.StatusBadRequest, ask(codeForm(code), webID, webSecret).Status, "AS-E01 attack: the code of another client")
	access, refresh := s.tokens(t, ask(codeForm(code), "", ""))
	assert.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)

	_, next := s.tokens(t, ask(refreshForm(refresh), "", ""))
	assert.Equal(t, http.StatusBadRequest, ask(refreshForm(refresh), "", "").Status, "AS-F02 attack: a refresh token is used again")
	assert.Equal(t, http.StatusBadRequest, ask(refreshForm(next), "", "").Status, "AS-F03")
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/1", access).Status, "AS-F03")
}
