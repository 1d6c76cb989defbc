// Package faults checks the tests of the queue: it plants small faults in the code, one at a time, and runs the tests
// of the package against each. A fault that no test fails for is a survivor. Each survivor is killed by a new test, or
// is in testdata/argued.txt, with the reason why it does no harm.
//
// All faults of a package are compiled into one test binary, each behind a condition that is true if an environment
// variable has its number. The changed files reach the compiler by an overlay, and no file of the tree is changed.
package faults

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"go/ast"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const module = "github.com/postrider/postrider/"

// targets lists the packages that faults are planted in, and those whose tests are run against them.
var targets = []target{
	{"queue", []string{"queue"}},
	{"queue/internal/index", []string{"queue/internal/index", "queue/mem", "queue/spool"}},
	{"queue/mem", []string{"queue/mem"}},
	{"queue/spool", []string{"queue/spool"}},
	{"queue/internal/permits", []string{"queue/internal/permits"}},
	{"queue/delivery", []string{"queue/delivery"}},
}

type target struct {
	dir   string
	tests []string
}

// leftOut are tests that take much longer than all others of their package. What only they find is found late, so that
// it counts as not found.
var leftOut = []string{"TestSpoolCrash", "TestSpoolFlippedBits", "TestSpoolSmall"}

// A run that takes limit and ten times as long as without a fault hangs: then the fault is found.
const limit = 10 * time.Second

// patience is how long a run may take that isn't judged by its time, which depends on what else the machine does.
const patience = time.Hour

// TestFaults plants faults and runs tests. POSTRIDER_FAULTS says which faults:
//
//	""         none. It is checked that those of the list of argued survivors are there.
//	30         so many, drawn from all, two of each package or more: always the same ones
//	200@7      so many, drawn by seed 7
//	all        all
//	unreached  all that no test reaches. No test is run against them: they survive.
//	a regexp   those that it matches
//
// What is in the list of argued survivors counts as passed, except for a regexp. It needs Linux, where the memory of a
// run can be limited.
func TestFaults(t *testing.T) {
	tree := plantAll(t)
	argued := readArgued(t)
	keys := map[string]bool{}
	for _, f := range tree.faults {
		keys[f.key] = true
	}
	for key := range argued {
		if !keys[key] {
			t.Errorf("testdata/argued.txt: there is no such fault: %s", key)
		}
	}
	which := os.Getenv("POSTRIDER_FAULTS")
	chosen, passed := choose(t, tree.faults, argued, which)
	t.Logf("%d faults, %d of them argued, %d tried, %d passed as argued", len(tree.faults), len(argued), len(chosen), passed)
	if len(chosen) == 0 {
		return
	}
	tree.build(t, chosen)
	chosen = slices.DeleteFunc(chosen, func(f fault) bool {
		if tree.reached(f) {
			return which == "unreached"
		}
		t.Errorf("SURVIVED, as no test reaches it: %s", f.key)
		return true
	})
	var mu sync.Mutex
	var tried, survived int
	next := make(chan fault)
	var workers sync.WaitGroup
	for range workerCount {
		workers.Go(func() {
			for f := range next {
				begun := time.Now()
				by := tree.try(t, f)
				took := time.Since(begun).Round(100 * time.Millisecond)
				mu.Lock()
				tried++
				if by != "" {
					t.Logf("killed by %s in %v: %s", by, took, f.key)
				} else {
					survived++
					t.Errorf("SURVIVED in %v: %s", took, f.key)
				}
				mu.Unlock()
			}
		})
	}
	for _, f := range chosen {
		next <- f
	}
	close(next)
	workers.Wait()
	t.Logf("%d tried, %d killed, %d survived", tried, tried-survived, survived)
}

var drawn = regexp.MustCompile(`^(\d+)(@\d+)?$`)

