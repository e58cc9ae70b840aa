package interop_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// startPythonClients starts python-clients/client.py.
func (s *issuer) startPythonClients(t *testing.T) *clientProgram {
	t.Helper()
	needPython(t, "authlib, httpx, requests, requests_oauthlib",
		"python3-authlib python3-httpx python3-requests python3-requests-oauthlib")
	const program = "python-clients/client.py"
	require.FileExists(t, program) // and so a cached result is not used when it changes
	return s.startClients(t, exec.Command(python, program))
}
