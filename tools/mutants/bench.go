package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// buildTime bounds a build.
	buildTime = 5 * time.Minute
	// testTime bounds the run of a test, which has to be long enough for one that waits for what does not come any more.
	testTime = 90 * time.Second
	// program is the package of the gateway, which the tests of blackBox start, as PORTCULLIS_BIN says.
	program  = "./cmd/portcullis"
	blackBox = "e2e"
)

func isBlackBox(folder string) bool { return folder == blackBox }

// bench is where tests are built and run.
type bench struct {
	root, tags string
	scratch    string // a folder of its own

	// tests has the test program of blackBox, of which there is one, since no check is in it.
	tests string

	mu     sync.Mutex
	number int
}

// The verdicts on a test that was run.
var (
	errPassed  = errors.New("SURVIVED: nothing turns red")
	errSkipped = errors.New("the test is skipped: tools/install-test-deps installs what tests need")
	errNotRun  = errors.New("there is no such test")
	errPanic   = errors.New("the run ends in a panic or a timeout, which says nothing of the check")
)

// try runs the tests of one folder with all checks in their places, and reports those that do not pass.
func (b *bench) try(ctx context.Context, folder []check, problem func(string)) {
	built, err := b.build(ctx, folder[0].in, "")
	if err != nil {
		problem(folder[0].in + ": " + err.Error())
		return
	}
	tried := make(map[string]bool)
	for _, c := range folder {
		if tried[c.test] {
			continue
		}
		tried[c.test] = true
		output, err := built.run(ctx, c.test)
		if err == nil {
			err = judge(output, c.test)
		}
		switch {
		case err == nil:
			problem(fmt.Sprintf("%s %s fails where nothing is taken out:\n%s", c.in, c.test, said(output)))
		case !errors.Is(err, errPassed):
			problem(fmt.Sprintf("%s %s: %s", c.in, c.test, err))
		}
	}
}

// takeOut takes a check out, and says why that shows nothing, or that nobody has noticed.
func (b *bench) takeOut(ctx context.Context, c check) error {
	text, err := c.changed(b.root)
	if err != nil {
		return err
	}
	dir := b.place()
	file, overlay := filepath.Join(dir, filepath.Base(c.file)), filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return err
	}
	replace := map[string]map[string]string{"Replace": {filepath.Join(b.root, filepath.FromSlash(c.file)): file}}
	encoded, err := json.Marshal(replace)
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, encoded, 0o600); err != nil {
		return err
	}
	built, err := b.build(ctx, c.in, overlay)
	if err != nil {
		return err
	}
	output, err := built.run(ctx, c.test)
	if err != nil {
		return err
	}
	return errors.Join(judge(output, c.test), os.RemoveAll(dir), built.remove())
}

// place is a new name in scratch.
func (b *bench) place() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	return filepath.Join(b.scratch, fmt.Sprint(b.number))
}

// built is a test program, and the gateway that it starts, if any.
type built struct {
	dir, tests, gateway string
	own                 string // what nobody else needs
}

func (t *built) remove() error { return os.Remove(t.own) }

// build builds the tests of a folder, or the gateway, with the file of an overlay, or as they are.
func (b *bench) build(ctx context.Context, folder, overlay string) (*built, error) {
	place := b.place()
	result := &built{dir: filepath.Join(b.root, filepath.FromSlash(folder)), own: place}
	if !isBlackBox(folder) {
		result.tests = place
		return result, b.goTool(ctx, "test", "-c", "-vet=off", "-overlay="+overlay, "-o", place, "./"+folder)
	}
	if b.tests == "" {
		b.tests = filepath.Join(b.scratch, "tests")
		if err := b.goTool(ctx, "test", "-c", "-vet=off", "-o", b.tests, "./"+folder); err != nil {
			return nil, err
		}
	}
	result.tests, result.gateway = b.tests, place
	return result, b.goTool(ctx, "build", "-buildvcs=false", "-overlay="+overlay, "-o", place, program)
}

// goTool builds something. Without the tables for debuggers that takes half of the time.
func (b *bench) goTool(ctx context.Context, subcommand string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	arguments = append([]string{subcommand, "-tags", b.tags, "-ldflags=-s -w"}, arguments...)
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = b.root
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("it cannot be built: %w\n%s", err, output)
	}
	return nil
}

// run runs one test, and returns what go test -json would say of it.
func (t *built) run(ctx context.Context, test string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, testTime+10*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "tool", "test2json", t.tests,
		"-test.v=test2json", "-test.count=1", "-test.timeout="+testTime.String(), "-test.run="+pattern(test))
	command.Dir = t.dir
	command.Env = os.Environ()
	if t.gateway != "" {
		command.Env = append(command.Env, "PORTCULLIS_BIN="+t.gateway)
	}
	output, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		err = nil // a test has failed
	}
	return output, err
}

// written is the name of a test as the package testing writes it.
func written(test string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, test)
}

// pattern is the regular expression for one test.
func pattern(test string) string {
	names := strings.Split(written(test), "/")
	for i := range names {
		names[i] = "^" + regexp.QuoteMeta(names[i]) + "$"
	}
	return strings.Join(names, "/")
}

// event is a line of what go test -json says.
type event struct{ Action, Test, Output string }

// judge says why a run does not show that the test has failed. It is errPassed if the test has passed.
func judge(output []byte, test string) error {
	name := written(test)
	ended := make(map[string]string)
	for line := range bytes.Lines(output) {
		var e event
		if json.Unmarshal(line, &e) != nil {
			return fmt.Errorf("the run says what cannot be read: %s", line)
		}
		switch e.Action {
		case "pass", "fail", "skip":
			ended[e.Test] = e.Action
		case "output":
			if strings.HasPrefix(e.Output, "panic: ") || strings.HasPrefix(e.Output, "fatal error: ") {
				return fmt.Errorf("%w: %s", errPanic, e.Output)
			}
		}
	}
	switch ended[name] {
	case "fail":
		return nil
	case "skip":
		return errSkipped
	}
	// Whatever is around it may have failed before.
	for other, how := range ended {
		if other != "" && how == "fail" {
			return fmt.Errorf("another test fails: %s\n%s", other, said(output))
		}
	}
	if ended[name] == "pass" {
		return errPassed
	}
	return errNotRun
}

// mostSaid bounds what is shown of a run, in bytes.
const mostSaid = 2000

// said is the beginning of what tests have said.
func said(output []byte) string {
	var b strings.Builder
	for line := range bytes.Lines(output) {
		var e event
		if json.Unmarshal(line, &e) == nil {
			b.WriteString(e.Output)
		}
	}
	text := b.String()
	return text[:min(len(text), mostSaid)]
}
