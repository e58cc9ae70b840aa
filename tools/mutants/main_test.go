package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the repository, as the tests see it.
const root = "../.."

func TestTheList(t *testing.T) {
	tests := make(map[string]*testFolder)
	named := make(map[string]bool)
	for _, p := range parts {
		for _, c := range p.checks {
			t.Run(p.name+", "+c.what, func(t *testing.T) {
				_, err := c.changed(root)
				assert.NoError(t, err)
				assert.False(t, named[p.name+c.what], "it is there twice")
				named[p.name+c.what] = true
				if tests[c.in] == nil {
					tests[c.in] = testsIn(t, filepath.Join(root, c.in))
				}
				assert.True(t, tests[c.in].has(c.test), "%s has no test %s", c.in, c.test)
			})
		}
	}
	document, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	require.NoError(t, err)
	assert.Contains(t, string(document), "\n"+table(parts)+"\n", "docs/security.md has another table than 'go run ./tools/mutants -table' prints")
}

// testFolder is the tests of a folder, and the texts that their cases may be named by, without the spaces around them.
type testFolder struct {
	functions map[string]bool
	texts     map[string]bool
}

func testsIn(t *testing.T, folder string) *testFolder {
	t.Helper()
	f := &testFolder{make(map[string]bool), make(map[string]bool)}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, folder)
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(tree, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.FuncDecl:
				f.functions[node.Name.Name] = node.Recv == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(node.Value); node.Kind == token.STRING && err == nil {
					f.texts[strings.TrimSpace(text)] = true
				}
			}
			return true
		})
	}
	return f
}

// has tells whether there is a test, and each of its cases, which is a text, or made of some.
func (f *testFolder) has(test string) bool {
	function, cases, _ := strings.Cut(test, "/")
	return f.functions[function] && (cases == "" || f.isMadeOfTexts(cases))
}

func (f *testFolder) isMadeOfTexts(name string) bool {
	if f.texts[name] {
		return true
	}
	for i, c := range name {
		if (c == ' ' || c == '/') && f.texts[name[:i]] && f.isMadeOfTexts(name[i+1:]) {
			return true
		}
	}
	return false
}

func TestNamesOfTests(t *testing.T) {
	f := &testFolder{map[string]bool{"TestA": true}, map[string]bool{"a case": true, "attack:": true, "by": true, "both": true}}
	for test, is := range map[string]bool{
		"TestA": true, "TestA/a case": true, "TestA/attack: a case": true, "TestA/both by a case": true, "TestA/both/by": true,
		"TestB": false, "TestA/a": false, "TestA/case": false, "TestA/a case too": false, "TestA/attack: another": false,
	} {
		assert.Equal(t, is, f.has(test), test)
	}
}

func TestTable(t *testing.T) {
	got := table([]part{{"Part", []check{{what: "a | b", in: ".", test: "TestA/x|y"}}}})
	assert.Equal(t, "| check | what turns red without it |\n| --- | --- |\n| **Part** | |\n| a \\| b | `.` `TestA/x\\|y` |\n", got)
}

