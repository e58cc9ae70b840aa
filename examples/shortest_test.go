package examples_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// authority starts an authorization server that knows one token.
func authority(t *testing.T, secret, token, answer string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, given, _ := r.BasicAuth()
		if r.URL.Path != "/oauth2/introspect" || id != "gateway" || given != secret {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		said := `{"active":false}`
		if r.PostFormValue("token") == token {
			said = answer
		}
		_, _ = io.WriteString(w, said) // the gateway hung up
	}))
	t.Cleanup(server.Close)
	return server
}

func TestShortest(t *testing.T) {
	const secret, good = "s3cret", "good-token"
	server := authority(t, secret, good, `{"active":true,"sub":"jane","client_id":"shop","scope":"orders:read"}`)
	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	gateway := testgateway.Start(t, caddyfile(t, "shortest",
		"https://auth.example.com", server.URL,
		"http://localhost:8080", "http://localhost:"+port,
		"localhost:3000", backend.Address,
	), "INTROSPECT_SECRET="+secret)
	gateway.GuardClient("gateway", secret)
	gateway.Guard(good)

	for name, test := range map[string]struct {
		token     string
		status    int
		challenge string
	}{
		"a good token":            {good, http.StatusOK, ""},
		"B03 no token":            {"", http.StatusUnauthorized, `Bearer realm="portcullis"`},
		"B04 a token of nobody's": {"bad-token", http.StatusUnauthorized, `Bearer realm="portcullis", error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			request := testgateway.Request(t, http.MethodGet, "http://localhost:"+port+"/", test.token)
			request.Header.Set("Remote-User", "admin")
			answer := testgateway.Send(t, request)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			seen := backend.Take()
			if test.status != http.StatusOK {
				assert.Empty(t, seen, "the backend must not be asked")
				return
			}
			require.Len(t, seen, 1)
			assert.Equal(t, []string{"jane"}, seen[0].Header["Remote-User"], "J01")
			assert.NotContains(t, seen[0].Header, "Authorization", "J13")
		})
	}
}
