package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// from sends a request from a loopback address of its own, with further header lines.
func (g *gateway) from(t *testing.T, address, token string, headers ...string) *testgateway.Reply {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	request := g.request(t, t.Context(), "/", token)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	require.NoError(t, err)
	reply, err := testgateway.Read(response)
	require.NoError(t, err)
	return reply
}

// Somebody tries tokens as fast as possible, from one address.
func TestK15AFloodOfUnknownTokensFromOneAddress(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	config := func(lines ...string) string {
		return g.caddyfile(as.option("", append(lines, "unknown_tokens 5 1h")...), "introspect\n"+app.Proxy())
	}
	g.Start(t, config())
	const mallory, alice, guess = "127.0.0.66", "127.0.0.1", "token-guessed-8Rk"
	g.Guard(guess)
	var calls atomic.Int64
	as.on("/", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		says(claims{"active": false})(w, r)
	})
	const good, another, hers = "token-of-mallory", "token-of-mallory-too", "token-of-alice"
	for _, token := range []string{good, another, hers} {
		as.on(token, active(nil))
	}
	require.Equal(t, http.StatusOK, g.from(t, mallory, good).Status)

	var limited atomic.Int64
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 25 {
				switch got := g.from(t, mallory, fmt.Sprintf("%s-%d-%d", guess, worker, i)); got.Status {
				case http.StatusTooManyRequests:
					limited.Add(1)
					seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
					assert.NoError(t, err)
					assert.InDelta(t, 700, seconds, 21, "an hour has five")
					assert.Equal(t, challengeNone, got.Challenge(t))
					assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
				default:
					assert.Equal(t, http.StatusUnauthorized, got.Status)
				}
			}
		})
	}
	group.Wait()
	assert.EqualValues(t, 5, calls.Load())
	assert.EqualValues(t, 195, limited.Load())
	assert.InDelta(t, 195, g.metrics(t)[`requests_total{authority="default",outcome="limited"}`], 0)

	t.Run("others go on", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, g.from(t, alice, hers).Status)
		assert.Equal(t, http.StatusUnauthorized, g.from(t, alice, "token-mistyped").Status)
	})
	t.Run("good tokens that are remembered go on, from this address too", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, g.from(t, mallory, good).Status)
		assert.Equal(t, http.StatusOK, g.from(t, mallory, hers).Status)
		assert.Equal(t, http.StatusTooManyRequests, g.from(t, mallory, another).Status, "nobody knows that it is good")
		assert.Empty(t, as.asked(another))
	})
	t.Run("attack: the headers of the client say that it is somebody else", func(t *testing.T) {
		for i, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Cf-Connecting-Ip", "True-Client-Ip", "Client-Ip"} {
			value := map[bool]string{true: "for=192.0.2.1", false: "192.0.2.1"}[header == "Forwarded"]
			assert.Equal(t, http.StatusTooManyRequests, g.from(t, mallory, fmt.Sprint(guess, "-spoofed-", i), header, value).Status, header)
		}
	})
	t.Run("a reload forgives nothing", func(t *testing.T) {
		g.reload(t, config("timeout 3s"))
		assert.Equal(t, http.StatusTooManyRequests, g.from(t, mallory, guess+"-after-the-reload").Status)
		require.Equal(t, http.StatusBadRequest, g.Load(t, config("tiemout 3s")).Status)
		assert.Equal(t, http.StatusTooManyRequests, g.from(t, mallory, guess+"-after-the-failed-reload").Status)
		assert.Equal(t, http.StatusOK, g.from(t, mallory, good).Status)
	})
	t.Run("observed, it is only counted", func(t *testing.T) {
		g.reload(t, g.caddyfile(as.option("", "unknown_tokens 5 1h"), "introspect {\nobserve\n}\n"+app.Proxy()))
		assert.Equal(t, http.StatusOK, g.from(t, mallory, guess+"-observed").Status)
		assert.InDelta(t, 1, g.metrics(t)[`requests_total{authority="default",outcome="would_be_limited"}`], 0)
	})
}

// Behind a proxy that is trusted, the client is whom the proxy names.
func TestK15UnknownTokensBehindAProxy(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile("servers {\n\ttrusted_proxies static 127.0.0.1/32\n\ttrusted_proxies_strict\n}\n"+as.option("", "unknown_tokens 2 1h"),
		"introspect\n"+app.Proxy()))
	count := 0
	try := func(forwarded string) int {
		count++
		return g.from(t, "127.0.0.1", fmt.Sprint("token-of-a-stranger-", count), "X-Forwarded-For", forwarded).Status
	}
	for range 2 {
		require.Equal(t, http.StatusUnauthorized, try("192.0.2.66"))
	}
	for _, c := range []struct {
		name, forwarded string
		status          int
	}{
		{"the address that has tried", "192.0.2.66", 429},
		{"attack: it puts another one before its own", "192.0.2.1, 192.0.2.66", 429},
		{"attack: it spells its own as IPv6", "::ffff:192.0.2.66", 429},
		{"another address", "192.0.2.67", 401},
		{"an IPv6 address", "2001:db8:1:2::1", 401},
		{"another one of its network", "2001:db8:1:2::2", 401},
		{"attack: a third one of its network", "2001:db8:1:2:ffff::3", 429},
		{"the network beside it", "2001:db8:1:3::1", 401},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.status, try(c.forwarded)) })
	}
	t.Run("attack: a client that is no proxy", func(t *testing.T) {
		for i := range 10 {
			want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[i < 2]
			assert.Equal(t, want, g.from(t, "127.0.0.9", fmt.Sprint("token-of-no-proxy-", i), "X-Forwarded-For", fmt.Sprint("198.51.100.", i)).Status)
		}
	})
}

// The embedded server is asked no more often.
func TestK15UnknownTokensAtTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Start(t, s.caddyfile(s.option(), "authorization_server\nintrospect {\n\tembedded\n\tunknown_tokens 2 1h\n}\n"+app.Proxy()))
	known := s.token(t, "")
	require.Equal(t, http.StatusOK, s.get(t, "/", known).Status)
	for i := range 5 {
		want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[i < 2]
		assert.Equal(t, want, s.get(t, "/", fmt.Sprint("pat_guessed-at-the-embedded-server-", i)).Status)
	}
	assert.Equal(t, http.StatusOK, s.get(t, "/", known).Status)
}
