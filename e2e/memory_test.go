package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestRemembering(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "cache {\nnegative_ttl 1s\n}"), `
		introspect /a
		introspect /b scope admin
		introspect /c {
			audience https://api.example.com
		}
		`+app.Proxy()))

	t.Run("an answer is remembered", func(t *testing.T) {
		as.on("token-good", active(nil))
		for range 3 {
			assert.Equal(t, http.StatusOK, g.get(t, "/a", "token-good").Status)
		}
		assert.Len(t, as.asked("token-good"), once)
	})
	t.Run("D12 a decision is not", func(t *testing.T) {
		as.on("token-reader", active(claims{"scope": "read", "aud": "https://other.example.com"}))
		assert.Equal(t, http.StatusOK, g.get(t, "/a", "token-reader").Status)
		assert.Equal(t, http.StatusForbidden, g.get(t, "/b", "token-reader").Status)
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/c", "token-reader").Status)
		assert.Equal(t, http.StatusOK, g.get(t, "/a", "token-reader").Status)
		assert.Len(t, as.asked("token-reader"), once)
	})
	t.Run("D12 a refusal is not either", func(t *testing.T) {
		as.on("token-reader-2", active(claims{"scope": "read"}))
		assert.Equal(t, http.StatusForbidden, g.get(t, "/b", "token-reader-2").Status)
		assert.Equal(t, http.StatusOK, g.get(t, "/a", "token-reader-2").Status)
	})
	t.Run("D19 D04 not at or after exp, when the authority is asked again", func(t *testing.T) {
		as.on("token-short", activeFor(time.Second))
		require.Equal(t, http.StatusOK, g.get(t, "/a", "token-short").Status)
		require.Eventually(t, func() bool {
			return assert.Equal(t, http.StatusOK, g.get(t, "/a", "token-short").Status) && len(as.asked("token-short")) == 2
		}, patience, tick)
	})
	t.Run("D04 D19 an expired token is refused, whatever was remembered", func(t *testing.T) {
		exp := time.Now().Unix() + 2
		as.on("token-ends", active(claims{"exp": exp}))
		require.Equal(t, http.StatusOK, g.get(t, "/a", "token-ends").Status)
		require.Eventually(t, func() bool {
			before := time.Now()
			got := g.get(t, "/a", "token-ends")
			if before.Unix() >= exp {
				assert.Equal(t, http.StatusUnauthorized, got.Status)
			}
			return got.Status == http.StatusUnauthorized
		}, patience, tick)
		assert.GreaterOrEqual(t, time.Now().Unix(), exp, "not before either")
	})
	t.Run("D23 an inactive token is remembered for negative_ttl", func(t *testing.T) {
		require.Equal(t, http.StatusUnauthorized, g.get(t, "/a", "token-early").Status)
		as.on("token-early", active(nil))
		require.Equal(t, http.StatusUnauthorized, g.get(t, "/a", "token-early").Status)
		require.Len(t, as.asked("token-early"), once)
		require.Eventually(t, func() bool {
			return g.get(t, "/a", "token-early").Status == http.StatusOK
		}, patience, tick)
		assert.Len(t, as.asked("token-early"), 2)
	})
	t.Run("D23 a failure is not remembered", func(t *testing.T) {
		as.on("token-unlucky", sends(500, "", ""))
		require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/a", "token-unlucky").Status)
		as.on("token-unlucky", saysJSON(`{}`))
		require.Equal(t, http.StatusBadGateway, g.get(t, "/a", "token-unlucky").Status)
		as.on("token-unlucky", active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/a", "token-unlucky").Status)
	})
	t.Run("D24 an answer serves while the authority fails", func(t *testing.T) {
		as.on("token-lucky", active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/a", "token-lucky").Status)
		as.on("token-lucky", hangsUp)
		require.Equal(t, http.StatusOK, g.get(t, "/a", "token-lucky").Status)
	})
}

func TestTimesToLive(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	hour := time.Now().Add(time.Hour).Unix()
	g.Start(t, g.caddyfile(
		authorityOption("off", as.URL+"/off", "cache off")+
			authorityOption("ttl", as.URL+"/ttl", "cache {\nttl 500ms\n}")+
			authorityOption("default", as.URL+"/default", "cache {\ndefault_ttl 500ms\n}")+
			authorityOption("negative", as.URL+"/negative", "cache {\nnegative_ttl 0s\n}"), `
		introspect /off off
		introspect /ttl ttl
		introspect /default default
		introspect /negative negative
		`+app.Proxy()))

	t.Run("D20 cache off", func(t *testing.T) {
		as.on("/off", active(claims{"exp": hour}))
		require.Equal(t, http.StatusOK, g.get(t, "/off", "token-off").Status)
		as.on("/off", says(claims{"active": false}))
		require.Equal(t, http.StatusUnauthorized, g.get(t, "/off", "token-off").Status)
	})
	t.Run("negative_ttl 0s", func(t *testing.T) {
		require.Equal(t, http.StatusUnauthorized, g.get(t, "/negative", "token-negative").Status)
		as.on("/negative", active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/negative", "token-negative").Status)
	})
	for _, c := range []struct {
		name, path, token string
		answer            answer
	}{
		{"ttl shortens the life of an answer", "/ttl", "token-ttl", active(claims{"exp": hour})},
		{"D07 default_ttl is the life of an answer without exp", "/default", "token-default", active(nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			as.on(c.path, c.answer)
			begin := time.Now()
			require.Equal(t, http.StatusOK, g.get(t, c.path, c.token).Status)
			require.Eventually(t, func() bool {
				return assert.Equal(t, http.StatusOK, g.get(t, c.path, c.token).Status) && len(as.asked(c.path)) == 2
			}, patience, tick)
			assert.GreaterOrEqual(t, time.Since(begin), 500*time.Millisecond)
		})
	}
	t.Run("default_ttl does not shorten the life of an answer with exp", func(t *testing.T) {
		before := len(as.asked("/default"))
		as.on("token-with-exp", active(claims{"exp": hour}))
		require.Equal(t, http.StatusOK, g.get(t, "/default", "token-with-exp").Status)
		as.on("/default", active(nil))
		require.Equal(t, http.StatusOK, g.get(t, "/default", "token-clock").Status)
		require.Eventually(t, func() bool { // until another token, asked about later, is forgotten
			return g.get(t, "/default", "token-clock").Status == http.StatusOK && len(as.asked("token-clock")) == 2
		}, patience, tick)
		require.Equal(t, http.StatusOK, g.get(t, "/default", "token-with-exp").Status)
		assert.Len(t, as.asked("token-with-exp"), once)
		assert.Len(t, as.asked("/default"), before+3)
	})
}

// One token at two authorities, or asked about as two clients, has two answers (C14, D18).
func TestAuthoritiesDoNotShareAnswers(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	byClient := func(w http.ResponseWriter, r *http.Request) {
		id, _, _ := r.BasicAuth()
		says(claims{"active": id == gatewayID})(w, r)
	}
	as.on("/one", active(claims{"username": "alice"}))
	as.on("/two", says(claims{"active": false}))
	as.on("/clients", byClient)
	g.GuardClient("other", "other-secret-2dFv")
	g.Start(t, g.caddyfile(
		authorityOption("one", as.URL+"/one")+authorityOption("two", as.URL+"/two")+authorityOption("three", as.URL+"/clients")+
			"introspect four {\nendpoint "+as.URL+"/clients\nclient other other-secret-2dFv\n}\n", `
		introspect /one one
		introspect /two two
		introspect /three three
		introspect /four four
		introspect /own {
			endpoint `+as.URL+`/one
			client `+gatewayID+` {env.GATEWAY_SECRET}
		}
		`+app.Proxy()), "GATEWAY_SECRET="+gatewaySecret)
	const token = "token-of-two-authorities"
	for range 2 {
		assert.Equal(t, http.StatusOK, g.get(t, "/one", token).Status)
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/two", token).Status)
		assert.Equal(t, http.StatusOK, g.get(t, "/three", token).Status)
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/four", token).Status)
		assert.Equal(t, http.StatusOK, g.get(t, "/own", token).Status)
	}
	assert.Len(t, as.asked("/one"), once, "equal authorities share one memory")
	assert.Len(t, as.asked("/two"), once)
	assert.Len(t, as.asked("/clients"), 2)

	require.Equal(t, http.StatusOK, g.get(t, "/one", "token-of-one-authority").Status)
	for _, asked := range as.asked("token-of-one-authority") {
		assert.Equal(t, "/one", asked.path, "C14 no other authority sees it")
	}
}

func TestConcurrentMisses(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect
		header >X-Cache {http.introspect.cache}
		`+app.Proxy()))

	t.Run("C11 many requests make one call", func(t *testing.T) {
		const token, many = "token-of-a-crowd", 32
		gate := make(chan struct{})
		as.on(token, as.after(gate, active(nil)))
		var replies []<-chan *testgateway.Reply
		for range many {
			replies = append(replies, g.send(t, t.Context(), "/", token))
		}
		require.Eventually(t, func() bool { return g.inFlight(t) == many }, patience, tick)
		close(gate)
		sources := make(map[string]int)
		for _, pending := range replies {
			got := receive(t, pending)
			assert.Equal(t, http.StatusOK, got.Status)
			sources[got.Header.Get("X-Cache")]++
		}
		assert.Len(t, as.asked(token), once)
		assert.Equal(t, 1, sources["miss"])
		assert.Equal(t, many-1, sources["coalesced"]+sources["memory"])
	})
	t.Run("C11 the first one hangs up, and the others get their answer", func(t *testing.T) {
		const token = "token-of-a-leader"
		gate := make(chan struct{})
		as.on(token, as.after(gate, active(nil)))
		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		leader := g.send(t, ctx, "/", token)
		require.Eventually(t, func() bool { return len(as.asked(token)) == once }, patience, tick)
		var followers []<-chan *testgateway.Reply
		for range 3 {
			followers = append(followers, g.send(t, t.Context(), "/", token))
		}
		require.Eventually(t, func() bool { return g.inFlight(t) == 4 }, patience, tick)
		hangUp()
		assert.Nil(t, <-leader)
		require.Eventually(t, func() bool { return g.inFlight(t) == 3 }, patience, tick)
		close(gate)
		for _, pending := range followers {
			assert.Equal(t, http.StatusOK, receive(t, pending).Status)
		}
		assert.Len(t, as.asked(token), once)
	})
	t.Run("C11 a failure is everybody's, and nobody's afterwards", func(t *testing.T) {
		const token = "token-of-a-failing-crowd"
		gate := make(chan struct{})
		as.on(token, as.after(gate, sends(500, "", "")))
		var replies []<-chan *testgateway.Reply
		for range 4 {
			replies = append(replies, g.send(t, t.Context(), "/", token))
		}
		require.Eventually(t, func() bool { return g.inFlight(t) == 4 }, patience, tick)
		close(gate)
		for _, pending := range replies {
			assert.Equal(t, http.StatusServiceUnavailable, receive(t, pending).Status)
		}
		assert.Len(t, as.asked(token), once)
		as.on(token, active(nil))
		assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
	})
}

func TestMaxConcurrent(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "max_concurrent 2", "timeout 300ms", "retries 0"), "introspect\n"+app.Proxy()))
	as.on("/", as.hangs())
	var replies []<-chan *testgateway.Reply
	for _, token := range []string{"token-flood-1", "token-flood-2", "token-flood-3", "token-flood-4", "token-flood-5"} {
		replies = append(replies, g.send(t, t.Context(), "/", token))
	}
	for _, pending := range replies {
		assert.Contains(t, []int{http.StatusServiceUnavailable, http.StatusGatewayTimeout}, receive(t, pending).Status, "C09")
	}
	assert.LessOrEqual(t, len(as.asked("/")), 5)
	as.on("/", active(nil))
	assert.Equal(t, http.StatusOK, g.get(t, "/", "token-after-the-flood").Status)
}
