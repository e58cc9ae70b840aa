package authserver

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTheThrottle(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }

	t.Run("a success is forgotten, and so is what failed before it", func(t *testing.T) {
		throttle := newThrottle(clock, loginAllowances)
		for range 100 {
			tried, wait := throttle.begin("192.0.2.1", "alice")
			assert.Zero(t, wait)
			tried.succeeded()
		}
	})
	t.Run("attack: many addresses guess the password of one account", func(t *testing.T) {
		throttle := newThrottle(clock, loginAllowances)
		tried, _ := throttle.begin("203.0.113.9", "alice")
		tried.succeeded()
		waited := 0
		for i := range 1000 {
			if _, wait := throttle.begin("192.0.2."+strconv.Itoa(i), "alice"); wait > 0 {
				waited++
				assert.LessOrEqual(t, wait, 5*time.Second, "its owner does not wait long")
			}
		}
		assert.Equal(t, 800, waited)
		_, wait := throttle.begin("203.0.113.9", "alice")
		assert.Zero(t, wait, "where she has signed in before, alice still can")
	})
	t.Run("attack: names are made up until the memory is full", func(t *testing.T) {
		throttle := newThrottle(clock, loginAllowances)
		for range 5 {
			throttle.begin("192.0.2.1", "alice")
		}
		for i := range maxBuckets {
			throttle.begin("198.51.100."+strconv.Itoa(i), strconv.Itoa(i))
		}
		assert.Len(t, throttle.buckets, maxBuckets)
		_, wait := throttle.begin("192.0.2.1", "alice")
		assert.Positive(t, wait, "what has failed most often is remembered")
	})
	t.Run("an attempt that was none does not count", func(t *testing.T) {
		throttle := newThrottle(clock, loginAllowances)
		for range 100 {
			tried, wait := throttle.begin("192.0.2.1", "alice")
			assert.Zero(t, wait)
			tried.undo()
		}
	})
}
