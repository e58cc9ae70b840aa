// Command check-caddyfiles holds every Caddyfile of the repository to what the
// program itself says of it: that it is formatted, and that it is valid.
//
// It checks the files called Caddyfile, Caddyfile.* and *.caddyfile outside of
// testdata, and the fenced code blocks of the Markdown files whose info string
// is one of
//
//	caddyfile          formatted and valid
//	caddyfile snippet  a fragment: formatted
//	caddyfile refused  formatted, and refused by the adapter
//
// The checks work on a copy of the tree, in an environment of their own: nothing
// that a configuration creates outlives them, and each {env.NAME} and {$NAME}
// that a configuration names is set.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dummy is the value of the environment variables that a configuration names.
const dummy = "example-secret-for-validation"

func main() {
	binary := flag.String("binary", "bin/portcullis", "the program to check with")
	root := flag.String("root", ".", "the repository to check")
	flag.Parse()

	n, problems, err := run(*binary, *root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "check-caddyfiles:", err)
		os.Exit(2)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	fmt.Printf("check-caddyfiles: %d configurations checked, %d problems\n", n, len(problems))
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// run checks the repository at root. It returns how many configurations it
// found and what is wrong with them.
func run(binary, root string) (n int, problems []string, err error) {
	binary, err = filepath.Abs(binary)
	if err != nil {
		return 0, nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return 0, nil, err
	}
	files, err := list(root)
	if err != nil {
		return 0, nil, err
	}
	scratch, err := os.MkdirTemp("", "check-caddyfiles-")
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()

	c := checker{binary: binary, home: filepath.Join(scratch, "home")}
	if err := os.Mkdir(c.home, 0o700); err != nil {
		return 0, nil, err
	}
	tree := filepath.Join(scratch, "tree")
	if err := copyTree(root, tree, files); err != nil {
		return 0, nil, err
	}

	for _, name := range files {
		if slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		path := filepath.Join(tree, filepath.FromSlash(name))
		switch {
		case isCaddyfile(name):
			n++
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // not a regular file
			} else if err != nil {
				return 0, nil, err
			}
			problems = append(problems, c.check(source{name: name, kind: valid, text: string(text)}, path)...)
		case strings.HasSuffix(name, ".md"):
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return 0, nil, err
			}
			blocks, complaints := extract(name, string(text))
			problems = append(problems, complaints...)
			for _, b := range blocks {
				n++
				dir := filepath.Join(scratch, "block"+strconv.Itoa(n))
				if err := os.Mkdir(dir, 0o700); err != nil {
					return 0, nil, err
				}
				path := filepath.Join(dir, "Caddyfile")
				if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
					return 0, nil, err
				}
				problems = append(problems, c.check(b, path)...)
			}
		}
	}
	if n == 0 {
		return 0, nil, errors.New("the repository has no Caddyfile to check")
	}
	return n, problems, nil
}

// isCaddyfile tells whether a file is a Caddyfile by its name.
func isCaddyfile(name string) bool {
	base := name[strings.LastIndexByte(name, '/')+1:]
	return base == "Caddyfile" || strings.HasPrefix(base, "Caddyfile.") || strings.HasSuffix(base, ".caddyfile")
}

// list returns the slash-separated names of the files below root that git
// tracks or does not ignore. Outside of a git checkout it returns all that are
// not hidden or below bin.
func list(root string) ([]string, error) {
	out, err := exec.Command("git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z").Output()
	if err == nil {
		names := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
		slices.Sort(names)
		return slices.Compact(names), nil
	}
	var names []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && rel != "." && (rel == "bin" || strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			names = append(names, filepath.ToSlash(rel))
		}
		return nil
	})
	return names, err
}

