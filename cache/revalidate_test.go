package cache_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// revalidated is a Life whose answers have to be confirmed every minute.
var revalidated = cache.Life{
	DefaultTTL: 24 * time.Hour, NegativeTTL: cache.DefaultNegativeTTL, Revalidate: time.Minute, Stale: -1, Checks: 4,
}

// staleFor is revalidated with a bound on what could not be confirmed.
func staleFor(bound time.Duration) cache.Life {
	life := revalidated
	life.Stale = bound
	return life
}

// held makes the next calls to the authority wait at a gate.
func (f *fixture) held() *gate {
	g := newGate()
	f.authority.mu.Lock()
	defer f.authority.mu.Unlock()
	f.authority.hold = g.hold
	return g
}

// released lets all calls to the authority through from now on.
func (f *fixture) released() {
	f.authority.mu.Lock()
	defer f.authority.mu.Unlock()
	f.authority.hold = nil
}

// quiet waits until nobody asks about a token any more.
func (f *fixture) quiet(t *testing.T, token string) {
	t.Helper()
	require.Eventually(t, func() bool { return !f.state.UnderWay(introspect.NewToken(token)) }, 10*time.Second, time.Millisecond)
}

// watched is a context that tells when somebody begins to wait with it.
type watched struct {
	context.Context
	once  sync.Once
	waits chan struct{} // closed by then
}

func (w *watched) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// begin starts a request, and returns when it has a result or waits for a call to the authority. The result stays to be
// received.
func (f *fixture) begin(t *testing.T, token introspect.Token) (pending <-chan result, waits bool) {
	t.Helper()
	ctx := &watched{Context: t.Context(), waits: make(chan struct{})}
	pending = f.askInBackground(ctx, token)
	select {
	case r := <-pending:
		done := make(chan result, 1)
		done <- r
		return done, false
	case <-ctx.waits:
		return pending, true
	}
}

// remembering is a fixture that remembers an active answer about a token, asked for now.
func remembering(t *testing.T, life cache.Life, token string) *fixture {
	t.Helper()
	f := newFixture(t, life)
	f.authority.says(map[string]any{"active": true, "sub": "alice", "client_id": "app"})
	require.Equal(t, introspect.Miss, f.ask(t, token).Source)
	return f
}

func TestAnAnswerInUseIsCheckedOnceItIsDue(t *testing.T) {
	f := remembering(t, revalidated, "t")
	f.advance(time.Minute*7/8 - 1)
	require.Equal(t, introspect.Memory, f.ask(t, "t").Source)
	require.False(t, f.state.UnderWay(introspect.NewToken("t")), "no check before it is due")

	f.advance(time.Minute/8 + 1)
	g := f.held()
	for range 100 {
		require.Equal(t, introspect.Memory, f.ask(t, "t").Source, "nobody waits for the check")
	}
	<-g.entered
	f.asked(t, 2)
	f.advance(time.Minute)
	require.Equal(t, introspect.Memory, f.ask(t, "t").Source, "nor while it goes on")
	f.asked(t, 2)
	close(g.release)
	f.quiet(t, "t")

	f.released()
	checked := f.ask(t, "t")
	assert.Equal(t, introspect.Memory, checked.Source)
	assert.Equal(t, time.Minute, f.now().Sub(checked.AskedAt), "it is as old as its check")
	f.quiet(t, "t")
	f.asked(t, 3)
	assert.Equal(t, f.now(), f.ask(t, "t").AskedAt)
	f.asked(t, 3)
}

func TestAnswersThatWereGivenAtOnceAreNotDueAtOnce(t *testing.T) {
	const tokens = 200
	life := revalidated
	life.Checks = tokens
	f := newFixture(t, life)
	f.authority.says(map[string]any{"active": true})
	for i := range tokens {
		f.ask(t, strconv.Itoa(i))
	}
	f.advance(time.Minute * 7 / 8)
	previous := 0
	for eighth := range 8 {
		f.advance(time.Minute / 64)
		for i := range tokens {
			f.ask(t, strconv.Itoa(i))
			f.quiet(t, strconv.Itoa(i))
		}
		due := int(f.authority.calls.Load()) - tokens
		assert.Greater(t, due, previous, "some are due in the part %d of 8", eighth)
		assert.Less(t, due-previous, tokens/3, "but not most of them")
		previous = due
	}
	assert.Equal(t, tokens, previous, "all are after revalidate")
}

