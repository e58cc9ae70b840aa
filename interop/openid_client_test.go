package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// openIDFile has clients for each way to authenticate, whose users sign in by OpenID Connect.
const openIDFile = `{
	authorization_server {
		issuer http://localhost:{$PORT}
		store file {$STORE}
		access_token_ttl {lifetime}
		client either {env.SECRET} {
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
			introspect
		}
		client basic {env.SECRET} {
			auth client_secret_basic
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
			introspect
		}
		client post {env.SECRET} {
			auth client_secret_post
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
			introspect
		}
		client signer {env.SIGNING_SECRET} {
			auth client_secret_jwt
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
			introspect
		}
		client rsa {
			auth private_key_jwt
			jwks {$FOLDER}/rsa.jwks
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
			introspect
		}
		client ec {
			auth private_key_jwt
			jwks {$FOLDER}/ec.jwks
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
			introspect
		}
		client spa {
			auth none
			grants authorization_code refresh_token
			redirect_uris https://web.example.com/cb
			scopes openid profile email orders:read
		}
		user alice {env.ALICE} {
			claim name "Alice Example"
			claim email alice@example.com
			claim email_verified true
		}
	}
}

http://localhost:{$PORT} {
	authorization_server
	introspect /orders scope orders:read
	reverse_proxy {$BACKEND}
}
`

// openIDScope is what its clients ask for.
const openIDScope = "openid profile email orders:read"

// openIDUser is what the backend learns of a token with openIDScope, and openIDClaims what the UserInfo endpoint says.
func openIDUser(client string) map[string]string {
	return map[string]string{
		"Remote-User": "alice", "Remote-Name": "Alice Example", "Remote-Email": "alice@example.com",
		"Remote-Client": client, "Remote-Scope": openIDScope,
	}
}

var openIDClaims = object{
	"sub": "alice", "name": "Alice Example", "preferred_username": "alice", "email": "alice@example.com", "email_verified": true,
}

// openIDKeys are the keys of the clients of openIDFile.
type openIDKeys struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

// startOpenID starts a gateway with a Caddyfile that has the clients of openIDFile.
func startOpenID(t *testing.T, caddyfile string) (*issuer, openIDKeys) {
	t.Helper()
	folder := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	publish(t, filepath.Join(folder, "rsa.jwks"), rsaKey)
	publish(t, filepath.Join(folder, "ec.jwks"), ecKey)
	server := startIssuer(t, caddyfile, "15m", "FOLDER="+folder, "SECRET="+strangeSecret, "SIGNING_SECRET="+signingSecret)
	server.Guard(strangeSecret, url.QueryEscape(strangeSecret), signingSecret)
	return server, openIDKeys{rsaKey, ecKey}
}

// accessHash is the at_hash of an access token (OpenID Connect Core section 3.1.3.6).
func accessHash(token string) string {
	hash := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(hash[:sha256.Size/2])
}

