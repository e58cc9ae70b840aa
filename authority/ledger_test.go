package authority_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// registryOf provisions a configuration and returns the registry of its metrics beside what load returns.
func registryOf(t *testing.T, authorities string) (*authority.App, *prometheus.Registry, func()) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	ctx, cancel := caddy.NewContext(ctx)
	module, err := ctx.LoadModuleByID("introspect", []byte(`{"authorities":`+authorities+`}`))
	require.NoError(t, err)
	return module.(*authority.App), ctx.GetMetricsRegistry(), cancel
}

// values reads all counters and gauges of Portcullis, and the numbers of measurements, by name and labels.
func values(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	found := make(map[string]float64)
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "caddy_introspect_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "caddy_introspect_")
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			found[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return found
}

func endpointOf(url string) string {
	return `{"endpoint":"` + url + `","client":{"id":"gateway","secret":"s"}}`
}

func TestMetrics(t *testing.T) {
	s := newServer(t)
	config := `{"counted":` + endpointOf(s.URL) + `,"forgetful":{"endpoint":"` + s.URL +
		`/x","client":{"id":"gateway","secret":"s"},"cache":{"off":true}}}`
	app, registry, cancel := registryOf(t, config)
	defer cancel()
	remembering, err := app.Named("counted")
	require.NoError(t, err)
	forgetful, err := app.Named("forgetful")
	require.NoError(t, err)
	for range 3 {
		ask(t, remembering)
		ask(t, forgetful)
	}
	remembering.Outcome("allowed").Add()
	got := values(t, registry)
	assert.Positive(t, got["cache_bytes counted"])
	delete(got, "cache_bytes counted")
	want := map[string]float64{
		"requests_total counted allowed":       1,
		"cache_total counted hit memory":       2,
		"cache_total counted miss memory":      1,
		"cache_total counted stale memory":     0,
		"cache_total counted coalesced memory": 0,
		"cache_entries counted memory":         1,
	}
	for label, calls := range map[string]float64{"counted": 1, "forgetful": 3} {
		want["upstream_total "+label+" active"] = calls
		want["upstream_duration_seconds "+label] = calls
		want["in_flight "+label] = 0
		want["breaker_open "+label] = 0
		for _, result := range []string{"inactive", "unavailable", "timeout", "credentials", "malformed", "canceled"} {
			want["upstream_total "+label+" "+result] = 0
		}
	}
	assert.Equal(t, want, got, "what is not remembered has no memory to count")
}

// What is counted belongs to the process: while one configuration follows another, and when the next one fails.
func TestMetricsGoOn(t *testing.T) {
	s := newServer(t)
	config := `{"lasting":` + endpointOf(s.URL) + `}`
	first, registry, end := registryOf(t, config)
	a, err := first.Named("lasting")
	require.NoError(t, err)
	ask(t, a)
	a.Outcome("allowed").Add()

	_, _, err = load(t, `{"lasting":`+endpointOf(s.URL)+`,"broken":{"endpoint":"http://example.com"}}`)
	require.Error(t, err)
	assert.EqualValues(t, 1, values(t, registry)["requests_total lasting allowed"], "after a load that failed")

	second, registry, endSecond := registryOf(t, config)
	assert.EqualValues(t, 1, values(t, registry)["cache_entries lasting memory"], "two configurations have one memory")
	end()
	got := values(t, registry)
	assert.EqualValues(t, 1, got["requests_total lasting allowed"])
	assert.EqualValues(t, 1, got["upstream_total lasting active"])
	assert.EqualValues(t, 1, got["upstream_duration_seconds lasting"])
	assert.EqualValues(t, 1, got["cache_entries lasting memory"])
	a.Outcome("allowed").Add()
	assert.EqualValues(t, 2, values(t, registry)["requests_total lasting allowed"], "a request that outlives its configuration")
	statuses := second.Statuses()
	require.Len(t, statuses, 1)
	assert.Zero(t, *statuses[0].HitRatio)

	endSecond()
	assert.Empty(t, values(t, registry), "nobody has an authority any more")
	a.Outcome("allowed").Add() // which goes nowhere, and fails nowhere
	assert.Empty(t, values(t, registry))
}

// The labels are those of the configuration, however many have come and gone.
func TestLabelsAreBounded(t *testing.T) {
	s := newServer(t)
	previous := func() {}
	for i := range 50 {
		app, registry, cancel := registryOf(t, `{}`)
		var config authority.Config
		config.Endpoint = fmt.Sprintf("%s/%d", s.URL, i)
		config.Client = &authority.Client{ID: "gateway", Secret: "s"}
		own, err := app.Own(&config)
		require.NoError(t, err)
		ask(t, own)
		own.Outcome("allowed").Add()
		previous()
		labels := make(map[string]bool)
		for name := range values(t, registry) {
			labels[strings.Fields(name)[1]] = true
		}
		assert.Equal(t, map[string]bool{own.Label: true}, labels)
		previous = cancel
	}
	previous()
}

func TestCallsByHowTheyEnd(t *testing.T) {
	answers := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for result, handler := range map[string]http.HandlerFunc{
		"active":      answers(200, `{"active":true}`),
		"inactive":    answers(200, `{"active":false}`),
		"unavailable": answers(500, ``),
		"credentials": answers(401, ``),
		"malformed":   answers(200, `{}`),
		"timeout": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or nobody notices that the client is gone
			<-r.Context().Done()
		},
	} {
		t.Run(result, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			app, registry, cancel := registryOf(t, `{"ends":{"endpoint":"`+server.URL+
				`","client":{"id":"gateway","secret":"s"},"timeout":"100ms"}}`)
			defer cancel()
			a, err := app.Named("ends")
			require.NoError(t, err)
			_, err = a.Introspect(t.Context(), introspect.NewToken("a-token"))
			got := values(t, registry)
			assert.EqualValues(t, 1, got["upstream_total ends "+result])
			assert.EqualValues(t, 1, got["upstream_duration_seconds ends"])
			last := app.Statuses()[0].LastError
			if err == nil {
				assert.Nil(t, last)
				return
			}
			require.NotNil(t, last)
			assert.Equal(t, err.Error(), last.Error)
			assert.NotContains(t, last.Error, "a-token")
		})
	}
}

