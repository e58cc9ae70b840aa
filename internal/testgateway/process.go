package testgateway

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience is how long a program may take to say something. Nothing waits this long unless it is broken.
	patience = time.Minute
	// farewell is how long a program may take to end.
	farewell = 10 * time.Second
)

// Process is a program that runs beside a test, and ends with it.
type Process struct {
	// Stdout and Stderr are what it has written.
	Stdout, Stderr *Output

	command *exec.Cmd
	exited  chan struct{}
	stop    sync.Once
}

// Run starts a program. If the test fails, it shows what the program has written, and it fails
// if the program says that it has a data race.
func Run(t testing.TB, command *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Stdout: newOutput(), Stderr: newOutput(), command: command, exited: make(chan struct{})}
	command.Stdout, command.Stderr = p.Stdout, p.Stderr
	require.NoError(t, command.Start())
	go func() {
		_ = command.Wait() // it ends by a signal
		p.Stdout.end()
		p.Stderr.end()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Stop()
		if strings.Contains(p.Stderr.String(), "WARNING: DATA RACE") {
			t.Error("the program, built with -race, has found a data race in itself")
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s%s", command.Path, p.Stdout, p.Stderr)
		}
	})
	return p
}

// Stop ends the program: SIGTERM, and SIGKILL if that does not help. It returns when the program is gone.
func (p *Process) Stop() {
	p.stop.Do(func() {
		_ = p.command.Process.Signal(syscall.SIGTERM) // it may be gone already
		select {
		case <-p.exited:
		case <-time.After(farewell):
			_ = p.command.Process.Kill()
			<-p.exited
		}
	})
}

// Await waits for a line in one of the outputs, and returns it.
func Await(t testing.TB, output *Output, holds string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, err := output.Line(ctx, holds)
	require.NoError(t, err)
	return line
}
