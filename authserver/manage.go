package authserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The ways in which a change of the clients and users can be refused.
var (
	// ErrUnknown means that there is no such client, user, token or session.
	ErrUnknown = errors.New("unknown")
	// ErrConflict means that something else is in the way.
	ErrConflict = errors.New("conflict")
	// ErrInvalid means that what was asked for cannot be.
	ErrInvalid = errors.New("invalid")
)

// managementError is one of these, said in full.
type managementError struct {
	kind error
	text string
}

func (e *managementError) Error() string { return e.text }

func (e *managementError) Unwrap() error { return e.kind }

func unknown(format string, arguments ...any) error {
	return &managementError{ErrUnknown, fmt.Sprintf(format, arguments...)}
}

func conflict(format string, arguments ...any) error {
	return &managementError{ErrConflict, fmt.Sprintf(format, arguments...)}
}

func invalid(format string, arguments ...any) error {
	return &managementError{ErrInvalid, fmt.Sprintf(format, arguments...)}
}

// Where clients and users come from.
const (
	FromConfiguration = "configuration"
	FromAdmin         = "admin"
	FromRegistration  = "registered"
)

func originOfRecord(record store.Record) string {
	if record.Owner == ownerRegistered {
		return FromRegistration
	}
	return FromAdmin
}

// checkNewName says why a new client or user cannot have a name.
func (s *Server) checkNewName(name string) error {
	switch {
	case !isRecordName(name):
		return invalid("the name must be UTF-8 without control characters, of between 1 and %d bytes", maxName)
	case name == "." || name == ".." || strings.Contains(name, "//"):
		return invalid("the name %q would not survive in a URL: choose another", name)
	}
	if configured := s.configured[name]; configured != nil {
		kind := "user"
		if configured.client != nil {
			kind = "client"
		}
		return conflict("the configuration has a %s with the name %q already", kind, name)
	}
	return nil
}

// add keeps a new party: disabled at first, until nothing is left of an earlier one of that name.
func (s *Server) add(ctx context.Context, record store.Record, holder store.Holder, value func(generation uint64) any) error {
	if err := s.checkNewName(record.Name); err != nil {
		return err
	}
	generation := newGeneration()
	for version, generation := range []uint64{generation + 1, generation} {
		encoded, err := json.Marshal(value(generation))
		if err != nil {
			return err
		}
		record.Version, record.Value = uint64(version), encoded
		switch err := s.store.PutRecord(ctx, record); {
		case errors.Is(err, store.ErrConsumed) && version == 0:
			return s.taken(ctx, record.Name)
		case err != nil:
			return err
		}
		if version == 0 {
			if err := s.endAll(ctx, holder); err != nil {
				return err
			}
		}
	}
	return nil
}

// taken says who has a name.
func (s *Server) taken(ctx context.Context, name string) error {
	record, err := s.store.Record(ctx, partyKind, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return conflict("%q is being deleted at this moment: try again", name)
	case err != nil:
		return err
	case record.Owner == ownerUsers:
		return conflict("there is a user with the name %q already", name)
	}
	return conflict("there is a client with the id %q already", name)
}

// endAll revokes the tokens of a holder and ends the sessions of a user.
func (s *Server) endAll(ctx context.Context, holder store.Holder) error {
	if err := s.store.RevokeAll(ctx, holder); err != nil {
		return err
	}
	if holder.Subject == "" {
		return nil
	}
	return s.endSessions(ctx, holder.Subject, func(record store.Session) error { return s.store.EndSession(ctx, record.Digest) })
}

const pageOfSessions = 250

// endStored ends a session, and what came of it.
func (s *Server) endStored(ctx context.Context, record store.Session) error {
	var state sessionState
	if json.Unmarshal(record.State, &state) != nil || state.ID == "" {
		return s.store.EndSession(ctx, record.Digest)
	}
	return s.endSession(ctx, &session{digest: record.Digest, id: state.ID})
}

// endSessions calls end for each of a user's sessions.
func (s *Server) endSessions(ctx context.Context, subject string, end func(store.Session) error) error {
	var after introspect.Digest
	for {
		sessions, err := s.store.Sessions(ctx, subject, after, pageOfSessions)
		if err != nil {
			return err
		}
		for _, session := range sessions {
			if err := end(session); err != nil {
				return err
			}
		}
		if len(sessions) < pageOfSessions {
			return nil
		}
		after = sessions[len(sessions)-1].Digest
	}
}

// newGeneration is an even number that no other party has begun with.
func newGeneration() uint64 {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	return binary.BigEndian.Uint64(random) >> 2 << 1
}

// setGeneration makes a generation that of a party that is disabled, or of one that is not.
func setGeneration(generation *uint64, disabled bool) {
	if (*generation%2 == 1) != disabled {
		*generation++
	}
}

// mark disables a party of the configuration, or enables it.
func (s *Server) mark(ctx context.Context, name string, disabled bool) error {
	if !isRecordName(name) {
		return invalid("the name is too long to be disabled: take it out of the configuration")
	}
	return s.changeRecord(ctx, markKind, name, func(record *store.Record) error {
		var m mark
		if record.Version > 0 && json.Unmarshal(record.Value, &m) != nil {
			m.Generation = newGeneration() + 1
		}
		setGeneration(&m.Generation, disabled)
		var err error
		record.Value, err = json.Marshal(m)
		return err
	})
}

// isMarked says whether a party of the configuration is disabled.
func (s *Server) isMarked(ctx context.Context, name string) (bool, error) {
	found, err := s.party(ctx, name, s.state.directory.ask)
	return found == nil, err
}

// remove deletes a party of the store: disabled first, so that nothing begins while it goes.
func (s *Server) remove(ctx context.Context, name string, holder store.Holder, disable func() error) error {
	if err := disable(); err != nil {
		return err
	}
	if err := s.endAll(ctx, holder); err != nil {
		return err
	}
	return s.store.DeleteRecord(ctx, partyKind, name)
}

// listRecords returns at most limit records of the parties of each owner, in the order of their names and behind one. Those
// whose names the configuration has, or whose time is up, are left out.
func (s *Server) listRecords(ctx context.Context, after string, limit int, owners ...string) ([]store.Record, error) {
	var found []store.Record
	for _, owner := range owners {
		for from, wanted := after, limit; wanted > 0; {
			records, err := s.store.Records(ctx, partyKind, owner, from, limit)
			if err != nil {
				return nil, err
			}
			for _, record := range records {
				from = record.Name
				if wanted > 0 && s.configured[record.Name] == nil && (record.ExpiresAt.IsZero() || s.now().Before(record.ExpiresAt)) {
					found = append(found, record)
					wanted--
				}
			}
			if len(records) < limit {
				break
			}
		}
	}
	return found, nil
}

// page cuts a list, in the order of names, to its limit, and says behind which name the rest is.
func page[T any](list []T, name func(T) string, limit int) (cut []T, next string) {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	if len(list) <= limit {
		return list, ""
	}
	return list[:limit], name(list[limit-1])
}
