package examples_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// needsNode skips a test whose npm packages are not installed.
func needsNode(t *testing.T, folder string) {
	t.Helper()
	needs(t, "node")
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err != nil {
		missing := "needs npm packages: tools/install-test-deps, or npm ci in examples/" + folder
		if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
}

// startNode starts a program of an example's folder.
func startNode(t *testing.T, program string, env []string, arguments ...string) *testgateway.Process {
	t.Helper()
	require.FileExists(t, program) // and so a cached result is not used when it changes
	command := exec.Command("node", append([]string{program}, arguments...)...)
	command.Env = append(os.Environ(), env...)
	return testgateway.Run(t, command)
}

// browser is that of alice. It goes wherever it is sent.
type browser struct{ http.Client }

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{http.Client{Jar: jar, Timeout: patience}}
}

func (b *browser) send(t *testing.T, request *http.Request) *testgateway.Reply {
	t.Helper()
	response, err := b.Do(request)
	require.NoError(t, err)
	reply, err := testgateway.Read(response)
	require.NoError(t, err)
	return reply
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="(?:hidden|checkbox)" name="([^"]*)" value="([^"]*)"`)
)

// submit sends the form of a page of a site.
func (b *browser) submit(t *testing.T, site string, page *testgateway.Reply, filledIn url.Values) *testgateway.Reply {
	t.Helper()
	match := formAction.FindStringSubmatch(page.Body)
	require.NotNil(t, match, page.Body)
	for _, input := range formInput.FindAllStringSubmatch(page.Body, -1) {
		filledIn.Add(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
	}
	request := testgateway.Form(t, html.UnescapeString(match[1]), "", "", filledIn)
	request.Header.Set("Origin", site)
	return b.send(t, request)
}

// A client that knows a URL ends with a tool's answer, and the server behind it knows nothing of OAuth.
func TestMCP(t *testing.T) {
	needsNode(t, "mcp")
	port, mcp := testgateway.Port(t), testgateway.Port(t)
	site := "http://localhost:" + port
	startNode(t, "mcp/server.mjs", []string{"PORT=" + mcp}).Await(t, "MCP server on")
	gateway := testgateway.New(t)
	gateway.Guard("open sesame 7")
	gateway.Start(t, caddyfile(t, "mcp", "http://localhost:8080", site, "127.0.0.1:8081", "127.0.0.1:"+mcp))

	client := startNode(t, "mcp/client.mjs", nil, site+"/mcp")
	_, address, found := strings.Cut(client.Await(t, "Open "), "Open ")
	require.True(t, found)
	asked, err := url.Parse(address)
	require.NoError(t, err)
	assert.Equal(t, site+"/mcp", asked.Query().Get("resource"), "L01 L02")
	assert.Equal(t, "tools", asked.Query().Get("scope"), "L04")
	assert.Equal(t, "S256", asked.Query().Get("code_challenge_method"))

	alice := newBrowser(t)
	consent := alice.submit(t, site, alice.send(t, testgateway.Request(t, http.MethodGet, address, "")),
		url.Values{"username": {"alice"}, "password": {"open sesame 7"}})
	assert.Contains(t, consent.Body, "Example client")
	assert.Contains(t, consent.Body, "Use the tools")
	done := alice.submit(t, site, consent, url.Values{"decision": {"allow"}})
	assert.Equal(t, "You can close this window.\n", done.Body)

	client.Await(t, "Tool: who_am_i")
	assert.Regexp(t, `^You are alice, by way of dyn_[A-Za-z0-9_-]+\. Authorization: none\.$`, client.Await(t, "You are"), "L09 L14")

	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		answer := testgateway.Send(t, testgateway.Request(t, method, site+"/mcp", ""))
		assert.Equal(t, http.StatusUnauthorized, answer.Status, "L14")
		assert.Equal(t, `Bearer realm="portcullis", scope="tools", resource_metadata="`+site+`/.well-known/oauth-protected-resource/mcp"`, answer.Challenge(t), "L02")
	}
}
