package cache_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// clock is a time that stands still until a test moves it.
type clock struct{ nanoseconds atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanoseconds.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time            { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) advance(by time.Duration)  { c.nanoseconds.Add(int64(by)) }
func (c *clock) in(by time.Duration) int64 { return c.now().Add(by).Unix() }

// authority answers with the members that a test gives it, and counts how often it is asked.
type authority struct {
	clock *clock
	calls atomic.Int32
	mu    sync.Mutex
	body  map[string]any
	err   error
	// hold, if set, is called while the authority is being asked, before the answer is looked up.
	hold func(token introspect.Token)
}

func (a *authority) says(members map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.body, a.err = members, nil
}

func (a *authority) fails(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *authority) Introspect(_ context.Context, token introspect.Token) (*introspect.Answer, error) {
	a.calls.Add(1)
	askedAt := a.clock.now()
	a.mu.Lock()
	body, err, hold := a.body, a.err, a.hold
	a.mu.Unlock()
	if hold != nil {
		hold(token)
	}
	if err != nil {
		return nil, err
	}
	return introspect.AnswerOf(body, askedAt)
}

type fixture struct {
	*clock
	authority *authority
	state     *cache.State
	cache     *cache.Cache
}

func newFixture(t *testing.T, life cache.Life) *fixture {
	t.Helper()
	memory, err := cache.NewMemory(1 << 20)
	require.NoError(t, err)
	clock := newClock()
	f := &fixture{clock: clock, authority: &authority{clock: clock}, state: cache.NewState(memory, "as", "gateway")}
	f.cache = cache.New(f.authority, f.state, life, clock.now)
	return f
}

var defaults = cache.Life{DefaultTTL: cache.DefaultTTL, NegativeTTL: cache.DefaultNegativeTTL}

func (f *fixture) ask(t *testing.T, token string) *introspect.Answer {
	t.Helper()
	answer, err := f.cache.Introspect(t.Context(), introspect.NewToken(token))
	require.NoError(t, err)
	return answer
}

func (f *fixture) asked(t *testing.T, times int) {
	t.Helper()
	require.EqualValues(t, times, f.authority.calls.Load(), "calls to the authority")
}

func TestAnActiveAnswerIsRememberedUntil(t *testing.T) {
	for name, test := range map[string]struct {
		life cache.Life
		exp  time.Duration // zero: none
		ends time.Duration // of the memory
	}{
		"D19 its exp":             {defaults, 90 * time.Second, 90 * time.Second},
		"its exp, far away":       {defaults, 720 * time.Hour, 720 * time.Hour},
		"D20 ttl":                 {cache.Life{TTL: 30 * time.Second, DefaultTTL: time.Minute}, time.Hour, 30 * time.Second},
		"exp before ttl":          {cache.Life{TTL: time.Hour, DefaultTTL: time.Minute}, 30 * time.Second, 30 * time.Second},
		"D07 default_ttl":         {cache.Life{DefaultTTL: 20 * time.Second}, 0, 20 * time.Second},
		"ttl before default_ttl":  {cache.Life{TTL: 5 * time.Second, DefaultTTL: time.Minute}, 0, 5 * time.Second},
		"an absurdly distant exp": {cache.Life{TTL: time.Minute, DefaultTTL: time.Minute}, 1 << 62, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.life)
			members := map[string]any{"active": true, "sub": "a"}
			if test.exp == 1<<62 {
				members["exp"] = json.Number("1e300")
			} else if test.exp > 0 {
				members["exp"] = f.in(test.exp)
			}
			f.authority.says(members)
			assert.Equal(t, introspect.Miss, f.ask(t, "t").Source)
			f.advance(test.ends - 1)
			remembered := f.ask(t, "t")
			assert.Equal(t, introspect.Memory, remembered.Source)
			assert.Equal(t, "a", remembered.Subject())
			f.asked(t, 1)
			f.advance(1)
			assert.Equal(t, introspect.Miss, f.ask(t, "t").Source, "at its end it is not used any more")
			f.asked(t, 2)
		})
	}
}

