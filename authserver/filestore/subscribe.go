package filestore

import (
	"errors"
	"slices"
	"sync"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// subscribers are told of revocations. The zero value has none; it is safe for concurrent use.
type subscribers struct {
	mu   sync.Mutex
	list []*subscriber
}

type subscriber struct{ notify func(store.Revocation) }

// Subscribe implements store.Store. It does not need the file. notify is called by one goroutine at a time, in the
// order of the commits. A notification that has begun when cancel is called is not waited for, so that notify itself
// may call cancel; no later one follows.
func (s *Store) Subscribe(notify func(store.Revocation)) (cancel func()) {
	return s.subscribers.add(notify)
}

func (s *subscribers) add(notify func(store.Revocation)) (cancel func()) {
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

// notify tells each subscriber, and gives it digests of its own. It returns an error if one of them panicked; the
// others are told nonetheless.
func (s *subscribers) notify(revocation store.Revocation) error {
	var failures []error
	s.mu.Lock()
	list := slices.Clone(s.list)
	s.mu.Unlock()
	for _, one := range list {
		failures = append(failures, guard(func() error {
			one.notify(store.Revocation{Digests: slices.Clone(revocation.Digests)})
			return nil
		}))
	}
	return errors.Join(failures...)
}
