package cache

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// key is a digest over authority, client and token, so that an answer is found by nobody else.
type key [32]byte

// hash picks the bits by which ristretto files an entry. They are bits of a SHA-256 already.
func (k key) hash() uint64 {
	var hash uint64
	for _, b := range k[:8] {
		hash = hash<<8 | uint64(b)
	}
	return hash
}

// entry is what is remembered of one token: the authority's answer, never a decision.
type entry struct {
	key key
	// epoch is the state's epoch when the authority was asked.
	epoch uint64
	// answer has the source introspect.Memory.
	answer *introspect.Answer
	// failed is the last attempt to confirm the answer, if it failed.
	failed atomic.Pointer[failure]
	usage  *usage
}

// failure is an attempt to confirm an answer that failed. It names the Cache by a number: an entry must not keep the memory
// alive in which it lies.
type failure struct {
	by uint64
	at time.Time
}

func (e *entry) fail(by uint64, at time.Time) { e.failed.Store(&failure{by, at}) }

// hasFailed tells whether the last attempt of a Cache to confirm the answer has failed. Another one, which has other
// credentials and other limits, may fare better.
func (e *entry) hasFailed(by uint64) bool {
	failed := e.failed.Load()
	return failed != nil && failed.by == by
}

func (e *entry) failedWithin(by uint64, while time.Duration, now time.Time) bool {
	return e.hasFailed(by) && now.Sub(e.tried(by)) < while
}

// tried is when a Cache last asked the authority, if in vain.
func (e *entry) tried(by uint64) time.Time {
	if failed := e.failed.Load(); failed != nil && failed.by == by {
		return failed.at
	}
	return e.answer.AskedAt
}

// Memory keeps answers within a budget of bytes, and the last few beside it. Active and inactive answers are kept apart: whoever sends unknown
// tokens can push out inactive answers only. One Memory may serve several States. It is safe for concurrent use and
// nobody has to close it: what it holds goes when the last user has let go of it, which after a reload may be a
// request that outlives its handler.
type Memory struct {
	active   *ristretto.Cache[uint64, *entry]
	inactive inactiveStore
	// newcomers are the active answers that ristretto may not show yet.
	newcomers newcomers
}

// DefaultMemory is the budget of a Memory, in bytes, where nobody says otherwise.
const DefaultMemory = 64 << 20

// MinMemory is the smallest budget that a Memory accepts, in bytes.
const MinMemory = 64 << 10

// MaxMemory is the largest budget that a Memory accepts, in bytes.
const MaxMemory = 1 << 40

// entryBytes is what an active answer takes in memory beside itself: the entry, and ristretto's own records of it.
const entryBytes = 64 + 208

// typicalBytes is what an active answer takes as a rule; ristretto wants to count ten times as many keys as it keeps.
const typicalBytes = 640

// bufferItems is how many lookups ristretto notes before it wakes a goroutine that counts them.
const bufferItems = 512

// NewMemory returns a memory of the given budget in bytes, an eighth of which is for inactive answers.
func NewMemory(budget int64) (*Memory, error) {
	if budget < MinMemory || budget > MaxMemory {
		return nil, fmt.Errorf("a memory must have from %d to %d bytes, not %d", MinMemory, int64(MaxMemory), budget)
	}
	forInactive := budget / 8
	active, err := ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        max(budget/typicalBytes*10, 1024),
		MaxCost:            budget - forInactive,
		BufferItems:        bufferItems,
		IgnoreInternalCost: true,
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnExit:             (*entry).gone,
	})
	if err != nil {
		return nil, fmt.Errorf("making the memory: %w", err)
	}
	memory := &Memory{active: active, inactive: inactiveStore{limit: int(forInactive / inactiveBytes)}}
	// ristretto panics when it is used while it is being closed, so it is closed when nobody can use it any more.
	runtime.AddCleanup(memory, func(active *ristretto.Cache[uint64, *entry]) { active.Close() }, active)
	return memory, nil
}

// get returns the entry of a key, or nil.
func (m *Memory) get(k key) *entry {
	if e := m.shown(k); e != nil {
		return e
	}
	if e := m.newcomers.get(k); e != nil {
		return e
	}
	// Between the two looks it may have ceased to be new.
	if e := m.shown(k); e != nil {
		return e
	}
	return m.inactive.get(k)
}

// shown returns the entry of a key that ristretto shows, or nil.
func (m *Memory) shown(k key) *entry {
	// ristretto compares 64 bits only; a collision must not hand one user's identity to another.
	if e, ok := m.active.Get(k.hash()); ok && e.key == k {
		return e
	}
	return nil
}

