package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	putRecordSQL = `
insert into portcullis_records (kind, name, owner, version, due, expires, value)
select $1, $2, $3, 1, $5, $6, $7 where $4 = 0
on conflict do nothing returning pg_notify($8, $9)::text`

	replaceRecordSQL = `
update portcullis_records set owner = $3, version = version + 1, due = $5, expires = $6, value = $7
where kind = $1 and name = $2 and version = $4 returning pg_notify($8, $9)::text`

	deleteRecordSQL = `
delete from portcullis_records where kind = $1 and name = $2 returning pg_notify($3, $4)::text`

	recordColumns = `select kind, name, owner, version, expires, value from portcullis_records `
)

// PutRecord implements store.Store.
func (s *Store) PutRecord(ctx context.Context, record store.Record) error {
	var due, expires *time.Time
	if !record.ExpiresAt.IsZero() {
		at, until := dueAt(record.ExpiresAt), instant(record.ExpiresAt)
		due, expires = &at, &until
	}
	digest := store.RecordDigest(record.Kind, record.Name)
	statement := putRecordSQL
	if record.Version > 0 {
		statement = replaceRecordSQL
	}
	return s.changed(ctx, "keeping a record", digest, func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		done, err := conn.Exec(ctx, statement, record.Kind, record.Name, record.Owner, int64(record.Version),
			due, expires, record.Value, channel, s.message(aRecord, digest))
		if err == nil && done.RowsAffected() == 0 {
			return false, store.ErrConsumed
		}
		return true, err
	})
}

// DeleteRecord implements store.Store.
func (s *Store) DeleteRecord(ctx context.Context, kind, name string) error {
	digest := store.RecordDigest(kind, name)
	return s.changed(ctx, "deleting a record", digest, func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		done, err := conn.Exec(ctx, deleteRecordSQL, kind, name, channel, s.message(aRecord, digest))
		return err != nil || done.RowsAffected() > 0, err
	})
}

// changed is do for what changes a record: the subscribers are told, also if the caller has gone, and before the call
// returns. change says whether there may be something to tell.
func (s *Store) changed(
	ctx context.Context, doing string, record introspect.Digest, change func(context.Context, *pgx.Conn) (bool, error),
) error {
	return s.do(ctx, doing, func(ctx context.Context, conn *pgx.Conn) error {
		tell, err := change(ctx, conn)
		if !tell {
			return err
		}
		return errors.Join(err, s.subscribers.Notify(store.Revocation{Records: []introspect.Digest{record}}))
	})
}

// Record implements store.Store.
func (s *Store) Record(ctx context.Context, kind, name string) (store.Record, error) {
	found, err := s.records(ctx, "reading a record", `where kind = $1 and name = $2`, kind, name)
	switch {
	case err != nil:
		return store.Record{}, err
	case len(found) == 0:
		return store.Record{}, store.ErrNotFound
	}
	return found[0], nil
}

// Records implements store.Store.
func (s *Store) Records(ctx context.Context, kind, owner, after string, limit int) ([]store.Record, error) {
	return s.records(ctx, "listing records",
		`where kind = $1 and ($2 = '' or owner = $2) and name > $3 order by name limit $4`, kind, owner, after, limit)
}

func (s *Store) records(ctx context.Context, doing, where string, arguments ...any) (found []store.Record, err error) {
	err = s.do(ctx, doing, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, recordColumns+where, arguments...)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (record store.Record, err error) {
			var expires *time.Time
			err = row.Scan(&record.Kind, &record.Name, &record.Owner, &record.Version, &expires, &record.Value)
			if expires != nil {
				record.ExpiresAt = expires.UTC()
			}
			return record, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
