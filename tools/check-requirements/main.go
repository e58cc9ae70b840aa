// Command check-requirements holds the tests to the requirements that the
// documentation lists: each has a test that names it, or a reason why not.
//
// A list is a Markdown file with a table for each section. A row is a
// requirement: its ID (a letter, which is that of the section, and two digits),
// its level, where it comes from, what it says, and why no test names it:
//
//	| A01 | MUST | RFC 6750 2.1 | The token is in the header. | |
//	| A02 | own | | Spoons bend. | There is no spoon. |
//	| A03 | MAY | RFC 8693 | Tokens are exchanged. | not yet |
//
// A test names a requirement by its ID, as a word of a string or of the name of
// the test. Comments do not count. The tests of the authorization server name those
// of its list; others do so with a prefix, as in AS-A01 and TestAS_A01.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// list is a list of requirements, and of which of them nothing may be missing.
type list struct {
	file     string // slash-separated
	without  string // the folder whose tests belong to another list
	within   string // the folder whose tests belong to this list; others name its IDs with the prefix AS
	enforced string // the letters of the sections of which nothing may be missing
}

var lists = []list{
	{file: "docs/requirements.md", without: "authserver", enforced: "ABCDEFGHIJKL"},
	{file: "docs/requirements-authorization-server.md", within: "authserver", enforced: "ABCDEFGHIJKLMNOPQR"},
}

func main() {
	root := flag.String("root", ".", "the repository to check")
	flag.Parse()

	failed := false
	for _, l := range lists {
		r, err := check(*root, l)
		if err != nil {
			fmt.Fprintln(os.Stderr, "check-requirements:", err)
			os.Exit(2)
		}
		for _, problem := range r.problems {
			fmt.Fprintln(os.Stderr, problem)
		}
		for _, note := range r.notes {
			fmt.Println(note)
		}
		fmt.Printf("check-requirements: %d requirements in %s, %d problems\n", r.requirements, l.file, len(r.problems))
		failed = failed || len(r.problems) > 0
	}
	if failed {
		os.Exit(1)
	}
}

// report is what there is to say of a list.
type report struct {
	requirements int
	problems     []string
	notes        []string // on the sections that are not enforced
}

// check compares a list with the tests of the repository at root.
func check(root string, l list) (report, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(l.file)))
	if err != nil {
		return report{}, err
	}
	requirements, problems := read(l.file, string(text))
	if len(requirements) == 0 {
		return report{}, fmt.Errorf("%s holds no requirement", l.file)
	}
	names, err := namesIn(root, l)
	if err != nil {
		return report{}, err
	}
	r := compare(l, requirements, names)
	r.problems = append(problems, r.problems...)
	return r, nil
}

// requirement is a row of a list.
type requirement struct {
	id       string
	at       string // file and line
	untested string // why no test names it
}

func (r requirement) section() string { return r.id[:1] }

// notYet tells whether what is required is not built yet.
func (r requirement) notYet() bool { return strings.HasPrefix(r.untested, "not yet") }

