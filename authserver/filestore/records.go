package filestore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// PutRecord implements store.Store.
func (s *Store) PutRecord(ctx context.Context, record store.Record) error {
	record.ExpiresAt = record.ExpiresAt.UTC()
	replaced := record.Version
	record.Version++
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("keeping a record: %w", unavailable(err))
	}
	return s.write(ctx, "keeping a record", func(c *changes) error {
		key := recordKey(record.Kind, record.Name)
		var before store.Record
		if stored := c.get(recordsBucket, key); stored != nil {
			var err error
			if before, err = decodeRecord(stored); err != nil {
				return err
			}
		}
		if before.Version != replaced {
			return store.ErrConsumed
		}
		if replaced > 0 {
			removeRecord(c, before)
		}
		c.put(recordsBucket, key, value)
		c.put(ownersBucket, ownerKey(record.Kind, record.Owner, record.Name), []byte{})
		if !record.ExpiresAt.IsZero() {
			due := recordDueAt(record)
			c.put(expiryBucket, due[:], key)
		}
		c.changed = append(c.changed, store.RecordDigest(record.Kind, record.Name))
		return nil
	})
}

// Record implements store.Store.
func (s *Store) Record(ctx context.Context, kind, name string) (record store.Record, err error) {
	err = s.read(ctx, "reading a record", func(tx *bolt.Tx) (err error) {
		record, err = decodeRecord(tx.Bucket(recordsBucket).Get(recordKey(kind, name)))
		return err
	})
	return record, err
}

// DeleteRecord implements store.Store.
func (s *Store) DeleteRecord(ctx context.Context, kind, name string) error {
	return s.write(ctx, "deleting a record", func(c *changes) error {
		stored := c.get(recordsBucket, recordKey(kind, name))
		if stored == nil {
			return nil
		}
		record, err := decodeRecord(stored)
		if err != nil {
			return err
		}
		removeRecord(c, record)
		c.changed = append(c.changed, store.RecordDigest(kind, name))
		return nil
	})
}

// Records implements store.Store.
func (s *Store) Records(ctx context.Context, kind, owner, after string, limit int) (found []store.Record, err error) {
	err = s.read(ctx, "listing records", func(tx *bolt.Tx) error {
		bucket, from := tx.Bucket(recordsBucket), recordKey(kind, after)
		prefix := recordKey(kind, "")
		if owner != "" {
			bucket, from, prefix = tx.Bucket(ownersBucket), ownerKey(kind, owner, after), ownerKey(kind, owner, "")
		}
		cursor := bucket.Cursor()
		key, _ := cursor.Seek(from)
		if bytes.Equal(key, from) {
			key, _ = cursor.Next()
		}
		for ; bytes.HasPrefix(key, prefix) && len(found) < limit; key, _ = cursor.Next() {
			name := string(key[len(prefix):])
			record, err := decodeRecord(tx.Bucket(recordsBucket).Get(recordKey(kind, name)))
			if err != nil {
				return err
			}
			found = append(found, record)
		}
		return nil
	})
	return found, err
}

func removeRecord(c *changes, record store.Record) {
	c.remove(recordsBucket, recordKey(record.Kind, record.Name))
	c.remove(ownersBucket, ownerKey(record.Kind, record.Owner, record.Name))
	if !record.ExpiresAt.IsZero() {
		due := recordDueAt(record)
		c.remove(expiryBucket, due[:])
	}
}

func recordDueAt(record store.Record) due {
	return dueAt(record.ExpiresAt, recordDue, store.RecordDigest(record.Kind, record.Name))
}

func recordKey(kind, name string) []byte { return []byte(kind + "\x00" + name) }

func ownerKey(kind, owner, name string) []byte {
	digest := store.RecordDigest(kind, owner)
	return slices.Concat(digest[:], []byte(name))
}

func decodeRecord(stored []byte) (record store.Record, err error) {
	if stored == nil {
		return record, store.ErrNotFound
	}
	if err := json.Unmarshal(stored, &record); err != nil {
		return store.Record{}, fmt.Errorf("decoding a record: %w", unavailable(err))
	}
	return record, nil
}
