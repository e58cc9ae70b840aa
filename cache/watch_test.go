package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// teller is an authority in the time of a test. It is safe for concurrent use.
type teller struct {
	mu    sync.Mutex
	calls int
	body  map[string]any
	err   error
	takes time.Duration
}

func (a *teller) says(body map[string]any, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.body, a.err = body, err
}

func (a *teller) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

func (a *teller) Introspect(context.Context, introspect.Token) (*introspect.Answer, error) {
	askedAt := time.Now()
	time.Sleep(a.takes)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.err != nil {
		return nil, a.err
	}
	return introspect.AnswerOf(a.body, askedAt)
}

// ending is when and why something that was open was ended.
type ending struct {
	why   cache.End
	after time.Duration
}

// opened opens something by an answer of the authority's, and returns where its end will be.
func opened(t *testing.T, watch *cache.Watch, as *teller, token string) (*cache.Open, <-chan ending) {
	t.Helper()
	began, ends := time.Now(), make(chan ending, 2)
	answer, err := as.Introspect(t.Context(), introspect.NewToken(token))
	require.NoError(t, err)
	return watch.Open(introspect.NewToken(token), answer, func(why cache.End) { ends <- ending{why, time.Since(began)} }), ends
}

// never is longer than any test waits, in the time of a test.
const never = 1000 * time.Hour

// after returns the end of what was open, and says whether it has come within a time.
func after(ends <-chan ending, within time.Duration) (ending, bool) {
	select {
	case end := <-ends:
		return end, true
	case <-time.After(within):
		return ending{}, false
	}
}

// remembers tells that something is remembered of every token.
func remembers(introspect.Digest) *introspect.Answer {
	answer, _ := introspect.AnswerOf(map[string]any{"active": true}, time.Time{})
	return answer
}

func TestK10WhatIsOpenEndsWithItsToken(t *testing.T) {
	good := func(lifetime time.Duration) map[string]any {
		return map[string]any{"active": true, "exp": time.Now().Add(lifetime).Unix()}
	}
	bad := map[string]any{"active": false}
	for name, test := range map[string]struct {
		every, stale time.Duration
		lifetime     time.Duration // zero: no exp
		then         func(as *teller)
		end          cache.End // none: it stays open
		from, to     time.Duration
	}{
		"at its exp, to the millisecond": {
			0, -1, 90 * time.Second, func(as *teller) { as.says(bad, nil) }, cache.Expired, 90 * time.Second, 90 * time.Second,
		},
		"at its exp although it cannot be confirmed": {
			time.Minute, -1, time.Hour, func(as *teller) { as.says(nil, introspect.ErrUnavailable) }, cache.Expired, time.Hour, time.Hour,
		},
		"when it is found revoked, before twice the time": {
			time.Minute, -1, time.Hour, func(as *teller) { as.says(bad, nil) }, cache.Inactive, time.Minute, 2 * time.Minute,
		},
		"when it is found revoked, without an exp": {
			time.Minute, -1, 0, func(as *teller) { as.says(bad, nil) }, cache.Inactive, time.Minute, 2 * time.Minute,
		},
		"later if the authority prolongs it": {
			time.Minute, -1, 90 * time.Second, func(as *teller) { as.says(good(150*time.Second), nil) },
			cache.Expired, 150 * time.Second, 150 * time.Second,
		},
		"sooner if the authority shortens it": {
			time.Minute, -1, time.Hour, func(as *teller) { as.says(good(10*time.Second), nil) }, cache.Expired, time.Minute, 2 * time.Minute,
		},
		"when nobody can be asked for too long": {
			time.Minute, 30 * time.Second, time.Hour, func(as *teller) { as.says(nil, introspect.ErrUnavailable) },
			cache.Unconfirmed, 90 * time.Second, 2 * time.Minute,
		},
		"but not since the gateway has too much to do": {
			time.Minute, 0, 0, func(as *teller) { as.says(nil, introspect.ErrSaturated) }, "", 0, 0,
		},
		"but not while nobody can be asked": {
			time.Minute, -1, 0, func(as *teller) { as.says(nil, introspect.ErrUnavailable) }, "", 0, 0,
		},
		"but not if nobody is to be asked": {
			0, -1, 0, func(as *teller) { as.says(bad, nil) }, "", 0, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				as, watch := new(teller), cache.NewWatch()
				leave := watch.Join(&cache.Asker{Introspector: as, Remembered: remembers, Every: test.every, Stale: test.stale})
				defer leave()
				first := map[string]any{"active": true}
				if test.lifetime > 0 {
					first = good(test.lifetime)
				}
				as.says(first, nil)
				open, ends := opened(t, watch, as, "t")
				defer open.Close()
				test.then(as)
				end, ended := after(ends, 10*time.Hour)
				require.Equal(t, test.end != "", ended)
				assert.Equal(t, test.end, end.why)
				assert.GreaterOrEqual(t, end.after, test.from)
				assert.LessOrEqual(t, end.after, test.to)
				calls := as.asked()
				_, twice := after(ends, time.Hour)
				assert.False(t, twice, "it ends once")
				if ended {
					assert.Equal(t, calls, as.asked(), "and nobody asks any more")
				}
			})
		})
	}
}

