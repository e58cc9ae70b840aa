package examples_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testbrowser"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// needsNode skips a test whose npm packages are not installed.
func needsNode(t *testing.T, folder string) {
	t.Helper()
	needs(t, "node")
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err != nil {
		testgateway.Missing(t, "needs npm packages: tools/install-test-deps, or npm ci in examples/"+folder)
	}
}

// node is a program of an example's folder.
func node(t *testing.T, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	require.FileExists(t, program) // and so a cached result is not used when it changes
	return exec.Command("node", append([]string{program}, arguments...)...)
}

// mcpServer is the example's MCP server, behind a proxy that notes what it is told.
type mcpServer struct {
	address string

	mu       sync.Mutex
	told     []http.Header
	messages int
}

func startMCPServer(t *testing.T) *mcpServer {
	t.Helper()
	port := testgateway.Port(t)
	program := node(t, "mcp/server.mjs")
	program.Env = append(os.Environ(), "PORT="+port)
	testgateway.Run(t, program).Await(t, "MCP server on")
	s := &mcpServer{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:" + port})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.told = append(s.told, r.Header.Clone())
		if r.Method == http.MethodPost {
			s.messages++
		}
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.address = front.Listener.Addr().String()
	return s
}

// took says how many messages the server got since it was last asked. The client does not wait for the stream that it asks for besides.
func (s *mcpServer) took() (messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages, s.messages = s.messages, 0
	return messages
}

// all lists what the server was told with requests.
func (s *mcpServer) all() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

// mcpClient is the example's client, which asks somebody to open its requests.
type mcpClient struct {
	*testgateway.Process

	keyboard io.WriteCloser
	site     string
	asked    int
}

func startMCPClient(t *testing.T, site string) *mcpClient {
	t.Helper()
	program := node(t, "mcp/client.mjs", site+"/mcp")
	keyboard, err := program.StdinPipe()
	require.NoError(t, err)
	return &mcpClient{Process: testgateway.Run(t, program), keyboard: keyboard, site: site}
}

// lines lists what the client has said that begins with a text.
func (c *mcpClient) lines(begin string) (lines []string) {
	for line := range strings.Lines(c.Output.String()) {
		if whole, ended := strings.CutSuffix(line, "\n"); ended && strings.HasPrefix(whole, begin) {
			lines = append(lines, whole)
		}
	}
	return lines
}

// awaitLine waits until the client has said something for the nth time, from one on, and returns it.
func (c *mcpClient) awaitLine(t *testing.T, begin string, nth int) string {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.lines(begin)) >= nth }, patience, 10*time.Millisecond, begin)
	return c.lines(begin)[nth-1]
}

// request is the next authorization request that the client wants to be opened.
func (c *mcpClient) request(t *testing.T) (address string, parameters url.Values) {
	t.Helper()
	c.asked++
	address = strings.TrimPrefix(c.awaitLine(t, "Open ", c.asked), "Open ")
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	assert.Equal(t, c.site, parsed.Scheme+"://"+parsed.Host)
	return address, parsed.Query()
}

// again has the client call once more.
func (c *mcpClient) again(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(c.keyboard, "\n")
	require.NoError(t, err)
}

// allowed has the user of a tab allow what the client asks for, and returns where the browser ends up.
func (c *mcpClient) allowed(t *testing.T, gateway *testgateway.Gateway, tab *testbrowser.Tab) (end string) {
	t.Helper()
	for _, shown := range []string{"Allow Example client (unverified)?", "a program on this device", "Use the tools", c.site + "/mcp"} {
		require.Contains(t, tab.Text(t), shown)
	}
	tab.Submit(t, "[name=decision][value=allow]")
	require.Contains(t, tab.Text(t), "You can close this window.", tab.URL(t))
	parsed, err := url.Parse(tab.URL(t))
	require.NoError(t, err)
	require.NotEmpty(t, parsed.Query().Get("code"))
	gateway.Guard(parsed.Query().Get("code"))
	return parsed.String()
}

