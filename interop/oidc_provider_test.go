package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// oidcProvider is the authorization server of oidc-provider/server.mjs.
type oidcProvider struct {
	endpoints
	url string
	// key is the file of the private key of its client key-client.
	key string
	// transport is how a browser reaches it, or nil.
	transport http.RoundTripper
}

func startOIDCProvider(t *testing.T) *oidcProvider {
	t.Helper()
	command := nodeProgram(t, "oidc-provider", "server.mjs")
	key, public := newKey(t)
	command.Env = append(os.Environ(), "KEY_CLIENT_JWKS="+public)
	url := testgateway.Run(t, command).Await(t, "http://127.0.0.1:")
	return newOIDCProvider(url, key)
}

func newOIDCProvider(url, key string) *oidcProvider {
	paths := endpoints{url + "/token", url + "/token/introspection", url + "/token/revocation"}
	return &oidcProvider{endpoints: paths, url: url, key: key}
}

// newKey makes a key pair, and returns the file of the private key and the JWK set of the public one.
func newKey(t *testing.T) (file, public string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "2026-11", Use: "sig"}}})
	require.NoError(t, err)
	return file, string(set)
}

// strangeASCII is strangeSecret without the letter that a secret must not have at this server (RFC 6749 appendix A.2).
const strangeASCII = "p@ss w+rd/%:& "

// callback is where the user's application gets its codes. Nothing listens there.
const callback = "https://orders.example.com/callback"

// signIn gets tokens for the user jane by the authorization code grant.
func (p *oidcProvider) signIn(t *testing.T, client credentials) issued {
	t.Helper()
	request := url.Values{
		"response_type": {"code"},
		"client_id":     {client.id},
		"redirect_uri":  {callback},
		"scope":         {"openid offline_access orders:read"},
		"prompt":        {"consent"},
	}
	return p.issue(t, client, url.Values{
		"grant_type":   {"authorization_code"},
		"code":         {p.agree(t, p.url+"/auth?"+request.Encode()).Query().Get("code")},
		"redirect_uri": {callback},
	})
}

// agree has jane agree to an authorization request, and returns where she is sent then.
func (p *oidcProvider) agree(t *testing.T, request string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{
		Transport: p.transport,
		Jar:       jar,
		Timeout:   20 * time.Second,
		CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(next.URL.String(), callback) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	defer browser.CloseIdleConnections()
	response, err := browser.Do(testgateway.Request(t, http.MethodGet, request, ""))
	require.NoError(t, err)
	page, err := testgateway.Read(response)
	require.NoError(t, err)
	location, err := response.Location()
	require.NoError(t, err, page.Body)
	require.True(t, strings.HasPrefix(location.String(), callback), location)
	return location
}

// oidc-provider decodes Basic credentials as RFC 6749 section 2.3.1 demands. It does not introspect its own JWT access
// tokens, which it answers with an error. A refresh token is active, and all that tells it from an access token is that
// its answer has no token_type.
func TestTheGatewayAsksOIDCProvider(t *testing.T) {
	provider := startOIDCProvider(t)
	client, brief := credentials{app, appSecret}, credentials{"brief-app", "brief-app-secret"}
	asker := credentials{"gateway", "gateway-secret_0.1~oidc-provider"}
	own := func(form url.Values) func(*testing.T) string {
		form.Set("grant_type", "client_credentials")
		return func(t *testing.T) string {
			t.Helper()
			return provider.issue(t, client, form).Access
		}
	}
	active := own(url.Values{"scope": {"orders:read"}})
	c := counterpart{
		authority: []string{"endpoint " + provider.introspection},
		client:    asker,
		strange:   credentials{"gateway-2", strangeASCII},
		refused:   "401 (invalid_client)",
		told:      map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
		active:    active,
		expired: func(t *testing.T) string {
			t.Helper()
			token := provider.issue(t, brief, url.Values{"grant_type": {"client_credentials"}}).Access
			provider.outlive(t, asker, token)
			return token
		},
		revoked: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			provider.revoke(t, client, token)
			return token
		},
		refresh: func(t *testing.T) string {
			t.Helper()
			return provider.signIn(t, client).Refresh
		},
		refreshPasses: true,
		accessOnly:    "claim token_type Bearer",
		revoke:        func(t *testing.T, token string) { provider.revoke(t, client, token) },
		others: map[string]other{
			"a user's token names the user": {
				token: func(t *testing.T) string {
					t.Helper()
					return provider.signIn(t, client).Access
				},
				told: map[string]string{
					"Remote-User": "jane", "Remote-Client": app, "Remote-Scope": "openid offline_access orders:read",
				},
			},
			"J09 J11 no scope, no header": {
				token: own(url.Values{}),
				told:  map[string]string{"Remote-Client": app},
			},
			"an audience": {
				token: own(url.Values{"scope": {"orders:read"}, "resource": {"https://orders.example.com"}}),
				told:  map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
			},
		},
		bad: map[string]func(*testing.T) string{
			"a JWT, of which it only says unsupported_token_type": own(url.Values{"resource": {"https://jwt.example.com"}}),
		},
	}
	t.Run("as a client", func(t *testing.T) { prove(t, c) })

	t.Run("C02 as a client with client_secret_post", func(t *testing.T) {
		c.client = credentials{"post-client", "post-secret " + strangeASCII}
		c.signIn = []string{"client post-client {env.SECRET}", "client_auth client_secret_post"}
		c.mistaken = []string{"client post-client {env.WRONG_SECRET}", "client_auth client_secret_post"}
		prove(t, c)
	})

	// Its endpoint is in what it publishes, and its issuer in what it says of each token.
	c.authority = []string{"issuer " + provider.url}
	for name, signIn := range map[string][]string{
		"C06 C13 discovered, with client_secret_jwt": {
			"client jwt-client jwt-client-secret-of-more-than-32-bytes", "client_auth client_secret_jwt",
		},
		"C06 C13 discovered, with private_key_jwt": {"client key-client", "client_key " + provider.key + " 2026-11"},
	} {
		t.Run(name, func(t *testing.T) {
			c.client, c.signIn, c.mistaken = asker, signIn, nil
			prove(t, c)
		})
	}

	c.signIn, c.mistaken = nil, nil
	c.authority = append(c.authority, "jwt_response")
	t.Run("E01 E03 E06 discovered, with signed answers", func(t *testing.T) { prove(t, c) })
	t.Run("J17 the backend verifies what it is handed", func(t *testing.T) {
		proveSigned(t, c, provider.url+"/jwks", map[string]any{"aud": asker.id, "iss": provider.url})
	})
	t.Run("E03 for another audience nothing is believed", func(t *testing.T) {
		c.authority = []string{"issuer " + provider.url, "jwt_response {\n\t\t\taudience another-client\n\t\t}"}
		refuseSigned(t, c, active(t), "not for this client")
	})
	t.Run("E08 an encrypted answer is refused", func(t *testing.T) {
		c.client = credentials{"encrypted-client", "encrypted-client-secret-of-more-than-32-bytes"}
		c.authority = []string{"issuer " + provider.url, "jwt_response"}
		refuseSigned(t, c, active(t), "is encrypted")
	})
}
