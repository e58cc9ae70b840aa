package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// metrics reads what Portcullis counts, as `requests_total{authority="a",outcome="allowed"}`.
func (g *gateway) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	got := testgateway.Get(t, "http://"+g.Admin+"/metrics")
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	found := make(map[string]float64)
	for line := range strings.SplitSeq(got.Body, "\n") {
		if sample, ours := strings.CutPrefix(line, "caddy_introspect_"); ours {
			name, value, _ := strings.Cut(sample, " ")
			number, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err, line)
			found[name] = number
		}
	}
	return found
}

// authorityLabels lists the authorities that the metrics know.
func authorityLabels(metrics map[string]float64) []string {
	labels := make(map[string]bool)
	for name := range metrics {
		if match := regexp.MustCompile(`authority="([^"]*)"`).FindStringSubmatch(name); match != nil {
			labels[match[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(labels))
}

func TestMetricsOfRequests(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-good", active(claims{"scope": "read", "sub": "subject-canary", "client_id": "client-canary"}))
	as.on("/broken", sends(500, "", ""))
	as.on("/refusing", refusesGateway(401))
	g.Start(t, g.caddyfile(
		as.option("main")+authorityOption("broken", as.URL+"/broken", "retries 0")+authorityOption("refusing", as.URL+"/refusing"), `
		introspect /good main
		introspect /optional main {
			optional
			preflight
		}
		introspect /scope main scope write
		introspect /claim main {
			claim level 3
		}
		introspect /broken broken
		introspect /refusing refusing
		introspect /observed main scope write {
			observe
		}
		`+app.Proxy()))

	preflight := func(r *http.Request) {
		r.Method = http.MethodOptions
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Access-Control-Request-Method", "POST")
	}
	twice := func(r *http.Request) { r.Header.Add("Authorization", "Bearer token-other") }
	for _, c := range []struct {
		name, path, token string
		change            func(*http.Request)
		status            int
		authority         string
		outcome           string
	}{
		{"allowed", "/good", "token-good", nil, 200, "main", "allowed"},
		{"remembered", "/good", "token-good", nil, 200, "main", "allowed"},
		{"anonymous", "/optional", "", nil, 200, "main", "anonymous"},
		{"a preflight", "/optional", "", preflight, 200, "main", "preflight"},
		{"no token", "/good", "", nil, 401, "main", "no_token"},
		{"two tokens", "/good", "token-good", twice, 400, "main", "invalid_request"},
		{"an inactive token", "/good", "token-bad", nil, 401, "main", "invalid_token"},
		{"a scope is missing", "/scope", "token-good", nil, 403, "main", "insufficient_scope"},
		{"a claim is missing", "/claim", "token-good", nil, 403, "main", "forbidden"},
		{"an authority that is down", "/broken", "token-broken", nil, 503, "broken", "unavailable"},
		{"refused credentials", "/refusing", "token-refusing", nil, 502, "refusing", "misconfigured"},
		{"observed: a scope is missing", "/observed", "token-good", nil, 200, "main", "would_be_insufficient_scope"},
		{"observed: no token", "/observed", "", nil, 200, "main", "would_be_no_token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := g.metrics(t)
			request := g.request(t, t.Context(), c.path, c.token)
			if c.change != nil {
				c.change(request)
			}
			assert.Equal(t, c.status, testgateway.Send(t, request).Status)
			counted := fmt.Sprintf(`requests_total{authority=%q,outcome=%q}`, c.authority, c.outcome)
			for name, value := range g.metrics(t) {
				if strings.HasPrefix(name, "requests_total{") && name != counted {
					assert.InDelta(t, before[name], value, 0, name)
				} else if name == counted {
					assert.InDelta(t, before[name]+1, value, 0, name)
				}
			}
			assert.Contains(t, before, counted, "it is there before it happens")
		})
	}
	got := g.metrics(t)
	assert.InDelta(t, 4, got[`cache_total{authority="main",result="hit",tier="memory"}`], 0)
	assert.InDelta(t, 2, got[`cache_total{authority="main",result="miss",tier="memory"}`], 0)
	assert.InDelta(t, 1, got[`upstream_total{authority="main",result="active"}`], 0)
	assert.InDelta(t, 1, got[`upstream_total{authority="main",result="inactive"}`], 0)
	assert.InDelta(t, 1, got[`upstream_total{authority="broken",result="unavailable"}`], 0)
	assert.InDelta(t, 1, got[`upstream_total{authority="refusing",result="credentials"}`], 0)
	assert.InDelta(t, 2, got[`upstream_duration_seconds_count{authority="main"}`], 0)
	assert.InDelta(t, 2, got[`cache_entries{authority="main",tier="memory"}`], 0)
	assert.Positive(t, got[`cache_bytes{authority="main"}`])
	assert.Equal(t, []string{"broken", "main", "refusing"}, authorityLabels(got))

	t.Run("K14 no token, no subject, no client", func(t *testing.T) {
		for name := range got {
			assert.NotRegexp(t, `token-|canary|`+gatewayID, name)
		}
	})
}

func TestMetricsOfCalls(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "retries 0", "breaker 3 1h"), "introspect\n"+app.Proxy()))

	t.Run("under way, and joined", func(t *testing.T) {
		gate := make(chan struct{})
		as.on("token-waited-for", as.after(gate, active(nil)))
		first := g.send(t, t.Context(), "/", "token-waited-for")
		require.Eventually(t, func() bool { return len(as.asked("token-waited-for")) == once }, patience, tick)
		assert.InDelta(t, 1, g.metrics(t)[`in_flight{authority="default"}`], 0)
		second := g.send(t, t.Context(), "/", "token-waited-for")
		require.Eventually(t, func() bool { return g.inFlight(t) == 2 }, patience, tick)
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, first).Status)
		assert.Equal(t, http.StatusOK, receive(t, second).Status)
		got := g.metrics(t)
		assert.InDelta(t, 0, got[`in_flight{authority="default"}`], 0)
		assert.InDelta(t, 1, got[`cache_total{authority="default",result="miss",tier="memory"}`], 0)
		assert.InDelta(t, 1, got[`cache_total{authority="default",result="coalesced",tier="memory"}`]+
			got[`cache_total{authority="default",result="hit",tier="memory"}`], 0)
	})
	t.Run("the breaker", func(t *testing.T) {
		as.on("/", sends(500, "", ""))
		for i := range 5 {
			assert.InDelta(t, map[bool]float64{true: 1}[i >= 3], g.metrics(t)[`breaker_open{authority="default"}`], 0)
			assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/", fmt.Sprint("token-failing-", i)).Status)
		}
		got := g.metrics(t)
		assert.InDelta(t, 3, got[`upstream_total{authority="default",result="unavailable"}`], 0, "what the breaker keeps away is no call")
		assert.InDelta(t, 5, got[`requests_total{authority="default",outcome="unavailable"}`], 0)
	})
}