// Where there is no endpoint to ask, no call is counted, and the reason is the one of the discovery.
func TestUndiscovered(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	app, registry, cancel := registryOf(t, `{"unfound":{"issuer":"`+server.URL+`","client":{"id":"gateway","secret":"s"}}}`)
	defer cancel()
	assert.Empty(t, app.NotReady(), "nobody has a reason to doubt it")
	a, err := app.Named("unfound")
	require.NoError(t, err)
	for range 3 {
		_, err = a.Introspect(t.Context(), introspect.NewToken("t"))
		require.Error(t, err)
	}
	got := values(t, registry)
	assert.Zero(t, got["upstream_total unfound unavailable"])
	assert.Zero(t, got["upstream_duration_seconds unfound"])
	assert.Equal(t, []string{"unfound"}, app.NotReady())
	status := app.Statuses()[0]
	assert.False(t, status.Ready)
	assert.Empty(t, status.Endpoint)
	assert.Contains(t, status.Reason, "404")
	require.NotNil(t, status.LastError)
	assert.Contains(t, status.LastError.Error, "404")
}

// A secret may stand in the query of an endpoint.
func TestTheStatusShowsNoQuery(t *testing.T) {
	app, _, cancel := registryOf(t, `{"secretive":`+endpointOf("https://as.example.com/introspect?key=s3cret")+`}`)
	defer cancel()
	assert.Equal(t, "https://as.example.com/introspect", app.Statuses()[0].Endpoint)
}
