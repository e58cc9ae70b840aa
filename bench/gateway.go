package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/portcullis-gateway/portcullis"
	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// Gateway is Caddy with Portcullis in a process that does nothing else.
type Gateway struct{}

func newGateway() (any, error) { return &Gateway{}, nil }

// Load loads a Caddyfile.
func (*Gateway) Load(caddyfile string, _ *nothing) error {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		return err
	}
	return caddy.Load(config, false)
}

// CPU tells how much CPU time the process has used.
func (*Gateway) CPU(_ nothing, used *time.Duration) error {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	*used = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return nil
}

// Heap tells how many bytes live on the heap.
func (*Gateway) Heap(_ nothing, bytes *int) error {
	// The first collection runs the cleanups of what nobody uses, the second one takes what they have let go.
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	*bytes = int(stats.HeapAlloc)
	return nil
}

// Pauses tells how long the garbage collector has stopped the process, each time since it began.
func (*Gateway) Pauses(_ nothing, pauses *Histogram) error {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	histogram := sample[0].Value.Float64Histogram()
	pauses.Counts, pauses.Bounds = histogram.Counts, histogram.Buckets
	return nil
}

// Remember lets the authority of the configuration remember the first tokens, without requests.
func (*Gateway) Remember(tokens int, _ *nothing) error {
	app, err := caddy.ActiveContext().App("introspect")
	if err != nil {
		return err
	}
	as, err := app.(*authority.App).Named("default")
	if err != nil {
		return err
	}
	var (
		group sync.WaitGroup
		next  atomic.Int64
		once  sync.Once
	)
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	for range connections {
		group.Go(func() {
			for number := int(next.Add(1)) - 1; number < tokens && ctx.Err() == nil; number = int(next.Add(1)) - 1 {
				if answer, err := as.Introspect(ctx, introspect.NewToken(token(number))); err != nil {
					once.Do(func() { fail(err) })
				} else if !answer.Active {
					once.Do(func() { fail(fmt.Errorf("token %d is not active", number)) })
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