// An open stream counts as use: its token is asked about, once for all that is open by it, until the last is closed.
func TestWhatIsOpenCountsAsUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, watch := &teller{takes: 5 * time.Second}, cache.NewWatch()
		leave := watch.Join(&cache.Asker{Introspector: as, Remembered: remembers, Every: time.Minute, Stale: -1})
		defer leave()
		as.says(map[string]any{"active": true}, nil)
		one, ends := opened(t, watch, as, "t")
		other, otherEnds := opened(t, watch, as, "t")
		calls := as.asked()
		time.Sleep(time.Hour)
		assert.InDelta(t, 55, as.asked()-calls, 5)
		one.Close()
		one.Close()
		calls = as.asked()
		time.Sleep(time.Hour)
		assert.InDelta(t, 55, as.asked()-calls, 5, "the other is open")
		other.Close()
		time.Sleep(time.Minute)
		calls = as.asked()
		time.Sleep(time.Hour)
		assert.Equal(t, calls, as.asked())
		watch.Forget(cache.Selector{All: true})
		synctest.Wait()
		assert.Empty(t, ends, "what is closed does not end")
		assert.Empty(t, otherEnds)
	})
}

func TestWhatIsOpenEndsWhenItIsForgotten(t *testing.T) {
	for name, test := range map[string]struct {
		selector cache.Selector
		ends     []string
	}{
		"token":      {cache.Selector{Token: introspect.DigestOf("a")}, []string{"a"}},
		"subject":    {cache.Selector{Subject: "alice"}, []string{"a", "b"}},
		"client":     {cache.Selector{ClientID: "app"}, []string{"b", "c"}},
		"all":        {cache.Selector{All: true}, []string{"a", "b", "c", "nobody's"}},
		"nothing":    {cache.Selector{}, nil},
		"none there": {cache.Selector{Token: introspect.DigestOf("d")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				as, watch := new(teller), cache.NewWatch()
				opens := make(map[string]<-chan ending)
				for token, body := range map[string]map[string]any{
					"a":        {"active": true, "sub": "alice"},
					"b":        {"active": true, "sub": "alice", "client_id": "app"},
					"c":        {"active": true, "sub": "bob", "client_id": "app"},
					"nobody's": {"active": true},
				} {
					as.says(body, nil)
					_, opens[token] = opened(t, watch, as, token)
				}
				watch.Forget(test.selector)
				synctest.Wait()
				var ended []string
				for _, token := range []string{"a", "b", "c", "nobody's"} {
					select {
					case end := <-opens[token]:
						assert.Equal(t, ending{cache.Forgotten, 0}, end)
						ended = append(ended, token)
					default:
					}
				}
				assert.Equal(t, test.ends, ended)
			})
		})
	}
}

// What the authority says to another request counts at once.
func TestWhatIsOpenEndsWhenSomebodyElseHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, watch := new(teller), cache.NewWatch()
		as.says(map[string]any{"active": true}, nil)
		_, ends := opened(t, watch, as, "t")
		_, others := opened(t, watch, as, "other")
		request := watch.Over(as)
		for _, says := range []func(){
			func() {}, func() { as.says(nil, introspect.ErrUnavailable) }, func() { as.says(map[string]any{"active": false}, nil) },
		} {
			require.Empty(t, ends)
			says()
			_, _ = request.Introspect(t.Context(), introspect.NewToken("t"))
			synctest.Wait()
		}
		end, _ := after(ends, never)
		assert.Equal(t, ending{cache.Inactive, 0}, end)
		assert.Empty(t, others)
	})
}

