package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// nodeProgram is the command that runs a program of a folder, whose npm packages have to be installed.
func nodeProgram(t *testing.T, folder, program string) *exec.Cmd {
	t.Helper()
	for _, source := range []string{"package-lock.json", program} {
		require.FileExists(t, filepath.Join(folder, source)) // and so a cached result is not used when it changes
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err != nil {
		unavailable(t, "needs "+folder+": tools/install-test-deps, or npm ci in interop/"+folder, err)
	}
	node := "node" // the system's, if it is new enough
	brought, err := filepath.Glob(filepath.Join(folder, "node_modules", "node-linux-*", "bin", "node"))
	require.NoError(t, err)
	if len(brought) > 0 {
		node, err = filepath.Abs(brought[0])
		require.NoError(t, err)
	}
	return exec.Command(node, filepath.Join(folder, program))
}
