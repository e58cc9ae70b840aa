package authority

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-gateway/portcullis/cache"
)

// ledger keeps what is counted, under the labels of the authorities. A page of it lasts as long as some configuration has
// an authority of its label: what is counted goes on across reloads, and a label that nobody uses any more is gone. It is
// a prometheus.Collector, and safe for concurrent use.
type ledger struct {
	mu        sync.Mutex
	pages     map[string]*page
	durations *prometheus.HistogramVec
}

// page is what is counted under one label. Requests that outlive their configuration go on writing to it.
type page struct {
	label    string
	lookups  [lookupResults]Counter
	calls    [callResults]Counter
	underWay atomic.Int64
	duration prometheus.Observer

	mu       sync.Mutex
	outcomes map[string]*Counter

	// authorities are those of the label, and routes counts the routes of several authorities that have it. The ledger's lock
	// guards them.
	authorities []*Authority
	routes      int
}

// Counter counts. The zero value has counted nothing. It is safe for concurrent use.
type Counter struct{ n atomic.Uint64 }

// Add counts one more.
func (c *Counter) Add() { c.n.Add(1) }

// Value is how many were counted.
func (c *Counter) Value() uint64 { return c.n.Load() }

// books is the one ledger of the process.
var books = newLedger()

func newLedger() *ledger {
	return &ledger{
		pages: make(map[string]*page),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "caddy_introspect_upstream_duration_seconds",
			Help:    "How long calls to an authority take, retries included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"authority"}),
	}
}

// open returns the page of an authority's label, and what takes the authority off it again.
func (l *ledger) open(a *Authority) (*page, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.page(a.Label)
	if p.duration == nil {
		p.duration = l.durations.WithLabelValues(p.label)
	}
	p.authorities = append(p.authorities, a)
	return p, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		p.authorities = slices.DeleteFunc(p.authorities, func(other *Authority) bool { return other == a })
		l.close(p)
	}
}

// openRoute returns the page of the requests of a route of several authorities of which none was asked, and what takes the
// route off it again.
func (l *ledger) openRoute(label string) (*page, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.page(label)
	p.routes++
	return p, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		p.routes--
		l.close(p)
	}
}

// page finds or begins the page of a label. The caller holds the lock.
func (l *ledger) page(label string) *page {
	label = strings.ToValidUTF8(label, "?") // or nothing at all could be collected
	p, ok := l.pages[label]
	if !ok {
		p = &page{label: label, outcomes: make(map[string]*Counter)}
		l.pages[label] = p
	}
	return p
}

// close drops a page that nobody uses any more. The caller holds the lock.
func (l *ledger) close(p *page) {
	if len(p.authorities) > 0 || p.routes > 0 {
		return
	}
	delete(l.pages, p.label)
	l.durations.DeleteLabelValues(p.label)
}

// outcome is the counter of the requests that end in one way.
func (p *page) outcome(name string) *Counter {
	p.mu.Lock()
	defer p.mu.Unlock()
	counter, ok := p.outcomes[name]
	if !ok {
		counter = new(Counter)
		p.outcomes[name] = counter
	}
	return counter
}

// stats is what the label's memory holds, and whether it has one. While one configuration follows another, both have
// authorities of the label, which share a state as a rule.
func (p *page) stats() (sum cache.Stats, remembers bool) {
	states := make(map[*cache.State]bool, 1)
	for _, a := range p.authorities {
		if a.state == nil || states[a.state] {
			continue
		}
		states[a.state] = true
		stats := a.state.Stats()
		sum.Entries += stats.Entries
		sum.Bytes += stats.Bytes
	}
	return sum, len(states) > 0
}

// memoryTier is the label of the memory among the places where answers are remembered.
const memoryTier = "memory"

var (
	requestsDesc = prometheus.NewDesc("caddy_introspect_requests_total",
		"Requests by how they ended.", []string{"authority", "outcome"}, nil)
	cacheDesc = prometheus.NewDesc("caddy_introspect_cache_total",
		"Questions to what is remembered of an authority, by where the answer came from.", []string{"authority", "tier", "result"}, nil)
	upstreamDesc = prometheus.NewDesc("caddy_introspect_upstream_total",
		"Calls to an authority by how they ended.", []string{"authority", "result"}, nil)
	inFlightDesc = prometheus.NewDesc("caddy_introspect_in_flight",
		"Calls to an authority that are under way.", []string{"authority"}, nil)
	breakerDesc = prometheus.NewDesc("caddy_introspect_breaker_open",
		"1 while an authority is not asked because calls have failed, else 0.", []string{"authority"}, nil)
	entriesDesc = prometheus.NewDesc("caddy_introspect_cache_entries",
		"Answers that are remembered, expired ones included until their place is needed.", []string{"authority", "tier"}, nil)
	bytesDesc = prometheus.NewDesc("caddy_introspect_cache_bytes",
		"The memory that remembered answers take.", []string{"authority"}, nil)
)

// Describe describes the metrics.
func (l *ledger) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{
		requestsDesc, cacheDesc, upstreamDesc, inFlightDesc, breakerDesc, entriesDesc, bytesDesc,
	} {
		descriptions <- description
	}
	l.durations.Describe(descriptions)
}

// Collect reads the metrics.
func (l *ledger) Collect(metrics chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pages {
		p.collect(metrics)
	}
	l.durations.Collect(metrics)
}

func (p *page) collect(metrics chan<- prometheus.Metric) {
	count := func(description *prometheus.Desc, value uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(description, prometheus.CounterValue, float64(value), append([]string{p.label}, labels...)...)
	}
	gauge := func(description *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, append([]string{p.label}, labels...)...)
	}
	p.mu.Lock()
	outcomes := maps.Clone(p.outcomes)
	p.mu.Unlock()
	for outcome, counter := range outcomes {
		count(requestsDesc, counter.Value(), outcome)
	}
	if len(p.authorities) == 0 {
		return
	}
	for result := range callResults {
		count(upstreamDesc, p.calls[result].Value(), callResultNames[result])
	}
	gauge(inFlightDesc, float64(p.underWay.Load()))
	open := 0.0
	if slices.ContainsFunc(p.authorities, (*Authority).breakerOpen) {
		open = 1
	}
	gauge(breakerDesc, open)
	stats, remembers := p.stats()
	if !remembers {
		return
	}
	for result := range lookupResults {
		count(cacheDesc, p.lookups[result].Value(), memoryTier, lookupResultNames[result])
	}
	gauge(entriesDesc, float64(stats.Entries), memoryTier)
	gauge(bytesDesc, float64(stats.Bytes))
}

var _ prometheus.Collector = (*ledger)(nil)
