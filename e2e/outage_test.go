package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// crowd counts the calls that are under way at an authority.
type crowd struct{ now, most, calls atomic.Int64 }

// counts counts an answer.
func (c *crowd) counts(give answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		c.calls.Add(1)
		now := c.now.Add(1)
		defer c.now.Add(-1)
		for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
		}
		give(w, r)
	}
}

// takes answers after a while, as a server that has work to do.
func takes(while time.Duration, give answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(while):
			give(w, r)
		case <-r.Context().Done():
		}
	}
}

func numbered(name string, count int) []string {
	tokens := make([]string, count)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("%s-%03d", name, i)
	}
	return tokens
}

func TestAnOutage(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const concurrent = 8
	g.Start(t, g.caddyfile(as.option("", "retries 0", "timeout 2s", "breaker 3 1s", fmt.Sprint("max_concurrent ", concurrent),
		"cache {\nrevalidate 1s\n}"), "introspect\n"+showCache+app.Proxy()))
	known := numbered("token-known", 20)
	up := takes(20*time.Millisecond, active(nil))
	as.on("/", up)
	for _, token := range known {
		require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
	}

	// The authority goes down. What is known serves all the time, first unchecked and then as stale, whether the breaker
	// is open or lets somebody through to see.
	as.on("/", hangsUp)
	stale := make(map[string]bool)
	require.Eventually(t, func() bool {
		for _, token := range known {
			got := g.get(t, "/", token)
			assert.Equal(t, http.StatusOK, got.Status)
			if got.Header.Get("X-Cache") == "stale" {
				stale[token] = true
			}
		}
		return len(stale) == len(known)
	}, patience, tick)

	// What is unknown is not asked about once the breaker is open.
	began, before := time.Now(), len(as.asked("/"))
	unknown := numbered("token-unknown", 60)
	for _, token := range unknown {
		got := g.get(t, "/", token)
		assert.Equal(t, http.StatusServiceUnavailable, got.Status, "B15")
		assert.NotEmpty(t, got.Header.Get("Retry-After"), "B15")
		assert.Equal(t, challengeNone, got.Challenge(t), "B15")
	}
	mayProbe := 3 + int(time.Since(began)/time.Second) + 1
	assert.LessOrEqual(t, len(as.asked("/"))-before, mayProbe, "but for three failures, and one look in a second")

	// It comes back, to as many requests as wait for it.
	var c crowd
	as.on("/", c.counts(up))
	var replies []<-chan []int
	for _, token := range append(unknown, known...) {
		statuses := make(chan []int, 1)
		go func() { statuses <- g.insist(t, token) }()
		replies = append(replies, statuses)
	}
	for i, pending := range replies {
		statuses := <-pending
		require.NotEmpty(t, statuses)
		assert.Equal(t, http.StatusOK, statuses[len(statuses)-1], "what could not be asked about is answered again")
		if i >= len(unknown) {
			assert.Len(t, statuses, 1, "and what was known has never been refused")
		}
	}
	assert.LessOrEqual(t, c.most.Load(), int64(concurrent), "the calls under way while it recovers")
	require.Eventually(t, func() bool { return c.now.Load() == 0 }, patience, tick)
	assert.LessOrEqual(t, c.calls.Load(), int64(2*len(unknown)+2*len(known)), "nobody is asked about again and again")
}

// insist asks for the site with a token until it is let in, and returns the statuses that it saw.
func (g *gateway) insist(t *testing.T, token string) (statuses []int) {
	t.Helper()
	assert.Eventually(t, func() bool {
		got, err := testgateway.Try(g.request(t, t.Context(), "/", token))
		if !assert.NoError(t, err) {
			return true
		}
		statuses = append(statuses, got.Status)
		return got.Status == http.StatusOK
	}, patience, tick)
	return statuses
}

// An authority that hangs costs those whose tokens are unknown no time once that is known.
func TestAnAuthorityThatHangsIsLeftAlone(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "retries 0", "timeout 300ms", "breaker 3 1h"), "introspect\n"+app.Proxy()))
	const known = "token-known-before"
	as.on(known, active(nil))
	require.Equal(t, http.StatusOK, g.get(t, "/", known).Status)
	as.on("/", as.hangs())
	for _, token := range numbered("token-that-waits", 3) {
		assert.Equal(t, http.StatusGatewayTimeout, g.get(t, "/", token).Status)
	}
	for _, token := range numbered("token-that-waits-no-more", 20) {
		got := g.get(t, "/", token)
		assert.Equal(t, http.StatusServiceUnavailable, got.Status)
		assert.NotEmpty(t, got.Header.Get("Retry-After"))
		assert.Empty(t, as.asked(token))
		assert.Equal(t, http.StatusOK, g.get(t, "/", known).Status)
	}
}

// Checks in the background leave half of the room to those who wait for an answer.
func TestChecksLeaveRoom(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const concurrent, revalidate = 8, 6 * time.Second
	g.Start(t, g.caddyfile(as.option("", fmt.Sprint("max_concurrent ", concurrent), "timeout 20s", "cache {\nrevalidate 6s\n}"),
		"introspect\n"+showCache+app.Proxy()))
	as.on("/", active(nil))
	began := time.Now()
	tokens := numbered("token-to-be-checked", 30)
	for _, token := range tokens {
		require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
	}
	var c crowd
	gate := make(chan struct{})
	as.on("/", c.counts(as.after(gate, active(nil))))
	round := func() {
		for _, token := range tokens {
			got := g.get(t, "/", token)
			assert.Equal(t, http.StatusOK, got.Status)
			assert.Equal(t, "memory", got.Header.Get("X-Cache"))
		}
	}
	require.Eventually(t, func() bool {
		round()
		return time.Since(began) > revalidate+revalidate/8 && c.now.Load() == concurrent/2
	}, 2*revalidate, tick)
	round()
	require.Less(t, time.Since(began), 2*revalidate, "this machine is too slow for this test")
	assert.EqualValues(t, concurrent/2, c.most.Load())

	const unknown = "token-of-somebody-who-waits"
	as.on(unknown, active(nil))
	assert.Equal(t, http.StatusOK, g.get(t, "/", unknown).Status, "there is room")
	close(gate)
}
