package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// clientRecord is a client as the store keeps it.
type clientRecord struct {
	Title string `json:"name,omitempty"`
	Auth  string `json:"auth,omitempty"`
	// Secrets are the client's: the first is the current one, the others go on for a while.
	Secrets       []secretRecord  `json:"secrets,omitempty"`
	JWKS          json.RawMessage `json:"jwks,omitempty"`
	JWKSURI       string          `json:"jwks_uri,omitempty"`
	Grants        []string        `json:"grants,omitempty"`
	RedirectURIs  []string        `json:"redirect_uris,omitempty"`
	Scopes        []string        `json:"scopes,omitempty"`
	DefaultScopes []string        `json:"default_scopes,omitempty"`
	Audiences     []string        `json:"audiences,omitempty"`
	Introspect    bool            `json:"introspect,omitempty"`
	Trusted       bool            `json:"trusted,omitempty"`
	DPoPBound     bool            `json:"dpop_bound_access_tokens,omitempty"`
	// Generation is odd while the client is disabled, and counts up whenever that changes. It begins at a number of its own, so that
	// one that is deleted and added again is another.
	Generation uint64    `json:"generation,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	// ExpireUnused is after how many seconds without use the client is gone; 0: never.
	ExpireUnused int64 `json:"expire_unused,omitempty"`
	// Registration is what the server knows of a client that has registered itself, in a form of its own (RFC 7592).
	Registration json.RawMessage `json:"registration,omitempty"`
}

// secretRecord is a secret as the store keeps it.
type secretRecord struct {
	// Hash is $argon2id$… or $2… of a secret that somebody has made up, or $sha256$… of one that was generated.
	Hash string `json:"hash"`
	// Until is when the secret ends; zero: never.
	Until time.Time `json:"until,omitzero"`
}

// formerSecret is one that was replaced and goes on for a while.
type formerSecret struct {
	secret *Secret
	until  time.Time
}

// use is what is known of how a client of the store is used.
type use struct {
	last     time.Time
	noticing atomic.Bool
}

// generatedPrefix begins the hash of a secret that was generated: 256 random bits need no slow hash.
const generatedPrefix = "$sha256$"

// hashGenerated is the hash of a secret that was generated.
func hashGenerated(secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return generatedPrefix + base64.RawStdEncoding.EncodeToString(digest[:])
}

// parseHash reads a hash that the store keeps. A secret itself is none.
func parseHash(text string) (*Secret, error) {
	encoded, generated := strings.CutPrefix(text, generatedPrefix)
	if !generated {
		if !strings.HasPrefix(text, "$") {
			return nil, errors.New("is no hash")
		}
		secret, err := NewSecret(text)
		if err == nil && !secret.slow {
			err = errors.New("is no argon2id, bcrypt or sha256 hash")
		}
		if err != nil {
			return nil, err
		}
		return secret, nil
	}
	wanted, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(wanted) != sha256.Size {
		return nil, errors.New("is no sha256 hash")
	}
	return &Secret{version: versionOf(text), verify: func(secret string) bool {
		digest := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(digest[:], wanted) == 1
	}}, nil
}

// readClient reads the record of a client.
func (s *Server) readClient(record *store.Record, before *party) (*party, error) {
	var kept clientRecord
	if err := json.Unmarshal(record.Value, &kept); err != nil {
		return nil, errors.New("is not in the form of a client")
	}
	client, err := s.clientOf(record.Name, &kept, before)
	if err != nil {
		return nil, err
	}
	return &party{client: client, generation: kept.Generation, until: record.ExpiresAt}, nil
}

// clientOf makes a client of what is kept of it. What takes time to learn, such as the keys at a URL, it takes over from
// before.
func (s *Server) clientOf(id string, kept *clientRecord, before *party) (*Client, error) {
	client := &Client{
		ID:            id,
		Auth:          kept.Auth,
		Name:          kept.Title,
		Grants:        kept.Grants,
		RedirectURIs:  kept.RedirectURIs,
		Scopes:        kept.Scopes,
		DefaultScopes: kept.DefaultScopes,
		Audiences:     kept.Audiences,
		Trusted:       kept.Trusted,
		MayIntrospect: kept.Introspect,
		DPoPBound:     kept.DPoPBound,
		generation:    kept.Generation,
		use:           &use{last: kept.LastUsedAt},
		registered:    kept.Registration != nil,
	}
	remoteKeys := s.remoteKeys
	if client.registered {
		var state registeredState
		if err := json.Unmarshal(kept.Registration, &state); err != nil {
			return nil, errors.New("registration is not in its form")
		}
		client.IDTokenAlgorithm, remoteKeys = state.IDTokenAlgorithm, s.publicKeySet
	}
	for i, one := range kept.Secrets {
		secret, err := parseHash(one.Hash)
		switch {
		case err != nil:
			return nil, fmt.Errorf("secret: %w", err)
		case i > 0:
			client.former = append(client.former, formerSecret{secret, one.Until})
		case before != nil && before.client != nil && before.client.Secret != nil && before.client.Secret.version == secret.version:
			client.Secret = before.client.Secret
		default:
			client.Secret = secret
		}
	}
	var err error
	switch {
	case kept.JWKS != nil && kept.JWKSURI != "":
		return nil, errors.New("has jwks and jwks_uri, of which there can be one")
	case kept.JWKS != nil:
		if client.Keys, err = ParseKeySet(kept.JWKS); err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
	case kept.JWKSURI == "":
	case before != nil && before.client != nil && before.client.Keys != nil && before.client.Keys.url == kept.JWKSURI:
		client.Keys = before.client.Keys
	default:
		if client.Keys, err = remoteKeys(kept.JWKSURI); err != nil {
			return nil, fmt.Errorf("jwks_uri: %w", err)
		}
	}
	if err := client.check(); err != nil {
		return nil, err
	}
	if client.may(GrantJWTBearer) && len(s.assertionIssuers) == 0 {
		return nil, fmt.Errorf("the grant %s needs an 'assertion_issuer' in the configuration", GrantJWTBearer)
	}
	return client, nil
}

// noticeEvery is how often it is written down that a client is in use.
const noticeEvery = 24 * time.Hour

// notice writes down that a client of the store is in use, if that was not done of late.
func (s *Server) notice(ctx context.Context, client *Client) {
	now := s.now()
	if client.use == nil || now.Sub(client.use.last) < noticeEvery || !client.use.noticing.CompareAndSwap(false, true) {
		return
	}
	err := s.changeClient(ctx, client.ID, func(kept *clientRecord) error {
		kept.LastUsedAt = now
		return nil
	})
	if err != nil {
		client.use.noticing.Store(false)
		s.logger.WarnContext(ctx, "cannot write down that a client is in use",
			slog.String("client_id", client.ID), slog.String("error", err.Error()))
	}
}

// changeClient changes the record of a client, however many others do so at the same time.
func (s *Server) changeClient(ctx context.Context, id string, change func(*clientRecord) error) error {
	return s.changeRecord(ctx, partyKind, id, func(record *store.Record) error {
		var kept clientRecord
		if record.Version == 0 || record.Owner == ownerUsers {
			return store.ErrNotFound
		}
		if err := json.Unmarshal(record.Value, &kept); err != nil {
			return err
		}
		if err := change(&kept); err != nil {
			return err
		}
		if kept.ExpireUnused > 0 && !kept.LastUsedAt.IsZero() {
			record.ExpiresAt = kept.LastUsedAt.Add(time.Duration(kept.ExpireUnused) * time.Second)
		}
		var err error
		record.Value, err = json.Marshal(kept)
		return err
	})
}

// changeAttempts is how often a change is tried that others are in the way of.
const changeAttempts = 20

// changeRecord changes a record, however many others do so at the same time. One that is not there has version 0.
func (s *Server) changeRecord(ctx context.Context, kind, name string, change func(*store.Record) error) error {
	for attempt := 1; ; attempt++ {
		record, err := s.store.Record(ctx, kind, name)
		if errors.Is(err, store.ErrNotFound) {
			record, err = store.Record{Kind: kind, Name: name}, nil
		}
		if err != nil {
			return err
		}
		if err := change(&record); err != nil {
			return err
		}
		err = s.store.PutRecord(ctx, record)
		if !errors.Is(err, store.ErrConsumed) || attempt == changeAttempts {
			return err
		}
	}
}
