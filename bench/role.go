package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"time"
)

// roleVariable names, in the environment of a process, the role that it plays.
const roleVariable = "PORTCULLIS_BENCH_ROLE"

// roles are the parts of a measurement that run in processes of their own, so that the work of each can be told from
// that of the others. A role answers the calls of the process that started it, and ends with it.
var roles = map[string]func() (any, error){
	"authority": newAuthority,
	"backend":   newBackend,
	"checker":   newChecker,
	"gateway":   newGateway,
	"load":      newLoad,
}

// playRole plays the role that the environment names, and tells whether it names one.
func playRole() (bool, error) {
	name := os.Getenv(roleVariable)
	if name == "" {
		return false, nil
	}
	create, ok := roles[name]
	if !ok {
		return true, fmt.Errorf("there is no role %q", name)
	}
	role, err := create()
	if err != nil {
		return true, err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Role", role); err != nil {
		return true, err
	}
	server.ServeConn(pipes{os.Stdin, os.Stdout})
	return true, nil
}

// pipes are both directions of a connection between processes.
type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

// Close closes both directions.
func (p pipes) Close() error { return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close()) }

// player is a process that plays a role.
type player struct {
	calls   *rpc.Client
	command *exec.Cmd
}

// startRole starts a process that plays a role.
func startRole(name string) (*player, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), roleVariable+"="+name)
	command.Stderr = os.Stderr
	detach(command)
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", name, err)
	}
	return &player{rpc.NewClient(pipes{output, input}), command}, nil
}

// pid is the id of the process.
func (p *player) pid() int { return p.command.Process.Pid }

// stop ends the process, and returns when it is gone.
func (p *player) stop() error {
	err := p.calls.Close()
	tooLong := time.AfterFunc(farewell, func() { _ = p.command.Process.Kill() }) // it may have ended
	defer tooLong.Stop()
	return errors.Join(err, p.command.Wait())
}

// ask calls a method of a role.
func ask[Reply any](ctx context.Context, p *player, method string, argument any) (Reply, error) {
	var reply Reply
	call := p.calls.Go("Role."+method, argument, &reply, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return reply, ctx.Err()
	case <-call.Done:
	}
	if call.Error != nil {
		return reply, fmt.Errorf("%s: %w", method, call.Error)
	}
	return reply, nil
}

// nothing is the argument or the reply of a method that has none.
type nothing = bool

// listening is the part of a role that is an HTTP server.
type listening struct{ address string }

// serve starts an HTTP server on a free port of loopback.
func serve(handler http.HandlerFunc) (listening, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return listening{}, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() {
		fmt.Fprintln(os.Stderr, server.Serve(listener))
		os.Exit(1)
	}()
	return listening{listener.Addr().String()}, nil
}

// Address tells where the server listens.
func (l listening) Address(_ nothing, address *string) error {
	*address = l.address
	return nil
}
