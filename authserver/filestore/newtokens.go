package filestore

import (
	"slices"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// newTokens are tokens that are to be kept, ready to be written. They share no memory with the caller's.
type newTokens []newToken

type newToken struct {
	digest introspect.Digest
	family introspect.Digest
	record []byte
	due    due
	// holders are its places in the holders bucket.
	holders [][]byte
}

// encodeTokens makes fresh records of the tokens: the marks that are the store's own are left out.
func encodeTokens(tokens []store.Token) (newTokens, error) {
	encoded := make(newTokens, 0, len(tokens))
	for _, token := range tokens {
		token.Revoked, token.Rotated = false, false
		record, err := encodeToken(token)
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, newToken{
			digest:  token.Digest,
			family:  introspect.DigestOf(token.Family),
			record:  record,
			due:     dueAt(token.ExpiresAt, tokenDue, token.Digest),
			holders: holderKeys(token),
		})
	}
	return encoded, nil
}

// check returns store.ErrConsumed if one of the tokens is kept already, or is there twice.
func (n newTokens) check(c *changes) error {
	for i, token := range n {
		twice := slices.ContainsFunc(n[:i], func(earlier newToken) bool { return earlier.digest == token.digest })
		if twice || c.has(tokensBucket, token.digest[:]) {
			return store.ErrConsumed
		}
	}
	return nil
}

func (n newTokens) put(c *changes) {
	for _, token := range n {
		c.put(tokensBucket, token.digest[:], token.record)
		c.put(familiesBucket, slices.Concat(token.family[:], token.digest[:]), []byte{})
		c.put(expiryBucket, token.due[:], token.family[:])
		for _, key := range token.holders {
			c.put(holdersBucket, key, []byte{})
		}
	}
}
