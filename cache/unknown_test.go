package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// limited puts a limit of one unknown token an hour below the cache.
func (f *fixture) limited(life cache.Life) {
	limit := introspect.LimitUnknown(f.authority, introspect.UnknownConfig{Tokens: 1, Per: time.Hour, Now: f.now})
	f.cache = cache.New(limit, f.state, life, f.now)
}

// isLimited tells whether a question about a token is one too many.
func (f *fixture) isLimited(t *testing.T, token introspect.Token) bool {
	t.Helper()
	_, err := f.cache.Introspect(t.Context(), token)
	if introspect.IsLimited(err) {
		return true
	}
	require.NoError(t, err)
	return false
}

// Whoever has used up the unknown tokens goes on with those that are remembered (K15).
func TestRememberedTokensAreNotUnknown(t *testing.T) {
	life := defaults
	life.Revalidate = time.Minute
	f := newFixture(t, life)
	f.limited(life)
	from := func(token string) introspect.Token { return introspect.NewToken(token).From("192.0.2.1") }
	f.authority.says(map[string]any{"active": true, "exp": f.in(time.Hour)})
	require.False(t, f.isLimited(t, from("good")))
	f.authority.says(map[string]any{"active": false})
	require.False(t, f.isLimited(t, from("bad")))
	require.True(t, f.isLimited(t, from("another")))
	f.authority.says(map[string]any{"active": true, "exp": f.in(time.Hour)})

	assert.False(t, f.isLimited(t, from("good")), "it is remembered")
	assert.False(t, f.isLimited(t, from("bad")), "that it is bad is remembered")
	assert.True(t, f.isLimited(t, from("another")))
	f.advance(time.Second)
	assert.False(t, f.isLimited(t, from("good").AskedSince(f.now())), "asked for again, as somebody wants a fresh answer")
	assert.False(t, f.isLimited(t, introspect.NewToken("another").From("192.0.2.2")), "somebody else goes on")
	f.advance(2 * time.Minute)
	calls := f.authority.calls.Load()
	assert.False(t, f.isLimited(t, from("good")), "it has to be confirmed")
	assert.Greater(t, f.authority.calls.Load(), calls)

	t.Run("attack: a token that was good goes on being tried", func(t *testing.T) {
		f.state.Forget(cache.Selector{All: true})
		assert.True(t, f.isLimited(t, from("good")))
	})
}

// Many requests with one token make one call, and so they count once.
func TestRequestsThatJoinACallDoNotCount(t *testing.T) {
	f := newFixture(t, defaults)
	f.limited(defaults)
	f.authority.says(map[string]any{"active": true})
	begun, gate := make(chan struct{}), make(chan struct{})
	f.authority.hold = func(introspect.Token) {
		close(begun)
		<-gate
	}
	token := introspect.NewToken("good").From("192.0.2.1")
	results := make(chan error)
	ask := func() {
		_, err := f.cache.Introspect(t.Context(), token)
		results <- err
	}
	go ask()
	<-begun
	for range 20 {
		go ask()
	}
	close(gate)
	for range 21 {
		assert.NoError(t, <-results)
	}
	f.asked(t, 1)
}

// turns answers the first call only when it is told to, and as if its client had tried too many tokens.
type turns struct {
	*authority
	begun, gate chan struct{}
}

func (l *turns) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	answer, err := l.authority.Introspect(ctx, token)
	if l.calls.Load() > 1 {
		return answer, err
	}
	close(l.begun)
	<-l.gate
	return nil, &introspect.LimitedError{Wait: time.Minute}
}

// waiting tells when somebody begins to wait for a call under it.
type waiting struct {
	context.Context
	waits chan<- struct{}
}

func (w waiting) Done() <-chan struct{} {
	select {
	case w.waits <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

// Attack: somebody who has tried too many tokens presents the token of somebody else just before that one does.
func TestWhoJoinsACallIsNotLimitedForWhoBeganIt(t *testing.T) {
	f := newFixture(t, defaults)
	limit := &turns{f.authority, make(chan struct{}), make(chan struct{})}
	f.cache = cache.New(limit, f.state, defaults, f.now)
	f.authority.says(map[string]any{"active": true})
	token := introspect.NewToken("good")
	first, second, waits := make(chan error), make(chan error), make(chan struct{}, 2)
	ask := func(result chan<- error) {
		_, err := f.cache.Introspect(waiting{t.Context(), waits}, token)
		result <- err
	}
	go ask(first)
	<-limit.begun
	<-waits
	go ask(second)
	<-waits
	close(limit.gate)
	assert.True(t, introspect.IsLimited(<-first))
	assert.NoError(t, <-second)
}
