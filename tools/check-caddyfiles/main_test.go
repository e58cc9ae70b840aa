package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestExtract(t *testing.T) {
	text := strings.ReplaceAll(`# Title

'''caddyfile
:80 {
	respond ok
}
'''

- in a list:

  ~~~ caddyfile  snippet
  respond {
  	body x
  }
  ~~~

'''caddyfile refused
nonsense
'''

''''markdown
'''caddyfile
shown, not meant
'''
''''

'''sh
caddyfile
'''
`, "'", "`")
	blocks, problems := extract("a.md", text)
	if len(problems) != 0 {
		t.Errorf("problems: %q", problems)
	}
	want := []source{
		{name: "a.md", line: 3, kind: valid, text: ":80 {\n\trespond ok\n}\n"},
		{name: "a.md", line: 11, kind: snippet, text: "respond {\n\tbody x\n}\n"},
		{name: "a.md", line: 17, kind: refused, text: "nonsense\n"},
	}
	if !reflect.DeepEqual(blocks, want) {
		t.Errorf("got  %+v\nwant %+v", blocks, want)
	}
}

func TestExtractComplains(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"other language name", "```caddy\n```\n", "a.md:1: the info string"},
		{"other kind", "x\n```caddyfile valid\n```\n", "a.md:2: the info string"},
		{"other case", "```Caddyfile\n```\n", "a.md:1: the info string"},
		{"open at the end", "\n```caddyfile\n:80\n", "a.md:2: the block has no closing fence"},
		{"quotation", "> [!NOTE]\n> ```caddyfile\n> :80\n> ```\n", "a.md:2: a Caddyfile block inside a quotation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			blocks, problems := extract("a.md", tc.text)
			if len(blocks) != 0 {
				t.Errorf("blocks: %+v", blocks)
			}
			if len(problems) != 1 || !strings.HasPrefix(problems[0], tc.want) {
				t.Errorf("problems: %q, want one that begins with %q", problems, tc.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	got := environment("secret {env.B_1}\nother {env.B_1} {$A} {$PORT:8080} {file./run/secret}")
	if want := []string{"A=" + dummy, "B_1=" + dummy}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The stand-in for the program accepts what says "good", and complains about
// line 2 of everything else.
const program = `#!/bin/sh
for file; do :; done
case $1 in
fmt) ! grep -q unformatted "$file" ;;
*) grep -q good "$file" && [ "$SECRET" = example-secret-for-validation ] && touch here && exit 0
   echo "Error: $file:2: not good" >&2
   exit 1 ;;
esac
`

func TestRun(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	binary := write("bin/program", program, 0o700)
	write("Caddyfile", "good {env.SECRET}\n", 0o600)
	write("examples/Caddyfile.other", "unformatted good {env.SECRET}\n", 0o600)
	write("examples/a.caddyfile", "good\n", 0o600) // names no SECRET
	write("examples/testdata/Caddyfile", "bad\n", 0o600)
	write("docs/a.md", "text\n```caddyfile\nbad\nbad\n```\n", 0o600)
	write("docs/b.md", "```caddyfile refused\nbad\n```\n```caddyfile refused\ngood {env.SECRET}\n```\n```caddyfile snippet\nbad\n```\n", 0o600)

	n, problems, err := run(binary, root)
	if err != nil {
		t.Fatal(err)
	}
	if n != 7 {
		t.Errorf("%d configurations checked, want 7", n)
	}
	want := []string{
		"docs/a.md:2: not valid\n\tError: docs/a.md:4: not good",
		"docs/b.md:4: adapts, but is shown as refused",
		"examples/Caddyfile.other: not formatted",
		"examples/a.caddyfile: not valid\n\tError: examples/a.caddyfile:2: not good",
	}
	if !slices.Equal(problems, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(problems, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"here", "examples/here"} {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			t.Errorf("the program wrote %s into the repository", name)
		}
	}
}
