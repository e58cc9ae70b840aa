package dpop

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// DefaultProofs is how many proofs a LocalMemory remembers where nobody says otherwise: 60 000 a second of those that
// are good for a minute. Each takes some forty bytes.
const DefaultProofs = 4 << 20

// slotSeconds is how long the slots are in which proofs are remembered, and forgotten all at once.
const slotSeconds = 8

// LocalMemory remembers the proofs that were used in this process. It forgets none that may still be good: if there are
// too many, new ones are refused. It is safe for concurrent use, and nobody has to close it.
type LocalMemory struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	size  int
	slots map[int64]map[short]struct{} // by the end of their proofs
	// gone is the last slot that was forgotten. If the clock goes back, what was in it is not new again.
	gone int64
}

// short is the part of a Digest that is kept: nobody finds two proofs that share it.
type short [16]byte

// NewLocalMemory returns a memory for a number of proofs.
func NewLocalMemory(limit int, now func() time.Time) *LocalMemory {
	return &LocalMemory{limit: limit, now: now, slots: make(map[int64]map[short]struct{})}
}

// UseOnce is that of Memory.
func (m *LocalMemory) UseOnce(_ context.Context, proof Digest, until time.Time) error {
	key, slot := short(proof[:16]), until.Unix()/slotSeconds
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	if slot <= m.gone {
		return ErrReplayed
	}
	for _, used := range m.slots {
		if _, found := used[key]; found {
			return ErrReplayed
		}
	}
	if m.size >= m.limit {
		return fmt.Errorf("%d proofs are remembered, as many as there is room for", m.size)
	}
	used := m.slots[slot]
	if used == nil {
		used = make(map[short]struct{})
		m.slots[slot] = used
	}
	used[key] = struct{}{}
	m.size++
	return nil
}

// forget forgets the slots in which no proof can be good any more.
func (m *LocalMemory) forget() {
	current := m.now().Unix() / slotSeconds
	for slot, used := range m.slots {
		if slot < current {
			m.size -= len(used)
			delete(m.slots, slot)
			m.gone = max(m.gone, slot)
		}
	}
}

var _ Memory = (*LocalMemory)(nil)
