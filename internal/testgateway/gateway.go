// Package testgateway runs the gateway as an operator does, for tests: the program itself, with a Caddyfile, on ports of
// its own, in front of a backend that tells what reached it.
package testgateway

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// program is the gateway that the tests of this process run.
var program struct {
	once sync.Once
	path string
	dir  string
	err  error
}

// Main runs the tests of a package, and removes the program that they have built. It is for TestMain.
func Main(m *testing.M) int {
	defer func() { _ = os.RemoveAll(program.dir) }() // an empty name removes nothing
	return m.Run()
}

// Binary returns the path of the gateway: that of the environment variable PORTCULLIS_BIN, which has to be absolute, or
// one that is built for the first test that asks.
func Binary(t testing.TB) string {
	t.Helper()
	program.once.Do(func() {
		if program.path = os.Getenv("PORTCULLIS_BIN"); program.path == "" {
			program.path, program.err = build()
		}
	})
	require.NoError(t, program.err)
	require.True(t, filepath.IsAbs(program.path), "PORTCULLIS_BIN must be an absolute path")
	return program.path
}

func build() (string, error) {
	var err error
	if program.dir, err = os.MkdirTemp("", "portcullis-test-"); err != nil {
		return "", err
	}
	path := filepath.Join(program.dir, "portcullis")
	output, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-tags", "nobadger,nomysql,nopgx", "-o", path,
		"github.com/portcullis-gateway/portcullis/cmd/portcullis").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the gateway: %w\n%s", err, output)
	}
	return path, nil
}

// Start starts the gateway with a Caddyfile and returns when it serves. The program runs in a directory of its own, in
// an environment that has nothing but the given variables (NAME=value) and what keeps it to itself.
func Start(t testing.TB, caddyfile string, env ...string) *Process {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(caddyfile), 0o600))
	command := exec.Command(Binary(t), "run", "--config", "Caddyfile", "--adapter", "caddyfile")
	command.Dir = dir
	command.Env = append([]string{
		"HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"CADDY_ADMIN=" + Address(t),
	}, env...)
	gateway := Run(t, command)
	Await(t, gateway.Stderr, `"msg":"serving initial configuration"`)
	return gateway
}

// Ports below those that the system gives to outgoing connections, so that a free one stays free until it is used. Each
// process begins elsewhere, since the tests of several packages run at once.
const (
	firstPort = 20_000
	ports     = 10_000
)

var nextPort atomic.Int64

func init() { nextPort.Store(int64(os.Getpid()) * 101) }

// Address returns a free address on loopback, such as 127.0.0.1:20080.
func Address(t testing.TB) string {
	t.Helper()
	for range ports {
		port := firstPort + nextPort.Add(1)%ports
		address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		require.NoError(t, listener.Close())
		return address
	}
	require.Fail(t, "no free port")
	return ""
}

// Port returns a free port on loopback.
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(Address(t))
	require.NoError(t, err)
	return port
}
