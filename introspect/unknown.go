package introspect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/network"
)

// UnknownConfig says how many unknown tokens a client may try.
type UnknownConfig struct {
	// Tokens is how many pass at once, and in each Per from then on. Both are positive.
	Tokens int
	Per    time.Duration
	// Tries is what an earlier limit of the same authority has counted. Default: nothing.
	Tries *Tries
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// LimitUnknown bounds how often next is asked about tokens that nobody knows, for each network of clients (Token.From), so
// that nobody wears the authority out, or finds a token by trying many. A question counts when it is asked, and is forgotten
// when the authority calls the token active, so that only what was not a good token counts in the end. One too many fails
// with a LimitedError, and next is not asked. What is Known or Confirming does not count.
func LimitUnknown(next Introspector, config UnknownConfig) Introspector {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Tries == nil {
		config.Tries = new(Tries)
	}
	return &unknownLimiter{next, config}
}

// LimitedError means that the authority was not asked, because the client has tried too many unknown tokens. It is an
// ErrSaturated: the token may be good.
type LimitedError struct {
	// Wait is how long it takes until one more may be tried.
	Wait time.Duration
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many unknown tokens from one client: another one in %s", e.Wait.Round(time.Second))
}

func (*LimitedError) Unwrap() error { return ErrSaturated }

// IsLimited tells whether an error is a LimitedError.
func IsLimited(err error) bool {
	_, ok := errors.AsType[*LimitedError](err)
	return ok
}

// From returns the same token with the address of the client that presented it.
func (t Token) From(address string) Token {
	t.from = address
	return t
}

// Known returns the same token with the remark that the authority has called it active, and that this is remembered.
func (t Token) Known() Token {
	t.known = true
	return t
}

type unknownLimiter struct {
	next   Introspector
	config UnknownConfig
}

func (l *unknownLimiter) Introspect(ctx context.Context, token Token) (*Answer, error) {
	if token.known || token.confirming {
		return l.next.Introspect(ctx, token)
	}
	from := network.Of(token.from)
	if wait := l.config.Tries.begin(from, l.config.Tokens, l.config.Per, l.config.Now()); wait > 0 {
		return nil, &LimitedError{wait}
	}
	answer, err := l.next.Introspect(ctx, token)
	if err == nil && answer.Active {
		l.config.Tries.undo(from)
	}
	return answer, err
}

// maxNetworks bounds the memory of Tries.
const maxNetworks = 30_000

// Tries counts the unknown tokens of each network. It outlives its limit, if it is given to the next one of the same
// authority. The zero value has counted none. It is safe for concurrent use.
type Tries struct {
	mu       sync.Mutex
	networks map[string]tried
}

// tried is how many tokens count, as of an instant. They are forgotten little by little.
type tried struct {
	tokens float64
	at     time.Time
}

func (t tried) left(now time.Time, tokens int, per time.Duration) float64 {
	return max(0, t.tokens-float64(now.Sub(t.at))*float64(tokens)/float64(per))
}

// begin counts one more, or says how long to wait for it.
func (t *Tries) begin(from string, tokens int, per time.Duration, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := t.networks[from].left(now, tokens, per) + 1
	if over := count - float64(tokens); over > 0 {
		return time.Duration(math.Ceil(over * float64(per) / float64(tokens)))
	}
	t.makeRoom(from, tokens, per, now)
	t.networks[from] = tried{count, now}
	return 0
}

// undo forgets one.
func (t *Tries) undo(from string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.networks[from]
	if known.tokens--; known.tokens <= 0 {
		delete(t.networks, from)
		return
	}
	t.networks[from] = known
}

// makeRoom drops the one with the least tokens of a few networks, as the map has them at random, if there is no room for
// another.
func (t *Tries) makeRoom(from string, tokens int, per time.Duration, now time.Time) {
	if t.networks == nil {
		t.networks = make(map[string]tried)
	}
	if _, known := t.networks[from]; known || len(t.networks) < maxNetworks {
		return
	}
	var fewest string
	least, looked := math.Inf(1), 0
	for one, known := range t.networks {
		if left := known.left(now, tokens, per); left < least {
			fewest, least = one, left
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(t.networks, fewest)
}
