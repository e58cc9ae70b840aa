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
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// State is what outlives a reload of the configuration: the memory of one authority as one client sees it, and the
// calls that are under way. It is safe for concurrent use.
type State struct {
	memory *Memory
	prefix [prefixSize]byte
	usage  *usage

	mu sync.Mutex
	// flights holds, for each token, the calls that are under way, the last one first.
	flights map[key]*flight
	dead    tombstones

	pilots pilots
	watch  *Watch
}

// flight is one call to the authority, for any number of requests.
type flight struct {
	by    *Cache // whose credentials it uses
	began time.Time
	epoch uint64
	// overtaken is the call about the same token that began before this one, if it is under way.
	overtaken *flight
	// forgotten says that the token was forgotten since: the answer serves those who wait for it, and is not kept. The
	// State's mutex guards it.
	forgotten bool
	done      chan struct{} // closed when answer and err are set
	answer    *introspect.Answer
	err       error
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
	sum := sha256.Sum256(prefix)
	return &State{
		memory: memory, prefix: [prefixSize]byte(sum[:]), usage: new(usage), flights: make(map[key]*flight), pilots: newPilots(),
		watch: NewWatch(),
	}
}

// Tell has a Watch hear of what is forgotten, and of what the authority calls inactive. It comes before anything else.
func (s *State) Tell(watch *Watch) { s.watch = watch }

// Remembered returns what is remembered of a token and not forgotten, or nil.
func (s *State) Remembered(token introspect.Digest) *introspect.Answer {
	e := s.memory.get(s.key(token))
	if e == nil || s.dead.dead(e.epoch, e.answer) {
		return nil
	}
	return e.answer
}

// prefixSize is how many bytes of a digest stand for an authority and a client: as many as fit into one block of SHA-256
// together with the digest of a token.
const prefixSize = 23

// key digests authority, client and token, each of a fixed length by now.
func (s *State) key(token introspect.Digest) key {
	var text [prefixSize + sha256.Size]byte
	copy(text[:], s.prefix[:])
	copy(text[prefixSize:], token[:])
	return sha256.Sum256(text[:])
}

// Cache asks next about a token unless it remembers the answer, once for all requests that want to know at the same
// time. It is immutable, and safe for concurrent use.
type Cache struct {
	id    uint64 // no other one of the process has it
	next  introspect.Introspector
	state *State
	life  Life
	now   func() time.Time
	// checks has room for the checks in the background that are under way.
	checks chan struct{}
}

// lastID is the id of the Cache that was made last.
var lastID atomic.Uint64

// New returns a Cache over next.
func New(next introspect.Introspector, state *State, life Life, now func() time.Time) *Cache {
	return &Cache{id: lastID.Add(1), next: next, state: state, life: life, now: now, checks: make(chan struct{}, max(life.Checks, 1))}
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
		return c.confirm(ctx, k, token)
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
		case introspect.IsLimited(f.err) && source == introspect.Coalesced && attempt == 1:
			// It was the one who began the call that has asked too often.
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
	// A check that began in time is enough. Who knows what has become of a token that was left alone for longer.
	if worth == overdue && c.state.beganBefore(k, e.tried(c.id).Add(2*c.life.Revalidate)) {
		worth = c.meanwhile(e, since, c.now())
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
	case e.failedWithin(c.id, c.life.Revalidate, now):
		return c.meanwhile(e, since, now)
	case age < 2*c.life.Revalidate && !e.hasFailed(c.id):
		return due
	}
	return overdue
}

// meanwhile is what an answer is good for as long as it can only wait to be confirmed.
func (c *Cache) meanwhile(e *entry, since, now time.Time) worth {
	switch {
	case !e.hasFailed(c.id):
		return fresh
	case !since.IsZero() || c.life.Stale >= 0 && now.Sub(e.answer.AskedAt) >= c.life.Revalidate+c.life.Stale:
		return nothing
	}
	return stale
}

