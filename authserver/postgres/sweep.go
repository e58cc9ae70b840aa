package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// sweepStep is how many records are removed in one transaction, so that nobody waits long for a sweep.
const sweepStep = 1000

var tables = []string{"portcullis_tokens", "portcullis_codes", "portcullis_once", "portcullis_sessions"}

// Sweep implements store.Store. A large sweep takes several transactions; when one of them fails it says how many
// records the ones before it removed. What another transaction is busy with, such as a sweep of another process, it
// leaves for the next time.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	total := 0
	for _, table := range tables {
		for total < limit {
			step := min(limit-total, sweepStep)
			removed, err := s.sweep(ctx, table, now, step)
			if err != nil {
				return total, err
			}
			total += removed
			if removed < step {
				break
			}
		}
	}
	for total < limit {
		step := min(limit-total, sweepStep)
		removed, err := s.sweepRecords(ctx, now, step)
		if err != nil {
			return total, err
		}
		total += removed
		if removed < step {
			break
		}
	}
	return total, nil
}

// sweepRecords tells the subscribers which records it removed.
func (s *Store) sweepRecords(ctx context.Context, now time.Time, limit int) (removed int, err error) {
	err = s.do(ctx, "sweeping", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
with over as materialized (
	select kind, name from portcullis_records where due <= $1 order by due limit $2 for update skip locked
)
delete from portcullis_records as record using over where record.kind = over.kind and record.name = over.name
returning record.kind, record.name`, instant(now), limit)
		if err != nil {
			return err
		}
		gone, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (introspect.Digest, error) {
			var kind, name string
			err := row.Scan(&kind, &name)
			return store.RecordDigest(kind, name), err
		})
		if err != nil || len(gone) == 0 {
			return err
		}
		removed = len(gone)
		return s.subscribers.Notify(store.Revocation{Records: gone})
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

func (s *Store) sweep(ctx context.Context, table string, now time.Time, limit int) (removed int, err error) {
	err = s.do(ctx, "sweeping", func(ctx context.Context, conn *pgx.Conn) error {
		done, err := conn.Exec(ctx, `
with over as materialized (
	select digest from `+table+` where due <= $1 order by due limit $2 for update skip locked
)
delete from `+table+` as record using over where record.digest = over.digest`, instant(now), limit)
		removed = int(done.RowsAffected())
		return err
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

var (
	firstInstant = time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC)
	lastInstant  = time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)
)

// instant is a time as the database can hold it: in whole microseconds, of which it is the last one that is over.
// Instants before the year 1 and after 9999 count as the first and the last one.
func instant(at time.Time) time.Time {
	switch {
	case at.Before(firstInstant):
		return firstInstant
	case at.After(lastInstant):
		return lastInstant
	}
	return at.UTC().Truncate(time.Microsecond)
}

// dueAt is the first instant at which what is kept until a time may be removed.
func dueAt(until time.Time) time.Time { return instant(until.Add(time.Microsecond - time.Nanosecond)) }
