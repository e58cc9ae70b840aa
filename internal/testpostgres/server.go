// Package testpostgres runs PostgreSQL servers for tests: Debian's, as a user of the system who may do nothing else, in
// directories of their own, reached by sockets there and by nobody else's network.
package testpostgres

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

const (
	// Password is that of the user postgres. It is of a kind that is recognised wherever it turns up.
	Password = "canary-pg-9vLq"
	// patience is how long a server may take to start or to end.
	patience = time.Minute
)

// Server is a PostgreSQL server.
type Server struct {
	programs string // the directory
	dir      string
	owner    *syscall.Credential // nil: whoever runs the test
	settings []string

	command *exec.Cmd     // nil unless it runs
	exited  chan struct{} // closed when it has ended
	schemas atomic.Int64
}

// shared is the server of all tests of a package that need no other one.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs the tests of a package, and ends the server that they shared. It is for TestMain.
func Main(m *testing.M) int {
	defer func() {
		if shared.server != nil {
			shared.server.remove()
		}
	}()
	return m.Run()
}

// Shared returns the one server that the tests of a package share. Main ends it. It does not wait for the disk.
func Shared(t testing.TB) *Server {
	t.Helper()
	programs := find(t)
	shared.once.Do(func() { shared.server, shared.err = start(programs, "fsync=off") })
	require.NoError(t, shared.err)
	return shared.server
}

// Start starts a server with settings (name=value) that ends with the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(find(t), settings...)
	require.NoError(t, err)
	t.Cleanup(s.remove)
	return s
}

// find returns the directory of the newest server that is installed.
func find(t testing.TB) string {
	t.Helper()
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if path, err := exec.LookPath("initdb"); err == nil && len(installed) == 0 {
		installed = append(installed, path)
	}
	if len(installed) == 0 {
		testgateway.Missing(t, "needs PostgreSQL: apt-get install postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for one of another kind
		return n
	}
	return filepath.Dir(slices.MaxFunc(installed, func(a, b string) int { return version(a) - version(b) }))
}

func start(programs string, settings ...string) (s *Server, err error) {
	s = &Server{programs: programs, settings: settings}
	if s.dir, err = os.MkdirTemp("", "portcullis-pg-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password), 0o600); err != nil {
		return nil, err
	}
	if err := s.disown(s.dir, password); err != nil {
		return nil, err
	}
	// Signing in by a digest costs a client under the race detector more than all else.
	command := s.program("initdb", "--no-sync", "--username=postgres", "--auth=password", "--pwfile="+password,
		"--encoding=UTF8", "--locale=C", "--pgdata="+s.data())
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return s, s.run()
}

// disown gives files of root to somebody else: the server refuses to run as root.
func (s *Server) disown(paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		if owner, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(owner.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, path := range paths {
		if err := os.Chown(path, int(uid), int(gid)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) program(name string, arguments ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.programs, name), arguments...)
	command.Dir = s.dir
	command.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	if s.owner != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	}
	return command
}

func (s *Server) run() error {
	arguments := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses="}
	for _, setting := range s.settings {
		arguments = append(arguments, "-c", setting)
	}
	command := s.program("postgres", arguments...)
	output, err := command.StderrPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	ready, exited := make(chan struct{}), make(chan struct{})
	var said []string
	go func() {
		defer close(exited)
		serves := false
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if !serves && strings.Contains(lines.Text(), "ready to accept connections") {
				serves = true
				close(ready)
			}
			if !serves {
				said = append(said, lines.Text())
			}
		}
		_ = command.Wait() // it is ended by a signal
	}()
	s.command, s.exited = command, exited
	select {
	case <-ready:
		return nil
	case <-exited:
		s.command = nil
		return fmt.Errorf("postgres ended:\n%s", strings.Join(said, "\n"))
	case <-time.After(patience):
		return errors.New("postgres does not start")
	}
}

// Run starts the server again.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	require.NoError(t, s.run())
}

// Stop ends the server, and the connections to it.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	require.NoError(t, s.end(syscall.SIGINT))
}

// Crash ends the server as a crash of its machine would, but for what the kernel has of its files.
func (s *Server) Crash(t testing.TB) {
	t.Helper()
	require.NoError(t, s.end(syscall.SIGQUIT))
}

func (s *Server) end(signal syscall.Signal) error {
	if s.command == nil {
		return nil
	}
	if err := s.command.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case <-s.exited:
		s.command = nil
		return nil
	case <-time.After(patience):
		return errors.New("postgres does not end")
	}
}

func (s *Server) remove() {
	_ = s.end(syscall.SIGQUIT) // nobody needs what it has
	_ = os.RemoveAll(s.dir)
}

// SQL runs statements in the database postgres.
func (s *Server) SQL(t testing.TB, statements string) {
	t.Helper()
	command := s.program("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+s.DSN(), "--command="+statements)
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

// DSN is the connection string of the database postgres, with further parameters (name=value).
func (s *Server) DSN(parameters ...string) string {
	return "postgres://postgres:" + Password + "@/postgres?" + strings.Join(append([]string{"host=" + s.dir}, parameters...), "&")
}

// Schema is the name of a schema that no other test has. It is there only once somebody makes it.
func (s *Server) Schema() string { return fmt.Sprintf("test_%d", s.schemas.Add(1)) }