func TestWhatIsTakenOut(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.go"), []byte("one two two"), 0o600))
	for name, test := range map[string]struct {
		check check
		want  string
		says  string
	}{
		"once":     {check{file: "a.go", text: "one", without: "1"}, "1 two two", ""},
		"twice":    {check{file: "a.go", text: "two", without: "2"}, "", "2 times"},
		"gone":     {check{file: "a.go", text: "three", without: "3"}, "", "0 times"},
		"the same": {check{file: "a.go", text: "one", without: "one"}, "", "nothing is changed"},
		"no file":  {check{file: "b.go", text: "one", without: "1"}, "", "b.go"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.check.changed(dir)
			assert.Equal(t, test.want, got)
			if test.says != "" {
				assert.ErrorContains(t, err, test.says)
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	ended := func(pairs ...string) string {
		var b strings.Builder
		for i := 0; i < len(pairs); i += 2 {
			fmt.Fprintf(&b, `{"Action":%q,"Test":%q}`+"\n", pairs[i], pairs[i+1])
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		output string
		err    error
		says   string
	}{
		"the case fails":                 {ended("run", "TestA", "run", "TestA/a_case", "fail", "TestA/a_case", "fail", "TestA", "fail", ""), nil, ""},
		"the case passes":                {ended("pass", "TestA/a_case", "pass", "TestA", "pass", ""), errPassed, ""},
		"the case is skipped":            {ended("skip", "TestA/a_case", "pass", "TestA", "pass", ""), errSkipped, ""},
		"only what is around it fails":   {ended("pass", "TestA/a_case", "fail", "TestA", "fail", ""), nil, "another test fails: TestA"},
		"it fails before the case":       {ended("fail", "TestA", "fail", ""), nil, "another test fails: TestA"},
		"another case fails":             {ended("fail", "TestA/another", "fail", "TestA", "fail", ""), nil, "another test fails"},
		"there is no such case":          {ended("pass", "TestA", "pass", ""), errNotRun, ""},
		"nothing is run":                 {"", errNotRun, ""},
		"the case fails, in a panic":     {`{"Action":"output","Output":"panic: nil [recovered]\n"}` + "\n" + ended("fail", "TestA/a_case"), errPanic, ""},
		"the case takes too long":        {`{"Action":"output","Output":"panic: test timed out after 1s\n"}` + "\n" + ended("fail", "TestA/a_case"), errPanic, ""},
		"everybody waits for each other": {`{"Action":"output","Output":"fatal error: all goroutines are asleep - deadlock!\n"}` + "\n" + ended("fail", "TestA/a_case"), errPanic, ""},
		"what is not JSON":               {"x\n", nil, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			err := judge([]byte(test.output), "TestA/a case")
			switch {
			case test.says != "":
				assert.ErrorContains(t, err, test.says)
			case test.err != nil:
				assert.ErrorIs(t, err, test.err)
			default:
				assert.NoError(t, err)
			}
		})
	}
}

// What the program says of checks of another module: one that is tested, and those that are not.
func TestTakingOut(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module example.com/door\n\ngo 1.26\n",
		"key/key.go":  "package key\n\nfunc Opens(name string) bool { return name == \"alice\" }\n\nfunc Length(n int) bool { return n < 10 }\n",
		"key/slow.go": "package key\n\nfunc Number(all []int) int { return all[0] }\n",
		"key/key_test.go": `package key

import "testing"

func TestOpens(t *testing.T) {
	for _, name := range []string{"mallory", "Alice (1)"} {
		t.Run("not "+name, func(t *testing.T) {
			if Opens(name) {
				t.Fail()
			}
		})
	}
	t.Run("alice", func(t *testing.T) {
		if !Opens("alice") {
			t.Fail()
		}
	})
}

func TestLength(t *testing.T) {
	if !Length(3) {
		t.Fail()
	}
}

func TestNumber(t *testing.T) {
	if Number([]int{7}) != 7 {
		t.Fail()
	}
}
`,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	const open = `return name == "alice"`
	for name, test := range map[string]struct {
		check check
		says  string // nothing where the test turns red
	}{
		"a test turns red":         {check{file: "key/key.go", text: open, without: `return true`, test: "TestOpens/not mallory"}, ""},
		"a case with signs in it":  {check{file: "key/key.go", text: open, without: `return true`, test: "TestOpens/not Alice (1)"}, ""},
		"another case would":       {check{file: "key/key.go", text: open, without: `return true`, test: "TestOpens/alice"}, "SURVIVED"},
		"no test does":             {check{file: "key/key.go", text: "n < 10", without: "n >= 0", test: "TestLength"}, "SURVIVED"},
		"it cannot be built":       {check{file: "key/key.go", text: open, without: `return nobody`, test: "TestOpens/not mallory"}, "cannot be built"},
		"it panics":                {check{file: "key/slow.go", text: "all[0]", without: "all[1]", test: "TestNumber"}, "panic"},
		"there is no such case":    {check{file: "key/key.go", text: open, without: `return true`, test: "TestOpens/not bob"}, "no such test"},
		"the text is gone":         {check{file: "key/key.go", text: "nowhere", without: "", test: "TestOpens"}, "0 times"},
		"what is around it counts": {check{file: "key/key.go", text: open, without: `return true`, test: "TestOpens"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.in = "key"
			err := (&bench{root: dir, scratch: t.TempDir()}).takeOut(t.Context(), test.check)
			if test.says == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.says)
		})
	}
	t.Run("the tests as they are", func(t *testing.T) {
		b := &bench{root: dir, scratch: t.TempDir()}
		good := check{in: "key", test: "TestOpens/not mallory"}
		var problems []string
		problem := func(text string) { problems = append(problems, text) }
		b.try(t.Context(), []check{good, good, {in: "key", test: "TestLength"}}, problem)
		require.Empty(t, problems)
		b.try(t.Context(), []check{good, {in: "key", test: "TestOpens/not bob"}}, problem)
		require.Len(t, problems, 1)
		assert.Contains(t, problems[0], "no such test")
	})
	untouched, err := os.ReadFile(filepath.Join(dir, "key", "key.go"))
	require.NoError(t, err)
	assert.Contains(t, string(untouched), open)
}

func TestWhatComesFirst(t *testing.T) {
	one, two, three := check{what: "one", in: "a"}, check{what: "two", in: "b"}, check{what: "three", in: "b"}
	slow := check{what: "slow", in: blackBox}
	all := []part{{"First", []check{one, two}}, {"Second", []check{three, slow}}}
	folders, n := byFolder(all, regexp.MustCompile(""))
	assert.Equal(t, [][]check{{slow}, {two, three}, {one}}, folders)
	assert.Equal(t, 4, n)
	folders, n = byFolder(all, regexp.MustCompile("First|slow"))
	assert.ElementsMatch(t, [][]check{{slow}, {two}, {one}}, folders)
	assert.Equal(t, 3, n)
	assert.Equal(t, []check{slow}, folders[0])
}
