package cache

import (
	"maps"
	"sync/atomic"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Selector says what to forget. Exactly one field is set; the zero value selects nothing.
type Selector struct {
	// Token selects the answer about one token, by its digest.
	Token introspect.Digest
	// Subject selects the answers whose sub is this.
	Subject string
	// ClientID selects the answers whose client_id is this.
	ClientID string
	// All selects every answer.
	All bool
}

// maxMarks bounds how many subjects and clients are kept as forgotten. One more, and everything is forgotten: the next
// requests ask again, which is never wrong.
const maxMarks = 4096

// tombstones tells which answers are forgotten although they are still in memory.
//
// Time is counted in epochs: each forgetting begins a new one, an answer belongs to the epoch in which the authority
// was asked for it, and it is dead if it was selected in a later one.
//
// The fields are read without a lock, and written under the State's mutex.
type tombstones struct {
	epoch atomic.Uint64
	// floor is the epoch before which everything is forgotten.
	floor atomic.Uint64
	// marks are the subjects and clients that were forgotten, each with the epoch before which its answers are dead.
	// The map is replaced, never changed. It is nil as long as nothing was forgotten in this way.
	marks atomic.Pointer[map[mark]uint64]
}

type mark struct {
	kind  byte // 's' for a subject, 'c' for a client
	value string
}

// dead tells whether an answer of the given epoch has been forgotten since.
func (t *tombstones) dead(epoch uint64, answer *introspect.Answer) bool {
	if epoch < t.floor.Load() {
		return true
	}
	marks := t.marks.Load()
	if marks == nil {
		return false
	}
	return epoch < (*marks)[mark{'s', answer.Subject()}] || epoch < (*marks)[mark{'c', answer.ClientID()}]
}

// bury begins a new epoch, before which everything with the mark is dead.
func (t *tombstones) bury(m mark) {
	epoch := t.epoch.Add(1)
	var marks map[mark]uint64
	if old := t.marks.Load(); old != nil {
		marks = maps.Clone(*old)
	} else {
		marks = make(map[mark]uint64)
	}
	if len(marks) >= maxMarks {
		t.floor.Store(epoch)
		clear(marks)
	}
	marks[m] = epoch
	t.marks.Store(&marks)
}

// Forget forgets the selected answers. When it returns, no request gets one of them from memory, and what the authority
// was asked before is neither kept nor given to a request that comes later. Requests that were waiting for such an
// answer still get it. What is open by the selected answers ends. It is safe for concurrent use.
func (s *State) Forget(selector Selector) {
	// At the end: whoever opens something from then on does not find the answer.
	defer s.watch.Forget(selector)
	s.mu.Lock()
	defer s.memory.settle()
	defer s.mu.Unlock()
	if selector.Token != (introspect.Digest{}) {
		k := s.key(selector.Token)
		s.flights[k].forget()
		delete(s.flights, k)
		s.memory.remove(k)
		return
	}
	switch {
	case selector.All:
		s.dead.floor.Store(s.dead.epoch.Add(1))
	case selector.Subject != "":
		s.dead.bury(mark{'s', selector.Subject})
	case selector.ClientID != "":
		s.dead.bury(mark{'c', selector.ClientID})
	default:
		return
	}
	// Whom the answers on their way are about is not known yet.
	for _, f := range s.flights {
		f.forget()
	}
	clear(s.flights)
}
