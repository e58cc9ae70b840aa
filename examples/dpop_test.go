package examples_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// needs skips a test whose programs are not installed.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
			t.Fatalf("needs %s: apt-get install %s", program, program)
		}
		t.Skipf("needs %s: apt-get install %s", program, program)
	}
}

// prover makes proofs with the script of the example.
func prover(t *testing.T) func(arguments ...string) string {
	t.Helper()
	needs(t, "bash", "openssl")
	script, err := filepath.Abs("dpop/proof.sh")
	require.NoError(t, err)
	dir := t.TempDir()
	return func(arguments ...string) string {
		command := exec.CommandContext(t.Context(), script, arguments...)
		command.Dir = dir
		out, err := command.Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
}

func TestDPoP(t *testing.T) {
	prove := prover(t)
	port, backend, server := testgateway.Port(t), testgateway.Port(t), testgateway.Port(t)
	site := "http://localhost:" + port
	testgateway.Start(t, caddyfile(t, "dpop",
		"http://localhost:8080", site,
		"127.0.0.1:8081", "127.0.0.1:"+backend,
		"http://:8081", "http://:"+backend,
		"localhost:8082", "localhost:"+server,
	), "JKT="+prove("thumbprint"))
	const token = "token-of-alice"
	get := func(path, scheme string, proofs ...string) *testgateway.Reply {
		request := testgateway.Request(t, http.MethodGet, site+path, "")
		request.Header.Set("Authorization", scheme+" "+token)
		request.Header["DPoP"] = proofs
		return testgateway.Send(t, request)
	}
	proof := func(path string, nonce ...string) string {
		return prove(append([]string{"GET", site + path, token}, nonce...)...)
	}
	const algs = `algs="ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"`

	good := proof("/orders/7")
	answer := get("/orders/7", "DPoP", good)
	require.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, "GET /orders/7\nRemote-User:   alice\nAuthorization: \nDPoP:          \n", answer.Body, "G20 J13")

	for _, test := range []struct {
		name, path, scheme string
		proofs             []string
		challenge          string
	}{
		{"a proof is good once", "/orders/7", "DPoP", []string{good}, `DPoP realm="portcullis", error="invalid_dpop_proof", ` + algs},
		{"a stolen token", "/orders/7", "Bearer", nil, `DPoP realm="portcullis", error="invalid_token", ` + algs},
		{"a stolen token where nothing is demanded", "/", "Bearer", nil, `Bearer realm="portcullis", error="invalid_token"`},
		{"a proof for another URL", "/orders/8", "DPoP", []string{proof("/orders/7")}, `DPoP realm="portcullis", error="invalid_dpop_proof", ` + algs},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := get(test.path, test.scheme, test.proofs...)
			assert.Equal(t, http.StatusUnauthorized, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
		})
	}
	t.Run("nothing is demanded", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, get("/", "DPoP", proof("/")).Status)
	})
	t.Run("a nonce, for the URL that the client knows", func(t *testing.T) {
		answer := get("/payments/1", "DPoP", proof("/payments/1"))
		assert.Equal(t, `DPoP realm="portcullis", error="use_dpop_nonce", `+algs, answer.Challenge(t))
		answer = get("/payments/1", "DPoP", proof("/payments/1", answer.Header.Get("DPoP-Nonce")))
		require.Equal(t, http.StatusOK, answer.Status)
		assert.Contains(t, answer.Body, "GET /1\n")
	})
}
