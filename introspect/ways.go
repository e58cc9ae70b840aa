package introspect

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Ways is what is known of which of two ways to write the same credentials an authority accepts. It outlives the Client
// that finds it out, if it is given to the next one for the same credentials. The zero value knows nothing. It is safe
// for concurrent use.
type Ways struct {
	// way is the one that is used. Until it is settled, that is the first one, and only whoever holds the mutex tries
	// the other.
	way     atomic.Int32
	settled atomic.Bool
	trying  sync.Mutex
	// refusedAt is when both were refused last.
	refusedAt time.Time
}

// signIn makes a call with the credentials in the way that the authority accepts, as far as that is known, and finds
// it out where it is not.
func (c *caller) signIn(ctx context.Context, call func(ClientAuth) error) error {
	if c.auth[1] == nil {
		return call(c.auth[0])
	}
	way := c.ways.way.Load()
	err := call(c.auth[way])
	switch {
	case c.ways.settled.Load():
		// A call that began before the other way was found has used the wrong one.
		if found := c.ways.way.Load(); found != way && errors.Is(err, ErrCredentials) && ctx.Err() == nil {
			return call(c.auth[found])
		}
	case err == nil:
		c.ways.settled.Store(true)
	case errors.Is(err, ErrCredentials):
		return c.signInOtherwise(call, err)
	}
	return err
}

// signInOtherwise finds out whether the authority accepts the credentials if they are written in the other way, once.
func (c *caller) signInOtherwise(call func(ClientAuth) error, refused error) error {
	c.ways.trying.Lock()
	defer c.ways.trying.Unlock()
	if c.ways.settled.Load() {
		if way := c.ways.way.Load(); way != 0 {
			return call(c.auth[way])
		}
		return refused
	}
	// Where both are refused, the client may not be there yet. A secret is not sent raw again and again for that.
	if time.Since(c.ways.refusedAt) < credentialsPause {
		return refused
	}
	err := call(c.auth[1])
	switch {
	case err == nil:
		c.ways.way.Store(1)
		c.ways.settled.Store(true)
	case errors.Is(err, ErrCredentials):
		c.ways.refusedAt = time.Now()
	}
	return err
}
