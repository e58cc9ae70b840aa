package cache

import (
	"slices"
	"sync"
)

// newcomers are the entries that were given to ristretto, which shows them with a delay. To wait for each of them would
// cost more than to remember the last few here. The zero value has none; it is safe for concurrent use.
type newcomers struct {
	mu sync.RWMutex
	// young is the batch for which nobody waits yet, if there is one.
	young   *batch
	batches []*batch
}

type batch struct{ entries map[key]*entry }

// manyNewcomers is how many have come before somebody waits for all of them.
const manyNewcomers = 32

func (n *newcomers) get(k key) *entry {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, b := range n.batches {
		if e, ok := b.entries[k]; ok {
			return e
		}
	}
	return nil
}

// add adds an entry that ristretto has been given, and that was not there.
func (n *newcomers) add(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.young == nil {
		n.young = &batch{make(map[key]*entry, manyNewcomers)}
		n.batches = append(n.batches, n.young)
	}
	n.young.entries[e.key] = e
}

// remove says whether there was one.
func (n *newcomers) remove(k key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.batches {
		if _, ok := b.entries[k]; ok {
			delete(b.entries, k)
			return true
		}
	}
	return false
}

// grown returns those that have come by now, if they are many: the caller has to wait until ristretto shows them, and
// then to let go of them.
func (n *newcomers) grown() *batch {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.young == nil || len(n.young.entries) < manyNewcomers {
		return nil
	}
	grown := n.young
	n.young = nil
	return grown
}

func (n *newcomers) letGo(grown *batch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.batches = slices.DeleteFunc(n.batches, func(b *batch) bool { return b == grown })
}
