// Package e2e tests Portcullis from outside: it starts the real program on a Caddyfile, and judges it by what clients,
// authorization servers and backends see.
//
// The cases name the requirements that they check by the letters and numbers of the project's checklist: A is where a
// token is found, B the challenges, C asking an authority, D reading its answer, J identity headers, K HTTP.
package e2e

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

// moduleRoot is where the module lies, seen from this package.
const moduleRoot = ".."

// buildTags are those of the Makefile.
const buildTags = "nobadger,nomysql,nopgx"

// scratch is where the program is built.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(runIn(m))
}

func runIn(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "portcullis-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// binary is the program: the one that PORTCULLIS_BIN names, else one that is built of this module, once.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("PORTCULLIS_BIN"); path != "" {
		return filepath.Abs(path)
	}
	if err := lookAtSources(); err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "portcullis")
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", buildTags, "-o", path, "./cmd/portcullis")
	build.Dir = moduleRoot
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building portcullis: %w\n%s", err, output)
	}
	return path, nil
})

// lookAtSources looks at every source file of the program, so that `go test`, which remembers a result together with
// the files that the test looked at, runs these tests again when the program has changed.
func lookAtSources() error {
	return filepath.WalkDir(moduleRoot, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != moduleRoot && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "bin"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}

// portcullis is a command of the program that leaves no trace outside a directory.
func portcullis(t *testing.T, dir string, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	command := exec.Command(path, arguments...)
	command.Dir = dir
	command.Env = []string{
		"HOME=" + dir,
		"PATH=" + os.Getenv("PATH"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"),
	}
	return command
}
