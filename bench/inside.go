package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// pair is a process with sites to compare: some proxy to the backend, the others do the same behind the directive.
type pair struct {
	*player

	bare, dressed, protected, silent string
}

// startPair starts the sites on a gateway of their own, with further lines for the authority.
func (b *bench) startPair(ctx context.Context, lines string) (*pair, error) {
	gateway, err := startRole("gateway")
	if err != nil {
		return nil, err
	}
	p := &pair{player: gateway}
	addresses, err := freeAddresses(4)
	if err == nil {
		p.bare, p.dressed, p.protected, p.silent = addresses[0], addresses[1], addresses[2], addresses[3]
		err = b.loadPair(ctx, p, lines)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// loadPair loads the configuration, perhaps anew.
func (b *bench) loadPair(ctx context.Context, p *pair, lines string) error {
	caddyfile := globalOptions(b.endpoint, lines) + bareSite(p.bare, b.app) + dressedSite(p.dressed, b.app) +
		protectedSite(p.protected, b.app) + silentSite(p.silent, b.app)
	_, err := ask[nothing](ctx, p.player, "Load", caddyfile)
	return err
}

// cost sends what a plan says to a site, and returns the CPU time of the gateway for each request, in nanoseconds.
func (b *bench) cost(ctx context.Context, p *pair, plan Plan, site string) (float64, error) {
	plan.Address = site
	before, err := ask[time.Duration](ctx, p.player, "CPU", nothing(false))
	if err != nil {
		return 0, err
	}
	if _, err := b.send(ctx, plan); err != nil {
		return 0, err
	}
	after, err := ask[time.Duration](ctx, p.player, "CPU", nothing(false))
	return float64(after-before) / float64(plan.Requests), err
}

// compare sends the same to a bare site and another one in turn, round by round, and writes a row of what that has cost. Each site goes
// first in every other round, since garbage of the first is collected while the second is measured. The plan of a round
// may differ from that of the one before. The first round warms up and does not count.
func (b *bench) compare(ctx context.Context, p *pair, one, other, name string, plan func(round int) Plan) ([]string, error) {
	var bare, protected sample
	before, err := b.calls(ctx)
	if err != nil {
		return nil, err
	}
	for round := range 1 + b.rounds {
		sites := []struct {
			address string
			costs   *sample
		}{{one, &bare}, {other, &protected}}
		if round%2 == 1 {
			slices.Reverse(sites)
		}
		for _, site := range sites {
			cost, err := b.cost(ctx, p, plan(round), site.address)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				*site.costs = append(*site.costs, cost)
			}
		}
	}
	after, err := b.calls(ctx)
	if err != nil {
		return nil, err
	}
	difference := protected.minus(bare)
	asked := float64(after-before) / float64((1+b.rounds)*plan(0).Requests)
	return []string{
		name, bare.show(0), protected.show(0), difference.showDifference(0),
		strconv.FormatFloat(difference.mean(), 'f', 0, 64), strconv.FormatFloat(asked, 'f', 3, 64),
	}, nil
}

var insideHead = []string{"token", "bare", "with `introspect`", "difference", "mean difference", "calls to the authority per request"}

// firstNew is the number of the first of the tokens that nobody has seen before.
const firstNew = 100_000_000

func (b *bench) inside(ctx context.Context) (err error) {
	p, err := b.startPair(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	rows := [][]string{insideHead}
	for _, c := range []struct {
		name, bare, site string
		warm             int // tokens that are remembered before
		plan             func(round int) Plan
	}{
		{"always the same", p.bare, p.protected, 1, func(int) Plan {
			return Plan{Requests: b.requests, Tokens: 1}
		}},
		{"always the same, `identity none`", p.bare, p.silent, 1, func(int) Plan {
			return Plan{Requests: b.requests, Tokens: 1}
		}},
		{"always the same, and bare sets the same headers", p.dressed, p.protected, 1, func(int) Plan {
			return Plan{Requests: b.requests, Tokens: 1}
		}},
		{fmt.Sprintf("%d in turn", b.tokens), p.bare, p.protected, b.tokens, func(int) Plan {
			return Plan{Requests: b.requests, Tokens: b.tokens}
		}},
		{"always a new one", p.bare, p.protected, 0, func(round int) Plan {
			return Plan{Requests: b.requests, First: firstNew + round*b.requests, Tokens: b.requests}
		}},
	} {
		if c.warm > 0 {
			if _, err := b.send(ctx, Plan{Address: c.site, Requests: c.warm, Tokens: c.warm}); err != nil {
				return err
			}
		}
		row, err := b.compare(ctx, p, c.bare, c.site, c.name, c.plan)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	b.table(fmt.Sprintf("CPU time of the gateway, ns per request, %d rounds of %d requests", b.rounds, b.requests), rows...)
	return nil
}

// aLargeMemory holds a million answers. They are not checked again: what is measured is the memory.
const aLargeMemory = "cache {\nmemory 1GiB\nrevalidate off\n}"

// millionTokens measures the memory: what an answer takes, and what the requests cost when there are many of them.
func (b *bench) millionTokens(ctx context.Context) (err error) {
	p, err := b.startPair(ctx, "cache off")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	heap := func() (int, error) { return ask[int](ctx, p.player, "Heap", nothing(false)) }

	without, err := heap()
	if err != nil {
		return err
	}
	if err := b.loadPair(ctx, p, aLargeMemory); err != nil {
		return err
	}
	empty, err := heap()
	if err != nil {
		return err
	}
	b.say("remembering %d tokens", b.million)
	if _, err := ask[nothing](ctx, p.player, "Remember", b.million); err != nil {
		return err
	}
	filled, err := heap()
	if err != nil {
		return err
	}

	if err := b.allRemembered(ctx, p); err != nil {
		return err
	}
	pauses, err := ask[Histogram](ctx, p.player, "Pauses", nothing(false))
	if err != nil {
		return err
	}
	row, err := b.compare(ctx, p, p.bare, p.protected, "one of many", func(int) Plan {
		return Plan{Requests: b.requests, Tokens: b.million, Random: true}
	})
	if err != nil {
		return err
	}
	later, err := ask[Histogram](ctx, p.player, "Pauses", nothing(false))
	if err != nil {
		return err
	}
	paused := later.since(pauses)

	b.table(fmt.Sprintf("The same with %d tokens remembered, of which each request picks one at random", b.million),
		insideHead, row)
	perToken := func(bytes int) string { return strconv.Itoa(bytes / b.million) }
	b.table("The memory of "+strconv.Itoa(b.million)+" tokens",
		[]string{"heap, bytes per token", "of these in the empty memory", "pauses", "median pause, µs", "99 of 100 pauses, µs", "longest pause, µs"},
		[]string{
			perToken(filled - without), perToken(empty - without), strconv.FormatUint(paused.total(), 10),
			microseconds(paused.quantile(0.5)), microseconds(paused.quantile(0.99)), microseconds(paused.quantile(1)),
		})
	return nil
}

// allRemembered makes sure that what the tokens take is divided by those that are there. One in a hundred may be missing.
func (b *bench) allRemembered(ctx context.Context, p *pair) error {
	before, err := b.calls(ctx)
	if err != nil {
		return err
	}
	plan := Plan{Address: p.protected, Requests: b.requests, Tokens: b.million, Random: true}
	if _, err := b.send(ctx, plan); err != nil {
		return err
	}
	after, err := b.calls(ctx)
	if err != nil {
		return err
	}
	if asked := after - before; asked > plan.Requests/100 {
		return fmt.Errorf("of %d tokens, %d were not remembered", plan.Requests, asked)
	}
	return nil
}

func microseconds(seconds float64) string { return strconv.FormatFloat(seconds*1e6, 'f', 0, 64) }