func TestChecksLeaveRoomForOthers(t *testing.T) {
	f := newFixture(t, revalidated)
	f.authority.says(map[string]any{"active": true})
	for i := range 50 {
		f.ask(t, strconv.Itoa(i))
	}
	f.advance(time.Minute)
	g := f.held()
	for i := range 50 {
		require.Equal(t, introspect.Memory, f.ask(t, strconv.Itoa(i)).Source)
	}
	for range revalidated.Checks {
		<-g.entered
	}
	f.asked(t, 50+revalidated.Checks)

	// What was put off is asked for in the foreground when its time has come, however many checks there are.
	f.advance(time.Minute)
	var overdue []<-chan result
	for i := range 50 {
		overdue = append(overdue, f.askInBackground(t.Context(), introspect.NewToken(strconv.Itoa(i))))
	}
	for range 50 - revalidated.Checks {
		<-g.entered
	}
	close(g.release)
	for _, pending := range overdue {
		require.NoError(t, (<-pending).err)
	}
	f.asked(t, 100)

	// And the room is free again.
	f.released()
	f.advance(time.Minute)
	for i := range 50 {
		require.Eventually(t, func() bool { return f.ask(t, strconv.Itoa(i)).AskedAt.Equal(f.now()) }, 10*time.Second, time.Millisecond)
	}
	f.asked(t, 150)
}

func TestAnAnswerOfTwiceTheAgeIsConfirmedBeforeItIsUsed(t *testing.T) {
	f := remembering(t, revalidated, "t")
	f.advance(2*time.Minute - 1)
	f.ask(t, "t")
	f.quiet(t, "t")
	f.asked(t, 2)

	f.advance(2 * time.Minute)
	f.authority.says(map[string]any{"active": false})
	assert.False(t, f.ask(t, "t").Active)
	f.asked(t, 3)
}

// A stolen token lies idle after it was revoked, and is then sent twice at once: while the first request has the answer
// confirmed, the second one must not pass on what is remembered.
func TestWhoComesWhileAnOldAnswerIsConfirmedWaitsToo(t *testing.T) {
	for name, age := range map[string]time.Duration{"twice the age": 2 * time.Minute, "an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			f := remembering(t, revalidated, "t")
			f.authority.says(map[string]any{"active": false})
			f.advance(age)
			g := f.held()
			first := f.askInBackground(t.Context(), introspect.NewToken("t"))
			<-g.entered
			var all []<-chan result
			for range 20 {
				pending, _ := f.begin(t, introspect.NewToken("t"))
				all = append(all, pending)
			}
			close(g.release)
			for _, pending := range append(all, first) {
				r := <-pending
				require.NoError(t, r.err)
				require.False(t, r.answer.Active, "a revoked token passes")
			}
			f.asked(t, 2)
		})
	}
}

func TestATokenThatACheckFindsInactiveIsRefusedFromThenOn(t *testing.T) {
	f := remembering(t, revalidated, "t")
	f.authority.says(map[string]any{"active": false})
	f.advance(time.Minute)
	assert.True(t, f.ask(t, "t").Active)
	f.quiet(t, "t")
	for range 3 {
		refused := f.ask(t, "t")
		assert.False(t, refused.Active)
		assert.Equal(t, introspect.Memory, refused.Source)
	}
	f.asked(t, 2)

	life := revalidated
	life.NegativeTTL = 0
	f = remembering(t, life, "t")
	f.authority.says(map[string]any{"active": false})
	f.advance(time.Minute)
	f.ask(t, "t")
	f.quiet(t, "t")
	assert.False(t, f.ask(t, "t").Active, "although inactive answers are not remembered")
}

