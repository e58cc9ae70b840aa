package interop_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpenIDClientPushesItsRequests(t *testing.T) {
	t.Parallel()
	program := nodeProgram(t, "openid-client", "client.mjs")
	server, keys := startOpenID(t, openIDFile)
	alice, clients := server.userAgent(t), server.startClients(t, program)
	push := func(t *testing.T, s *session) request {
		t.Helper()
		var made request
		s.call(t, &made, "authorizationUrl", object{"parameters": requested, "pushed": true})
		return made
	}
	for method, client := range keys.clients(t) {
		id := client["client_id"].(string)
		t.Run("AS-N06 "+method, func(t *testing.T) {
			s := clients.openIDClient(t, client)
			made := push(t, s)
			address, err := url.Parse(made.URL)
			require.NoError(t, err)
			query := address.Query()
			assert.Equal(t, id, query.Get("client_id"))
			assert.NotEmpty(t, query.Get("request_uri"), "AS-N07")
			assert.Len(t, query, 2)
			s.redeem(t, id, s.allowed(t, alice, made))
		})
	}
	t.Run("AS-N06 what is wrong with a request is said at once", func(t *testing.T) {
		s := clients.openIDClient(t, keys.clients(t)["client_secret_post"])
		s.refused(t, "invalid_scope", "authorizationUrl", object{
			"parameters": and(requested, object{"scope": "openid orders:write"}), "pushed": true,
		})
	})
	t.Run("AS-N08 attack: a request is used again", func(t *testing.T) {
		s := clients.openIDClient(t, keys.clients(t)["none"])
		made := push(t, s)
		s.redeem(t, "spa", s.allowed(t, alice, made))
		got := alice.open(t, made.URL)
		assert.Equal(t, http.StatusBadRequest, got.Status, got.Body)
		assert.Empty(t, got.Header.Get("Location"))
	})
	t.Run("AS-N09 attack: the user's browser asks for less than the client has pushed, and for more", func(t *testing.T) {
		s := clients.openIDClient(t, keys.clients(t)["none"])
		made := push(t, s)
		extra := url.Values{"scope": {"orders:write"}, "redirect_uri": {"https://attacker.example.com/cb"}, "state": {"another"}}
		made.URL += "&" + extra.Encode()
		s.redeem(t, "spa", s.allowed(t, alice, made))
	})
}

func TestOpenIDClientRegistersItself(t *testing.T) {
	t.Parallel()
	program := nodeProgram(t, "openid-client", "client.mjs")
	const registration = `		registration {
			token initial-access-token-5Wq_
			scopes openid profile email orders:read
		}
`
	server, keys := startOpenID(t, strings.Replace(openIDFile, "\t\tclient either", registration+"\t\tclient either", 1))
	server.Guard("initial-access-token-5Wq_")
	alice, clients := server.userAgent(t), server.startClients(t, program)
	arguments := func(metadata object) object {
		return object{
			"server": server.url, "initial_access_token": "initial-access-token-5Wq_", "metadata": and(object{
				"redirect_uris": []string{webCallback}, "grant_types": []string{"authorization_code", "refresh_token"},
				"client_name": "Notes", "scope": openIDScope,
			}, metadata),
		}
	}
	public := keys.clients(t)["none"]
	for name, test := range map[string]object{
		"AS-L02 no method, and so the library puts the secret into the body": arguments(nil),
		"client_secret_basic": and(arguments(object{"token_endpoint_auth_method": "client_secret_basic"}), object{
			"auth": object{"method": "client_secret_basic"},
		}),
		"client_secret_post": arguments(object{"token_endpoint_auth_method": "client_secret_post"}),
		"none":               and(arguments(object{"token_endpoint_auth_method": "none"}), object{"auth": public["auth"]}),
		"RS256 for ID tokens": arguments(object{
			"token_endpoint_auth_method": "client_secret_post", "id_token_signed_response_alg": "RS256",
		}),
		"ES256 for ID tokens": arguments(object{
			"token_endpoint_auth_method": "client_secret_post", "id_token_signed_response_alg": "ES256",
		}),
	} {
		t.Run("AS-L01 "+name, func(t *testing.T) {
			s := clients.open(t, "registration", test)
			var kept object
			s.call(t, &kept, "clientMetadata", object{})
			id, _ := kept["client_id"].(string)
			require.NotEmpty(t, id)
			if secret, ok := kept["client_secret"].(string); ok {
				server.Guard(secret)
			}
			tokens := s.redeem(t, id, s.allowed(t, alice, s.request(t, nil)))
			s.token(t, "refreshTokenGrant", object{"refresh_token": tokens["refresh_token"]})
			s.passes(t, openIDUser(id))
			s.call(t, new(any), "tokenRevocation", object{"token": tokens["access_token"]})
		})
	}
	const challenged, told = "OAUTH_WWW_AUTHENTICATE_CHALLENGE", "OAUTH_RESPONSE_BODY_ERROR"
	for name, test := range map[string]struct {
		arguments object
		kind      string
		code      string
	}{
		"AS-L01 without the initial access token": {and(arguments(nil), object{"initial_access_token": nil}), challenged, ""},
		"AS-L01 with another one": {
			and(arguments(nil), object{"initial_access_token": "another-initial-access-token"}), challenged, "invalid_token",
		},
		"AS-L05 with a redirect URI that is a script": {
			arguments(object{"redirect_uris": []string{"javascript:alert(1)"}}), told, "invalid_redirect_uri",
		},
		"AS-L04 for tokens of its own": {
			arguments(object{"grant_types": []string{"client_credentials"}}), told, "invalid_client_metadata",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := clients.do(t, object{"open": "registration", "as": "none", "with": test.arguments})
			require.NotNil(t, got.Exception)
			assert.Equal(t, test.kind, got.Exception.Type, got.Exception.Text)
			assert.Equal(t, test.code, got.Exception.Error, got.Exception.Text)
		})
	}
}