func TestWhatHasExpiredIsNotRemembered(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.says(map[string]any{"active": true, "exp": f.in(-time.Second)})
	f.ask(t, "t")
	f.ask(t, "t")
	f.asked(t, 2)
}

func TestAnInactiveAnswerIsRememberedShortly(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.says(map[string]any{"active": false})
	assert.False(t, f.ask(t, "t").Active)
	f.advance(10*time.Second - 1)
	remembered := f.ask(t, "t")
	assert.False(t, remembered.Active)
	assert.Equal(t, introspect.Memory, remembered.Source)
	f.asked(t, 1)
	f.authority.says(map[string]any{"active": true})
	f.advance(1)
	assert.True(t, f.ask(t, "t").Active, "D23: picked up within negative_ttl")
	assert.Equal(t, introspect.Memory, f.ask(t, "t").Source)
	f.asked(t, 2)

	off := newFixture(t, cache.Life{DefaultTTL: time.Minute})
	off.authority.says(map[string]any{"active": false})
	off.ask(t, "t")
	off.ask(t, "t")
	off.asked(t, 2)
}

func TestD23AFaultIsNoAnswer(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.fails(introspect.ErrUnavailable)
	_, err := f.cache.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrUnavailable)
	f.authority.says(map[string]any{"active": true})
	assert.True(t, f.ask(t, "t").Active)
	f.asked(t, 2)
}

func TestAPanicBelowIsAFault(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.hold = func(introspect.Token) { panic("canary") }
	_, err := f.cache.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrUnavailable)
	assert.NotContains(t, err.Error(), "canary")
}

// Peers have let a token of one authority pass at a route that trusts another, since both shared one memory.
func TestAnotherAuthorityOrClientDoesNotShare(t *testing.T) {
	memory, err := cache.NewMemory(1 << 20)
	require.NoError(t, err)
	clock := newClock()
	names := [][2]string{{"as-a", "gw"}, {"as-b", "gw"}, {"as-a", "other"}, {"as-ag", "w"}, {"as", "-agw"}, {"as-agw", ""}}
	for i, name := range names {
		source := &authority{clock: clock}
		source.says(map[string]any{"active": true, "sub": strconv.Itoa(i)})
		c := cache.New(source, cache.NewState(memory, name[0], name[1]), defaults, clock.now)
		for range 2 {
			answer, err := c.Introspect(t.Context(), introspect.NewToken("t"))
			require.NoError(t, err)
			assert.Equal(t, strconv.Itoa(i), answer.Subject(), "D18 %v", name)
		}
		assert.EqualValues(t, 1, source.calls.Load())
	}
}

func TestOneStateServesTheConfigurationAfterTheNext(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.says(map[string]any{"active": true})
	f.ask(t, "t")
	tuned := cache.New(f.authority, f.state, cache.Life{TTL: 30 * time.Second, DefaultTTL: time.Minute}, f.now)
	answer, err := tuned.Introspect(t.Context(), introspect.NewToken("t"))
	require.NoError(t, err)
	assert.Equal(t, introspect.Memory, answer.Source, "tuning a TTL keeps the memory warm")
	f.advance(30 * time.Second)
	answer, err = tuned.Introspect(t.Context(), introspect.NewToken("t"))
	require.NoError(t, err)
	assert.Equal(t, introspect.Miss, answer.Source, "and holds for what was remembered before")
}

// An authority leaves the configuration, something is revoked, and it comes back: what was remembered of it before is
// worth nothing, although the memory is still there.
func TestAStateDoesNotInherit(t *testing.T) {
	memory, err := cache.NewMemory(1 << 20)
	require.NoError(t, err)
	clock := newClock()
	source := &authority{clock: clock}
	source.says(map[string]any{"active": true})
	for range 2 {
		c := cache.New(source, cache.NewState(memory, "as", "gw"), defaults, clock.now)
		answer, err := c.Introspect(t.Context(), introspect.NewToken("t"))
		require.NoError(t, err)
		assert.Equal(t, introspect.Miss, answer.Source)
	}
}

