package postgres

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// newTokens are tokens that are to be kept, as the columns of issueSQL.
type newTokens struct {
	digests, families [][]byte
	kinds             []string
	due               []time.Time
	records           [][]byte
	clients, subjects [][]byte
}

func (n newTokens) arguments() []any {
	return []any{n.digests, n.families, n.kinds, n.due, n.records, n.clients, n.subjects}
}

// encodeTokens makes fresh records of the tokens: the marks that are the store's own are left out. They are sorted, so
// that two transactions that keep the same digests do not wait for each other.
func encodeTokens(tokens []store.Token) (newTokens, error) {
	sorted := slices.SortedFunc(slices.Values(tokens), func(a, b store.Token) int {
		return bytes.Compare(a.Digest[:], b.Digest[:])
	})
	encoded := newTokens{
		digests: make([][]byte, 0, len(tokens)), families: make([][]byte, 0, len(tokens)),
		kinds: make([]string, 0, len(tokens)), due: make([]time.Time, 0, len(tokens)),
		records: make([][]byte, 0, len(tokens)),
		clients: make([][]byte, 0, len(tokens)), subjects: make([][]byte, 0, len(tokens)),
	}
	for _, token := range sorted {
		token.Revoked, token.Rotated = false, false
		token.IssuedAt, token.ExpiresAt = token.IssuedAt.UTC(), token.ExpiresAt.UTC()
		record, err := json.Marshal(token)
		if err != nil {
			return newTokens{}, fmt.Errorf("encoding a token: %w", unavailable(err))
		}
		family := introspect.DigestOf(token.Family)
		encoded.digests = append(encoded.digests, token.Digest[:])
		encoded.families = append(encoded.families, family[:])
		encoded.kinds = append(encoded.kinds, string(token.Kind))
		encoded.due = append(encoded.due, dueAt(token.ExpiresAt))
		encoded.records = append(encoded.records, record)
		client := introspect.DigestOf(token.ClientID)
		encoded.clients = append(encoded.clients, client[:])
		encoded.subjects = append(encoded.subjects, subjectColumn(token.Subject))
	}
	return encoded, nil
}

// subjectColumn is the digest of a subject, or empty for a client's own token.
func subjectColumn(subject string) []byte {
	if subject == "" {
		return []byte{}
	}
	digest := introspect.DigestOf(subject)
	return digest[:]
}
