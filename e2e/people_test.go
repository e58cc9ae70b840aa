package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const (
	carolPassword = "carols battery staple 5"
	shopSecret    = "shop-secret-that-somebody-chose-4Tz"
)

// manage runs the command line that manages the server, and returns what it wrote to standard output and to standard error.
func (s *issuer) manage(t *testing.T, input string, arguments ...string) (out, said string, err error) {
	t.Helper()
	command := s.Command(t, append([]string{"authorization-server", "--address", s.Admin}, arguments...)...)
	command.Stdin = strings.NewReader(input)
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	return stdout.String(), stderr.String(), err
}

// managed is manage that succeeds.
func (s *issuer) managed(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	out, said, err := s.manage(t, input, arguments...)
	require.NoError(t, err, said)
	return out
}

// managedJSON is managed that writes JSON.
func (s *issuer) managedJSON(t *testing.T, input string, arguments ...string) (document any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(s.managed(t, input, append(arguments, "--json")...)), &document))
	return document
}

// refused is manage that fails with exit status 1, and returns why.
func (s *issuer) refused(t *testing.T, arguments ...string) string {
	t.Helper()
	out, said, err := s.manage(t, "", arguments...)
	require.Error(t, err)
	assert.Equal(t, "exit status 1", err.Error())
	assert.Empty(t, out)
	assert.NotContains(t, said, "Usage:")
	return said
}

// signInAs has a person sign in by name, authorize a client and get its tokens.
func (p *person) signInAs(t *testing.T, name, password, client, secret string) (access, refresh string) {
	t.Helper()
	page := p.open(t, p.authorization("client_id", client, "scope", "orders:read", "prompt", "consent"))
	if strings.Contains(page.Body, "Password") {
		page = p.submit(t, page, "username", name, "password", password)
	}
	code := p.codeIn(t, p.submit(t, page, "decision", "allow"))
	return p.tokens(t, p.post(t, "/oauth2/token", client, secret, codeForm(code)))
}

