package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long anything may take that should happen at once, on a busy machine.
const patience = 20 * time.Second

// tick is how often a test looks whether something has happened.
const tick = 20 * time.Millisecond

// gateway is a process of Portcullis with a Caddyfile, an admin endpoint and a site of its own. When its test ends, it
// is stopped, and nothing that it wrote may hold a token or a secret that it came across.
type gateway struct {
	dir     string
	file    string // the Caddyfile
	admin   string // the address of the admin endpoint
	address string // the address of the site

	output  output
	command *exec.Cmd
	exited  chan struct{}

	mu      sync.Mutex
	secrets []string
}

// newGateway prepares a gateway that start starts.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{dir: dir, file: filepath.Join(dir, "Caddyfile"), admin: reserve(t), address: reserve(t)}
	t.Cleanup(func() {
		g.stop(t)
		g.audit(t)
		if t.Failed() {
			t.Logf("%s and the output of its gateway:\n%s", g.file, g.output.String())
		}
	})
	return g
}

// caddyfile writes a Caddyfile of further global options and the body of the site. Debug and access logs are on, so
// that the program writes all that it ever writes.
func (g *gateway) caddyfile(global, site string) string {
	return fmt.Sprintf(`{
	admin %s
	default_bind 127.0.0.1
	debug
	metrics
%s
}
http://:%s {
	log
%s
}
`, g.admin, global, g.address[strings.LastIndexByte(g.address, ':')+1:], site)
}

// start starts the gateway with a Caddyfile and waits until it serves.
func (g *gateway) start(t *testing.T, caddyfile string) {
	t.Helper()
	require.Nil(t, g.command, "the gateway is running already")
	require.NoError(t, os.WriteFile(g.file, []byte(caddyfile), 0o600))
	command := portcullis(t, g.dir, "run", "--config", g.file, "--adapter", "caddyfile")
	command.Stdout, command.Stderr = &g.output, &g.output
	require.NoError(t, command.Start())
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = command.Wait() // it is ended by a signal
	}()
	g.command, g.exited = command, exited
	require.Eventually(t, func() bool { return g.hasExited() || g.isReady() }, patience, tick, "the gateway does not serve")
	require.False(t, g.hasExited(), "the gateway has exited")
}

func (g *gateway) hasExited() bool {
	select {
	case <-g.exited:
		return true
	default:
		return false
	}
}

// isReady asks the admin endpoint, which answers when the configuration is loaded.
func (g *gateway) isReady() bool {
	response, err := client.Get("http://" + g.admin + "/config/")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return err == nil && response.StatusCode == http.StatusOK && strings.TrimSpace(string(body)) != "null"
}

// kill ends the gateway as a power cut would.
func (g *gateway) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, g.command.Process.Kill())
	<-g.exited
	g.command = nil
}

// stop stops the gateway, if it runs.
func (g *gateway) stop(t *testing.T) {
	t.Helper()
	if g.command == nil {
		return
	}
	_ = g.command.Process.Signal(syscall.SIGTERM) // it may have exited
	select {
	case <-g.exited:
	case <-time.After(patience):
		_ = g.command.Process.Kill()
		<-g.exited
		t.Error("the gateway did not stop when it was asked to")
	}
	g.command = nil
}

// load gives the gateway another Caddyfile, as `portcullis reload` does, and returns what the admin endpoint says.
func (g *gateway) load(t *testing.T, caddyfile string) *reply {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+g.admin+"/load", strings.NewReader(caddyfile))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "text/caddyfile")
	return do(t, request)
}

// reload loads another Caddyfile, which has to succeed.
func (g *gateway) reload(t *testing.T, caddyfile string) {
	t.Helper()
	loaded := g.load(t, caddyfile)
	require.Equal(t, http.StatusOK, loaded.status, loaded.body)
}

// guard registers what the gateway must never write.
func (g *gateway) guard(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, secret := range secrets {
		if secret != "" && !slices.Contains(g.secrets, secret) {
			g.secrets = append(g.secrets, secret)
		}
	}
}

// guardClient registers the secret of a client in the ways in which it is sent.
func (g *gateway) guardClient(id, secret string) {
	g.guard(secret, basic(id, secret), basic(url.QueryEscape(id), url.QueryEscape(secret)))
}

// audit looks for tokens and secrets in all that the gateway has written (K14, D21), and for signs of a fault.
func (g *gateway) audit(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	written := g.output.String()
	for _, alarm := range []string{"panic", "DATA RACE", "goroutine "} {
		assert.NotContains(t, written, alarm)
	}
	for _, secret := range g.secrets {
		if before, after, found := strings.Cut(written, secret); found {
			line := before[strings.LastIndexByte(before, '\n')+1:] + secret
			rest, _, _ := strings.Cut(after, "\n")
			assert.Failf(t, "the gateway wrote a token or a secret", "%q in %s%s", secret, line, rest)
		}
	}
}

// inFlight is how many requests the site is serving, if it has one route that all of them take.
func (g *gateway) inFlight(t *testing.T) int {
	t.Helper()
	most := 0
	for line := range strings.SplitSeq(get(t, "http://"+g.admin+"/metrics").body, "\n") {
		if strings.HasPrefix(line, "caddy_http_requests_in_flight{") {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			assert.NoError(t, err)
			most = max(most, n)
		}
	}
	return most
}

// logs says whether the gateway has written a text.
func (g *gateway) logs(text string) bool { return strings.Contains(g.output.String(), text) }

// output collects what a process writes.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

func basic(id, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
}
