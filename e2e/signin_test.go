package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// longSecret is long enough for HS256.
const longSecret = "gateway-secret-of-40-bytes-5cR7-9mQw-2xV"

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// write writes a file into the gateway's directory, and returns its path.
func (g *gateway) writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(g.Dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pemOf("PRIVATE KEY", der)
}

func jwk(t *testing.T, key any, kid, algorithm string) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: algorithm})
	require.NoError(t, err)
	return text
}

// unavailableAtFirst answers 503 to the first question, and then as it is told.
func unavailableAtFirst(give answer) answer {
	var asked atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		give(w, r)
	}
}

func TestC06ClientAssertions(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	require.NoError(t, err)
	const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	set := fmt.Sprintf(`{"keys":[%s,%s]}`, jwk(t, ecKey, "k1", ""), jwk(t, edKey, "k2", ""))
	key := func(name string, text []byte, kid string) string {
		return "client_key " + g.writeFile(t, name, text) + " " + kid
	}
	const secret = "client gateway " + longSecret
	const withKey = "client gateway"
	raw, err := ecKey.Bytes()
	require.NoError(t, err)
	g.Guard(longSecret, base64.RawURLEncoding.EncodeToString(raw))

	type signIn struct {
		name      string
		options   []string
		issuer    bool // is given, and is the audience unless something else is
		algorithm jose.SignatureAlgorithm
		verify    any
		kid       string
		audience  string // default: the endpoint
	}
	cases := []signIn{
		{name: "client_secret_jwt", options: []string{secret, "client_auth client_secret_jwt"}, algorithm: jose.HS256, verify: []byte(longSecret)},
		{name: "client_secret_jwt for an issuer", options: []string{secret, "client_auth client_secret_jwt"}, issuer: true, algorithm: jose.HS256, verify: []byte(longSecret)},
		{
			name: "client_secret_jwt for whom the operator says", issuer: true, algorithm: jose.HS256, verify: []byte(longSecret),
			options:  []string{secret, "client_auth client_secret_jwt", "assertion_audience https://as.example.com/aud"},
			audience: "https://as.example.com/aud",
		},
		{name: "RSA, PKCS #8", options: []string{withKey, key("rsa8.pem", pkcs8(t, rsaKey), "")}, algorithm: jose.RS256, verify: rsaKey.Public()},
		{
			name: "RSA, PKCS #1, a kid", algorithm: jose.RS256, verify: rsaKey.Public(), kid: "key-1", issuer: true,
			options: []string{withKey, key("rsa1.pem", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "key-1")},
		},
		{name: "RSA, PS256", options: []string{withKey, key("rsa.jwk", jwk(t, rsaKey, "k9", "PS256"), "")}, algorithm: jose.PS256, verify: rsaKey.Public(), kid: "k9"},
		{
			name: "EC, SEC 1, as OpenSSL writes it", algorithm: jose.ES256, verify: ecKey.Public(),
			options: []string{withKey, "client_auth private_key_jwt", key("ec.pem", append([]byte(parameters), pemOf("EC PRIVATE KEY", sec1)...), "")},
		},
		{name: "Ed25519, PKCS #8", options: []string{withKey, key("ed.pem", pkcs8(t, edKey), "")}, algorithm: jose.EdDSA, verify: edKey.Public()},
		{name: "a JWK set", options: []string{withKey, key("set.jwks", []byte(set), "k2")}, algorithm: jose.EdDSA, verify: edKey.Public(), kid: "k2"},
	}
	var global, site strings.Builder
	for i, c := range cases {
		path := fmt.Sprintf("/a%d", i)
		as.on(path, unavailableAtFirst(active(nil)))
		lines := append([]string{"endpoint " + as.URL + path}, c.options...)
		if c.issuer {
			lines = append(lines, "issuer https://as.example.com/issuer")
		}
		fmt.Fprintf(&global, "introspect a%d {\n\t%s\n}\n", i, strings.Join(lines, "\n\t"))
		fmt.Fprintf(&site, "introspect %s a%d\n", path, i)
	}
	g.Start(t, g.caddyfile(global.String(), site.String()+app.Proxy()))

	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := fmt.Sprintf("/a%d", i)
			before := time.Now().Unix()
			for _, token := range []string{canary(i), canary(i + 100)} {
				require.Equal(t, http.StatusOK, g.get(t, path, token).Status)
			}
			audience := c.audience
			switch {
			case audience != "":
			case c.issuer:
				audience = "https://as.example.com/issuer"
			default:
				audience = as.URL + path
			}
			asked, ids := as.asked(path), make(map[string]bool)
			require.Len(t, asked, 3, "the first is repeated")
			for _, question := range asked {
				said := readAssertion(t, question.form.Get("client_assertion"), c.verify, c.algorithm, c.kid)
				g.Guard(question.form.Get("client_assertion"))
				assert.Equal(t, gatewayID, said.Issuer)
				assert.Equal(t, gatewayID, said.Subject)
				assert.Equal(t, audience, said.Audience, "one string")
				assert.GreaterOrEqual(t, said.IssuedAt, before)
				assert.LessOrEqual(t, said.Expiry, time.Now().Unix()+60)
				assert.Greater(t, said.Expiry, time.Now().Unix())
				assert.False(t, ids[said.ID], "seen before")
				ids[said.ID] = true
				assert.Equal(t, url.Values{
					"token": {question.token}, "token_type_hint": {"access_token"}, "client_id": {gatewayID},
					"client_assertion_type": {assertionType}, "client_assertion": question.form["client_assertion"],
				}, question.form, "C05")
				assert.NotContains(t, question.header, "Authorization", "C05")
			}
		})
	}
}

