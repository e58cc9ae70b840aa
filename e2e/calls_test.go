package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestC09TimeAndRetries(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	slowly := func(give answer) answer {
		return func(w http.ResponseWriter, r *http.Request) {
			gate := make(chan struct{})
			timer := time.AfterFunc(300*time.Millisecond, func() { close(gate) })
			defer timer.Stop()
			as.after(gate, give)(w, r)
		}
	}
	as.on("/retries", slowly(sends(503, "", "")))
	as.on("/discovers/introspect", as.hangs())
	as.publishes("/discovers", slowly(says(claims{
		"issuer": as.URL + "/discovers", "introspection_endpoint": as.URL + "/discovers/introspect",
	})), nil)
	as.on("/recovers", unavailableAtFirst(unavailableAtFirst(active(nil))))
	as.on("/closes", func() answer {
		var asked atomic.Int32
		return func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				hangsUp(w, r)
			}
			active(nil)(w, r)
		}
	}())
	g.Start(t, g.caddyfile(
		authorityOption("retries", as.URL+"/retries", "retries 10", "timeout 500ms")+
			authorityOption("recovers", as.URL+"/recovers", "retries 2")+
			authorityOption("closes", as.URL+"/closes")+
			issuerOption("discovers", as.URL+"/discovers", "timeout 500ms"),
		"introspect /retries retries\nintrospect /discovers discovers\nintrospect /recovers recovers\nintrospect /closes closes\n"+app.Proxy()))

	t.Run("the timeout covers retries", func(t *testing.T) {
		assert.Equal(t, http.StatusGatewayTimeout, g.get(t, "/retries", "token-retries").Status)
		assert.LessOrEqual(t, len(as.asked("token-retries")), 2)
	})
	t.Run("the timeout covers discovery", func(t *testing.T) {
		assert.Equal(t, http.StatusGatewayTimeout, g.get(t, "/discovers", "token-discovers").Status)
	})
	t.Run("a call is repeated until it succeeds", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, g.get(t, "/recovers", "token-recovers").Status)
		assert.Len(t, as.asked("token-recovers"), 3)
	})
	t.Run("so is one whose connection was closed", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, g.get(t, "/closes", "token-closes").Status)
		assert.Len(t, as.asked("token-closes"), 2)
	})
}

// metric is the value of a metric without labels.
func (g *gateway) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.SplitSeq(testgateway.Get(t, "http://"+g.Admin+"/metrics").Body, "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err)
			return number
		}
	}
	require.Fail(t, "no metric "+name)
	return 0
}

// An authority that sends megabytes fills no memory, however many ask it.
func TestC09AnEndlessAnswer(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const megabytes, many = 50, 8
	as.on("/introspect", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte(`{"active":true,"x":"`))
		for chunk, i := bytes.Repeat([]byte("x"), 1<<20), 0; i < megabytes && err == nil; i++ {
			_, err = w.Write(chunk)
		}
	})
	g.Start(t, g.caddyfile(authorityOption("", as.URL+"/introspect"), "introspect\n"+app.Proxy()))
	before := g.metric(t, "go_memstats_sys_bytes")
	var replies []<-chan *testgateway.Reply
	for i := range many {
		replies = append(replies, g.send(t, t.Context(), "/", canary(i)))
	}
	for _, pending := range replies {
		assert.Equal(t, http.StatusBadGateway, receive(t, pending).Status)
	}
	assert.Less(t, g.metric(t, "go_memstats_sys_bytes")-before, float64(megabytes<<20), "less than one answer")
}

