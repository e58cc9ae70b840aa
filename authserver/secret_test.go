package authserver

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQ04HashesAreDear(t *testing.T) {
	hash, err := parseArgon2id(HashSecret("correct horse battery"))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, hash.memory, uint32(46<<10), "KiB")
}

func TestQ04AttackStrangersTryPasswordsAtOnce(t *testing.T) {
	var (
		begun         = make(chan struct{}, maxSlowWaiting)
		gate          = make(chan struct{})
		running, most atomic.Int64
		admitted      sync.WaitGroup
		failures      [maxSlowWaiting]error
		check         = func() {
			begun <- struct{}{}
			most.Store(max(most.Load(), running.Add(1)))
			<-gate
			running.Add(-1)
		}
	)
	for i := range maxSlowWaiting {
		admitted.Go(func() { failures[i] = slowly(t.Context(), check) })
	}
	for range cap(slowChecks) {
		<-begun
	}
	assert.Eventually(t, func() bool { return slowWaiting.Load() == maxSlowWaiting }, 10*time.Second, time.Millisecond)
	assert.ErrorIs(t, slowly(t.Context(), check), errBusy, "nobody else may wait")
	assert.Empty(t, begun, "the others wait")
	close(gate)
	admitted.Wait()
	for _, err := range failures {
		assert.NoError(t, err)
	}
	assert.LessOrEqual(t, most.Load(), int64(cap(slowChecks)))
	assert.Zero(t, slowWaiting.Load())

	gate = make(chan struct{})
	for range cap(slowChecks) {
		admitted.Go(func() { _ = slowly(t.Context(), func() { <-gate }) })
	}
	assert.Eventually(t, func() bool { return len(slowChecks) == cap(slowChecks) }, 10*time.Second, time.Millisecond)
	gone, leave := context.WithCancel(t.Context())
	leave()
	assert.ErrorIs(t, slowly(gone, check), context.Canceled, "who has gone does not wait")
	close(gate)
	admitted.Wait()
}
