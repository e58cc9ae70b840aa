package cache

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// End is why something that was open had to end.
type End string

// The reasons.
const (
	// Expired says that the token has reached its exp.
	Expired End = "expired"
	// Inactive says that the authority has called the token inactive.
	Inactive End = "inactive"
	// Forgotten says that the answer was to be forgotten: purged, or revoked where that is told at once.
	Forgotten End = "forgotten"
	// Unconfirmed says that the authority could not be asked for longer than an unconfirmed answer may serve.
	Unconfirmed End = "unconfirmed"
)

// Watch knows the tokens for which something is open, such as a stream. Its tokens count as in use: it asks about them, and
// ends what is open when its token ends. It is safe for concurrent use.
type Watch struct {
	mu     sync.Mutex
	tokens map[introspect.Digest]*watched
	// askers are in the order in which they are asked.
	askers []*Asker
	// last is the Asker that has left, where there is no other.
	last *Asker
}

// Asker is how a Watch asks about tokens.
type Asker struct {
	introspect.Introspector
	// Remembered is what is remembered of a token, or nil.
	Remembered func(introspect.Digest) *introspect.Answer
	// Every is how often. Zero: never.
	Every time.Duration
	// Stale is how long past Every a token is good about which nobody can be asked. Negative: as long as nobody says otherwise.
	Stale time.Duration
}

// NewWatch returns a Watch that nobody has joined.
func NewWatch() *Watch { return &Watch{tokens: make(map[introspect.Digest]*watched)} }

// Join lets the Watch ask in this way. Of several it asks in the way of the one that asks most often, and of those in the way
// of the first; and in that of the next one where it cannot. The last one never leaves: what is open outlives its configuration.
func (w *Watch) Join(asker *Asker) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.askers = append(w.askers, asker)
	slices.SortStableFunc(w.askers, func(a, b *Asker) int { return cmp.Compare(a.pause(), b.pause()) })
	w.planAll()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.askers = slices.DeleteFunc(w.askers, func(other *Asker) bool { return other == asker })
		if w.last = nil; len(w.askers) == 0 {
			w.last = asker
		}
		w.planAll()
	}
}

// pause is how long nothing is asked after an answer.
func (a *Asker) pause() time.Duration {
	if a.Every <= 0 {
		return math.MaxInt64
	}
	return a.Every
}

// planAll says anew when to ask, and for nothing that is due already later than before: reloads that follow each other put no
// question off. The caller holds the lock.
func (w *Watch) planAll() {
	now := time.Now()
	for _, t := range w.tokens {
		before := t.due
		t.plan(now)
		if !before.IsZero() && before.Before(t.due) {
			t.due = before
		}
		t.look(now)
	}
}

// joined are those that may ask, in their order. The caller holds the lock.
func (w *Watch) joined() []*Asker {
	if len(w.askers) == 0 && w.last != nil {
		return []*Asker{w.last}
	}
	return w.askers
}

// lost says whether a token is no good any more since nobody could be asked about it for so long. The caller holds the lock.
func (w *Watch) lost(age time.Duration) bool {
	return slices.ContainsFunc(w.joined(), func(a *Asker) bool {
		return a.Every > 0 && a.Stale >= 0 && age >= a.Every+a.Stale
	})
}

// remembered is what any of them remembers of a token, or nil. The caller holds the lock.
func (w *Watch) remembered(token introspect.Digest) (answer *introspect.Answer) {
	for _, asker := range w.joined() {
		if asker.Remembered == nil {
			continue
		}
		if other := asker.Remembered(token); other != nil && (answer == nil || other.AskedAt.After(answer.AskedAt)) {
			answer = other
		}
	}
	return answer
}

// watched is a token for which something is open. The lock of its Watch guards it.
type watched struct {
	watch *Watch
	token introspect.Token
	// answer is the youngest that is known, and active.
	answer *introspect.Answer
	// due is when to ask, or zero; asking says that somebody does.
	due    time.Time
	asking bool
	timer  *time.Timer
	// first is the first of what is open, or nil if the token is not watched any more.
	first *Open
}

// Open is something that ends with its token.
type Open struct {
	token  *watched
	end    func(End)
	closed bool

	before, after *Open
}

// Open watches a token by an answer about it, which is active, until Close. If the token ends before, end is called once, on
// a goroutine of its own.
func (w *Watch) Open(token introspect.Token, answer *introspect.Answer, end func(End)) *Open {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.tokens[token.Digest()]
	if !ok {
		t = &watched{watch: w, token: token.AskedSince(time.Time{}), answer: answer}
		w.tokens[token.Digest()] = t
	}
	o := &Open{token: t, end: end, after: t.first}
	if o.after != nil {
		o.after.before = o
	}
	t.first = o

	t.learn(answer)
	now := time.Now()
	switch {
	case !ok && w.remembered(token.Digest()) == nil:
		// Nothing is remembered, or what was is forgotten since: who knows what has become of the token.
		t.due = now
	case t.due.IsZero():
		t.plan(now)
	}
	t.look(now)
	return o
}