// put remembers an entry in place of what was there. It says whether an active one may be seen in the place of an
// inactive one until settle.
func (m *Memory) put(e *entry) (removed bool) {
	if !e.answer.Active {
		removed = m.removeActive(e.key)
		m.inactive.put(e)
		return removed
	}
	m.inactive.remove(e.key)
	m.shows(e.key)
	e.kept()
	if !m.active.Set(e.key.hash(), e, e.bytes()) {
		e.gone()
		return false
	}
	// What is shown is replaced at once. Whether it was is known only now: it may have had to make room meanwhile.
	if shown, ok := m.active.Get(e.key.hash()); !ok || shown != e {
		m.newcomers.add(e)
	}
	return false
}

// remove forgets a key. It says whether an active entry may be seen until settle.
func (m *Memory) remove(k key) (removed bool) {
	removed = m.removeActive(k)
	m.inactive.remove(k)
	return removed
}

// removeActive has nothing to do for a key that is not there.
func (m *Memory) removeActive(k key) bool {
	if !m.shows(k) {
		return false
	}
	m.active.Del(k.hash())
	return true
}

// shows says whether ristretto has an entry of the key's. One that is on its way is waited for: it would come later than
// what is done now.
func (m *Memory) shows(k key) bool {
	if m.newcomers.remove(k) {
		m.settle()
	}
	_, shows := m.active.Get(k.hash())
	return shows
}

// settle waits until every put and remove that returned before is visible.
func (m *Memory) settle() { m.active.Wait() }

// welcome lets go of newcomers that are not new any more, if there are enough of them.
func (m *Memory) welcome() {
	if grown := m.newcomers.grown(); grown != nil {
		m.settle()
		m.newcomers.letGo(grown)
	}
}

// inactiveBytes is what an inactive answer takes in memory: the entry, the answer, and its place in a map.
const inactiveBytes = 512

// inactiveStore keeps inactive answers for the few seconds that they are worth. It has two generations: when the
// younger one is full, the older one is dropped. The zero value keeps nothing.
type inactiveStore struct {
	mu             sync.RWMutex
	limit          int
	younger, older map[key]*entry
}

func (s *inactiveStore) get(k key) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e, ok := s.younger[k]; ok {
		return e
	}
	return s.older[k]
}

func (s *inactiveStore) put(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.younger == nil || len(s.younger) >= s.limit/2 {
		for _, dropped := range s.older {
			dropped.gone()
		}
		s.younger, s.older = make(map[key]*entry), s.younger
	}
	s.drop(e.key)
	e.kept()
	s.younger[e.key] = e
}

func (s *inactiveStore) remove(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(k)
}

// drop forgets a key. The caller holds the lock.
func (s *inactiveStore) drop(k key) {
	s.younger[k].gone()
	s.older[k].gone()
	delete(s.younger, k)
	delete(s.older, k)
}

// Life says how long answers are remembered.
type Life struct {
	// TTL is the longest life of an active answer. Zero: until its exp.
	TTL time.Duration
	// DefaultTTL is the life of an active answer without exp.
	DefaultTTL time.Duration
	// NegativeTTL is the life of an inactive answer. Zero: not remembered.
	NegativeTTL time.Duration
	// Revalidate is the age from which an active answer that is in use is confirmed, in the background; from twice this age
	// it is confirmed before it is used. Zero: never.
	Revalidate time.Duration
	// Stale is how long past Revalidate an answer is used that could not be confirmed. Negative: as long as it lives.
	Stale time.Duration
	// Checks is how many answers are confirmed in the background at the same time. Default: 1.
	Checks int
}

// Defaults of a Life.
const (
	DefaultTTL         = time.Minute
	DefaultNegativeTTL = 10 * time.Second
	DefaultRevalidate  = time.Minute
)

// due is the age from which an answer has to be confirmed. It is not the same for all, so that answers that were given
// at the same time are not asked for again at the same time.
func (l Life) due(k key) time.Duration {
	return l.Revalidate - l.Revalidate/8*time.Duration(k[len(k)-1])/256
}

// end is the instant at and after which an answer must not be used.
func (l Life) end(answer *introspect.Answer) time.Time {
	if !answer.Active {
		return answer.AskedAt.Add(l.NegativeTTL)
	}
	end := answer.ExpiresAt()
	if end.IsZero() {
		end = answer.AskedAt.Add(l.DefaultTTL)
	}
	if l.TTL > 0 {
		if longest := answer.AskedAt.Add(l.TTL); longest.Before(end) {
			end = longest
		}
	}
	return end
}
