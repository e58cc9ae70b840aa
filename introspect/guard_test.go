package introspect_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

var errServer = fmt.Errorf("%w: status 500", introspect.ErrUnavailable)

// guarded is a Guard over an authority that fails as it is told.
type guarded struct {
	*introspect.Guard
	*clock
	breaker *introspect.Breaker

	mu    sync.Mutex
	err   error
	calls int
}

func newGuarded(failures int) *guarded {
	g := &guarded{clock: newClock(), breaker: new(introspect.Breaker)}
	g.load(failures)
	return g
}

// load makes the Guard of the next configuration.
func (g *guarded) load(failures int) {
	g.Guard = introspect.NewGuard(source(g.answer), introspect.GuardConfig{
		Failures: failures, Open: 10 * time.Second, Breaker: g.breaker, Now: g.now,
	})
}

func (g *guarded) answer(context.Context, introspect.Token) (*introspect.Answer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	if g.err != nil {
		return nil, g.err
	}
	return &introspect.Answer{Active: true}, nil
}

// fails has the authority fail from now on, or not any more.
func (g *guarded) fails(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// ask asks about a token, and tells whether the authority was asked.
func (g *guarded) ask(t *testing.T, token string) (asked bool, err error) {
	t.Helper()
	g.mu.Lock()
	before := g.calls
	g.mu.Unlock()
	_, err = g.Introspect(t.Context(), introspect.NewToken(token))
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls > before, err
}

// mustAsk asks about tokens, each of which has to reach the authority.
func (g *guarded) mustAsk(t *testing.T, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		asked, _ := g.ask(t, token)
		require.True(t, asked, token)
	}
}

// mustNotAsk asks about a token, which must be answered with an error at once.
func (g *guarded) mustNotAsk(t *testing.T, want error) {
	t.Helper()
	g.mustNotAskAbout(t, "t-not-asked-about", want)
}

func (g *guarded) mustNotAskAbout(t *testing.T, token string, want error) {
	t.Helper()
	asked, err := g.ask(t, token)
	require.False(t, asked)
	require.ErrorIs(t, err, want)
}

// different are n different tokens.
func different(n int) []string {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("t%d", i)
	}
	return tokens
}

func TestC09TheBreaker(t *testing.T) {
	answered := func(err error, tokens ...string) func(*testing.T, *guarded) {
		return func(t *testing.T, g *guarded) {
			g.fails(err)
			g.mustAsk(t, tokens...)
		}
	}
	late := fmt.Errorf("%w: asking", introspect.ErrTimeout)
	for name, test := range map[string]struct {
		failures int
		steps    []func(*testing.T, *guarded)
		opens    bool
	}{
		"five failures of five tokens open it":       {5, []func(*testing.T, *guarded){answered(errServer, different(5)...)}, true},
		"five of three tokens do":                    {5, []func(*testing.T, *guarded){answered(errServer, "a", "b", "c", "a", "a")}, true},
		"five timeouts do":                           {5, []func(*testing.T, *guarded){answered(late, different(5)...)}, true},
		"four do not":                                {5, []func(*testing.T, *guarded){answered(errServer, different(4)...)}, false},
		"fifty of one token do not":                  {5, []func(*testing.T, *guarded){answered(errServer, make([]string, 50)...)}, false},
		"fifty of two tokens do not":                 {5, []func(*testing.T, *guarded){answered(errServer, append(make([]string, 49), "b")...)}, false},
		"one that asks for more than it is set to":   {2, []func(*testing.T, *guarded){answered(errServer, "a", "b")}, false},
		"an answer in between begins the count anew": {5, []func(*testing.T, *guarded){answered(errServer, different(4)...), answered(nil, "x"), answered(errServer, different(4)...)}, false},
		"and the tokens, too":                        {5, []func(*testing.T, *guarded){answered(errServer, "a", "b", "c"), answered(nil, "x"), answered(errServer, make([]string, 50)...)}, false},
		"a 4xx in between does as well":              {5, []func(*testing.T, *guarded){answered(errServer, different(4)...), answered(introspect.ErrMalformed, "x"), answered(errServer, different(4)...)}, false},
		"4xx never open it":                          {5, []func(*testing.T, *guarded){answered(introspect.ErrMalformed, different(50)...)}, false},
		"clients that hang up say nothing":           {5, []func(*testing.T, *guarded){answered(context.Canceled, different(50)...)}, false},
		"nor do they begin the count anew":           {5, []func(*testing.T, *guarded){answered(errServer, different(4)...), answered(context.Canceled, "x"), answered(errServer, "e")}, true},
		"off":                                        {0, []func(*testing.T, *guarded){answered(errServer, different(50)...)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(test.failures)
			for _, step := range test.steps {
				step(t, g)
			}
			asked, err := g.ask(t, "the next")
			assert.Equal(t, !test.opens, asked)
			if test.opens {
				require.ErrorIs(t, err, introspect.ErrUnavailable)
				require.ErrorContains(t, err, "5 calls in a row")
			}
		})
	}
}

