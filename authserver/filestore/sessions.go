package filestore

import (
	"context"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// PutSession implements store.Store.
func (s *Store) PutSession(ctx context.Context, session store.Session) error {
	session.ExpiresAt = session.ExpiresAt.UTC()
	record, err := json.Marshal(session)
	if err != nil {
		return fmt.Errorf("keeping a session: %w", unavailable(err))
	}
	due := dueAt(session.ExpiresAt, sessionDue, session.Digest)
	return s.write(ctx, "keeping a session", func(c *changes) error {
		if c.has(sessionsBucket, session.Digest[:]) {
			return store.ErrConsumed
		}
		c.put(sessionsBucket, session.Digest[:], record)
		c.put(expiryBucket, due[:], []byte{})
		c.put(holdersBucket, holderKey(ofSessions, session.Subject, session.Digest), []byte{})
		return nil
	})
}

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, digest introspect.Digest) (store.Session, error) {
	var session store.Session
	err := s.read(ctx, "reading a session", func(tx *bolt.Tx) (err error) {
		session, err = decodeSession(digest, tx.Bucket(sessionsBucket).Get(digest[:]))
		return err
	})
	return session, err
}

// EndSession implements store.Store.
func (s *Store) EndSession(ctx context.Context, digest introspect.Digest) error {
	return s.write(ctx, "ending a session", func(c *changes) error {
		record := c.get(sessionsBucket, digest[:])
		if record == nil {
			return nil
		}
		session, err := decodeSession(digest, record)
		if err != nil {
			return err
		}
		due := dueAt(session.ExpiresAt, sessionDue, digest)
		c.remove(sessionsBucket, digest[:])
		c.remove(holdersBucket, holderKey(ofSessions, session.Subject, digest))
		c.remove(expiryBucket, due[:])
		return nil
	})
}

func decodeSession(digest introspect.Digest, record []byte) (store.Session, error) {
	if record == nil {
		return store.Session{}, store.ErrNotFound
	}
	session := store.Session{Digest: digest}
	if err := json.Unmarshal(record, &session); err != nil {
		return store.Session{}, fmt.Errorf("decoding a session: %w", unavailable(err))
	}
	return session, nil
}
