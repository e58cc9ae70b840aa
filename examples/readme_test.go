package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// step is one thing that the README tells the reader to type, and the lines that it says will be among what comes.
type step struct {
	commands string
	lines    []string
}

var block = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

// story reads the steps under "Try it".
func story(t *testing.T) []step {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(content), "\n## Try it\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var steps []step
	for _, found := range block.FindAllStringSubmatch(section, -1) {
		if found[1] == "sh" {
			steps = append(steps, step{commands: found[2]})
			continue
		}
		require.NotEmpty(t, steps)
		steps[len(steps)-1].lines = strings.Split(strings.TrimSpace(found[2]), "\n")
	}
	return steps
}

// The README's commands are typed as they stand, into one shell, at the gateway that `make run` starts.
func TestTheStoryOfTheREADME(t *testing.T) {
	steps := story(t)
	require.Len(t, steps, 5)
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("PORTCULLIS_REQUIRE_SERVERS") != "" {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed: install it with the system's package manager", program)
		}
	}
	port, backend := testgateway.Port(t), testgateway.Port(t)
	gateway := testgateway.New(t)
	gateway.Start(t, caddyfile(t, "../Caddyfile.example",
		":8080", ":"+port,
		":8081", ":"+backend,
		"admin localhost:2019", "admin "+gateway.Admin,
	))
	gateway.GuardClient("demo", "demo-secret")

	const mark = "--- step "
	var script strings.Builder
	for i, step := range steps {
		fmt.Fprintf(&script, "echo %q\n%s\necho\n", fmt.Sprint(mark, i), strings.ReplaceAll(step.commands, "localhost:8080", "localhost:"+port))
	}
	command := exec.CommandContext(t.Context(), "bash", "-u", "-c", script.String())
	output, err := command.Output()
	require.NoError(t, err)
	shown := strings.Split(string(output), mark)
	require.Len(t, shown, len(steps)+1)
	for i, step := range steps {
		rest := strings.Split(strings.ReplaceAll(shown[i+1], "\r", ""), "\n")
		for _, want := range step.lines {
			at := 0
			for at < len(rest) && strings.TrimRight(rest[at], " ") != strings.TrimRight(want, " ") {
				at++
			}
			if !assert.Less(t, at, len(rest), "after\n%s\nthere is no line\n%s\nin what was left of\n%s", step.commands, want, shown[i+1]) {
				break
			}
			rest = rest[at+1:]
		}
	}
}
