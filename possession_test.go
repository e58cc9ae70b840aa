package portcullis_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis"
	"github.com/portcullis-gateway/portcullis/internal/testdpop"
)

// A response with a nonce has one, and no cache keeps it for the next client.
func TestG16_ANonceThatIsHandedOutWithAResponse(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter){
		"status":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) },
		"body":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"flushed": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			w := portcullis.NewNonceWriter(recorder, "nonce-of-the-gateway")
			w.Header()["Dpop-Nonce"] = []string{"one of the backend", "another"}
			w.Header()["Cache-Control"] = []string{"public, max-age=60"}
			write(w)
			assert.Equal(t, []string{"nonce-of-the-gateway"}, recorder.Header()["Dpop-Nonce"])
			assert.Equal(t, []string{"no-store"}, recorder.Header()["Cache-Control"])
		})
	}
}

func TestG06_TheURLOfARequest(t *testing.T) {
	for _, tc := range []struct {
		name, target string
		tls, trusted bool
		proto        []string
		want         string
	}{
		{"http", "/a?x=1", false, false, nil, "http://example.com/a"},
		{"https", "/a", true, false, nil, "https://example.com/a"},
		{"escapes stay", "/a%2Fb%20c", true, false, nil, "https://example.com/a%2Fb%20c"},
		{"a stranger says https", "/", false, false, []string{"https"}, "http://example.com/"},
		{"a stranger says http", "/", true, false, []string{"http"}, "https://example.com/"},
		{"a proxy says https", "/", false, true, []string{"https"}, "https://example.com/"},
		{"a proxy says http", "/", true, true, []string{"http"}, "http://example.com/"},
		{"a proxy says nothing", "/", true, true, nil, "https://example.com/"},
		{"a proxy adds a line of its own", "/", false, true, []string{"http", "https"}, "https://example.com/"},
		{"a proxy says HTTPS", "/", false, true, []string{"HTTPS"}, "https://example.com/"},
		{"a proxy passes on what is no scheme", "/", false, true, []string{"https://evil.example/?"}, "http://example.com/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, tc.target, nil)
			r.Host, r.TLS = "example.com", nil
			if tc.tls {
				r.TLS = new(tls.ConnectionState)
			}
			r.Header["X-Forwarded-Proto"] = tc.proto
			r = prepare(r, httptest.NewRecorder())
			caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, tc.trusted)
			r.Method, r.URL.Path, r.URL.RawPath = http.MethodPost, "/rewritten", ""
			method, target := portcullis.TargetOf(r)
			assert.Equal(t, http.MethodGet, method)
			assert.Equal(t, tc.want, target)
		})
	}
}

func FuzzParseBinary(f *testing.F) {
	f.Add(":AQID:")
	f.Add(" :AQI=: ")
	f.Add("::")
	f.Add(":AQID")
	f.Fuzz(func(t *testing.T, text string) {
		value, ok := portcullis.ParseBinary(text)
		if !ok {
			return
		}
		again, ok := portcullis.ParseBinary(":" + base64.StdEncoding.EncodeToString(value) + ":")
		assert.True(t, ok)
		assert.Equal(t, value, again)
	})
}

// What proofs and certificates cost, beside a bearer token.
func BenchmarkPossession(b *testing.B) {
	key := testdpop.NewKey(b)
	certificate := make([]byte, 600)
	forwarded := ":" + base64.StdEncoding.EncodeToString(certificate) + ":"
	hash := sha256.Sum256(certificate)
	thumbprint := base64.RawURLEncoding.EncodeToString(hash[:])
	for _, bench := range []struct {
		name, cnf, scheme string
		prepare           func(r *http.Request)
	}{
		{"bearer", `null`, "Bearer", func(*http.Request) {}},
		{"certificate", fmt.Sprintf(`{"x5t#S256":%q}`, thumbprint), "Bearer", func(r *http.Request) {
			r.Header["Client-Cert"] = []string{forwarded}
		}},
		{"dpop", fmt.Sprintf(`{"jkt":%q}`, key.JKT()), "DPoP", func(r *http.Request) {
			r.Header["Dpop"] = []string{key.Proof(b, http.MethodGet, "http://example.com/", testdpop.Token("t"))}
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			g := newGateway(b, fmt.Sprintf(`{"active":true,"username":"alice","scope":"a","cnf":%s}`, bench.cnf), ``)
			done := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header["Authorization"] = []string{bench.scheme + " t"}
				bench.prepare(r)
				w := httptest.NewRecorder()
				r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
				caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
				b.StartTimer()
				require.NoError(b, g.ServeHTTP(w, r, done))
			}
		})
	}
}
