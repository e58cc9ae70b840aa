// Package cache is the Introspector that remembers.
//
// What it remembers is what the authority said, never what somebody decided from it: scope, audience, binding and
// expiry are judged anew on every request. An answer is never used at or after its exp.
package cache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// State is what outlives a reload of the configuration: the memory of one authority as one client sees it, and the
// calls that are under way. It is safe for concurrent use.
type State struct {
	memory *Memory
	prefix []byte
	usage  *usage

	mu sync.Mutex
	// flights holds, for each token, the call that a request may join and whose answer may be remembered. A call that
	// is not here any more was overtaken, by a later one or by Forget, and serves only those who wait for it.
	flights map[key]*flight
	dead    tombstones
}

// flight is one call to the authority, for any number of requests.
type flight struct {
	by     *Cache // whose credentials it uses
	began  time.Time
	epoch  uint64
	done   chan struct{} // closed when answer and err are set
	answer *introspect.Answer
	err    error
}

// NewState returns the state of an authority and client. It finds nothing in the memory but what it has put there: not
// what another one did, and not what an earlier one of the same names did, since what was revoked between the two
// nobody has told either.
func NewState(memory *Memory, authority, client string) *State {
	var prefix []byte
	for _, name := range []string{authority, client, rand.Text()} {
		prefix = binary.BigEndian.AppendUint64(prefix, uint64(len(name)))
		prefix = append(prefix, name...)
	}
	// One digest stands for all of them, so that the key of a token is made of a few bytes, however long the names are.
	sum := sha256.Sum256(prefix)
	return &State{memory: memory, prefix: sum[:], usage: new(usage), flights: make(map[key]*flight)}
}

// key digests authority, client and token, each of a fixed length by now.
func (s *State) key(token introspect.Digest) key {
	var text [2 * sha256.Size]byte
	copy(text[:], s.prefix)
	copy(text[sha256.Size:], token[:])
	return sha256.Sum256(text[:])
}

// Cache asks next about a token unless it remembers the answer, once for all requests that want to know at the same
// time. It is immutable, and safe for concurrent use.
type Cache struct {
	next  introspect.Introspector
	state *State
	life  Life
	now   func() time.Time
	// checks has room for the checks in the background that are under way.
	checks chan struct{}
}

// New returns a Cache over next.
func New(next introspect.Introspector, state *State, life Life, now func() time.Time) *Cache {
	return &Cache{next: next, state: state, life: life, now: now, checks: make(chan struct{}, max(life.Checks, 1))}
}

// Introspect returns what is remembered, joins a call that is under way, or asks.
func (c *Cache) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	k := c.state.key(token.Digest())
	e, worth := c.remembered(k, token.Since())
	switch worth {
	case fresh:
		return e.answer, nil
	case stale:
		return e.answer.From(introspect.Stale), nil
	case due:
		c.check(k, token)
		return e.answer, nil
	case overdue:
		return c.confirm(ctx, k, token, e)
	}
	return c.ask(ctx, k, token)
}

// ask returns the answer of a call that began late enough.
func (c *Cache) ask(ctx context.Context, k key, token introspect.Token) (*introspect.Answer, error) {
	for attempt := 1; ; attempt++ {
		f, source, answer := c.join(k, token)
		if answer != nil {
			return answer, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case f.err != nil && f.by != c && attempt == 1:
			// Another configuration's trouble, such as a secret that has been rotated, need not be this one's.
		case f.err != nil:
			return nil, f.err
		case source != f.answer.Source:
			return f.answer.From(source), nil
		default:
			return f.answer, nil
		}
	}
}

// worth is what a remembered answer is good for.
type worth int

const (
	nothing worth = iota // there is none that may be used
	fresh                // it may be used
	due                  // it may be used, and has to be checked
	overdue              // it has to be checked before it may be used
	stale                // it may be used, although it could not be checked
)

// remembered returns what is remembered and what it is good for.
func (c *Cache) remembered(k key, since time.Time) (*entry, worth) {
	e := c.state.memory.get(k)
	worth := c.worth(e, since)
	if worth == overdue && c.state.underWay(k) {
		worth = fresh
	}
	return e, worth
}

