// Package examples runs the examples of its folders.
package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestMain(m *testing.M) { os.Exit(testgateway.Main(m)) }

// caddyfile returns the Caddyfile of an example's folder, or the file itself, with the given texts replaced by others, in turn old and new.
func caddyfile(t *testing.T, example string, oldnew ...string) string {
	t.Helper()
	path := example
	if filepath.Ext(path) == "" {
		path = filepath.Join(path, "Caddyfile")
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(content)
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, text, oldnew[i], "the example has changed: change its test too")
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}

// An example without a test, or without a word on what it is, is not finished.
func TestEveryExampleIsTestedAndExplained(t *testing.T) {
	folders, err := filepath.Glob("*/Caddyfile")
	require.NoError(t, err)
	for i, folder := range folders {
		folders[i] = filepath.Dir(folder)
		assert.FileExists(t, filepath.Join(folders[i], "README.md"))
		assert.FileExists(t, folders[i]+"_test.go")
	}
	assert.NotEmpty(t, folders)
}
