package introspect_test

import (
	"sync"
	"time"
)

// clock stands still until it is advanced. It is safe for concurrent use.
type clock struct {
	mu      sync.Mutex
	instant time.Time
}

func newClock() *clock { return &clock{instant: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.instant
}

func (c *clock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instant = c.instant.Add(by)
}
