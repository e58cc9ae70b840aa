package cache

import "github.com/portcullis-gateway/portcullis/introspect"

// UnderWay tells whether the authority is being asked about a token.
func (s *State) UnderWay(token introspect.Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[s.key(token.Digest())] != nil
}

// Remember puts an answer into the memory, as a call does that was answered.
func (s *State) Remember(token introspect.Token, answer *introspect.Answer) {
	s.memory.put(&entry{key: s.key(token.Digest()), answer: answer.From(introspect.Memory), usage: s.usage})
}

// Settle waits until all that was put into the memory is there.
func (s *State) Settle() { s.memory.settle() }

// EntryBytes is what is accounted for an active answer beside its own size.
const EntryBytes = entryBytes

// InactiveBytes is what is accounted for an inactive answer.
const InactiveBytes = inactiveBytes

// ManyNewcomers is how many answers are remembered beside the budget, at most.
const ManyNewcomers = manyNewcomers
