package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		ids        []string
		problems   []string
	}{
		{
			"two sections",
			"# T\n| a | table |\n## X. One\n\n| ID | level |\n| --- | - |\n| X01 | MUST | RFC 1 | A. | |\n## Y. Two\n| Y01 | own | | B. | why |\n",
			[]string{"X01", "Y01"},
			nil,
		},
		{"too few cells", "## X. One\n| X01 | MUST | RFC 1 | A. |\n", nil, []string{"a.md:2: a row has five cells"}},
		{"too many cells", "## X. One\n| X01 | MUST | RFC 1 | A. | a|b |\n", nil, []string{"a.md:2: a row has five cells"}},
		{"no ID", "## X. One\n| X1 | MUST | RFC 1 | A. | |\n", nil, []string{`a.md:2: "X1" is no ID`}},
		{"twice", "## X. One\n| X01 | MUST | | A. | |\n| X01 | MUST | | A. | |\n", []string{"X01"}, []string{"a.md:3: X01 is there already"}},
		{"in another section", "## X. One\n| Y01 | MUST | | A. | |\n", []string{"Y01"}, []string{"a.md:2: Y01 stands in section X"}},
		{"unknown level", "## X. One\n| X01 | WILL | | A. | |\n", []string{"X01"}, []string{"a.md:2: the level of X01"}},
		{"no requirement", "## X. One\n| X01 | MAY | | | |\n", []string{"X01"}, []string{"a.md:2: X01 requires nothing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			requirements, problems := read("a.md", tc.text)
			var ids []string
			for _, r := range requirements {
				ids = append(ids, r.id)
			}
			if !slices.Equal(ids, tc.ids) {
				t.Errorf("got %q, want %q", ids, tc.ids)
			}
			if !slices.EqualFunc(problems, tc.problems, strings.HasPrefix) {
				t.Errorf("got %q, want %q", problems, tc.problems)
			}
		})
	}
}

func TestNamesOf(t *testing.T) {
	for _, tc := range []struct {
		name, source string
		want         []string
		prefixed     []string
	}{
		{"the name of a case", `var _ = "X01 a case"`, []string{"X01"}, nil},
		{"several", "var _ = `X01 X02: words,X03`", []string{"X01", "X02", "X03"}, nil},
		{"a comment", "// X01\nvar _ = 1 /* X02 */", nil, nil},
		{"part of a word", `var _ = "X012 aX01 X01a X_X01 %X01"`, nil, nil},
		{"an escape", `var _ = "\u0058\x30\x31"`, []string{"X01"}, nil},
		{"the name of a test", "func TestX01AndX02(t *testing.T) {}", []string{"X01", "X02"}, nil},
		{"the name of a fuzz test", "func Fuzz_X01X02(f *testing.F) {}", []string{"X01", "X02"}, nil},
		{"a word of the name of a test", "func TestSHA256AndX01st(t *testing.T) {}", nil, nil},
		{"a case with a prefix", `var _ = "AS-X01, AS-X012 X02: AS_X03"`, []string{"X02"}, []string{"X01", "X03"}},
		{"a test with a prefix", "func TestAS_X01_X02(t *testing.T) {}", nil, []string{"X01", "X02"}},
		{"the name of a helper", "func helperX01() {}", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for prefixed, want := range map[bool][]string{false: tc.want, true: tc.prefixed} {
				names, err := namesOf("a_test.go", []byte("package a\n"+tc.source+"\n"), prefixed)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, n := range names {
					got = append(got, n.id)
				}
				if !slices.Equal(got, want) {
					t.Errorf("prefixed %t: got %q, want %q", prefixed, got, want)
				}
			}
		})
	}
	if _, err := namesOf("a_test.go", []byte("package"), false); err == nil {
		t.Error("what is no Go is not refused")
	}
}

func TestCompare(t *testing.T) {
	row := func(id, untested string) requirement { return requirement{id, "list:" + id, untested} }
	for _, tc := range []struct {
		name         string
		requirements []requirement
		names        []name
		problems     []string
		notes        []string
	}{
		{"tested", []requirement{row("X01", "")}, []name{{"X01", "a:1"}}, nil, nil},
		{"not tested", []requirement{row("X01", "")}, nil, []string{"list:X01: no test names X01, and there is no reason why"}, nil},
		{"excepted", []requirement{row("X01", "another's")}, nil, nil, nil},
		{
			"excepted and tested",
			[]requirement{row("X01", "another's"), row("Y01", "another's")},
			[]name{{"X01", "a:1"}, {"X01", "a:2"}, {"Y01", "b:1"}},
			[]string{
				"list:X01: X01 is tested in a:1: strike out why it is not",
				"list:Y01: Y01 is tested in b:1: strike out why it is not",
			},
			[]string{"section Y: 0 of 1 tested, 0 excepted"},
		},
		{"not yet", []requirement{row("X01", "not yet")}, nil, []string{"list:X01: X01 is not there yet, but section X is enforced"}, nil},
		{
			"an unknown ID",
			[]requirement{row("X01", ""), row("Y01", "")},
			[]name{{"X01", "a:1"}, {"X02", "a:2"}, {"Y02", "a:3"}, {"Z01", "a:4"}},
			[]string{"a:2: X02 is in no list", "a:3: Y02 is in no list"},
			[]string{"section Y: 0 of 1 tested, 0 excepted; missing: Y01"},
		},
		{
			"a section that is not enforced",
			[]requirement{row("Y01", ""), row("Y02", "not yet: soon"), row("Y03", "not yet"), row("Y04", "another's"), row("Y05", "")},
			[]name{{"Y01", "a:1"}, {"Y02", "a:1"}},
			nil,
			[]string{"section Y: 1 of 5 tested, 1 excepted; not yet: Y02 Y03; missing: Y05"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := compare(list{enforced: "X"}, tc.requirements, tc.names)
			want := report{len(tc.requirements), tc.problems, tc.notes}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := list{file: "docs/list.md", without: "other", enforced: "X"}
	write("docs/list.md", "## X. One\n")
	if _, err := check(root, l); err == nil {
		t.Error("an empty list is not refused")
	}
	write("docs/list.md", "## X. One\n| X01 | MUST | | A. | |\n| X02 | MUST | | B. | |\n| X3 | MUST | | C. | |\n")
	if _, err := check(root, l); err == nil {
		t.Error("a repository whose tests name nothing is not refused")
	}
	write("a/a_test.go", "package a\n\nvar _ = \"X01\"\n")
	for _, name := range []string{"other/a_test.go", ".hidden/a_test.go", "bin/a_test.go", "a/a.go"} {
		write(name, "package a\n\nvar _ = \"X02\"\n")
	}
	r, err := check(root, l)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`docs/list.md:4: "X3" is no ID`, "docs/list.md:3: no test names X02, and there is no reason why"}
	if !slices.Equal(r.problems, want) {
		t.Errorf("got %q, want %q", r.problems, want)
	}
	l = list{file: "docs/list.md", within: "other", enforced: "X"}
	write("docs/list.md", "## X. One\n| X01 | MUST | | A. | |\n| X02 | MUST | | B. | |\n| X03 | MUST | | C. | |\n")
	write("a/b_test.go", "package a\n\nvar _ = \"AS-X03\"\n")
	r, err = check(root, l)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"docs/list.md:2: no test names X01, and there is no reason why"}; !slices.Equal(r.problems, want) {
		t.Errorf("got %q, want %q", r.problems, want)
	}
	write("b/b_test.go", "package b\n\nvar _ =\n")
	if _, err := check(root, l); err == nil {
		t.Error("a test that cannot be parsed is not refused")
	}
}
