package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testdpop"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// tlsConfig is that of a client which trusts a gateway's ca.pem, and has certificates.
func (g *gateway) tlsConfig(t *testing.T, certificates ...*tls.Certificate) *tls.Config {
	t.Helper()
	authority, err := os.ReadFile(g.Dir + "/ca.pem")
	require.NoError(t, err)
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	require.True(t, config.RootCAs.AppendCertsFromPEM(authority))
	for _, certificate := range certificates {
		config.Certificates = append(config.Certificates, *certificate)
	}
	return config
}

// transports are clients over TLS, by the version of HTTP that they speak and no other.
func (g *gateway) transports(t *testing.T, certificates ...*tls.Certificate) map[string]http.RoundTripper {
	t.Helper()
	first := &http.Transport{TLSClientConfig: g.tlsConfig(t, certificates...), Protocols: new(http.Protocols)}
	first.Protocols.SetHTTP1(true)
	second := &http.Transport{TLSClientConfig: g.tlsConfig(t, certificates...), Protocols: new(http.Protocols)}
	second.Protocols.SetHTTP2(true)
	third := &http3.Transport{TLSClientConfig: g.tlsConfig(t, certificates...)}
	t.Cleanup(func() {
		first.CloseIdleConnections()
		second.CloseIdleConnections()
		_ = third.Close()
	})
	return map[string]http.RoundTripper{"HTTP/1.1": first, "HTTP/2.0": second, "HTTP/3.0": third}
}

// webSocket3 opens a WebSocket over HTTP/3 (RFC 9220), on which nothing more is said once both sides have heard each other.
func (g *gateway) webSocket3(t *testing.T, transport http.RoundTripper, url, token string) *open {
	t.Helper()
	g.Guard(token)
	body, frames := io.Pipe()
	t.Cleanup(func() { _ = frames.Close() })
	request := testgateway.Request(t, http.MethodConnect, url, token)
	request.Proto, request.Body, request.ContentLength = "websocket", body, -1
	request.Header.Set("Sec-WebSocket-Version", "13")
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	_, err = io.WriteString(frames, "\x81\x85\x00\x00\x00\x00hello") // a text, masked by nothing
	require.NoError(t, err)
	const answer = "\x81\x11nobody says hello"
	heard := make([]byte, len(answer))
	_, err = io.ReadFull(response.Body, heard)
	require.NoError(t, err)
	require.Equal(t, answer, string(heard))
	o := &open{ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		rest, err := io.ReadAll(response.Body)
		o.rest, o.err = string(rest), err
	}()
	return o
}

// Over TLS, and over HTTP/3, streams end with their tokens as they do without, and never look as if they were whole.
func TestK10StreamsOverTLSEndWithTheirTokens(t *testing.T) {
	t.Parallel()
	as, app, sockets := newAuthority(t), newStreamer(t), startWebSockets(t)
	g, _ := secureSite(t, as, "introspect\nreverse_proxy /ws/* "+sockets+"\n"+app.proxy(), "", "cache {\nrevalidate 500ms\n}")
	transports, site := g.transports(t), "https://"+secureAddress(g)
	openers := map[string]func(t *testing.T, name, token string) *open{
		"WebSocket": func(t *testing.T, name, token string) *open {
			t.Helper()
			return g.webSocketAt(t, strings.Replace(site, "https", "wss", 1)+"/ws/"+name, token, "SSL_CERT_FILE="+g.Dir+"/ca.pem")
		},
		"WebSocket over HTTP/3": func(t *testing.T, name, token string) *open {
			t.Helper()
			return g.webSocket3(t, transports["HTTP/3.0"], site+"/ws/"+name, token)
		},
	}
	for version, transport := range transports {
		openers["event stream over "+version] = func(t *testing.T, name, token string) *open {
			t.Helper()
			g.Guard(token)
			return reading(t, transport, testgateway.Request(t, http.MethodGet, site+"/events/"+name, token))
		}
	}
	t.Run("streams", func(t *testing.T) {
		n := 0
		for kind, begin := range openers {
			for name, end := range map[string]func(t *testing.T, token string){
				"expired": func(*testing.T, string) {},
				"purged": func(t *testing.T, token string) {
					t.Helper()
					require.Equal(t, http.StatusOK, g.purge(t, fmt.Sprintf(`{"token":%q}`, token)).Status)
				},
				"revoked": func(t *testing.T, token string) {
					t.Helper()
					as.on(token, says(claims{"active": false}))
					asked := len(as.asked(token))
					require.Eventually(t, func() bool { return len(as.asked(token)) > asked }, patience, tick, "nobody asks about an open stream")
				},
			} {
				n++
				place, token := fmt.Sprint(n), fmt.Sprintf("token-of-secure-stream-%d", n)
				t.Run(kind+", "+name, func(t *testing.T) {
					t.Parallel()
					members, expiry := claims{}, time.Now().Add(4*time.Second).Truncate(time.Second)
					if name == "expired" {
						members["exp"] = expiry.Unix()
					}
					as.on(token, active(members))
					stream := begin(t, place, token)
					end(t, token)
					since := time.Now()
					if name == "expired" {
						since = expiry
					}
					ended := stream.ends(t)
					assert.Less(t, ended.Sub(since), promptly)
					if name == "expired" {
						assert.False(t, ended.Before(expiry), "it ended before its token")
					}
					if kind == "WebSocket" {
						return
					}
					assert.Empty(t, stream.rest)
					assert.Error(t, stream.err, "what is cut off does not look whole")
					if kind == "WebSocket over HTTP/3" {
						return
					}
					select {
					case <-app.at(app.gone, "/events/"+place):
					case <-time.After(patience):
						assert.Fail(t, "the backend does not hear of it")
					}
				})
			}
		}
	})
	for _, why := range []string{"expired", "forgotten", "inactive"} {
		require.Eventually(t, func() bool {
			return strings.Contains(g.Output.String(), `"introspect_ended":"`+why+`"`)
		}, patience, tick, "the access log does not say why: %s", why)
	}
}

