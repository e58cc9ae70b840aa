package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// showCache shows in the header X-Cache of a response where the answer came from.
const showCache = "header >X-Cache {http.introspect.cache}\n"

// until asks for a path with a token until the reply is as it should be. It returns that, and those before it.
func (g *gateway) until(t *testing.T, path, token string, want func(*testgateway.Reply) bool) (last *testgateway.Reply, before []*testgateway.Reply) {
	t.Helper()
	require.Eventually(t, func() bool {
		if last != nil {
			before = append(before, last)
		}
		last = g.get(t, path, token)
		return want(last)
	}, patience, tick)
	return last, before
}

func hasStatus(status int) func(*testgateway.Reply) bool {
	return func(got *testgateway.Reply) bool { return got.Status == status }
}

func cameFrom(source string) func(*testgateway.Reply) bool {
	return func(got *testgateway.Reply) bool { return got.Header.Get("X-Cache") == source }
}

func TestRevalidation(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const revalidate, timeout = 500 * time.Millisecond, 2 * time.Second
	options := []string{"retries 0", "timeout 2s", "breaker off"}
	cache := func(line string) []string { return append(options, "cache {\nrevalidate 500ms\n"+line+"\n}") }
	g.Start(t, g.caddyfile(
		as.option("", cache("")...)+
			authorityOption("bound", as.URL+"/bound", cache("stale 1s")...)+
			authorityOption("strict", as.URL+"/strict", cache("stale off")...)+
			authorityOption("off", as.URL+"/off", append(options, "cache {\nrevalidate off\n}")...), `
		introspect /a default
		introspect /fresh default {
			fresh 1h
		}
		introspect /bound bound
		introspect /strict strict
		introspect /off off
		`+showCache+app.Proxy()))

	t.Run("an answer in use is checked, and nobody waits", func(t *testing.T) {
		t.Parallel()
		const token = "token-in-use"
		as.on(token, active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		gate := make(chan struct{})
		as.on(token, as.after(gate, active(nil)))
		_, before := g.until(t, "/a", token, func(*testgateway.Reply) bool { return len(as.asked(token)) == 2 })
		for _, got := range append(before, g.get(t, "/a", token)) {
			assert.Equal(t, http.StatusOK, got.Status)
			assert.Equal(t, "memory", got.Header.Get("X-Cache"))
		}
		assert.Len(t, as.asked(token), 2, "one check for all of them")
		close(gate)
		_, before = g.until(t, "/a", token, func(*testgateway.Reply) bool { return len(as.asked(token)) == 3 })
		for _, got := range before {
			assert.Equal(t, "memory", got.Header.Get("X-Cache"))
		}
	})
	t.Run("a revoked token is refused in time", func(t *testing.T) {
		t.Parallel()
		const token = "token-in-use-that-is-revoked"
		as.on(token, active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		as.on(token, says(claims{"active": false}))
		revoked := time.Now()
		var sent time.Time // the last request that passed
		require.Eventually(t, func() bool {
			began := time.Now()
			if g.get(t, "/a", token).Status == http.StatusUnauthorized {
				return true
			}
			sent = began
			return false
		}, patience, tick)
		assert.Less(t, sent.Sub(revoked), 2*revalidate+timeout)
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/a", token).Status, "and from then on")
	})
	t.Run("a revoked token that was idle is refused at once, by all who ask", func(t *testing.T) {
		t.Parallel()
		const token = "token-that-was-idle"
		as.on(token, active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		gate := make(chan struct{})
		as.on(token, as.after(gate, says(claims{"active": false})))
		asked := time.Now()
		require.Eventually(t, func() bool { return time.Since(asked) > 2*revalidate }, patience, tick)
		var replies []<-chan *testgateway.Reply
		for range 16 {
			replies = append(replies, g.send(t, t.Context(), "/a", token))
		}
		require.Eventually(t, func() bool { return len(as.asked(token)) == 2 }, patience, tick)
		close(gate)
		for _, pending := range replies {
			assert.Equal(t, http.StatusUnauthorized, receive(t, pending).Status)
		}
		assert.Len(t, as.asked(token), 2)
	})
	t.Run("D24 what cannot be confirmed serves as stale, but not where it has to be fresh", func(t *testing.T) {
		t.Parallel()
		const token = "token-of-an-outage"
		as.on(token, active(claims{"username": "alice"}))
		require.Equal(t, http.StatusOK, g.get(t, "/fresh", token).Status)
		as.on(token, hangsUp)
		got, before := g.until(t, "/a", token, cameFrom("stale"))
		for _, got := range append(before, got) {
			assert.Equal(t, http.StatusOK, got.Status)
			assert.Contains(t, got.Body, "alice")
		}
		calls := len(as.asked(token))
		refused := g.get(t, "/fresh", token)
		assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
		assert.NotEmpty(t, refused.Header.Get("Retry-After"))
		assert.Len(t, as.asked(token), calls+1, "it asks for itself")
		assert.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)

		as.on(token, active(claims{"username": "alice"}))
		assert.Equal(t, http.StatusOK, g.get(t, "/fresh", token).Status)
		assert.Equal(t, "memory", g.get(t, "/a", token).Header.Get("X-Cache"))
	})
	t.Run("D24 stale has a bound", func(t *testing.T) {
		t.Parallel()
		const token = "token-of-a-long-outage"
		as.on(token, active(nil))
		asked := time.Now()
		require.Equal(t, http.StatusOK, g.get(t, "/bound", token).Status)
		as.on(token, hangsUp)
		_, before := g.until(t, "/bound", token, hasStatus(http.StatusServiceUnavailable))
		assert.GreaterOrEqual(t, time.Since(asked), revalidate+time.Second)
		require.NotEmpty(t, before)
		assert.Equal(t, "stale", before[len(before)-1].Header.Get("X-Cache"))
		assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/bound", token).Status)
		as.on(token, active(nil))
		assert.Equal(t, http.StatusOK, g.get(t, "/bound", token).Status)
	})
	t.Run("D24 stale off", func(t *testing.T) {
		t.Parallel()
		const token = "token-of-a-strict-route"
		as.on(token, active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/strict", token).Status)
		as.on(token, hangsUp)
		g.until(t, "/strict", token, hasStatus(http.StatusServiceUnavailable))
		as.on(token, active(nil))
		assert.Equal(t, http.StatusOK, g.get(t, "/strict", token).Status)
	})
	t.Run("D19 what is stale ends at its exp", func(t *testing.T) {
		t.Parallel()
		const token = "token-of-an-outage-that-ends"
		exp := time.Now().Unix() + 6
		as.on(token, active(claims{"exp": exp}))
		require.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		as.on(token, hangsUp)
		g.until(t, "/a", token, func(got *testgateway.Reply) bool { return got.Header.Get("X-Cache") == "stale" })
		g.until(t, "/a", token, hasStatus(http.StatusServiceUnavailable))
		assert.GreaterOrEqual(t, time.Now().Unix(), exp)
	})
	t.Run("revalidate off", func(t *testing.T) {
		t.Parallel()
		const token, other = "token-that-is-not-checked", "token-that-is-checked"
		as.on(token, active(nil))
		as.on(other, active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/off", token).Status)
		require.Equal(t, http.StatusOK, g.get(t, "/a", other).Status)
		g.until(t, "/a", other, func(got *testgateway.Reply) bool {
			assert.Equal(t, "memory", g.get(t, "/off", token).Header.Get("X-Cache"))
			return len(as.asked(other)) > 3
		})
		assert.Len(t, as.asked(token), once)
	})
}

func TestFresh(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/slow", as.hangs())
	g.Start(t, g.caddyfile(
		as.option("", "retries 0", "breaker off")+authorityOption("slow", as.URL+"/slow", "timeout 200ms"), `
		introspect /a* default
		introspect /a/now default {
			fresh 0s
		}
		introspect /now default {
			fresh 0s
		}
		introspect /hour* default {
			fresh 1h
		}
		introspect /hour/ten default {
			fresh 10s
		}
		introspect /second default {
			fresh 1s
		}
		introspect /slow slow {
			fresh 0s
		}
		`+showCache+app.Proxy()))

	t.Run("D20 fresh 0s asks on every request", func(t *testing.T) {
		const token = "token-for-payments"
		as.on(token, active(nil))
		for i := range 3 {
			got := g.get(t, "/now", token)
			assert.Equal(t, http.StatusOK, got.Status)
			assert.Equal(t, "miss", got.Header.Get("X-Cache"))
			assert.Len(t, as.asked(token), i+1)
		}
		assert.Equal(t, "memory", g.get(t, "/a", token).Header.Get("X-Cache"), "which serves others")
		as.on(token, says(claims{"active": false}))
		assert.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/now", token).Status, "a revocation is seen at once")
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/a", token).Status, "by others, too")
		assert.Len(t, as.asked(token), 4)
	})
	t.Run("fresh 0s joins no call that began before", func(t *testing.T) {
		const token = "token-revoked-on-the-way"
		gate := make(chan struct{})
		as.on(token, as.after(gate, active(nil)))
		before := g.send(t, t.Context(), "/now", token)
		require.Eventually(t, func() bool { return len(as.asked(token)) == once }, patience, tick)
		as.on(token, says(claims{"active": false}))
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/now", token).Status)
		assert.Len(t, as.asked(token), 2)
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, before).Status, "it was asked for before")
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/a", token).Status, "and is not remembered in place of the younger one")
		assert.Len(t, as.asked(token), 2)
	})
	t.Run("two directives on one request ask once if the answer is young enough for both", func(t *testing.T) {
		const token = "token-of-two-directives"
		as.on(token, active(nil))
		for i, path := range []string{"/hour/ten", "/a/now", "/a/now"} {
			require.Equal(t, http.StatusOK, g.get(t, path, token).Status)
			assert.Len(t, as.asked(token), i+1, path)
		}
		require.Equal(t, http.StatusOK, g.get(t, "/hour/ten", token).Status)
		assert.Len(t, as.asked(token), 3, "it is younger than ten seconds")
		as.on(token, says(claims{"active": false}))
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/a/now", token).Status, "the stricter one asks for itself")
	})
	t.Run("fresh 1s", func(t *testing.T) {
		const token = "token-of-a-second"
		as.on(token, active(nil))
		asked := time.Now()
		_, _ = g.until(t, "/second", token, func(got *testgateway.Reply) bool {
			assert.Equal(t, http.StatusOK, got.Status)
			return len(as.asked(token)) == 2
		})
		assert.GreaterOrEqual(t, time.Since(asked), time.Second)
		require.Equal(t, http.StatusOK, g.get(t, "/hour", token).Status)
		assert.Len(t, as.asked(token), 2)
	})
	t.Run("D24 fresh while the authority fails", func(t *testing.T) {
		const token = "token-that-cannot-be-asked-about"
		as.on(token, active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		as.on(token, hangsUp)
		got := g.get(t, "/now", token)
		assert.Equal(t, http.StatusServiceUnavailable, got.Status)
		assert.NotEmpty(t, got.Header.Get("Retry-After"))
		assert.Equal(t, challengeNone, got.Challenge(t))
		assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/a/now", token).Status)
		assert.Equal(t, http.StatusOK, g.get(t, "/a", token).Status)
		assert.Equal(t, http.StatusGatewayTimeout, g.get(t, "/slow", "token-for-the-slow-and-fresh").Status)
	})
}