// posted reads the authorization response in a page that posts it to the client.
func (u *userAgent) posted(t *testing.T, page *testgateway.Reply) url.Values {
	t.Helper()
	match := formAction.FindStringSubmatch(page.Body)
	require.NotNil(t, match, page.Body)
	require.Equal(t, webCallback, html.UnescapeString(match[1]))
	answer := url.Values{}
	for _, input := range formInput.FindAllStringSubmatch(page.Body, -1) {
		answer.Add(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
	}
	return answer
}

// withSecret are the arguments of a client that has a secret.
func withSecret(id, method, secret string) object {
	return object{"client_id": id, "auth": object{"method": method, "secret": secret}}
}

// withKey are the arguments of a client that signs with a key.
func withKey(id, key, alg string) object {
	return object{"client_id": id, "auth": object{"method": "private_key_jwt", "key": key, "alg": alg}}
}

// clients are the arguments of the clients of openIDFile, by the ways in which they authenticate.
func (k openIDKeys) clients(t *testing.T) map[string]object {
	t.Helper()
	return map[string]object{
		// The library puts it into the body.
		"a secret":               {"client_id": "either", "metadata": strangeSecret},
		"client_secret_basic":    withSecret("basic", "client_secret_basic", strangeSecret),
		"client_secret_post":     withSecret("post", "client_secret_post", strangeSecret),
		"client_secret_jwt":      withSecret("signer", "client_secret_jwt", signingSecret),
		"private_key_jwt, RS256": withKey("rsa", pemOf(t, k.rsa), "RS256"),
		"private_key_jwt, PS256": withKey("rsa", pemOf(t, k.rsa), "PS256"),
		"private_key_jwt, ES256": withKey("ec", pemOf(t, k.ec), "ES256"),
		"none":                   {"client_id": "spa", "auth": object{"method": "none"}},
	}
}

// openIDClient opens a client of openid-client, which finds the server by its metadata.
func (c *clientProgram) openIDClient(t *testing.T, arguments object) *session {
	t.Helper()
	return c.open(t, "discovery", and(object{"server": c.server.url}, arguments))
}

// request is an authorization request, and what the client checks in the response.
type request struct {
	URL    string
	Checks object
}

// requested are the parameters of authorization requests.
var requested = object{"redirect_uri": webCallback, "scope": openIDScope}

// request makes an authorization request.
func (s *session) request(t *testing.T, more object) request {
	t.Helper()
	var made request
	s.call(t, &made, "authorizationUrl", object{"parameters": and(requested, more)})
	return made
}

// allowed has alice consent to a request, and returns the arguments for authorizationCodeGrant.
func (s *session) allowed(t *testing.T, alice *userAgent, made request) object {
	t.Helper()
	location, answer := alice.sentBack(t, alice.allow(t, made.URL))
	require.NotEmpty(t, answer.Get("code"), location)
	s.clients.server.Guard(answer.Get("code"))
	return object{"location": location, "checks": made.Checks}
}

// denied says that the session's token is no good any more.
func (s *session) denied(t *testing.T) {
	t.Helper()
	server := s.clients.server
	s.refused(t, "invalid_token", "get", object{"url": server.url + "/orders"})
	assert.Empty(t, server.backend.Take(), "the backend must not be asked")
}

// introspection is what the server says of a token.
func (s *session) introspection(t *testing.T, token any) object {
	t.Helper()
	var members object
	s.call(t, &members, "tokenIntrospection", object{"token": token})
	return members
}

// redeem gets alice's tokens, and checks what they say.
func (s *session) redeem(t *testing.T, id string, grant object) object {
	t.Helper()
	tokens := s.issued(t, "authorizationCodeGrant", grant)
	assert.Equal(t, openIDScope, tokens["scope"], "AS-A14")
	claims := tokens["claims"].(object)
	assert.Equal(t, "alice", claims["sub"])
	assert.Equal(t, id, claims["aud"], "AS-P02")
	assert.Equal(t, accessHash(tokens["access_token"].(string)), claims["at_hash"], "AS-P06")
	assert.NotEmpty(t, claims["auth_time"], "AS-P04")
	assert.NotEmpty(t, claims["nonce"], "AS-P03")
	s.passes(t, openIDUser(id))
	var user object
	s.call(t, &user, "fetchUserInfo", object{"subject": claims["sub"]})
	assert.Equal(t, openIDClaims, user, "AS-P12")
	return tokens
}

func TestOpenIDClientIsAClientOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	program := nodeProgram(t, "openid-client", "client.mjs")
	server, keys := startOpenID(t, openIDFile)
	alice, clients := server.userAgent(t), server.startClients(t, program)
	registered := keys.clients(t)
	public, basic := registered["none"], registered["client_secret_basic"]

	t.Run("AS-K01 AS-K02 both documents are the same", func(t *testing.T) {
		var documents [2]object
		for i, algorithm := range []string{"oauth2", "oidc"} {
			s := clients.openIDClient(t, and(public, object{"algorithm": algorithm}))
			s.call(t, &documents[i], "serverMetadata", object{})
		}
		assert.Equal(t, documents[0], documents[1])
		assert.Equal(t, server.url, documents[0]["issuer"], "AS-K03")
	})
	for method, client := range registered {
		id := client["client_id"].(string)
		t.Run(method+", authorization code", func(t *testing.T) {
			s := clients.openIDClient(t, and(client, object{"algorithm": "oauth2"}))
			first := s.redeem(t, id, s.allowed(t, alice, s.request(t, object{"max_age": "3600"})))
			assert.Equal(t, "bearer", first["token_type"]) // the library writes it so

			second := s.token(t, "refreshTokenGrant", object{"refresh_token": first["refresh_token"]})
			assert.NotEqual(t, first["access_token"], second["access_token"])
			assert.NotEqual(t, first["refresh_token"], second["refresh_token"], "AS-F02")
			before, after := first["claims"].(object), second["claims"].(object)
			for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
				assert.Equal(t, before[name], after[name], "AS-P14 %s", name)
			}
			assert.NotContains(t, after, "nonce", "AS-P14")
			assert.Equal(t, accessHash(second["access_token"].(string)), after["at_hash"], "AS-P06")
			s.passes(t, openIDUser(id))

			asking := s
			if method == "none" {
				asking = clients.openIDClient(t, basic) // a public client may not ask
			}
			said := asking.introspection(t, second["access_token"])
			assert.Equal(t, true, said["active"])
			assert.Equal(t, "alice", said["sub"])
			assert.Equal(t, server.url, said["iss"])
			s.call(t, new(any), "tokenRevocation", object{"token": second["refresh_token"]})
			assert.Equal(t, object{"active": false}, asking.introspection(t, second["access_token"]), "AS-I05")
			s.denied(t)
			s.refused(t, "invalid_grant", "refreshTokenGrant", object{"refresh_token": second["refresh_token"]})
		})
		if method == "none" {
			continue
		}
		t.Run(method+", client credentials", func(t *testing.T) {
			s := clients.openIDClient(t, client)
			token := s.token(t, "clientCredentialsGrant", object{"parameters": object{"scope": "orders:read"}})
			assert.NotContains(t, token, "refresh_token", "AS-G02")
			assert.NotContains(t, token, "id_token", "AS-G02")
			s.passes(t, asClient(id, "orders:read"))
			s.call(t, new(any), "tokenRevocation", object{"token": token["access_token"]})
			s.denied(t)
		})
	}
	t.Run("AS-A16 the response by form_post", func(t *testing.T) {
		s := clients.openIDClient(t, basic)
		made := s.request(t, object{"response_mode": "form_post"})
		answer := alice.posted(t, alice.allow(t, made.URL))
		server.Guard(answer.Get("code"))
		s.redeem(t, "basic", object{"location": webCallback, "form": answer.Encode(), "checks": made.Checks})
	})
	t.Run("AS-P01 no ID token without the scope openid", func(t *testing.T) {
		s := clients.openIDClient(t, public)
		tokens := s.token(t, "authorizationCodeGrant", s.allowed(t, alice, s.request(t, object{"scope": "orders:read"})))
		assert.NotContains(t, tokens, "id_token")
		s.refused(t, "insufficient_scope", "fetchUserInfo", object{"subject": "alice"})
	})
	t.Run("AS-P05 max_age 0 has the user sign in again", func(t *testing.T) {
		s := clients.openIDClient(t, public)
		made := s.request(t, object{"max_age": "0"})
		require.Contains(t, alice.open(t, made.URL).Body, "Password")
		s.redeem(t, "spa", s.allowed(t, alice, made))
	})
	t.Run("AS-N05 the user refuses, which the client believes this issuer", func(t *testing.T) {
		s := clients.openIDClient(t, public)
		made := s.request(t, object{"prompt": "consent"})
		location, _ := alice.sentBack(t, alice.submit(t, alice.open(t, made.URL), url.Values{"decision": {"deny"}}))
		s.refused(t, "access_denied", "authorizationCodeGrant", object{"location": location, "checks": made.Checks})
	})
	t.Run("AS-P07 nobody is signed in, and nobody is to be asked", func(t *testing.T) {
		s := clients.openIDClient(t, public)
		made := s.request(t, object{"prompt": "none"})
		stranger := server.userAgent(t)
		location, _ := stranger.sentBack(t, stranger.open(t, made.URL))
		s.refused(t, "login_required", "authorizationCodeGrant", object{"location": location, "checks": made.Checks})
	})
	for name, iss := range map[string][]string{"says nothing of who it is": nil, "is another": {"https://attacker.example.com"}} {
		t.Run("AS-N05 attack: a mix-up, where the issuer of a response "+name, func(t *testing.T) {
			s := clients.openIDClient(t, public)
			grant := s.allowed(t, alice, s.request(t, nil))
			mixedUp, err := url.Parse(grant["location"].(string))
			require.NoError(t, err)
			query := mixedUp.Query()
			query["iss"] = iss
			mixedUp.RawQuery = query.Encode()
			got := s.try(t, "authorizationCodeGrant", and(grant, object{"location": mixedUp.String()}))
			require.NotNil(t, got.Exception, "the metadata say that each response names its issuer")
			assert.Equal(t, "OAUTH_INVALID_RESPONSE", got.Exception.Type, got.Exception.Text)
			s.redeem(t, "spa", grant) // the code has been told to nobody
		})
	}
	t.Run("AS-C05 attack: a stolen code, with another verifier", func(t *testing.T) {
		s := clients.openIDClient(t, public)
		grant := s.allowed(t, alice, s.request(t, nil))
		s.refused(t, "invalid_grant", "authorizationCodeGrant", and(grant, object{
			"checks": and(grant["checks"].(object), object{"pkceCodeVerifier": verifier}),
		}))
		s.redeem(t, "spa", grant)
	})
	for method, client := range map[string]string{"client_secret_basic": "basic", "client_secret_post": "post"} {
		t.Run("AS-D09 a wrong secret by "+method+", and its code survives", func(t *testing.T) {
			right := clients.openIDClient(t, withSecret(client, method, strangeSecret))
			wrong := clients.openIDClient(t, withSecret(client, method, "another-secret"))
			grant := right.allowed(t, alice, right.request(t, nil))
			got := wrong.try(t, "authorizationCodeGrant", grant)
			require.NotNil(t, got.Exception)
			if method == "client_secret_basic" {
				assert.Equal(t, "OAUTH_WWW_AUTHENTICATE_CHALLENGE", got.Exception.Type, got.Exception.Text)
			} else {
				assert.Equal(t, "invalid_client", got.Exception.Error, got.Exception.Text)
			}
			right.redeem(t, client, grant)
		})
	}
	t.Run("AS-P17 signing out ends the session and what came of it", func(t *testing.T) {
		s := clients.openIDClient(t, basic)
		tokens := s.redeem(t, "basic", s.allowed(t, alice, s.request(t, nil)))
		var address string
		s.call(t, &address, "endSessionUrl", object{"parameters": object{
			"post_logout_redirect_uri": webCallback, "id_token_hint": tokens["id_token"], "state": "af0ifjsldkj",
		}})
		got := alice.open(t, address)
		assert.Equal(t, http.StatusSeeOther, got.Status, got.Body)
		assert.Equal(t, webCallback+"?state=af0ifjsldkj", got.Header.Get("Location"))
		s.denied(t)
		s.refused(t, "invalid_grant", "refreshTokenGrant", object{"refresh_token": tokens["refresh_token"]})
		assert.Contains(t, alice.open(t, s.request(t, nil).URL).Body, "Password")
	})
}
