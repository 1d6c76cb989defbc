package postrider

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTour: each example that the tour in doc.go names is there, with the directory of its package before its name.
func TestTour(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(doc), "\n// # A tour\n")
	tour, _, _ = strings.Cut(tour, "\n// # ")
	lines := regexp.MustCompile(`(?m)^//   - .*$`).FindAllString(tour, -1)
	verified := 0 // examples whose output is compared
	for _, line := range lines {
		_, name, _ := strings.Cut(line, ": ")
		if program, ok := strings.CutSuffix(name, ", a program"); ok {
			if !isDir(program) {
				t.Errorf("%s: there is no such program", program)
			}
			continue
		}
		dir, fn, ok := strings.Cut(name, ".")
		if !ok {
			dir, fn = ".", name
		}
		found, output := example(t, dir, fn)
		if !found {
			t.Errorf("%q: there is no %s in %q", line, fn, dir)
		}
		if output {
			verified++
		}
	}
	if len(lines) < 50 || verified < 40 {
		t.Errorf("got %d lines, want 50 or more; got %d examples with an output, want 40 or more", len(lines), verified)
	}
}

// example looks for an example in the tests of a directory, and reports whether its output is compared.
func example(t *testing.T, dir, fn string) (found, output bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || f.Name.Name != fn {
				continue
			}
			for _, c := range file.Comments {
				if c.Pos() > f.Body.Pos() && c.End() < f.Body.End() && strings.HasPrefix(c.Text(), "Output:") {
					output = true
				}
			}
			return true, output
		}
	}
	return false, false
}