func TestABusyAuthorityIsNotABrokenOne(t *testing.T) {
	busy := endpoint(t, reply(429, "", ""))
	guard := introspect.NewGuard(busy, introspect.GuardConfig{Failures: 1, Open: time.Hour})
	for range 20 {
		for _, token := range different(3) {
			_, err := guard.Introspect(t.Context(), introspect.NewToken(token))
			require.ErrorContains(t, err, "429", "it is asked")
		}
	}
}

func TestC09AnOpenBreaker(t *testing.T) {
	open := func(t *testing.T) *guarded {
		t.Helper()
		g := newGuarded(5)
		g.fails(errServer)
		g.mustAsk(t, different(5)...)
		g.mustNotAsk(t, introspect.ErrUnavailable)
		return g
	}
	t.Run("lets one call through after a while, and closes if it succeeds", func(t *testing.T) {
		g := open(t)
		g.advance(10*time.Second - 1)
		g.mustNotAsk(t, introspect.ErrUnavailable)
		g.advance(1)
		g.fails(nil)
		g.mustAsk(t, different(20)...)
	})
	t.Run("stays open if it fails, whatever the token", func(t *testing.T) {
		g := open(t)
		for i := range 3 {
			g.advance(10 * time.Second)
			g.mustAsk(t, fmt.Sprint("t", i))
			g.mustNotAsk(t, introspect.ErrUnavailable)
		}
	})
	t.Run("leaves the next probe to another token than the last, so that nobody shuts out all others with one that is poison", func(t *testing.T) {
		g := open(t)
		g.advance(10 * time.Second)
		g.mustAsk(t, "poison")
		g.advance(10 * time.Second)
		g.mustNotAskAbout(t, "poison", introspect.ErrUnavailable)
		g.fails(nil)
		g.mustAsk(t, different(20)...)
	})
	t.Run("tries the same token again if there is no other", func(t *testing.T) {
		g := open(t)
		g.advance(10 * time.Second)
		g.mustAsk(t, "t0")
		g.advance(20 * time.Second)
		g.mustAsk(t, "t0")
	})
	t.Run("closes if the authority answers nonsense, which is a sign of life", func(t *testing.T) {
		g := open(t)
		g.advance(10 * time.Second)
		g.fails(introspect.ErrMalformed)
		g.mustAsk(t, different(20)...)
	})
	t.Run("survives the next configuration", func(t *testing.T) {
		g := open(t)
		g.load(5)
		g.mustNotAsk(t, introspect.ErrUnavailable)
		g.load(0)
		g.mustAsk(t, "the breaker is off")
	})
	t.Run("lets another call through if the client of the first hung up", func(t *testing.T) {
		g := open(t)
		g.advance(10 * time.Second)
		g.fails(context.Canceled)
		g.mustAsk(t, "t0")
		g.fails(nil)
		g.mustAsk(t, different(20)...)
	})
}

func TestC09OneProbeGoesOutAndNoStampede(t *testing.T) {
	now := newClock()
	entered, release := make(chan struct{}, 100), make(chan error, 100)
	guard := introspect.NewGuard(source(func(context.Context, introspect.Token) (*introspect.Answer, error) {
		entered <- struct{}{}
		if err := <-release; err != nil {
			return nil, err
		}
		return &introspect.Answer{}, nil
	}), introspect.GuardConfig{Failures: 3, Open: time.Second, Now: now.now})
	ask := func(token string) error {
		_, err := guard.Introspect(context.Background(), introspect.NewToken(token))
		return err
	}
	for _, token := range different(3) {
		release <- errServer
		require.Error(t, ask(token))
		<-entered
	}
	now.advance(time.Second)
	probe := make(chan error, 1)
	go func() { probe <- ask("probe") }()
	<-entered
	for _, token := range different(50) {
		require.ErrorIs(t, ask(token), introspect.ErrUnavailable)
	}
	assert.Empty(t, entered, "while the probe is under way nobody else is let through")
	release <- nil
	require.NoError(t, <-probe)
	release <- nil
	require.NoError(t, ask("the next"))
}

