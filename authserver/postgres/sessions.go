package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// PutSession implements store.Store.
func (s *Store) PutSession(ctx context.Context, session store.Session) error {
	const doing = "keeping a session"
	session.ExpiresAt = session.ExpiresAt.UTC()
	record, err := json.Marshal(session)
	if err != nil {
		return fmt.Errorf("%s: encoding it: %w", doing, unavailable(err))
	}
	return s.put(ctx, doing, `
insert into portcullis_sessions (digest, due, record, subject) values ($1, $2, $3, $4) on conflict do nothing`,
		session.Digest[:], dueAt(session.ExpiresAt), record, subjectColumn(session.Subject))
}

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, digest introspect.Digest) (store.Session, error) {
	found := store.Session{Digest: digest}
	err := s.do(ctx, "reading a session", func(ctx context.Context, conn *pgx.Conn) error {
		var record []byte
		err := conn.QueryRow(ctx, `select record from portcullis_sessions where digest = $1`, digest[:]).Scan(&record)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return store.ErrNotFound
		case err != nil:
			return err
		}
		if err := json.Unmarshal(record, &found); err != nil {
			return fmt.Errorf("decoding a session: %w", err)
		}
		return nil
	})
	if err != nil {
		return store.Session{}, err
	}
	return found, nil
}

// EndSession implements store.Store.
func (s *Store) EndSession(ctx context.Context, digest introspect.Digest) error {
	return s.do(ctx, "ending a session", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `delete from portcullis_sessions where digest = $1`, digest[:])
		return err
	})
}