// A client that knows a URL ends with a tool's answer, by way of a browser, and the server behind it knows nothing of OAuth.
func TestMCP(t *testing.T) {
	needsNode(t, "mcp")
	browser := testbrowser.Start(t, nil)
	server := startMCPServer(t)
	port := testgateway.Port(t)
	site := "http://localhost:" + port
	gateway := testgateway.New(t)
	gateway.Guard("open sesame 7")
	gateway.Start(t, caddyfile(t, "mcp",
		"http://localhost:8080", site,
		"127.0.0.1:8081", server.address,
		site+" {", site+" {\n\tlog",
		"resource "+site+"/mcp\n\t\tregistration {", "resource "+site+"/mcp "+site+`/other
		client machine machine-secret {
			grants client_credentials
			scopes tools
			audiences `+site+"/mcp "+site+`/other https://elsewhere.example.com/mcp
		}
		registration {`,
	))
	challenge := func(attribute string) string {
		return `Bearer realm="portcullis", ` + attribute + `, resource_metadata="` + site + `/.well-known/oauth-protected-resource/mcp"`
	}
	tab := browser.Tab(t)
	client := startMCPClient(t, site)

	t.Run("L01 L02 L04 the client asks the user to sign in", func(t *testing.T) {
		address, asked := client.request(t)
		assert.Equal(t, site+"/mcp", asked.Get("resource"))
		assert.Equal(t, "tools", asked.Get("scope"))
		assert.Equal(t, "S256", asked.Get("code_challenge_method"))
		require.Regexp(t, `^http://127\.0\.0\.1:\d+/callback$`, asked.Get("redirect_uri"))
		tab.Open(t, address)
		tab.Fill(t, "[name=username]", "alice")
		tab.Fill(t, "[name=password]", "open sesame 7")
		tab.Enter(t)

		port := strings.TrimSuffix(asked.Get("redirect_uri"), "/callback")
		for name, path := range map[string]string{
			"a code of somebody else's": "/callback?code=stolen&state=guessed",
			"a code without a state":    "/callback?code=stolen",
			"an error":                  "/callback?error=access_denied",
			"no path":                   "//",
		} {
			t.Run("attack: what comes to the port is "+name, func(t *testing.T) {
				assert.Equal(t, http.StatusNotFound, testgateway.Get(t, port+path).Status)
			})
		}
	})
	t.Run("L09 L14 the user allows it, and the server is told who calls", func(t *testing.T) {
		end := client.allowed(t, gateway, tab)
		client.awaitLine(t, "Tool: who_am_i", 1)
		said := client.awaitLine(t, "You are", 1)
		assert.Regexp(t, `^You are alice, by way of dyn_[A-Za-z0-9_-]+\. Authorization: none\.$`, said)
		for _, complaint := range tab.Says() {
			assert.Contains(t, complaint, "404", "the client has no icon, and no policy of the pages is in the way")
		}
		require.Positive(t, server.took())
		for _, header := range server.all() {
			assert.Equal(t, []string{"alice"}, header["Remote-User"])
			assert.Equal(t, []string{"tools"}, header["Remote-Scope"])
			require.Len(t, header["Remote-Client"], 1)
			assert.Contains(t, said, header.Get("Remote-Client"))
			for name, values := range header {
				assert.NotContains(t, []string{"Authorization", "Cookie"}, name)
				assert.NotRegexp(t, `\bp[ar]t_`, strings.Join(values, " "), "%s has a token", name)
			}
		}

		tab.Open(t, end)
		assert.Equal(t, http.StatusNotFound, tab.Status(t), "an answer is good once")
	})
	// withdraw has the user withdraw it, and the client call again, and returns what it asks for then.
	withdraw := func(t *testing.T) (address string, asked url.Values) {
		t.Helper()
		tab.Open(t, site+"/oauth2/account")
		require.Contains(t, tab.Text(t), "Example client")
		tab.Submit(t, "[value=withdraw]")
		require.NotContains(t, tab.Text(t), "Example client")
		client.again(t)
		address, asked = client.request(t)
		assert.Zero(t, server.took())
		return address, asked
	}
	t.Run("the user withdraws it, and the client has to ask again", func(t *testing.T) {
		address, asked := withdraw(t)
		assert.Contains(t, gateway.Await(t, `"introspect":"invalid_token"`), strings.ReplaceAll(challenge(`error="invalid_token"`), `"`, `\"`), "L02")
		assert.Equal(t, site+"/mcp", asked.Get("resource"))
		tab.Open(t, address)
		client.allowed(t, gateway, tab)
		assert.Equal(t, client.awaitLine(t, "You are", 1), client.awaitLine(t, "You are", 2))
		assert.Positive(t, server.took())
	})
	t.Run("the user does not want to any more", func(t *testing.T) {
		address, _ := withdraw(t)
		tab.Open(t, address)
		tab.Submit(t, "[name=decision][value=deny]")
		client.Await(t, "You are not signed in: access_denied")
		assert.Zero(t, server.took())
	})
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		t.Run("L14 no token, "+method, func(t *testing.T) {
			answer := testgateway.Send(t, testgateway.Request(t, method, site+"/mcp", ""))
			assert.Equal(t, http.StatusUnauthorized, answer.Status)
			assert.Equal(t, challenge(`scope="tools"`), answer.Challenge(t), "L02")
		})
	}

	issued := func(t *testing.T, resource ...string) string {
		t.Helper()
		form := url.Values{"grant_type": {"client_credentials"}, "resource": resource}
		return testgateway.Send(t, testgateway.Form(t, site+"/oauth2/token", "machine", "machine-secret", form)).AccessToken(t)
	}
	call := func(t *testing.T, token string) *testgateway.Reply {
		t.Helper()
		request := testgateway.Post(t, site+"/mcp", "application/json", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		request.Header.Set("Accept", "application/json, text/event-stream")
		request.Header.Set("Authorization", "Bearer "+token)
		return testgateway.Send(t, request)
	}
	refused := func(t *testing.T, token string) {
		t.Helper()
		answer := call(t, token)
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		assert.Equal(t, challenge(`error="invalid_token"`), answer.Challenge(t), "L02")
		assert.Zero(t, server.took())
	}
	for name, resource := range map[string][]string{
		"another MCP server here":         {site + "/other"},
		"an MCP server elsewhere":         {"https://elsewhere.example.com/mcp"},
		"nothing in particular":           {},
		"two others, one of them is here": {site + "/other", "https://elsewhere.example.com/mcp"},
	} {
		t.Run("L08 attack: a token for "+name, func(t *testing.T) { refused(t, issued(t, resource...)) })
	}
	t.Run("a token for this one, until it is revoked", func(t *testing.T) {
		token := issued(t, site+"/mcp")
		assert.Equal(t, http.StatusOK, call(t, token).Status)
		assert.Positive(t, server.took())
		revoked := testgateway.Send(t, testgateway.Form(t, site+"/oauth2/revoke", "machine", "machine-secret", url.Values{"token": {token}}))
		require.Equal(t, http.StatusOK, revoked.Status)
		refused(t, token)
	})
}
