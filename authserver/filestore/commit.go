package filestore

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

const (
	// maxQueue is how many writes can wait before the next writer waits to be queued.
	maxQueue = 256
	// maxBatch bounds how long the first write of a transaction waits for the last one.
	maxBatch = 256
)

// errNothingWritten rolls a transaction back that would flush for nothing.
var errNothingWritten = errors.New("nothing written")

// write is one atomic change on its way to the disk. apply runs in the committer's goroutine; it has to check first
// and to write then, and an error that it returns is its verdict and concerns nobody else.
type write struct {
	ctx    context.Context
	apply  func(*changes) error
	result chan error
}

// committer runs all that is queued in one transaction, again and again. Each write gets its own result, once what it
// wrote is on the disk and the subscribers know of it. A transaction that fails has failed for everybody in it.
type committer struct {
	db     *bolt.DB
	notify func(store.Revocation) error
	queue  chan *write
	ended  chan struct{}
}

// newCommitter starts a committer; stop ends it.
func newCommitter(db *bolt.DB, notify func(store.Revocation) error) *committer {
	c := &committer{db: db, notify: notify, queue: make(chan *write, maxQueue), ended: make(chan struct{})}
	go c.run()
	return c
}

// stop returns when all that is queued is committed. Nobody may call do any more.
func (c *committer) stop() {
	close(c.queue)
	<-c.ended
}

// do applies a change and waits for its result, or for the end of ctx. A change that was not begun by then is skipped.
func (c *committer) do(ctx context.Context, apply func(*changes) error) error {
	w := &write{ctx: ctx, apply: apply, result: make(chan error, 1)}
	select {
	case c.queue <- w:
	case <-ctx.Done():
		return fmt.Errorf("waiting to write: %w", unavailable(ctx.Err()))
	}
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the commit: %w", unavailable(ctx.Err()))
	}
}

func (c *committer) run() {
	defer close(c.ended)
	for first := range c.queue {
		batch := append(make([]*write, 0, 1+len(c.queue)), first)
		for len(c.queue) > 0 && len(batch) < maxBatch {
			batch = append(batch, <-c.queue)
		}
		c.commit(batch)
	}
}

func (c *committer) commit(batch []*write) {
	applied := make([]changes, len(batch))
	failure := guard(func() error {
		return c.db.Update(func(tx *bolt.Tx) error {
			wrote := false
			for i, w := range batch {
				if err := applied[i].apply(tx, w); err != nil {
					clear(applied)
					return err
				}
				wrote = wrote || applied[i].wrote
			}
			if !wrote {
				return errNothingWritten
			}
			return nil
		})
	})
	if errors.Is(failure, errNothingWritten) {
		failure = nil
	}
	for i, w := range batch {
		w.result <- c.settle(&applied[i], failure)
	}
}

// settle tells the subscribers what a write did, and returns what its caller is to be told. After a commit that failed
// the change may be in effect all the same, so the subscribers are told of it too. A success that a subscriber could
// not be told of is none.
func (c *committer) settle(done *changes, failure error) error {
	var untold error
	if len(done.revoked) > 0 || len(done.changed) > 0 {
		untold = c.notify(store.Revocation{Digests: done.revoked, Records: done.changed})
	}
	switch {
	case failure != nil:
		return fmt.Errorf("committing: %w", unavailable(failure))
	case untold != nil:
		return fmt.Errorf("notifying a subscriber: %w", unavailable(untold))
	default:
		return done.verdict
	}
}

// guard turns a panic into an error: the committer's goroutine is everybody's.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("recovering from a panic: %v", p)
		}
	}()
	return f()
}