// The certificate of a connection counts in every version of HTTP, and that of no other connection.
func TestStolenCertificateBoundTokensInEveryVersionOfHTTP(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	own, other := clientCertificate(t, "own"), clientCertificate(t, "other")
	g, _ := secureSite(t, as, "introspect\n"+app.Proxy(), askForCertificate)
	const bound = "token-of-a-certificate"
	g.Guard(bound)
	as.on(bound, active(claims{"sub": "alice", "cnf": boundTo(own)}))
	for name, test := range map[string]struct {
		transports map[string]http.RoundTripper
		status     int
	}{
		"H01 with its certificate": {g.transports(t, own), http.StatusOK},
		"H01 with another one":     {g.transports(t, other), http.StatusUnauthorized},
		"H01 without any":          {g.transports(t), http.StatusUnauthorized},
	} {
		for version, transport := range test.transports {
			t.Run(name+", "+version, func(t *testing.T) {
				app.Take()
				response, err := transport.RoundTrip(testgateway.Request(t, http.MethodGet, "https://"+secureAddress(g)+"/", bound))
				require.NoError(t, err)
				assert.Equal(t, version, response.Proto)
				got, err := testgateway.Read(response)
				require.NoError(t, err)
				assert.Equal(t, test.status, got.Status)
				if test.status == http.StatusOK {
					assert.Equal(t, "alice", app.One(t, "/").Header.Get("Remote-User"))
					return
				}
				assert.Equal(t, challengeInvalidToken, got.Challenge(t))
				assert.Empty(t, app.Take())
			})
		}
	}
}

// A handler that is not told that its client has gone ends the response as if it were whole. It is no less cut off for that.
func TestWhatIsCutOffDoesNotLookWhole(t *testing.T) {
	t.Parallel()
	as, files := newAuthority(t), t.TempDir()
	const whole = 64 << 20 // more than the buffers on the way
	require.NoError(t, os.WriteFile(files+"/export.csv", make([]byte, whole), 0o600))
	g, _ := secureSite(t, as, `introspect {
		end_at_expiry all
	}
	header {
		-Content-Length
		defer
	}
	root `+files+`
	file_server`, "")
	for version, transport := range g.transports(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			token := "token-of-a-download-over-" + version
			g.Guard(token)
			as.on(token, active(nil))
			response, err := transport.RoundTrip(testgateway.Request(t, http.MethodGet, "https://"+secureAddress(g)+"/export.csv", token))
			require.NoError(t, err)
			defer response.Body.Close()
			require.Equal(t, http.StatusOK, response.StatusCode)
			require.EqualValues(t, -1, response.ContentLength)
			_, err = io.ReadFull(response.Body, make([]byte, 1<<10))
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, g.purge(t, fmt.Sprintf(`{"token":%q}`, token)).Status)
			n, err := io.Copy(io.Discard, response.Body)
			assert.Error(t, err)
			assert.Less(t, n, int64(whole))
		})
	}
}

// A proof counts in every version of HTTP, once in all of them.
func TestStolenDPoPTokensInEveryVersionOfHTTP(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	g, _ := secureSite(t, as, "introspect\n"+app.Proxy(), "")
	victim, thief := newHolder(t, g, as, "token-of-the-victim"), testdpop.NewKey(t)
	g.Guard(victim.token)
	site, transports := "https://"+secureAddress(g)+"/", g.transports(t)
	for version := range transports {
		proof := func(by *testdpop.Key) string { return by.Proof(t, http.MethodGet, site, testdpop.Token(victim.token)) }
		seen := proof(victim.Key)
		get := func(t *testing.T, version, proof string) int {
			t.Helper()
			request := testgateway.Request(t, http.MethodGet, site, "")
			request.Header.Set("Authorization", "DPoP "+victim.token)
			request.Header["DPoP"] = []string{proof}
			response, err := transports[version].RoundTrip(request)
			require.NoError(t, err)
			assert.Equal(t, version, response.Proto)
			got, err := testgateway.Read(response)
			require.NoError(t, err)
			return got.Status
		}
		t.Run("G09 a proof with another key, "+version, func(t *testing.T) {
			assert.Equal(t, http.StatusUnauthorized, get(t, version, proof(thief)))
			assert.Empty(t, app.Take())
		})
		t.Run("G06 a proof for plain HTTP, "+version, func(t *testing.T) {
			assert.Equal(t, http.StatusUnauthorized, get(t, version, victim.proof(t, "/")))
			assert.Empty(t, app.Take())
		})
		require.Equal(t, http.StatusOK, get(t, version, seen))
		assert.Equal(t, "alice", app.One(t, "/").Header.Get("Remote-User"))
		app.Take()
		for other := range transports {
			t.Run("G13 the proof that was seen over "+version+", over "+other, func(t *testing.T) {
				assert.Equal(t, http.StatusUnauthorized, get(t, other, seen))
				assert.Empty(t, app.Take())
			})
		}
	}
}
