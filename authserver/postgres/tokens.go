package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const issueSQL = `
insert into portcullis_tokens (digest, family, kind, due, record, client, subject)
select * from unnest($1::bytea[], $2::bytea[], $3::text[], $4::timestamptz[], $5::bytea[], $6::bytea[], $7::bytea[])`

// Issue implements store.Store. A digest that the store has already is refused with store.ErrConsumed, so that
// nothing can bring a revoked token back.
func (s *Store) Issue(ctx context.Context, tokens ...store.Token) error {
	issued, err := encodeTokens(tokens)
	if err != nil {
		return fmt.Errorf("issuing tokens: %w", err)
	}
	return s.do(ctx, "issuing tokens", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, issueSQL, issued.arguments()...)
		return taken(err)
	})
}

// Token implements store.Store.
func (s *Store) Token(ctx context.Context, digest introspect.Digest) (store.Token, error) {
	var found store.Token
	err := s.do(ctx, "reading a token", func(ctx context.Context, conn *pgx.Conn) (err error) {
		found, err = findToken(ctx, conn, digest)
		return err
	})
	if err != nil {
		return store.Token{}, err
	}
	return found, nil
}

func findToken(ctx context.Context, conn *pgx.Conn, digest introspect.Digest) (store.Token, error) {
	var record []byte
	var rotated, revoked bool
	err := conn.QueryRow(ctx, `
select record, rotated, revoked_at is not null from portcullis_tokens where digest = $1`, digest[:],
	).Scan(&record, &rotated, &revoked)
	if errors.Is(err, pgx.ErrNoRows) {
		return store.Token{}, store.ErrNotFound
	}
	if err != nil {
		return store.Token{}, err
	}
	var token store.Token
	if err := json.Unmarshal(record, &token); err != nil {
		return store.Token{}, fmt.Errorf("decoding a token: %w", err)
	}
	token.Digest, token.Rotated, token.Revoked = digest, rotated, revoked
	return token, nil
}

const rotateSQL = `
with old as (
	update portcullis_tokens set rotated = true
	where digest = $8 and kind = '` + string(store.Refresh) + `' and not rotated and revoked_at is null
	returning digest
), issued as (` + issueSQL + ` where exists (select from old))
select count(*) from old`

// Rotate implements store.Store. An access token is not found, and a token that is both revoked and rotated is
// revoked.
func (s *Store) Rotate(ctx context.Context, old introspect.Digest, successors ...store.Token) error {
	issued, err := encodeTokens(successors)
	if err != nil {
		return fmt.Errorf("rotating a refresh token: %w", err)
	}
	return s.stopped(ctx, "rotating a refresh token",
		func(ctx context.Context, conn *pgx.Conn) ([]introspect.Digest, error) {
			digests := []introspect.Digest{old}
			var rotated int
			err := conn.QueryRow(ctx, rotateSQL, append(issued.arguments(), old[:])...).Scan(&rotated)
			if err != nil || rotated == 1 {
				return digests, taken(err)
			}
			found, err := findToken(ctx, conn, old)
			switch {
			case err != nil:
				return digests, err
			case found.Kind != store.Refresh:
				return nil, store.ErrNotFound
			case found.Revoked:
				return nil, store.ErrRevoked
			case found.Rotated:
				return nil, store.ErrConsumed
			default: // it was not there a moment ago
				return nil, store.ErrNotFound
			}
		})
}

const revokeSQL = `
with revoked as (
	update portcullis_tokens set revoked_at = clock_timestamp()
	where digest = $1 and revoked_at is null
	returning digest
)
select exists (select from portcullis_tokens where digest = $1), (select pg_notify($2, $3) from revoked)::text`

// Revoke implements store.Store. Subscribers are told again of a token that was revoked before: whoever revoked it may
// not have told them yet.
func (s *Store) Revoke(ctx context.Context, digest introspect.Digest) error {
	return s.stopped(ctx, "revoking a token", func(ctx context.Context, conn *pgx.Conn) ([]introspect.Digest, error) {
		var known bool
		err := conn.QueryRow(ctx, revokeSQL, digest[:], channel, s.message(aToken, digest)).Scan(&known, nil)
		if err == nil && !known {
			err = store.ErrNotFound
		}
		return []introspect.Digest{digest}, err
	})
}

const (
	revokeFamilySQL = `
with members as materialized (
	select digest from portcullis_tokens where family = $1 and revoked_at is null order by digest for update
)
update portcullis_tokens as token set revoked_at = clock_timestamp() from members where token.digest = members.digest`

	revokedFamilySQL = `select digest from portcullis_tokens where family = $1 and revoked_at is not null`
)

// RevokeFamily implements store.Store. Subscribers are told again of tokens that were revoked before.
//
// A statement does not see the successors of a token that is rotated while it runs, though it waits for the rotation.
// So it is repeated until there was nothing to revoke: then nobody is rotating.
func (s *Store) RevokeFamily(ctx context.Context, family string) error {
	digest := introspect.DigestOf(family)
	return s.stopped(ctx, "revoking a family of tokens",
		func(ctx context.Context, conn *pgx.Conn) (revoked []introspect.Digest, err error) {
			for again := true; again && err == nil; {
				var found []introspect.Digest
				if again, found, err = s.revokeFamily(ctx, conn, digest); err == nil {
					revoked = found
				}
			}
			return revoked, err
		})
}

// revokeFamily revokes in one transaction, and says whether that may have left something.
func (s *Store) revokeFamily(
	ctx context.Context, conn *pgx.Conn, family introspect.Digest,
) (again bool, revoked []introspect.Digest, err error) {
	batch := new(pgx.Batch)
	batch.Queue(revokeFamilySQL, family[:])
	batch.Queue(revokeFamilySQL, family[:]).Exec(func(second pgconn.CommandTag) error {
		again = second.RowsAffected() > 0
		return nil
	})
	batch.Queue(`select pg_notify($1, $2)`, channel, s.message(aFamily, family))
	batch.Queue(revokedFamilySQL, family[:]).Query(func(rows pgx.Rows) (err error) {
		revoked, err = digests(rows)
		return err
	})
	return again, revoked, conn.SendBatch(ctx, batch).Close()
}

func digests(rows pgx.Rows) ([]introspect.Digest, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (introspect.Digest, error) {
		var digest introspect.Digest
		var read []byte
		if err := row.Scan(&read); err != nil {
			return digest, err
		}
		if copy(digest[:], read) != len(digest) || len(read) != len(digest) {
			return digest, errors.New("a digest has another length")
		}
		return digest, nil
	})
}