func TestMetricsAcrossReloads(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/", active(nil))
	config := func(options ...string) string {
		return g.caddyfile(as.option("", options...), "introspect\n"+app.Proxy())
	}
	g.Start(t, config(), "GATEWAY_SECRET="+gatewaySecret)
	const allowed = `requests_total{authority="default",outcome="allowed"}`
	const hits = `cache_total{authority="default",result="hit",tier="memory"}`
	const entries = `cache_entries{authority="default",tier="memory"}`
	for range 3 {
		require.Equal(t, http.StatusOK, g.get(t, "/", "token-counted").Status)
	}
	for i, caddyfile := range []string{config("timeout 3s"), config("cache {\nttl 1h\n}"), config()} {
		g.reload(t, caddyfile)
		require.Equal(t, http.StatusBadRequest, g.Load(t, config("tiemout 3s")).Status)
		require.Equal(t, http.StatusBadRequest, g.Load(t, caddyfile+"http://:"+testgateway.PortOf(t, app.Address)+" {\n\trespond hello\n}\n").Status)
		got := g.metrics(t)
		assert.InDelta(t, 3+i, got[allowed], 0)
		assert.InDelta(t, 2+i, got[hits], 0)
		assert.InDelta(t, 1, got[entries], 0)
		require.Equal(t, http.StatusOK, g.get(t, "/", "token-counted").Status)
	}
	t.Run("a request that outlives its configuration counts", func(t *testing.T) {
		gate := make(chan struct{})
		as.on("token-slow", as.after(gate, active(nil)))
		before := g.metrics(t)[allowed]
		pending := g.send(t, t.Context(), "/", "token-slow")
		require.Eventually(t, func() bool { return len(as.asked("token-slow")) == once }, patience, tick)
		g.reload(t, config("timeout 4s"))
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, pending).Status)
		assert.InDelta(t, before+1, g.metrics(t)[allowed], 0)
	})
	t.Run("the labels are those of the configuration", func(t *testing.T) {
		as.on("token-counted", active(nil))
		for i := range 12 {
			g.reload(t, g.caddyfile("", fmt.Sprintf("introspect {\nendpoint %s/%d\nclient %s {env.GATEWAY_SECRET}\n}\n", as.URL, i, gatewayID)+app.Proxy()))
			require.Equal(t, http.StatusOK, g.get(t, "/", "token-counted").Status)
		}
		require.Eventually(t, func() bool { return len(authorityLabels(g.metrics(t))) == 1 }, patience, tick)
		assert.Regexp(t, `^127\.0\.0\.1:\d+-[0-9a-f]{8}$`, authorityLabels(g.metrics(t))[0])
		g.reload(t, g.caddyfile("", app.Proxy()))
		require.Eventually(t, func() bool { return len(g.metrics(t)) == 0 }, patience, tick)
	})
}