// A request that has joined the call of another configuration, whose credentials are wrong, asks with its own.
func TestAnotherConfigurationsTroubleIsNotShared(t *testing.T) {
	f := newFixture(t, defaults)
	g := newGate()
	f.authority.hold = g.hold
	f.authority.fails(introspect.ErrCredentials)
	wrong := f.askInBackground(t.Context(), introspect.NewToken("t"))
	<-g.entered
	good := &authority{clock: f.clock}
	good.says(map[string]any{"active": true})
	right := &fixture{clock: f.clock, authority: good, state: f.state, cache: cache.New(good, f.state, defaults, f.now)}
	joined := right.askInBackground(t.Context(), introspect.NewToken("t"))
	close(g.release)
	require.ErrorIs(t, (<-wrong).err, introspect.ErrCredentials)
	r := <-joined
	require.NoError(t, r.err)
	assert.True(t, r.answer.Active)
	assert.EqualValues(t, 1, good.calls.Load())
}

// gate holds calls to the authority until a test lets them go on.
type gate struct {
	entered chan struct{}
	release chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 1000), make(chan struct{})} }

func (g *gate) hold(introspect.Token) {
	g.entered <- struct{}{}
	<-g.release
}

type result struct {
	answer *introspect.Answer
	err    error
}

func (f *fixture) askInBackground(ctx context.Context, token introspect.Token) <-chan result {
	results := make(chan result, 1)
	go func() {
		answer, err := f.cache.Introspect(ctx, token)
		results <- result{answer, err}
	}()
	return results
}

func TestC11ConcurrentMissesMakeOneCall(t *testing.T) {
	f := newFixture(t, defaults)
	g := newGate()
	f.authority.hold = g.hold
	f.authority.says(map[string]any{"active": true, "sub": "a"})

	leaderGone, hangUp := context.WithCancel(t.Context())
	leader := f.askInBackground(leaderGone, introspect.NewToken("t"))
	<-g.entered
	var followers []<-chan result
	for range 63 {
		followers = append(followers, f.askInBackground(t.Context(), introspect.NewToken("t")))
	}
	hangUp()
	require.ErrorIs(t, (<-leader).err, context.Canceled)
	close(g.release)
	for _, follower := range followers {
		r := <-follower
		require.NoError(t, r.err, "the leader's client hung up, and nobody else did")
		assert.Equal(t, "a", r.answer.Subject())
		assert.Contains(t, []introspect.Source{introspect.Coalesced, introspect.Memory}, r.answer.Source)
	}
	f.asked(t, 1)
}

