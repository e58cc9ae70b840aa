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

// story reads the steps under a heading of a file.
func story(t *testing.T, file, heading string) []step {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	_, section, found := strings.Cut(string(content), "\n## "+heading+"\n")
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

// play types the commands of steps as they stand into one shell, in which `portcullis` is the program of a gateway whose site
// has another port, and returns all that was shown. A line that ends in … says how the line begins.
func play(t *testing.T, gateway *testgateway.Gateway, port string, steps []step) string {
	t.Helper()
	needs(t, "bash", "curl")
	const mark = "--- step "
	shell := gateway.Command(t)
	var script strings.Builder
	fmt.Fprintf(&script, "portcullis() { %q \"$@\"; }\n", shell.Path)
	for i, step := range steps {
		fmt.Fprintf(&script, "echo %q\n%s\necho\n", fmt.Sprint(mark, i), strings.ReplaceAll(step.commands, "localhost:8080", "localhost:"+port))
	}
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	shell.Path, shell.Args = bash, []string{"bash", "-u", "-c", script.String()}
	shell.Env = append(shell.Env, "PATH="+os.Getenv("PATH"))
	output, err := shell.Output()
	require.NoError(t, err)
	shown := strings.Split(string(output), mark)
	require.Len(t, shown, len(steps)+1)
	for i, step := range steps {
		rest := strings.Split(strings.ReplaceAll(shown[i+1], "\r", ""), "\n")
		for _, want := range step.lines {
			at := 0
			for at < len(rest) && !shows(rest[at], want) {
				at++
			}
			if !assert.Less(t, at, len(rest), "after\n%s\nthere is no line\n%s\nin what was left of\n%s", step.commands, want, shown[i+1]) {
				break
			}
			rest = rest[at+1:]
		}
	}
	return string(output)
}

// shows says whether a line is the one that was announced.
func shows(line, want string) bool {
	if beginning, cut := strings.CutSuffix(want, "…"); cut {
		return strings.HasPrefix(line, beginning)
	}
	return strings.TrimRight(line, " ") == strings.TrimRight(want, " ")
}

// The README's commands are typed as they stand, into one shell, at the gateway that `make run` starts.
func TestTheStoryOfTheREADME(t *testing.T) {
	steps := story(t, filepath.Join("..", "README.md"), "Try it")
	require.Len(t, steps, 5)
	port, backend := testgateway.Port(t), testgateway.Port(t)
	gateway := testgateway.New(t)
	gateway.Start(t, caddyfile(t, "../Caddyfile.example",
		":8080", ":"+port,
		":8081", ":"+backend,
		"admin localhost:2019", "admin "+gateway.Admin,
	))
	gateway.GuardClient("demo", "demo-secret")
	play(t, gateway, port, steps)
}
