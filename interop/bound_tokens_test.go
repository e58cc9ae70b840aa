package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testdpop"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// boundFile asks oidc-provider over TLS, in each way that the tests need, and asks the clients of the site for certificates.
const boundFile = `{
	admin {$CADDY_ADMIN}
	auto_https disable_redirects
	introspect plain {
		issuer {$PROVIDER}
		client key-client
		client_key {$KEY} 2026-11
		transport http {
			tls_trust_pool file {$SITE}
		}
	}
	introspect signed {
		issuer {$PROVIDER}
		client key-client
		client_key {$KEY} 2026-11
		jwt_response
		transport http {
			tls_trust_pool file {$SITE}
		}
	}
	introspect certified {
		issuer {$PROVIDER}
		client certificate-gateway
		client_auth tls_client_auth
		transport http {
			tls_trust_pool file {$SITE}
			tls_client_auth {$CERTIFICATE} {$CERTIFICATE_KEY}
		}
	}
}

https://localhost:{$PORT} {
	bind 127.0.0.1
	tls {$SITE} {$SITE_KEY} {
		client_auth {
			mode request
		}
	}
	introspect /plain plain
	introspect /signed signed
	introspect /certified certified
	introspect /dpop plain {
		dpop required
	}
	introspect /nonce plain {
		dpop nonce
	}
	introspect /mtls plain {
		mtls required
	}
	reverse_proxy {$BACKEND}
}
`

// certificate is one for which nobody vouches but itself.
type certificate struct {
	tls.Certificate
	// file and key are where the certificate and its key lie, in PEM.
	file, key string
}

func newCertificate(t *testing.T, name string) *certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	c := &certificate{file: filepath.Join(t.TempDir(), name+".pem"), key: filepath.Join(t.TempDir(), name+".key")}
	require.NoError(t, os.WriteFile(c.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	c.Certificate, err = tls.LoadX509KeyPair(c.file, c.key)
	require.NoError(t, err)
	return c
}

// jwks is the JWK set of the certificate.
func (c *certificate) jwks(t *testing.T) string {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate.Certificate[0])
	require.NoError(t, err)
	key := jose.JSONWebKey{Key: leaf.PublicKey, KeyID: "certificate", Certificates: []*x509.Certificate{leaf}}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	require.NoError(t, err)
	return string(set)
}

// boundTokens are a gateway and an oidc-provider that binds tokens, which both speak TLS with the certificate site. The
// clients certificate-app and certificate-gateway have the certificate own.
type boundTokens struct {
	*gateway
	provider         *oidcProvider
	site, own, other *certificate
}

func startBoundTokens(t *testing.T) *boundTokens {
	t.Helper()
	command := nodeProgram(t, "oidc-provider", "server.mjs")
	b := &boundTokens{site: newCertificate(t, "site"), own: newCertificate(t, "own"), other: newCertificate(t, "other")}
	key, public := newKey(t)
	command.Env = append(os.Environ(),
		"KEY_CLIENT_JWKS="+public, "CERTIFICATE_JWKS="+b.own.jwks(t), "TLS_CERTIFICATE="+b.site.file, "TLS_KEY="+b.site.key)
	b.provider = newOIDCProvider(testgateway.Run(t, command).Await(t, "https://127.0.0.1:"), key)
	b.provider.transport = b.client(t, nil).Transport

	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	process := testgateway.Start(t, boundFile,
		"BACKEND="+backend.Address, "PORT="+port, "PROVIDER="+b.provider.url, "KEY="+key, "SITE="+b.site.file, "SITE_KEY="+b.site.key,
		"CERTIFICATE="+b.own.file, "CERTIFICATE_KEY="+b.own.key)
	b.gateway = &gateway{Gateway: process, url: "https://localhost:" + port, backend: backend}
	return b
}

// client is an HTTP client that has a certificate, or none.
func (b *boundTokens) client(t *testing.T, has *certificate) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	leaf, err := x509.ParseCertificate(b.site.Certificate.Certificate[0])
	require.NoError(t, err)
	config.RootCAs.AddCert(leaf)
	if has != nil {
		config.Certificates = []tls.Certificate{has.Certificate}
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// send sends a request as a client with a certificate, or without one.
func (b *boundTokens) send(t *testing.T, has *certificate, request *http.Request) *testgateway.Reply {
	t.Helper()
	response, err := b.client(t, has).Do(request)
	require.NoError(t, err)
	got, err := testgateway.Read(response)
	require.NoError(t, err)
	return got
}

// issue gets an access token of oidc-provider's by the client credentials grant, whose request may be edited.
func (b *boundTokens) issue(t *testing.T, has *certificate, client credentials, tokenType string, edits ...func(*http.Request)) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}}
	if client.secret == "" {
		form.Set("client_id", client.id)
	}
	request := testgateway.Form(t, b.provider.tokens, client.id, client.secret, form)
	if client.secret == "" {
		request.Header.Del("Authorization")
	}
	for _, edit := range edits {
		edit(request)
	}
	got := b.send(t, has, request)
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	var token object
	require.NoError(t, json.Unmarshal([]byte(got.Body), &token))
	assert.Equal(t, tokenType, token["token_type"])
	b.guardToken(token)
	return token["access_token"].(string)
}

