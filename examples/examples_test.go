// Package examples runs the examples of its folders.
package examples_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// patience is how long anything may take that should happen at once, on a busy machine.
const patience = 20 * time.Second

func TestMain(m *testing.M) { os.Exit(testgateway.Main(m)) }

// caddyfile returns the Caddyfile of an example's folder, or the file itself, with the given texts replaced by others, in turn old and new.
func caddyfile(t *testing.T, example string, oldnew ...string) string {
	t.Helper()
	path := example
	if filepath.Ext(path) == "" {
		path = filepath.Join(path, "Caddyfile")
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(content)
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, text, oldnew[i], "the example has changed: change its test too")
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}

// raw sends a request line and header lines byte for byte, as no HTTP library would, and what follows them.
func raw(t *testing.T, address, method, target string, headers []string, body string) *testgateway.Reply {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	defer connection.Close()
	require.NoError(t, connection.SetDeadline(time.Now().Add(patience)))
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + address}, headers...)
	_, err = io.WriteString(connection, strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	require.NoError(t, err)
	if response.StatusCode == http.StatusSwitchingProtocols {
		return &testgateway.Reply{Status: response.StatusCode, Header: response.Header}
	}
	reply, err := testgateway.Read(response)
	require.NoError(t, err)
	return reply
}

// An example without a test, or without a word on what it is, is not finished.
func TestEveryExampleIsTestedAndExplained(t *testing.T) {
	folders, err := filepath.Glob("*/Caddyfile")
	require.NoError(t, err)
	for i, folder := range folders {
		folders[i] = filepath.Dir(folder)
		assert.FileExists(t, filepath.Join(folders[i], "README.md"))
		assert.FileExists(t, strings.ReplaceAll(folders[i], "-", "_")+"_test.go")
	}
	assert.NotEmpty(t, folders)
}