// assertion is what a client assertion says.
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// readAssertion verifies an assertion as an authorization server does.
func readAssertion(t *testing.T, text string, key crypto.PublicKey, algorithm jose.SignatureAlgorithm, kid string) assertion {
	t.Helper()
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{algorithm})
	require.NoError(t, err)
	var said assertion
	require.NoError(t, parsed.Claims(key, &said))
	require.Len(t, parsed.Headers, 1)
	assert.Equal(t, kid, parsed.Headers[0].KeyID)
	assert.Equal(t, "client-authentication+jwt", parsed.Headers[0].ExtraHeaders[jose.HeaderType])
	assert.NotEmpty(t, said.ID)
	return said
}

// A configuration with a key that cannot sign does not load, and what is said of it holds nothing of the key.
func TestKeysThatCannotSign(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(ecKey.Public())
	require.NoError(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	whole := string(pkcs8(t, ecKey))
	const leak = "canaryInTheKeyFile"
	load := func(t *testing.T, lines ...string) string {
		t.Helper()
		said := g.refuses(t, "", lines...)
		for _, secret := range append(linesOf(whole), leak, longSecret[:20]) {
			assert.NotContains(t, said, secret)
		}
		return said
	}
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"a public key":     {pemOf("PUBLIC KEY", public), "neither a PEM block"},
		"a public JWK":     {jwk(t, ecKey.Public(), "", ""), "public key"},
		"an encrypted key": {pemOf("ENCRYPTED PRIVATE KEY", []byte(leak)), "is encrypted"},
		"a short RSA key":  {pkcs8(t, short), "at least 2048 bits"},
		"words":            {[]byte(leak), "neither a PEM block"},
		"half a JWK":       {[]byte(`{"kty":"RSA","d":"` + leak), "no JWK"},
		"half a PEM block": {[]byte(whole[:120]), "neither a PEM block"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, load(t, "client gateway", "client_key "+g.writeFile(t, "key", c.text)), c.says)
		})
	}
	t.Run("no file", func(t *testing.T) {
		assert.Contains(t, load(t, "client gateway", "client_key "+filepath.Join(g.Dir, "nosuch")), "no such file")
	})
	t.Run("a secret too short for HS256", func(t *testing.T) {
		assert.Contains(t, load(t, "client gateway "+longSecret[:31], "client_auth client_secret_jwt"), "at least 32 bytes")
	})
}

// An operator may take the option for one that holds the key itself.
func TestK14AKeyInPlaceOfItsFileIsNotShown(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	text := string(pkcs8(t, key))
	said := g.refuses(t, "SIGNING_KEY="+text, "client gateway", "client_key {env.SIGNING_KEY}")
	for _, line := range linesOf(text) {
		assert.NotContains(t, said, line)
	}
}

// refuses validates an authority with the given lines, which has to fail, and returns what the program says.
func (g *gateway) refuses(t *testing.T, environment string, lines ...string) string {
	t.Helper()
	lines = append([]string{"introspect {", "endpoint https://as.example.com/introspect"}, lines...)
	g.Write(t, g.caddyfile(strings.Join(lines, "\n")+"\n}", "introspect\n"))
	command := g.Command(t, "validate", "--config", g.File, "--adapter", "caddyfile")
	command.Env = append(command.Env, environment)
	output, err := command.CombinedOutput()
	assert.Error(t, err)
	return string(output)
}

// linesOf are the beginnings of the lines of a PEM block that nobody else may know.
func linesOf(block string) (lines []string) {
	for line := range strings.Lines(block) {
		if len(line) > 8 && !strings.HasPrefix(line, "-----") {
			lines = append(lines, line[:8])
		}
	}
	return lines
}

// ca issues certificates.
type ca struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         []byte
}

func newCA(t *testing.T) *ca {
	t.Helper()
	c := new(ca)
	var err error
	c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	require.NoError(t, err)
	c.certificate, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	c.pem = pemOf("CERTIFICATE", der)
	return c
}

// issue issues a certificate for 127.0.0.1 and localhost, and returns it and its key in PEM.
func (c *ca) issue(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, private.Public(), c.key)
	require.NoError(t, err)
	return pemOf("CERTIFICATE", der), pkcs8(t, private)
}

