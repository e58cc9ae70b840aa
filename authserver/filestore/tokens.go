package filestore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// Issue implements store.Store. A digest that the store has already is refused with store.ErrConsumed, so that
// nothing can bring a revoked token back.
func (s *Store) Issue(ctx context.Context, tokens ...store.Token) error {
	issued, err := encodeTokens(tokens)
	if err != nil {
		return fmt.Errorf("issuing tokens: %w", err)
	}
	return s.write(ctx, "issuing tokens", func(c *changes) error {
		if err := issued.check(c); err != nil {
			return err
		}
		issued.put(c)
		return nil
	})
}

// Token implements store.Store.
func (s *Store) Token(ctx context.Context, digest introspect.Digest) (store.Token, error) {
	var token store.Token
	err := s.read(ctx, "reading a token", func(tx *bolt.Tx) (err error) {
		token, err = decodeToken(digest, tx.Bucket(tokensBucket).Get(digest[:]))
		return err
	})
	return token, err
}

// Rotate implements store.Store. An access token is not found, and a token that is both revoked and rotated is
// revoked.
func (s *Store) Rotate(ctx context.Context, old introspect.Digest, successors ...store.Token) error {
	issued, err := encodeTokens(successors)
	if err != nil {
		return fmt.Errorf("rotating a refresh token: %w", err)
	}
	return s.write(ctx, "rotating a refresh token", func(c *changes) error {
		token, err := decodeToken(old, c.get(tokensBucket, old[:]))
		switch {
		case err != nil:
			return err
		case token.Kind != store.Refresh:
			return store.ErrNotFound
		case token.Revoked:
			return store.ErrRevoked
		case token.Rotated:
			return store.ErrConsumed
		}
		if err := issued.check(c); err != nil {
			return err
		}
		token.Rotated = true
		record, err := encodeToken(token)
		if err != nil {
			return err
		}
		c.put(tokensBucket, old[:], record)
		issued.put(c)
		c.revoked = append(c.revoked, old)
		return nil
	})
}

// Revoke implements store.Store. Subscribers are not told again of a token that was revoked before.
func (s *Store) Revoke(ctx context.Context, digest introspect.Digest) error {
	return s.write(ctx, "revoking a token", func(c *changes) error {
		return revoke(c, []introspect.Digest{digest})
	})
}

// RevokeFamily implements store.Store. Subscribers are told of the tokens that were not revoked before.
func (s *Store) RevokeFamily(ctx context.Context, family string) error {
	prefix := introspect.DigestOf(family)
	return s.write(ctx, "revoking a family of tokens", func(c *changes) error {
		var members []introspect.Digest
		cursor := c.tx.Bucket(familiesBucket).Cursor()
		for key, _ := cursor.Seek(prefix[:]); bytes.HasPrefix(key, prefix[:]); key, _ = cursor.Next() {
			members = append(members, introspect.Digest(key[len(prefix):]))
		}
		return revoke(c, members)
	})
}

// revoke revokes all the tokens, or none if one of them cannot be.
func revoke(c *changes, digests []introspect.Digest) error {
	var revoked []introspect.Digest
	var records [][]byte
	for _, digest := range digests {
		token, err := decodeToken(digest, c.get(tokensBucket, digest[:]))
		if err != nil {
			return err
		}
		if token.Revoked {
			continue
		}
		token.Revoked = true
		record, err := encodeToken(token)
		if err != nil {
			return err
		}
		revoked, records = append(revoked, digest), append(records, record)
	}
	for i, digest := range revoked {
		c.put(tokensBucket, digest[:], records[i])
	}
	c.revoked = append(c.revoked, revoked...)
	return nil
}

func decodeToken(digest introspect.Digest, record []byte) (store.Token, error) {
	if record == nil {
		return store.Token{}, store.ErrNotFound
	}
	token := store.Token{Digest: digest}
	if err := json.Unmarshal(record, &token); err != nil {
		return store.Token{}, fmt.Errorf("decoding a token: %w", unavailable(err))
	}
	return token, nil
}

func encodeToken(token store.Token) ([]byte, error) {
	token.IssuedAt, token.ExpiresAt = token.IssuedAt.UTC(), token.ExpiresAt.UTC()
	record, err := json.Marshal(token)
	if err != nil {
		return nil, fmt.Errorf("encoding a token: %w", unavailable(err))
	}
	return record, nil
}
