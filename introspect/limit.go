package introspect

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultMaxConcurrent is how many calls are under way at one authority at most, unless an operator says otherwise.
const DefaultMaxConcurrent = 64

// waitersPerCall bounds how many callers wait for one of the calls under way to end.
const waitersPerCall = 16

// Limit bounds the calls under way at next. A call beyond the limit waits, for at most the given time, and so do
// 16 times the limit of them; what has to wait longer or finds the queue full fails with ErrSaturated, so that a
// flood of unknown tokens fills neither the authority nor this process. What is Confirming waits in a queue of its own and
// comes first: no flood keeps a revocation from being seen.
func Limit(next Introspector, limit int, wait time.Duration) Introspector {
	return &limiter{next: next, limit: limit, free: limit, wait: wait}
}

type limiter struct {
	next  Introspector
	limit int
	wait  time.Duration

	mu   sync.Mutex
	free int
	// confirming and others wait for their turn, which begins when their channel is closed.
	confirming, others []chan struct{}
}

func (l *limiter) Introspect(ctx context.Context, token Token) (*Answer, error) {
	if err := l.enter(ctx, token.confirming); err != nil {
		return nil, err
	}
	defer l.leave()
	return l.next.Introspect(ctx, token)
}

func (l *limiter) enter(ctx context.Context, confirming bool) error {
	queue := &l.others
	if confirming {
		queue = &l.confirming
	}
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return nil
	}
	if len(*queue) >= l.limit*waitersPerCall {
		l.mu.Unlock()
		return fmt.Errorf("%w are waiting", ErrSaturated)
	}
	turn := make(chan struct{})
	*queue = append(*queue, turn)
	l.mu.Unlock()

	timer := time.NewTimer(l.wait)
	defer timer.Stop()
	var err error
	select {
	case <-turn:
		return nil
	case <-timer.C:
		err = fmt.Errorf("%w: %d are under way", ErrSaturated, l.limit)
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	if i := slices.Index(*queue, turn); i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
		l.mu.Unlock()
		return err
	}
	l.mu.Unlock()
	// Its turn has begun in this very moment: it is the next one's.
	l.leave()
	return err
}

// leave begins the turn of whoever has waited longest.
func (l *limiter) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := &l.confirming
	if len(*queue) == 0 {
		queue = &l.others
	}
	if len(*queue) == 0 {
		l.free++
		return
	}
	close((*queue)[0])
	*queue = slices.Delete(*queue, 0, 1)
}
