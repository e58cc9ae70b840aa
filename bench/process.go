package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// freeAddresses returns addresses on loopback where nobody listens.
func freeAddresses(count int) ([]string, error) {
	addresses := make([]string, count)
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}

// detach puts a program into a process group of its own, so that an interrupt at the terminal reaches only this process,
// which ends the others.
func detach(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// program is a server that is measured from outside.
type program struct {
	command *exec.Cmd
	output  bytes.Buffer
	exited  chan struct{}
}

// startProgram starts a server in a process group of its own.
func startProgram(command *exec.Cmd) (*program, error) {
	p := &program{command: command, exited: make(chan struct{})}
	command.Stdout, command.Stderr = &p.output, &p.output
	command.WaitDelay = farewell
	detach(command)
	if err := command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.exited)
		_ = command.Wait() // it is ended by a signal
	}()
	return p, nil
}

func (p *program) pid() int { return p.command.Process.Pid }

// farewell is how long a server may take to end.
const farewell = 10 * time.Second

// stop ends the server, and returns when it is gone.
func (p *program) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
		return nil
	case <-time.After(farewell):
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL) // it may have ended meanwhile
		<-p.exited
		return fmt.Errorf("%s did not end when it was asked to:\n%s", p.command.Path, p.output.String())
	}
}

// tick is the unit of the times below /proc, which is the same on every Linux: USER_HZ.
const tick = time.Second / 100

// treeCPU is the CPU time of processes, of all their descendants, and of those descendants that have ended.
func treeCPU(roots ...int) (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	children := make(map[int][]int)
	used := make(map[int]time.Duration)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		s, err := parseStat(string(text))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		children[s.parent] = append(children[s.parent], s.pid)
		used[s.pid] = s.used
	}
	var sum time.Duration
	for pending := roots; len(pending) > 0; pending = pending[1:] {
		if _, ok := used[pending[0]]; !ok {
			return 0, fmt.Errorf("process %d has ended", pending[0])
		}
		sum += used[pending[0]]
		pending = append(pending, children[pending[0]]...)
	}
	return sum, nil
}

// stat is what /proc/<pid>/stat tells of a process.
type stat struct {
	pid, parent int
	// used is its CPU time and that of its children that have ended.
	used time.Duration
}

// parseStat reads a line as proc(5) describes it. The name of the program stands in parentheses, and may hold anything.
func parseStat(line string) (stat, error) {
	pid, rest, found := strings.Cut(line, " (")
	fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
	if !found || len(fields) < 15 {
		return stat{}, fmt.Errorf("no state of a process: %q", line)
	}
	// The first of the fields is the third of the line. Parent is the fourth, utime, stime, cutime and cstime begin at the 14th.
	var s stat
	var errs [6]error
	s.pid, errs[0] = strconv.Atoi(pid)
	s.parent, errs[1] = strconv.Atoi(fields[1])
	for i, field := range fields[11:15] {
		var ticks int
		ticks, errs[2+i] = strconv.Atoi(field)
		s.used += time.Duration(ticks) * tick
	}
	return s, errors.Join(errs[:]...)
}
