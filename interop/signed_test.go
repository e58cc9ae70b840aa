package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const signedFile = `{
	introspect {
		{authority}
		client {client} {env.SECRET}
	}
}

http://localhost:{$PORT} {
	introspect {
		phantom_token
	}
	reverse_proxy {$BACKEND}
}
`

// startSigned starts a gateway that demands signed answers of a counterpart, and hands them on.
func startSigned(t *testing.T, c counterpart) *gateway {
	t.Helper()
	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	file := strings.NewReplacer("{authority}", strings.Join(c.authority, "\n\t\t"), "{client}", c.client.id).Replace(signedFile)
	process := testgateway.Start(t, file, "BACKEND="+backend.Address, "PORT="+port, "SECRET="+c.client.secret)
	process.GuardClient(c.client.id, c.client.secret)
	return &gateway{Gateway: process, url: "http://localhost:" + port, backend: backend}
}

// proveSigned holds the gateway against a counterpart that signs its answers. The backend gets them, and verifies them with
// the keys that the counterpart publishes.
func proveSigned(t *testing.T, c counterpart, keys string, claims map[string]any) {
	t.Helper()
	g := startSigned(t, c)
	published := testgateway.Get(t, keys)
	require.Equal(t, http.StatusOK, published.Status, published.Body)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal([]byte(published.Body), &set))

	for range 2 {
		token := c.active(t)
		require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
		seen := g.backend.Take()
		require.Len(t, seen, 1)
		assert.Equal(t, c.told, told(t, seen[0]))
		text, ok := strings.CutPrefix(seen[0].Header.Get("Authorization"), "Bearer ")
		require.True(t, ok)
		g.Guard(text)
		jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256})
		require.NoError(t, err)
		payload, err := jws.Verify(set)
		require.NoError(t, err)
		var said map[string]any
		require.NoError(t, json.Unmarshal(payload, &said))
		for name, value := range claims {
			assert.Equal(t, value, said[name], name)
		}
		assert.Equal(t, true, said["token_introspection"].(map[string]any)["active"])
	}
}

// refuseSigned demands that the gateway does not believe what a counterpart says of a token, and why.
func refuseSigned(t *testing.T, c counterpart, token, why string) {
	t.Helper()
	g := startSigned(t, c)
	answer := g.get(t, "/", token)
	assert.Equal(t, http.StatusBadGateway, answer.Status)
	assert.NotContains(t, answer.Header, "Www-Authenticate")
	assert.Empty(t, g.backend.Take())
	g.Await(t, why)
}

// newRSAKey makes a key pair in PEM.
func newRSAKey(t *testing.T) (private, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	private = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}))
}