func TestManyTokensFourTimesEach(t *testing.T) {
	f := newFixture(t, defaults)
	memory, err := cache.NewMemory(64 << 20)
	require.NoError(t, err)
	f.cache = cache.New(f.authority, cache.NewState(memory, "as", "gateway"), defaults, f.now)
	f.authority.says(map[string]any{"active": true})
	const tokens, workers = 10_000, 64
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < 4*tokens; i = next.Add(1) - 1 {
				_, err := f.cache.Introspect(context.Background(), introspect.NewToken(strconv.Itoa(int(i/4))))
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
	f.asked(t, tokens)
}

func TestAFreshAnswerIsNotOneThatWasAskedForBefore(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.says(map[string]any{"active": true})
	f.ask(t, "t")
	f.advance(time.Second)
	arrived := f.now()
	answer, err := f.cache.Introspect(t.Context(), introspect.NewToken("t").AskedSince(arrived))
	require.NoError(t, err)
	assert.Equal(t, introspect.Miss, answer.Source)
	f.asked(t, 2)
	answer, err = f.cache.Introspect(t.Context(), introspect.NewToken("t").AskedSince(arrived))
	require.NoError(t, err)
	assert.Equal(t, introspect.Memory, answer.Source, "asked for since")
	f.asked(t, 2)

	// A call that began before the request arrived is not joined, and its late answer does not replace the newer one.
	old, young := newGate(), newGate()
	f.authority.hold = old.hold
	f.authority.says(map[string]any{"active": true, "sub": "before"})
	f.advance(time.Second)
	first := f.askInBackground(t.Context(), introspect.NewToken("u"))
	<-old.entered
	f.advance(time.Second)
	f.authority.mu.Lock()
	f.authority.hold = young.hold
	f.authority.mu.Unlock()
	f.authority.says(map[string]any{"active": true, "sub": "after"})
	second := f.askInBackground(t.Context(), introspect.NewToken("u").AskedSince(f.now()))
	<-young.entered
	close(young.release)
	assert.Equal(t, "after", (<-second).answer.Subject())
	close(old.release)
	assert.Equal(t, "before", (<-first).answer.Subject())
	assert.Equal(t, "after", f.ask(t, "u").Subject())
	f.asked(t, 4)
}

func TestForget(t *testing.T) {
	tokens := map[string]map[string]any{
		"alice-a": {"active": true, "sub": "alice", "client_id": "a"},
		"alice-b": {"active": true, "sub": "alice", "client_id": "b"},
		"bob-a":   {"active": true, "sub": "bob", "client_id": "a"},
		"nobody":  {"active": false},
	}
	for name, test := range map[string]struct {
		selector  cache.Selector
		forgotten []string
	}{
		"a token":                                {cache.Selector{Token: introspect.DigestOf("alice-a")}, []string{"alice-a"}},
		"an inactive token":                      {cache.Selector{Token: introspect.DigestOf("nobody")}, []string{"nobody"}},
		"an unknown token":                       {cache.Selector{Token: introspect.DigestOf("x")}, nil},
		"a subject":                              {cache.Selector{Subject: "alice"}, []string{"alice-a", "alice-b"}},
		"a client":                               {cache.Selector{ClientID: "a"}, []string{"alice-a", "bob-a"}},
		"a subject is not a client of that name": {cache.Selector{Subject: "a"}, nil},
		"all":                                    {cache.Selector{All: true}, []string{"alice-a", "alice-b", "bob-a", "nobody"}},
		"nothing":                                {cache.Selector{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, defaults)
			for token, members := range tokens {
				f.authority.says(members)
				f.ask(t, token)
			}
			f.state.Forget(test.selector)
			var forgotten []string
			for token, members := range tokens {
				f.authority.says(members)
				if f.ask(t, token).Source == introspect.Miss {
					forgotten = append(forgotten, token)
				}
				assert.Equal(t, introspect.Memory, f.ask(t, token).Source, "what is asked for afterwards is remembered again")
			}
			assert.ElementsMatch(t, test.forgotten, forgotten)
		})
	}
}

func TestForgettingMoreSubjectsThanFitForgetsEverything(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.says(map[string]any{"active": true, "sub": "alice"})
	f.ask(t, "t")
	for i := range 5000 {
		f.state.Forget(cache.Selector{Subject: fmt.Sprint("user", i)})
	}
	assert.Equal(t, introspect.Miss, f.ask(t, "t").Source)
	assert.Equal(t, introspect.Memory, f.ask(t, "t").Source)
	f.state.Forget(cache.Selector{Subject: "alice"})
	assert.Equal(t, introspect.Miss, f.ask(t, "t").Source, "and what is forgotten afterwards is forgotten")
}

