package postrider

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/postrider/postrider"

// arrows lists, for each package that users import, which of the module's packages it may import.
var arrows = map[string][]string{
	"smtp":              nil,
	"mx":                {"smtp"},
	"client":            {"smtp", "mx"},
	"server":            {"smtp"},
	"server/servertest": {"smtp", "mx"},
	"queue":             {"smtp"},
	"queue/queuetest":   {"smtp", "queue"},
	"bounce":            {"smtp"},
	".":                 {"smtp", "mx", "client", "server", "queue", "bounce"},
}

func TestArrows(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(dir, "examples") || strings.HasPrefix(dir, "internal") {
			return nil
		}
		allowed, ok := arrows[dir]
		if !ok {
			t.Errorf("%s: no arrows are listed for package %s", name, dir)
		}
		seen[dir] = true
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if to, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: that arrow isn't drawn", name, to)
			}
			if path.Base(imported) == "testing" && !strings.HasSuffix(dir, "test") {
				t.Errorf("%s imports testing", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range arrows {
		if !seen[dir] {
			t.Errorf("package %s isn't there", dir)
		}
	}
}

// TestDependencies pins the modules that an importer of the root package gets.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	got = slices.Compact(got)
	want := []string{"github.com/emersion/go-sasl", module, "golang.org/x/net", "golang.org/x/text"}
	if !slices.Equal(got, want) {
		t.Errorf("got modules %q, want %q", got, want)
	}
}
