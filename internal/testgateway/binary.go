package testgateway

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// buildTags are those of the Makefile.
const buildTags = "nobadger,nomysql,nopgx"

// program is the gateway that the tests of this process run.
var program struct {
	once sync.Once
	path string
	dir  string
	err  error
}

// Main runs the tests of a package, and removes the program that they have built. It is for TestMain.
func Main(m *testing.M) int {
	defer func() { _ = os.RemoveAll(program.dir) }() // an empty name removes nothing
	return m.Run()
}

// binary returns the path of the gateway: that of the environment variable PORTCULLIS_BIN, which has to be absolute, or
// one that is built of this module for the first test that asks.
func binary(t testing.TB) string {
	t.Helper()
	program.once.Do(func() {
		if program.path = os.Getenv("PORTCULLIS_BIN"); program.path == "" {
			program.path, program.err = build()
		}
	})
	require.NoError(t, program.err)
	require.True(t, filepath.IsAbs(program.path), "PORTCULLIS_BIN must be an absolute path")
	return program.path
}

func build() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if err := lookAtSources(root); err != nil {
		return "", err
	}
	if program.dir, err = os.MkdirTemp("", "portcullis-test-"); err != nil {
		return "", err
	}
	path := filepath.Join(program.dir, "portcullis")
	command := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-tags", buildTags, "-o", path, "./cmd/portcullis")
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the gateway: %w\n%s", err, output)
	}
	return path, nil
}

// moduleRoot is the folder of the module, in one of whose folders a test runs.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod around the test: %w", fs.ErrNotExist)
		}
		dir = filepath.Dir(dir)
	}
}

// lookAtSources looks at every source file of the program, so that `go test`, which remembers a result together with
// the files that the test looked at, runs the test again when the program has changed.
func lookAtSources(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "bin"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}