// TestAS_F08_TheCommandLine manages a running server: whatever it changes holds for the next request.
func TestAS_F08_TheCommandLine(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(carolPassword, shopSecret)
	config := s.caddyfile(s.withUsers(s.hashOf(t, alicePassword, "argon2id")), s.site(app))
	s.Start(t, config)

	s.managed(t, carolPassword+"\n", "user", "add", "carol", "--claim", "email=carol@example.com", "--claim", "groups=a", "--claim", "groups=b")
	s.managed(t, shopSecret, "client", "add", "shop", "--secret-stdin", "--name", "The shop", "--grant", "authorization_code",
		"--grant", "refresh_token", "--redirect-uri", webCallback, "--scope", "orders:read")
	carol := s.person(t)
	access, refresh := carol.signInAs(t, "carol", carolPassword, "shop", shopSecret)
	get := func(path, token string) int { return s.get(t, path, token).Status }
	require.Equal(t, http.StatusOK, get("/carol", access))
	assert.Equal(t, "carol@example.com", app.One(t, "/carol").Header.Get("Remote-Email"))
	app.Take()

	t.Run("lists", func(t *testing.T) {
		assert.Regexp(t, `(?m)^shop +The shop +enabled +admin `, s.managed(t, "", "client", "list"))
		assert.Regexp(t, `(?m)^web +The web app +enabled +configuration `, s.managed(t, "", "client", "list"))
		assert.Regexp(t, `(?m)^carol +enabled +admin `, s.managed(t, "", "user", "list"))
		assert.Regexp(t, `(?m)^Claim groups +a, b$`, s.managed(t, "", "user", "show", "carol"))
		assert.Regexp(t, `(?m)^Redirect URIs +`+webCallback+`$`, s.managed(t, "", "client", "show", "shop"))
		tokens := s.managedJSON(t, "", "token", "list", "--user", "carol").([]any)
		require.Len(t, tokens, 2)
		assert.Equal(t, "shop", tokens[0].(map[string]any)["client_id"])
		assert.Len(t, s.managedJSON(t, "", "session", "list", "--user", "carol"), 1)
	})
	t.Run("AS_Q09 no secret lies in the file", func(t *testing.T) {
		content, err := os.ReadFile(s.store)
		require.NoError(t, err)
		for _, secret := range []string{carolPassword, shopSecret, access, refresh} {
			assert.NotContains(t, string(content), secret)
		}
	})
	t.Run("AS_Q03 a generated secret is shown once", func(t *testing.T) {
		out := s.managed(t, "", "client", "add", "machine", "--generate", "--grant", "client_credentials", "--scope", "orders:read")
		_, secret, found := strings.Cut(strings.TrimSpace(out), "not shown again: ")
		require.True(t, found, out)
		s.Guard(secret)
		token := s.tokenIn(t, s.post(t, "/oauth2/token", "machine", secret, url.Values{"grant_type": {"client_credentials"}}))
		require.Equal(t, http.StatusOK, get("/machine", token))
		assert.NotContains(t, s.managed(t, "", "client", "show", "machine", "--json"), secret)

		s.managed(t, token+"\n", "token", "revoke", "-")
		assert.Equal(t, http.StatusUnauthorized, get("/machine", token))
		token = s.tokenIn(t, s.post(t, "/oauth2/token", "machine", secret, url.Values{"grant_type": {"client_credentials"}}))
		require.Equal(t, http.StatusOK, get("/machine", token))
		s.managed(t, "", "client", "delete", "machine")
		assert.Equal(t, http.StatusUnauthorized, get("/machine", token))
	})
	for _, test := range []struct{ name, what, who, party, secret string }{
		{"a user of the store", "user", "carol", "shop", shopSecret},
		{"a client of the store", "client", "shop", "shop", shopSecret},
		{"a user of the configuration", "user", "alice", "web", webSecret},
		{"a client of the configuration", "client", "web", "web", webSecret},
	} {
		t.Run(test.name+" is disabled", func(t *testing.T) {
			name, password := "carol", carolPassword
			if test.party == "web" {
				name, password = "alice", alicePassword
			}
			access, refresh := s.person(t).signInAs(t, name, password, test.party, test.secret)
			require.Equal(t, http.StatusOK, get("/x", access))
			require.Equal(t, http.StatusOK, get("/x", access), "it is remembered")
			s.managed(t, "", test.what, "disable", test.who)
			assert.Equal(t, http.StatusUnauthorized, get("/x", access))
			got := s.post(t, "/oauth2/token", test.party, test.secret, refreshForm(refresh))
			assert.GreaterOrEqual(t, got.Status, 400)
			s.reload(t, config+"\n# another\n")
			assert.Contains(t, s.managed(t, "", test.what, "list", "--json"), `"disabled":true`, "a reload changes nothing of it")
			s.managed(t, "", test.what, "enable", test.who)
			assert.Equal(t, http.StatusUnauthorized, get("/x", access), "its tokens do not come back")
			again, _ := s.person(t).signInAs(t, name, password, test.party, test.secret)
			assert.Equal(t, http.StatusOK, get("/x", again))
		})
	}
	t.Run("another password ends the sessions", func(t *testing.T) {
		carol := s.person(t)
		access, _ := carol.signInAs(t, "carol", carolPassword, "shop", shopSecret)
		s.managed(t, "another password 7\n", "user", "password", "carol", "--revoke-tokens")
		assert.Equal(t, http.StatusUnauthorized, get("/x", access))
		assert.Contains(t, carol.open(t, s.authorization("client_id", "shop", "scope", "orders:read")).Body, "Password")
		carol.signInAs(t, "carol", "another password 7", "shop", shopSecret)
		sessions := s.managedJSON(t, "", "session", "list", "--user", "carol").([]any)
		require.Len(t, sessions, 1)
		s.managed(t, "", "session", "revoke", sessions[0].(map[string]any)["id"].(string))
		assert.Contains(t, carol.open(t, s.authorization("client_id", "shop", "scope", "orders:read")).Body, "Password")
	})
	t.Run("what it says when it cannot", func(t *testing.T) {
		for want, arguments := range map[string][]string{
			`there is no client with the id "nobody"`:                                 {"client", "disable", "nobody"},
			`the client "web" is in the configuration`:                                {"client", "delete", "web"},
			`there is a user with the name "carol" already`:                           {"client", "add", "carol", "--auth", "none"},
			`auth "bogus": must be one of`:                                            {"client", "add", "new", "--auth", "bogus"},
			`needs a secret`:                                                          {"client", "add", "new"},
			`whose tokens?`:                                                           {"token", "list"},
			`one of: add, change, delete`:                                             {"client"},
			`takes the client's id`:                                                   {"client", "add"},
			`the password is empty`:                                                   {"user", "add", "new"},
			`it is written <name>=<value>`:                                            {"user", "change", "carol", "--claim", "x"},
			`is the server running`:                                                   {"client", "list", "--address", "127.0.0.1:1"},
			`a client without credentials cannot be trusted`:                          {"client", "add", "new", "--auth", "none", "--trusted"},
			`the server knows no such token`:                                          {"token", "revoke", "pat_nothing"},
			`of --generate and --secret-stdin there can be one`:                       {"client", "add", "new", "--generate", "--secret-stdin"},
			`must be https, or http on 127.0.0.1, [::1] or localhost`:                 {"client", "add", "new", "--auth", "none", "--grant", "authorization_code", "--redirect-uri", "http://example.com/"},
			`which sessions? Either the id of one, or --user`:                         {"session", "revoke"},
			`"keep_secret" is for when the secret is replaced`:                        {"client", "change", "shop", "--keep", "1h"},
			`there is no user with the name "nobody"`:                                 {"user", "delete", "nobody"},
			`claim "sub" is the server's own`:                                         {"user", "change", "carol", "--claim", "sub=x"},
			`what is to be revoked? One of "token", "family", or "user" and "client"`: {"token", "revoke", "pat_x", "--user", "carol"},
		} {
			assert.Contains(t, s.refused(t, arguments...), want, arguments)
		}
	})
}

