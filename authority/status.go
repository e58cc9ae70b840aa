package authority

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Status is how an authority fares. It holds no token and no secret.
type Status struct {
	// Authority is the name or label.
	Authority string `json:"authority"`
	Embedded  bool   `json:"embedded"`
	// Endpoint is where it is asked, without a query; empty where that is not discovered yet, or embedded.
	Endpoint string `json:"endpoint"`
	Issuer   string `json:"issuer"`
	// Ready says that it can be asked, as far as is known. Reason is why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Breaker is `closed`, `open` or `off`.
	Breaker string `json:"breaker"`
	// InFlight is how many calls are under way.
	InFlight int64 `json:"in_flight"`
	// Cache is `memory` or `off`. What follows is null where it is off, and HitRatio until somebody has asked.
	Cache    string   `json:"cache"`
	Entries  *int64   `json:"entries"`
	Bytes    *int64   `json:"bytes"`
	HitRatio *float64 `json:"hit_ratio"`
	// LastError is null if there was none.
	LastError *LastError `json:"last_error"`
}

// LastError is what went wrong last.
type LastError struct {
	Error string    `json:"error"`
	At    time.Time `json:"at"`
}

// Statuses tells how all authorities of the configuration fare, in the order of their labels.
func (a *App) Statuses() []Status {
	statuses := make([]Status, 0)
	for _, authority := range a.all() {
		statuses = append(statuses, authority.Status())
	}
	return statuses
}

// NotReady lists the labels of the authorities that cannot be asked now.
func (a *App) NotReady() []string {
	labels := make([]string, 0)
	for _, authority := range a.all() {
		if authority.down() != "" {
			labels = append(labels, authority.Label)
		}
	}
	return slices.Compact(labels)
}

// all lists the authorities, named and not, in the order of their labels.
func (a *App) all() []*Authority {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedStableFunc(
		func(yield func(*Authority) bool) {
			for _, authorities := range []map[string]*Authority{a.named, a.own} {
				for _, key := range slices.Sorted(maps.Keys(authorities)) {
					if !yield(authorities[key]) {
						return
					}
				}
			}
		},
		func(one, other *Authority) int { return cmp.Compare(one.Label, other.Label) })
}

// Status tells how the authority fares.
func (a *Authority) Status() Status {
	status := Status{
		Authority: a.Label,
		Embedded:  a.guard == nil,
		Endpoint:  a.shownEndpoint(),
		Issuer:    a.Issuer,
		Reason:    a.down(),
		Breaker:   "closed",
		InFlight:  a.page.underWay.Load(),
		Cache:     "off",
	}
	status.Ready = status.Reason == ""
	switch {
	case !a.breaks:
		status.Breaker = "off"
	case a.guard.Open():
		status.Breaker = "open"
	}
	if a.state != nil {
		stats := a.state.Stats()
		status.Cache, status.Entries, status.Bytes, status.HitRatio = memoryTier, &stats.Entries, &stats.Bytes, a.page.hitRatio()
	}
	if text, at := a.upstream.failure.last(); !at.IsZero() {
		status.LastError = &LastError{text, at.UTC()}
	}
	return status
}

// hitRatio is the share of the questions that were answered from memory, or nil if there were none.
func (p *page) hitRatio() *float64 {
	hits := p.lookups[lookupHit].Value() + p.lookups[lookupStale].Value()
	all := hits + p.lookups[lookupMiss].Value() + p.lookups[lookupCoalesced].Value()
	if all == 0 {
		return nil
	}
	ratio := float64(hits) / float64(all)
	return &ratio
}

func (a *Authority) breakerOpen() bool { return a.breaks && a.guard.Open() }

// doubtedFor is how long an embedded server that has failed is taken to be down.
const doubtedFor = introspect.DefaultOpen

// down tells why the authority cannot be asked now, or nothing. A reason passes by itself where the next question would find
// out whether it still holds: whoever sends no requests to a gateway that is not ready would never learn it.
func (a *Authority) down() string {
	var err error
	if a.guard != nil {
		err = a.guard.Down()
	}
	if discovery := a.upstream.discovery; discovery != nil && err == nil {
		err = discovery.Down()
	}
	if err != nil {
		return err.Error()
	}
	if text, at := a.upstream.failure.last(); a.guard == nil && time.Since(at) < doubtedFor {
		return text
	}
	return ""
}

// shownEndpoint is the endpoint without what may be a secret in it.
func (a *Authority) shownEndpoint() string {
	endpoint := a.endpoint
	if discovery := a.upstream.discovery; discovery != nil {
		endpoint = discovery.Endpoint()
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	parsed.RawQuery, parsed.ForceQuery, parsed.User, parsed.Fragment = "", false, nil, ""
	return parsed.String()
}
