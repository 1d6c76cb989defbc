package faults

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// fault is a small change of the code.
type fault struct {
	number int
	key    string // file, function, kind and text; of several alike in a function, the second has "#2" behind it, and so on
	target target
}

// planter plants the faults of one file.
type planter struct {
	tree   *tree
	target target
	p      *parsed
	name   string // of the file
	source string
	f      *ast.File
	fn     string // the function that it is in
	spans  []span
	seen   map[string]int
}

// span puts code around a part of the source. With instead, it replaces it.
type span struct {
	from, to  int
	pre, post string
	instead   bool
	serial    int
}

// add makes a fault of n. pre and post have %d for its number.
func (p *planter) add(n ast.Node, kind, text, pre, post string) {
	p.addSpan(p.offset(n.Pos()), p.offset(n.End()), kind, text, pre, post)
}

func (p *planter) addSpan(from, to int, kind, text, pre, post string) int {
	number := len(p.tree.faults) + 1
	key := strings.TrimSuffix(fmt.Sprintf("%s %s: %s: %s", p.name, p.fn, kind, oneLine(text)), ": ")
	p.seen[key]++
	if n := p.seen[key]; n > 1 {
		key += fmt.Sprintf(" #%d", n)
	}
	p.tree.faults = append(p.tree.faults, fault{number, key, p.target})
	fill := func(s string) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(number)) }
	p.spans = append(p.spans, span{from: from, to: to, pre: fill(pre), post: fill(post), serial: len(p.spans)})
	return number
}

func (p *planter) replace(from, to int, with string) {
	p.spans = append(p.spans, span{from: from, to: to, pre: with, instead: true, serial: len(p.spans)})
}

// oneLine shortens code to what tells it from other code nearby.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 90 {
		return string(r[:90]) + "…"
	}
	return s
}

func (p *planter) offset(pos token.Pos) int { return p.tree.fset.Position(pos).Offset }

func (p *planter) text(n ast.Node) string { return p.source[p.offset(n.Pos()):p.offset(n.End())] }

// render returns the source with all faults in it.
func (p *planter) render() string {
	begin, end := map[int][]span{}, map[int][]span{}
	for _, s := range p.spans {
		begin[s.from] = append(begin[s.from], s)
		if !s.instead && s.to > s.from {
			end[s.to] = append(end[s.to], s)
		}
	}
	var b strings.Builder
	for i := 0; i <= len(p.source); i++ {
		slices.SortFunc(end[i], func(a, b span) int { return cmp.Or(b.from-a.from, b.serial-a.serial) })
		for _, s := range end[i] {
			b.WriteString(s.post)
		}
		slices.SortFunc(begin[i], func(a, b span) int { return cmp.Or(b.to-a.to, a.serial-b.serial) })
		skip := 0
		for _, s := range begin[i] {
			b.WriteString(s.pre)
			if s.instead {
				skip = s.to - s.from
			}
		}
		if skip > 0 {
			i += skip - 1
		} else if i < len(p.source) {
			b.WriteByte(p.source[i])
		}
	}
	return b.String()
}

// file plants the faults of all functions.
func (p *planter) file(f *ast.File) {
	p.f = f
	for _, decl := range f.Decls {
		d, ok := decl.(*ast.FuncDecl)
		if !ok || d.Body == nil {
			continue
		}
		p.fn = d.Name.Name
		if d.Recv != nil {
			p.fn = strings.TrimPrefix(p.text(d.Recv.List[0].Type), "*") + "." + p.fn
		}
		if len(d.Body.List) > 0 {
			at := p.offset(d.Body.Lbrace) + 1
			p.addSpan(at, at, "return at once", "", "if fault_(%d) { return "+p.zeros(d.Type)+" };", "")
		}
		p.walk(d.Body)
	}
}

// zeros returns the zero values of a function's results.
func (p *planter) zeros(f *ast.FuncType) string {
	var values []string
	if f.Results != nil {
		for _, field := range f.Results.List {
			for range max(1, len(field.Names)) {
				values = append(values, "*new("+p.text(field.Type)+")")
			}
		}
	}
	return strings.Join(values, ", ")
}

// walk plants the faults of a body.
func (p *planter) walk(body ast.Node) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.ArrayType:
			return false
		case *ast.BlockStmt:
			p.statements(n.List)
		case *ast.CaseClause:
			p.statements(n.Body)
			for _, e := range n.List {
				if p.isBool(e) && !p.isConst(e) {
					p.condition(e)
				}
				if p.isConst(e) { // it may have to be one
					continue
				}
				p.walk(e)
			}
			for _, s := range n.Body {
				p.walk(s)
			}
			return false
		case *ast.CommClause:
			p.statements(n.Body)
		case *ast.IfStmt:
			p.condition(n.Cond)
		case *ast.ForStmt:
			if n.Cond != nil {
				p.add(n.Cond, "never", p.text(n.Cond), "(!fault_(%d) && (", "))")
			}
		case *ast.KeyValueExpr:
			p.walk(n.Value)
			return false
		}
		if e, ok := n.(ast.Expr); ok {
			return p.expression(e)
		}
		return true
	})
}