func TestOpenIDClientBindsTokensToItsKey(t *testing.T) {
	t.Parallel()
	program := nodeProgram(t, "openid-client", "client.mjs")
	const routes = `	introspect /bound {
		scope orders:read
		dpop required
	}
	introspect /nonce {
		scope orders:read
		dpop nonce
	}
`
	server, keys := startOpenID(t, strings.Replace(openIDFile, "\tintrospect /orders", routes+"\tintrospect /orders", 1))
	alice, clients := server.userAgent(t), server.startClients(t, program)
	bound := func(t *testing.T, client object, alg string) *session {
		t.Helper()
		return clients.openIDClient(t, and(client, object{"dpop": alg}))
	}
	public := keys.clients(t)["none"]
	for name, test := range map[string]struct{ method, alg string }{
		"a public client, ES256":       {"none", "ES256"},
		"a public client, RS256":       {"none", "RS256"},
		"a confidential client, ES256": {"client_secret_basic", "ES256"},
	} {
		t.Run("AS-O01 "+name, func(t *testing.T) {
			client := keys.clients(t)[test.method]
			id := client["client_id"].(string)
			s := bound(t, client, test.alg)
			first := s.redeem(t, id, s.allowed(t, alice, s.request(t, nil)))
			assert.Equal(t, "dpop", first["token_type"])
			second := s.issued(t, "refreshTokenGrant", object{"refresh_token": first["refresh_token"]})
			assert.Equal(t, "dpop", second["token_type"])
			for _, path := range []string{"/bound", "/nonce"} {
				require.Equal(t, http.StatusOK, s.send(t, "get", object{"url": server.url + path}).Status)
				server.tells(t, openIDUser(id))
			}
		})
	}
	t.Run("AS-O01 client credentials", func(t *testing.T) {
		s := bound(t, keys.clients(t)["private_key_jwt, ES256"], "ES256")
		token := s.issued(t, "clientCredentialsGrant", object{"parameters": object{"scope": "orders:read"}})
		assert.Equal(t, "dpop", token["token_type"])
		s.passes(t, asClient("ec", "orders:read"))
		said := s.introspection(t, token["access_token"])
		assert.Equal(t, "DPoP", said["token_type"], "AS-J05")
		assert.NotEmpty(t, said["cnf"], "AS-J05")
	})
	t.Run("AS-O05 AS-O06 attack: the code of a pushed request is stolen, with its verifier", func(t *testing.T) {
		s, thief := bound(t, public, "ES256"), bound(t, public, "ES256")
		var made request
		s.call(t, &made, "authorizationUrl", object{"parameters": requested, "pushed": true})
		grant := s.allowed(t, alice, made)
		thief.refused(t, "invalid_grant", "authorizationCodeGrant", grant)
		s.redeem(t, "spa", grant)
	})
	t.Run("AS-O03 attack: the tokens of a public client are stolen", func(t *testing.T) {
		s, thief, plain := bound(t, public, "ES256"), bound(t, public, "ES256"), clients.openIDClient(t, public)
		tokens := s.redeem(t, "spa", s.allowed(t, alice, s.request(t, nil)))
		stolen := object{"url": server.url + "/orders", "token": tokens["access_token"]}
		plain.refused(t, "invalid_token", "get", stolen)
		thief.refused(t, "invalid_token", "get", stolen)
		assert.Empty(t, server.backend.Take(), "the backend must not be asked")
		refresh := object{"refresh_token": tokens["refresh_token"]}
		plain.refused(t, "invalid_dpop_proof", "refreshTokenGrant", refresh)
		thief.refused(t, "invalid_grant", "refreshTokenGrant", refresh)
		s.issued(t, "refreshTokenGrant", refresh)
	})
}
