package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testdpop"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// clientCertificate is a certificate that nobody has to vouch for.
func clientCertificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	certificate, key := newCA(t).issue(t, name)
	pair, err := tls.X509KeyPair(certificate, key)
	require.NoError(t, err)
	return &pair
}

// boundTo is the cnf of a token that is bound to a certificate.
func boundTo(certificate *tls.Certificate) claims {
	hash := sha256.Sum256(certificate.Certificate[0])
	return claims{"x5t#S256": base64.RawURLEncoding.EncodeToString(hash[:])}
}

// clientCert is the header of RFC 9440 for a certificate.
func clientCert(certificate *tls.Certificate) string {
	return ":" + base64.StdEncoding.EncodeToString(certificate.Certificate[0]) + ":"
}

// secureSite starts a gateway with a site that speaks TLS, and returns how to ask it with a certificate, or without one. Who
// vouches for the site is in the gateway's file ca.pem.
func secureSite(t *testing.T, as *authority, site, clientAuth string, options ...string) (g *gateway, ask func(t *testing.T, certificate *tls.Certificate, token string, edits ...func(*http.Request)) *testgateway.Reply) {
	t.Helper()
	g = newGateway(t)
	trusted := newCA(t)
	certificate, key := trusted.issue(t, "api")
	g.writeFile(t, "ca.pem", trusted.pem)
	g.Start(t, fmt.Sprintf(`{
	admin %s
	auto_https disable_redirects
%s
}
https://%s {
	bind 127.0.0.1
	log
	tls %s %s {
%s
	}
%s
}
`, g.Admin, as.option("", options...), secureAddress(g), g.writeFile(t, "site.pem", certificate), g.writeFile(t, "site.key", key), clientAuth, site))
	roots := x509.NewCertPool()
	roots.AddCert(trusted.certificate)
	return g, func(t *testing.T, certificate *tls.Certificate, token string, edits ...func(*http.Request)) *testgateway.Reply {
		t.Helper()
		config := &tls.Config{RootCAs: roots}
		if certificate != nil {
			config.Certificates = []tls.Certificate{*certificate}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		request := testgateway.Request(t, http.MethodGet, "https://"+secureAddress(g)+"/", token)
		for _, edit := range edits {
			edit(request)
		}
		g.Guard(token)
		response, err := client.Do(request)
		require.NoError(t, err)
		got, err := testgateway.Read(response)
		require.NoError(t, err)
		return got
	}
}

// secureAddress names the site as its certificate does: Caddy holds whoever may show a certificate to the name of the site.
func secureAddress(g *gateway) string {
	return strings.Replace(g.address, "127.0.0.1", "localhost", 1)
}

const askForCertificate = "\t\tclient_auth {\n\t\t\tmode request\n\t\t}"

// A token that is bound to a certificate is worth nothing on a connection without it.
func TestStolenCertificateBoundTokens(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	own, other := clientCertificate(t, "own"), clientCertificate(t, "other")
	_, ask := secureSite(t, as, "introspect\n"+app.Proxy(), askForCertificate)
	const bound, plain, both = "token-of-a-certificate", "token-of-nothing-at-all", "token-of-a-certificate-and-a-key"
	as.on(bound, active(claims{"sub": "alice", "cnf": boundTo(own)}))
	as.on(plain, active(nil))
	sha1 := "token-of-a-weak-thumbprint"
	as.on(sha1, active(claims{"cnf": claims{"x5t": boundTo(own)["x5t#S256"]}}))
	key := testdpop.NewKey(t)
	as.on(both, active(claims{"cnf": claims{"x5t#S256": boundTo(own)["x5t#S256"], "jkt": key.JKT()}}))
	forged := func(certificate *tls.Certificate) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Client-Cert", clientCert(certificate)) }
	}

	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		token       string
		edits       []func(*http.Request)
		status      int
	}{
		{"H01 H03 with its certificate, which nobody vouches for", own, bound, nil, 200},
		{"H01 with another one", other, bound, nil, 401},
		{"H01 without any", nil, bound, nil, 401},
		{"H05 without any, and a forged header", nil, bound, []func(*http.Request){forged(own)}, 401},
		{"H05 with another one, and a forged header", other, bound, []func(*http.Request){forged(own)}, 401},
		{"H05 with its certificate, and a header of another one", own, bound, []func(*http.Request){forged(other)}, 200},
		{"H02 bound by a thumbprint that is not understood", own, sha1, nil, 401},
		{"H01 bound to nothing, without a certificate", nil, plain, nil, 200},
		{"H01 bound to nothing, with a certificate", own, plain, nil, 200},
		{"D15 bound to a key too, without a proof", own, both, nil, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			app.Take()
			got := ask(t, c.certificate, c.token, c.edits...)
			assert.Equal(t, c.status, got.Status)
			seen := app.Take()
			if c.status == http.StatusOK {
				require.Len(t, seen, 1)
				assert.Empty(t, seen[0].Header["Client-Cert"], "H07")
				return
			}
			assert.Empty(t, seen)
			assert.Equal(t, challengeInvalidToken, got.Challenge(t))
		})
	}
	t.Run("D15 bound to a key too, with a proof", func(t *testing.T) {
		prove := func(r *http.Request) {
			r.Header.Set("Authorization", "DPoP "+both)
			r.Header["DPoP"] = []string{key.Proof(t, http.MethodGet, r.URL.String(), testdpop.Token(both))}
		}
		assert.Equal(t, http.StatusUnauthorized, ask(t, other, both, prove).Status)
		assert.Equal(t, http.StatusOK, ask(t, own, both, prove).Status)
	})
}

