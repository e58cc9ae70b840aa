package interop_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const resourceServersFile = `{
	authorization_server {
		issuer http://localhost:{$PORT}
		store file {$STORE}
		access_token_ttl {lifetime}
		client web {env.SECRET} {
			grants authorization_code refresh_token client_credentials
			redirect_uris https://web.example.com/cb
			scopes orders:read orders:write
		}
		client api {env.API_SECRET} {
			introspect
		}
		client api-with-token {env.API_SECRET} {
			grants client_credentials
			scopes introspection orders:read
		}
		user alice {env.ALICE}
	}
}

http://localhost:{$PORT} {
	authorization_server
	introspect /orders scope orders:read
	reverse_proxy {$BACKEND}
}
`

const apiSecret = "api-secret_0.1~python"

// issued gets tokens from the token endpoint.
func (s *issuer) issued(t *testing.T, client, secret string, form url.Values) (access, refresh string) {
	t.Helper()
	got := testgateway.Send(t, testgateway.Form(t, s.url+"/oauth2/token", client, secret, form))
	access = got.AccessToken(t)
	var rest struct {
		RefreshToken string `json:"refresh_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.Body), &rest))
	return access, rest.RefreshToken
}

// granted gets the tokens that alice grants to the client web.
func (u *userAgent) granted(t *testing.T, scope string) (access, refresh string) {
	t.Helper()
	request := url.Values{
		"client_id": {"web"}, "redirect_uri": {webCallback}, "response_type": {"code"}, "scope": {scope},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	location, err := url.Parse(u.authorize(t, u.server.url+"/oauth2/authorize?"+request.Encode()))
	require.NoError(t, err)
	return u.server.issued(t, "web", webSecret, url.Values{
		"grant_type": {"authorization_code"}, "code": {location.Query().Get("code")}, "code_verifier": {verifier},
	})
}

func (s *issuer) revoke(t *testing.T, token string) {
	t.Helper()
	got := testgateway.Send(t, testgateway.Form(t, s.url+"/oauth2/revoke", "web", webSecret, url.Values{"token": {token}}))
	require.Equal(t, http.StatusOK, got.Status, got.Body)
}

// resourceServer is one in Python, which introspects at an issuer.
type resourceServer struct {
	folder, modules, packages string
	environment               []string
	// refused is the status for a token that is no good, and forbidden for one without the scope.
	refused, forbidden int
	// answer is what it says to a good token of alice's, and ownAnswer to one of the client's own, for what it has read in
	// the answer of the introspection endpoint.
	answer, ownAnswer object
	// remembers says that it asks once in a while only.
	remembers bool
}

// Resource servers in Python that know how to introspect do so at the embedded server.
func TestResourceServersAskTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	server := startIssuer(t, resourceServersFile, "15m", "API_SECRET="+apiSecret, "SECRET="+webSecret)
	own := func(t *testing.T, client, secret, scope string) string {
		t.Helper()
		access, _ := server.issued(t, client, secret, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
		return access
	}
	introspecting := own(t, "api-with-token", apiSecret, "introspection orders:read")

	django := resourceServer{
		folder: "django-resource-server", modules: "oauth2_provider", packages: "python3-django-oauth-toolkit",
		refused: http.StatusForbidden, forbidden: http.StatusForbidden,
		answer: object{"user": "alice"}, ownAnswer: object{"user": nil}, remembers: true,
	}
	djangoWithToken, djangoAsClient := django, django
	djangoWithToken.environment = []string{"INTROSPECTION_TOKEN=" + introspecting}
	djangoAsClient.environment = []string{"CLIENT_ID=api", "CLIENT_SECRET=" + apiSecret}
	for name, c := range map[string]resourceServer{
		"Django OAuth Toolkit, with a token": djangoWithToken,
		"Django OAuth Toolkit, as a client":  djangoAsClient,
		"Authlib": {
			folder: "authlib-resource-server", modules: "authlib, flask, requests", packages: "python3-authlib python3-flask python3-requests",
			environment: []string{"CLIENT_ID=api", "CLIENT_SECRET=" + apiSecret},
			refused:     http.StatusUnauthorized, forbidden: http.StatusForbidden,
			answer: object{
				"acr":    "urn:portcullis:acr:password",
				"active": true, "iss": server.url, "client_id": "web", "token_type": "Bearer", "scope": "orders:read",
				"sub": "alice", "username": "alice",
			},
			ownAnswer: object{
				"active": true, "iss": server.url, "client_id": "web", "token_type": "Bearer", "scope": "orders:read",
				"sub": "web",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice := server.userAgent(t)
			needPython(t, c.modules, c.packages)
			program := c.folder + "/server.py"
			require.FileExists(t, program) // and so a cached result is not used when it changes
			command := exec.Command(python, program)
			command.Env = append(os.Environ(), append(c.environment, "INTROSPECTION_URL="+server.url+"/oauth2/introspect")...)
			address := testgateway.Run(t, command).Await(t, "http://127.0.0.1:")

			ask := func(t *testing.T, token string) *testgateway.Reply {
				t.Helper()
				return testgateway.Send(t, testgateway.Request(t, http.MethodGet, address+"/", token))
			}
			passes := func(t *testing.T, token string, expected object) {
				t.Helper()
				got := ask(t, token)
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				var answer object
				require.NoError(t, json.Unmarshal([]byte(got.Body), &answer))
				if exp, ok := answer["exp"].(float64); ok {
					assert.InDelta(t, time.Now().Add(15*time.Minute).Unix(), exp, 60)
				}
				delete(answer, "exp")
				delete(answer, "iat")
				delete(answer, "auth_time")
				assert.Equal(t, expected, answer)
			}
			token := func(t *testing.T) string {
				t.Helper()
				access, _ := alice.granted(t, "orders:read")
				return access
			}
			t.Run("AS-J04 a user's token", func(t *testing.T) { passes(t, token(t), c.answer) })
			t.Run("AS-J04 a client's own token", func(t *testing.T) {
				passes(t, own(t, "web", webSecret, "orders:read"), c.ownAnswer)
			})
			t.Run("a scope is missing", func(t *testing.T) {
				access, _ := alice.granted(t, "orders:write")
				assert.Equal(t, c.forbidden, ask(t, access).Status)
			})
			t.Run("AS-J02 revoked", func(t *testing.T) {
				revoked := token(t)
				server.revoke(t, revoked)
				assert.Equal(t, c.refused, ask(t, revoked).Status)
			})
			t.Run("AS-J02 revoked after it was used", func(t *testing.T) {
				revoked := token(t)
				passes(t, revoked, c.answer)
				server.revoke(t, revoked)
				if !c.remembers {
					assert.Equal(t, c.refused, ask(t, revoked).Status)
					return
				}
				assert.Eventually(t, func() bool {
					return ask(t, revoked).Status == c.refused
				}, time.Minute, 20*time.Millisecond)
			})
			t.Run("AS-J06 a refresh token", func(t *testing.T) {
				_, refresh := alice.granted(t, "orders:read")
				require.NotEmpty(t, refresh)
				assert.Equal(t, c.refused, ask(t, refresh).Status)
			})
			t.Run("AS-J02 garbage", func(t *testing.T) {
				for _, garbage := range []string{"garbage", "a+b/c-._~==", "pat_" + verifier, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJqYW5lIn0."} {
					assert.Equal(t, c.refused, ask(t, garbage).Status, garbage)
				}
			})
			t.Run("attack: the token that may introspect vouches for itself", func(t *testing.T) {
				// Where somebody else asks, it is a token like any other.
				expected := c.refused
				if c.environment[0] != djangoWithToken.environment[0] {
					expected = http.StatusOK
				}
				assert.Equal(t, expected, ask(t, introspecting).Status)
			})
		})
	}
}
