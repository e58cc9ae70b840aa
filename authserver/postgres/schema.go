package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// migrations make each version of the schema out of the one before it, beginning with none. A migration that has been
// released is never changed.
var migrations = []string{`
create table portcullis_schema (version integer not null);
insert into portcullis_schema values (0);

-- record is JSON. family is a digest, and due when a sweep may remove the row.
create table portcullis_tokens (
	digest     bytea primary key,
	family     bytea not null,
	kind       text not null,
	rotated    boolean not null default false,
	revoked_at timestamptz,
	due        timestamptz not null,
	record     bytea not null
);
create index portcullis_tokens_family on portcullis_tokens (family);
create index portcullis_tokens_due on portcullis_tokens (due);
create index portcullis_tokens_revoked_at on portcullis_tokens (revoked_at) where revoked_at is not null;

create table portcullis_codes (
	digest     bytea primary key,
	redeemed   boolean not null default false,
	due        timestamptz not null,
	keep_until timestamptz not null,
	record     bytea not null
);
create index portcullis_codes_due on portcullis_codes (due);

create table portcullis_once (
	digest bytea primary key,
	due    timestamptz not null
);
create index portcullis_once_due on portcullis_once (due);
`, `
create table portcullis_sessions (
	digest bytea primary key,
	due    timestamptz not null,
	record bytea not null
);
create index portcullis_sessions_due on portcullis_sessions (due);
`, `
-- client and subject are digests, subject is empty where there is none.
alter table portcullis_tokens add client bytea not null default '', add subject bytea not null default '';
update portcullis_tokens as token set
	client = sha256(convert_to(coalesce(of.record ->> 'client_id', ''), 'UTF8')),
	subject = case when of.record ->> 'sub' <> '' then sha256(convert_to(of.record ->> 'sub', 'UTF8')) else '' end
from (
	select digest, replace(convert_from(record, 'UTF8'), '\u0000', '')::jsonb as record from portcullis_tokens
) as of where of.digest = token.digest;
create index portcullis_tokens_client on portcullis_tokens (client, digest);
create index portcullis_tokens_subject on portcullis_tokens (subject, digest) where subject <> '';

alter table portcullis_sessions add subject bytea not null default '';
update portcullis_sessions set subject = sha256(convert_to(
	coalesce(replace(convert_from(record, 'UTF8'), '\u0000', '')::jsonb ->> 'sub', ''), 'UTF8'));
create index portcullis_sessions_subject on portcullis_sessions (subject, digest);

-- due is null for a record that stays until it is deleted.
create table portcullis_records (
	kind    text collate "C" not null,
	name    text collate "C" not null,
	owner   text collate "C" not null,
	version bigint not null,
	due     timestamptz,
	expires timestamptz,
	value   bytea not null,
	primary key (kind, name)
);
create index portcullis_records_owner on portcullis_records (kind, owner, name);
create index portcullis_records_due on portcullis_records (due) where due is not null;
`}

// migrationLock is the key of the advisory lock under which one process at a time looks at the schema.
const migrationLock = 0x706f727463756c6c

var errForeign = errors.New("the table portcullis_schema belongs to another program, use another database")

// prepare makes sure that the database has the schema of this package.
func prepare(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return fmt.Errorf("waiting for the lock of the schema: %w", err)
		}
		found, err := version(ctx, tx)
		if err != nil {
			return fmt.Errorf("reading the schema: %w", err)
		}
		if found > len(migrations) {
			return fmt.Errorf("the database has schema version %d and this program knows %d; "+
				"use a newer version of it or another database", found, len(migrations))
		}
		if found == len(migrations) {
			return nil
		}
		for _, migration := range migrations[found:] {
			if _, err := tx.Exec(ctx, migration); err != nil {
				return fmt.Errorf("creating the schema: %w", err)
			}
		}
		_, err = tx.Exec(ctx, "update portcullis_schema set version = $1", len(migrations))
		return err
	})
}

// version is the version of the schema, or 0 if there is none.
func version(ctx context.Context, tx pgx.Tx) (int, error) {
	var there bool
	if err := tx.QueryRow(ctx, "select to_regclass('portcullis_schema') is not null").Scan(&there); err != nil {
		return 0, err
	}
	if !there {
		return 0, nil
	}
	rows, err := tx.Query(ctx, "select version from portcullis_schema")
	if err != nil {
		return 0, err
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[int])
	switch {
	case err != nil:
		return 0, err
	case len(versions) != 1 || versions[0] < 1:
		return 0, errForeign
	default:
		return versions[0], nil
	}
}