// A route that observes waits for a second only. That it goes on without an answer is no failure of the authority, which
// other routes demand an answer of, nor a sign of its health.
func TestACallerThatDoesNotWaitSaysNothingOfTheAuthority(t *testing.T) {
	now := newClock()
	var failure error
	guard := introspect.NewGuard(source(func(ctx context.Context, _ introspect.Token) (*introspect.Answer, error) {
		switch {
		case failure != nil:
			return nil, failure
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%w: asking", introspect.ErrTimeout)
		}
		return &introspect.Answer{}, nil
	}), introspect.GuardConfig{Failures: 3, Open: time.Second, Now: now.now})
	impatient, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	ask := func(ctx context.Context, token string) error {
		_, err := guard.Introspect(ctx, introspect.NewToken(token))
		return err
	}
	for _, token := range different(20) {
		require.ErrorIs(t, ask(impatient, token), introspect.ErrTimeout)
	}
	require.NoError(t, ask(t.Context(), "t"), "the breaker is closed")

	failure = errServer
	for _, token := range different(3) {
		require.ErrorIs(t, ask(t.Context(), token), errServer)
	}
	now.advance(time.Second)
	failure = context.DeadlineExceeded // what a caller hears that waits for its turn in vain
	require.Error(t, ask(impatient, "t"))
	failure = errServer
	require.ErrorContains(t, ask(t.Context(), "u"), "500", "it is the probe")
	require.ErrorContains(t, ask(t.Context(), "v"), "in a row", "the breaker is still open")
}

func TestB16TheCredentialsAreRefused(t *testing.T) {
	refused := fmt.Errorf("%w: status 401", introspect.ErrCredentials)
	t.Run("for two different tokens in a row: nobody is asked for 30 s", func(t *testing.T) {
		g := newGuarded(5)
		g.fails(refused)
		g.mustAsk(t, "a", "b")
		g.mustNotAsk(t, introspect.ErrCredentials)
		g.advance(30*time.Second - 1)
		g.mustNotAsk(t, introspect.ErrCredentials)
		g.advance(1)
		g.mustAsk(t, "c", "d")
		g.mustNotAsk(t, introspect.ErrCredentials)
		g.advance(30 * time.Second)
		g.fails(nil)
		g.mustAsk(t, different(20)...)
	})
	t.Run("for the same token, however often: asked", func(t *testing.T) {
		g := newGuarded(5)
		g.fails(refused)
		g.mustAsk(t, make([]string, 20)...)
	})
	t.Run("for two tokens with an answer between them: asked", func(t *testing.T) {
		g := newGuarded(5)
		for _, token := range different(20) {
			g.fails(refused)
			g.mustAsk(t, token)
			g.fails(nil)
			g.mustAsk(t, token)
		}
	})
	t.Run("the next configuration asks at once", func(t *testing.T) {
		g := newGuarded(5)
		g.fails(refused)
		g.mustAsk(t, "a", "b")
		g.mustNotAsk(t, introspect.ErrCredentials)
		g.load(5)
		g.fails(nil)
		g.mustAsk(t, different(20)...)
	})
	t.Run("the breaker does not count it", func(t *testing.T) {
		g := newGuarded(1)
		g.fails(refused)
		for range 5 {
			g.mustAsk(t, "a", "b")
			g.advance(30 * time.Second)
		}
	})
}

func TestAPanicInTheProbeLeavesTheBreakerUsable(t *testing.T) {
	now := newClock()
	failure := errServer
	guard := introspect.NewGuard(source(func(context.Context, introspect.Token) (*introspect.Answer, error) {
		if failure == nil {
			panic("the probe")
		}
		return nil, failure
	}), introspect.GuardConfig{Failures: 3, Open: time.Second, Now: now.now})
	for _, token := range different(3) {
		_, err := guard.Introspect(t.Context(), introspect.NewToken(token))
		require.ErrorIs(t, err, errServer)
	}
	now.advance(time.Second)
	failure = nil
	require.Panics(t, func() { _, _ = guard.Introspect(t.Context(), introspect.NewToken("t")) })
	failure = errors.New("asked again")
	_, err := guard.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, failure)
}