func TestMTLSRequired(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	own := clientCertificate(t, "own")
	_, ask := secureSite(t, as, "introspect {\nmtls required\n}\n"+app.Proxy(), askForCertificate)
	const bound, plain = "token-of-a-certificate", "token-of-nothing-at-all"
	as.on(bound, active(claims{"cnf": boundTo(own)}))
	as.on(plain, active(nil))
	assert.Equal(t, http.StatusOK, ask(t, own, bound).Status)
	got := ask(t, own, plain)
	assert.Equal(t, http.StatusUnauthorized, got.Status, "H01")
	assert.Equal(t, []string{challengeInvalidToken}, got.Header["Www-Authenticate"])
	assert.Equal(t, []string{challengeNoToken}, ask(t, own, "").Header["Www-Authenticate"])
}

// A site that asks nobody for a certificate refuses the tokens that are bound to one.
func TestH04_ASiteThatAsksForNoCertificate(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	own := clientCertificate(t, "own")
	g, ask := secureSite(t, as, "introspect\n"+app.Proxy(), "")
	const bound = "token-of-a-certificate"
	as.on(bound, active(claims{"cnf": boundTo(own)}))
	assert.Equal(t, http.StatusUnauthorized, ask(t, own, bound).Status)
	g.Await(t, "the client has shown none, if it was asked for one")
}

// A client that would resume a session without sending its certificate again is the same client still.
func TestH10_AClientThatComesBack(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	own := clientCertificate(t, "own")
	g, _ := secureSite(t, as, "introspect\n"+app.Proxy(), askForCertificate)
	const bound = "token-of-a-certificate"
	as.on(bound, active(claims{"cnf": boundTo(own)}))
	// Whose certificate the server has does not matter here.
	config := &tls.Config{Certificates: []tls.Certificate{*own}, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for range 2 {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		response, err := client.Do(testgateway.Request(t, http.MethodGet, "https://"+secureAddress(g)+"/", bound))
		require.NoError(t, err)
		got, err := testgateway.Read(response)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, got.Status)
	}
}

// Where TLS ends at a proxy, the proxy says whose certificate it has seen, and nobody else does.
func TestClientCertOfAProxy(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	trusting, strict := newGateway(t), newGateway(t)
	const servers = "servers {\ntrusted_proxies static 127.0.0.1/32\n}\n"
	trusting.Start(t, trusting.caddyfile(servers+as.option(""), "introspect\n"+app.Proxy()))
	strict.Start(t, strict.caddyfile(as.option(""), "introspect\n"+app.Proxy()))
	own, other := clientCertificate(t, "own"), clientCertificate(t, "other")
	const bound = "token-of-a-certificate"
	as.on(bound, active(claims{"cnf": boundTo(own)}))
	der := own.Certificate[0]
	pem := string(pemOf("CERTIFICATE", der))

	for _, c := range []struct {
		name   string
		lines  []string
		status int
	}{
		{"H05 the certificate", []string{clientCert(own)}, 200},
		{"H05 another certificate", []string{clientCert(other)}, 401},
		{"H05 none", nil, 401},
		{"H06 an empty line", []string{""}, 401},
		{"H06 two lines", []string{clientCert(own), clientCert(own)}, 401},
		{"H06 two lines, the other one first", []string{clientCert(other), clientCert(own)}, 401},
		{"H06 a list", []string{clientCert(own) + ", " + clientCert(other)}, 401},
		{"H06 a parameter", []string{clientCert(own) + ";x=1"}, 401},
		{"H06 without colons", []string{base64.StdEncoding.EncodeToString(der)}, 401},
		{"H06 base64url", []string{":" + base64.URLEncoding.EncodeToString(der) + "_:"}, 401},
		{"H06 not base64", []string{":x:"}, 401},
		{"H06 PEM, escaped", []string{fmt.Sprintf("%q", pem)}, 401},
		{"H02 the thumbprint itself", []string{fmt.Sprint(boundTo(own)["x5t#S256"])}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			for g, status := range map[*gateway]int{trusting: c.status, strict: http.StatusUnauthorized} {
				app.Take()
				request := g.request(t, t.Context(), "/", bound)
				request.Header["Client-Cert"] = c.lines
				got := testgateway.Send(t, request)
				assert.Equal(t, status, got.Status)
				if status != http.StatusOK {
					assert.Equal(t, challengeInvalidToken, got.Challenge(t))
					assert.Empty(t, app.Take())
					continue
				}
				assert.Empty(t, app.One(t, "/").Header["Client-Cert"], "H07")
			}
		})
	}
	assert.Len(t, as.asked(bound), 2, "once for each gateway: certificates are judged on every request")
}