// A certificate is good only if somebody vouches for it whom the operator trusts, and the server sees the gateway's.
func TestC07TLS(t *testing.T) {
	t.Parallel()
	app, g := testgateway.StartBackend(t), newGateway(t)
	trusted, stranger := newCA(t), newCA(t)
	certificate, key := trusted.issue(t, "as")
	own, err := tls.X509KeyPair(certificate, key)
	require.NoError(t, err)
	clients := x509.NewCertPool()
	clients.AddCert(trusted.certificate)
	open := tlsAuthority(t, &tls.Config{Certificates: []tls.Certificate{own}})
	mutual := tlsAuthority(t, &tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	for _, as := range []*authority{open, mutual} {
		as.publishes("", says(claims{"issuer": as.URL, "introspection_endpoint": as.URL + "/introspect"}), nil)
		as.on("/introspect", active(nil))
	}
	pair := func(name string, by *ca) string {
		certificate, key := by.issue(t, name)
		return "tls_client_auth " + g.writeFile(t, name+".crt", certificate) + " " + g.writeFile(t, name+".key", key)
	}
	trust := "tls_trust_pool file " + g.writeFile(t, "ca.crt", trusted.pem)
	distrust := "tls_trust_pool file " + g.writeFile(t, "other.crt", stranger.pem)
	good, bad := pair("gateway", trusted), pair("stranger", stranger)
	const byCertificate = "client gateway\nclient_auth tls_client_auth"
	const bySecret = "client gateway " + gatewaySecret
	cases := []struct {
		name      string
		as        *authority
		signIn    string
		transport []string
		status    int
	}{
		{"a server that nobody vouches for", open, bySecret, nil, 503},
		{"a server for which another vouches", open, bySecret, []string{distrust}, 503},
		{"a server that is trusted", open, bySecret, []string{trust}, 200},
		{"a server whose certificate names another", open, bySecret, []string{trust, "tls_server_name as.example.com"}, 503},
		{"a server by another name", open, bySecret, []string{trust, "tls_server_name localhost"}, 200},
		{"tls_client_auth", mutual, byCertificate, []string{trust, good}, 200},
		{"tls_client_auth without trust", mutual, byCertificate, []string{good}, 503},
		{"tls_client_auth with a certificate of a stranger", mutual, byCertificate, []string{trust, bad}, 503},
		{"no certificate where one is demanded", mutual, bySecret, []string{trust}, 503},
	}
	var global, site strings.Builder
	for i, c := range cases {
		transport := ""
		if c.transport != nil {
			transport = "transport http {\n" + strings.Join(c.transport, "\n") + "\n}\n"
		}
		// In both ways: the endpoint given, and discovered.
		fmt.Fprintf(&global, "introspect e%d {\nendpoint %s/introspect\n%s\n%s}\n", i, c.as.URL, c.signIn, transport)
		fmt.Fprintf(&global, "introspect i%d {\nissuer %s\n%s\n%s}\n", i, c.as.URL, c.signIn, transport)
		fmt.Fprintf(&site, "introspect /e%d e%d\nintrospect /i%d i%d\n", i, i, i, i)
	}
	g.Start(t, g.caddyfile(global.String(), site.String()+app.Proxy()))
	for i, c := range cases {
		for _, way := range []string{"e", "i"} {
			t.Run(c.name+", "+way, func(t *testing.T) {
				token := way + canary(i)
				got := g.get(t, fmt.Sprintf("/%s%d", way, i), token)
				assert.Equal(t, c.status, got.Status)
				asked := c.as.asked(token)
				if c.status != http.StatusOK {
					assert.Empty(t, asked)
					return
				}
				require.Len(t, asked, once)
				if c.signIn == byCertificate {
					assert.Equal(t, []string{"gateway"}, asked[0].certificates)
					assert.Equal(t, url.Values{"token": {token}, "token_type_hint": {"access_token"}, "client_id": {gatewayID}}, asked[0].form)
					assert.NotContains(t, asked[0].header, "Authorization", "C05")
				}
			})
		}
	}
}

// An option of the transport that means something for a proxied request only must not bring the gateway down.
func TestATransportWithAPlaceholder(t *testing.T) {
	t.Parallel()
	app, g := testgateway.StartBackend(t), newGateway(t)
	trusted := newCA(t)
	certificate, key := trusted.issue(t, "as")
	own, err := tls.X509KeyPair(certificate, key)
	require.NoError(t, err)
	as := tlsAuthority(t, &tls.Config{Certificates: []tls.Certificate{own}})
	as.on("/introspect", active(nil))
	trust := g.writeFile(t, "ca.crt", trusted.pem)
	g.Start(t, g.caddyfile(authorityOption("", as.URL+"/introspect",
		"transport http {\ntls_trust_pool file "+trust+"\ntls_server_name {env.AS_NAME}\n}"),
		"introspect\n"+app.Proxy()), "AS_NAME=localhost")
	assert.Equal(t, http.StatusOK, g.get(t, "/", "token-over-a-name").Status)
}
