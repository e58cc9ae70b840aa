package interop_test

import (
	"maps"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const requestsOAuthlibFile = `{
	log {
		format filter {
			request>uri query {
				delete access_token
			}
		}
	}
	authorization_server {
		issuer http://localhost:{$PORT}
		store file {$STORE}
		access_token_ttl {lifetime}
		client either {env.SECRET} {
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
		}
		client basic {env.SECRET} {
			auth client_secret_basic
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
		}
		client spa {
			auth none
			grants authorization_code refresh_token
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
		}
		user alice {env.ALICE} {
			claim email alice@example.com
			claim groups staff admins
		}
	}
}

http://localhost:{$PORT} {
	authorization_server
	introspect /orders scope orders:read
	introspect /anywhere {
		token_from header
		token_from query access_token
		token_from form access_token
	}
	reverse_proxy {$BACKEND}
}
`

// webSecret is the secret of all clients that have one. This library writes it as it is, so it is one that reads the
// same both ways.
const webSecret = "web-secret_0.1~oauthlib"

// oauthlibSession is a session of requests-oauthlib's.
func (c *clientProgram) oauthlibSession(t *testing.T, client string, more object) *session {
	t.Helper()
	arguments := object{"client_id": client, "scope": []string{"orders:read", "orders:write"}, "redirect_uri": webCallback}
	maps.Copy(arguments, more)
	return c.open(t, "requests_oauthlib", arguments)
}

// oauthlibResponse has alice authorize a client of requests-oauthlib's, and returns the arguments for fetch_token but for
// those that authenticate the client.
func (s *session) oauthlibResponse(t *testing.T, alice *userAgent, unticked ...string) object {
	t.Helper()
	server := s.clients.server
	var request [2]string // the address and the state
	s.call(t, &request, "authorization_url", object{
		"url": server.url + "/oauth2/authorize", "code_challenge": challenge, "code_challenge_method": "S256",
	})
	return object{
		"token_url": server.url + "/oauth2/token", "code_verifier": verifier,
		"authorization_response": alice.authorize(t, request[0], unticked...),
	}
}

// and adds members to an object.
func and(members, more object) object {
	both := object{}
	maps.Copy(both, members)
	maps.Copy(both, more)
	return both
}

// The recipes of requests-oauthlib's documentation work with the embedded server as they come, and their tokens at the
// gateway, but for those that authenticate in two ways at once.
func TestRequestsOAuthlibIsAClientOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	// Tokens that are issued with this lifetime have expired when the next one is in use.
	server := startIssuer(t, requestsOAuthlibFile, "1s", "SECRET="+webSecret)
	alice, clients := server.userAgent(t), server.startPythonClients(t)
	bothScopes := asAlice("either", "orders:read orders:write")
	var (
		inHeader   = object{"client_secret": webSecret}
		inBody     = object{"client_secret": webSecret, "include_client_id": true}
		tokenURL   = object{"token_url": server.url + "/oauth2/token"}
		orders     = object{"url": server.url + "/orders"}
		basicAuth  = object{"auth": []string{"either", webSecret}}
		byCall     = object{"client_id": "either", "client_secret": webSecret}
		autoURL    = object{"auto_refresh_url": server.url + "/oauth2/token"}
		autoID     = object{"auto_refresh_kwargs": object{"client_id": "either"}}
		autoSecret = object{"auto_refresh_kwargs": object{"client_id": "either", "client_secret": webSecret}}
	)
	refreshes := []struct {
		name         string
		client       string
		options      object
		call         object
		refused      string
		afterRefusal object // the options with which the same refresh token is good
	}{
		{name: "the client in the body, as documented", client: "either", options: autoSecret},
		{name: "the client in the header", client: "either", call: byCall},
		{name: "the client in the header, and its id in the body", client: "either", options: autoID, call: byCall},
		{
			name: "AS-D10 the client in the header and in the body", client: "either",
			options: autoSecret, call: byCall, refused: "invalid_request", afterRefusal: autoSecret,
		},
		{name: "a public client", client: "spa", options: object{"auto_refresh_kwargs": object{"client_id": "spa"}}},
		{
			name: "AS-D13 the client in the body, which is registered for the header", client: "basic",
			options: object{"auto_refresh_kwargs": object{"client_id": "basic", "client_secret": webSecret}}, refused: "invalid_client",
		},
	}
	expired := make([]object, len(refreshes))
	for i, refresh := range refreshes {
		s := clients.oauthlibSession(t, refresh.client, nil)
		with := inHeader
		if refresh.client == "spa" {
			with = object{"include_client_id": true}
		}
		expired[i] = s.token(t, "fetch_token", and(s.oauthlibResponse(t, alice), with))
	}
	server.restart(t, "15m")
	for _, token := range expired {
		server.awaitExpiry(t, token)
	}

	for i, refresh := range refreshes {
		t.Run("an expired token is refreshed by the library: "+refresh.name, func(t *testing.T) {
			options := and(autoURL, object{"token": expired[i]})
			s := clients.oauthlibSession(t, refresh.client, and(options, refresh.options))
			if refresh.refused != "" {
				s.refused(t, refresh.refused, "get", and(orders, refresh.call))
				if refresh.afterRefusal == nil {
					return
				}
				s = clients.oauthlibSession(t, refresh.client, and(options, refresh.afterRefusal))
				refresh.call = nil
			}
			var got response
			kept := s.call(t, &got, "get", and(orders, refresh.call)).Kept
			require.Equal(t, http.StatusOK, got.Status)
			server.tells(t, asAlice(refresh.client, "orders:read orders:write"))
			require.Len(t, kept, 1)
			assert.NotEqual(t, expired[i]["access_token"], kept[0]["access_token"])
			assert.NotEqual(t, expired[i]["refresh_token"], kept[0]["refresh_token"])
		})
	}

	for name, arguments := range map[string]object{
		"the client in the header":                         inHeader,
		"the client in the body":                           inBody,
		"the client in the header, and its id in the body": and(basicAuth, object{"include_client_id": true}),
	} {
		t.Run("authorization code, "+name, func(t *testing.T) {
			s := clients.oauthlibSession(t, "either", nil)
			first := s.token(t, "fetch_token", and(s.oauthlibResponse(t, alice), arguments))
			s.passes(t, bothScopes)
			second := s.token(t, "refresh_token", and(tokenURL, basicAuth))
			assert.NotEqual(t, first["refresh_token"], second["refresh_token"])
			s.passes(t, bothScopes)
		})
	}
	t.Run("AS-C01 no code without PKCE", func(t *testing.T) {
		s := clients.oauthlibSession(t, "either", nil)
		var request [2]string
		s.call(t, &request, "authorization_url", object{"url": server.url + "/oauth2/authorize"})
		location, answer := alice.sentBack(t, alice.open(t, request[0]))
		assert.Equal(t, "invalid_request", answer.Get("error"))
		s.refused(t, "invalid_request", "fetch_token", and(inHeader, object{"token_url": server.url + "/oauth2/token", "authorization_response": location}))
	})
	t.Run("AS-D10 the client in the header and in the body, and its code survives", func(t *testing.T) {
		s := clients.oauthlibSession(t, "either", nil)
		response := s.oauthlibResponse(t, alice)
		s.refused(t, "invalid_request", "fetch_token", and(and(response, inBody), basicAuth))
		s.token(t, "fetch_token", and(response, inBody))
		s.passes(t, bothScopes)
	})
	t.Run("AS-D15 a public client says its name in the body, and its code survives a header without a secret", func(t *testing.T) {
		s := clients.oauthlibSession(t, "spa", nil)
		response := s.oauthlibResponse(t, alice)
		s.refused(t, "invalid_client", "fetch_token", response)
		s.token(t, "fetch_token", and(response, object{"include_client_id": true}))
		s.passes(t, asAlice("spa", "orders:read orders:write"))
	})
	t.Run("AS-A14 the library warns of a scope that was not granted", func(t *testing.T) {
		s := clients.oauthlibSession(t, "either", nil)
		got := s.try(t, "fetch_token", and(s.oauthlibResponse(t, alice, "orders:write"), inHeader))
		require.NotNil(t, got.Exception)
		assert.Equal(t, "Warning", got.Exception.Type)
		assert.Contains(t, got.Exception.Text, "Scope has changed")
		require.NotNil(t, got.Exception.Token)
		server.guardTokens(got.Exception.Token)
		granted := clients.oauthlibSession(t, "either", object{"token": got.Exception.Token})
		granted.passes(t, asAlice("either", "orders:read"))
	})
	backend := func(options object) object {
		return object{"client": and(object{"type": "BackendApplicationClient", "client_id": "either"}, options)}
	}
	for name, arguments := range map[string]object{
		"in the header":                        basicAuth,
		"in the header, and its id beside it":  byCall,
		"in the body":                          inBody,
		"in the header, and its id explicitly": and(basicAuth, object{"include_client_id": true}),
	} {
		t.Run("client credentials "+name, func(t *testing.T) {
			s := clients.oauthlibSession(t, "either", backend(nil))
			token := s.token(t, "fetch_token", and(tokenURL, arguments))
			assert.NotContains(t, token, "refresh_token", "AS-G02")
			s.passes(t, asClient("either", "orders:read orders:write"))
		})
	}
	for placement, request := range map[string]struct {
		method string
		more   object
		body   string
	}{
		"auth_header": {method: "get"},
		"query":       {method: "get"},
		"body": {
			method: "post", body: "c=d",
			more: object{"data": "c=d", "headers": object{"Content-Type": "application/x-www-form-urlencoded"}},
		},
	} {
		t.Run("the token in the "+placement, func(t *testing.T) {
			s := clients.oauthlibSession(t, "either", backend(object{"default_token_placement": placement}))
			s.token(t, "fetch_token", and(tokenURL, basicAuth))
			require.Equal(t, http.StatusOK, s.send(t, request.method, and(request.more, object{"url": server.url + "/anywhere?a=b"})).Status)
			seen := server.tells(t, asClient("either", "orders:read orders:write"))
			assert.Equal(t, "/anywhere?a=b", seen.URI)
			assert.Equal(t, request.body, seen.Body)
		})
	}
}
