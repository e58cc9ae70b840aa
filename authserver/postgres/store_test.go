package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/authserver/storetest"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openAt(t, fresh(t)) })
}

// An attacker who has a token, or a code, asks several processes at once.
func TestQ08TwoProcessesHaveOneWinner(t *testing.T) {
	const rounds, racers = 50, 8
	dsn := fresh(t)
	stores := []*Store{openAt(t, dsn), openAt(t, dsn)}
	ctx := t.Context()
	for name, c := range map[string]struct {
		prepare func(name string) error
		use     func(s *Store, name string, racer int) error
	}{
		"a code": {
			func(name string) error {
				return stores[0].PutCode(ctx, store.Code{Digest: introspect.DigestOf(name), ExpiresAt: time.Unix(10, 0)})
			},
			func(s *Store, name string, racer int) error {
				return s.Redeem(ctx, introspect.DigestOf(name), token(fmt.Sprint(name, racer)))
			},
		},
		"a refresh token": {
			func(name string) error { return stores[0].Issue(ctx, token(name)) },
			func(s *Store, name string, racer int) error {
				return s.Rotate(ctx, introspect.DigestOf(name), token(fmt.Sprint(name, racer)))
			},
		},
		"a jti": {
			func(string) error { return nil },
			func(s *Store, name string, _ int) error { return s.PutOnce(ctx, name, time.Unix(10, 0)) },
		},
		"a digest": {
			func(string) error { return nil },
			func(s *Store, name string, _ int) error { return s.Issue(ctx, token(name), token(name+" too")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			for round := range rounds {
				one := fmt.Sprint(name, " ", round, " of ")
				require.NoError(t, c.prepare(one))
				won := 0
				for _, err := range race(racers, func(racer int) error { return c.use(stores[racer%2], one, racer) }) {
					if err == nil {
						won++
						continue
					}
					require.ErrorIs(t, err, store.ErrConsumed)
				}
				require.Equal(t, 1, won)
			}
		})
	}
}

// An attacker who has a refresh token rotates it without end while its family is revoked by another process.
func TestNothingOutlivesItsFamilyHoweverFastItIsRotated(t *testing.T) {
	dsn := fresh(t)
	here, there, ctx := openAt(t, dsn), openAt(t, dsn), t.Context()
	for round := range 30 {
		family := fmt.Sprint("family ", round)
		rotated := make(chan struct{}, math.MaxInt16)
		var chains sync.WaitGroup
		for chain := range 4 {
			last := token(fmt.Sprint(round, "/", chain))
			last.Family = family
			require.NoError(t, there.Issue(ctx, last))
			chains.Go(func() {
				for i := 0; ; i++ {
					next := token(fmt.Sprint(round, "/", chain, "/", i))
					next.Family = family
					if err := there.Rotate(ctx, last.Digest, next); err != nil {
						assert.ErrorIs(t, err, store.ErrRevoked)
						return
					}
					last = next
					rotated <- struct{}{}
				}
			})
		}
		for range 8 {
			<-rotated
		}
		require.NoError(t, here.RevokeFamily(ctx, family))
		chains.Wait()
	}
	require.Zero(t, ask[int](t, dsn, "select count(*) from portcullis_tokens where revoked_at is null"))
}

func TestReopeningKeepsEverything(t *testing.T) {
	dsn, ctx := fresh(t), t.Context()
	s := openAt(t, dsn)
	old, next, revoked := token("old"), token("next"), token("revoked")
	old.Subject, next.ClientID = "nul \x00, Zoë, 漢", "\xff is no text"
	code := store.Code{Digest: introspect.DigestOf("code"), ExpiresAt: time.Unix(10, 0), KeepUntil: time.Unix(20, 0)}
	require.NoError(t, s.Issue(ctx, old, revoked))
	require.NoError(t, s.Rotate(ctx, old.Digest, next))
	require.NoError(t, s.Revoke(ctx, revoked.Digest))
	require.NoError(t, s.PutCode(ctx, code))
	require.NoError(t, s.Redeem(ctx, code.Digest))
	require.NoError(t, s.PutOnce(ctx, "jti", time.Unix(30, 0)))
	require.NoError(t, s.Close())

	s = openAt(t, dsn)
	require.ErrorIs(t, s.Rotate(ctx, old.Digest), store.ErrConsumed)
	require.ErrorIs(t, s.Rotate(ctx, revoked.Digest), store.ErrRevoked)
	require.ErrorIs(t, s.Redeem(ctx, code.Digest), store.ErrConsumed)
	require.ErrorIs(t, s.PutOnce(ctx, "jti", time.Unix(30, 0)), store.ErrConsumed)
	old.Rotated = true
	for _, want := range []store.Token{old, {
		Digest: next.Digest, Kind: next.Kind, Family: next.Family, ClientID: "\ufffd is no text", Scope: next.Scope,
		IssuedAt: next.IssuedAt, ExpiresAt: next.ExpiresAt,
	}} {
		found, err := s.Token(ctx, want.Digest)
		require.NoError(t, err)
		require.Equal(t, want, found)
	}
	require.NoError(t, s.Rotate(ctx, next.Digest))
}

func TestALargeSweepTakesSeveralSteps(t *testing.T) {
	dsn, ctx := fresh(t), t.Context()
	s := openAt(t, dsn)
	const all = 2*sweepStep + sweepStep/2
	tokens := make([]store.Token, all)
	for i := range tokens {
		tokens[i] = token(fmt.Sprint(i))
	}
	require.NoError(t, s.Issue(ctx, tokens...))
	for _, c := range []struct{ limit, want int }{{sweepStep + 1, sweepStep + 1}, {all, all - sweepStep - 1}, {all, 0}} {
		removed, err := s.Sweep(ctx, time.Now(), c.limit)
		require.NoError(t, err)
		require.Equal(t, c.want, removed)
	}
	require.Zero(t, ask[int](t, dsn, "select count(*) from portcullis_tokens"))
}

// What a sweep finds locked it leaves alone: it waits for nobody, and nobody deadlocks with it.
func TestASweepWaitsForNobody(t *testing.T) {
	dsn, ctx := fresh(t), t.Context()
	s := openAt(t, dsn)
	require.NoError(t, s.Issue(ctx, token("busy"), token("idle")))
	unlock := lock(t, dsn, "busy")
	removed, err := s.Sweep(ctx, time.Now(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, removed)
	unlock()
	removed, err = s.Sweep(ctx, time.Now(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, removed)
}

// lock keeps everybody else from changing a token until unlock is called.
func lock(t *testing.T, dsn, name string) (unlock func()) {
	t.Helper()
	tx, err := connect(t, dsn).Begin(t.Context())
	require.NoError(t, err)
	digest := introspect.DigestOf(name)
	_, err = tx.Exec(t.Context(), "select from portcullis_tokens where digest = $1 for update", digest[:])
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}

// backends counts the connections of the stores of a test that a condition holds for.
func backends(t *testing.T, dsn, name, condition string) int {
	t.Helper()
	return ask[int](t, dsn, "select count(*) from pg_stat_activity where application_name = '"+name+"' and "+condition)
}

// A client that hangs up must not cost a connection, nor keep others in the process from hearing what it has revoked.
func TestACallerWhoGivesUp(t *testing.T) {
	dsn := empty(t, testpostgres.Shared(t), "application_name=hanging-up")
	s := openAt(t, dsn)
	one := token("a")
	require.NoError(t, s.Issue(t.Context(), one))
	before := ask[[]int32](t, dsn, "select array_agg(pid order by pid) from pg_stat_activity where application_name = 'hanging-up' and pid <> pg_backend_pid()")
	unlock := lock(t, dsn, "a")
	told := make(chan store.Revocation, 1)
	s.Subscribe(func(revocation store.Revocation) { told <- revocation })

	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- s.Revoke(ctx, one.Digest) }()
	require.Eventually(t, func() bool { return backends(t, dsn, "hanging-up", "wait_event_type = 'Lock'") == 1 }, patience, 5*time.Millisecond)
	cancel()
	err := <-answer
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
	unlock()
	require.Equal(t, []introspect.Digest{one.Digest}, (<-told).Digests)
	found, err := s.Token(t.Context(), one.Digest)
	require.NoError(t, err)
	require.True(t, found.Revoked)
	after := ask[[]int32](t, dsn, "select array_agg(pid order by pid) from pg_stat_activity where application_name = 'hanging-up' and query not like '%pg_stat_activity%'")
	require.Subset(t, after, before)
}

func TestAStatementThatTakesTooLong(t *testing.T) {
	t.Parallel()
	dsn := fresh(t)
	s := openAt(t, dsn)
	require.NoError(t, s.Issue(t.Context(), token("a")))
	unlock := lock(t, dsn, "a")
	began := time.Now()
	err := s.Revoke(t.Context(), token("a").Digest)
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "statement timeout")
	require.Less(t, time.Since(began), callTimeout)
	unlock()
	require.NoError(t, s.Revoke(t.Context(), token("a").Digest))
}

func TestConnectionsAreBounded(t *testing.T) {
	const most, callers = 3, 40
	dsn := empty(t, testpostgres.Shared(t), "application_name=bounded")
	s := openAt(t, fmt.Sprintf("%s&pool_max_conns=%d", dsn, most))
	for _, err := range race(callers, func(racer int) error { return s.Issue(t.Context(), token(fmt.Sprint(racer))) }) {
		require.NoError(t, err)
	}
	require.LessOrEqual(t, backends(t, dsn, "bounded", "pid <> pg_backend_pid()"), most+1, "and one that listens")

	unlock := lock(t, dsn, "1")
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error)
	for range callers {
		go func() { answers <- s.Revoke(ctx, token("1").Digest) }()
	}
	require.Eventually(t, func() bool { return backends(t, dsn, "bounded", "wait_event_type = 'Lock'") == most }, patience, 5*time.Millisecond)
	cancel() // those who wait for a connection leave, too
	for range callers {
		require.ErrorIs(t, <-answers, context.Canceled)
	}
	unlock()
	require.NoError(t, s.Revoke(t.Context(), token("1").Digest))
}

