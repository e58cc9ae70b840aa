package filestore

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/introspect"
)

var errHalfDone = errors.New("a change was refused after it had written")

// changes is what one write does within the transaction that it shares. Writing never fails for the one who writes:
// the first failure is remembered, and fails the transaction. The zero value has done nothing. It belongs to the
// committer's goroutine.
type changes struct {
	tx *bolt.Tx
	// revoked is what the subscribers are told once the transaction is committed.
	revoked []introspect.Digest
	// changed are the records that the subscribers are told of then.
	changed []introspect.Digest
	// verdict is what the write said about itself.
	verdict error
	wrote   bool
	failure error
}

// apply runs a write, unless its caller has gone. It returns an error if the transaction cannot be committed any more.
func (c *changes) apply(tx *bolt.Tx, w *write) error {
	if err := w.ctx.Err(); err != nil {
		c.verdict = unavailable(err)
		return nil
	}
	c.tx = tx
	panicked := guard(func() error {
		c.verdict = w.apply(c)
		return nil
	})
	if panicked != nil {
		c.verdict = unavailable(panicked)
	}
	switch {
	case c.failure != nil:
		return c.failure
	case c.verdict != nil && c.wrote:
		return fmt.Errorf("%w: %w", errHalfDone, c.verdict)
	default:
		return nil
	}
}

func (c *changes) get(bucket, key []byte) []byte { return c.tx.Bucket(bucket).Get(key) }

func (c *changes) has(bucket, key []byte) bool { return c.get(bucket, key) != nil }

// put keeps a value, which must not be changed afterwards.
func (c *changes) put(bucket, key, value []byte) {
	c.wrote = true
	if err := c.tx.Bucket(bucket).Put(key, value); err != nil && c.failure == nil {
		c.failure = fmt.Errorf("writing to bucket %s: %w", bucket, err)
	}
}

func (c *changes) remove(bucket, key []byte) {
	c.wrote = true
	if err := c.tx.Bucket(bucket).Delete(key); err != nil && c.failure == nil {
		c.failure = fmt.Errorf("deleting from bucket %s: %w", bucket, err)
	}
}
