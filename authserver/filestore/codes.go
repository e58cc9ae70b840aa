package filestore

import (
	"context"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// PutCode implements store.Store. A code that the store has already is refused with store.ErrConsumed, so that
// nothing can make a redeemed code redeemable again.
func (s *Store) PutCode(ctx context.Context, code store.Code) error {
	code.Redeemed = false
	record, err := encodeCode(code)
	if err != nil {
		return fmt.Errorf("keeping an authorization code: %w", err)
	}
	due := codeDueAt(code)
	return s.write(ctx, "keeping an authorization code", func(c *changes) error {
		if c.has(codesBucket, code.Digest[:]) {
			return store.ErrConsumed
		}
		c.put(codesBucket, code.Digest[:], record)
		c.put(expiryBucket, due[:], []byte{})
		return nil
	})
}

// Code implements store.Store.
func (s *Store) Code(ctx context.Context, digest introspect.Digest) (store.Code, error) {
	var code store.Code
	err := s.read(ctx, "reading an authorization code", func(tx *bolt.Tx) (err error) {
		code, err = decodeCode(digest, tx.Bucket(codesBucket).Get(digest[:]))
		return err
	})
	return code, err
}

// Redeem implements store.Store.
func (s *Store) Redeem(ctx context.Context, digest introspect.Digest, tokens ...store.Token) error {
	issued, err := encodeTokens(tokens)
	if err != nil {
		return fmt.Errorf("redeeming an authorization code: %w", err)
	}
	return s.write(ctx, "redeeming an authorization code", func(c *changes) error {
		code, err := decodeCode(digest, c.get(codesBucket, digest[:]))
		if err != nil {
			return err
		}
		if code.Redeemed {
			return store.ErrConsumed
		}
		if err := issued.check(c); err != nil {
			return err
		}
		before := codeDueAt(code)
		code.Redeemed = true
		after := codeDueAt(code)
		record, err := encodeCode(code)
		if err != nil {
			return err
		}
		c.put(codesBucket, digest[:], record)
		c.remove(expiryBucket, before[:])
		c.put(expiryBucket, after[:], []byte{})
		issued.put(c)
		return nil
	})
}

// codeDueAt says when a code can be forgotten: one that was redeemed is remembered for longer.
func codeDueAt(code store.Code) due {
	at := code.ExpiresAt
	if code.Redeemed && code.KeepUntil.After(at) {
		at = code.KeepUntil
	}
	return dueAt(at, codeDue, code.Digest)
}

func decodeCode(digest introspect.Digest, record []byte) (store.Code, error) {
	if record == nil {
		return store.Code{}, store.ErrNotFound
	}
	code := store.Code{Digest: digest}
	if err := json.Unmarshal(record, &code); err != nil {
		return store.Code{}, fmt.Errorf("decoding an authorization code: %w", unavailable(err))
	}
	return code, nil
}

func encodeCode(code store.Code) ([]byte, error) {
	code.ExpiresAt, code.KeepUntil = code.ExpiresAt.UTC(), code.KeepUntil.UTC()
	record, err := json.Marshal(code)
	if err != nil {
		return nil, fmt.Errorf("encoding an authorization code: %w", unavailable(err))
	}
	return record, nil
}
