package introspect

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// DefaultMaxConcurrent is how many calls are under way at one authority at most, unless an operator says otherwise.
const DefaultMaxConcurrent = 64

// waitersPerCall bounds how many callers wait for one of the calls under way to end.
const waitersPerCall = 16

// Limit bounds the calls under way at next. A call beyond the limit waits, for at most the given time, and so do
// 16 times the limit of them; what has to wait longer or finds the queue full fails with ErrUnavailable, so that a
// flood of unknown tokens fills neither the authority nor this process.
func Limit(next Introspector, limit int, wait time.Duration) Introspector {
	return &limiter{next: next, slots: make(chan struct{}, limit), wait: wait}
}

type limiter struct {
	next    Introspector
	slots   chan struct{}
	wait    time.Duration
	waiting atomic.Int64
}

func (l *limiter) Introspect(ctx context.Context, token Token) (*Answer, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-l.slots }()
	return l.next.Introspect(ctx, token)
}

func (l *limiter) enter(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	if l.waiting.Add(1) > int64(cap(l.slots)*waitersPerCall) {
		l.waiting.Add(-1)
		return fmt.Errorf("%w: too many calls are waiting", errBusy)
	}
	defer l.waiting.Add(-1)
	timer := time.NewTimer(l.wait)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: %d calls are under way", errBusy, cap(l.slots))
	case <-ctx.Done():
		return ctx.Err()
	}
}
