// Package filestore keeps the state of an authorization server in one file of the local disk.
//
// The file is a bbolt database. One process at a time can have it open, and every write is on the disk before the
// call that asked for it returns; writes that come at the same time share one transaction, so that many writers pay
// for one flush between them.
package filestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

var errClosed = errors.New("the store is closed")

// Store is a store.Store in a file. Make one with New, and end it with Close; the zero value is not usable.
// All methods are safe for concurrent use.
type Store struct {
	path        string
	subscribers store.Subscribers
	close       func() error

	// calls counts what Close has to wait for. It is raised only under mu and while closed is false.
	calls sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	opening *opening
}

var _ store.Store = (*Store)(nil)

// New returns a store that keeps its state in the file at path. It does not touch the disk: the first call that needs
// the file opens it, and creates it and its directories where they are missing. While that fails, calls return an
// error that wraps store.ErrUnavailable, and the file is tried again once per second at most; a file that turns out to
// be damaged is not.
func New(path string) *Store {
	s := &Store{path: path}
	s.close = sync.OnceValue(s.shut)
	return s
}

// Close implements store.Store. It may be called more than once, and on a store that never opened its file.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.calls.Wait()
	if s.opening == nil || s.opening.err != nil {
		return nil
	}
	if err := s.opening.file.close(); err != nil {
		return fmt.Errorf("closing %s: %w", s.path, unavailable(err))
	}
	return nil
}

// acquire returns the open file. The caller has to release it, and until then the file is not closed.
func (s *Store) acquire(ctx context.Context) (*file, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	current, err := s.enter()
	if err != nil {
		return nil, err
	}
	select {
	case <-current.done:
		err = current.err
	case <-ctx.Done():
		err = fmt.Errorf("waiting for %s to open: %w", s.path, unavailable(ctx.Err()))
	}
	if err != nil {
		s.release()
		return nil, err
	}
	return current.file, nil
}

// enter counts a call in, and returns the attempt at opening the file whose outcome it shares.
func (s *Store) enter() (*opening, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, unavailable(errClosed)
	}
	s.calls.Add(1)
	if s.opening == nil || s.opening.stale(time.Now()) {
		s.opening = &opening{done: make(chan struct{})}
		attempt := s.opening
		s.calls.Go(func() { attempt.run(s.path, s.subscribers.Notify) })
	}
	return s.opening, nil
}

func (s *Store) release() { s.calls.Done() }

// unavailable makes an error that is none of package store's own one that wraps store.ErrUnavailable.
func unavailable(err error) error { return fmt.Errorf("%w: %w", store.ErrUnavailable, err) }