// condition makes the condition of a branch always or never true.
func (p *planter) condition(e ast.Expr) {
	p.add(e, "always", p.text(e), "(fault_(%d) || (", "))")
	p.add(e, "never", p.text(e), "(!fault_(%d) && (", "))")
}

// statements drops statements.
func (p *planter) statements(list []ast.Stmt) {
	for _, s := range list {
		kind := "drop"
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
		case *ast.ExprStmt:
			if p.hangs(s.X) {
				continue
			}
		case *ast.DeferStmt:
			if p.hangs(s.Call) {
				continue
			}
		case *ast.BranchStmt:
			if s.Tok == token.FALLTHROUGH { // it can't be in another statement
				continue
			}
		case *ast.IncDecStmt:
		default:
			continue
		}
		p.add(s, kind, p.text(s), "if !fault_(%d) { ", " }")
	}
}

// hangs reports whether nothing goes on without the call, or whether it ends the function.
func (p *planter) hangs(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return true
	}
	switch fun := call.Fun.(type) {
	case *ast.SelectorExpr:
		switch fun.Sel.Name {
		case "Lock", "Unlock", "RLock", "RUnlock", "Wait", "lock":
			return true
		}
	case *ast.Ident:
		return fun.Name == "panic"
	}
	return false
}

func (p *planter) isConst(e ast.Expr) bool { return p.p.info.Types[e].Value != nil }

func (p *planter) isBool(e ast.Expr) bool {
	b, ok := p.p.info.TypeOf(e).Underlying().(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0
}

// expression plants the faults of an expression, and reports whether to go on inside of it.
func (p *planter) expression(e ast.Expr) bool {
	tv := p.p.info.Types[e]
	if tv.Value != nil {
		p.constant(e, tv)
		return false
	}
	b, ok := e.(*ast.BinaryExpr)
	if !ok {
		return true
	}
	equal := fmt.Sprintf("fault_(%%d) && (%s) == (%s)", p.text(b.X), p.text(b.Y))
	switch b.Op {
	case token.LSS, token.GTR:
		p.add(b, "also equal", p.text(b), "(", " || "+equal+")")
	case token.LEQ, token.GEQ:
		p.add(b, "not equal", p.text(b), "(", " && !("+equal+"))")
	case token.LAND:
		for _, x := range []ast.Expr{b.X, b.Y} {
			p.add(x, "without", p.text(x)+" of "+p.text(b), "(fault_(%d) || (", "))")
		}
	case token.LOR:
		for _, x := range []ast.Expr{b.X, b.Y} {
			p.add(x, "without", p.text(x)+" of "+p.text(b), "(!fault_(%d) && (", "))")
		}
	case token.ADD, token.SUB:
		basic, ok := tv.Type.Underlying().(*types.Basic)
		if !ok || basic.Info()&types.IsNumeric == 0 || basic.Info()&types.IsUntyped != 0 {
			break
		}
		kind, call := "minus", "plus_(%d, "
		if b.Op == token.SUB {
			kind, call = "plus", "minus_(%d, "
		}
		p.add(b, kind, p.text(b), call, ")")
		p.replace(p.offset(b.OpPos), p.offset(b.OpPos)+1, ",")
	}
	return true
}

// constant adds one to a number, or negates true and false.
func (p *planter) constant(e ast.Expr, tv types.TypeAndValue) {
	basic, ok := tv.Type.Underlying().(*types.Basic)
	switch {
	case !ok:
	case basic.Kind() == types.Bool:
		p.add(e, "not", p.text(e), "(fault_(%d) != (", "))")
	case basic.Info()&types.IsInteger != 0 && basic.Info()&types.IsUntyped == 0 && tv.Value.Kind() == constant.Int:
		literal := false
		ast.Inspect(e, func(n ast.Node) bool {
			_, is := n.(*ast.BasicLit)
			literal = literal || is
			return true
		})
		if name := p.typeName(tv.Type); literal && name != "" {
			p.add(e, "one more", p.text(e), "inc_["+name+"](%d, ", ")")
		}
	}
}

// typeName returns the type as the file would write it, "" if it can't.
func (p *planter) typeName(t types.Type) string {
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == p.p.types {
		return types.TypeString(t, types.RelativeTo(p.p.types))
	}
	pkg := named.Obj().Pkg()
	for _, spec := range p.f.Imports {
		if spec.Name == nil && spec.Path.Value == strconv.Quote(pkg.Path()) && named.Obj().Exported() {
			return pkg.Name() + "." + named.Obj().Name()
		}
	}
	return ""
}
