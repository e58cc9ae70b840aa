package dpop_test

import (
	"crypto/sha256"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/dpop"
)

func digest(i int) dpop.Digest { return sha256.Sum256([]byte(strconv.Itoa(i))) }

// A flood of proofs does not push out those that could be replayed.
func TestG13_AFullMemoryRefusesRatherThanForgets(t *testing.T) {
	now := newClock()
	memory := dpop.NewLocalMemory(3, now.Now)
	use := func(i int, life time.Duration) error {
		return memory.UseOnce(t.Context(), digest(i), now.Now().Add(life))
	}
	for i := range 3 {
		require.NoError(t, use(i, time.Minute))
	}
	err := use(3, time.Minute)
	require.Error(t, err)
	require.NotErrorIs(t, err, dpop.ErrReplayed, "nobody knows that proof")
	for i := range 3 {
		require.ErrorIs(t, use(i, time.Minute), dpop.ErrReplayed)
	}
	now.Advance(80 * time.Second)
	assert.NoError(t, use(3, time.Minute), "there is room when the others are worth nothing any more")
}

func TestG13_AProofIsRememberedAsLongAsItIsGood(t *testing.T) {
	for life := time.Second; life <= 70*time.Second; life += 3 * time.Second {
		now := newClock()
		memory := dpop.NewLocalMemory(100, now.Now)
		until := now.Now().Add(life)
		require.NoError(t, memory.UseOnce(t.Context(), digest(1), until))
		now.Advance(life - time.Millisecond)
		require.NoError(t, memory.UseOnce(t.Context(), digest(2), now.Now().Add(time.Minute)))
		require.ErrorIs(t, memory.UseOnce(t.Context(), digest(1), until), dpop.ErrReplayed, life)
	}
}

// A clock that is set back makes no old proof new.
func TestG13_TheClockGoesBack(t *testing.T) {
	now := newClock()
	memory := dpop.NewLocalMemory(100, now.Now)
	until := now.Now().Add(time.Minute)
	require.NoError(t, memory.UseOnce(t.Context(), digest(1), until))
	now.Advance(2 * time.Minute)
	require.NoError(t, memory.UseOnce(t.Context(), digest(2), now.Now().Add(time.Minute)))
	now.Advance(-2 * time.Minute)
	assert.ErrorIs(t, memory.UseOnce(t.Context(), digest(1), until), dpop.ErrReplayed)
}

func BenchmarkUseOnce(b *testing.B) {
	now := newClock()
	memory := dpop.NewLocalMemory(dpop.DefaultProofs, now.Now)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now.Advance(50 * time.Microsecond) // 20 000 requests a second
		if err := memory.UseOnce(b.Context(), digest(i), now.Now().Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
}
