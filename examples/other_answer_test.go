package examples_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// tokeninfo starts an authorization server that gives the given answers, and none of RFC 7662.
func tokeninfo(t *testing.T, secret string, answers map[string]string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, given, _ := r.BasicAuth()
		if r.URL.Path != "/v1/tokeninfo" || id != "gateway" || given != secret || r.PostFormValue("token_type_hint") != "" {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		said, known := answers[r.PostFormValue("token")]
		if !known {
			said = `{ "error": "invalid_token" }`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(said)) // the gateway hung up
	}))
	t.Cleanup(server.Close)
	return server
}

// shownAnswer is the answer to a good token that the README shows.
func shownAnswer(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("other-answer", "README.md"))
	require.NoError(t, err)
	_, shown, found := strings.Cut(string(content), "```json\n")
	require.True(t, found)
	shown, _, _ = strings.Cut(shown, "```")
	return shown
}

func TestOtherAnswer(t *testing.T) {
	const secret = "s3cret"
	good := shownAnswer(t)
	changed := func(from, to string) string {
		require.Contains(t, good, from)
		return strings.Replace(good, from, to, 1)
	}
	server := tokeninfo(t, secret, map[string]string{
		"good-token":       good,
		"reader-of-none":   changed(`"orders:read", `, ``),
		"expired-token":    changed("4102444800", "946684800"),
		"suspended-app":    changed(`"shop"`, `"shop", "suspended": true`),
		"token-of-no-user": changed(`"id": 4711`, `"id": null`),
		"revoked-token":    changed(`{`, `{ "active": false,`),
	})
	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	gateway := testgateway.Start(t, caddyfile(t, "other-answer",
		"https://auth.example.com", server.URL,
		"http://localhost:8080", "http://localhost:"+port,
		"localhost:3000", backend.Address,
	), "TOKENINFO_SECRET="+secret)
	gateway.GuardClient("gateway", secret)

	const invalid = `Bearer realm="portcullis", error="invalid_token"`
	for name, test := range map[string]struct {
		token     string
		status    int
		challenge string
	}{
		"a good token":                        {"good-token", 200, ""},
		"B03 no token":                        {"", 401, `Bearer realm="portcullis", scope="orders:read"`},
		"B04 a token of nobody's":             {"bad-token", 401, invalid},
		"D04 an expired token":                {"expired-token", 401, invalid},
		"a token without a user":              {"token-of-no-user", 401, invalid},
		"D02 a token that is called inactive": {"revoked-token", 401, invalid},
		"B05 a token without the scope":       {"reader-of-none", 403, `Bearer realm="portcullis", error="insufficient_scope", scope="orders:read"`},
		"B12 a token of a suspended app":      {"suspended-app", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			gateway.Guard(test.token)
			request := testgateway.Request(t, http.MethodGet, "http://localhost:"+port+"/orders", test.token)
			request.Header.Set("Remote-User", "admin")
			request.Header.Set("X-Plan", "platinum")
			answer := testgateway.Send(t, request)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			seen := backend.Take()
			if test.status != http.StatusOK {
				assert.Empty(t, seen, "the backend must not be asked")
				return
			}
			require.Len(t, seen, 1)
			for header, value := range map[string]string{
				"Remote-User": "jane", "Remote-Client": "shop", "Remote-Scope": "orders:read orders:write", "X-Plan": "gold",
			} {
				assert.Equal(t, []string{value}, seen[0].Header[header], "J01")
			}
			assert.NotContains(t, seen[0].Header, "Authorization", "J13")
		})
	}
}
