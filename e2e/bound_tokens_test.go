package e2e

import (
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testdpop"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const spaID = "spa"

// proof proves possession of a key for a request to an endpoint.
func (s *issuer) proof(t *testing.T, key *testdpop.Key, path string, edits ...testdpop.Edit) string {
	t.Helper()
	return key.Proof(t, http.MethodPost, s.url(path), edits...)
}

// proving is a form for the token endpoint with proofs.
func (s *issuer) proving(t *testing.T, id, secret string, form url.Values, proofs ...string) *http.Request {
	t.Helper()
	request := testgateway.Form(t, s.url("/oauth2/token"), id, secret, form)
	for _, proof := range proofs {
		request.Header.Add("DPoP", proof)
	}
	return request
}

// asSPA sends a form to the token endpoint as the public client.
func (s *issuer) asSPA(t *testing.T, form url.Values, proofs ...string) *testgateway.Reply {
	t.Helper()
	form.Set("client_id", spaID)
	return testgateway.Send(t, s.proving(t, "", "", form, proofs...))
}

func TestTokensBoundToAKey(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	hash := s.hashOf(t, alicePassword, "argon2id")
	config := func(lines ...string) string {
		return s.caddyfile(s.withUsers(hash, append(lines,
			"client "+spaID+" {\nauth none\ngrants authorization_code refresh_token\nredirect_uris "+webCallback+"\nscopes orders:read orders:write\n}",
			"client watcher watcher-secret-3nVd {\ngrants client_credentials\nscopes introspection\n}")...), s.site(app))
	}
	s.GuardClient("watcher", "watcher-secret-3nVd")
	s.Start(t, config())
	key, thief := testdpop.NewKey(t), testdpop.NewKey(t)
	const token, introspect = "/oauth2/token", "/oauth2/introspect"
	refused := func(t *testing.T, code string, got *testgateway.Reply) {
		t.Helper()
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, code, members(t, got.Body)["error"], got.Body)
		assert.Empty(t, got.Header.Get("WWW-Authenticate"))
	}
	ask := func(t *testing.T, token string) map[string]any {
		t.Helper()
		got := s.post(t, introspect, gatewayID, gatewaySecret, url.Values{"token": {token}})
		require.Equal(t, http.StatusOK, got.Status)
		return members(t, got.Body)
	}
	client := url.Values{"grant_type": {"client_credentials"}}

	t.Run("AS-O05 AS-O03 attack: a code, then a refresh token of a public client is stolen", func(t *testing.T) {
		alice := s.person(t)
		code := alice.code(t, "client_id", spaID, "dpop_jkt", key.JKT())
		refused(t, "invalid_dpop_proof", s.asSPA(t, codeForm(code)))
		refused(t, "invalid_grant", s.asSPA(t, codeForm(code), s.proof(t, thief, token)))
		got := s.asSPA(t, codeForm(code), s.proof(t, key, token))
		access, refresh := s.tokens(t, got)
		assert.Equal(t, "DPoP", members(t, got.Body)["token_type"], "AS-O01")
		answer := ask(t, access)
		assert.Equal(t, map[string]any{"jkt": key.JKT()}, answer["cnf"], "AS-J05")
		assert.Equal(t, "DPoP", answer["token_type"], "AS-J05")
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/bound", access).Status, "a gateway does not take it as a bearer token")
		assert.Empty(t, app.At("/bound"))
		request := testgateway.Request(t, http.MethodGet, s.url("/proved"), "")
		request.Header.Set("Authorization", "DPoP "+access)
		request.Header.Set("DPoP", key.Proof(t, http.MethodGet, s.url("/proved"), testdpop.Token(access)))
		require.Equal(t, http.StatusOK, testgateway.Send(t, request).Status)
		assert.Equal(t, []string{"alice"}, app.One(t, "/proved").Header["Remote-User"])

		s.reload(t, config("access_token_ttl 1h"))
		refused(t, "invalid_dpop_proof", s.asSPA(t, refreshForm(refresh)))
		refused(t, "invalid_grant", s.asSPA(t, refreshForm(refresh), s.proof(t, thief, token)))
		assert.Equal(t, true, ask(t, access)["active"])
		access, _ = s.tokens(t, s.asSPA(t, refreshForm(refresh), s.proof(t, key, token)))
		assert.Equal(t, map[string]any{"jkt": key.JKT()}, ask(t, access)["cnf"])
	})
	t.Run("AS-O08 attack: a proof is used again, after a reload", func(t *testing.T) {
		used := s.proof(t, key, token)
		s.tokenIn(t, testgateway.Send(t, s.proving(t, demoID, demoSecret, client, used)))
		refused(t, "invalid_dpop_proof", testgateway.Send(t, s.proving(t, demoID, demoSecret, client, used)))
		s.reload(t, config("access_token_ttl 2h"))
		refused(t, "invalid_dpop_proof", testgateway.Send(t, s.proving(t, demoID, demoSecret, client, used)))
	})
	t.Run("AS-O02 attack: two proofs, and one for what the request says its host is", func(t *testing.T) {
		refused(t, "invalid_dpop_proof", testgateway.Send(t, s.proving(t, demoID, demoSecret, client, s.proof(t, key, token), s.proof(t, key, token))))
		request := s.proving(t, demoID, demoSecret, client, key.Proof(t, http.MethodPost, "http://localhost/oauth2/token"))
		request.Host = "localhost"
		request.Header.Set("X-Forwarded-Host", "localhost")
		refused(t, "invalid_dpop_proof", testgateway.Send(t, request))
	})
	t.Run("AS-O08 attack: fifty requests race with one proof", func(t *testing.T) {
		used, statuses := s.proof(t, key, token), make(chan int, 50)
		var running sync.WaitGroup
		for range cap(statuses) {
			request := s.proving(t, demoID, demoSecret, client, used)
			running.Go(func() {
				got, err := testgateway.Try(request)
				if assert.NoError(t, err) {
					statuses <- got.Status
				}
			})
		}
		running.Wait()
		close(statuses)
		count := make(map[int]int)
		for status := range statuses {
			count[status]++
		}
		assert.Equal(t, map[int]int{http.StatusOK: 1, http.StatusBadRequest: 49}, count)
	})
	t.Run("attack: a bound token that is stolen asks about others", func(t *testing.T) {
		bound := s.tokenIn(t, testgateway.Send(t, s.proving(t, "watcher", "watcher-secret-3nVd", client, s.proof(t, key, token))))
		present := func(line string, proofs ...string) *testgateway.Reply {
			request := testgateway.Form(t, s.url(introspect), "", "", url.Values{"token": {s.token(t, "")}})
			request.Header.Set("Authorization", line)
			for _, proof := range proofs {
				request.Header.Add("DPoP", proof)
			}
			return testgateway.Send(t, request)
		}
		got := present("Bearer " + bound)
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, `Bearer realm="authorization server", error="invalid_token"`, got.Challenge(t))
		got = present("DPoP "+bound, s.proof(t, thief, introspect, testdpop.Token(bound)))
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Contains(t, got.Challenge(t), `DPoP realm="authorization server", error="invalid_token", algs="`)
		got = present("DPoP "+bound, s.proof(t, key, introspect, testdpop.Token(bound)))
		require.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, true, members(t, got.Body)["active"])
	})
}