func (b *boundTokens) guardToken(token object) { (&issuer{gateway: *b.gateway}).guardTokens(token) }

// request asks for a path with a token under a scheme, and with proofs of possession.
func (b *boundTokens) request(t *testing.T, path, scheme, token string, proofs ...string) *http.Request {
	t.Helper()
	request := testgateway.Request(t, http.MethodGet, b.url+path, "")
	request.Header.Set("Authorization", scheme+" "+token)
	request.Header["DPoP"] = proofs
	return request
}

// passed says that the only request that came was one with this token.
func (b *boundTokens) passed(t *testing.T, got *testgateway.Reply, expected map[string]string) {
	t.Helper()
	require.Equal(t, http.StatusOK, got.Status)
	seen := b.backend.Take()
	require.Len(t, seen, 1)
	assert.Equal(t, expected, told(t, seen[0]))
	for _, header := range []string{"Authorization", "Dpop", "Client-Cert"} {
		assert.NotContains(t, seen[0].Header, header)
	}
}

const dpopAlgs = `algs="ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"`

// What oidc-provider says of a token that it has bound to a key is what the gateway demands, in JSON and signed.
func TestStolenDPoPTokensOfOIDCProvider(t *testing.T) {
	t.Parallel()
	b := startBoundTokens(t)
	key, thief := testdpop.NewKey(t), testdpop.NewKey(t)
	token := b.issue(t, nil, credentials{app, appSecret}, "DPoP", func(r *http.Request) {
		r.Header["DPoP"] = []string{key.Proof(t, http.MethodPost, r.URL.String())}
	})
	holder := map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"}
	for _, path := range []string{"/plain", "/signed", "/certified", "/dpop"} {
		t.Run(path, func(t *testing.T) {
			proof := func(by *testdpop.Key) string { return by.Proof(t, http.MethodGet, b.url+path, testdpop.Token(token)) }
			seen := proof(key)
			b.passed(t, b.send(t, nil, b.request(t, path, "DPoP", token, seen)), holder)
			for name, test := range map[string]struct {
				scheme    string
				proofs    []string
				challenge string
			}{
				"G10 as a bearer token":               {"Bearer", nil, `Bearer realm="portcullis", error="invalid_token"`},
				"G10 as one, with a good proof":       {"Bearer", []string{proof(key)}, `Bearer realm="portcullis", error="invalid_token"`},
				"G22 without a proof":                 {"DPoP", nil, `DPoP realm="portcullis", error="invalid_dpop_proof", ` + dpopAlgs},
				"G13 the proof that was seen":         {"DPoP", []string{seen}, `DPoP realm="portcullis", error="invalid_dpop_proof", ` + dpopAlgs},
				"G09 a proof with the key of a thief": {"DPoP", []string{proof(thief)}, `DPoP realm="portcullis", error="invalid_token", ` + dpopAlgs},
			} {
				got := b.send(t, b.own, b.request(t, path, test.scheme, token, test.proofs...))
				assert.Equal(t, http.StatusUnauthorized, got.Status, name)
				challenges := got.Header["Www-Authenticate"]
				if path != "/dpop" || test.scheme == "DPoP" {
					assert.Contains(t, challenges, test.challenge, name)
				}
				require.NotEmpty(t, challenges, name)
				assert.Contains(t, challenges[len(challenges)-1], "DPoP realm=", name)
				assert.Empty(t, b.backend.Take(), name)
			}
		})
	}
	t.Run("/nonce", func(t *testing.T) {
		proof := func(edits ...testdpop.Edit) string {
			return key.Proof(t, http.MethodGet, b.url+"/nonce", append(edits, testdpop.Token(token))...)
		}
		got := b.send(t, nil, b.request(t, "/nonce", "DPoP", token, proof()))
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Contains(t, got.Challenge(t), `error="use_dpop_nonce"`)
		assert.Empty(t, b.backend.Take())
		nonce := testdpop.Nonce(got.Header.Get("DPoP-Nonce"))
		b.passed(t, b.send(t, nil, b.request(t, "/nonce", "DPoP", token, proof(nonce))), holder)
	})
	t.Run("H01 a route for certificates", func(t *testing.T) {
		proof := key.Proof(t, http.MethodGet, b.url+"/mtls", testdpop.Token(token))
		assert.Equal(t, http.StatusUnauthorized, b.send(t, b.own, b.request(t, "/mtls", "DPoP", token, proof)).Status)
		assert.Empty(t, b.backend.Take())
	})
}

