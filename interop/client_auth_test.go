package interop_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// embedded is a gateway with an authorization server, whose clients are Authlib's.
const embedded = `{
	authorization_server {
		issuer http://localhost:{$PORT}
		store file {$FOLDER}/tokens.db
		client basic {env.TYPED_SECRET} {
			auth client_secret_basic
			grants client_credentials urn:ietf:params:oauth:grant-type:jwt-bearer
			scopes orders:read
			introspect
		}
		client post {env.TYPED_SECRET} {
			auth client_secret_post
			grants client_credentials
			scopes orders:read
			introspect
		}
		client signer {env.SIGNING_SECRET} {
			auth client_secret_jwt
			grants client_credentials
			scopes orders:read
			introspect
		}
		client rsa {
			auth private_key_jwt
			jwks {$FOLDER}/rsa.jwks
			grants client_credentials
			scopes orders:read
			introspect
		}
		client ec {
			auth private_key_jwt
			jwks {$FOLDER}/ec.jwks
			grants client_credentials
			scopes orders:read
			introspect
		}
		assertion_issuer https://partner.example.com {
			jwks {$FOLDER}/rsa.jwks
			subjects alice
			scopes orders:read
		}
	}
}

http://localhost:{$PORT} {
	authorization_server
	introspect
	reverse_proxy {$BACKEND}
}
`

const (
	// typedSecret is one that Authlib writes as it is, and the RFC otherwise. Beyond ASCII it would write Latin-1, which
	// nothing says.
	typedSecret   = "p@ss w+rd/%41:& "
	signingSecret = "signing-secret-of-more-than-32-bytes-6Tg_"
)

// authlibClient is what authlib-client/client.py is told of a client.
type authlibClient struct {
	ID        string         `json:"id"`
	Secret    string         `json:"secret"`
	Method    string         `json:"method"`
	Algorithm string         `json:"alg,omitempty"`
	Audience  string         `json:"audience,omitempty"`
	Assertion map[string]any `json:"assertion,omitempty"`
}

func TestAuthlibSignsInAtTheEmbeddedServer(t *testing.T) {
	needPython(t, "authlib, requests", "python3-authlib python3-requests")
	folder, port, backend := t.TempDir(), testgateway.Port(t), testgateway.StartBackend(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	publish(t, filepath.Join(folder, "rsa.jwks"), rsaKey)
	publish(t, filepath.Join(folder, "ec.jwks"), ecKey)
	gateway := testgateway.Start(t, embedded,
		"BACKEND="+backend.Address, "FOLDER="+folder, "PORT="+port, "SIGNING_SECRET="+signingSecret, "TYPED_SECRET="+typedSecret)
	gateway.GuardClient("basic", typedSecret)
	gateway.Guard(signingSecret)

	base := "http://localhost:" + port
	rsaPEM, ecPEM := pemOf(t, rsaKey), pemOf(t, ecKey)
	clients := map[string]authlibClient{
		// Authlib does not encode them.
		"client_secret_basic": {ID: "basic", Secret: typedSecret, Method: "client_secret_basic"},
		"client_secret_post":  {ID: "post", Secret: typedSecret, Method: "client_secret_post"},
		// Without an audience Authlib takes the endpoint that it calls.
		"client_secret_jwt":      {ID: "signer", Secret: signingSecret, Method: "client_secret_jwt", Algorithm: "HS256"},
		"private_key_jwt, RS256": {ID: "rsa", Secret: rsaPEM, Method: "private_key_jwt", Algorithm: "RS256"},
		"for the token endpoint": {ID: "rsa", Secret: rsaPEM, Method: "private_key_jwt", Algorithm: "PS256", Audience: base + "/oauth2/token"},
		"private_key_jwt, ES256": {ID: "ec", Secret: ecPEM, Method: "private_key_jwt", Algorithm: "ES256", Audience: base},
		"the grant of an assertion": {ID: "basic", Secret: typedSecret, Method: "client_secret_basic", Assertion: map[string]any{
			"key": rsaPEM, "issuer": "https://partner.example.com", "audience": base + "/oauth2/token", "subject": "alice", "header": map[string]any{"alg": "RS256"},
		}},
	}
	told := runAuthlibClient(t, base, clients)
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			got := told[name]
			token, _ := got.Issued["access_token"].(string)
			require.NotEmpty(t, token)
			gateway.Guard(token)
			subject := client.ID
			if client.Assertion != nil {
				subject = "alice"
			}
			assert.Equal(t, true, got.Before["active"])
			assert.Equal(t, client.ID, got.Before["client_id"])
			assert.Equal(t, subject, got.Before["sub"])
			assert.Equal(t, "orders:read", got.Before["scope"])
			assert.Equal(t, http.StatusOK, got.Revoked)
			assert.Equal(t, map[string]any{"active": false}, got.After)
		})
	}
}

// toldAuthlib is what a client was told in the life of a token.
type toldAuthlib struct {
	Issued  map[string]any `json:"issued"`
	Before  map[string]any `json:"before"`
	Revoked int            `json:"revoked"`
	After   map[string]any `json:"after"`
}

func runAuthlibClient(t *testing.T, base string, clients map[string]authlibClient) map[string]toldAuthlib {
	t.Helper()
	task, err := json.Marshal(map[string]any{
		"server": map[string]string{
			"token": base + "/oauth2/token", "introspection": base + "/oauth2/introspect", "revocation": base + "/oauth2/revoke",
		},
		"clients": clients,
	})
	require.NoError(t, err)
	const program = "authlib-client/client.py"
	require.FileExists(t, program) // and so a cached result is not used when it changes
	command := exec.CommandContext(t.Context(), python, program)
	command.Stdin = bytes.NewReader(task)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	require.NoError(t, err, complaints.String())
	var told map[string]toldAuthlib
	require.NoError(t, json.Unmarshal(output, &told), string(output))
	return told
}

// publish writes the public half of a key into a file, as a JWK set.
func publish(t *testing.T, file string, key crypto.Signer) {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

func pemOf(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
