package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// ClientDocument is a client as whoever manages the server writes it.
type ClientDocument struct {
	ID            string          `json:"id"`
	Name          string          `json:"name,omitempty"`
	Auth          string          `json:"auth,omitempty"`
	Grants        []string        `json:"grants,omitempty"`
	RedirectURIs  []string        `json:"redirect_uris,omitempty"`
	Scopes        []string        `json:"scopes,omitempty"`
	DefaultScopes []string        `json:"default_scopes,omitempty"`
	Audiences     []string        `json:"audiences,omitempty"`
	JWKS          json.RawMessage `json:"jwks,omitempty"`
	JWKSURI       string          `json:"jwks_uri,omitempty"`
	Introspect    bool            `json:"introspect,omitempty"`
	Trusted       bool            `json:"trusted,omitempty"`
	Disabled      bool            `json:"disabled"`
}

// ClientStatus is a client as the server shows it: without its secret.
type ClientStatus struct {
	ClientDocument
	// Origin is one of FromConfiguration, FromAdmin and FromRegistration.
	Origin     string    `json:"origin"`
	CreatedAt  time.Time `json:"created_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	// Secret is there once: in the answer to the request that had it generated.
	Secret string `json:"secret,omitempty"`
}

// ClientChange is a client that is to be added, or what is to become of one.
type ClientChange struct {
	ClientDocument
	// SecretHash is the argon2id or bcrypt hash of the client's secret.
	SecretHash string `json:"secret_hash,omitempty"`
	// GenerateSecret has the server make up the client's secret.
	GenerateSecret bool `json:"generate_secret,omitempty"`
	// KeepSecret is for how many seconds the secret before it goes on.
	KeepSecret int64 `json:"keep_secret,omitempty"`
}

const (
	// secretPrefix begins every client secret that was generated.
	secretPrefix = "pcs_"
	// maxKeepSecret is the longest that two secrets are good at the same time.
	maxKeepSecret = 90 * 24 * time.Hour
	// maxSecrets is how many there can be at the same time.
	maxSecrets = 3
	// maxRecord is the longest client or user that is kept, in bytes.
	maxRecord = 64 << 10
)

// Clients returns at most limit clients in the order of their ids, behind one, and behind which id the rest is.
func (s *Server) Clients(ctx context.Context, after string, limit int) (list []ClientStatus, next string, err error) {
	for id, client := range s.clients {
		if id > after {
			list = append(list, s.statusOf(client))
		}
	}
	records, err := s.listRecords(ctx, after, limit+1, ownerClients, ownerRegistered)
	if err != nil {
		return nil, "", err
	}
	for _, record := range records {
		status, err := clientStatus(record)
		if err != nil {
			return nil, "", err
		}
		list = append(list, status)
	}
	list, next = page(list, func(c ClientStatus) string { return c.ID }, limit)
	for i := range list {
		if list[i].Origin == FromConfiguration {
			if list[i].Disabled, err = s.isMarked(ctx, list[i].ID); err != nil {
				return nil, "", err
			}
		}
	}
	return list, next, nil
}

// ClientByID returns a client.
func (s *Server) ClientByID(ctx context.Context, id string) (status ClientStatus, err error) {
	if configured := s.clients[id]; configured != nil {
		status = s.statusOf(configured)
		status.Disabled, err = s.isMarked(ctx, id)
		return status, err
	}
	record, err := s.clientRecord(ctx, id)
	if err != nil {
		return status, err
	}
	return clientStatus(record)
}

func (s *Server) clientRecord(ctx context.Context, id string) (record store.Record, err error) {
	err = store.ErrNotFound
	if isRecordName(id) && s.configured[id] == nil {
		record, err = s.store.Record(ctx, partyKind, id)
	}
	if err == nil && record.Owner == ownerUsers || errors.Is(err, store.ErrNotFound) {
		return record, unknown("there is no client with the id %q", id)
	}
	return record, err
}

// AddClient adds a client.
func (s *Server) AddClient(ctx context.Context, change ClientChange) (ClientStatus, error) {
	kept := clientRecord{CreatedAt: s.now().UTC().Truncate(time.Second)}
	secret, err := s.apply(&kept, change)
	if err != nil {
		return ClientStatus{}, err
	}
	disabled := change.Disabled
	record := store.Record{Kind: partyKind, Name: change.ID, Owner: ownerClients}
	if err := s.add(ctx, record, store.Holder{ClientID: change.ID}, func(generation uint64) any {
		kept.Generation = generation
		if disabled {
			kept.Generation |= 1
		}
		return kept
	}); err != nil {
		return ClientStatus{}, err
	}
	status, err := s.ClientByID(ctx, change.ID)
	status.Secret = secret
	return status, err
}

// ChangeClient changes a client by a function, which may be called several times: as often as others get in between. Of a
// client of the configuration only Disabled can change.
func (s *Server) ChangeClient(ctx context.Context, id string, edit func(*ClientChange) error) (ClientStatus, error) {
	if configured := s.clients[id]; configured != nil {
		return s.changeConfigured(ctx, configured, edit)
	}
	if _, err := s.clientRecord(ctx, id); err != nil {
		return ClientStatus{}, err
	}
	var secret string
	var disables bool
	err := s.changeClient(ctx, id, func(kept *clientRecord) error {
		change := ClientChange{ClientDocument: kept.document(id)}
		if err := edit(&change); err != nil {
			return err
		}
		if change.ID != id {
			return invalid("the id of a client does not change: add another client")
		}
		disables = change.Disabled
		var err error
		secret, err = s.apply(kept, change)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ClientStatus{}, unknown("there is no client with the id %q", id)
	case errors.Is(err, store.ErrConsumed):
		return ClientStatus{}, conflict("others are changing the client %q: try again", id)
	case err != nil:
		return ClientStatus{}, err
	}
	if disables {
		if err := s.endAll(ctx, store.Holder{ClientID: id}); err != nil {
			return ClientStatus{}, err
		}
	}
	status, err := s.ClientByID(ctx, id)
	status.Secret = secret
	return status, err
}

func (s *Server) changeConfigured(ctx context.Context, client *Client, edit func(*ClientChange) error) (ClientStatus, error) {
	status, err := s.ClientByID(ctx, client.ID)
	if err != nil {
		return status, err
	}
	before := ClientChange{ClientDocument: status.ClientDocument}
	after := ClientChange{ClientDocument: status.clone()}
	if err := edit(&after); err != nil {
		return status, err
	}
	disabled := after.Disabled
	after.Disabled = before.Disabled
	if same, err := equalJSON(before, after); err != nil || !same {
		return status, errors.Join(err, conflict("the client %q is in the configuration: change it there. Here it can be disabled and enabled", client.ID))
	}
	if err := s.mark(ctx, client.ID, disabled); err != nil {
		return status, err
	}
	if disabled {
		err = s.endAll(ctx, store.Holder{ClientID: client.ID})
	}
	status.Disabled = disabled
	return status, err
}

// DeleteClient deletes a client, and what it has.
func (s *Server) DeleteClient(ctx context.Context, id string) error {
	if s.clients[id] != nil {
		return conflict("the client %q is in the configuration: take it out there, or disable it", id)
	}
	if _, err := s.clientRecord(ctx, id); err != nil {
		return err
	}
	return s.remove(ctx, id, store.Holder{ClientID: id}, func() error {
		err := s.changeClient(ctx, id, func(kept *clientRecord) error {
			setGeneration(&kept.Generation, true)
			return nil
		})
		if errors.Is(err, store.ErrNotFound) {
			return unknown("there is no client with the id %q", id)
		}
		return err
	})
}

// apply writes a change into what is kept of a client, if the client can be so. It returns the secret if one was generated.
func (s *Server) apply(kept *clientRecord, change ClientChange) (secret string, err error) {
	kept.Title, kept.Auth = change.Name, change.Auth
	kept.Grants, kept.RedirectURIs = change.Grants, change.RedirectURIs
	kept.Scopes, kept.DefaultScopes, kept.Audiences = change.Scopes, change.DefaultScopes, change.Audiences
	kept.JWKS, kept.JWKSURI = change.JWKS, change.JWKSURI
	if string(kept.JWKS) == "null" {
		kept.JWKS = nil
	}
	kept.Introspect, kept.Trusted = change.Introspect, change.Trusted
	setGeneration(&kept.Generation, change.Disabled)
	hash := change.SecretHash
	switch {
	case change.GenerateSecret && hash != "":
		return "", invalid(`of "secret_hash" and "generate_secret" there can be one`)
	case change.GenerateSecret:
		secret = newToken(secretPrefix)
		hash = hashGenerated(secret)
	}
	if err := s.replaceSecret(kept, hash, change.KeepSecret); err != nil {
		return "", err
	}
	if kept.Auth == AuthSecretJWT {
		return "", invalid("client_secret_jwt needs the secret itself, which the store does not keep: use private_key_jwt, or write the client into the configuration")
	}
	if hash == "" && !kept.usesSecret() {
		kept.Secrets = nil
	}
	client, err := s.clientOf(change.ID, kept, nil)
	if err == nil {
		err = s.checkLegacy(client)
	}
	if err != nil {
		return "", invalid("%v", err)
	}
	encoded, err := json.Marshal(kept)
	if err == nil && len(encoded) > maxRecord {
		err = invalid("the client has more than %d bytes", maxRecord)
	}
	return secret, err
}

func (s *Server) replaceSecret(kept *clientRecord, hash string, keep int64) error {
	now := s.now()
	kept.Secrets = slices.DeleteFunc(kept.Secrets, func(one secretRecord) bool { return !one.Until.IsZero() && !now.Before(one.Until) })
	switch {
	case keep < 0 || keep > int64(maxKeepSecret/time.Second):
		return invalid(`"keep_secret" is a number of seconds, of %d at most`, int64(maxKeepSecret/time.Second))
	case keep > 0 && hash == "":
		return invalid(`"keep_secret" is for when the secret is replaced: add "secret_hash" or "generate_secret"`)
	case hash == "":
		return nil
	}
	if _, err := parseHash(hash); err != nil {
		return invalid("secret_hash: %v", err)
	}
	var former []secretRecord
	if keep > 0 {
		until := now.Add(time.Duration(keep) * time.Second).UTC()
		for _, one := range kept.Secrets {
			if one.Until.IsZero() || until.Before(one.Until) {
				one.Until = until
			}
			former = append(former, one)
		}
	}
	kept.Secrets = append([]secretRecord{{Hash: hash}}, former...)
	kept.Secrets = kept.Secrets[:min(len(kept.Secrets), maxSecrets)]
	return nil
}

// usesSecret says whether the client authenticates by a secret.
func (c *clientRecord) usesSecret() bool {
	return c.Auth != AuthPrivateKeyJWT && c.Auth != AuthNone && c.JWKS == nil && c.JWKSURI == ""
}

// document is the client as it was written.
func (c *clientRecord) document(id string) ClientDocument {
	return ClientDocument{
		ID: id, Name: c.Title, Auth: c.Auth, Grants: c.Grants, RedirectURIs: c.RedirectURIs, Scopes: c.Scopes,
		DefaultScopes: c.DefaultScopes, Audiences: c.Audiences, JWKS: c.JWKS, JWKSURI: c.JWKSURI,
		Introspect: c.Introspect, Trusted: c.Trusted, Disabled: c.Generation%2 == 1,
	}
}

func clientStatus(record store.Record) (status ClientStatus, err error) {
	var kept clientRecord
	if err := json.Unmarshal(record.Value, &kept); err != nil {
		return status, fmt.Errorf("reading the client %q: %w", record.Name, err)
	}
	return ClientStatus{
		ClientDocument: kept.document(record.Name), Origin: originOfRecord(record),
		CreatedAt: kept.CreatedAt, LastUsedAt: kept.LastUsedAt, ExpiresAt: record.ExpiresAt,
	}, nil
}

// statusOf is the status of a client of the configuration, but for whether it is disabled.
func (s *Server) statusOf(client *Client) ClientStatus {
	document := ClientDocument{
		ID: client.ID, Name: client.Name, Auth: client.Auth, Grants: client.Grants, RedirectURIs: client.RedirectURIs,
		Scopes: client.Scopes, DefaultScopes: client.DefaultScopes, Audiences: client.Audiences,
		Introspect: client.MayIntrospect, Trusted: client.Trusted,
	}
	status := ClientStatus{Origin: FromConfiguration, ClientDocument: document.clone()}
	if client.Keys != nil {
		status.JWKSURI = client.Keys.place()
	}
	return status
}

// clone shares no memory with what it is a copy of, into which whoever decodes JSON would write.
func (d *ClientDocument) clone() ClientDocument {
	other := *d
	for _, list := range []*[]string{&other.Grants, &other.RedirectURIs, &other.Scopes, &other.DefaultScopes, &other.Audiences} {
		*list = slices.Clone(*list)
	}
	other.JWKS = slices.Clone(d.JWKS)
	return other
}

func equalJSON(a, b any) (bool, error) {
	one, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	other, err := json.Marshal(b)
	return string(one) == string(other), err
}
