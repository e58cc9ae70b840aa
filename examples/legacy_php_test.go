package examples_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// php is the PHP application behind its gateway.
type php struct {
	*testgateway.PHP

	address, token string
}

func startLegacyPHP(t *testing.T) *php {
	t.Helper()
	server, gateway, port := testgateway.StartPHP(t), testgateway.New(t), testgateway.Port(t)
	require.NoError(t, os.CopyFS(filepath.Join(gateway.Dir, "app"), os.DirFS("legacy-php/app")))
	gateway.Start(t, caddyfile(t, "legacy-php",
		"http://localhost:8080", "http://localhost:"+port,
		"127.0.0.1:9000", server.Address,
	))
	app := &php{PHP: server, address: "localhost:" + port, token: issue(t, "http://localhost:"+port, "jane")}
	gateway.GuardClient("jane", "jane-secret")
	gateway.Guard(app.token)
	return app
}

// ask sends a request to the application as raw does.
func (p *php) ask(t *testing.T, method, target string, headers []string, body string) *testgateway.Reply {
	t.Helper()
	return raw(t, p.address, method, target, headers, body)
}

// bearer is the header line of a token.
func bearer(token string) string { return "Authorization: Bearer " + token }

func TestLegacyPHP(t *testing.T) {
	app := startLegacyPHP(t)
	const jane = "REMOTE_USER:        jane\nHTTP_REMOTE_USER:   jane\nHTTP_REMOTE_CLIENT: jane\nHTTP_REMOTE_SCOPE:  ledger\n"

	for name, test := range map[string]struct {
		target, token string
		status        int
		challenge     string
		body          string
	}{
		"a page":                       {"/admin/users?x=1", app.token, 200, "", "Page:               /admin/users\n" + jane},
		"the first page":               {"/", app.token, 200, "", "Page:               /\n" + jane},
		"a page below the script":      {"/index.php/admin", app.token, 200, "", "Page:               /index.php/admin\n" + jane},
		"a page that is called public": {"/public/nothing", app.token, 200, "", "Page:               /public/nothing\n" + jane},
		"a script of its own":          {"/report.php", app.token, 200, "", "The report of jane.\n"},
		"a public script":              {"/public/status.php", "", 200, "", "Up, and nobody signed in.\n"},
		"a public script, to jane":     {"/public/status.php", app.token, 200, "", "Up, and nobody signed in.\n"},
		"a public file":                {"/public/style.css", "", 200, "", "body {\n\tfont-family: sans-serif;\n}\n"},
		"B03 no token":                 {"/admin", "", 401, `Bearer realm="portcullis", scope="ledger"`, ""},
		"B04 a bad token":              {"/admin", "bad-token", 401, `Bearer realm="portcullis", error="invalid_token"`, ""},
		"B04 a bad token, in public":   {"/public/status.php", "bad-token", 401, `Bearer realm="portcullis", error="invalid_token"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer := testgateway.Send(t, testgateway.Request(t, http.MethodGet, "http://"+app.address+test.target, test.token))
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			assert.Equal(t, test.body, answer.Body)
			for _, told := range app.Take(t) {
				for name, value := range told.Server {
					assert.False(t, test.token != "" && strings.Contains(value, test.token), "J13: PHP is told the token in %s", name)
				}
			}
		})
	}
}

// Whatever is asked and however it is spelled, no script that is not public runs without a token.
func TestLegacyPHPWaysAround(t *testing.T) {
	app := startLegacyPHP(t)
	for name, test := range map[string]struct {
		method, target string
		headers        []string
	}{
		"a page":                        {"GET", "/admin", nil},
		"the first page":                {"GET", "/", nil},
		"no such page":                  {"GET", "/nothing", nil},
		"a script of its own":           {"GET", "/report.php", nil},
		"no such script":                {"GET", "/x.php", nil},
		"the front controller":          {"GET", "/index.php", nil},
		"path info":                     {"GET", "/index.php/admin", nil},
		"path info, of another":         {"GET", "/report.php/public/status.php", nil},
		"path info, of nothing":         {"GET", "/x.php/public/status.php", nil},
		"path info, of a picture":       {"GET", "/public/style.css/index.php", nil},
		"path info, of a public script": {"GET", "/public/status.php/admin", nil},
		"path info, encoded":            {"GET", "/index.php%2fadmin", nil},
		"K06 upper case":                {"GET", "/ADMIN", nil},
		"K06 an upper case script":      {"GET", "/REPORT.PHP", nil},
		"K06 another case of public":    {"GET", "/PUBLIC/status.php", nil},
		"K06 two slashes":               {"GET", "//admin", nil},
		"K06 many slashes":              {"GET", "///admin//users", nil},
		"K06 two slashes and a script":  {"GET", "//report.php", nil},
		"K06 dot segments":              {"GET", "/public/../admin", nil},
		"K06 dot segments to a script":  {"GET", "/public/../report.php", nil},
		"K06 dot segments and back":     {"GET", "/admin/../public/nothing", nil},
		"K06 encoded dots":              {"GET", "/public/%2e%2e/admin", nil},
		"K06 encoded dots, a script":    {"GET", "/public/%2e%2e/report.php", nil},
		"K06 an encoded slash":          {"GET", "/public/..%2fadmin", nil},
		"K06 an encoded slash, script":  {"GET", "/public/..%2freport.php", nil},
		"K06 all encoded":               {"GET", "/public%2f%2e%2e%2fadmin", nil},
		"K06 encoded twice":             {"GET", "/public/%252e%252e/admin", nil},
		"K06 a backslash":               {"GET", `/public/..\admin`, nil},
		"K06 an encoded backslash":      {"GET", "/public/..%5creport.php", nil},
		"K06 encoded letters":           {"GET", "/%61dmin", nil},
		"K06 an encoded script":         {"GET", "/%72eport.php", nil},
		"K06 a parameter of a segment":  {"GET", "/public/..;/admin", nil},
		"K06 a query":                   {"GET", "/admin?x=/public/status.php", nil},
		"K06 a question mark, encoded":  {"GET", "/admin%3f/public/status.php", nil},
		"K06 a zero byte":               {"GET", "/report.php%00/public/status.php", nil},
		"K06 a space behind":            {"GET", "/report.php%20", nil},
		"K06 a dot behind":              {"GET", "/report.php.", nil},
		"K06 the absolute form":         {"GET", "http://localhost/public/../admin", nil},
		"public, the folder":            {"GET", "/public", nil},
		"public, and a slash":           {"GET", "/public/", nil},
		"public, but no file":           {"GET", "/public/nothing", nil},
		"public, but no such script":    {"GET", "/public/nothing.php", nil},
		"K07 X-Rewrite-Url":             {"GET", "/admin", []string{"X-Rewrite-Url: /public/status.php"}},
		"K07 X-Original-Url":            {"GET", "/admin", []string{"X-Original-Url: /public/status.php"}},
		"K07 X-Forwarded-Uri":           {"GET", "/admin", []string{"X-Forwarded-Uri: /public/status.php"}},
		"K07 X-Forwarded-Prefix":        {"GET", "/admin", []string{"X-Forwarded-Prefix: /public"}},
		"K07 a trusted address":         {"GET", "/admin", []string{"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1"}},
		"K08 a method override":         {"POST", "/admin", []string{"X-Http-Method-Override: OPTIONS", "X-Method-Override: GET", "Content-Length: 0"}},
		"K02 OPTIONS":                   {"OPTIONS", "/admin", nil},
		"K01 a preflight":               {"OPTIONS", "/admin", []string{"Origin: https://a.example.com", "Access-Control-Request-Method: GET"}},
		"HEAD":                          {"HEAD", "/admin", nil},
		"DELETE":                        {"DELETE", "/admin", nil},
		"a method of nobody's":          {"BREW", "/admin", nil},
		"A08 Basic":                     {"GET", "/admin", []string{"Authorization: Basic " + testgateway.Basic("jane", "jane-secret")}},
		"A08 Digest":                    {"GET", "/admin", []string{`Authorization: Digest username="jane"`}},
		"A19 the token in a cookie":     {"GET", "/admin", []string{"Cookie: access_token=" + app.token}},
		"forged names":                  {"GET", "/admin", []string{"Remote-User: jane", "Remote_User: jane", "Redirect-Remote-User: jane"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := app.ask(t, test.method, test.target, test.headers, "")
			assert.Equal(t, http.StatusUnauthorized, answer.Status)
			assert.Equal(t, `Bearer realm="portcullis", scope="ledger"`, answer.Challenge(t))
			assert.Empty(t, answer.Body)
			assert.Empty(t, app.Take(t), "a script ran")
		})
	}
}

// A client says who it is, in every way that PHP might take for the gateway's word (J01, J02, J03, J12).
func TestLegacyPHPForgeries(t *testing.T) {
	app := startLegacyPHP(t)
	const chunk = "3\r\na=1\r\n0\r\nRemote-User: forged\r\nRemote_User: forged\r\nAuthorization: Basic Zm9yZ2VkOng=\r\n\r\n"

	for name, test := range map[string]struct {
		headers []string
		body    string
	}{
		"J01 by name":              {[]string{"Remote-User: forged", "remote-user: forged", "REMOTE-USER: forged"}, ""},
		"J01 all of them":          {[]string{"Remote-Name: forged", "Remote-Email: forged", "Remote-Groups: forged", "Remote-Client: forged", "Remote-Scope: forged"}, ""},
		"J16 another's":            {[]string{"X-Forwarded-User: forged", "X-Auth-Request-User: forged", "X-Claim-Sub: forged", "Client-Cert: forged"}, ""},
		"J02 underscores":          {[]string{"Remote_User: forged", "REMOTE_USER: forged", "Remote_Client: forged"}, ""},
		"J02 dots":                 {[]string{"Remote.User: forged", "REMOTE.USER: forged", "remote.client: forged"}, ""},
		"J02 what is left":         {[]string{"Remote~User: forged", "Remote!User: forged", "Remote|User: forged", "Remote'User: forged"}, ""},
		"J03 hop by hop":           {[]string{"Connection: Remote-User, Remote-Client, Authorization", "Remote-User: forged"}, ""},
		"J12 trailers":             {[]string{"Transfer-Encoding: chunked", "Trailer: Remote-User, Remote_User, Authorization"}, chunk},
		"J12 trailers unannounced": {[]string{"Transfer-Encoding: chunked"}, chunk},
		"httpoxy":                  {[]string{"Proxy: forged"}, ""},
	} {
		method := http.MethodGet
		if test.body != "" {
			method = http.MethodPost
		}
		t.Run(name+", by jane", func(t *testing.T) {
			answer := app.ask(t, method, "/admin", append([]string{bearer(app.token)}, test.headers...), test.body)
			require.Equal(t, http.StatusOK, answer.Status)
			app.believes(t, "jane")
		})
		t.Run(name+", in public", func(t *testing.T) {
			answer := app.ask(t, method, "/public/status.php", test.headers, test.body)
			require.Equal(t, http.StatusOK, answer.Status)
			assert.Equal(t, "Up, and nobody signed in.\n", answer.Body)
			app.believes(t, "")
		})
	}
	for name, header := range map[string]string{
		"Basic":  "Authorization: Basic " + testgateway.Basic("forged", "x"),
		"Digest": `Authorization: Digest username="forged"`,
		"a name": "Authorization: forged",
	} {
		t.Run("A08 "+name+", in public", func(t *testing.T) {
			answer := app.ask(t, http.MethodGet, "/public/status.php", []string{header}, "")
			require.Equal(t, http.StatusOK, answer.Status)
			app.believes(t, "")
		})
	}
	t.Run("A06 a password beside the token", func(t *testing.T) {
		answer := app.ask(t, http.MethodGet, "/admin", []string{bearer(app.token), "Authorization: Basic " + testgateway.Basic("forged", "x")}, "")
		assert.Equal(t, http.StatusBadRequest, answer.Status)
		assert.Empty(t, app.Take(t), "a script ran")
	})
}

// believes demands that one script ran, for a user, and has learnt nothing else of who came.
func (p *php) believes(t *testing.T, user string) {
	t.Helper()
	all := p.Take(t)
	require.Len(t, all, 1)
	server := all[0].Server
	require.Contains(t, server, "REMOTE_USER")
	assert.Equal(t, user, server["REMOTE_USER"])
	identity := map[string]string{}
	if user != "" {
		identity = map[string]string{"HTTP_REMOTE_USER": user, "HTTP_REMOTE_CLIENT": user, "HTTP_REMOTE_SCOPE": "ledger"}
	}
	for name, value := range identity {
		assert.Equal(t, value, server[name], name)
	}
	for name, value := range server {
		if identity[name] == "" {
			assert.NotContains(t, value, "forged", fmt.Sprintf("$_SERVER[%q]", name))
		}
	}
	for _, name := range []string{"PHP_AUTH_USER", "PHP_AUTH_PW", "PHP_AUTH_DIGEST", "HTTP_AUTHORIZATION", "HTTP_PROXY", "HTTP_TRAILER"} {
		assert.NotContains(t, server, name)
	}
}
