package filestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// sweepStep is how many records are removed in one transaction, so that writers do not wait long for a sweep.
const sweepStep = 250

// The kinds of record that are removed when their time is up.
const (
	tokenDue byte = 't'
	codeDue  byte = 'c'
	onceDue  byte = 'o'
	// sessionDue is for sessions.
	sessionDue byte = 's'
	recordDue  byte = 'r'
)

const instantSize = 8

// due is a key of the expiry bucket: when (8 bytes that sort as the instants do), what kind of record, and its key.
// The value is the digest of the family for a token, the key for a record, and empty for the others.
type due [instantSize + 1 + len(introspect.Digest{})]byte

func dueAt(at time.Time, kind byte, digest introspect.Digest) due {
	var d due
	binary.BigEndian.PutUint64(d[:], sortable(at))
	d[instantSize] = kind
	copy(d[instantSize+1:], digest[:])
	return d
}

func (d *due) instant() []byte { return slices.Clone(d[:instantSize]) }

// sortable maps instants to numbers of the same order, in nanoseconds. Instants before the year 1678 and after 2262
// count as the first and the last one.
func sortable(at time.Time) uint64 {
	nanos := at.UnixNano()
	switch {
	case at.Before(time.Unix(0, math.MinInt64)):
		nanos = math.MinInt64
	case at.After(time.Unix(0, math.MaxInt64)):
		nanos = math.MaxInt64
	}
	return uint64(nanos) ^ 1<<63
}

// Sweep implements store.Store. A large sweep takes several transactions; when one of them fails it says how many
// records the ones before it removed.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	total := 0
	for total < limit {
		step, removed := min(limit-total, sweepStep), 0
		if err := s.write(ctx, "sweeping", func(c *changes) error {
			removed = sweep(c, now, step)
			return nil
		}); err != nil {
			return total, err
		}
		total += removed
		if removed < step {
			break
		}
	}
	return total, nil
}

func sweep(c *changes, now time.Time, limit int) int {
	type entry struct {
		key   due
		value []byte
		// holders are the places of a token or a session in the holders bucket.
		holders [][]byte
		record  *store.Record
	}
	var entries []entry
	end := binary.BigEndian.AppendUint64(nil, sortable(now))
	cursor := c.tx.Bucket(expiryBucket).Cursor()
	for key, value := cursor.First(); key != nil && len(entries) < limit; key, value = cursor.Next() {
		if bytes.Compare(key[:instantSize], end) > 0 {
			break
		}
		next := entry{key: due(key), value: bytes.Clone(value)}
		digest := introspect.Digest(key[instantSize+1:])
		switch next.key[instantSize] {
		case tokenDue:
			if token, err := decodeToken(digest, c.get(tokensBucket, digest[:])); err == nil {
				next.holders = holderKeys(token)
			}
		case sessionDue:
			if session, err := decodeSession(digest, c.get(sessionsBucket, digest[:])); err == nil {
				next.holders = [][]byte{holderKey(ofSessions, session.Subject, digest)}
			}
		case recordDue:
			if record, err := decodeRecord(c.get(recordsBucket, value)); err == nil {
				next.record = &record
			}
		}
		entries = append(entries, next)
	}
	for _, e := range entries {
		digest := e.key[instantSize+1:]
		switch e.key[instantSize] {
		case tokenDue:
			c.remove(tokensBucket, digest)
			c.remove(familiesBucket, slices.Concat(e.value, digest))
		case codeDue:
			c.remove(codesBucket, digest)
		case onceDue:
			c.remove(onceBucket, digest)
		case sessionDue:
			c.remove(sessionsBucket, digest)
		case recordDue:
			if e.record != nil {
				removeRecord(c, *e.record)
			}
			c.changed = append(c.changed, introspect.Digest(digest))
		}
		for _, key := range e.holders {
			c.remove(holdersBucket, key)
		}
		c.remove(expiryBucket, e.key[:])
	}
	return len(entries)
}