// beganBefore tells whether a call about a token is under way that began before an instant.
func (s *State) beganBefore(k key, instant time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[k]
	return f != nil && f.began.Before(instant)
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
	s.pilots.start(job{by: c, flight: c.begin(k), key: k, token: token.AskedSince(time.Time{}).Confirming(), check: true})
}

// confirm has an answer confirmed before it is used. While the authority cannot be asked the answer may do as it is.
func (c *Cache) confirm(ctx context.Context, k key, token introspect.Token) (*introspect.Answer, error) {
	answer, err := c.ask(ctx, k, token.Confirming())
	if err == nil || ctx.Err() != nil || !token.Since().IsZero() {
		return answer, err
	}
	switch e, worth := c.remembered(k, time.Time{}); worth {
	case fresh, due:
		return e.answer, nil
	case stale:
		return e.answer.From(introspect.Stale), nil
	}
	return nil, err
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
	if c.worth(e, time.Time{}) != nothing && e.answer.Active {
		token = token.Known()
	}
	f := c.begin(k)
	s.pilots.start(job{by: c, flight: f, key: k, token: token.AskedSince(time.Time{})})
	return f, introspect.Miss, nil
}

// begin begins a call. The caller holds the lock.
func (c *Cache) begin(k key) *flight {
	s := c.state
	f := &flight{by: c, began: c.now(), epoch: s.dead.epoch.Load(), done: make(chan struct{}), overtaken: s.flights[k]}
	s.flights[k] = f
	return f
}

// fly makes the call on a context of its own: the request that began it may hang up, and the others still want to
// know. The call ends by itself, since every Introspector below bounds its own time.
func (c *Cache) fly(j job) {
	f := j.flight
	defer close(f.done)
	f.answer, f.err = c.call(j.token)
	if j.check {
		<-c.checks
	}
	c.land(f, j.key)
	c.state.watch.told(j.token, f.answer, f.err)
	c.state.memory.welcome()
}

// land keeps the answer of a call.
func (c *Cache) land(f *flight, k key) {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if removed := c.keep(f, k); removed {
		// Until it is gone for certain a new request joins this flight.
		s.mu.Unlock()
		s.memory.settle()
		s.mu.Lock()
	}
	s.landed(f, k)
}

// keep keeps what a call has told, unless something is remembered that was asked for later. It says whether an active answer
// was removed, which may be seen until the memory has settled. The caller holds the lock.
func (c *Cache) keep(f *flight, k key) (removed bool) {
	memory := c.state.memory
	e := memory.get(k)
	if f.err == nil {
		// What began before this call knows less, even where nothing of this answer is remembered.
		f.overtaken.forget()
	}
	switch {
	case e != nil && e.answer.AskedAt.After(f.began):
	case f.forgotten && f.err == nil:
	case errors.Is(f.err, introspect.ErrSaturated):
		// The gateway had too much to do. That says nothing of the authority.
	case f.err != nil:
		if e != nil {
			e.fail(c.id, c.now())
		}
	case c.now().Before(c.life.end(f.answer)):
		return memory.put(&entry{key: k, epoch: f.epoch, answer: f.answer.From(introspect.Memory), usage: c.state.usage})
	default:
		return memory.remove(k)
	}
	return false
}

// landed takes a call out of those that are under way. The caller holds the lock.
func (s *State) landed(f *flight, k key) {
	for at := s.flights[k]; at != nil; at = at.overtaken {
		if at.overtaken == f {
			at.overtaken = f.overtaken
			return
		}
	}
	switch {
	case s.flights[k] != f:
	case f.overtaken != nil && !f.overtaken.forgotten:
		s.flights[k] = f.overtaken
	default:
		delete(s.flights, k)
	}
}

// forget lets no request join a call that is under way, nor keeps its answer. The caller holds the lock.
func (f *flight) forget() {
	for ; f != nil; f = f.overtaken {
		f.forgotten = true
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