// What oidc-provider says of a token that it has bound to the certificate of a connection is what the gateway demands of its
// own connections.
func TestStolenCertificateBoundTokensOfOIDCProvider(t *testing.T) {
	t.Parallel()
	b := startBoundTokens(t)
	token := b.issue(t, b.own, credentials{id: "certificate-app"}, "Bearer")
	holder := map[string]string{"Remote-Client": "certificate-app", "Remote-Scope": "orders:read"}
	forged := ":" + base64.StdEncoding.EncodeToString(b.own.Certificate.Certificate[0]) + ":"
	for _, path := range []string{"/plain", "/signed", "/certified", "/mtls"} {
		t.Run(path, func(t *testing.T) {
			b.passed(t, b.send(t, b.own, b.request(t, path, "Bearer", token)), holder)
			for name, test := range map[string]struct {
				has    *certificate
				header []string
			}{
				"H01 with another certificate":           {b.other, nil},
				"H01 without any":                        {nil, nil},
				"H05 without any, and a forged header":   {nil, []string{forged}},
				"H05 another one, and a forged header":   {b.other, []string{forged}},
				"H01 the certificate of the site itself": {b.site, nil},
			} {
				request := b.request(t, path, "Bearer", token)
				request.Header["Client-Cert"] = test.header
				got := b.send(t, test.has, request)
				assert.Equal(t, http.StatusUnauthorized, got.Status, name)
				assert.Contains(t, got.Header["Www-Authenticate"], `Bearer realm="portcullis", error="invalid_token"`, name)
				assert.Empty(t, b.backend.Take(), name)
			}
		})
	}
	t.Run("G10 a route for keys", func(t *testing.T) {
		assert.Equal(t, http.StatusUnauthorized, b.send(t, b.own, b.request(t, "/dpop", "Bearer", token)).Status)
		assert.Empty(t, b.backend.Take())
	})
}

// openid-client has jane's tokens of oidc-provider bound to its key, and proves at the gateway that it has it.
func TestOpenIDClientProvesPossessionAtTheGateway(t *testing.T) {
	t.Parallel()
	program := nodeProgram(t, "openid-client", "client.mjs")
	b := startBoundTokens(t)
	program.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+b.site.file)
	clients := (&issuer{gateway: *b.gateway}).startClients(t, program)
	open := func(t *testing.T, dpop object) *session {
		t.Helper()
		arguments := and(withSecret(app, "client_secret_basic", appSecret), dpop)
		return clients.open(t, "discovery", and(object{"server": b.provider.url}, arguments))
	}
	const scope = "openid offline_access orders:read"
	jane := map[string]string{"Remote-User": "jane", "Remote-Client": app, "Remote-Scope": scope}

	s := open(t, object{"dpop": "ES256"})
	made := s.request(t, object{"redirect_uri": callback, "scope": scope, "prompt": "consent"})
	location := b.provider.agree(t, made.URL)
	b.Guard(location.Query().Get("code"))
	tokens := s.issued(t, "authorizationCodeGrant", object{"location": location.String(), "checks": made.Checks})
	assert.Equal(t, "dpop", tokens["token_type"])
	passes := func(t *testing.T) {
		t.Helper()
		for _, path := range []string{"/plain", "/signed", "/certified", "/dpop", "/nonce"} {
			got := s.send(t, "get", object{"url": b.url + path})
			b.passed(t, &testgateway.Reply{Status: got.Status}, jane)
		}
	}
	passes(t)

	thief, plain := open(t, object{"dpop": "ES256"}), open(t, nil)
	for _, path := range []string{"/plain", "/signed", "/certified", "/dpop", "/nonce"} {
		stolen := object{"url": b.url + path, "token": tokens["access_token"]}
		thief.refused(t, "invalid_token", "get", stolen)
		plain.refused(t, "invalid_token", "get", stolen)
	}
	assert.Empty(t, b.backend.Take(), "the backend must not be asked")

	tokens = s.issued(t, "refreshTokenGrant", object{"refresh_token": tokens["refresh_token"]})
	assert.Equal(t, "dpop", tokens["token_type"])
	passes(t)
	s.call(t, new(any), "tokenRevocation", object{"token": tokens["access_token"]})
}