// A revocation that races an introspection in flight: the authority was asked before, so its answer says active, and
// arrives after. It must not bring the token back.
func TestM13WhatIsForgottenInFlightDoesNotComeBack(t *testing.T) {
	for name, selector := range map[string]cache.Selector{
		"token":   {Token: introspect.DigestOf("t")},
		"subject": {Subject: "alice"},
		"client":  {ClientID: "app"},
		"all":     {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, defaults)
			const rounds = 750 // for each of four selectors
			for round := range rounds {
				g := newGate()
				f.authority.mu.Lock()
				f.authority.hold = g.hold
				f.authority.mu.Unlock()
				f.authority.says(map[string]any{"active": true, "sub": "alice", "client_id": "app"})
				before := f.askInBackground(t.Context(), introspect.NewToken("t"))
				<-g.entered

				// The authority revokes, then tells.
				f.authority.mu.Lock()
				f.authority.hold = nil
				f.authority.mu.Unlock()
				f.authority.says(map[string]any{"active": false})
				told := make(chan struct{})
				go func() {
					defer close(told)
					f.state.Forget(selector)
				}()
				if round%2 == 0 {
					runtime.Gosched()
				}
				close(g.release)
				<-told
				require.NoError(t, (<-before).err)
				answer := f.ask(t, "t")
				require.False(t, answer.Active, "a revoked token is active again")
				f.state.Forget(cache.Selector{All: true})
			}
		})
	}
}

func TestTheMemoryStaysWithinItsBudget(t *testing.T) {
	const budget = 4 << 20
	memory, err := cache.NewMemory(budget)
	require.NoError(t, err)
	clock := newClock()
	source := &authority{clock: clock}
	c := cache.New(source, cache.NewState(memory, "as", "gw"), cache.Life{DefaultTTL: time.Hour, NegativeTTL: time.Hour}, clock.now)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for i := range 30_000 {
		source.says(map[string]any{"active": i%2 == 0, "sub": "subject" + strconv.Itoa(i), "scope": "a b c"})
		_, err := c.Introspect(t.Context(), introspect.NewToken(strconv.Itoa(i)))
		require.NoError(t, err)
	}
	assert.Less(t, int64(heap())-int64(before), int64(2*budget))
	runtime.KeepAlive(c)
}

// What is remembered is found by a digest: no token lies in the memory of the process once its request is over.
func TestD21NoTokenIsKept(t *testing.T) {
	f := newFixture(t, defaults)
	f.authority.says(map[string]any{"active": true})
	lower := "canary-" + strings.ToLower(rand.Text())
	t.Run("asking", func(t *testing.T) { // on a stack that ends with it
		f.ask(t, strings.ToUpper(lower))
		f.ask(t, strings.ToUpper(lower))
		f.asked(t, 1)
	})

	runtime.GC()
	runtime.GC() // takes what the first has left in pools
	file, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	require.NoError(t, err)
	debug.WriteHeapDump(file.Fd())
	require.NoError(t, file.Close())
	heap, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	assert.True(t, bytes.Contains(heap, []byte(lower)), "the dump shows what is in use")
	assert.False(t, bytes.Contains(heap, bytes.ToUpper([]byte(lower))), "the dump shows the token")
	runtime.KeepAlive(f)
	runtime.KeepAlive(lower)
}

func TestAMemoryTooSmallOrLargeIsRefused(t *testing.T) {
	for _, budget := range []int64{-1, 0, 1024, 9e18} {
		_, err := cache.NewMemory(budget)
		assert.ErrorContains(t, err, "a memory must have")
	}
}

func TestNobodyHasToCloseAMemory(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		memory, err := cache.NewMemory(cache.MinMemory)
		require.NoError(t, err)
		runtime.KeepAlive(memory)
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		return runtime.NumGoroutine() <= before+2
	}, 10*time.Second, 10*time.Millisecond, "the goroutines of memories that nobody uses end")
}

func BenchmarkRemembered(b *testing.B) {
	memory, err := cache.NewMemory(64 << 20)
	require.NoError(b, err)
	clock := newClock()
	source := &authority{clock: clock}
	source.says(map[string]any{"active": true, "sub": "alice", "client_id": "app", "scope": "read write", "exp": time.Now().Add(time.Hour).Unix()})
	c := cache.New(source, cache.NewState(memory, "as", "gw"), defaults, time.Now)
	token := introspect.NewToken("pat_000000000000000000000000000000000000000000")
	for range 2 {
		if _, err := c.Introspect(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Introspect(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
