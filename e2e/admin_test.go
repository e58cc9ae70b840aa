package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// status asks the admin endpoint how the authorities fare.
func (g *gateway) status(t *testing.T) map[string]map[string]any {
	t.Helper()
	got := testgateway.Get(t, "http://"+g.Admin+"/introspect/")
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	return statuses(t, got.Body)
}

// statuses reads a status document, by authority.
func statuses(t *testing.T, body string) map[string]map[string]any {
	t.Helper()
	var document struct {
		Authorities []map[string]any `json:"authorities"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &document), body)
	found := make(map[string]map[string]any)
	for _, status := range document.Authorities {
		found[status["authority"].(string)] = status
	}
	return found
}

// purge asks the admin endpoint to forget.
func (g *gateway) purge(t *testing.T, selector string) *testgateway.Reply {
	t.Helper()
	return testgateway.Send(t, testgateway.Post(t, "http://"+g.Admin+"/introspect/purge", "application/json", selector))
}

func TestAdminStatus(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const token, leak = "token-of-the-status", "answer-canary-8kQw"
	as.on(token, active(claims{"sub": "alice"}))
	as.on("/broken", sends(500, "text/plain", leak))
	g.Guard(leak)
	g.GuardClient(gatewayID, gatewaySecret)
	g.Start(t, g.caddyfile(as.option("main")+
		authorityOption("forgetful", as.URL+"/forgetful?key=query-canary", "cache off")+
		authorityOption("broken", as.URL+"/broken", "retries 0", "breaker off"), `
		introspect /main main
		introspect /forgetful forgetful
		introspect /broken broken
		`+app.Proxy()))

	fresh := g.status(t)
	require.Len(t, fresh, 3)
	main := fresh["main"]
	assert.Equal(t, map[string]any{
		"authority": "main", "embedded": false, "endpoint": as.URL, "issuer": "", "ready": true, "breaker": "closed",
		"in_flight": 0.0, "cache": "memory", "entries": 0.0, "bytes": 0.0, "hit_ratio": nil, "last_error": nil,
	}, main)

	for range 4 {
		require.Equal(t, http.StatusOK, g.get(t, "/main", token).Status)
		require.Equal(t, http.StatusOK, g.get(t, "/forgetful", token).Status)
	}
	require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/broken", "token-broken").Status)
	got := g.status(t)
	assert.InDelta(t, 1, got["main"]["entries"], 0)
	assert.Positive(t, got["main"]["bytes"])
	assert.InDelta(t, 0.75, got["main"]["hit_ratio"], 0)
	assert.Equal(t, "off", got["forgetful"]["cache"])
	assert.Nil(t, got["forgetful"]["entries"])
	assert.Nil(t, got["forgetful"]["hit_ratio"])
	assert.Equal(t, as.URL+"/forgetful", got["forgetful"]["endpoint"], "a query may hold a secret")
	assert.Equal(t, "off", got["broken"]["breaker"])
	assert.Equal(t, true, got["broken"]["ready"], "it is asked all the same")
	failed := got["broken"]["last_error"].(map[string]any)
	assert.Contains(t, failed["error"], "500")
	assert.NotEmpty(t, failed["at"])

	body := testgateway.Get(t, "http://"+g.Admin+"/introspect/").Body
	for _, secret := range []string{token, leak, gatewaySecret, "query-canary", "alice"} {
		assert.NotContains(t, body, secret, "K14")
	}
	t.Run("calls under way", func(t *testing.T) {
		gate := make(chan struct{})
		as.on("token-under-way", as.after(gate, active(nil)))
		pending := g.send(t, t.Context(), "/main", "token-under-way")
		require.Eventually(t, func() bool { return len(as.asked("token-under-way")) == once }, patience, tick)
		assert.InDelta(t, 1, g.status(t)["main"]["in_flight"], 0)
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, pending).Status)
		assert.InDelta(t, 0, g.status(t)["main"]["in_flight"], 0)
	})
	t.Run("without any authority", func(t *testing.T) {
		g.reload(t, g.caddyfile("", app.Proxy()))
		assert.Empty(t, g.status(t))
	})
}

func TestPurge(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-alice", active(claims{"sub": "alice", "client_id": "shop"}))
	as.on("token-bob", active(claims{"sub": "bob", "client_id": "shop"}))
	config := g.caddyfile(as.option("one")+authorityOption("two", as.URL+"/two")+authorityOption("forgetful", as.URL+"/3", "cache off"), `
		introspect /one one
		introspect /two two
		introspect /forgetful forgetful
		`+app.Proxy())
	g.Start(t, config)

	requests := []struct{ path, token string }{
		{"/one", "token-alice"}, {"/one", "token-bob"}, {"/two", "token-alice"}, {"/two", "token-bob"},
	}
	// warm tells which of the requests ask their authority.
	warm := func(t *testing.T) (asked []bool) {
		t.Helper()
		for _, request := range requests {
			before := len(as.asked(request.token))
			require.Equal(t, http.StatusOK, g.get(t, request.path, request.token).Status)
			asked = append(asked, len(as.asked(request.token)) > before)
		}
		return asked
	}
	all := `{"authorities":["one","two"],"without_memory":["forgetful"]}`
	one := `{"authorities":["one"],"without_memory":[]}`
	for _, c := range []struct {
		selector, answer string
		asked            []bool
	}{
		{`{"token":"token-alice"}`, all, []bool{true, false, true, false}},
		{`{"token":"token-alice","authority":"one"}`, one, []bool{true, false, false, false}},
		{`{"sub":"bob"}`, all, []bool{false, true, false, true}},
		{`{"sub":"bob","authority":"one"}`, one, []bool{false, true, false, false}},
		{`{"client_id":"shop"}`, all, []bool{true, true, true, true}},
		{`{"client_id":"shop","authority":"one"}`, one, []bool{true, true, false, false}},
		{`{"client_id":"other"}`, all, []bool{false, false, false, false}},
		{`{"authority":"one"}`, one, []bool{true, true, false, false}},
		{`{"all":true}`, all, []bool{true, true, true, true}},
		{`{"authority":"forgetful"}`, `{"authorities":[],"without_memory":["forgetful"]}`, []bool{false, false, false, false}},
	} {
		t.Run(c.selector, func(t *testing.T) {
			warm(t)
			require.Equal(t, []bool{false, false, false, false}, warm(t))
			got := g.purge(t, c.selector)
			require.Equal(t, http.StatusOK, got.Status, got.Body)
			assert.JSONEq(t, c.answer, got.Body)
			assert.Equal(t, c.asked, warm(t))
		})
	}
	t.Run("the memory is free", func(t *testing.T) {
		warm(t)
		require.Equal(t, http.StatusOK, g.purge(t, `{"sub":"bob"}`).Status)
		assert.InDelta(t, 1, g.status(t)["one"]["entries"], 0)
		require.Equal(t, http.StatusOK, g.purge(t, `{"all":true}`).Status)
		assert.InDelta(t, 0, g.status(t)["one"]["entries"], 0)
		assert.InDelta(t, 0, g.status(t)["one"]["bytes"], 0)
	})

	// An attacker's token is revoked and purged while the gateway is asking about it; the answer from before the
	// revocation arrives last, and must open the door to nobody who comes later.
	for _, selector := range []string{`{"token":"token-raced"}`, `{"sub":"mallory"}`, `{"client_id":"thief"}`, `{"authority":"one"}`, `{"all":true}`} {
		t.Run("M13 an answer on its way is not kept: "+selector, func(t *testing.T) {
			gate := make(chan struct{})
			before := len(as.asked("token-raced"))
			as.on("token-raced", as.after(gate, active(claims{"sub": "mallory", "client_id": "thief"})))
			pending := g.send(t, t.Context(), "/one", "token-raced")
			require.Eventually(t, func() bool { return len(as.asked("token-raced")) == before+1 }, patience, tick)
			as.on("token-raced", says(claims{"active": false}))
			require.Equal(t, http.StatusOK, g.purge(t, selector).Status)
			assert.Equal(t, http.StatusUnauthorized, g.get(t, "/one", "token-raced").Status, "while the old answer is on its way")
			close(gate)
			assert.Equal(t, http.StatusOK, receive(t, pending).Status, "who asked before is told what was so then")
			assert.Equal(t, http.StatusUnauthorized, g.get(t, "/one", "token-raced").Status)
			require.Equal(t, http.StatusOK, g.purge(t, `{"all":true}`).Status)
		})
	}

	t.Run("refusals name what is wrong, and no token", func(t *testing.T) {
		const stray = "token-in-the-wrong-place"
		g.Guard(stray)
		for selector, message := range map[string]string{
			`{"` + stray + `":true}`:                     `there is a member beside "token", "sub", "client_id", "authority" and "all"`,
			`{"authority":"` + stray + `"}`:              "no such authority: there are forgetful, one, two",
			`{"token":"` + stray + `","sub":"a"}`:        "one of token, sub, not several",
			`{"token":"` + stray + `","token":"a"}`:      `"token" is there twice`,
			`{"token":"` + stray + `"`:                   "the body must be one JSON object",
			`{"token":["` + stray + `"]}`:                `"token" must be a string that is not empty`,
			`{"token":"` + stray + `","authority":"no"}`: "no such authority: there are forgetful, one, two",
		} {
			got := g.purge(t, selector)
			assert.Equal(t, http.StatusBadRequest, got.Status, selector)
			assert.Equal(t, message, members(t, got.Body)["error"])
		}
		got := testgateway.Send(t, testgateway.Post(t, "http://"+g.Admin+"/introspect/purge", "text/plain", `{"all":true}`))
		assert.Equal(t, http.StatusUnsupportedMediaType, got.Status)
		got = testgateway.Get(t, "http://"+g.Admin+"/introspect/purge")
		assert.Equal(t, http.StatusMethodNotAllowed, got.Status)
		assert.Equal(t, "POST", got.Header.Get("Allow"))
	})
	t.Run("a page that a browser is shown cannot purge", func(t *testing.T) {
		request := testgateway.Post(t, "http://"+g.Admin+"/introspect/purge", "application/json", `{"all":true}`)
		request.Header.Set("Origin", "https://evil.example.com")
		assert.Equal(t, http.StatusForbidden, testgateway.Send(t, request).Status)
	})
	t.Run("after a load that failed", func(t *testing.T) {
		warm(t)
		require.Equal(t, http.StatusBadRequest, g.Load(t, config+"http://:"+testgateway.PortOf(t, app.Address)+" {\n\trespond hello\n}\n").Status)
		require.Equal(t, http.StatusOK, g.purge(t, `{"token":"token-alice","authority":"one"}`).Status)
		assert.Equal(t, []bool{true, false, false, false}, warm(t))
	})
}