func (c *Cache) worth(e *entry, since time.Time) worth {
	if e == nil || e.answer.AskedAt.Before(since) || c.state.dead.dead(e.epoch, e.answer) {
		return nothing
	}
	now := c.now()
	if !now.Before(c.life.end(e.answer)) {
		return nothing
	}
	age := now.Sub(e.answer.AskedAt)
	switch {
	case c.life.Revalidate <= 0 || !e.answer.Active || age < c.life.due(e.key):
		return fresh
	case !e.failedWithin(c.life.Revalidate, now) && age < 2*c.life.Revalidate:
		return due
	case !e.failedWithin(c.life.Revalidate, now):
		return overdue
	case !since.IsZero() || c.life.Stale >= 0 && age >= c.life.Revalidate+c.life.Stale:
		return nothing
	}
	return stale
}

// underWay tells whether the authority is being asked about a token.
func (s *State) underWay(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[k] != nil
}

// check has an answer confirmed in the background, unless that is under way or enough others are. What is put off becomes
// overdue in the end.
func (c *Cache) check(k key, token introspect.Token) {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[k] != nil {
		return
	}
	select {
	case c.checks <- struct{}{}:
	default:
		return
	}
	f := c.begin(k)
	go func() {
		defer func() { <-c.checks }()
		c.fly(f, k, token.AskedSince(time.Time{}))
	}()
}

// confirm has an answer confirmed before it is used. While the authority cannot be asked the answer may do as it is.
func (c *Cache) confirm(ctx context.Context, k key, token introspect.Token, e *entry) (*introspect.Answer, error) {
	// Whoever is asked now is asked later than the answer was.
	answer, err := c.ask(ctx, k, token.AskedSince(later(token.Since(), e.answer.AskedAt.Add(1))))
	if err == nil || ctx.Err() != nil || !token.Since().IsZero() {
		return answer, err
	}
	switch e, worth := c.remembered(k, time.Time{}); worth {
	case nothing:
		return nil, err
	case stale:
		return e.answer.From(introspect.Stale), nil
	default:
		return e.answer, nil
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// join returns the call that answers for the token: one under way if it began late enough, else a new one. A call that
// ended since the caller looked has left its answer in memory.
func (c *Cache) join(k key, token introspect.Token) (*flight, introspect.Source, *introspect.Answer) {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[k]; ok && !f.began.Before(token.Since()) {
		return f, introspect.Coalesced, nil
	}
	e := s.memory.get(k)
	switch c.worth(e, token.Since()) {
	case fresh, due:
		return nil, introspect.Memory, e.answer
	case stale:
		return nil, introspect.Stale, e.answer.From(introspect.Stale)
	}
	f := c.begin(k)
	go c.fly(f, k, token.AskedSince(time.Time{}))
	return f, introspect.Miss, nil
}

// begin begins a call. The caller holds the lock.
func (c *Cache) begin(k key) *flight {
	f := &flight{by: c, began: c.now(), epoch: c.state.dead.epoch.Load(), done: make(chan struct{})}
	c.state.flights[k] = f
	return f
}

// fly makes the call on a context of its own: the request that began it may hang up, and the others still want to
// know. The call ends by itself, since every Introspector below bounds its own time.
func (c *Cache) fly(f *flight, k key, token introspect.Token) {
	defer close(f.done)
	f.answer, f.err = c.call(token)
	s := c.state
	s.mu.Lock()
	switch {
	case s.flights[k] != f:
	case f.err != nil:
		if e := s.memory.get(k); e != nil {
			e.fail(c.now())
		}
	case c.now().Before(c.life.end(f.answer)):
		s.memory.put(&entry{key: k, epoch: f.epoch, answer: f.answer.From(introspect.Memory), usage: s.usage})
	default:
		s.memory.remove(k)
	}
	s.mu.Unlock()
	s.memory.settle()

	// Until here a new request joins this flight, since ristretto shows what was put with a delay.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[k] == f {
		delete(s.flights, k)
	}
}

// call turns a panic below into an error, since nothing above a goroutine would catch it.
func (c *Cache) call(token introspect.Token) (answer *introspect.Answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			answer, err = nil, fmt.Errorf("%w: panic while asking", introspect.ErrUnavailable)
		}
	}()
	return c.next.Introspect(context.Background(), token)
}
