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

// PutCode implements store.Store. A code that the store has already is refused with store.ErrConsumed, so that
// nothing can make a redeemed code redeemable again.
func (s *Store) PutCode(ctx context.Context, code store.Code) error {
	const doing = "keeping an authorization code"
	code.Redeemed = false
	code.ExpiresAt, code.KeepUntil = code.ExpiresAt.UTC(), code.KeepUntil.UTC()
	record, err := json.Marshal(code)
	if err != nil {
		return fmt.Errorf("%s: encoding it: %w", doing, unavailable(err))
	}
	return s.put(ctx, doing, `
insert into portcullis_codes (digest, due, keep_until, record) values ($1, $2, $3, $4) on conflict do nothing`,
		code.Digest[:], dueAt(code.ExpiresAt), dueAt(code.KeepUntil), record)
}

// Code implements store.Store.
func (s *Store) Code(ctx context.Context, digest introspect.Digest) (store.Code, error) {
	var found store.Code
	err := s.do(ctx, "reading an authorization code", func(ctx context.Context, conn *pgx.Conn) (err error) {
		found, err = findCode(ctx, conn, digest)
		return err
	})
	if err != nil {
		return store.Code{}, err
	}
	return found, nil
}

func findCode(ctx context.Context, conn *pgx.Conn, digest introspect.Digest) (store.Code, error) {
	var record []byte
	var redeemed bool
	err := conn.QueryRow(ctx, `select record, redeemed from portcullis_codes where digest = $1`, digest[:]).Scan(&record, &redeemed)
	if errors.Is(err, pgx.ErrNoRows) {
		return store.Code{}, store.ErrNotFound
	}
	if err != nil {
		return store.Code{}, err
	}
	var code store.Code
	if err := json.Unmarshal(record, &code); err != nil {
		return store.Code{}, fmt.Errorf("decoding an authorization code: %w", err)
	}
	code.Digest, code.Redeemed = digest, redeemed
	return code, nil
}

// A code that was redeemed is remembered for longer.
const redeemSQL = `
with code as (
	update portcullis_codes set redeemed = true, due = greatest(due, keep_until)
	where digest = $8 and not redeemed
	returning digest
), issued as (` + issueSQL + ` where exists (select from code))
select count(*) from code`

// Redeem implements store.Store.
func (s *Store) Redeem(ctx context.Context, digest introspect.Digest, tokens ...store.Token) error {
	issued, err := encodeTokens(tokens)
	if err != nil {
		return fmt.Errorf("redeeming an authorization code: %w", err)
	}
	return s.do(ctx, "redeeming an authorization code", func(ctx context.Context, conn *pgx.Conn) error {
		var redeemed int
		err := conn.QueryRow(ctx, redeemSQL, append(issued.arguments(), digest[:])...).Scan(&redeemed)
		if err != nil || redeemed == 1 {
			return taken(err)
		}
		found, err := findCode(ctx, conn, digest)
		switch {
		case err != nil:
			return err
		case found.Redeemed:
			return store.ErrConsumed
		default: // it was not there a moment ago
			return store.ErrNotFound
		}
	})
}
