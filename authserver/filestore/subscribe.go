package filestore

import "github.com/portcullis-gateway/portcullis/authserver/store"

// Subscribe implements store.Store. It does not need the file. notify is called by one goroutine at a time, in the
// order of the commits. A notification that has begun when cancel is called is not waited for, so that notify itself
// may call cancel; no later one follows.
func (s *Store) Subscribe(notify func(store.Revocation)) (cancel func()) {
	return s.subscribers.Add(notify)
}
