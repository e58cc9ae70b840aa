package filestore

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// read runs f in a transaction of its own, which waits for no writer.
func (s *Store) read(ctx context.Context, doing string, f func(*bolt.Tx) error) error {
	opened, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer s.release()
	var verdict error
	if err := opened.db.View(func(tx *bolt.Tx) error {
		verdict = f(tx)
		return nil
	}); err != nil {
		return fmt.Errorf("%s: %w", doing, unavailable(err))
	}
	if verdict != nil {
		return fmt.Errorf("%s: %w", doing, verdict)
	}
	return nil
}

// write applies a change in a transaction that it may share, and returns when the change is on the disk.
func (s *Store) write(ctx context.Context, doing string, apply func(*changes) error) error {
	opened, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer s.release()
	if err := opened.commits.do(ctx, apply); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
