package cache_test

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// lasting is a Life whose answers outlive a test.
var lasting = cache.Life{DefaultTTL: time.Hour, NegativeTTL: time.Hour}

// fixtureWith is a fixture with a given memory.
func fixtureWith(memory *cache.Memory, clock *clock) *fixture {
	f := &fixture{clock: clock, authority: &authority{clock: clock}, state: cache.NewState(memory, "as", "gateway")}
	f.cache = cache.New(f.authority, f.state, lasting, clock.now)
	return f
}

func TestD22AFloodOfUnknownTokensEvictsNothingFromAFullMemory(t *testing.T) {
	const budget = 1 << 20
	memory, err := cache.NewMemory(budget)
	require.NoError(t, err)
	f := fixtureWith(memory, newClock())

	good := func(i int) string { return fmt.Sprintf("good-%06d", i) }
	f.authority.says(map[string]any{"active": true, "sub": "alice", "scope": "orders:read orders:write"})
	cost := f.ask(t, good(0)).Size() + cache.EntryBytes
	full := (budget - budget/8) / cost
	for i := range full {
		f.ask(t, good(i))
	}
	for i := range full {
		require.Equal(t, introspect.Memory, f.ask(t, good(i)).Source, "all %d fit", full)
	}
	f.asked(t, full)

	f.authority.says(map[string]any{"active": false})
	const unknown = 50_000
	for i := range unknown {
		require.False(t, f.ask(t, fmt.Sprintf("unknown-%06d", i)).Active)
		require.True(t, f.ask(t, good(i%full)).Active, "it is asked for again")
	}
	for i := range full {
		require.True(t, f.ask(t, good(i)).Active, "it is asked for again")
	}
	f.asked(t, full+unknown)
}

func TestAuthoritiesShareOneBudget(t *testing.T) {
	const budget = 256 << 10
	memory, err := cache.NewMemory(budget)
	require.NoError(t, err)
	clock := newClock()
	var authorities []*fixture
	for range 4 {
		f := fixtureWith(memory, clock)
		f.authority.says(map[string]any{"active": true, "sub": "alice"})
		authorities = append(authorities, f)
	}
	fit := (budget - budget/8) / (authorities[0].ask(t, "0").Size() + cache.EntryBytes)
	for _, f := range authorities {
		for i := range fit {
			f.ask(t, strconv.Itoa(i))
		}
	}
	remembered := 0
	for _, f := range authorities {
		f.authority.fails(introspect.ErrUnavailable)
		for i := range fit {
			if _, err := f.cache.Introspect(t.Context(), introspect.NewToken(strconv.Itoa(i))); err == nil {
				remembered++
			}
		}
	}
	assert.LessOrEqual(t, remembered, fit+cache.ManyNewcomers, "the last few are beside it")
	assert.Greater(t, remembered, fit*9/10, "and they use it")
}

// heapInUse is how much memory is in use.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// alone waits until the memories of other tests are gone, so that nothing is given back while another one is measured.
func alone(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		runtime.GC()
		stacks := make([]byte, 1<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("ristretto"))
	}, 10*time.Second, time.Millisecond)
}

// What is accounted for an answer is what it takes.
func TestTheBudgetIsHonest(t *testing.T) {
	groups := make([]any, 50)
	for i := range groups {
		groups[i] = fmt.Sprint("group-number-", i)
	}
	alone(t)
	memory, err := cache.NewMemory(64 << 20)
	require.NoError(t, err)
	clock := newClock()
	for name, members := range map[string]map[string]any{
		"the least": {"active": true},
		"a token": {
			"active": true, "sub": "f4c6a1c2-", "client_id": "orders-app", "scope": "orders:read orders:write profile email",
			"iss": "https://auth.example.com/realms/main", "aud": "https://api.example.com", "exp": 1893456000, "iat": 1795345200,
			"token_type": "Bearer", "username": "alice@example.com",
		},
		"long values": {"active": true, "sub": strings.Repeat("s", 300), "note": strings.Repeat("n", 1000)},
		"lists":       {"active": true, "sub": "alice", "groups": groups},
		"objects": {"active": true, "sub": "alice", "realm_access": map[string]any{"roles": groups[:10]}, "resource_access": map[string]any{
			"account": map[string]any{"roles": []any{"manage-account", "view-profile"}},
		}, "address": map[string]any{"country": "XX", "verified": true, "number": 17}},
		"inactive":             {"active": false},
		"inactive, with story": {"active": false, "sub": "alice", "reason": strings.Repeat("r", 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixtureWith(memory, clock)
			const count = 5000
			cost := int64(cache.InactiveBytes)
			before := heapInUse()
			for i := range count {
				own := maps.Clone(members)
				if sub, ok := members["sub"].(string); ok {
					own["sub"] = sub + strconv.Itoa(i)
				}
				answer, err := introspect.AnswerOf(own, clock.now())
				require.NoError(t, err)
				if answer.Active {
					cost = int64(answer.Size() + cache.EntryBytes)
				}
				f.state.Remember(introspect.NewToken(strconv.Itoa(i)), answer)
				if i%500 == 499 {
					f.state.Settle()
				}
			}
			each := (heapInUse() - before) / count
			t.Logf("accounted %d bytes, measured %d", cost, each)
			assert.GreaterOrEqual(t, float64(cost), 0.8*float64(each))
			assert.LessOrEqual(t, float64(cost), 2*float64(each))
			require.Equal(t, introspect.Memory, f.ask(t, "0").Source)
			runtime.KeepAlive(f)
		})
	}
}

func TestInactiveAnswersTakeAnEighth(t *testing.T) {
	alone(t)
	const budget = 16 << 20
	memory, err := cache.NewMemory(budget)
	require.NoError(t, err)
	f := fixtureWith(memory, newClock())
	f.authority.says(map[string]any{"active": false})
	before, most := heapInUse(), int64(0)
	for i := range 20_000 {
		f.ask(t, strconv.Itoa(i))
		if i%500 == 499 {
			most = max(most, heapInUse()-before)
		}
	}
	assert.LessOrEqual(t, most, int64(budget/8))
	assert.Greater(t, most, int64(budget/32), "and are remembered")
	runtime.KeepAlive(f)
}
