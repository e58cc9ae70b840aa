package filestore

import (
	"bytes"
	"context"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The kinds of holder: of tokens by their user or client, and of sessions by their user.
const (
	ofSubject  = "subject\x00"
	ofClient   = "client\x00"
	ofSessions = "sessions\x00"
)

// holderKeys are the places of a token in the holders bucket.
func holderKeys(token store.Token) [][]byte {
	keys := [][]byte{holderKey(ofClient, token.ClientID, token.Digest)}
	if token.Subject != "" {
		keys = append(keys, holderKey(ofSubject, token.Subject, token.Digest))
	}
	return keys
}

func holderKey(kind, name string, digest introspect.Digest) []byte {
	holder := introspect.DigestOf(kind + name)
	return slices.Concat(holder[:], digest[:])
}

// held calls visit with what a holder has, in order, behind a digest, until visit returns false.
func held(tx *bolt.Tx, kind, name string, after introspect.Digest, visit func(introspect.Digest) bool) {
	from := holderKey(kind, name, after)
	prefix := from[:len(introspect.Digest{})]
	cursor := tx.Bucket(holdersBucket).Cursor()
	key, _ := cursor.Seek(from)
	if bytes.Equal(key, from) {
		key, _ = cursor.Next()
	}
	for ; bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		if !visit(introspect.Digest(key[len(prefix):])) {
			return
		}
	}
}

// tokensOf returns at most limit tokens of a holder behind a digest.
func tokensOf(tx *bolt.Tx, holder store.Holder, after introspect.Digest, limit int) (found []store.Token, err error) {
	kind, name := ofClient, holder.ClientID
	if holder.Subject != "" {
		kind, name = ofSubject, holder.Subject
	}
	tokens := tx.Bucket(tokensBucket)
	held(tx, kind, name, after, func(digest introspect.Digest) bool {
		var token store.Token
		if token, err = decodeToken(digest, tokens.Get(digest[:])); err != nil {
			return false
		}
		if holder.Holds(token) {
			found = append(found, token)
		}
		return len(found) < limit
	})
	return found, err
}

// Tokens implements store.Store.
func (s *Store) Tokens(
	ctx context.Context, holder store.Holder, after introspect.Digest, limit int,
) (found []store.Token, err error) {
	err = s.read(ctx, "listing tokens", func(tx *bolt.Tx) (err error) {
		found, err = tokensOf(tx, holder, after, limit)
		return err
	})
	return found, err
}

// revokeStep is how many tokens are revoked in one transaction, so that writers do not wait long.
const revokeStep = 250

// RevokeAll implements store.Store. Many tokens take several transactions; when one of them fails what the ones before
// it revoked stays revoked. A token that is rotated between two of them may leave a successor where they have been
// already, so it ends when there was nothing to revoke. Subscribers are not told again of tokens that were revoked before.
func (s *Store) RevokeAll(ctx context.Context, holder store.Holder) error {
	for {
		revoked, err := s.revokeOnce(ctx, holder)
		if err != nil || revoked == 0 {
			return err
		}
	}
}

// revokeOnce goes through the tokens of a holder once, and says how many it has revoked.
func (s *Store) revokeOnce(ctx context.Context, holder store.Holder) (revoked int, err error) {
	var after introspect.Digest
	for {
		var step []store.Token
		stepRevoked := 0
		if err := s.write(ctx, "revoking the tokens of a holder", func(c *changes) (err error) {
			if step, err = tokensOf(c.tx, holder, after, revokeStep); err != nil {
				return err
			}
			digests := make([]introspect.Digest, len(step))
			for i, token := range step {
				digests[i] = token.Digest
			}
			err = revoke(c, digests)
			stepRevoked = len(c.revoked)
			return err
		}); err != nil {
			return revoked, err
		}
		revoked += stepRevoked
		if len(step) < revokeStep {
			return revoked, nil
		}
		after = step[len(step)-1].Digest
	}
}

// Sessions implements store.Store.
func (s *Store) Sessions(
	ctx context.Context, subject string, after introspect.Digest, limit int,
) (found []store.Session, err error) {
	err = s.read(ctx, "listing sessions", func(tx *bolt.Tx) (err error) {
		sessions := tx.Bucket(sessionsBucket)
		held(tx, ofSessions, subject, after, func(digest introspect.Digest) bool {
			var session store.Session
			if session, err = decodeSession(digest, sessions.Get(digest[:])); err != nil {
				return false
			}
			found = append(found, session)
			return len(found) < limit
		})
		return err
	})
	return found, err
}

// addHolders enters the tokens and sessions of an earlier version.
func addHolders(tx *bolt.Tx) error {
	holders := tx.Bucket(holdersBucket)
	if err := tx.Bucket(tokensBucket).ForEach(func(key, record []byte) error {
		token, err := decodeToken(introspect.Digest(key), record)
		if err != nil {
			return err
		}
		for _, key := range holderKeys(token) {
			if err := holders.Put(key, []byte{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.Bucket(sessionsBucket).ForEach(func(key, record []byte) error {
		session, err := decodeSession(introspect.Digest(key), record)
		if err != nil {
			return err
		}
		return holders.Put(holderKey(ofSessions, session.Subject, session.Digest), []byte{})
	})
}