// Two transactions that wait for each other are undone by the server, one of them.
func TestADeadlockIsTriedAgain(t *testing.T) {
	dsn, ctx := empty(t, testpostgres.Shared(t), "application_name=deadlocking"), t.Context()
	s := openAt(t, dsn)
	first, second := token("first"), token("second")
	first.Family, second.Family = "family", "family"
	low, high := first.Digest, second.Digest
	if string(low[:]) > string(high[:]) {
		low, high = high, low
	}
	require.NoError(t, s.Issue(ctx, first, second))
	tries := 0
	err := s.do(ctx, "deadlocking", func(ctx context.Context, conn *pgx.Conn) error {
		tries++
		if tries > 1 {
			return nil
		}
		_, err := conn.Exec(ctx, "do $$ begin raise exception using errcode = 'deadlock_detected'; end $$")
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, tries)

	// Somebody else locks the other way round: who of the two is undone is the server's choice.
	other, err := connect(t, dsn).Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = other.Rollback(context.Background()) }()
	_, err = other.Exec(ctx, "select from portcullis_tokens where digest = $1 for update", high[:])
	require.NoError(t, err)
	answer := make(chan error)
	go func() { answer <- s.RevokeFamily(ctx, "family") }()
	require.Eventually(t, func() bool { return backends(t, dsn, "deadlocking", "wait_event_type = 'Lock'") == 1 }, patience, 5*time.Millisecond)
	_, err = other.Exec(ctx, "select from portcullis_tokens where digest = $1 for update", low[:])
	require.True(t, err == nil || isTransient(err), "%v", err)
	_ = other.Rollback(ctx)
	require.NoError(t, <-answer)
}