// TestAS_TheAdminAPI is what the command line talks to.
func TestAS_TheAdminAPI(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Start(t, s.caddyfile(s.option(), s.site(app)))
	at := func(path string) string { return "http://" + s.Admin + "/authorization_server/" + path }
	send := func(method, path, contentType, body string) *testgateway.Reply {
		request := testgateway.Post(t, at(path), contentType, body)
		request.Method = method
		return testgateway.Send(t, request)
	}
	const json = "application/json"
	for name, test := range map[string]struct {
		method, path, contentType, body string
		want                            int
		says                            string
	}{
		"nothing there":                 {"GET", "", "", "", 404, "clients, users, tokens and sessions"},
		"no such collection":            {"GET", "scopes", "", "", 404, "clients, users, tokens and sessions"},
		"another method":                {"PUT", "clients", json, "{}", 405, "GET, POST"},
		"another method on an item":     {"POST", "users/alice", json, "{}", 405, "GET, PATCH, DELETE"},
		"a form":                        {"POST", "clients", "application/x-www-form-urlencoded", "id=x", 415, "application/json"},
		"no JSON":                       {"POST", "clients", json, "id", 400, "one JSON object"},
		"an array":                      {"POST", "clients", json, "[]", 400, "one JSON object"},
		"an unknown member":             {"POST", "clients", json, `{"id":"x","secret":"s"}`, 400, `\"secret\"`},
		"a member twice":                {"POST", "clients", json, `{"id":"x","ID":"y"}`, 400, "twice"},
		"a member of another type":      {"POST", "clients", json, `{"id":"x","scopes":"a b"}`, 400, "an array of strings"},
		"too long":                      {"POST", "clients", json, `{"id":"` + strings.Repeat("x", 200_000) + `"}`, 413, "bytes"},
		"a client that is there":        {"POST", "clients", json, `{"id":"demo","auth":"none"}`, 409, "the configuration has a client"},
		"a page without end":            {"GET", "clients?limit=0", "", "", 400, "between 1 and 1000"},
		"a parameter twice":             {"GET", "clients?limit=1&limit=2", "", "", 400, "twice"},
		"an unknown parameter":          {"GET", "tokens?client=demo&token=x", "", "", 400, "nothing else"},
		"nobody's tokens":               {"GET", "tokens", "", "", 400, "whose tokens?"},
		"nobody's sessions":             {"GET", "sessions", "", "", 400, "whose sessions?"},
		"nothing to revoke":             {"POST", "tokens/revoke", json, "{}", 400, "what is to be revoked?"},
		"too much to revoke":            {"POST", "tokens/revoke", json, `{"token":"pat_x","family":"y"}`, 400, "what is to be revoked?"},
		"an empty token":                {"POST", "tokens/revoke", json, `{"token":""}`, 400, "must not be empty"},
		"an unknown user":               {"GET", "users/nobody", "", "", 404, "no user"},
		"a client that is not the user": {"GET", "users/demo", "", "", 404, "no user"},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(test.method, test.path, test.contentType, test.body)
			assert.Equal(t, test.want, got.Status, got.Body)
			assert.Contains(t, got.Body, test.says)
			if test.want == 405 {
				assert.Equal(t, test.says, got.Header.Get("Allow"))
			}
		})
	}
	t.Run("an item with a name that has to be escaped", func(t *testing.T) {
		const id = "https://app.example.com/id?x=1&y=%2F"
		got := send("POST", "clients", json, `{"id":"a/b c?d%2Fé","auth":"none"}`)
		assert.Equal(t, 400, got.Status, "the id of a client is ASCII")
		got = send("POST", "clients", json, `{"id":"a/b c?d%2F","auth":"none"}`)
		require.Equal(t, 201, got.Status, got.Body)
		got = send("GET", "clients/"+url.PathEscape("a/b c?d%2F"), "", "")
		require.Equal(t, 200, got.Status, got.Body)
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		got = send("DELETE", "clients/"+url.PathEscape("a/b c?d%2F"), "", "")
		assert.Equal(t, 204, got.Status)
		got = send("POST", "clients", json, `{"id":"`+id+`","auth":"none"}`)
		assert.Equal(t, 400, got.Status, "a name with // does not survive in a URL")
	})
	t.Run("attack: a page of another site asks a browser on the same machine", func(t *testing.T) {
		request := testgateway.Post(t, at("clients"), json, `{"id":"evil","auth":"none"}`)
		request.Header.Set("Origin", "https://evil.example")
		assert.Equal(t, http.StatusForbidden, testgateway.Send(t, request).Status)
		assert.Equal(t, 404, send("GET", "clients/evil", "", "").Status)
	})
	t.Run("pages", func(t *testing.T) {
		got := send("GET", "clients?limit=1", "", "")
		require.Equal(t, 200, got.Status)
		assert.Len(t, members(t, got.Body)["items"], 1)
		assert.Equal(t, "demo", members(t, got.Body)["next"])
		got = send("GET", "users", "", "")
		assert.JSONEq(t, `{"items":[]}`, got.Body)
	})
	t.Run("without an authorization server", func(t *testing.T) {
		s.reload(t, s.caddyfile("", `respond "hello"`))
		got := send("GET", "clients", "", "")
		assert.Equal(t, 404, got.Status)
		assert.Contains(t, got.Body, "no authorization server is configured")
	})
}
