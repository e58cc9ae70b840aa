package portcullis_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/portcullis-gateway/portcullis"
)

var update = flag.Bool("update", false, "rewrite the expectations of the adapt tests")

const separator = "\n----------\n"

func adapt(t testing.TB, text string) (string, error) {
	t.Helper()
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, result, "", "\t"))
	return out.String(), nil
}

// Each file holds a Caddyfile and, behind the separator, the JSON that it becomes; where the name begins with
// "refused_", the error. `go test -run Adapt -update .` writes what it becomes now, to be read before it is kept.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			input, want, _ := strings.Cut(string(content), separator)
			got, err := adapt(t, input)
			refused := strings.HasPrefix(name, "refused_")
			if refused {
				require.Error(t, err)
				got = err.Error()
				assert.Contains(t, got, "Caddyfile:", "an error names its place")
			} else {
				require.NoError(t, err)
			}
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(strings.TrimRight(input, "\n")+"\n"+separator+got+"\n"), 0o600))
				return
			}
			assert.Equal(t, strings.TrimSpace(want), got)
			if refused {
				assert.NotContains(t, got, "SUPERSECRET")
			}
		})
	}
}

// Caddy keeps one handler of a named route whose directives it could merge. It must not be able to.
func TestANamedRouteLosesNoDirective(t *testing.T) {
	const global = "{\n\tintrospect {\n\t\tendpoint https://as.example.com/i\n\t\tclient gw {env.SECRET}\n\t}\n}\n"
	for name, directives := range map[string][]string{
		"behind another":    {"header X y", "introspect scope a"},
		"twice":             {"introspect scope a", "introspect scope b"},
		"before the proxy":  {"introspect scope a", "reverse_proxy localhost:3000"},
		"alone":             {"introspect scope a"},
		"with the metadata": {"introspect scope a", "introspect_metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := adapt(t, global+"&(guard) {\n\t"+strings.Join(directives, "\n\t")+"\n}\n:80 {\n\tinvoke guard\n}\n")
			require.NoError(t, err)
			want := make(map[string]int)
			for _, directive := range directives {
				handler, _, _ := strings.Cut(strings.Replace(directive, "header", "headers", 1), " ")
				want[handler]++
			}
			for handler, times := range want {
				assert.Equal(t, times, strings.Count(got, `"handler": "`+handler+`"`), "%s: %s", handler, got)
			}
		})
	}
}

// What a contract promises for a later build must be refused by name, so that nobody takes it for enforced.
func TestWhatALaterBuildHasIsRefusedByName(t *testing.T) {
	_, err := adapt(t, "{\n\tintrospect {\n\t\tevents {\n\t\t\tissuer x\n\t\t}\n\t}\n}\n")
	assert.ErrorContains(t, err, "'events' is not in this build")
}

// FuzzCaddyfile: whatever stands in the block, the parser ends, and what it accepts says what it means: it adapts to
// the same JSON again.
func FuzzCaddyfile(f *testing.F) {
	for _, block := range []string{
		"introspect",
		"introspect main scope a b {\n\tany_scope c\n}",
		"introspect {\n\tendpoint https://as.example.com/i\n\tclient a b\n\tcache {\n\t\tttl 1m\n\t}\n}",
		"introspect {\n\tcopy_claims a>X-A b\n\tidentity none\n\trealm \"x\"\n\toptional\n}",
		"introspect { embedded }",
		"introspect scope",
		"introspect {\n\tcache off {\n\t}\n}",
		"introspect {\n\tacr gold phr\n\tmax_age 5m\n\tresource https://api.example.com/a\n\tresource_metadata {\n\t\tresource_name#de x\n\t\tscopes_supported a b\n\t}\n}",
		"introspect a b scope c {\n\ttry_each\n}",
		"introspect {\n\tembedded\n\ttoken_prefix a b\n\tunknown_tokens 20 1m\n}",
		"introspect {$X} {",
	} {
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, block string) {
		tokens, err := caddyfile.Tokenize([]byte(block), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		handler := new(portcullis.Handler)
		if err := handler.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			return
		}
		first, err := json.Marshal(handler)
		require.NoError(t, err)
		decoded := new(portcullis.Handler)
		require.NoError(t, json.Unmarshal(first, decoded))
		second, err := json.Marshal(decoded)
		require.NoError(t, err)
		require.Equal(t, string(first), string(second))
		for _, scope := range append(handler.Scope, handler.AnyScope...) {
			require.NotEmpty(t, scope)
			require.NotContains(t, scope, " ")
		}
	})
}
