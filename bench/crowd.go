package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// crowdSize is how many clients come at once.
	crowdSize = 64
	// crowdDelay is how long the authority takes.
	crowdDelay = 50 * time.Millisecond
	// repeats is how often each token comes.
	repeats = 4
	// firstOfCrowds is the number of the first token that a crowd comes with.
	firstOfCrowds = 2 * firstNew
)

// crowd measures what many requests for tokens that nobody has seen wait for. It is an error if the authority is asked
// more than once for a token.
func (b *bench) crowd(ctx context.Context) (err error) {
	p, err := b.startPair(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if _, err := b.send(ctx, Plan{Address: p.protected, Requests: crowdSize, Tokens: 1}); err != nil {
		return err
	}

	var slowest, without, elapsed sample
	if _, err := ask[nothing](ctx, b.authority, "Delay", crowdDelay); err != nil {
		return err
	}
	for i := range b.crowds {
		sent, err := b.sendAsked(ctx, 1, Plan{
			Address: p.protected, Connections: crowdSize, Requests: crowdSize, First: firstOfCrowds + i, Tokens: 1,
		})
		if err != nil {
			return err
		}
		slowest = append(slowest, float64(sent.Slowest)/float64(time.Millisecond))
		if sent, err = b.sendAsked(ctx, 0, Plan{Address: p.bare, Connections: crowdSize, Requests: crowdSize, Tokens: 1}); err != nil {
			return err
		}
		without = append(without, float64(sent.Slowest)/float64(time.Millisecond))
	}
	if _, err := ask[nothing](ctx, b.authority, "Delay", time.Duration(0)); err != nil {
		return err
	}
	for i := range b.largeCrowds {
		sent, err := b.sendAsked(ctx, b.tokens, Plan{
			Address: p.protected, Connections: crowdSize, Requests: repeats * b.tokens, Repeat: repeats,
			First: firstOfCrowds + b.crowds + i*b.tokens, Tokens: b.tokens,
		})
		if err != nil {
			return err
		}
		elapsed = append(elapsed, sent.Elapsed.Seconds())
	}

	b.table("Many requests for tokens that are new",
		[]string{"requests", "calls to the authority", "figure", "median (middle half)", "highest"},
		[]string{
			fmt.Sprintf("%d at once for one token, the authority takes %s, %d times", crowdSize, crowdDelay, b.crowds),
			"1 each time", "slowest answer, ms", slowest.show(1), strconv.FormatFloat(slowest.quantile(1), 'f', 1, 64),
		},
		[]string{
			fmt.Sprintf("%d at once without `introspect`, for comparison, %d times", crowdSize, b.crowds),
			"0", "slowest answer, ms", without.show(1), strconv.FormatFloat(without.quantile(1), 'f', 1, 64),
		},
		[]string{
			fmt.Sprintf("%d tokens, each %d times, from %d clients, %d times", b.tokens, repeats, crowdSize, b.largeCrowds),
			fmt.Sprintf("%d each time", b.tokens), "time for all, s", elapsed.show(2), strconv.FormatFloat(elapsed.quantile(1), 'f', 2, 64),
		})
	return nil
}

// sendAsked sends what a plan says, for which the authority has to be asked so many times.
func (b *bench) sendAsked(ctx context.Context, calls int, plan Plan) (Sent, error) {
	before, err := b.calls(ctx)
	if err != nil {
		return Sent{}, err
	}
	sent, err := b.send(ctx, plan)
	if err != nil {
		return Sent{}, err
	}
	after, err := b.calls(ctx)
	if err != nil {
		return Sent{}, err
	}
	if after-before != calls {
		return Sent{}, fmt.Errorf("the authority was asked %d times instead of %d", after-before, calls)
	}
	return sent, nil
}