// copyTree copies the named regular files from one directory to another. Those
// that git tracks but that are no longer there are left out.
func copyTree(from, to string, names []string) error {
	for _, name := range names {
		source := filepath.Join(from, filepath.FromSlash(name))
		info, err := os.Lstat(source)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		target := filepath.Join(to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kind is what is expected of a configuration.
type kind string

const (
	valid   kind = ""
	snippet kind = "snippet"
	refused kind = "refused"
)

// source is a configuration and where it comes from.
type source struct {
	name string // of the file, slash-separated
	line int    // of the opening fence in a Markdown file, or 0
	kind kind
	text string
}

// at returns where line n of the configuration is.
func (s source) at(n int) string {
	return fmt.Sprintf("%s:%d", s.name, s.line+n)
}

var (
	fence = regexp.MustCompile("^([ \t]*)(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")
	// An admonition or a quotation may hold a fence as well; the extraction does
	// not unwrap it, so that such a block would go unchecked.
	quotedFence = regexp.MustCompile("(?i)^[ \t]*>[> \t]*(`{3,}|~{3,})[ \t]*caddy")
)

// extract returns the Caddyfile blocks of a Markdown file, and what is wrong
// with their fences.
func extract(name, text string) (blocks []source, problems []string) {
	var (
		open   string // the fence that is open
		indent int
		cur    *source // the block in it, if it is a Caddyfile
		body   strings.Builder
		start  int
	)
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		m := fence.FindStringSubmatch(line)
		if open != "" {
			if m != nil && m[3] == "" && m[2][0] == open[0] && len(m[2]) >= len(open) {
				if cur != nil {
					cur.text = body.String()
					blocks = append(blocks, *cur)
				}
				open, cur = "", nil
			} else {
				rest := strings.TrimLeft(line, " ")
				cut := min(len(line)-len(rest), indent)
				body.WriteString(line[cut:] + "\n")
			}
			continue
		}
		if quotedFence.MatchString(line) {
			problems = append(problems, fmt.Sprintf("%s:%d: a Caddyfile block inside a quotation is not checked: move it out", name, i+1))
			continue
		}
		// The info string of a backtick fence holds no backtick; else it is inline code.
		if m == nil || (m[2][0] == '`' && strings.Contains(m[3], "`")) {
			continue
		}
		open, indent, start = m[2], len(m[1]), i+1
		body.Reset()
		words := strings.Fields(m[3])
		if len(words) == 0 || !strings.HasPrefix(strings.ToLower(words[0]), "caddy") {
			continue
		}
		switch info := strings.Join(words, " "); info {
		case "caddyfile", "caddyfile snippet", "caddyfile refused":
			k := kind(strings.TrimSpace(strings.TrimPrefix(info, "caddyfile")))
			cur = &source{name: name, line: start, kind: k}
		default:
			problems = append(problems, fmt.Sprintf(
				`%s:%d: the info string %q is none of "caddyfile", "caddyfile snippet", "caddyfile refused"`, name, start, info))
		}
	}
	if cur != nil {
		problems = append(problems, fmt.Sprintf("%s:%d: the block has no closing fence", name, start))
	}
	return blocks, problems
}

// checker runs the program on configurations.
type checker struct {
	binary string
	home   string // the home directory that the program sees
}

// check returns what is wrong with a configuration, which is also at path.
func (c checker) check(s source, path string) (problems []string) {
	complain := func(what, output string) {
		output = strings.ReplaceAll(relocate(s, path, output), path, s.name)
		where := s.name
		if s.line > 0 {
			where = s.at(0)
		}
		problems = append(problems, where+": "+what+indented(output))
	}

	if out, err := c.run(s, path, "fmt", "--diff", path); err != nil {
		complain("not formatted", out)
	}
	switch s.kind {
	case valid:
		if out, err := c.run(s, path, "validate", "--adapter", "caddyfile", "--config", path); err != nil {
			complain("not valid", out)
		}
	case refused:
		out, err := c.run(s, path, "adapt", "--adapter", "caddyfile", "--config", path)
		var exit *exec.ExitError
		switch {
		case err == nil:
			complain("adapts, but is shown as refused", "")
		case !errors.As(err, &exit):
			complain(err.Error(), out)
		}
	case snippet:
	}
	return problems
}

// run runs the program in the directory of the configuration and returns what
// it said.
func (c checker) run(s source, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append(environment(s.text),
		"PATH="+os.Getenv("PATH"),
		"HOME="+c.home,
		"TMPDIR="+c.home,
		"XDG_CONFIG_HOME="+filepath.Join(c.home, "config"),
		"XDG_DATA_HOME="+filepath.Join(c.home, "data"),
	)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer from %s: %w", args[0], ctx.Err())
	}
	return out.String(), err
}

var envName = regexp.MustCompile(`\{env\.([A-Za-z_][A-Za-z0-9_]*)\}|\{\$([A-Za-z_][A-Za-z0-9_]*)\}`)

// environment gives a value to the variables that a configuration names. A
// {$NAME:default} keeps its default.
func environment(text string) []string {
	var env []string
	for _, m := range envName.FindAllStringSubmatch(text, -1) {
		env = append(env, m[1]+m[2]+"="+dummy)
	}
	slices.Sort(env)
	return slices.Compact(env)
}

// relocate makes the positions in the copy of a configuration those in the
// repository.
func relocate(s source, path, output string) string {
	position := regexp.MustCompile(regexp.QuoteMeta(path) + `:([0-9]+)`)
	return position.ReplaceAllStringFunc(output, func(match string) string {
		n, err := strconv.Atoi(match[len(path)+1:])
		if err != nil {
			return match
		}
		return s.at(n)
	})
}

// indented sets off the output of a program below a message.
func indented(output string) string {
	output = strings.TrimLeft(strings.TrimRight(output, " \n"), "\n")
	if output == "" {
		return ""
	}
	return "\n\t" + strings.ReplaceAll(output, "\n", "\n\t")
}
