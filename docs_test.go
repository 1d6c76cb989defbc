package postrider

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs: the pages in docs name what there is. Each `code` is a name of this module with its package, such as
// `mx.Route.TLS`, a name of the root package, a flag of examples/relay, or a directory. The first cell of a table's row is
// about another program, and isn't looked at.
func TestDocs(t *testing.T) {
	names := exported(t)
	flags := relayFlags(t)
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got %d pages, %v", len(pages), err)
	}
	code := regexp.MustCompile("`([^`]+)`")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		fenced := false
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if fenced {
				continue
			}
			if strings.HasPrefix(line, "|") {
				_, line, _ = strings.Cut(line[1:], "|")
			}
			for _, m := range code.FindAllStringSubmatch(line, -1) {
				if !names[m[1]] && !flags[m[1]] && !isDir(m[1]) {
					t.Errorf("%s:%d: there is no %s", page, i+1, m[1])
				}
			}
		}
	}
}

// TestDocsSnippets compiles the Go snippets of the pages.
func TestDocsSnippets(t *testing.T) {
	text, err := os.ReadFile("docs/go-libraries.md")
	if err != nil {
		t.Fatal(err)
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(snippets) != 1 {
		t.Fatalf("got %d snippets, want 1", len(snippets))
	}
	compile(t, snippets[0][1], "func snippet(ctx context.Context, user, password, from, to, message string) error {\n"+
		snippets[0][1]+"_ = id\nreturn err\n}")
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// relayFlags returns the flags of examples/relay, each with its "-".
func relayFlags(t *testing.T) map[string]bool {
	t.Helper()
	flags := make(map[string]bool)
	flag := regexp.MustCompile(`set\.[A-Z]\w*\((?:&f\.\w+, )?"([a-z-]+)"`)
	for _, file := range []string{"examples/relay/main.go", "examples/internal/relayd/flags.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range flag.FindAllStringSubmatch(string(source), -1) {
			flags["-"+m[1]] = true
		}
	}
	if !flags["-spool"] || !flags["-smarthost"] {
		t.Fatalf("got the flags %v: the pattern finds others no more", flags)
	}
	return flags
}

// exported returns the exported names of all packages: "mx", "mx.Route", "mx.Route.TLS". Those of the root package have
// no package before them: "Relay.Queue".
func exported(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "internal" || d.Name() == "testdata" || name == "examples") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		prefix := ""
		if dir := filepath.Dir(name); dir != "." {
			names[file.Name.Name] = true
			prefix = file.Name.Name + "."
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				recv := ""
				if d.Recv != nil {
					recv = typeName(d.Recv.List[0].Type) + "."
				}
				if d.Name.IsExported() {
					names[prefix+recv+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declared(names, prefix, spec)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// declared adds the names of a declaration, and the fields or methods of a type.
func declared(names map[string]bool, prefix string, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			names[prefix+n.Name] = n.IsExported()
		}
	case *ast.TypeSpec:
		names[prefix+spec.Name.Name] = spec.Name.IsExported()
		var members *ast.FieldList
		switch typ := spec.Type.(type) {
		case *ast.StructType:
			members = typ.Fields
		case *ast.InterfaceType:
			members = typ.Methods
		default:
			return
		}
		for _, f := range members.List {
			for _, n := range f.Names {
				names[prefix+spec.Name.Name+"."+n.Name] = spec.Name.IsExported() && n.IsExported()
			}
		}
	}
}

func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
