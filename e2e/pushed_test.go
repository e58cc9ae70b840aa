package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
)

// ownClient is a client that users are not asked about.
const ownClient = "client own " + webSecret + ` {
		grants authorization_code
		redirect_uris ` + webCallback + `
		scopes orders:read orders:write
		trusted
	}`

// push pushes an authorization request as a client, and returns the address at which the user opens it.
func (s *issuer) push(t *testing.T, id, secret, address string) string {
	t.Helper()
	_, query, _ := strings.Cut(address, "?")
	form, err := url.ParseQuery(query)
	require.NoError(t, err)
	got := s.post(t, "/oauth2/par", id, secret, form)
	require.Equal(t, http.StatusCreated, got.Status, got.Body)
	assert.Equal(t, "no-store", got.Header.Get("Cache-Control"), "AS-N07")
	pushed := members(t, got.Body)
	assert.EqualValues(t, 90, pushed["expires_in"])
	return s.url("/oauth2/authorize?" + url.Values{"client_id": {id}, "request_uri": {pushed["request_uri"].(string)}}.Encode())
}

// race opens addresses at once with the person's cookies, and returns the redirects.
func (p *person) race(t *testing.T, addresses []string) []*testgateway.Reply {
	t.Helper()
	replies := make([]*testgateway.Reply, len(addresses))
	var running sync.WaitGroup
	for i, address := range addresses {
		request := testgateway.Request(t, http.MethodGet, address, "")
		for _, cookie := range p.jar.Cookies(request.URL) {
			request.AddCookie(cookie)
		}
		running.Go(func() {
			reply, err := testgateway.Try(request)
			if assert.NoError(t, err) {
				replies[i] = reply
			}
		})
	}
	running.Wait()
	return slices.DeleteFunc(replies, func(one *testgateway.Reply) bool {
		return one == nil || one.Status == http.StatusBadRequest
	})
}

func TestPushedAuthorizationRequests(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	s.GuardClient("own", webSecret)
	config := s.caddyfile(s.withUsers(s.hashOf(t, alicePassword, "argon2id"), ownClient), s.site(app))
	s.Start(t, config)
	alice := s.person(t)

	t.Run("AS-N09 the whole flow, with a crash in the middle of it", func(t *testing.T) {
		address := s.push(t, webID, webSecret, s.authorization())
		s.Kill(t)
		s.Start(t, config)
		login := alice.open(t, address+"&scope=orders:delete&state=evil&redirect_uri=https://evil.example/cb")
		require.Contains(t, login.Body, "Password")
		consent := alice.submit(t, login, "username", "alice", "password", alicePassword)
		code := s.codeIn(t, alice.submit(t, consent, "decision", "allow"))
		access, _ := s.tokens(t, s.asWeb(t, codeForm(code)))
		assert.Equal(t, http.StatusOK, s.get(t, "/1", access).Status)
		assert.Equal(t, http.StatusBadRequest, alice.open(t, address).Status, "AS-N08 once")
	})
	t.Run("AS-N08 race: thirty open one request, and one gets a code", func(t *testing.T) {
		address := s.push(t, "own", webSecret, s.authorization("client_id", "own"))
		won := alice.race(t, slices.Repeat([]string{address}, 30))
		require.Len(t, won, 1)
		s.codeIn(t, won[0])
	})
	t.Run("AS-N08 attack: another client's", func(t *testing.T) {
		address := s.push(t, webID, webSecret, s.authorization())
		got := alice.open(t, strings.Replace(address, "client_id="+webID, "client_id=own", 1))
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Empty(t, got.Header.Get("Location"))
	})
	t.Run("AS-N06 the client is told, not the user", func(t *testing.T) {
		form := url.Values{"redirect_uri": {"https://evil.example/cb"}, "response_type": {"code"}}
		got := s.post(t, "/oauth2/par", webID, webSecret, form)
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, "invalid_request", members(t, got.Body)["error"])
		assert.Equal(t, http.StatusUnauthorized, s.post(t, "/oauth2/par", webID, "guess", form).Status)
	})
	t.Run("AS-D17 AS-A10 scripts of other origins", func(t *testing.T) {
		for path, allowed := range map[string]string{"/oauth2/par": "*", "/oauth2/token": "*", "/oauth2/revoke": "*", "/oauth2/authorize": "", "/oauth2/consent": ""} {
			request := testgateway.Request(t, http.MethodOptions, s.url(path), "")
			request.Header.Set("Origin", "https://spa.example")
			request.Header.Set("Access-Control-Request-Method", "POST")
			assert.Equal(t, allowed, testgateway.Send(t, request).Header.Get("Access-Control-Allow-Origin"), path)
		}
	})
}

// Two gateways with one database know each other's requests, and one of all who open one gets a code.
func TestPushedAuthorizationRequestsInPostgres(t *testing.T) {
	t.Parallel()
	server, app := testpostgres.Start(t, "fsync=off"), testgateway.StartBackend(t)
	first, second := newPostgresIssuer(t, server), newPostgresIssuer(t, server)
	hash := first.hashOf(t, alicePassword, "argon2id")
	for _, s := range []*postgresIssuer{first, second} {
		s.Guard(alicePassword)
		s.GuardClient("own", webSecret)
		config := s.caddyfile(s.withUsers(hash, ownClient), s.site(app))
		s.Start(t, strings.Replace(config, "store file "+s.store, "store postgres {env.DSN}", 1), "DSN="+s.dsn)
	}
	alice := first.person(t)
	alice.code(t)
	for range 3 {
		address := first.push(t, "own", webSecret, first.authorization("client_id", "own"))
		won := alice.race(t, slices.Repeat([]string{address, strings.Replace(address, first.address, second.address, 1)}, 15))
		require.Len(t, won, 1, "AS-N08")
		assert.Contains(t, won[0].Header.Get("Location"), webCallback+"?code=pac_")
	}
}
