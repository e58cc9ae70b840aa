package authserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// consentKind is the kind of the records that remember what users have allowed.
const consentKind = "consent"

// consentTTL is how long a consent is remembered that is not used.
const consentTTL = 180 * 24 * time.Hour

// consent is what a user has allowed a client to do at some resources. Every code is issued under one, which lasts until
// the user withdraws it.
type consent struct {
	// ID is another one after a withdrawal.
	ID        string   `json:"id"`
	ClientID  string   `json:"client_id"`
	Resources []string `json:"resources,omitempty"`
	// Asked says that the user was asked, who has not been where the client is trusted.
	Asked bool     `json:"asked,omitempty"`
	Scope []string `json:"scope,omitempty"`
	Since int64    `json:"since"`
	Used  int64    `json:"used"`
	// User and Client are the generations of both: somebody who has the name later has allowed nothing.
	User   uint64 `json:"user_generation,omitempty"`
	Client uint64 `json:"client_generation,omitempty"`
}

// agreed tells whether the user need not be asked: the client is trusted, or nobody else can receive its responses and
// the user has allowed as much before. Such a consent is used thereby. A token in a redirect asks for no credentials of the
// client, so that whoever receives the response has it.
func (s *Server) agreed(ctx context.Context, a *authorization, user *User, scope []string) (bool, error) {
	if a.asks("consent") || !a.client.Trusted && (a.implicit || a.client.isUnproven(a.redirectURI)) {
		return false, nil
	}
	return s.changeConsent(ctx, a, user, func(c *consent) bool {
		return a.client.Trusted || c.Asked && len(intersect(scope, c.Scope)) == len(scope)
	})
}

// isUnproven says whether nobody knows who asks in an authorization request: the client has no credentials or has
// registered itself, or any program on the user's device can receive the response (RFC 8252 section 8.6).
func (c *Client) isUnproven(redirectURI string) bool {
	return c.Auth == AuthNone || c.registered || isPublicRedirect(redirectURI)
}

// agree remembers the user's answer: which of the scopes that were asked for are granted. What was granted before and
// not asked for now stays.
func (s *Server) agree(ctx context.Context, a *authorization, user *User, asked, granted []string) error {
	_, err := s.changeConsent(ctx, a, user, func(c *consent) bool {
		c.Asked = true
		c.Scope = slices.DeleteFunc(c.Scope, func(scope string) bool { return slices.Contains(asked, scope) })
		c.Scope = append(c.Scope, granted...)
		return true
	})
	return err
}

// errNotAgreed says that a consent does not reach far enough.
var errNotAgreed = errors.New("the user has to be asked")

// changeConsent changes the consent that an authorization request comes under, in one step, unless the function says
// that it is not to be. The code of the request is issued under what it is then.
func (s *Server) changeConsent(ctx context.Context, a *authorization, user *User, change func(*consent) bool) (bool, error) {
	name, now := consentName(user.Name, a.client.ID, a.audience), s.now()
	err := s.changeRecord(ctx, consentKind, name, func(record *store.Record) error {
		c := consent{
			ID: rand.Text(), ClientID: a.client.ID, Resources: a.audience, Since: now.Unix(),
			User: user.generation, Client: a.client.generation,
		}
		if record.Version > 0 && now.Before(record.ExpiresAt) {
			var before consent
			if err := json.Unmarshal(record.Value, &before); err != nil {
				return fmt.Errorf("reading a consent: %w", err)
			}
			if before.User == c.User && before.Client == c.Client {
				c = before
			}
		}
		if !change(&c) {
			return errNotAgreed
		}
		c.Used = now.Unix()
		a.consent = name + "." + c.ID
		record.Owner, record.ExpiresAt = user.Name, now.Add(consentTTL)
		var err error
		record.Value, err = json.Marshal(c)
		return err
	})
	if errors.Is(err, errNotAgreed) {
		return false, nil
	}
	return err == nil, err
}

// consentName is the name of the record of a consent.
func consentName(user, clientID string, resources []string) string {
	names, _ := json.Marshal(append([]string{user, clientID}, slices.Sorted(slices.Values(resources))...)) // strings can be marshaled
	digest := introspect.DigestOf(string(names))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// checkConsent revokes the tokens of a code if the consent that it was issued under was withdrawn. A withdrawal that this
// does not see has seen the tokens.
func (s *Server) checkConsent(ctx context.Context, consentOfCode, family string) error {
	name, id, _ := strings.Cut(consentOfCode, ".")
	record, err := s.store.Record(ctx, consentKind, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var c consent
	if err == nil {
		if err := json.Unmarshal(record.Value, &c); err != nil {
			return fmt.Errorf("reading a consent: %w", err)
		}
	}
	if err == nil && c.ID == id {
		return nil
	}
	if err := s.store.RevokeFamily(ctx, family); err != nil {
		return err
	}
	return errInvalidGrant
}

// consents calls a function for every consent of a user, with the name of its record.
func (s *Server) consents(ctx context.Context, user *User, do func(name string, c *consent) error) error {
	for after := ""; ; {
		records, err := s.store.Records(ctx, consentKind, user.Name, after, listed)
		if err != nil {
			return err
		}
		for _, record := range records {
			var c consent
			if err := json.Unmarshal(record.Value, &c); err != nil {
				return fmt.Errorf("reading a consent: %w", err)
			}
			if !s.now().Before(record.ExpiresAt) || c.User != user.generation {
				continue
			}
			if err := do(record.Name, &c); err != nil {
				return err
			}
		}
		if len(records) < listed {
			return nil
		}
		after = records[len(records)-1].Name
	}
}

// withdraw takes back all that a user has allowed a client to do: what is remembered of it, and every token.
func (s *Server) withdraw(ctx context.Context, user *User, clientID string) error {
	// The consents come first, so that a code that is exchanged meanwhile is caught by one or the other.
	err := s.consents(ctx, user, func(name string, c *consent) error {
		if c.ClientID != clientID {
			return nil
		}
		return s.store.DeleteRecord(ctx, consentKind, name)
	})
	if err != nil {
		return err
	}
	return s.store.RevokeAll(ctx, store.Holder{Subject: user.Name, ClientID: clientID})
}
