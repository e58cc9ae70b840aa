// Command mutants takes the security checks of the gateway out, one at a time, and shows that a
// test turns red each time, the one that the list names (list.go).
//
//	go run ./tools/mutants            each check, which takes some minutes
//	go run ./tools/mutants -only DPoP those whose words or part match
//	go run ./tools/mutants -table     the list as docs/security.md has it
//
// The checkout stays as it is: Go is told to compile another text in place of a file (-overlay).
// The tests of most packages run in the test program itself, those of e2e against the gateway that
// is built without the check.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// part is a part of the gateway, and its checks.
type part struct {
	name   string
	checks []check
}

// check is a check, how to take it out, and the test that has to notice.
type check struct {
	what    string // in words
	file    string // slash-separated
	text    string // is in the file once
	without string // is there in its place where the check is out
	in      string // the folder of the test
	test    string // its name, with its cases behind slashes as they are written
}

func main() {
	root := flag.String("root", ".", "the repository")
	tags := flag.String("tags", "nobadger,nomysql,nopgx", "the build tags")
	only := flag.String("only", "", "a regular expression for the parts and checks that are taken out")
	asTable := flag.Bool("table", false, "print the list as a table, and take nothing out")
	flag.Parse()

	if *asTable {
		fmt.Print(table(parts))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := takeOut(ctx, *root, *tags, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// table is the list in Markdown.
func table(parts []part) string {
	var b strings.Builder
	b.WriteString("| check | what turns red without it |\n| --- | --- |\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "| **%s** | |\n", p.name)
		for _, c := range p.checks {
			b.WriteString(c.row())
		}
	}
	return b.String()
}

func (c check) row() string {
	cell := strings.NewReplacer("|", `\|`)
	return fmt.Sprintf("| %s | `%s` `%s` |\n", cell.Replace(c.what), c.in, cell.Replace(c.test))
}

// changed returns the text of a file without the check.
func (c check) changed(root string) (string, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(c.file)))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), c.text); n != 1 {
		return "", fmt.Errorf("%s has this text %d times, and not once: %s", c.file, n, c.text)
	}
	if c.text == c.without {
		return "", errors.New("nothing is changed")
	}
	return strings.Replace(string(source), c.text, c.without, 1), nil
}

// atOnce is how many checks are out at the same time, each in a build of its own.
const atOnce = 2

// takeOut takes the checks of the list out, and tells whether that has shown anything but what it should.
func takeOut(ctx context.Context, root, tags, only string) (failed bool, err error) {
	began := time.Now()
	wanted, err := regexp.Compile("(?i)" + only)
	if err != nil {
		return false, fmt.Errorf("-only: %w", err)
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return false, err
	}
	folders, checks := byFolder(parts, wanted)
	if len(folders) == 0 {
		return false, errors.New("there is no such check")
	}
	for _, c := range slices.Concat(folders...) {
		if _, err := c.changed(root); err != nil {
			return false, fmt.Errorf("%s: %w", c.what, err)
		}
	}
	scratch, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	b := &bench{root: root, tags: tags, scratch: scratch}

	// The tests themselves, with all checks in their places.
	problems := inParallel(folders, func(folder []check, problem func(string)) {
		b.try(ctx, folder, problem)
	})
	if problems > 0 {
		return true, ctx.Err()
	}
	fmt.Fprintf(os.Stderr, "mutants: the tests pass where nothing is taken out (%s)\n", time.Since(began).Round(time.Second))
	problems = inParallel(folders, func(folder []check, problem func(string)) {
		for _, c := range folder {
			switch err := b.takeOut(ctx, c); {
			case ctx.Err() != nil:
				return
			case err != nil:
				problem(fmt.Sprintf("%s: %s", c.what, err))
			default:
				fmt.Print(c.row())
			}
		}
	})
	fmt.Fprintf(os.Stderr, "mutants: %d checks taken out, %d problems (%s)\n", checks, problems, time.Since(began).Round(time.Second))
	return problems > 0, ctx.Err()
}

// byFolder lists the checks that are wanted by the folders of their tests. What takes longest comes first.
func byFolder(parts []part, wanted *regexp.Regexp) (folders [][]check, checks int) {
	in := make(map[string][]check)
	for _, p := range parts {
		for _, c := range p.checks {
			if wanted.MatchString(p.name) || wanted.MatchString(c.what) {
				in[c.in] = append(in[c.in], c)
				checks++
			}
		}
	}
	for _, folder := range in {
		folders = append(folders, folder)
	}
	slices.SortFunc(folders, func(a, b []check) int {
		if isBlackBox(a[0].in) != isBlackBox(b[0].in) {
			return map[bool]int{true: -1, false: 1}[isBlackBox(a[0].in)]
		}
		return len(b) - len(a)
	})
	return folders, checks
}

// inParallel calls a function for each folder, and reports the problems that it finds. It returns their number.
func inParallel(folders [][]check, do func(folder []check, problem func(string))) int {
	var problems atomic.Int32
	report := func(text string) {
		problems.Add(1)
		fmt.Fprintln(os.Stderr, text)
	}
	var all sync.WaitGroup
	next := make(chan []check)
	for range atOnce {
		all.Go(func() {
			for folder := range next {
				do(folder, report)
			}
		})
	}
	for _, folder := range folders {
		next <- folder
	}
	close(next)
	all.Wait()
	return int(problems.Load())
}