func TestC09MaxConcurrent(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	var underWay, most atomic.Int32
	gate := make(chan struct{})
	as.on("/patient", func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), underWay.Add(1)))
		defer underWay.Add(-1)
		as.after(gate, active(nil))(w, r)
	})
	as.on("/impatient", as.hangs())
	g.Start(t, g.caddyfile(
		authorityOption("patient", as.URL+"/patient", "max_concurrent 1", "timeout 30s")+
			authorityOption("impatient", as.URL+"/impatient", "max_concurrent 1", "timeout 400ms", "breaker off"),
		"introspect /patient patient\nintrospect /impatient impatient\n"+app.Proxy()))

	t.Run("a bounded number waits", func(t *testing.T) {
		first := g.send(t, t.Context(), "/patient", canary(0))
		require.Eventually(t, func() bool { return len(as.asked("/patient")) == once }, patience, tick)
		const more, waiting = 30, 16
		replies := make(chan *testgateway.Reply, more)
		for i := range more {
			pending := g.send(t, t.Context(), "/patient", canary(i+1))
			go func() { replies <- <-pending }()
		}
		for range more - waiting {
			got := receive(t, replies)
			assert.Equal(t, http.StatusServiceUnavailable, got.Status)
			assert.NotEmpty(t, got.Header.Get("Retry-After"))
		}
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, first).Status)
		for range waiting {
			assert.Equal(t, http.StatusOK, receive(t, replies).Status)
		}
		assert.EqualValues(t, 1, most.Load())
	})
	t.Run("for a bounded time", func(t *testing.T) {
		var replies []<-chan *testgateway.Reply
		for i := range 6 {
			replies = append(replies, g.send(t, t.Context(), "/impatient", canary(100+i)))
		}
		statuses := make(map[int]int)
		for _, pending := range replies {
			statuses[receive(t, pending).Status]++
		}
		assert.Positive(t, statuses[http.StatusGatewayTimeout], "the first is asked about")
		assert.Positive(t, statuses[http.StatusServiceUnavailable], "the last does not wait for all the others")
		assert.Len(t, statuses, 2)
	})
}

func TestC12WhatIsAddedToACall(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const key = "endpoint-key-2vNd&=+"
	g.Guard(key, url.QueryEscape(key), "header-key-9sWq")
	as.on("/introspect", active(nil))
	as.on("/fails", sends(404, "", ""))
	options := []string{
		"param realm a", "param realm b", "param key {env.ENDPOINT_KEY}",
		"endpoint_param key {env.ENDPOINT_KEY}", "request_header x-key header-key-9sWq", "request_header X-Key second",
		"request_header User-Agent gateway/1", "token_type_hint off",
	}
	g.Start(t, g.caddyfile(
		authorityOption("works", as.URL+"/introspect?tenant=a%20b", options...)+
			authorityOption("fails", as.URL+"/fails", options...),
		"introspect /works works\nintrospect /fails fails\n"+app.Proxy()), "ENDPOINT_KEY="+key)
	request := g.request(t, t.Context(), "/works?key=of-the-client", "token-with-more")
	for _, name := range []string{"Cookie", "X-Key", "X-Forwarded-For", "Forwarded", "Accept-Language", "Traceparent", "DPoP", "Origin"} {
		request.Header.Set(name, "of-the-client")
	}
	require.Equal(t, http.StatusOK, testgateway.Send(t, request).Status)
	asked := as.asked("token-with-more")
	require.Len(t, asked, once)
	assert.Equal(t, url.Values{"token": {"token-with-more"}, "realm": {"a", "b"}, "key": {key}}, asked[0].form)
	assert.Equal(t, "tenant=a%20b&key="+url.QueryEscape(key), asked[0].query)
	assert.Equal(t, http.Header{
		"Accept": {"application/json"}, "Accept-Encoding": {"gzip"}, "Authorization": {"Basic " + testgateway.Basic(gatewayID, gatewaySecret)},
		"Content-Length": asked[0].header["Content-Length"], "Content-Type": {"application/x-www-form-urlencoded"},
		"User-Agent": {"gateway/1"}, "X-Key": {"header-key-9sWq", "second"},
	}, asked[0].header, "nothing of the client's")

	assert.Equal(t, http.StatusBadGateway, g.get(t, "/fails", "token-that-fails").Status)
	g.Await(t, "authority fails")
}

// A route that observes waits for a second at most, and that it does not wait is no failure of the authority.
func TestObservingASlowAuthority(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/introspect", as.hangs())
	g.Start(t, g.caddyfile(authorityOption("", as.URL+"/introspect", "cache off", "timeout 30s", "breaker 3 1h"), `
		introspect /observed {
			observe
		}
		introspect /demanded
		`+app.Proxy()))
	began := time.Now()
	var replies []<-chan *testgateway.Reply
	for i := range 6 {
		replies = append(replies, g.send(t, t.Context(), "/observed", canary(i)))
	}
	for _, pending := range replies {
		assert.Equal(t, http.StatusOK, receive(t, pending).Status)
	}
	assert.GreaterOrEqual(t, time.Since(began), time.Second)
	assert.Less(t, time.Since(began), 10*time.Second, "not the timeout")
	assert.Len(t, app.At("/observed"), 6)
	assert.Contains(t, g.Await(t, `"introspect_status"`), fmt.Sprint(http.StatusGatewayTimeout))

	as.on("/introspect", active(nil))
	assert.Equal(t, http.StatusOK, g.get(t, "/demanded", "token-of-a-client").Status, "the breaker is closed")
}
