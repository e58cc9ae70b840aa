package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// An authority that is broken is left alone, and requests that need it are answered at once.
func TestC09TheBreaker(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	config := func(lines ...string) string {
		var global, site strings.Builder
		for _, c := range []struct{ name, breaker string }{
			{"default", ""},
			{"long", "breaker 3 1h"},
			{"short", "breaker 3 500ms"},
			{"off", "breaker off"},
			{"strict", "breaker 1 1h"},
		} {
			lines := append([]string{"retries 0", "cache off", c.breaker}, lines...)
			global.WriteString(authorityOption(c.name, as.URL+"/"+c.name, lines...))
			fmt.Fprintf(&site, "introspect /%s %s\n", c.name, c.name)
		}
		return g.caddyfile(global.String(), site.String()+app.Proxy())
	}
	tokens := 0
	// ask asks with a token that nobody has used, and tells whether the authority was asked.
	ask := func(t *testing.T, name string) (status int, asked bool) {
		t.Helper()
		tokens++
		got := g.get(t, "/"+name, canary(tokens))
		assert.Equal(t, challengeNone, got.Challenge(t))
		assert.Equal(t, got.Status == http.StatusServiceUnavailable, got.Header.Get("Retry-After") != "")
		return got.Status, len(as.asked(canary(tokens))) > 0
	}
	asks := func(t *testing.T, name string, status, times int) {
		t.Helper()
		for range times {
			got, asked := ask(t, name)
			require.Equal(t, status, got)
			require.True(t, asked)
		}
	}
	asksNot := func(t *testing.T, name string) {
		t.Helper()
		got, asked := ask(t, name)
		require.Equal(t, http.StatusServiceUnavailable, got)
		require.False(t, asked)
	}
	failing := sends(500, "", "")
	g.Start(t, config())

	t.Run("five failures open it by default", func(t *testing.T) {
		as.on("/default", failing)
		asks(t, "default", 503, 5)
		asksNot(t, "default")
	})
	t.Run("it survives a reload", func(t *testing.T) {
		as.on("/long", hangsUp)
		asks(t, "long", 503, 3)
		asksNot(t, "long")
		as.on("/long", active(nil))
		g.reload(t, config("timeout 3s"))
		asksNot(t, "long")
		assert.Contains(t, g.Await(t, "3 calls in a row have failed"), "authority long")
	})
	t.Run("off", func(t *testing.T) {
		as.on("/off", failing)
		asks(t, "off", 503, 20)
	})
	t.Run("one token that makes the authority fail shuts out nobody else", func(t *testing.T) {
		as.on("/strict", active(nil))
		as.on("token-of-poison", failing)
		as.on("token-of-poison-2", failing)
		for range 10 {
			require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/strict", "token-of-poison").Status)
			require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/strict", "token-of-poison-2").Status)
		}
		asks(t, "strict", 200, 1)
	})
	t.Run("what says nothing of the authority's health does not count", func(t *testing.T) {
		as.on("/strict", sends(404, "", ""))
		asks(t, "strict", 502, 10)
		as.on("/strict", sends(429, "", ""))
		asks(t, "strict", 503, 10)
		as.on("/strict", saysJSON("[]"))
		asks(t, "strict", 502, 10)
	})
	t.Run("one call is let through to see, and no stampede", func(t *testing.T) {
		as.on("/short", failing)
		asks(t, "short", 503, 3)
		entered, gate := make(chan struct{}, 1000), make(chan struct{})
		as.on("/short", func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			as.after(gate, active(nil))(w, r)
		})
		var probe <-chan *testgateway.Reply
		require.Eventually(t, func() bool {
			tokens++
			pending := g.send(t, t.Context(), "/short", canary(tokens))
			select {
			case got := <-pending:
				assert.Equal(t, http.StatusServiceUnavailable, got.Status)
				return false
			case <-entered:
				probe = pending
				return true
			}
		}, patience, tick)
		for range 20 {
			asksNot(t, "short")
		}
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, probe).Status)
		asks(t, "short", 200, 5)
	})
}

// An authority that does not know the gateway is not told more tokens, and not asked until its lockout comes.
func TestB16ThePauseAfterTheCredentialsWereRefused(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const wrong = "wrong-secret-3pLm"
	g.GuardClient(gatewayID, gatewaySecret)
	g.GuardClient(gatewayID, wrong)
	as.on("/introspect", takesOnly(testgateway.Basic(gatewayID, gatewaySecret), active(nil)))
	right := g.caddyfile(authorityOption("", as.URL+"/introspect"), "introspect\n"+app.Proxy())
	g.Start(t, strings.Replace(right, gatewaySecret, wrong, 1))
	refused := func(token string, asked int) {
		t.Helper()
		got := g.get(t, "/", token)
		require.Equal(t, http.StatusBadGateway, got.Status)
		require.Empty(t, got.Header.Get("Retry-After"))
		require.Equal(t, challengeNone, got.Challenge(t))
		require.Len(t, as.asked(token), asked)
	}
	for i := range 5 {
		refused("token-the-same", i+1)
	}
	refused("token-another", once)
	refused("token-unheard", 0)
	refused("token-the-same", 5)
	assert.Contains(t, g.Await(t, "not asked again for"), "refuses the gateway's own credentials")

	g.reload(t, right)
	require.Equal(t, http.StatusOK, g.get(t, "/", "token-unheard").Status)
	require.Equal(t, http.StatusOK, g.get(t, "/", "token-another").Status)
}
