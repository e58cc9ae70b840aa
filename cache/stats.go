package cache

import "sync/atomic"

// Stats is what a State keeps in its memory, expired and forgotten answers included until their place is needed.
type Stats struct {
	Entries, Bytes int64
}

// Stats tells how much of the memory is the State's. It costs next to nothing.
func (s *State) Stats() Stats {
	return Stats{Entries: s.usage.entries.Load(), Bytes: s.usage.bytes.Load()}
}

// Sweep frees what was forgotten and still takes up memory. It looks at every answer in the memory.
func (s *State) Sweep() {
	s.memory.settle()
	for _, k := range s.memory.keys(func(e *entry) bool { return e.usage == s.usage && s.dead.dead(e.epoch, e.answer) }) {
		s.memory.remove(k)
	}
	s.memory.settle()
}

// usage is how much of a memory is one State's. Entries refer to it, and it to nothing, so that an entry does not keep
// the memory alive in which it lies.
type usage struct{ entries, bytes atomic.Int64 }

// bytes is what an entry takes in memory.
func (e *entry) bytes() int64 {
	if e.answer.Active {
		return int64(e.answer.Size() + entryBytes)
	}
	return inactiveBytes
}

// kept counts an entry that is put into a memory.
func (e *entry) kept() {
	e.usage.entries.Add(1)
	e.usage.bytes.Add(e.bytes())
}

// gone takes an entry out of the count that was not put into a memory after all, or has left it. There may be none.
func (e *entry) gone() {
	if e == nil {
		return
	}
	e.usage.entries.Add(-1)
	e.usage.bytes.Add(-e.bytes())
}

// keys lists the keys of the entries that a condition holds for.
func (m *Memory) keys(holds func(*entry) bool) []key {
	var keys []key
	m.active.IterValues(func(e *entry) (stop bool) {
		if holds(e) {
			keys = append(keys, e.key)
		}
		return false
	})
	m.inactive.mu.RLock()
	defer m.inactive.mu.RUnlock()
	for _, generation := range []map[key]*entry{m.inactive.younger, m.inactive.older} {
		for k, e := range generation {
			if holds(e) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}
