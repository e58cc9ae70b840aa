package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// PutOnce implements store.Store. The value itself is not kept, so its length does not matter.
func (s *Store) PutOnce(ctx context.Context, value string, until time.Time) error {
	digest := introspect.DigestOf(value)
	return s.put(ctx, "keeping a value that may be used once", `
insert into portcullis_once (digest, due) values ($1, $2) on conflict do nothing`, digest[:], dueAt(until))
}

// put runs an insert that inserts nothing, and is store.ErrConsumed, where the digest is there already.
func (s *Store) put(ctx context.Context, doing, insert string, arguments ...any) error {
	return s.do(ctx, doing, func(ctx context.Context, conn *pgx.Conn) error {
		done, err := conn.Exec(ctx, insert, arguments...)
		if err == nil && done.RowsAffected() == 0 {
			err = store.ErrConsumed
		}
		return err
	})
}