// Between the answer and the stream a backend may take its time. What becomes of the token in between is not missed.
func TestM13ATokenThatIsRevokedBeforeItsStreamBegins(t *testing.T) {
	for name, revoke := range map[string]func(f *fixture){
		"forgotten":                     func(f *fixture) { f.state.Forget(cache.Selector{Token: introspect.DigestOf("t")}) },
		"subject forgotten":             func(f *fixture) { f.state.Forget(cache.Selector{Subject: "alice"}) },
		"heard by another request":      func(f *fixture) { f.advance(time.Hour); f.ask(t, "t") },
		"after the stream has begun":    nil,
		"heard after that by a request": nil,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, cache.Life{DefaultTTL: time.Minute, NegativeTTL: 10 * time.Second})
			watch := cache.NewWatch()
			f.state.Tell(watch)
			defer watch.Join(&cache.Asker{Introspector: f.cache, Remembered: f.state.Remembered, Stale: -1})()
			f.authority.says(map[string]any{"active": true, "sub": "alice"})
			answer := f.ask(t, "t")
			f.authority.says(map[string]any{"active": false})
			if revoke != nil {
				revoke(f)
			}
			ends := make(chan cache.End, 1)
			open := watch.Open(introspect.NewToken("t"), answer, func(why cache.End) { ends <- why })
			defer open.Close()
			switch name {
			case "after the stream has begun":
				f.state.Forget(cache.Selector{ClientID: "somebody else's", Subject: "alice"})
				assert.Equal(t, cache.Forgotten, soon(ends))
			case "heard after that by a request":
				f.advance(time.Hour)
				require.False(t, f.ask(t, "t").Active)
				assert.Equal(t, cache.Inactive, soon(ends))
			default:
				assert.Equal(t, cache.Inactive, soon(ends))
			}
		})
	}
}

// soon is why something ends that has to end at once, or empty if it does not.
func soon(ends <-chan cache.End) cache.End {
	select {
	case why := <-ends:
		return why
	case <-time.After(10 * time.Second):
		return ""
	}
}

// A stream outlives the configuration under which it began: the next one asks for it, with the credentials and in the
// rhythm that it has, and the last one goes on after it is gone.
func TestWhatIsOpenOutlivesReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := cache.NewWatch()
		join := func(every time.Duration) (*teller, func()) {
			as := new(teller)
			as.says(map[string]any{"active": true}, nil)
			return as, watch.Join(&cache.Asker{Introspector: as, Remembered: remembers, Every: every, Stale: -1})
		}
		asked := func(as *teller) int {
			before := as.asked()
			time.Sleep(time.Hour)
			return as.asked() - before
		}
		first, leaveFirst := join(0)
		open, ends := opened(t, watch, first, "t")
		defer open.Close()
		assert.Zero(t, asked(first))

		failed, leaveFailed := join(time.Minute)
		leaveFailed()
		assert.Zero(t, asked(failed), "a configuration that is not loaded asks nobody")

		second, leaveSecond := join(time.Minute)
		leaveFirst()
		assert.Greater(t, asked(second), 50)
		third, leaveThird := join(10 * time.Minute)
		leaveSecond()
		assert.InDelta(t, 5, asked(third), 1)
		leaveThird()
		assert.InDelta(t, 5, asked(third), 1, "nobody follows")
		assert.Empty(t, ends)
		third.says(map[string]any{"active": false}, nil)
		end, _ := after(ends, never)
		assert.Equal(t, cache.Inactive, end.why)
	})
}

