package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// openTimeout is how long an attempt may take.
	openTimeout = 10 * time.Second
	// retryInterval is how long a failed attempt answers for the next one.
	retryInterval = time.Second
)

// opening is one attempt at opening the database. Whoever needs it meanwhile shares it. It runs on nobody's context, so
// that a caller who gives up does not spoil it for the others.
type opening struct {
	done chan struct{}
	// The outcome is not to be read before done is closed.
	pool  *pgxpool.Pool
	err   error
	ended time.Time
}

func (o *opening) run(s *Store) {
	defer close(o.done)
	ctx, cancel := context.WithTimeout(s.life, openTimeout)
	defer cancel()
	pool, err := open(ctx, s.config)
	o.ended = time.Now()
	if err != nil {
		o.err = fmt.Errorf("opening the database: %w", unavailable(err))
		return
	}
	o.pool = pool
	ears := &listener{store: s, heard: s.made}
	conn, err := ears.connect(ctx)
	s.calls.Go(func() { ears.run(conn, err) })
}

func open(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	// The pool's own connections outlive this attempt.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config.Copy())
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// stale says whether the attempt failed so long ago that the next caller should make a new one.
func (o *opening) stale(now time.Time) bool {
	select {
	case <-o.done:
		return o.err != nil && now.Sub(o.ended) >= retryInterval
	default:
		return false
	}
}

// acquire returns a connection once the attempt has succeeded.
func (o *opening) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	select {
	case <-o.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the database: %w", ctx.Err())
	}
	if o.err != nil {
		return nil, o.err
	}
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	return o.pool.Acquire(ctx)
}
