package examples_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestMTLS(t *testing.T) {
	needs(t, "curl", "openssl")
	dir := t.TempDir()
	run := func(command ...string) string {
		program := exec.CommandContext(t.Context(), command[0], command[1:]...)
		program.Dir = dir
		out, err := program.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	for _, name := range []string{"client", "thief"} {
		run("openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "1", "-subj", "/CN="+name, "-keyout", name+".key", "-out", name+".pem")
	}
	thumbprint := strings.TrimSpace(run("sh", "-c",
		`openssl x509 -in client.pem -outform DER | openssl dgst -sha256 -binary | openssl base64 -A | tr '+/' '-_' | tr -d '='`))

	port, backend, server := testgateway.Port(t), testgateway.Port(t), testgateway.Port(t)
	gateway := testgateway.New(t)
	gateway.Start(t, caddyfile(t, "mtls",
		"https://localhost:8443", "https://localhost:"+port,
		"127.0.0.1:8081", "127.0.0.1:"+backend,
		"http://:8081", "http://:"+backend,
		"localhost:8082", "localhost:"+server,
	), "X5T="+thumbprint)
	gateway.Await(t, "certificate obtained successfully")
	const token = "token-of-alice"
	gateway.Guard(token)
	root := filepath.Join(gateway.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
	curl := func(version, path string, options ...string) string {
		arguments := []string{"curl", "-s", "-i", version, "--cacert", root, "-H", "Authorization: Bearer " + token, "https://localhost:" + port + path}
		return strings.ReplaceAll(run(append(arguments, options...)...), "\r", "")
	}
	identity := func(name string) []string { return []string{"--cert", name + ".pem", "--key", name + ".key"} }

	for option, version := range map[string]string{"--http1.1": "HTTP/1.1", "--http2": "HTTP/2"} {
		for _, path := range []string{"/orders/7", "/"} {
			answer := curl(option, path, identity("client")...)
			assert.Contains(t, answer, version+" 200")
			assert.True(t, strings.HasSuffix(answer, "\n\nGET "+path+"\nRemote-User:   alice\nAuthorization: \nClient-Cert:   \n"), answer)
			for name, options := range map[string][]string{
				"H01 a stolen token":                       nil,
				"H01 a stolen token, with a certificate":   identity("thief"),
				"H05 a stolen token, with a forged header": {"-H", "Client-Cert: :" + certificate(t, dir) + ":"},
			} {
				answer := curl(option, path, options...)
				assert.Contains(t, answer, version+" 401", name)
				assert.Regexp(t, `(?i:www-authenticate): Bearer realm="portcullis", error="invalid_token"`, answer, name)
			}
		}
	}
}

// certificate is the client's, in base64.
func certificate(t *testing.T, dir string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", "-c", "openssl x509 -in client.pem -outform DER | openssl base64 -A")
	command.Dir = dir
	out, err := command.Output()
	require.NoError(t, err)
	return string(out)
}
