package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// holderSQL is the condition that selects the tokens of a holder, with its arguments, which are the first ones.
func holderSQL(holder store.Holder) (where string, arguments []any) {
	client := introspect.DigestOf(holder.ClientID)
	switch {
	case holder.Subject == "":
		return `client = $1`, []any{client[:]}
	case holder.ClientID == "":
		return `subject <> '' and subject = $1`, []any{subjectColumn(holder.Subject)}
	default:
		return `subject <> '' and subject = $1 and client = $2`, []any{subjectColumn(holder.Subject), client[:]}
	}
}

// Tokens implements store.Store.
func (s *Store) Tokens(
	ctx context.Context, holder store.Holder, after introspect.Digest, limit int,
) (found []store.Token, err error) {
	where, arguments := holderSQL(holder)
	n := len(arguments)
	statement := fmt.Sprintf(`
select digest, record, rotated, revoked_at is not null from portcullis_tokens
where %s and digest > $%d order by digest limit $%d`, where, n+1, n+2)
	arguments = append(arguments, after[:], limit)
	err = s.do(ctx, "listing tokens", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, statement, arguments...)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (token store.Token, err error) {
			var digest, record []byte
			var rotated, revoked bool
			if err := row.Scan(&digest, &record, &rotated, &revoked); err != nil {
				return token, err
			}
			if err := json.Unmarshal(record, &token); err != nil {
				return token, fmt.Errorf("decoding a token: %w", err)
			}
			copy(token.Digest[:], digest)
			token.Rotated, token.Revoked = rotated, revoked
			return token, nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// revokeStep is how many tokens are revoked in one transaction, so that nobody waits long.
const revokeStep = 1000

const revokeHolderSQL = `
with held as materialized (
	select digest, family from portcullis_tokens
	where %s and revoked_at is null order by digest limit $%d for update
), revoked as (
	update portcullis_tokens as token set revoked_at = clock_timestamp() from held where token.digest = held.digest
), told as (
	select count(pg_notify($%d, $%d || encode(family, 'hex'))) from (select distinct family from held) as families
)
select digest from held, told`

// RevokeAll implements store.Store. Many tokens take several transactions; when one of them fails what the ones before
// it revoked stays revoked. It ends when there was nothing to revoke, so that no successor of a token that was rotated
// meanwhile is left.
func (s *Store) RevokeAll(ctx context.Context, holder store.Holder) error {
	where, arguments := holderSQL(holder)
	n := len(arguments)
	statement := fmt.Sprintf(revokeHolderSQL, where, n+1, n+2, n+3)
	arguments = append(arguments, revokeStep, channel, s.name+" "+aFamily+" ")
	for {
		revoked := 0
		err := s.stopped(ctx, "revoking the tokens of a holder",
			func(ctx context.Context, conn *pgx.Conn) ([]introspect.Digest, error) {
				rows, err := conn.Query(ctx, statement, arguments...)
				if err != nil {
					return nil, err
				}
				found, err := digests(rows)
				revoked = len(found)
				return found, err
			})
		if err != nil || revoked == 0 {
			return err
		}
	}
}

// Sessions implements store.Store.
func (s *Store) Sessions(
	ctx context.Context, subject string, after introspect.Digest, limit int,
) (found []store.Session, err error) {
	err = s.do(ctx, "listing sessions", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
select digest, record from portcullis_sessions where subject = $1 and digest > $2 order by digest limit $3`,
			subjectColumn(subject), after[:], limit)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (session store.Session, err error) {
			var digest, record []byte
			if err := row.Scan(&digest, &record); err != nil {
				return session, err
			}
			if err := json.Unmarshal(record, &session); err != nil {
				return session, fmt.Errorf("decoding a session: %w", err)
			}
			copy(session.Digest[:], digest)
			return session, nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
