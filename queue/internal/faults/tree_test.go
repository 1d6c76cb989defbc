package faults

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// workerCount is how many tests run at a time: some of them hang.
var workerCount = 2 * runtime.NumCPU()

// tree is the module with the faults that are planted in it.
type tree struct {
	root     string // its directory
	fset     *token.FileSet
	packages map[string]*parsed // by directory
	faults   []fault
	overlaid map[string]string // by name
	suites   map[string]*suite // by directory
}

// loadTree parses the targets.
func loadTree(t *testing.T) *tree {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	tr := &tree{root: root, fset: token.NewFileSet(), packages: map[string]*parsed{}, overlaid: map[string]string{}, suites: map[string]*suite{}}
	type listed struct {
		ImportPath, Export string
		GoFiles            []string
	}
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export,GoFiles"}
	for _, target := range targets {
		args = append(args, "./"+target.dir)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	exports, files := map[string]string{}, map[string][]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[l.ImportPath], files[l.ImportPath] = l.Export, l.GoFiles
	}
	imports := importer.ForCompiler(tr.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, target := range targets {
		p := &parsed{files: map[string]*ast.File{}, sources: map[string]string{}}
		var asts []*ast.File
		for _, name := range files[module+target.dir] {
			source, err := os.ReadFile(filepath.Join(root, target.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(tr.fset, target.dir+"/"+name, source, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			p.files[name], p.sources[name] = f, string(source)
			asts = append(asts, f)
		}
		p.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
		if p.types, err = (&types.Config{Importer: imports}).Check(module+target.dir, tr.fset, asts, p.info); err != nil {
			t.Fatal(err)
		}
		tr.packages[target.dir] = p
	}
	return tr
}

// writeOverlay writes the files with faults, and what tells the compiler of them.
func (tr *tree) writeOverlay(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	overlay := map[string]map[string]string{"Replace": {}}
	for name, source := range tr.overlaid {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(tr.root, name)] = file
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// suite builds the tests of a package.
func (tr *tree) suite(t *testing.T, overlay, of string) *suite {
	t.Helper()
	s := &suite{dir: filepath.Join(tr.root, of), binary: filepath.Join(t.TempDir(), path.Base(of)+".test")}
	cmd := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", s.binary, "./"+of)
	cmd.Dir = tr.root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s with faults doesn't compile: %v\n%s", of, err, out)
	}
	return s
}

// build builds the tests for the faults, and runs each without a fault: it must pass, and tells which faults it reaches.
func (tr *tree) build(t *testing.T, faults []fault) {
	t.Helper()
	overlay := tr.writeOverlay(t)
	for _, f := range faults {
		for _, of := range f.target.tests {
			if tr.suites[of] == nil {
				begun := time.Now()
				tr.suites[of] = tr.suite(t, overlay, of)
				built := time.Now()
				tr.suites[of].survey(t)
				t.Logf("%s is built in %v, and its tests take %v", of, built.Sub(begun).Round(time.Second), time.Since(built).Round(time.Second))
			}
		}
	}
}

// suite is the tests of a package.
type suite struct {
	dir, binary string
	tests       []test // the quickest first
}

type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool // the numbers of faults
}

// survey runs each test alone.
func (s *suite) survey(t *testing.T) {
	out, err := exec.Command(s.binary, "-test.list=^(Test|Fuzz|Example)").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := make(chan string)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range workerCount {
		workers.Go(func() {
			for name := range names {
				file := filepath.Join(t.TempDir(), "reached")
				begun := time.Now()
				out, err := s.output(t, -1, []string{name}, patience, "POSTRIDER_REACHED="+file)
				one := test{name: name, took: time.Since(begun), reaches: map[int]bool{}}
				if err != nil {
					t.Errorf("%s fails without a fault: %v\n%s", name, err, out)
					continue // it would be found to fail with any
				}
				reached, _ := os.ReadFile(file) // none: it reaches nothing
				for _, n := range strings.Fields(string(reached)) {
					n, _ := strconv.Atoi(n)
					one.reaches[n] = true
				}
				mu.Lock()
				s.tests = append(s.tests, one)
				mu.Unlock()
			}
		})
	}
	for _, name := range strings.Fields(string(out)) {
		if !slices.Contains(leftOut, name) {
			names <- name
		}
	}
	close(names)
	workers.Wait()
	slices.SortFunc(s.tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })
}

// reached reports whether a test comes by a fault.
func (tr *tree) reached(f fault) bool {
	return slices.ContainsFunc(f.target.tests, func(of string) bool { return len(tr.suites[of].batches(f.number)) > 0 })
}

// batch is tests that run together.
type batch struct {
	tests []string
	take  time.Duration // without a fault
}

// batches returns the tests that reach a fault, the quickest first. Each batch takes about as long as all before it.
func (s *suite) batches(number int) (batches []batch) {
	var sum, last time.Duration
	for _, one := range s.tests {
		if !one.reaches[number] {
			continue
		}
		if len(batches) == 0 || sum > 2*last+500*time.Millisecond {
			batches, last = append(batches, batch{}), sum
		}
		sum += one.took
		b := &batches[len(batches)-1]
		b.tests = append(b.tests, one.name)
		b.take += one.took
	}
	return batches
}

// try runs the tests against a fault. It returns what found it, "" if nothing did.
func (tr *tree) try(t *testing.T, f fault) string {
	for _, of := range f.target.tests {
		s := tr.suites[of]
		for _, b := range s.batches(f.number) {
			out, err := s.output(t, f.number, b.tests, limit+10*b.take)
			if err == nil {
				continue
			}
			m := slices.DeleteFunc(failed.FindStringSubmatch(out), func(s string) bool { return s == "" })
			if len(m) == 0 {
				return err.Error()
			}
			return m[len(m)-1]
		}
	}
	return ""
}

var failed = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)|^(panic: .*|fatal error: .*)$`)

// output runs tests with a fault.
func (s *suite) output(t *testing.T, number int, tests []string, within time.Duration, env ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	temp, err := os.MkdirTemp("", "faults")
	if err != nil {
		t.Error(err)
		return "", err
	}
	defer os.RemoveAll(temp)
	cmd := exec.CommandContext(ctx, "sh", "-c", `ulimit -v 8000000; exec "$0" "$@"`, s.binary,
		"-test.short", "-test.failfast", "-test.run=^("+strings.Join(tests, "|")+")$")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("POSTRIDER_PLANTED=%d", number), "TMPDIR="+temp)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", errors.New("it hangs")
	}
	return string(out), err
}
