package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
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
		legacy password implicit
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
		client wiki {env.TYPED_SECRET} {
			auth client_secret_basic
			grants authorization_code refresh_token
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
		}
		client old {env.TYPED_SECRET} {
			auth client_secret_basic
			grants password implicit refresh_token
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
func (s *session) authorize(t *testing.T, alice *userAgent, more ...object) object {
	t.Helper()
	server := s.clients.server
	arguments := object{"url": server.url + "/oauth2/authorize", "code_verifier": verifier}
	for _, parameters := range more {
		maps.Copy(arguments, parameters)
	}
	var request [2]string // the address and the state
	s.call(t, &request, "create_authorization_url", arguments)
	return s.token(t, "fetch_token", object{
		"url": server.url + "/oauth2/token", "authorization_response": alice.authorize(t, request[0]),
		"state": request[1], "code_verifier": verifier,
	})
}

// implicitly has alice authorize a client of Authlib's by the implicit grant, and returns where she is sent and the state of
// the request.
func (s *session) implicitly(t *testing.T, alice *userAgent) (location, state string) {
	t.Helper()
	server := s.clients.server
	var request [2]string // the address and the state
	s.call(t, &request, "create_authorization_url", object{"url": server.url + "/oauth2/authorize", "response_type": "token"})
	location, answer := fragment(t, alice.allow(t, request[0]+"&prompt=consent"))
	server.Guard(answer.Get("access_token"))
	return location, request[1]
}

// fragment reads the authorization response that the browser is sent to the client with in the fragment.
func fragment(t *testing.T, got *testgateway.Reply) (location string, answer url.Values) {
	t.Helper()
	location = got.Header.Get("Location")
	text, found := strings.CutPrefix(location, webCallback+"#")
	require.True(t, found, "%d %s%s", got.Status, location, got.Body)
	answer, err := url.ParseQuery(text)
	require.NoError(t, err)
	return location, answer
}

// resigned is an ID token with the first character of its signature changed.
func resigned(t *testing.T, idToken any) string {
	t.Helper()
	at := strings.LastIndexByte(idToken.(string), '.') + 1
	require.Positive(t, at)
	text := []byte(idToken.(string))
	if text[at] == 'A' {
		text[at] = 'B'
	} else {
		text[at] = 'A'
	}
	return string(text)
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
			t.Run("AS-P06 OpenID Connect", func(t *testing.T) {
				wiki := and(basic, object{"client_id": "wiki", "scope": "openid email orders:read"})
				s := clients.authlibSession(t, library, wiki, nil)
				const nonce = "n-0S6_WzA2Mj"
				token := s.authorize(t, alice, object{"nonce": nonce})
				validation := object{"issuer": server.url, "token": token, "nonce": nonce}
				var claims object
				s.call(t, &claims, "validate_id_token", validation)
				assert.Equal(t, "alice", claims["sub"])
				assert.Equal(t, nonce, claims["nonce"])
				assert.NotContains(t, claims, "email", "userinfo tells that")
				s.passes(t, asAlice("wiki", "openid email orders:read"))

				var about object
				got := s.send(t, "get", object{"url": server.url + "/oauth2/userinfo"})
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				require.NoError(t, json.Unmarshal([]byte(got.Body), &about))
				assert.Equal(t, object{"sub": "alice", "email": "alice@example.com"}, about)

				second := s.token(t, "refresh_token", object{"url": server.url + "/oauth2/token"})
				require.NotEqual(t, token["id_token"], second["id_token"])
				var refreshed object
				s.call(t, &refreshed, "validate_id_token", object{"issuer": server.url, "token": second})
				for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
					assert.Equal(t, claims[name], refreshed[name], name)
				}
				assert.NotContains(t, refreshed, "nonce")

				for name, attack := range map[string]struct {
					raised string
					with   object
				}{
					"of another sign-in":          {`InvalidClaimError`, object{"nonce": "another"}},
					"beside another access token": {`InvalidClaimError`, object{"token": and(token, object{"access_token": second["access_token"]})}},
					"that is signed by nobody":    {`BadSignatureError`, object{"token": and(token, object{"id_token": resigned(t, token["id_token"])})}},
				} {
					t.Run("attack: an ID token "+name, func(t *testing.T) {
						got := s.try(t, "validate_id_token", and(validation, attack.with))
						require.NotNil(t, got.Exception, string(got.Result))
						assert.Equal(t, attack.raised, got.Exception.Type, got.Exception.Text)
					})
				}
				t.Run("attack: an ID token of another client", func(t *testing.T) {
					other := clients.authlibSession(t, library, basic, nil)
					got := other.try(t, "validate_id_token", validation)
					require.NotNil(t, got.Exception, string(got.Result))
					assert.Equal(t, "InvalidClaimError", got.Exception.Type, got.Exception.Text)
				})
				t.Run("attack: an ID token in the place of an access token", func(t *testing.T) {
					thief := object{"token": and(second, object{"access_token": second["id_token"]})}
					clients.authlibSession(t, library, wiki, thief).fails(t)
				})
			})
			old := and(basic, object{"client_id": "old"})
			password := object{"url": server.url + "/oauth2/token", "grant_type": "password", "username": "alice", "password": alicePassword}
			t.Run("legacy password", func(t *testing.T) {
				s := clients.authlibSession(t, library, old, nil)
				first := s.token(t, "fetch_token", password)
				s.passes(t, asAlice("old", "orders:read orders:write"))
				second := s.token(t, "refresh_token", object{"url": server.url + "/oauth2/token"})
				assert.NotEqual(t, first["access_token"], second["access_token"])
				s.passes(t, asAlice("old", "orders:read orders:write"))
				s.revoke(t, nil)
				s.fails(t)
				s.refused(t, "invalid_grant", "fetch_token", and(password, object{"password": "not hers"}))
			})
			t.Run("legacy implicit", func(t *testing.T) {
				s := clients.authlibSession(t, library, old, nil)
				location, state := s.implicitly(t, alice)
				refused := s.try(t, "fetch_token", object{"authorization_response": location, "state": "of another request"})
				require.NotNil(t, refused.Exception)
				assert.Equal(t, "MismatchingStateException", refused.Exception.Type)
				token := s.token(t, "fetch_token", object{"authorization_response": location, "state": state})
				assert.NotContains(t, token, "refresh_token")
				s.passes(t, asAlice("old", "orders:read orders:write"))
				s.revoke(t, object{"token": token["access_token"], "token_type_hint": "access_token"})
				s.fails(t)
			})
			t.Run("legacy grants are for clients that have them", func(t *testing.T) {
				s := clients.authlibSession(t, library, basic, nil)
				s.refused(t, "unauthorized_client", "fetch_token", password)
				var request [2]string
				s.call(t, &request, "create_authorization_url", object{"url": server.url + "/oauth2/authorize", "response_type": "token"})
				location, answer := fragment(t, alice.open(t, request[0]))
				assert.Equal(t, "unauthorized_client", answer.Get("error"), location)
				refused := s.try(t, "fetch_token", object{"authorization_response": location, "state": request[1]})
				require.NotNil(t, refused.Exception, string(refused.Result))
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