func TestWhatIsNotRevalidated(t *testing.T) {
	off := revalidated
	off.Revalidate = 0
	for name, test := range map[string]struct {
		life   cache.Life
		active bool
		age    time.Duration
	}{
		"with revalidate off":  {off, true, 23 * time.Hour},
		"D23 inactive answers": {cache.Life{DefaultTTL: time.Hour, NegativeTTL: time.Hour, Revalidate: time.Minute, Checks: 1}, false, 59 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.life)
			f.authority.says(map[string]any{"active": test.active})
			f.ask(t, "t")
			f.authority.fails(introspect.ErrUnavailable)
			f.advance(test.age)
			assert.Equal(t, introspect.Memory, f.ask(t, "t").Source)
			assert.False(t, f.state.UnderWay(introspect.NewToken("t")))
			f.asked(t, 1)
		})
	}
}

func TestWhatCouldNotBeConfirmedServesAsStale(t *testing.T) {
	f := remembering(t, revalidated, "t")
	f.authority.fails(introspect.ErrUnavailable)
	f.advance(time.Minute)
	require.Equal(t, introspect.Memory, f.ask(t, "t").Source)
	f.quiet(t, "t")
	f.asked(t, 2)
	for range 100 {
		served := f.ask(t, "t")
		require.Equal(t, introspect.Stale, served.Source)
		require.Equal(t, "alice", served.Subject())
		f.advance(time.Minute / 100)
	}
	f.asked(t, 2)

	// The check is repeated after revalidate, and fails again.
	require.Equal(t, introspect.Stale, f.ask(t, "t").Source)
	f.quiet(t, "t")
	f.asked(t, 3)
	f.advance(time.Minute - 1)
	require.Equal(t, introspect.Stale, f.ask(t, "t").Source)
	f.asked(t, 3)

	// The authority is back.
	f.authority.says(map[string]any{"active": true, "sub": "alice"})
	f.advance(1)
	require.True(t, f.ask(t, "t").Active)
	f.quiet(t, "t")
	assert.Equal(t, introspect.Memory, f.ask(t, "t").Source)
	f.asked(t, 4)
}

// However many requests find an old answer while the authority fails, it is asked once.
func TestAFailedCheckIsNotRepeatedByThoseWhoWaited(t *testing.T) {
	for round := range 200 {
		f := remembering(t, revalidated, "t")
		f.authority.fails(introspect.ErrUnavailable)
		f.advance(time.Hour)
		var pending []<-chan result
		for range 64 {
			pending = append(pending, f.askInBackground(t.Context(), introspect.NewToken("t")))
		}
		for _, p := range pending {
			r := <-p
			require.NoError(t, r.err)
			require.Equal(t, introspect.Stale, r.answer.Source)
		}
		require.EqualValues(t, 2, f.authority.calls.Load(), "round %d", round)
	}
}

func TestStale(t *testing.T) {
	exp := func(after time.Duration) map[string]any {
		return map[string]any{"active": true, "exp": newClock().in(after)}
	}
	forever := map[string]any{"active": true}
	capped := revalidated
	capped.TTL = 10 * time.Minute
	for name, test := range map[string]struct {
		life   cache.Life
		answer map[string]any
		ends   time.Duration // of the answer, by its age
	}{
		"a bound":                {staleFor(5 * time.Minute), forever, 6 * time.Minute},
		"a bound behind exp":     {staleFor(5 * time.Minute), exp(4 * time.Minute), 4 * time.Minute},
		"off":                    {staleFor(0), forever, time.Minute},
		"no bound: until exp":    {revalidated, exp(30 * time.Minute), 30 * time.Minute},
		"no bound: until ttl":    {capped, exp(30 * time.Minute), 10 * time.Minute},
		"no bound: default_ttl":  {revalidated, forever, 24 * time.Hour},
		"exp before a check":     {revalidated, exp(30 * time.Second), 30 * time.Second},
		"D19 exp, with the rest": {staleFor(time.Hour), exp(90 * time.Second), 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.life)
			f.authority.says(test.answer)
			f.ask(t, "t")
			f.authority.fails(introspect.ErrUnavailable)
			began := f.now()
			at := func(age time.Duration) (*introspect.Answer, error) {
				f.advance(age - f.now().Sub(began))
				return f.cache.Introspect(t.Context(), introspect.NewToken("t"))
			}
			if due := time.Minute * 63 / 64; due < test.ends {
				// Its check fails.
				_, err := at(due)
				require.NoError(t, err)
				f.quiet(t, "t")
			}
			_, err := at(test.ends - 1)
			require.NoError(t, err)
			f.quiet(t, "t")
			_, err = at(test.ends)
			require.ErrorIs(t, err, introspect.ErrUnavailable)
			_, err = at(max(2*test.ends, 5*time.Minute))
			require.ErrorIs(t, err, introspect.ErrUnavailable)
		})
	}
}