// Authorities of one endpoint and client share a Watch. The one that is strictest is the one that counts, whoever came first.
func TestK10TheStrictestSettingsCountForWhatIsOpen(t *testing.T) {
	strict := cache.Asker{Every: time.Minute, Stale: 30 * time.Second}
	for name, other := range map[string]cache.Asker{
		"one that never asks":                             {Stale: -1},
		"one that never asks, nor lets anything be stale": {Stale: 0},
		"one that asks less often":                        {Every: time.Hour, Stale: -1},
		"one that is less patient, but asks less often":   {Every: 10 * time.Minute, Stale: 0},
	} {
		for order, askers := range map[string][]cache.Asker{"first": {other, strict}, "last": {strict, other}} {
			t.Run(name+" comes "+order, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					as, watch := new(teller), cache.NewWatch()
					for _, asker := range askers {
						asker.Introspector, asker.Remembered = as, remembers
						defer watch.Join(&asker)()
					}
					begin := func() <-chan ending {
						as.says(map[string]any{"active": true}, nil)
						open, ends := opened(t, watch, as, "t")
						t.Cleanup(open.Close)
						return ends
					}
					ends := begin()
					as.says(map[string]any{"active": false}, nil)
					end, _ := after(ends, never)
					assert.Equal(t, cache.Inactive, end.why)
					assert.LessOrEqual(t, end.after, 2*time.Minute)

					ends = begin()
					as.says(nil, introspect.ErrUnavailable)
					end, _ = after(ends, never)
					assert.Equal(t, cache.Unconfirmed, end.why)
					assert.LessOrEqual(t, end.after, 2*time.Minute)
				})
			})
		}
	}
}

// The one that asks most often may not be able to: its secret is wrong, say. Others of the same endpoint and client can.
func TestK10WhoCannotAskLeavesItToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, broken, watch := new(teller), new(teller), cache.NewWatch()
		broken.says(nil, introspect.ErrCredentials)
		defer watch.Join(&cache.Asker{Introspector: broken, Every: time.Minute, Stale: -1})()
		defer watch.Join(&cache.Asker{Introspector: as, Remembered: remembers, Every: time.Hour, Stale: -1})()
		as.says(map[string]any{"active": true}, nil)
		open, ends := opened(t, watch, as, "t")
		defer open.Close()
		as.says(map[string]any{"active": false}, nil)
		end, _ := after(ends, never)
		assert.Equal(t, cache.Inactive, end.why)
		assert.LessOrEqual(t, end.after, 2*time.Minute)
	})
}

// What was opened while nobody asked is asked about as soon as somebody does, however often the configuration is loaded.
func TestK10WhoeverJoinsAsksAboutWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, watch := new(teller), cache.NewWatch()
		watch.Join(&cache.Asker{Introspector: as, Remembered: remembers, Stale: -1})()
		as.says(map[string]any{"active": true}, nil)
		open, ends := opened(t, watch, as, "t")
		defer open.Close()
		as.says(map[string]any{"active": false}, nil)
		end, ended := after(ends, time.Hour)
		require.False(t, ended, end)
		for range 100 {
			defer watch.Join(&cache.Asker{Introspector: as, Remembered: remembers, Every: time.Minute, Stale: -1})()
			if end, ended = after(ends, 5*time.Second); ended {
				break
			}
		}
		assert.Equal(t, cache.Inactive, end.why)
	})
}

// BenchmarkWatch shows what an open stream takes. No goroutine is among it.
func BenchmarkWatch(b *testing.B) {
	const streams = 10_000
	memory := func() uint64 {
		runtime.GC()
		runtime.GC() // and what stopped timers hold
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	tokens := make([]introspect.Token, streams)
	for i := range tokens {
		tokens[i] = introspect.NewToken(fmt.Sprint("token-", i))
	}
	answer, err := introspect.AnswerOf(map[string]any{"active": true, "exp": time.Now().Add(time.Hour).Unix()}, time.Now())
	require.NoError(b, err)
	b.ReportAllocs()
	remembered := func(introspect.Digest) *introspect.Answer { return answer }
	for b.Loop() {
		watch := cache.NewWatch()
		watch.Join(&cache.Asker{Introspector: new(teller), Remembered: remembered, Every: time.Minute, Stale: -1})
		opens := make([]*cache.Open, 0, streams)
		before, goroutines := memory(), runtime.NumGoroutine()
		for _, token := range tokens {
			opens = append(opens, watch.Open(token, answer, func(cache.End) {}))
		}
		b.ReportMetric(float64(memory()-before)/streams, "B/stream")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/streams, "goroutines/stream")
		for _, open := range opens {
			open.Close()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/streams, "ns/stream")
}
