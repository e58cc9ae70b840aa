package authority

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// callResult is how a call to an authority ended.
type callResult int

const (
	callActive callResult = iota
	callInactive
	callUnavailable
	callTimeout
	callCredentials
	callMalformed
	callCanceled
	callResults
)

// callResultNames are the values of the label `result`.
var callResultNames = [callResults]string{
	"active", "inactive", "unavailable", "timeout", "credentials", "malformed", "canceled",
}

func resultOf(answer *introspect.Answer, err error) callResult {
	switch {
	case err == nil && answer.Active:
		return callActive
	case err == nil:
		return callInactive
	case errors.Is(err, introspect.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return callTimeout
	case errors.Is(err, introspect.ErrCredentials):
		return callCredentials
	case errors.Is(err, introspect.ErrMalformed):
		return callMalformed
	case errors.Is(err, context.Canceled):
		return callCanceled
	}
	return callUnavailable
}

// upstream counts and measures the calls to an authority. It stands next to the source, so that a question that the breaker
// keeps away, or that waits for its turn, is no call.
type upstream struct {
	next      introspect.Introspector
	discovery *introspect.Discovery // nil where there is nothing to discover
	failure   *failure
	page      *page
}

// Introspect asks.
func (u *upstream) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	u.page.underWay.Add(1)
	defer u.page.underWay.Add(-1)
	began := time.Now()
	answer, err := u.next.Introspect(ctx, token)
	if u.discovery != nil && u.discovery.Endpoint() == "" {
		// Nobody was asked.
		if err := u.discovery.Down(); err != nil {
			u.failure.set(err, time.Now())
		}
		return answer, err
	}
	result := resultOf(answer, err)
	u.page.calls[result].Add()
	u.page.duration.Observe(time.Since(began).Seconds())
	if err != nil && result != callCanceled {
		u.failure.set(err, time.Now())
	}
	return answer, err
}

// failure is the last one of an authority. It outlives a reload. The zero value says that there was none.
type failure struct {
	mu   sync.Mutex
	text string
	at   time.Time
}

func (f *failure) set(err error, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text, f.at = err.Error(), at
}

// last returns what went wrong and when, or the zero time.
func (f *failure) last() (string, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, f.at
}

// lookupResult is where an answer came from.
type lookupResult int

const (
	lookupHit lookupResult = iota
	lookupMiss
	lookupCoalesced
	lookupStale
	lookupResults
)

// lookupResultNames are the values of the label `result`.
var lookupResultNames = [lookupResults]string{"hit", "miss", "coalesced", "stale"}

// counted counts where answers come from, in front of a memory.
type counted struct {
	next introspect.Introspector
	page *page
}

// Introspect asks. A question without an answer is a miss.
func (c *counted) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	answer, err := c.next.Introspect(ctx, token)
	result := lookupMiss
	if err == nil {
		switch answer.Source {
		case introspect.Memory:
			result = lookupHit
		case introspect.Coalesced:
			result = lookupCoalesced
		case introspect.Stale:
			result = lookupStale
		}
	}
	c.page.lookups[result].Add()
	return answer, err
}