// Nothing unconfirmed passes beyond the bound of stale, although nobody has asked lately and another request is having it
// confirmed just now.
func TestTheBoundOfStaleHoldsWhileTheAuthorityIsAsked(t *testing.T) {
	for name, token := range map[string]introspect.Token{
		"stale off": introspect.NewToken("t"),
		// A route with fresh is content with the age of the answer, but not with what could not be confirmed.
		"fresh": introspect.NewToken("t").AskedSince(newClock().now().Add(-time.Hour)),
	} {
		t.Run(name, func(t *testing.T) {
			life := staleFor(0)
			if !token.Since().IsZero() {
				life = revalidated
			}
			for _, failedAt := range []time.Duration{time.Minute * 15 / 16, time.Minute, time.Minute * 3 / 2, time.Hour} {
				for _, idle := range []time.Duration{time.Minute, 2 * time.Minute, time.Hour} {
					var f *fixture
					for f == nil || f.authority.calls.Load() == 1 { // until its answer is due so early
						f = remembering(t, life, "t")
						f.authority.fails(introspect.ErrUnavailable)
						f.advance(failedAt)
						_, _ = f.cache.Introspect(t.Context(), introspect.NewToken("t")) // whose check fails
						f.quiet(t, "t")
					}
					f.advance(idle)
					g := f.held()
					first := f.askInBackground(t.Context(), introspect.NewToken("t"))
					<-g.entered
					second, _ := f.begin(t, token)
					close(g.release)
					if r := <-second; assert.ErrorIs(t, r.err, introspect.ErrUnavailable, "failed at %s, then idle for %s", failedAt, idle) {
						assert.Nil(t, r.answer)
					}
					<-first
				}
			}
		})
	}
}

// While an outage lasts, only the request that has an answer confirmed again waits.
func TestInAnOutageOthersDoNotWaitForTheNextCheck(t *testing.T) {
	f := remembering(t, revalidated, "t")
	f.authority.fails(introspect.ErrTimeout)
	f.advance(time.Minute)
	f.ask(t, "t")
	f.quiet(t, "t")
	for outage := range 5 {
		f.advance(time.Minute)
		g := f.held()
		first := f.askInBackground(t.Context(), introspect.NewToken("t"))
		<-g.entered
		for range 10 {
			require.Equal(t, introspect.Stale, f.ask(t, "t").Source)
		}
		close(g.release)
		r := <-first
		require.NoError(t, r.err)
		require.Equal(t, introspect.Stale, r.answer.Source)
		f.asked(t, 3+outage)
	}
}

// What is forgotten about others does not change what a check that fails does to an answer.
func TestACheckThatFailsWhileOthersAreForgotten(t *testing.T) {
	for name, test := range map[string]struct {
		life   cache.Life
		served bool
	}{
		"stale":     {revalidated, true},
		"stale off": {staleFor(0), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := remembering(t, test.life, "t")
			f.authority.fails(introspect.ErrUnavailable)
			f.advance(time.Hour)
			g := f.held()
			pending := f.askInBackground(t.Context(), introspect.NewToken("t"))
			<-g.entered
			f.state.Forget(cache.Selector{Subject: "bob"})
			close(g.release)
			r := <-pending
			if !test.served {
				require.ErrorIs(t, r.err, introspect.ErrUnavailable)
				return
			}
			require.NoError(t, r.err)
			assert.Equal(t, introspect.Stale, r.answer.Source)
		})
	}
}

