package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Subscribers are whom a store tells of revocations. The zero value has none; it is safe for concurrent use.
type Subscribers struct {
	mu   sync.Mutex
	list []*subscriber
}

type subscriber struct{ notify func(Revocation) }

// Add adds a subscriber until cancel is called. A notification that has begun by then is not waited for, so that notify
// itself may call cancel; no later one follows.
func (s *Subscribers) Add(notify func(Revocation)) (cancel func()) {
	added := &subscriber{notify: notify}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list = slices.DeleteFunc(s.list, func(one *subscriber) bool { return one == added })
	}
}

// Notify tells each subscriber, and gives it digests of its own. It returns an error if one of them panicked; the
// others are told nonetheless.
func (s *Subscribers) Notify(revocation Revocation) error {
	var failures []error
	s.mu.Lock()
	list := slices.Clone(s.list)
	s.mu.Unlock()
	for _, one := range list {
		failures = append(failures, one.tell(Revocation{
			Digests: slices.Clone(revocation.Digests), Records: slices.Clone(revocation.Records),
		}))
	}
	return errors.Join(failures...)
}

func (s *subscriber) tell(revocation Revocation) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("recovering from a panic: %v", p)
		}
	}()
	s.notify(revocation)
	return nil
}
