// Package testgateway runs the gateway as an operator does, for tests: the program itself, with a Caddyfile, on ports of
// its own, in front of a backend that tells what reached it.
package testgateway

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Gateway is the program in a directory of its own. It may be started again after it has been stopped or killed.
type Gateway struct {
	*Process

	// Dir is where it runs, and all that it writes is below it unless its Caddyfile says otherwise.
	Dir string
	// File is its Caddyfile.
	File string
	// Admin is the address of its admin endpoint.
	Admin string

	environment []string // with which it was started
}

// New prepares a gateway that Start starts.
func New(t testing.TB) *Gateway {
	t.Helper()
	dir, admin := t.TempDir(), Address(t)
	return &Gateway{Process: newProcess(t, &shared), Dir: dir, File: filepath.Join(dir, "Caddyfile"), Admin: admin}
}

// Start starts a gateway with a Caddyfile, and returns when it serves. The program has no environment but the given
// variables (NAME=value), and what keeps it to itself.
func Start(t testing.TB, caddyfile string, env ...string) *Gateway {
	t.Helper()
	g := New(t)
	g.Start(t, caddyfile, env...)
	return g
}

// Start starts the gateway as the function Start does. It writes all that it ever writes, debug logs included.
func (g *Gateway) Start(t testing.TB, caddyfile string, env ...string) {
	t.Helper()
	g.environment = env
	g.Write(t, caddyfile)
	command := g.Command(t, "run", "--config", g.File, "--adapter", "caddyfile")
	command.Env = append(command.Env, env...)
	g.start(t, command)
	g.Await(t, `"msg":"serving initial configuration"`)
	require.Contains(t, g.Output.String(), `"level":"debug"`, "the Caddyfile keeps the program from writing debug logs")
}

// Write writes the Caddyfile.
func (g *Gateway) Write(t testing.TB, caddyfile string) {
	t.Helper()
	require.NoError(t, os.WriteFile(g.File, []byte(g.prepare(caddyfile)), 0o600))
}

// Load gives the gateway, which runs, another Caddyfile, as `portcullis reload` does, and returns what the admin endpoint
// says.
func (g *Gateway) Load(t testing.TB, caddyfile string) *Reply {
	t.Helper()
	loaded := Send(t, Post(t, "http://"+g.Admin+"/load", "text/caddyfile", g.prepare(caddyfile)))
	if loaded.Status == http.StatusOK {
		g.awaitServers(t)
	}
	return loaded
}

// awaitServers waits until the servers of the configuration before have ceased to accept connections: for a moment after
// another one is loaded, they do.
func (g *Gateway) awaitServers(t testing.TB) {
	t.Helper()
	var servers map[string]struct {
		Listen []string `json:"listen"`
	}
	require.NoError(t, json.Unmarshal([]byte(Get(t, "http://"+g.Admin+"/config/apps/http/servers").Body), &servers))
	expected := 1 // that of the admin endpoint
	for _, server := range servers {
		expected += len(server.Listen)
	}
	require.Eventually(t, func() bool {
		return accepting(Get(t, "http://"+g.Admin+"/debug/pprof/goroutine?debug=1").Body) <= expected
	}, 20*time.Second, 5*time.Millisecond, "servers of an earlier configuration accept connections")
}

// alike is what a profile of goroutines says of those that are alike: their number, and where they are.
var alike = regexp.MustCompile(`(?m)^(\d+) @.*\n((?:#.*\n)*)`)

// accepting counts the servers that accept connections in a profile of goroutines.
func accepting(profile string) (servers int) {
	for _, group := range alike.FindAllStringSubmatch(profile, -1) {
		if strings.Contains(group[2], "net/http.(*Server).Serve+") {
			number, _ := strconv.Atoi(group[1]) // these are digits
			servers += number
		}
	}
	return servers
}

// prepare registers the secrets of a Caddyfile, and has the program write debug logs.
func (g *Gateway) prepare(caddyfile string) string {
	g.guard.overhearCaddyfile(caddyfile, g.environment)
	return debugging(caddyfile)
}

// Command is a command of the program that leaves no trace outside the gateway's directory.
func (g *Gateway) Command(t testing.TB, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(binary(t), arguments...)
	command.Dir = g.Dir
	command.Env = []string{
		"HOME=" + g.Dir,
		"XDG_CONFIG_HOME=" + filepath.Join(g.Dir, "config"),
		"XDG_DATA_HOME=" + filepath.Join(g.Dir, "data"),
		"CADDY_ADMIN=" + g.Admin,
	}
	return command
}