func TestFreshNeverUsesAStaleAnswer(t *testing.T) {
	f := remembering(t, revalidated, "t")
	askedAt := f.now()
	fresh := introspect.NewToken("t").AskedSince(askedAt)
	f.authority.fails(introspect.ErrTimeout)
	f.advance(time.Minute * 7 / 8)
	answer, err := f.cache.Introspect(t.Context(), fresh)
	require.NoError(t, err, "it is young enough, and no check has failed")
	require.Equal(t, introspect.Memory, answer.Source)
	f.advance(time.Minute / 8)
	f.ask(t, "t")
	f.quiet(t, "t")
	require.Equal(t, introspect.Stale, f.ask(t, "t").Source)
	for _, age := range []time.Duration{0, time.Minute, time.Hour} {
		f.advance(age)
		_, err := f.cache.Introspect(t.Context(), fresh)
		require.ErrorIs(t, err, introspect.ErrTimeout, "after %s", age)
		require.Equal(t, introspect.Stale, f.ask(t, "t").Source, "which others use all the time")
	}
	f.authority.says(map[string]any{"active": true})
	answer, err = f.cache.Introspect(t.Context(), fresh)
	require.NoError(t, err)
	assert.Equal(t, introspect.Miss, answer.Source)
	assert.Equal(t, introspect.Memory, f.ask(t, "t").Source)
}

func TestAReloadDuringACheck(t *testing.T) {
	f := remembering(t, revalidated, "t")
	f.advance(time.Minute)
	g := f.held()
	f.ask(t, "t")
	<-g.entered
	next := cache.New(f.authority, f.state, revalidated, f.now)
	answer, err := next.Introspect(t.Context(), introspect.NewToken("t"))
	require.NoError(t, err)
	assert.Equal(t, introspect.Memory, answer.Source)
	close(g.release)
	f.quiet(t, "t")
	f.asked(t, 2)
	f.cache = next
	assert.Equal(t, f.now(), f.ask(t, "t").AskedAt)
}

// Whatever the pattern of use, a revoked token is refused once twice revalidate and the longest call have passed.
func TestARevocationIsSeenInTime(t *testing.T) {
	const timeout, trials = 5 * time.Second, 300
	for trial := range trials {
		t.Run(strconv.Itoa(trial), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(trial), 1))
			upTo := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most) + 1)) }
			f := remembering(t, revalidated, "t")
			token := introspect.NewToken("t")
			var revoked time.Time // zero: not yet
			var late time.Time    // from when on it must not pass
			type used struct {
				at     time.Time
				result <-chan result
			}
			for range 40 {
				switch random.IntN(4) {
				case 0:
					f.advance(upTo(3 * time.Minute))
				default:
					f.advance(upTo(20 * time.Second))
				}
				if revoked.IsZero() && random.IntN(10) == 0 {
					revoked, late = f.now(), f.now().Add(2*time.Minute+timeout)
					f.authority.says(map[string]any{"active": false})
				}
				g := f.held()
				var uses []used
				use := func() {
					pending, _ := f.begin(t, token)
					uses = append(uses, used{f.now(), pending})
				}
				use()
				if f.state.UnderWay(token) {
					<-g.entered
					for left := timeout; left > 0 && random.IntN(3) > 0; {
						step := upTo(left)
						left -= step
						f.advance(step)
						use()
					}
				}
				close(g.release)
				for _, u := range uses {
					r := <-u.result
					require.NoError(t, r.err)
					if !revoked.IsZero() && u.at.After(late) {
						require.False(t, r.answer.Active, "it passes %s after it was revoked", u.at.Sub(revoked))
					}
				}
				f.quiet(t, "t")
			}
		})
	}
}
