package introspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Guard stops asking an authority that does not answer, or that refuses the gateway's own credentials, for a while: a
// broken authority gets the quiet to recover, and requests that need it are answered at once. It is safe for concurrent
// use.
type Guard struct {
	next    Introspector
	config  GuardConfig
	breaker *Breaker

	mu      sync.Mutex
	refused Digest // the token for which the credentials were refused last
	hasLast bool
	resume  time.Time // when asking goes on after the credentials were refused
}

// GuardConfig says when a Guard stops asking.
type GuardConfig struct {
	// Failures is how many calls in a row have to fail, over at least three different tokens, to open the breaker. 0: it
	// never opens.
	Failures int
	// Open is how long it stays open before one call is let through to see.
	Open time.Duration
	// Breaker is what an earlier Guard of the same authority has counted. Default: nothing.
	Breaker *Breaker
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Defaults of a GuardConfig.
const (
	DefaultFailures = 5
	DefaultOpen     = 10 * time.Second
)

const (
	// differentTokens is over how many tokens failures have to be spread: one that makes the authority fail must not shut
	// out all others.
	differentTokens = 3
	// credentialsPause is how long nobody is asked after the credentials were refused for two different tokens in a row.
	credentialsPause = 30 * time.Second
)

// Breaker counts the calls in a row that failed. It outlives its Guard, if it is given to the next one of the same
// authority. The zero value has counted none. It is safe for concurrent use.
type Breaker struct {
	mu       sync.Mutex
	failures int
	tokens   []Digest // the different ones of the failures, no more than matter
	probe    Digest   // the last one that went through while the breaker was open
	openTill time.Time
	open     bool
	probing  bool
}

// NewGuard returns a Guard over next.
func NewGuard(next Introspector, config GuardConfig) *Guard {
	if config.Now == nil {
		config.Now = time.Now
	}
	g := &Guard{next: next, config: config, breaker: config.Breaker}
	if g.breaker == nil {
		g.breaker = new(Breaker)
	}
	return g
}

// Introspect asks, unless it is of no use now.
func (g *Guard) Introspect(ctx context.Context, token Token) (*Answer, error) {
	if err := g.paused(); err != nil {
		return nil, err
	}
	probe, err := g.enter(token.Digest())
	if err != nil {
		return nil, err
	}
	answered := false
	defer func() {
		if probe && !answered {
			g.breaker.giveBack()
		}
	}()
	answer, err := g.next.Introspect(ctx, token)
	if err != nil && (ctx.Err() != nil || errors.Is(err, context.Canceled)) {
		return nil, err // the caller did not wait, which says nothing of the authority
	}
	answered = true
	g.count(token.Digest(), err, probe)
	return answer, err
}

// paused tells why nobody is asked as long as the credentials count as refused.
func (g *Guard) paused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if left := g.resume.Sub(g.config.Now()); left > 0 {
		return fmt.Errorf("%w, for two tokens in a row: not asked again for %s, or until the configuration is loaded anew",
			ErrCredentials, left.Round(time.Second))
	}
	return nil
}

// count learns from how a call ended.
func (g *Guard) count(token Digest, err error, probe bool) {
	g.mu.Lock()
	switch {
	case !errors.Is(err, ErrCredentials):
		if err == nil {
			g.hasLast = false
		}
	case g.hasLast && g.refused != token:
		g.resume = g.config.Now().Add(credentialsPause)
		g.hasLast = false
	default:
		g.refused, g.hasLast = token, true
	}
	g.mu.Unlock()

	b := g.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	switch {
	case errors.Is(err, errBusy):
		// Neither a sign of health nor of trouble.
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrTimeout):
		b.failures++
		if len(b.tokens) < differentTokens && !slices.Contains(b.tokens, token) {
			b.tokens = append(b.tokens, token)
		}
		if probe || g.config.Failures > 0 && b.failures >= g.config.Failures && len(b.tokens) == differentTokens {
			b.open, b.openTill = true, g.config.Now().Add(g.config.Open)
		}
	default:
		b.failures, b.tokens, b.open, b.probe = 0, nil, false, Digest{}
	}
}

// enter lets a call through: any while the breaker is closed, and one at a time when it has been open long enough. That
// one is a probe.
//
// Whoever holds a token that makes the authority fail must not shut out all others with it: a token that was the last probe
// has to leave the next one to another, for as long as the breaker is open again.
func (g *Guard) enter(token Digest) (probe bool, err error) {
	b := g.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case g.config.Failures == 0 || !b.open:
		return false, nil
	case g.shut(), token == b.probe && g.config.Now().Before(b.openTill.Add(g.config.Open)):
		return false, b.err()
	}
	b.probing, b.probe = true, token
	return true, nil
}

// shut tells whether the breaker lets no call through now. The caller holds its lock.
func (g *Guard) shut() bool {
	b := g.breaker
	return g.config.Failures > 0 && b.open && (b.probing || g.config.Now().Before(b.openTill))
}

// err is the error of a call that is not let through. The caller holds the lock.
func (b *Breaker) err() error {
	return fmt.Errorf("%w: %d calls in a row have failed, and it is not asked for a while", errBusy, b.failures)
}

// giveBack lets another call be the probe.
func (b *Breaker) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing, b.probe = false, Digest{}
}
