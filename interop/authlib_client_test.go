package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const authlibClientsFile = `{
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
		client basic {env.TYPED_SECRET} {
			auth client_secret_basic
			grants authorization_code refresh_token client_credentials urn:ietf:params:oauth:grant-type:jwt-bearer
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
			introspect
		}
		client post {env.TYPED_SECRET} {
			auth client_secret_post
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
			introspect
		}
		client signer {env.SIGNING_SECRET} {
			auth client_secret_jwt
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
			introspect
		}
		client rsa {
			auth private_key_jwt
			jwks {$KEYS}
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
			introspect
		}
		client spa {
			auth none
			grants authorization_code refresh_token
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
		}
		assertion_issuer https://partner.example.com {
			jwks {$KEYS}
			subjects bob
			scopes orders:read
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

// verifier is a code verifier, and challenge what S256 makes of it (RFC 7636 appendix B).
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// asAlice is what the backend learns of a token that alice has granted to a client.
func asAlice(client, scope string) map[string]string {
	return map[string]string{
		"Remote-User": "alice", "Remote-Email": "alice@example.com", "Remote-Groups": "staff,admins",
		"Remote-Client": client, "Remote-Scope": scope,
	}
}

// asClient is what the backend learns of a client's own token.
func asClient(client, scope string) map[string]string {
	return map[string]string{"Remote-Client": client, "Remote-Scope": scope}
}

// authlibSession is a session of Authlib's, on requests or on httpx, which have the same methods.
func (c *clientProgram) authlibSession(t *testing.T, library string, client, more object) *session {
	t.Helper()
	arguments := object{
		"scope": "orders:read orders:write", "redirect_uri": webCallback, "code_challenge_method": "S256",
		"token_endpoint": c.server.url + "/oauth2/token",
	}
	maps.Copy(arguments, client)
	maps.Copy(arguments, more)
	return c.open(t, library, arguments)
}

// authorize has alice authorize a client of Authlib's.
func (s *session) authorize(t *testing.T, alice *userAgent) object {
	t.Helper()
	server := s.clients.server
	var request [2]string // the address and the state
	s.call(t, &request, "create_authorization_url", object{"url": server.url + "/oauth2/authorize", "code_verifier": verifier})
	return s.token(t, "fetch_token", object{
		"url": server.url + "/oauth2/token", "authorization_response": alice.authorize(t, request[0]),
		"state": request[1], "code_verifier": verifier,
	})
}

// revoke revokes a token of a client of Authlib's: the session's refresh token, if it has one, unless told.
func (s *session) revoke(t *testing.T, more object) {
	t.Helper()
	arguments := object{"url": s.clients.server.url + "/oauth2/revoke"}
	maps.Copy(arguments, more)
	got := s.send(t, "revoke_token", arguments)
	require.Equal(t, http.StatusOK, got.Status, got.Body)
}

// Authlib's clients, synchronous and asynchronous, work with the embedded server as they come, and their tokens at the
// gateway.
func TestAuthlibIsAClientOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	keys := filepath.Join(t.TempDir(), "keys.jwks")
	publish(t, keys, key)
	// Tokens that are issued with this lifetime have expired when the next one is in use.
	server := startIssuer(t, authlibClientsFile, "1s", "KEYS="+keys, "SIGNING_SECRET="+signingSecret, "TYPED_SECRET="+typedSecret)
	alice, clients := server.userAgent(t), server.startPythonClients(t)

	libraries := []string{"authlib.requests", "authlib.httpx"}
	registered := map[string]object{}
	for method, credentials := range map[string]credentials{
		"client_secret_basic": {"basic", typedSecret}, // which Authlib does not encode
		"client_secret_post":  {"post", typedSecret},
		"client_secret_jwt":   {"signer", signingSecret},
		"private_key_jwt":     {"rsa", pemOf(t, key)},
		"none":                {"spa", ""},
	} {
		registered[method] = object{
			"client_id": credentials.id, "client_secret": credentials.secret,
			"token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method,
		}
	}
	basic, basicAuth := registered["client_secret_basic"], []string{"basic", typedSecret}

	ownToken := object{"grant_type": "client_credentials"}
	alices, own := map[string]object{}, map[string]object{}
	for _, library := range libraries {
		alices[library] = clients.authlibSession(t, library, basic, nil).authorize(t, alice)
		own[library] = clients.authlibSession(t, library, basic, ownToken).token(t, "fetch_token", ownToken)
	}
	server.restart(t, "15m")
	for _, library := range libraries {
		server.awaitExpiry(t, alices[library])
		server.awaitExpiry(t, own[library])
	}

	for _, library := range libraries {
		t.Run(library, func(t *testing.T) {
			for method, client := range registered {
				id := client["client_id"].(string)
				t.Run(method+", authorization code", func(t *testing.T) {
					s := clients.authlibSession(t, library, client, nil)
					first := s.authorize(t, alice)
					assert.Equal(t, "orders:read orders:write", first["scope"])
					s.passes(t, asAlice(id, "orders:read orders:write"))
					s.revoke(t, object{"token": first["access_token"], "token_type_hint": "access_token"})
					s.fails(t)

					second := s.token(t, "refresh_token", object{"url": server.url + "/oauth2/token"})
					assert.NotEqual(t, first["access_token"], second["access_token"])
					assert.NotEqual(t, first["refresh_token"], second["refresh_token"], "AS-F02")
					s.passes(t, asAlice(id, "orders:read orders:write"))

					asking := s
					if method == "none" {
						asking = clients.authlibSession(t, library, basic, nil) // a public client may not ask
					}
					before := asking.introspected(t, second["access_token"])
					assert.Equal(t, true, before["active"])
					assert.Equal(t, "alice", before["sub"])
					s.revoke(t, nil)
					assert.Equal(t, object{"active": false}, asking.introspected(t, second["access_token"]), "AS-I05")
					s.fails(t)
					s.refused(t, "invalid_grant", "refresh_token", object{"url": server.url + "/oauth2/token"})
				})
				if method == "none" {
					continue
				}
				t.Run(method+", client credentials", func(t *testing.T) {
					s := clients.authlibSession(t, library, client, nil)
					token := s.token(t, "fetch_token", ownToken)
					assert.NotContains(t, token, "refresh_token", "AS-G02")
					s.passes(t, asClient(id, "orders:read orders:write"))
					assert.Equal(t, true, s.introspected(t, token["access_token"])["active"])
					s.revoke(t, nil)
					assert.Equal(t, object{"active": false}, s.introspected(t, token["access_token"]))
					s.fails(t)
				})
			}
			t.Run("AS-C01 no code without PKCE", func(t *testing.T) {
				s := clients.authlibSession(t, library, basic, nil)
				var request [2]string
				s.call(t, &request, "create_authorization_url", object{"url": server.url + "/oauth2/authorize"})
				_, answer := alice.sentBack(t, alice.open(t, request[0]))
				assert.Equal(t, "invalid_request", answer.Get("error"))
				assert.Contains(t, answer.Get("error_description"), "PKCE")
				assert.Equal(t, request[1], answer.Get("state"))
			})
			t.Run("AS-C05 attack: a stolen code, without its verifier", func(t *testing.T) {
				s := clients.authlibSession(t, library, basic, nil)
				var request [2]string
				s.call(t, &request, "create_authorization_url", object{"url": server.url + "/oauth2/authorize", "code_verifier": verifier})
				with := object{
					"url": server.url + "/oauth2/token", "authorization_response": alice.authorize(t, request[0]), "state": request[1],
				}
				s.refused(t, "invalid_grant", "fetch_token", with)
				with["code_verifier"] = verifier
				s.token(t, "fetch_token", with)
			})
			t.Run("an expired token is refreshed by the library", func(t *testing.T) {
				s := clients.authlibSession(t, library, basic, object{"token": alices[library]})
				var got response
				kept := s.call(t, &got, "get", object{"url": server.url + "/orders"}).Kept
				require.Equal(t, http.StatusOK, got.Status)
				server.tells(t, asAlice("basic", "orders:read orders:write"))
				require.Len(t, kept, 1)
				assert.NotEqual(t, alices[library]["access_token"], kept[0]["access_token"])
				assert.NotEqual(t, alices[library]["refresh_token"], kept[0]["refresh_token"])
			})
			t.Run("an expired token of the client's own is replaced by the library", func(t *testing.T) {
				s := clients.authlibSession(t, library, basic, object{"grant_type": "client_credentials", "token": own[library]})
				var got response
				kept := s.call(t, &got, "get", object{"url": server.url + "/orders"}).Kept
				require.Equal(t, http.StatusOK, got.Status)
				server.tells(t, asClient("basic", "orders:read orders:write"))
				require.Len(t, kept, 1)
				assert.NotEqual(t, own[library]["access_token"], kept[0]["access_token"])
			})
			for placement, method := range map[string]string{"header": "get", "uri": "get", "body": "post"} {
				t.Run("the token in the "+placement, func(t *testing.T) {
					s := clients.authlibSession(t, library, basic, object{"token_placement": placement})
					s.token(t, "fetch_token", ownToken)
					request := object{"url": server.url + "/anywhere?a=b"}
					if method == "post" {
						request["data"] = object{"c": "d"}
					}
					require.Equal(t, http.StatusOK, s.send(t, method, request).Status)
					seen := server.tells(t, asClient("basic", "orders:read orders:write"))
					assert.Equal(t, "/anywhere?a=b", seen.URI)
					if method == "post" {
						assert.Equal(t, "c=d", seen.Body)
					}
					s.revoke(t, nil)
					assert.Equal(t, http.StatusUnauthorized, s.send(t, method, request).Status)
				})
			}
			t.Run("assertions", func(t *testing.T) {
				asBob := map[string]string{"Remote-User": "bob", "Remote-Client": "basic", "Remote-Scope": "orders:read"}
				open := func(t *testing.T, more object) *session {
					t.Helper()
					arguments := object{
						"token_endpoint": server.url + "/oauth2/token", "issuer": "https://partner.example.com", "subject": "bob",
						"scope": "orders:read", "key": pemOf(t, key), "header": object{"alg": "RS256"},
					}
					maps.Copy(arguments, more)
					return clients.open(t, library+" assertion", arguments)
				}
				// Whether the client authenticates is the server's to say (RFC 7523 section 3.1), and this one wants it.
				open(t, nil).refused(t, "invalid_client", "refresh_token", object{})

				first := open(t, object{"auth": basicAuth, "claims": object{"jti": library + " 1"}})
				first.passes(t, asBob) // the library gets the token that it needs
				first.refused(t, "invalid_grant", "refresh_token", object{})

				second := open(t, object{"auth": basicAuth, "claims": object{"jti": library + " 2"}, "audience": server.url})
				token := second.token(t, "refresh_token", object{})
				second.passes(t, asBob)
				clients.authlibSession(t, library, basic, object{"token": token}).revoke(t, nil)
				second.fails(t)

				// Without a jti, which the library does not write, an assertion is of use once as a whole.
				now := time.Now().Unix()
				process := func(name string) *session {
					return open(t, object{
						"auth": basicAuth, "issued_at": now, "expires_at": now + 60, "claims": object{"process": library + name},
					})
				}
				process("1").passes(t, asBob)
				process("1").refused(t, "invalid_grant", "refresh_token", object{})
				process("2").passes(t, asBob)
			})
		})
	}
}
