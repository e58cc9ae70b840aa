package cache

import "sync"

// newcomers are the entries that were given to ristretto, which shows them with a delay. To wait for each of them would
// cost more than to remember the last few here. The zero value has none; it is safe for concurrent use.
type newcomers struct {
	mu sync.RWMutex
	// young are those that came since the last time that somebody began to wait, and old those for which he waits.
	young, old map[key]*entry
	waiting    bool
}

// manyNewcomers is how many have come before somebody waits for all of them.
const manyNewcomers = 32

func (n *newcomers) get(k key) *entry {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if e, ok := n.young[k]; ok {
		return e
	}
	return n.old[k]
}

// add adds an entry that ristretto has been given.
func (n *newcomers) add(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.young == nil {
		n.young = make(map[key]*entry, manyNewcomers)
	}
	delete(n.old, e.key)
	n.young[e.key] = e
}

// remove says whether there was one.
func (n *newcomers) remove(k key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, young := n.young[k]
	_, old := n.old[k]
	delete(n.young, k)
	delete(n.old, k)
	return young || old
}

// begin says whether the caller has to wait until ristretto shows those that have come by now, and then to call end.
func (n *newcomers) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting || len(n.young) < manyNewcomers {
		return false
	}
	n.waiting, n.old, n.young = true, n.young, n.old
	return true
}

func (n *newcomers) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.old)
	n.waiting = false
}
