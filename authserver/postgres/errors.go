package postgres

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

// The errors of the server that mean something here (PostgreSQL documentation, appendix A).
const (
	uniqueViolation       = "23505"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	insufficientPrivilege = "42501"
)

func hasCode(err error, codes ...string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && slices.Contains(codes, refused.Code)
}

// isTransient tells whether the server has undone a transaction that would have succeeded alone.
func isTransient(err error) bool { return hasCode(err, serializationFailure, deadlockDetected) }

// isVerdict tells whether an error is the answer of a verb that did nothing.
func isVerdict(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConsumed) || errors.Is(err, store.ErrRevoked)
}

// taken turns the failure to keep a record under a digest that is there already into store.ErrConsumed.
func taken(err error) error {
	if hasCode(err, uniqueViolation) {
		return store.ErrConsumed
	}
	return err
}

// mapped makes an error one of those that package store promises.
func mapped(err error) error {
	if isVerdict(err) {
		return err
	}
	return unavailable(err)
}

// unavailable makes an error that is none of package store's own one that wraps store.ErrUnavailable.
func unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if hasCode(err, insufficientPrivilege) {
		err = fmt.Errorf("the database's user has to own the tables portcullis_*, or to be allowed to create them: %w", err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
