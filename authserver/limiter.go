package authserver

import (
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/network"
)

// limiter lets every network do something a number of times at once, and then once in a while. It is safe for concurrent
// use, and bounded: if it knows too many networks it forgets one that has done little.
type limiter struct {
	allowed allowance
	now     func() time.Time
	mu      sync.Mutex
	known   map[string]tally
}

// tally is how much of what was done is not forgotten yet.
type tally struct {
	count float64
	at    time.Time
}

// tooMany refuses what was done too often.
func tooMany(wait time.Duration) error {
	return &oauthError{
		status: http.StatusTooManyRequests, code: "temporarily_unavailable", description: "too many attempts: try again later", retryAfter: wait,
	}
}

func newLimiter(allowed allowance, now func() time.Time) *limiter {
	return &limiter{allowed: allowed, now: now, known: make(map[string]tally)}
}

// full says how long a network has to wait, if it has to.
func (l *limiter) full(address string) (wait time.Duration) {
	from := network.Of(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over(l.count(from, l.now()) + 1)
}

// over is how long to wait until there is room for so many.
func (l *limiter) over(count float64) time.Duration {
	if over := count - l.allowed.burst; over > 0 {
		return time.Duration(math.Ceil(over * float64(l.allowed.every)))
	}
	return 0
}

// take counts one for the network of an address, or says how long to wait before the next one.
func (l *limiter) take(address string) (wait time.Duration) {
	from := network.Of(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	count := l.count(from, now) + 1
	if wait := l.over(count); wait > 0 {
		return wait
	}
	if _, known := l.known[from]; !known && len(l.known) >= maxBuckets {
		l.makeRoom(now)
	}
	l.known[from] = tally{count, now}
	return 0
}

func (l *limiter) count(network string, now time.Time) float64 {
	t := l.known[network]
	return max(0, t.count-float64(now.Sub(t.at))/float64(l.allowed.every))
}

// makeRoom drops the emptiest of a few, as the map has them at random.
func (l *limiter) makeRoom(now time.Time) {
	emptiest, least, looked := "", math.Inf(1), 0
	for network := range l.known {
		if count := l.count(network, now); count < least {
			emptiest, least = network, count
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(l.known, emptiest)
}
