package filestore

import (
	"context"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// PutOnce implements store.Store. The value itself is not kept, so its length does not matter.
func (s *Store) PutOnce(ctx context.Context, value string, until time.Time) error {
	digest := introspect.DigestOf(value)
	due := dueAt(until, onceDue, digest)
	return s.write(ctx, "keeping a value that may be used once", func(c *changes) error {
		if c.has(onceBucket, digest[:]) {
			return store.ErrConsumed
		}
		c.put(onceBucket, digest[:], due.instant())
		c.put(expiryBucket, due[:], []byte{})
		return nil
	})
}
