package smtp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// NewReply leaves out an enhanced code that isn't right, and nobody would notice.
func TestConstantReplies(t *testing.T) {
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 || !isNewReply(call.Fun) {
				return true
			}
			code, ok1 := call.Args[0].(*ast.BasicLit)
			enhanced, ok2 := call.Args[1].(*ast.BasicLit)
			if !ok1 || !ok2 {
				return true
			}
			found++
			c, _ := strconv.Atoi(code.Value)
			e, _ := strconv.Unquote(enhanced.Value)
			if got := smtp.NewReply(c, e, "").Enhanced.String(); got != e || c < 200 || c > 599 {
				t.Errorf("%s: NewReply(%d, %q, …): got the code %q", fset.Position(call.Pos()), c, e, got)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 40 {
		t.Errorf("got %d calls of NewReply, want those of the whole module", found)
	}
}

func isNewReply(fun ast.Expr) bool {
	switch f := fun.(type) {
	case *ast.Ident:
		return f.Name == "NewReply"
	case *ast.SelectorExpr:
		return f.Sel.Name == "NewReply"
	}
	return false
}
