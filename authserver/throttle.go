package authserver

import (
	"math"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/network"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// throttle slows those down who guess passwords or client secrets. Nobody is locked out for good, and nobody can lock out somebody at
// another address: what one address may try for one account is little, what it may try at all is more, and what all
// addresses together may try for one account is so much that no single one uses it up. Only the first counts where the
// account has been signed in to before. It is safe for concurrent use.
type throttle struct {
	now     func() time.Time
	allowed allowances
	mu      sync.Mutex
	buckets map[bucketKey]*bucket
}

// allowance is how many failures pass at once, and how long it takes until one more does.
type allowance struct {
	burst float64
	every time.Duration
}

// allowances are those of one address for one account, of one address, of one account.
type allowances [3]allowance

// Clients are programs: what is wrong with one of them is wrong many times a second, and what guesses their secrets has
// to guess far more.
var (
	loginAllowances  = allowances{{5, 30 * time.Second}, {50, 10 * time.Second}, {200, 5 * time.Second}}
	clientAllowances = allowances{{20, 10 * time.Second}, {100, 2 * time.Second}, {1000, time.Second}}
)

// maxBuckets bounds the memory of the throttle.
const maxBuckets = 30_000

type bucketKey struct {
	kind   int
	digest introspect.Digest
}

// bucket holds the failures that are not forgotten yet.
type bucket struct {
	failures float64
	at       time.Time
	// signedIn says that the address has signed in to the account.
	signedIn bool
}

// attempt is one try that counts as a failure until it has succeeded.
type attempt struct {
	throttle *throttle
	keys     [len(allowances{})]bucketKey
}

func newThrottle(now func() time.Time, allowed allowances) *throttle {
	return &throttle{now: now, allowed: allowed, buckets: make(map[bucketKey]*bucket)}
}

// attempt is what an address tries for an account.
func (t *throttle) attempt(address, account string) attempt {
	from := network.Of(address)
	return attempt{t, [...]bucketKey{
		{0, introspect.DigestOf(from + "\n" + account)},
		{1, introspect.DigestOf(from)},
		{2, introspect.DigestOf(account)},
	}}
}

// begin counts an attempt of an address for an account, or says how long to wait before the next one.
func (t *throttle) begin(address, account string) (attempt, time.Duration) {
	tried := t.attempt(address, account)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	wait, familiar := t.wait(tried, now)
	if wait == 0 {
		t.count(tried, now, familiar)
	}
	return tried, wait
}

// wait is how long an attempt has to wait. The caller holds the lock.
func (t *throttle) wait(tried attempt, now time.Time) (wait time.Duration, familiar bool) {
	familiar = t.buckets[tried.keys[0]] != nil && t.buckets[tried.keys[0]].signedIn
	for kind, key := range tried.keys {
		if kind > 0 && familiar {
			continue
		}
		allowed := t.allowed[kind]
		if over := t.failures(key, now) + 1 - allowed.burst; over > 0 {
			wait = max(wait, time.Duration(math.Ceil(over*float64(allowed.every))))
		}
	}
	return wait, familiar
}

// count counts a failure. The caller holds the lock.
func (t *throttle) count(tried attempt, now time.Time, familiar bool) {
	for _, key := range tried.keys {
		failures := min(t.failures(key, now)+1, t.allowed[key.kind].burst)
		t.makeRoom(key, now)
		t.buckets[key] = &bucket{failures, now, key == tried.keys[0] && familiar}
	}
}

// delay is how long an attempt has to wait that is counted when it has failed.
func (a attempt) delay() time.Duration {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	wait, _ := t.wait(a, t.now())
	return wait
}

// failed counts the attempt.
func (a attempt) failed() {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	_, familiar := t.wait(a, now)
	t.count(a, now, familiar)
}

// familiar notes that the address is no stranger to the account, and forgets what it has tried for it: some clients try
// several ways to authenticate, each time.
func (a attempt) familiar() {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buckets[a.keys[0]]
	if b == nil {
		t.makeRoom(a.keys[0], t.now())
		b = &bucket{at: t.now()}
		t.buckets[a.keys[0]] = b
	}
	forgiven := b.failures
	b.signedIn, b.failures = true, 0
	for _, key := range a.keys[1:] {
		if other := t.buckets[key]; other != nil {
			other.failures = max(0, other.failures-forgiven)
		}
	}
}

// undo forgets the attempt.
func (a attempt) undo() {
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	a.forget(a.keys[:])
}

// succeeded forgets what the address has tried for the account, and that it is a stranger to it.
func (a attempt) succeeded() {
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	if b := a.throttle.buckets[a.keys[0]]; b != nil {
		b.failures, b.signedIn = 0, true
	}
	a.forget(a.keys[1:])
}

func (a attempt) forget(keys []bucketKey) {
	for _, key := range keys {
		if b := a.throttle.buckets[key]; b != nil {
			b.failures = max(0, b.failures-1)
		}
	}
}

func (t *throttle) failures(key bucketKey, now time.Time) float64 {
	b := t.buckets[key]
	if b == nil {
		return 0
	}
	return max(0, b.failures-float64(now.Sub(b.at))/float64(t.allowed[key.kind].every))
}

// makeRoom drops the emptiest of a few buckets, as the map has them at random, if there is no room for another.
func (t *throttle) makeRoom(key bucketKey, now time.Time) {
	if t.buckets[key] != nil || len(t.buckets) < maxBuckets {
		return
	}
	var emptiest bucketKey
	least, looked := math.Inf(1), 0
	for one, b := range t.buckets {
		failures := t.failures(one, now)
		if b.signedIn {
			failures++
		}
		if failures < least {
			emptiest, least = one, failures
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(t.buckets, emptiest)
}
