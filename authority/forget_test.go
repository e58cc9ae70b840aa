package authority_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authority"
	_ "github.com/portcullis-gateway/portcullis/authserver/shim"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// embedded is an embedded authorization server, and a gateway that remembers what it says, and would ask again at once if
// it were another one.
type embedded struct {
	gateway *authority.Authority
	server  interface {
		Endpoint(path string) http.Handler
	}
}

func newEmbedded(t *testing.T) *embedded {
	t.Helper()
	server := fmt.Sprintf(`{"issuer":"https://as.example.com","store":{"module":"file","path":%q},
		"client":[{"id":"app","secret":"app-secret","grants":["client_credentials"],"scopes":["a"]}]}`, filepath.Join(t.TempDir(), "tokens.db"))
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{
			"authorization_server": json.RawMessage(server),
			"introspect":           json.RawMessage(`{"authorities":{"a":{"embedded":true,"cache":{"revalidate":1}}}}`),
		},
	})
	require.NoError(t, err)
	app, err := ctx.App("introspect")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, app.(*authority.App).Cleanup()) })
	as, err := ctx.App("authorization_server")
	require.NoError(t, err)
	return &embedded{named(t, app.(*authority.App)), as.(interface {
		Endpoint(path string) http.Handler
	})}
}

// post sends a form to an endpoint of the server as the client app, and returns what it answers.
func (e *embedded) post(path string, form url.Values) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "https://as.example.com"+path, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("app", "app-secret")
	response := httptest.NewRecorder()
	e.server.Endpoint(path).ServeHTTP(response, request)
	return response
}

// token gets a token as the client app, and tells whether it got one.
func (e *embedded) token(t *testing.T) (introspect.Token, bool) {
	issued := e.post("/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	var response struct {
		AccessToken string `json:"access_token"`
	}
	ok := assert.NoError(t, json.NewDecoder(issued.Body).Decode(&response)) && assert.NotEmpty(t, response.AccessToken)
	return introspect.NewToken(response.AccessToken), ok
}

// A token is revoked at the embedded server while requests with it come in. From the instant at which the client hears
// that it is revoked, it is refused.
func TestM13ARevocationRacesIntrospection(t *testing.T) {
	e := newEmbedded(t)
	const rounds, workers = 3000, 50
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for round := next.Add(1); round <= rounds; round = next.Add(1) {
				if !e.race(t, round%3) {
					return
				}
			}
		})
	}
	group.Wait()
}

// race tells whether a token that is revoked was refused from then on.
func (e *embedded) race(t *testing.T, kind int64) bool {
	token, ok := e.token(t)
	if !ok {
		return false
	}
	isActive := func() bool {
		answer, err := e.gateway.Introspect(t.Context(), token)
		return assert.NoError(t, err) && answer.Active
	}
	if kind > 0 && !assert.True(t, isActive()) {
		return false // it is remembered
	}
	revoked := make(chan int)
	go func() { revoked <- e.post("/oauth2/revoke", url.Values{"token": {token.Value()}}).Code }()
	for range kind + 1 {
		isActive()
	}
	return assert.Equal(t, http.StatusOK, <-revoked) && assert.False(t, isActive(), "a revoked token is active") &&
		assert.False(t, isActive(), "a revoked token is active again")
}

// The embedded server tells of revocations by itself, so that its answers are not asked for again.
func TestTheEmbeddedServerIsNotRevalidated(t *testing.T) {
	e := newEmbedded(t)
	token, ok := e.token(t)
	require.True(t, ok)
	for _, source := range []introspect.Source{introspect.Miss, introspect.Memory, introspect.Memory} {
		answer, err := e.gateway.Introspect(t.Context(), token)
		require.NoError(t, err)
		assert.True(t, answer.Active)
		assert.Equal(t, source, answer.Source)
	}
}
