// Command bench measures what protection costs, and writes the figures as Markdown tables. docs/performance.md tells how
// they are taken. It needs Linux, and measures servers beside the gateway if they are installed.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run of the program.
type bench struct {
	size

	out    io.Writer
	binary string

	authority, backend, load *player
	endpoint, secureEndpoint string // the introspection endpoint
	app                      string // the address of the backend
}

// size is how much is measured.
type size struct {
	rounds   int
	requests int // of each round
	tokens   int // that are taken in turn
	million  int // tokens that are remembered

	crowds      int // that ask for one token
	largeCrowds int // that ask for many

	outsideRounds  int
	outsideSeconds int // that each server is measured, each round
	outsideTokens  int // that are taken in turn
}

var (
	full = size{
		rounds: 21, requests: 4_000, tokens: 10_000, million: 1_000_000,
		crowds: 20, largeCrowds: 3,
		outsideRounds: 8, outsideSeconds: 1, outsideTokens: 5_000,
	}
	quick = size{
		rounds: 5, requests: 1_500, tokens: 10_000, million: 100_000,
		crowds: 5, largeCrowds: 1,
		outsideRounds: 3, outsideSeconds: 1, outsideTokens: 1_000,
	}
)

// section is a part of the program.
type section struct {
	name    string
	measure func(*bench, context.Context) error
}

// sections are in the order of their tables.
var sections = []section{
	{"inside", (*bench).inside},
	{"million", (*bench).millionTokens},
	{"crowd", (*bench).crowd},
	{"issuing", (*bench).issuing},
	{"outside", (*bench).outside},
}

func main() {
	if plays, err := playRole(); plays {
		exit(err)
	}
	binary := flag.String("binary", "bin/portcullis", "the gateway that is measured from outside")
	isQuick := flag.Bool("quick", false, "measure less, to see that it works")
	only := flag.String("only", "", "the one section to measure: inside, million, crowd, issuing or outside")
	flag.Parse()

	b := &bench{size: full, out: os.Stdout}
	if *isQuick {
		b.size = quick
	}
	var err error
	if b.binary, err = filepath.Abs(*binary); err != nil {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exit(b.run(ctx, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (b *bench) run(ctx context.Context, only string) (err error) {
	measured := slices.DeleteFunc(slices.Clone(sections), func(s section) bool { return only != "" && s.name != only })
	if len(measured) == 0 {
		return fmt.Errorf("there is no section %q", only)
	}
	if err := b.start(ctx); err != nil {
		return errors.Join(err, b.stop())
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	fmt.Fprintf(b.out, "%s, %d processors, %s/%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	for _, section := range measured {
		begin := time.Now()
		if err := section.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		b.say("%s took %s", section.name, time.Since(begin).Round(time.Second))
	}
	return nil
}

// start starts what every section needs.
func (b *bench) start(ctx context.Context) (err error) {
	for name, into := range map[string]**player{"authority": &b.authority, "backend": &b.backend, "load": &b.load} {
		if *into, err = startRole(name); err != nil {
			return err
		}
	}
	address, err := ask[string](ctx, b.authority, "Address", nothing(false))
	if err != nil {
		return err
	}
	b.endpoint = "http://" + address + endpointPath
	if b.secureEndpoint, err = ask[string](ctx, b.authority, "Secure", nothing(false)); err != nil {
		return err
	}
	b.app, err = ask[string](ctx, b.backend, "Address", nothing(false))
	return err
}

func (b *bench) stop() error {
	var errs []error
	for _, p := range []*player{b.load, b.backend, b.authority} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

// say tells whoever waits what goes on.
func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}

// table writes a table. The first row is its head.
func (b *bench) table(title string, rows ...[]string) {
	fmt.Fprintf(b.out, "\n#### %s\n\n", title)
	for i, row := range rows {
		fmt.Fprintf(b.out, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintln(b.out, strings.Repeat("| --- ", len(row))+"|")
		}
	}
}

// calls tells how often the authority has been asked.
func (b *bench) calls(ctx context.Context) (int, error) {
	return ask[int](ctx, b.authority, "Calls", nothing(false))
}

// send lets the load send what a plan says, from the usual number of clients unless the plan says otherwise.
func (b *bench) send(ctx context.Context, plan Plan) (Sent, error) {
	plan.Connections = cmp.Or(plan.Connections, connections)
	return ask[Sent](ctx, b.load, "Send", plan)
}
