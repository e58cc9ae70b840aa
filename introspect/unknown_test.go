package introspect_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// knowing is an authority that knows some tokens, fails for others, and counts how often it is asked.
type knowing struct {
	good, failing map[string]bool
	calls         atomic.Int32
	gate          chan struct{} // answers wait until it is closed, if there is one
}

func (k *knowing) Introspect(_ context.Context, token introspect.Token) (*introspect.Answer, error) {
	k.calls.Add(1)
	if k.gate != nil {
		<-k.gate
	}
	if k.failing[token.Value()] {
		return nil, introspect.ErrTimeout
	}
	return &introspect.Answer{Active: k.good[token.Value()]}, nil
}

// A limit of three unknown tokens a minute, and the authority behind it.
type strangers struct {
	*clock
	*knowing
	tries *introspect.Tries
	introspect.Introspector
}

func newStrangers() *strangers {
	s := &strangers{
		clock: newClock(), tries: new(introspect.Tries),
		knowing: &knowing{good: map[string]bool{"good": true}, failing: map[string]bool{"failing": true}},
	}
	s.limit(3, time.Minute)
	return s
}

func (s *strangers) limit(tokens int, per time.Duration) {
	s.Introspector = introspect.LimitUnknown(s.knowing, introspect.UnknownConfig{Tokens: tokens, Per: per, Tries: s.tries, Now: s.now})
}

// try asks about a token, and returns how long to wait, or zero.
func (s *strangers) try(t *testing.T, from, token string) time.Duration {
	t.Helper()
	return s.tryToken(t, introspect.NewToken(token).From(from))
}

func (s *strangers) tryToken(t *testing.T, token introspect.Token) time.Duration {
	t.Helper()
	_, err := s.Introspector.Introspect(t.Context(), token)
	var limited *introspect.LimitedError
	if !introspect.IsLimited(err) {
		return 0
	}
	require.ErrorAs(t, err, &limited)
	require.ErrorIs(t, err, introspect.ErrUnavailable, "whoever does not know the error takes the token for one that may be good")
	require.Positive(t, limited.Wait)
	return limited.Wait
}

func TestK15UnknownTokensAreLimited(t *testing.T) {
	const mallory, alice = "192.0.2.66", "192.0.2.1"
	t.Run("attack: one address tries many tokens", func(t *testing.T) {
		s := newStrangers()
		for i := range 3 {
			assert.Zero(t, s.try(t, mallory, fmt.Sprint("guess-", i)))
		}
		for i := range 100 {
			assert.Equal(t, 20*time.Second, s.try(t, mallory, fmt.Sprint("further-", i)))
		}
		assert.EqualValues(t, 3, s.calls.Load())
		assert.Equal(t, 20*time.Second, s.try(t, mallory, "good"), "which of its tokens is good nobody can know without asking")
		assert.Zero(t, s.try(t, alice, "mistyped"), "others go on")
		assert.Zero(t, s.try(t, alice, "good"), "others go on")
	})
	t.Run("attack: one IPv6 network has many addresses", func(t *testing.T) {
		s := newStrangers()
		for i := range 50 {
			s.try(t, fmt.Sprintf("2001:db8:1:2::%x", i+1), "guess")
		}
		assert.EqualValues(t, 3, s.calls.Load())
		assert.Zero(t, s.try(t, "2001:db8:1:3::1", "guess"), "the network beside it goes on")
	})
	t.Run("attack: one address in two spellings", func(t *testing.T) {
		s := newStrangers()
		for range 3 {
			s.try(t, "192.0.2.66", "guess")
		}
		assert.Positive(t, s.try(t, "::ffff:192.0.2.66", "guess"))
	})
	t.Run("whoever has no address shares one with all others", func(t *testing.T) {
		s := newStrangers()
		for range 3 {
			assert.Zero(t, s.try(t, "", "guess"))
		}
		assert.Positive(t, s.try(t, "", "guess"))
	})
	t.Run("good tokens do not count", func(t *testing.T) {
		s := newStrangers()
		for range 100 {
			assert.Zero(t, s.try(t, alice, "good"))
		}
	})
	t.Run("attack: tokens that make the authority fail count", func(t *testing.T) {
		s := newStrangers()
		for range 3 {
			assert.Zero(t, s.try(t, mallory, "failing"))
		}
		assert.Positive(t, s.try(t, mallory, "failing"))
	})
	t.Run("what is remembered does not count", func(t *testing.T) {
		s := newStrangers()
		for range 100 {
			assert.Zero(t, s.tryToken(t, introspect.NewToken("bad").From(mallory).Confirming()))
			assert.Zero(t, s.tryToken(t, introspect.NewToken("bad").From(mallory).Known()))
		}
	})
	t.Run("it is forgotten little by little", func(t *testing.T) {
		s := newStrangers()
		for range 3 {
			s.try(t, mallory, "guess")
		}
		s.advance(19 * time.Second)
		assert.Equal(t, time.Second, s.try(t, mallory, "guess"))
		s.advance(time.Second)
		assert.Zero(t, s.try(t, mallory, "guess"))
		assert.Positive(t, s.try(t, mallory, "guess"))
		s.advance(time.Hour)
		for range 3 {
			assert.Zero(t, s.try(t, mallory, "guess"))
		}
		assert.Positive(t, s.try(t, mallory, "guess"), "no more than three at once")
	})
	t.Run("the next limit goes on counting", func(t *testing.T) {
		s := newStrangers()
		for range 3 {
			s.try(t, mallory, "guess")
		}
		s.limit(4, time.Minute)
		assert.Zero(t, s.try(t, mallory, "guess"))
		assert.Positive(t, s.try(t, mallory, "guess"))
		s.limit(2, time.Minute)
		assert.Equal(t, 90*time.Second, s.try(t, mallory, "guess"))
	})
	t.Run("attack: many networks fill the memory", func(t *testing.T) {
		s := newStrangers()
		for range 3 {
			s.try(t, mallory, "guess")
		}
		for i := range 40_000 {
			s.try(t, fmt.Sprintf("2001:db8:%x:%x::1", i>>8, i&0xff), "guess")
		}
		assert.LessOrEqual(t, s.tries.Len(), 30_000)
		assert.Positive(t, s.try(t, mallory, "guess"), "who has tried most is remembered")
	})
	t.Run("good tokens leave nothing behind", func(t *testing.T) {
		s := newStrangers()
		for i := range 1000 {
			s.try(t, fmt.Sprintf("2001:db8:%x::1", i), "good")
		}
		assert.Zero(t, s.tries.Len())
	})
	t.Run("attack: tokens at the same time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStrangers()
			s.gate = make(chan struct{})
			var group sync.WaitGroup
			for i := range 64 {
				group.Go(func() { s.try(t, mallory, fmt.Sprint("guess-", i)) })
			}
			synctest.Wait()
			assert.EqualValues(t, 3, s.calls.Load(), "while nobody has an answer")
			close(s.gate)
			group.Wait()
			assert.EqualValues(t, 3, s.calls.Load())
		})
	})
}
