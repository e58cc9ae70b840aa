package testgateway

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience is how long a program may take to say something. Nothing waits this long unless it is broken.
	patience = time.Minute
	// farewell is how long a program may take to end.
	farewell = 20 * time.Second
)

// Process is a program that runs beside a test. When the test ends, the program is stopped, and what it has written must
// hold no sign of a fault and nothing that it has to keep to itself. It is shown if the test fails.
type Process struct {
	// Output is what the program has written.
	Output *Output

	guard   *guard
	command *exec.Cmd     // nil unless it runs
	exited  chan struct{} // closed when it has ended
}

// Run starts a program.
func Run(t testing.TB, command *exec.Cmd) *Process {
	t.Helper()
	p := newProcess(t, new(guard))
	p.start(t, command)
	return p
}

func newProcess(t testing.TB, g *guard) *Process {
	t.Helper()
	p := &Process{Output: newOutput(), guard: g}
	t.Cleanup(func() {
		p.Stop(t)
		p.guard.check(t, p.Output.String())
		if t.Failed() {
			t.Logf("the output of a program of %s:\n%s", t.Name(), p.Output)
		}
	})
	return p
}

func (p *Process) start(t testing.TB, command *exec.Cmd) {
	t.Helper()
	require.Nil(t, p.command, "the program is running already")
	p.Output.begin()
	command.Stdout, command.Stderr = p.Output, p.Output
	require.NoError(t, command.Start())
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = command.Wait() // it is ended by a signal
		p.Output.end()
	}()
	p.command, p.exited = command, exited
}

// Await waits until the program, since it was last started, has written a line that holds a text, and returns the line.
func (p *Process) Await(t testing.TB, holds string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, err := p.Output.line(ctx, holds)
	require.NoError(t, err)
	return line
}

// Stop asks the program to end, if it runs, and returns when it is gone.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	if p.command == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have exited
	select {
	case <-p.exited:
	case <-time.After(farewell):
		_ = p.command.Process.Kill()
		<-p.exited
		t.Error("the program did not end when it was asked to")
	}
	p.command = nil
}

// Kill ends the program as a power cut would.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	require.NoError(t, p.command.Process.Kill())
	<-p.exited
	p.command = nil
}

// Guard registers what the program must never write, beside what is overheard: gateways share it. Empty texts do not
// count.
func (p *Process) Guard(secrets ...string) { p.guard.add(secrets...) }

// GuardClient registers the secret of a client in the ways in which it is sent.
func (p *Process) GuardClient(id, secret string) { p.guard.addClient(id, secret) }
