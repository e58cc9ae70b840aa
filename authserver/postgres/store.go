// Package postgres keeps the state of an authorization server in a PostgreSQL database, version 12 or newer, which
// several processes may share. Each of them hears what the others have revoked.
//
// Every verb is one statement, or one transaction that takes one round trip, and its effect is on the server's disk
// before the call that asked for it returns.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var errClosed = errors.New("the store is closed")

// Store is a store.Store in a PostgreSQL database. Make one with New, and end it with Close; the zero value is not
// usable. All methods are safe for concurrent use.
type Store struct {
	config      *pgxpool.Config
	made        time.Time
	name        string // what it signs its notifications with
	subscribers store.Subscribers
	close       func() error

	// life ends when the store is closed, and with it what nobody waits for.
	life    context.Context
	endLife context.CancelFunc

	// calls counts what Close has to wait for. It is raised only under mu and while closed is false.
	calls sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	opening *opening
}

var _ store.Store = (*Store)(nil)

// New returns a store that keeps its state in the database of a connection string, which is a URL
// (postgres://user:password@host:5432/database?sslmode=verify-full) or a list of key=value pairs. It opens no
// connection: the first call that needs the database connects, and creates the tables where they are missing. While
// that fails, calls return an error that wraps store.ErrUnavailable, and it is tried again once per second at most. No
// error repeats the connection string or its password.
func New(dsn string) (*Store, error) {
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, made: time.Now(), name: rand.Text()}
	s.life, s.endLife = context.WithCancel(context.Background())
	s.close = sync.OnceValue(s.shut)
	return s, nil
}

// Place names the database, without secrets. Two stores with the same place have the same state.
func (s *Store) Place() string { return place(s.config) }

// Subscribe implements store.Store. It does not need the database. notify is called by several goroutines at once. It
// may be told of one token more than once, of tokens that another process has revoked, and of a token whose revocation
// was tried and may have failed.
func (s *Store) Subscribe(notify func(store.Revocation)) (cancel func()) {
	return s.subscribers.Add(notify)
}

// Close implements store.Store. It may be called more than once, and on a store that never connected.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.endLife()
	s.calls.Wait()
	if s.opening != nil && s.opening.pool != nil {
		s.opening.pool.Close()
	}
	return nil
}

// enter counts a call in, and returns the attempt at opening the database whose outcome it shares.
func (s *Store) enter() (*opening, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, unavailable(errClosed)
	}
	s.calls.Add(1)
	if s.opening == nil || s.opening.stale(time.Now()) {
		s.opening = &opening{done: make(chan struct{})}
		attempt := s.opening
		s.calls.Go(func() { attempt.run(s) })
	}
	return s.opening, nil
}

// acquire returns a connection of the open database. The caller has to release it, and then to say s.calls.Done.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	current, err := s.enter()
	if err != nil {
		return nil, err
	}
	conn, err := current.acquire(ctx)
	if err != nil {
		s.calls.Done()
		return nil, unavailable(err)
	}
	return conn, nil
}

// maxAttempts is how often a transaction is run that the server ends for another one's sake.
const maxAttempts = 3

// do runs one transaction on a connection, and waits for its end or that of ctx. Once begun it is not interrupted: to
// cancel a statement costs the connection, and what it was to do may be done already.
func (s *Store) do(ctx context.Context, doing string, run func(context.Context, *pgx.Conn) error) error {
	conn, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	result := make(chan error, 1)
	go func() {
		defer s.calls.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		var err error
		for range maxAttempts {
			if err = run(ctx, conn.Conn()); !isTransient(err) {
				break
			}
		}
		conn.Release()
		result <- err
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, mapped(err))
}

// stopped is do for what makes a token inactive: whoever has to be told that it may be is told, also if the caller has
// gone, and before the call returns. stop returns the tokens; after an error they may be inactive all the same.
func (s *Store) stopped(
	ctx context.Context, doing string, stop func(context.Context, *pgx.Conn) ([]introspect.Digest, error),
) error {
	return s.do(ctx, doing, func(ctx context.Context, conn *pgx.Conn) error {
		digests, err := stop(ctx, conn)
		if isVerdict(err) || len(digests) == 0 {
			return err
		}
		untold := s.subscribers.Notify(store.Revocation{Digests: digests})
		if err == nil && untold != nil {
			return fmt.Errorf("notifying a subscriber: %w", untold)
		}
		return err
	})
}