// Close says that it is not open any more. It may be called more than once.
func (o *Open) Close() {
	t := o.token
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	if o.closed || t.first == nil {
		return
	}
	o.closed = true
	if o.before != nil {
		o.before.after = o.after
	} else {
		t.first = o.after
	}
	if o.after != nil {
		o.after.before = o.before
	}
	if t.first == nil {
		t.drop()
	}
}

// Len is for how many tokens something is open.
func (w *Watch) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tokens)
}

// Forget ends what is open by the selected tokens.
func (w *Watch) Forget(selector Selector) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if selector.Token != (introspect.Digest{}) {
		w.tokens[selector.Token].finish(Forgotten)
		return
	}
	for _, t := range w.tokens {
		if selector.All || selector.Subject != "" && selector.Subject == t.answer.Subject() ||
			selector.ClientID != "" && selector.ClientID == t.answer.ClientID() {
			t.finish(Forgotten)
		}
	}
}

// told ends what is open by a token if the authority has called it inactive.
func (w *Watch) told(token introspect.Token, answer *introspect.Answer, err error) {
	if err != nil || answer.Active {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[token.Digest()].finish(Inactive)
}

// Over returns an Introspector that tells the Watch what next says.
func (w *Watch) Over(next introspect.Introspector) introspect.Introspector {
	return &overheard{next, w}
}

type overheard struct {
	next  introspect.Introspector
	watch *Watch
}

// Introspect asks.
func (o *overheard) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	answer, err := o.next.Introspect(ctx, token)
	o.watch.told(token, answer, err)
	return answer, err
}

// learn takes note of an answer. The caller holds the lock.
func (t *watched) learn(answer *introspect.Answer) {
	if answer != nil && answer.Active && answer.AskedAt.After(t.answer.AskedAt) {
		t.answer = answer
	}
}

// asksAgain is the part of Every after which the Watch asks again about a token that was not asked about, since the authority
// was busy, or cannot be.
const asksAgain = 8

// leastEvery is the shortest Every that is kept.
const leastEvery = 100 * time.Millisecond

// plan says when to ask next. The times differ from token to token. The caller holds the lock.
func (t *watched) plan(now time.Time) {
	askers := t.watch.joined()
	if len(askers) == 0 || askers[0].Every <= 0 {
		t.due = time.Time{}
		return
	}
	every := max(askers[0].Every, leastEvery)
	again := every / asksAgain
	digest := t.token.Digest()
	spread := again * time.Duration(digest[0]) / 256
	t.due = t.answer.AskedAt.Add(every + spread)
	if soon := now.Add(again + spread); t.due.Before(soon) {
		t.due = soon
	}
}

// look does what is to be done at this time, and sees to it that somebody looks again. The caller holds the lock.
func (t *watched) look(now time.Time) {
	switch remembered := t.watch.remembered(t.token.Digest()); {
	case remembered == nil:
	case remembered.Active:
		t.learn(remembered)
	case remembered.AskedAt.After(t.answer.AskedAt):
		t.finish(Inactive)
		return
	}
	expiry := t.answer.ExpiresAt()
	if !expiry.IsZero() && !now.Before(expiry) {
		t.finish(Expired)
		return
	}
	if !t.asking && !t.due.IsZero() && !now.Before(t.due) {
		t.asking = true
		go t.ask()
	}
	next := expiry
	if !t.asking && !t.due.IsZero() && (next.IsZero() || t.due.Before(next)) {
		next = t.due
	}
	switch {
	case next.IsZero() && t.timer != nil:
		t.timer.Stop()
	case next.IsZero():
	case t.timer != nil:
		t.timer.Reset(next.Sub(now))
	default:
		t.timer = time.AfterFunc(next.Sub(now), t.wake)
	}
}

func (t *watched) wake() {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	if t.first != nil {
		t.look(time.Now())
	}
}

// ask asks about the token as a request with it would.
func (t *watched) ask() {
	t.watch.mu.Lock()
	askers := slices.Clone(t.watch.joined())
	t.watch.mu.Unlock()
	var answer *introspect.Answer
	var err error
	for _, asker := range askers {
		answer, err = asker.Introspect(context.Background(), t.token)
		if err == nil || errors.Is(err, introspect.ErrSaturated) {
			break
		}
	}

	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	now := time.Now()
	t.asking = false
	switch {
	case t.first == nil:
		return
	case len(askers) == 0:
	case err == nil && !answer.Active:
		t.finish(Inactive)
		return
	case err == nil:
		t.learn(answer)
	case !errors.Is(err, introspect.ErrSaturated) && t.watch.lost(now.Sub(t.answer.AskedAt)):
		t.finish(Unconfirmed)
		return
	}
	t.plan(now)
	t.look(now)
}

// finish ends what is open. The caller holds the lock.
func (t *watched) finish(why End) {
	if t == nil {
		return
	}
	for o := t.first; o != nil; o = o.after {
		go o.end(why)
	}
	t.drop()
}

// drop ends the watch. The caller holds the lock.
func (t *watched) drop() {
	t.first = nil
	if t.timer != nil {
		t.timer.Stop()
	}
	delete(t.watch.tokens, t.token.Digest())
}