func TestAnUntoldSubscriberIsNoSuccess(t *testing.T) {
	s := openAt(t, fresh(t))
	require.NoError(t, s.Issue(t.Context(), token("a")))
	s.Subscribe(func(store.Revocation) { panic("bug") })
	told := 0
	s.Subscribe(func(store.Revocation) { told++ })
	require.ErrorIs(t, s.Revoke(t.Context(), token("a").Digest), store.ErrUnavailable)
	require.Equal(t, 1, told, "the other subscriber was forgotten")
}

// A second one who revokes a token is told of a success: the subscribers have to know by then, whatever became of the
// first.
func TestARevocationIsToldAgain(t *testing.T) {
	s := openAt(t, fresh(t))
	one := token("a")
	require.NoError(t, s.Issue(t.Context(), one))
	require.NoError(t, s.Revoke(t.Context(), one.Digest))
	var told []introspect.Digest
	s.Subscribe(func(revocation store.Revocation) { told = append(told, revocation.Digests...) })
	require.NoError(t, s.Revoke(t.Context(), one.Digest))
	require.NoError(t, s.RevokeFamily(t.Context(), one.Family))
	require.Equal(t, []introspect.Digest{one.Digest, one.Digest}, told)
}

func TestInstants(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
	for name, c := range map[string]struct{ until, due, now time.Time }{
		"whole microseconds":       {at, at, at},
		"rounded, never too early": {at.Add(1), at.Add(time.Microsecond), at},
		"in another zone":          {at.In(time.FixedZone("east", 5*3600)), at, at},
		"before all":               {time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), firstInstant, firstInstant},
		"none":                     {time.Time{}, firstInstant, firstInstant},
		"after all":                {time.Unix(math.MaxInt64>>16, 0), lastInstant, lastInstant},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.due, dueAt(c.until))
			require.Equal(t, c.now, instant(c.until))
		})
	}
	s := openAt(t, fresh(t))
	for _, until := range []time.Time{{}, time.Unix(math.MinInt64>>16, 0), time.Unix(math.MaxInt64>>16, 0)} {
		require.NoError(t, s.PutOnce(t.Context(), until.String(), until))
	}
	removed, err := s.Sweep(t.Context(), at, 10)
	require.NoError(t, err)
	require.Equal(t, 2, removed)
}

func TestErrorsAreThoseOfPackageStore(t *testing.T) {
	for _, verdict := range []error{store.ErrNotFound, store.ErrConsumed, store.ErrRevoked} {
		require.NotErrorIs(t, mapped(fmt.Errorf("rotating: %w", verdict)), store.ErrUnavailable)
	}
	require.ErrorIs(t, mapped(errors.New("anything else")), store.ErrUnavailable)
}