var (
	heading = regexp.MustCompile(`^## ([A-Z])\. `)
	id      = regexp.MustCompile(`^[A-Z][0-9]{2}$`)
	levels  = []string{"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "own", "open"}
)

// read reads the rows of a list. It returns what is wrong with them, too.
func read(file, text string) (requirements []requirement, problems []string) {
	section, known := "", make(map[string]bool)
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", file, i+1)
		complain := func(format string, arguments ...any) {
			problems = append(problems, at+": "+fmt.Sprintf(format, arguments...))
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		cells := strings.Split(line, "|")
		if section == "" || len(cells) == 1 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[1] == "ID" || strings.Trim(cells[1], "-") == "" {
			continue
		}
		if len(cells) != 7 || cells[0] != "" || cells[6] != "" {
			complain("a row has five cells: ID, level, source, requirement, why it is not tested")
			continue
		}
		r := requirement{id: cells[1], at: at, untested: cells[5]}
		switch {
		case !id.MatchString(r.id):
			complain("%q is no ID", r.id)
			continue
		case r.section() != section:
			complain("%s stands in section %s", r.id, section)
		case known[r.id]:
			complain("%s is there already", r.id)
			continue
		case !slices.Contains(levels, cells[2]):
			complain("the level of %s is none of %s", r.id, strings.Join(levels, ", "))
		case cells[4] == "":
			complain("%s requires nothing", r.id)
		}
		known[r.id] = true
		requirements = append(requirements, r)
	}
	return requirements, problems
}

// name is an ID in a test.
type name struct {
	id string
	at string // file and line
}

// namesIn lists the IDs of a list that the tests below root name.
func namesIn(root string, l list) ([]name, error) {
	var names []name
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		switch {
		case entry.IsDir() && relative != "." && (relative == l.without || relative == "bin" || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(relative, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := namesOf(relative, source, l.within != "" && !strings.HasPrefix(relative, l.within+"/"))
		names = append(names, found...)
		return err
	})
	if err == nil && len(names) == 0 {
		err = errors.New("no test names a requirement")
	}
	return names, err
}

var (
	// A word may have a hyphen in it: AS-A01 is a requirement of the authorization server.
	word = regexp.MustCompile(`[\w%-]+`)
	// part is what may be an ID in the name of a test, such as TestA01Bearer, with all that belongs to the same word.
	part = regexp.MustCompile(`[A-Z][0-9]+[a-z]*`)
	test = regexp.MustCompile(`^(?:Test|Fuzz)(AS_)?`)
	// asPrefix is what the ID of a requirement of the authorization server has before it in a word of another's test.
	asPrefix = regexp.MustCompile(`^AS[-_]`)
)

// namesOf lists the IDs in the source of tests: those with a prefix, or those without.
func namesOf(file string, source []byte, prefixed bool) (names []name, err error) {
	positions := token.NewFileSet()
	tree, err := parser.ParseFile(positions, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	collect := func(words *regexp.Regexp, text string, at token.Pos) {
		for _, w := range words.FindAllString(text, -1) {
			if prefixed && words == word {
				prefix := asPrefix.FindString(w)
				if prefix == "" {
					continue
				}
				w = w[len(prefix):]
			}
			if id.MatchString(w) {
				names = append(names, name{w, fmt.Sprintf("%s:%d", file, positions.Position(at).Line)})
			}
		}
	}
	ast.Inspect(tree, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.BasicLit:
			if node.Kind != token.STRING {
				return true
			}
			text, unquoteErr := strconv.Unquote(node.Value)
			err = cmp.Or(err, unquoteErr)
			collect(word, text, node.Pos())
		case *ast.FuncDecl:
			if m := test.FindStringSubmatch(node.Name.Name); m != nil && prefixed == (m[1] != "") {
				collect(part, node.Name.Name, node.Pos())
			}
		}
		return true
	})
	return names, err
}

// compare judges the requirements of a list by the tests that name them.
func compare(l list, requirements []requirement, names []name) report {
	r := report{requirements: len(requirements)}
	tested, known := make(map[string]string), make(map[string]bool)
	for _, n := range names {
		if tested[n.id] == "" {
			tested[n.id] = n.at
		}
	}
	var sections []string
	bySection := make(map[string]*tally)
	for _, q := range requirements {
		known[q.id] = true
		section, by := bySection[q.section()], tested[q.id]
		if section == nil {
			section = new(tally)
			bySection[q.section()] = section
			sections = append(sections, q.section())
		}
		section.all++
		switch {
		case by != "" && q.untested != "" && !q.notYet():
			r.problems = append(r.problems, fmt.Sprintf("%s: %s is tested in %s: strike out why it is not", q.at, q.id, by))
		case strings.Contains(l.enforced, q.section()) && q.notYet():
			r.problems = append(r.problems, fmt.Sprintf("%s: %s is not there yet, but section %s is enforced", q.at, q.id, q.section()))
		case by != "" && !q.notYet():
			section.tested++
		case q.notYet():
			section.notYet = append(section.notYet, q.id)
		case q.untested != "":
			section.excepted++
		default:
			section.missing = append(section.missing, q.id)
			if strings.Contains(l.enforced, q.section()) {
				r.problems = append(r.problems, fmt.Sprintf("%s: no test names %s, and there is no reason why", q.at, q.id))
			}
		}
	}
	for _, n := range names {
		if !known[n.id] && bySection[n.id[:1]] != nil {
			r.problems = append(r.problems, fmt.Sprintf("%s: %s is in no list", n.at, n.id))
		}
	}
	for _, s := range sections {
		if !strings.Contains(l.enforced, s) {
			r.notes = append(r.notes, "section "+s+": "+bySection[s].String())
		}
	}
	return r
}

// tally is how far a section is.
type tally struct {
	all, tested, excepted int
	notYet, missing       []string
}

func (s *tally) String() string {
	text := fmt.Sprintf("%d of %d tested, %d excepted", s.tested, s.all, s.excepted)
	if len(s.notYet) > 0 {
		text += "; not yet: " + strings.Join(s.notYet, " ")
	}
	if len(s.missing) > 0 {
		text += "; missing: " + strings.Join(s.missing, " ")
	}
	return text
}
