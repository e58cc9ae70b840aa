package cache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// member is a Cache of its own over a memory that others share.
func member(t *testing.T, memory *cache.Memory, name string, members map[string]any) (*cache.Cache, *cache.State) {
	t.Helper()
	clock := newClock()
	a := &authority{clock: clock, body: members}
	state := cache.NewState(memory, name, "client")
	return cache.New(a, state, cache.Life{DefaultTTL: time.Minute, NegativeTTL: time.Minute}, clock.now), state
}

func askAll(t *testing.T, c *cache.Cache, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		_, err := c.Introspect(t.Context(), introspect.NewToken(token))
		require.NoError(t, err)
	}
}

func TestStats(t *testing.T) {
	memory, err := cache.NewMemory(cache.DefaultMemory)
	require.NoError(t, err)
	good, goodState := member(t, memory, "good", map[string]any{"active": true, "sub": "alice", "client_id": "shop"})
	bad, badState := member(t, memory, "bad", map[string]any{"active": false})
	assert.Equal(t, cache.Stats{}, goodState.Stats())

	askAll(t, good, "a", "b", "c", "a")
	askAll(t, bad, "a", "b")
	three := goodState.Stats()
	assert.EqualValues(t, 3, three.Entries)
	assert.Positive(t, three.Bytes)
	assert.EqualValues(t, 2, badState.Stats().Entries, "of the same memory, but another's")
	assert.Positive(t, badState.Stats().Bytes)

	t.Run("an answer that takes the place of another counts once", func(t *testing.T) {
		_, err := good.Introspect(t.Context(), introspect.NewToken("a").AskedSince(time.Now().Add(time.Hour)))
		require.NoError(t, err)
		assert.Equal(t, three, goodState.Stats())
	})
	t.Run("one is forgotten", func(t *testing.T) {
		goodState.Forget(cache.Selector{Token: introspect.DigestOf("a")})
		badState.Forget(cache.Selector{Token: introspect.DigestOf("a")})
		assert.EqualValues(t, 2, goodState.Stats().Entries)
		assert.Equal(t, three.Bytes/3*2, goodState.Stats().Bytes)
		assert.EqualValues(t, 1, badState.Stats().Entries)
	})
	for _, c := range []struct {
		name     string
		selector cache.Selector
		left     int64
	}{
		{"somebody else is forgotten", cache.Selector{Subject: "bob"}, 2},
		{"the subject is forgotten", cache.Selector{Subject: "alice"}, 0},
		{"the client is forgotten", cache.Selector{ClientID: "shop"}, 0},
		{"all is forgotten", cache.Selector{All: true}, 0},
	} {
		t.Run(c.name+", and its memory is free", func(t *testing.T) {
			askAll(t, good, "b", "c")
			goodState.Forget(c.selector)
			assert.EqualValues(t, 2, goodState.Stats().Entries, "what is forgotten takes up memory still")
			goodState.Sweep()
			assert.Equal(t, c.left, goodState.Stats().Entries)
			assert.Equal(t, c.left*three.Bytes/3, goodState.Stats().Bytes)
			assert.EqualValues(t, 1, badState.Stats().Entries, "nobody else's")
		})
	}
	t.Run("inactive answers are swept too", func(t *testing.T) {
		badState.Forget(cache.Selector{All: true})
		badState.Sweep()
		assert.Equal(t, cache.Stats{}, badState.Stats())
	})
}

// Whatever is put, replaced, pushed out, rejected or removed, the books balance: when all is forgotten, nothing is left.
func TestStatsBalance(t *testing.T) {
	for name, active := range map[string]bool{"active": true, "inactive": false} {
		t.Run(name, func(t *testing.T) {
			memory, err := cache.NewMemory(cache.MinMemory)
			require.NoError(t, err)
			one, oneState := member(t, memory, "one", map[string]any{"active": active, "sub": "alice"})
			two, twoState := member(t, memory, "two", map[string]any{"active": active})
			var workers sync.WaitGroup
			for worker := range 8 {
				workers.Go(func() {
					for i := range 500 {
						token := introspect.NewToken(fmt.Sprint(i * (worker%3 + 1)))
						_, _ = one.Introspect(context.Background(), token)
						_, _ = two.Introspect(context.Background(), token.AskedSince(time.Now().Add(time.Hour)))
						if i%7 == worker%7 {
							oneState.Forget(cache.Selector{Token: token.Digest()})
						}
						if i%50 == worker {
							twoState.Forget(cache.Selector{All: true})
							twoState.Sweep()
						}
					}
				})
			}
			workers.Wait()
			assert.LessOrEqual(t, oneState.Stats().Bytes+twoState.Stats().Bytes, int64(cache.MinMemory))
			assert.Positive(t, oneState.Stats().Entries)
			for _, state := range []*cache.State{oneState, twoState} {
				state.Forget(cache.Selector{All: true})
				state.Sweep()
				assert.Equal(t, cache.Stats{}, state.Stats())
			}
		})
	}
}
