package operator_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/operator"
)

// unset makes sure that a variable is not there during a test.
func unset(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "")
	require.NoError(t, os.Unsetenv(name))
}

// file writes a file and returns the placeholder that reads it.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return "{file." + path + "}"
}

func TestSecretResolves(t *testing.T) {
	t.Setenv("PORTCULLIS_TEST_A", "s3cr3t/é%")
	t.Setenv("PORTCULLIS_TEST_B", "{env.PORTCULLIS_TEST_A}")
	t.Setenv("PORTCULLIS_TEST_SPACE", " s3cr3t ")
	for _, tc := range []struct{ name, text, want string }{
		{"variable", "{env.PORTCULLIS_TEST_A}", "s3cr3t/é%"},
		{"variable between text", "a-{env.PORTCULLIS_TEST_A}-b", "a-s3cr3t/é%-b"},
		{"variable twice", "{env.PORTCULLIS_TEST_A}{env.PORTCULLIS_TEST_A}", "s3cr3t/é%s3cr3t/é%"},
		{"variable that looks like a placeholder is not resolved again", "{env.PORTCULLIS_TEST_B}", "{env.PORTCULLIS_TEST_A}"},
		{"variable with spaces", "{env.PORTCULLIS_TEST_SPACE}", " s3cr3t "},
		{"file", file(t, "s3cr3t"), "s3cr3t"},
		{"file that ends in a line feed", file(t, "s3cr3t\n"), "s3cr3t"},
		{"file that ends in CR LF", file(t, "s3cr3t\r\n"), "s3cr3t"},
		{"file that looks like a placeholder is not resolved again", file(t, "{env.PORTCULLIS_TEST_A}"), "{env.PORTCULLIS_TEST_A}"},
		{"file and variable", file(t, "x\n") + "{env.PORTCULLIS_TEST_SPACE}", "x s3cr3t "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secret, err := operator.Secret(tc.text)
			require.NoError(t, err)
			assert.Equal(t, tc.want, secret)
			assert.True(t, operator.IsPlaceholder(tc.text))
		})
	}
}

func TestSecretLiteral(t *testing.T) {
	for _, text := range []string{
		"", "s3cr3t", "p@ss:w+rd/é%", "with space ", "a{b}c", "{a}b", "a{b}", "}{", "{", "}", "a{b", `a\{b`, `C:\x`, "$ecret", "{{", "env.X",
		"file./etc/passwd", "$2y$10$abc{def",
	} {
		t.Run(text, func(t *testing.T) {
			secret, err := operator.Secret(text)
			require.NoError(t, err)
			assert.Equal(t, text, secret)
			assert.False(t, operator.IsPlaceholder(text))
		})
	}
}

// A secret that turns out to be nothing, or its own name, must not be taken for one: a server that knows a client by an
// empty secret, or by a text that stands in every configuration, knows everybody.
func TestSecretRefuses(t *testing.T) {
	t.Setenv("PORTCULLIS_TEST_A", "canary-s3cr3t")
	t.Setenv("PORTCULLIS_TEST_EMPTY", "")
	unset(t, "PORTCULLIS_TEST_UNSET")
	missing := "{file." + filepath.Join(t.TempDir(), "missing") + "}"
	for _, tc := range []struct{ name, text string }{
		{"variable that is unset", "{env.PORTCULLIS_TEST_UNSET}"},
		{"variable that is empty", "{env.PORTCULLIS_TEST_EMPTY}"},
		{"variable without a name", "{env.}"},
		{"variable that is unset, beside one that is set", "{env.PORTCULLIS_TEST_A}{env.PORTCULLIS_TEST_UNSET}"},
		{"variable that is unset, with a default that Caddy does not know", "{env.PORTCULLIS_TEST_UNSET:default}"},
		{"file that is missing", missing},
		{"file that is empty", file(t, "")},
		{"file with nothing but a line feed", file(t, "\n")},
		{"folder", "{file." + t.TempDir() + "}"},
		{"file without a path", "{file.}"},
		{"file that is missing, after a variable that is set", "{env.PORTCULLIS_TEST_A}" + missing},
		{"variable of a request", "{http.request.host}"},
		{"header of a request", "{http.request.header.Authorization}"},
		{"Caddy's shorthand", "{host}"},
		{"variable of the system", "{system.hostname}"},
		{"variable as the Caddyfile spells it", "{$PORTCULLIS_TEST_A}"},
		{"empty braces", "{}"},
		{"variable of a request beside a variable that is set", "{env.PORTCULLIS_TEST_A}{http.request.host}"},
		{"variable of the system beside a variable that is set", "{env.PORTCULLIS_TEST_A}{system.os}"},
		{"time beside a variable that is set", "{time.now.year}{env.PORTCULLIS_TEST_A}"},
		{"variable without its closing brace", "{env.PORTCULLIS_TEST_A"},
		{"file without its closing brace", "{file./run/secrets/client"},
		{"variable without its closing brace, after text", "a{env.PORTCULLIS_TEST_A"},
		{"variable without its closing brace, after one with", "{env.PORTCULLIS_TEST_A}{env.PORTCULLIS_TEST_A"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secret, err := operator.Secret(tc.text)
			require.Error(t, err)
			assert.Empty(t, secret)
			assert.NotContains(t, err.Error(), "canary", "the error repeats what resolved")
		})
	}
}

// Errors are logged, and printed by `caddy validate` in the logs of whoever runs it.
func TestSecretErrorsHoldNoSecret(t *testing.T) {
	t.Setenv("PORTCULLIS_TEST_A", "canary-in-a-variable")
	unset(t, "PORTCULLIS_TEST_UNSET")
	for _, tc := range []struct{ name, text string }{
		{"a variable beside an unset one", "{env.PORTCULLIS_TEST_A}{env.PORTCULLIS_TEST_UNSET}"},
		{"a file beside an unset variable", file(t, "canary-in-a-file") + "{env.PORTCULLIS_TEST_UNSET}"},
		{"a variable beside an unknown placeholder", "{env.PORTCULLIS_TEST_A}{http.request.host}"},
		{"text beside an unset variable", "canary-in-text{env.PORTCULLIS_TEST_UNSET}"},
		{"text in braces", "{canary-in-text}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := operator.Secret(tc.text)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "canary")
		})
	}
	t.Run("but the name of what is missing", func(t *testing.T) {
		_, err := operator.Secret("{env.PORTCULLIS_TEST_UNSET}")
		require.ErrorContains(t, err, "PORTCULLIS_TEST_UNSET")
	})
}

func TestIsPlaceholder(t *testing.T) {
	for text, want := range map[string]bool{
		"{env.X}": true, "{file./run/secrets/x}": true, "a{env.X}b": true,
		"": false, "s3cr3t": false, "{http.request.host}": false, "{X}": false, "env.X": false, "{$X}": false,
	} {
		assert.Equal(t, want, operator.IsPlaceholder(text), text)
	}
}