// choose returns the faults to try, and how many others were chosen that are in the list of argued ones.
func choose(t *testing.T, all []fault, argued map[string]string, which string) (chosen []fault, passed int) {
	switch m := drawn.FindStringSubmatch(which); {
	case which == "":
		return nil, 0
	case m != nil:
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		rank := func(f fault) uint64 {
			sum := sha256.Sum256([]byte(f.key + m[2]))
			return binary.BigEndian.Uint64(sum[:])
		}
		chosen = slices.SortedFunc(slices.Values(all), func(a, b fault) int { return cmp.Compare(rank(a), rank(b)) })
		chosen = fewOfEach(chosen)
		chosen = chosen[:min(n, len(chosen))]
	case which == "all", which == "unreached":
		chosen = slices.Clone(all)
	default:
		pattern, err := regexp.Compile(which)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(slices.Clone(all), func(f fault) bool { return !pattern.MatchString(f.key) }), 0
	}
	n := len(chosen)
	chosen = slices.DeleteFunc(chosen, func(f fault) bool { return argued[f.key] != "" })
	return chosen, n - len(chosen)
}

// fewOfEach moves the first two faults of each target to the front. Otherwise, a small package has none of a few.
func fewOfEach(all []fault) []fault {
	var first, rest []fault
	seen := map[string]int{}
	for _, f := range all {
		if seen[f.target.dir]++; seen[f.target.dir] <= 2 {
			first = append(first, f)
		} else {
			rest = append(rest, f)
		}
	}
	return append(first, rest...)
}

// readArgued reads the list of survivors that do no harm. A line that isn't indented is a fault, and the indented lines
// after it are the argument.
func readArgued(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "argued.txt"))
	if err != nil {
		t.Fatal(err)
	}
	argued := map[string]string{}
	var key string
	for line := range strings.Lines(string(b)) {
		switch text := strings.TrimSpace(line); {
		case text == "", strings.HasPrefix(line, "#"):
		case line[0] == '\t':
			argued[key] += text + " "
		default:
			key = text
			if _, ok := argued[key]; ok {
				t.Errorf("testdata/argued.txt has it twice: %s", key)
			}
			argued[key] = ""
		}
	}
	for key, argument := range argued {
		if argument == "" {
			t.Errorf("testdata/argued.txt has no argument for %s", key)
		}
	}
	return argued
}

// plantAll plants all faults in the targets.
func plantAll(t *testing.T) *tree {
	t.Helper()
	tree := loadTree(t)
	for _, target := range targets {
		p := tree.packages[target.dir]
		for _, name := range slices.Sorted(maps.Keys(p.files)) { // the same numbers each time, so that what is built is kept
			file, rel := p.files[name], target.dir+"/"+name
			planted := &planter{tree: tree, target: target, p: p, name: rel, source: p.sources[name], seen: map[string]int{}}
			planted.file(file)
			tree.overlaid[rel] = planted.render()
		}
		tree.overlaid[target.dir+"/planted.go"] = "package " + p.types.Name() + "\n" + switches
	}
	return tree
}

// switches is what the planted faults ask whether they are on.
const switches = `
import (
	"os"
	"strconv"
	"sync/atomic"
)

var plantedFault, _ = strconv.Atoi(os.Getenv("POSTRIDER_PLANTED"))

func fault_(n int) bool {
	if plantedFault >= 0 {
		return n == plantedFault
	}
	return reached_(n)
}

var reachedFaults_ [1 << 14]atomic.Bool

// reached_ writes down which faults a test comes by.
func reached_(n int) bool {
	if !reachedFaults_[n].Load() && !reachedFaults_[n].Swap(true) {
		if f, err := os.OpenFile(os.Getenv("POSTRIDER_REACHED"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			f.WriteString(strconv.Itoa(n) + "\n")
			f.Close()
		}
	}
	return false
}

type number_ interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr | ~float64
}

func plus_[T number_](n int, a, b T) T {
	if fault_(n) {
		return a - b
	}
	return a + b
}

func minus_[T number_](n int, a, b T) T {
	if fault_(n) {
		return a + b
	}
	return a - b
}

func inc_[T number_](n int, a T) T {
	if fault_(n) {
		return a + 1
	}
	return a
}

var _, _, _ = plus_[int], minus_[int], inc_[int]
`

// parsed is a package of the tree.
type parsed struct {
	files   map[string]*ast.File
	sources map[string]string
	types   *types.Package
	info    *types.Info
}
