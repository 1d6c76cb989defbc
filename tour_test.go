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

// TestTour: each example that the tour in doc.go names is there, and its link leads to its place on pkg.go.dev.
func TestTour(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^//   - [^\n]+: \[(\S+)\]$`).FindAllStringSubmatch(string(doc), -1)
	links := make(map[string]string) // by name
	for _, m := range regexp.MustCompile(`(?m)^// \[(\S+)\]: (\S+)$`).FindAllStringSubmatch(string(doc), -1) {
		links[m[1]] = m[2]
	}
	if len(named) < 25 || len(named) != len(links) {
		t.Errorf("got %d examples in the tour, want 25 or more; got %d links", len(named), len(links))
	}
	verified := 0 // examples whose output is compared
	for _, m := range named {
		name, link := m[1], links[m[1]]
		path, anchor, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(link, "https://pkg.go.dev/"+module), "/"), "#")
		pkg, fn, ok := strings.Cut(name, ".")
		if !ok {
			pkg, fn = ".", name
		}
		if filepath.Base(filepath.Join(".", path)) != pkg || anchor != anchorOf(fn) {
			t.Errorf("%s: got the link %q, want one to %s", name, link, anchorOf(fn))
		}
		found, output := example(t, filepath.Join(".", path), fn)
		if !found {
			t.Errorf("%s: there is no such example in %q", name, path)
		}
		if output {
			verified++
		}
	}
	if verified < 25 {
		t.Errorf("got %d examples with an output, want 25 or more", verified)
	}
}

// anchorOf returns the place of an example on a page of pkg.go.dev: Example_a is at example-package-A, ExampleT_M_a at
// example-T.M-A.
func anchorOf(fn string) string {
	parts := strings.Split(strings.TrimPrefix(fn, "Example"), "_")
	anchor := "example-package"
	if parts[0] != "" {
		anchor = "example-" + parts[0]
	}
	for _, part := range parts[1:] {
		if ast.IsExported(part) {
			anchor += "." + part
		} else {
			anchor += "-" + strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return anchor
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
