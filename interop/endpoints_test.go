package interop_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// unavailable skips a test whose server is not installed, or fails it where every server is required.
func unavailable(t *testing.T, missing string, err error) {
	t.Helper()
	if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
		t.Fatalf("%s: %v", missing, err)
	}
	t.Skip(missing)
}

// endpoints are the URLs of an authorization server.
type endpoints struct{ tokens, introspection, revocation string }

// issued are the tokens in a response of a token endpoint.
type issued struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// issue requests tokens as a client.
func (e endpoints) issue(t *testing.T, client credentials, form url.Values) issued {
	t.Helper()
	answer := testgateway.Send(t, testgateway.Form(t, e.tokens, client.id, client.secret, form))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	var tokens issued
	require.NoError(t, json.Unmarshal([]byte(answer.Body), &tokens), answer.Body)
	require.NotEmpty(t, tokens.Access)
	return tokens
}

// revoke revokes a token as the client to which it was issued.
func (e endpoints) revoke(t *testing.T, client credentials, token string) {
	t.Helper()
	answer := testgateway.Send(t, testgateway.Form(t, e.revocation, client.id, client.secret, url.Values{"token": {token}}))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
}

// active says whether the server itself calls a token active, to a client that gives no token_type_hint.
func (e endpoints) active(t *testing.T, asker credentials, token string) bool {
	t.Helper()
	answer := testgateway.Send(t, testgateway.Form(t, e.introspection, asker.id, asker.secret, url.Values{"token": {token}}))
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	var said struct {
		Active bool `json:"active"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer.Body), &said), answer.Body)
	return said.Active
}

// outlive returns when the server itself calls a token inactive, whose life is short.
func (e endpoints) outlive(t *testing.T, asker credentials, token string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for e.active(t, asker, token) {
		select {
		case <-tick.C:
		case <-deadline:
			require.Fail(t, "the token does not expire")
		}
	}
}
