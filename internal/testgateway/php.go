package testgateway

import (
	_ "embed"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is the PHP script that runs before any other.
//
//go:embed recorder.php
var recorder string

// PHP is a FastCGI server, Debian's php-cgi. It remembers what the scripts are told.
type PHP struct {
	*Process

	// Address is where it listens: host and port.
	Address string

	records string // the file
}

// Told is what PHP tells a script of a request.
type Told struct {
	// Server is $_SERVER, without what is no text.
	Server map[string]string
	// Body is php://input.
	Body string
}

// StartPHP starts a PHP that ends with the test.
func StartPHP(t testing.TB) *PHP {
	t.Helper()
	program, err := exec.LookPath("php-cgi")
	if err != nil {
		Missing(t, "needs PHP: apt-get install php-cgi")
	}
	script, records := filepath.Join(t.TempDir(), "recorder.php"), filepath.Join(t.TempDir(), "records")
	require.NoError(t, os.WriteFile(script, []byte(recorder), 0o600))
	require.NoError(t, os.WriteFile(records, nil, 0o600))

	// A FastCGI server finds its listener, on which connections wait from now on, where others have their input.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	require.NoError(t, err)
	defer socket.Close()

	command := exec.Command(program, "-d", "auto_prepend_file="+script)
	command.Dir = t.TempDir()
	command.Stdin = socket
	command.Env = []string{"PHP_FCGI_MAX_REQUESTS=0", "TESTGATEWAY_RECORDS=" + records}
	return &PHP{Process: Run(t, command), Address: listener.Addr().String(), records: records}
}

// Take lists the requests that came to a script, and forgets them.
func (p *PHP) Take(t testing.TB) []Told {
	t.Helper()
	content, err := os.ReadFile(p.records)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(p.records, 0))
	var all []Told
	for line := range strings.Lines(string(content)) {
		var told Told
		require.NoError(t, json.Unmarshal([]byte(line), &told), line)
		all = append(all, told)
	}
	return all
}

// Missing skips a test for want of a program, or fails it where all of them have to be there.
func Missing(t testing.TB, message string) {
	t.Helper()
	if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}
