package queue

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// crashDisk watches what a spool does to its directory and knows what a crash would leave of it.
type crashDisk struct {
	disk
	t     *testing.T
	crash func() // called before each operation

	mu     sync.Mutex
	files  map[string]*crashFile // by their present names
	opened map[string]*crashFile // by the names under which they were created
	kept   map[string]*crashFile // files as of the last sync of the directory
	gone   []*crashFile          // those removed since then
}

type crashFile struct {
	name   string // at present
	synced []byte
}

// newCrashDisk makes a disk with the given files on it.
func newCrashDisk(t *testing.T, all map[string][]byte) *crashDisk {
	c := &crashDisk{t: t, files: map[string]*crashFile{}, opened: map[string]*crashFile{}}
	c.dir = plant(t, all)
	c.fake = c.operate
	for name, b := range all {
		c.files[name] = &crashFile{name, b}
	}
	c.kept = maps.Clone(c.files)
	return c
}

// operate takes each operation to come true at once, as it may.
func (c *crashDisk) operate(op string, names ...string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crash != nil {
		c.crash()
	}
	switch op {
	case "create":
		f := &crashFile{name: names[0]}
		c.files[names[0]], c.opened[names[0]] = f, f
	case "rename":
		f := c.files[names[0]]
		f.name = names[1]
		c.files[names[1]] = f
		delete(c.files, names[0])
		return true, os.Rename(c.path(names[0]), c.path(names[1])) // here, or another operation could see it half done
	case "remove":
		if f := c.files[names[0]]; f != nil {
			c.gone = append(c.gone, f)
			delete(c.files, names[0])
		}
	case "sync":
		f := c.opened[names[0]]
		f.synced = c.read(f)
		return true, nil
	case "syncdir":
		c.kept = maps.Clone(c.files)
		c.gone = nil
		return true, nil
	}
	return false, nil
}

// read gives what the process sees of a file.
func (c *crashDisk) read(f *crashFile) []byte {
	b, err := os.ReadFile(filepath.Join(c.dir, f.name))
	if err != nil && !os.IsNotExist(err) {
		c.t.Error(err)
	}
	return b
}

// states gives what may be left after a crash now: "killed": all that the process saw; "lost": what was synced and no
// more; "hollow": names of which the directory wasn't synced, too; "torn": some of what was put into files, too;
// "disorder": of what was removed, only the last is gone.
func (c *crashDisk) states() map[string]map[string][]byte {
	killed, lost, hollow, torn := map[string][]byte{}, map[string][]byte{}, map[string][]byte{}, map[string][]byte{}
	for name, f := range c.files {
		killed[name] = c.read(f)
		hollow[name] = f.synced
		torn[name] = tear(f.synced, killed[name])
	}
	for name, f := range c.kept {
		lost[name] = f.synced
	}
	disorder := maps.Clone(killed)
	for _, f := range c.gone[:max(0, len(c.gone)-1)] {
		disorder[f.name] = f.synced
	}
	return map[string]map[string][]byte{"killed": killed, "lost": lost, "hollow": hollow, "torn": torn, "disorder": disorder}
}

// tear has every other 64 octets of what isn't synced come out as zeros.
func tear(synced, seen []byte) []byte {
	b := bytes.Clone(seen)
	for i := len(synced); i < len(b); i++ {
		if i/64%2 == 0 {
			b[i] = 0
		}
	}
	return b
}

// ledger is what those know who were told by the spool. Messages go by their bodies.
type ledger struct {
	mu     sync.Mutex
	there  map[string]bool   // must be there
	gone   map[string]bool   // must not be
	linked map[string]string // a message and its report: one must be there, the other not
}

func (l *ledger) clone() *ledger {
	return &ledger{there: maps.Clone(l.there), gone: maps.Clone(l.gone), linked: maps.Clone(l.linked)}
}

func (l *ledger) update(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// check opens what a crash left and compares.
func (l *ledger) check(t *testing.T, d *disk) {
	t.Helper()
	s, err := openSpool(d, crashOptions)
	if err != nil {
		t.Errorf("opening what is left: %v", err)
		return
	}
	defer mustClose(t, s)
	checkNoDamage(t, s)
	found := map[string]bool{}
	for key, body := range contents(t, s) {
		if name, _, ok := strings.Cut(body, "|"); !ok || body != crashBody(name, len(body)) {
			t.Errorf("message %s isn't whole: %.20q and %d octets", key, body, len(body))
		} else {
			found[name] = true
		}
	}
	for name := range l.there {
		if !found[name] {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	for name := range l.gone {
		if found[name] {
			t.Errorf("%s was settled, durably, and is there again", name)
		}
	}
	for name, report := range l.linked {
		if found[name] == found[report] {
			t.Errorf("message %s is there: %v, and its report is: %v", name, found[name], found[report])
		}
	}
}

func crashBody(name string, n int) string {
	return strings.Repeat(name+"|", 1+n/(len(name)+1))[:n]
}

var crashOptions = spoolOptions{segment: 2000, inline: 600, delay: time.Second}

// crashed is a state and what must hold of it.
type crashed struct {
	files map[string][]byte
	*ledger
	when string
}

// TestSpoolCrash crashes before every operation on the disk, in five ways, and opens what is left:
// all that was acknowledged is there, whole; what was durably settled isn't; a settlement came with its report or
// not at all; and nothing is called damage. Then it does so while that is opened.
func TestSpoolCrash(t *testing.T) {
	quiet(t)
	var all *[]crashed
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{there: map[string]bool{}, gone: map[string]bool{}, linked: map[string]string{}}
		d := newCrashDisk(t, nil)
		all = recordCrashes(d, l)
		crashWorkload(t, d, l)
	})
	seen := map[[32]byte]bool{}
	again := 0
	for i, c := range *all {
		if sum := c.sum(); seen[sum] {
			continue
		} else {
			seen[sum] = true
		}
		d := newCrashDisk(t, c.files)
		var more []crashed
		if len(seen)%25 == 0 {
			d.crash = func() {
				l := c.ledger
				for kind, files := range d.states() {
					more = append(more, crashed{files, l, kind})
				}
			}
		}
		c.check(t, &d.disk)
		for _, m := range more {
			again++
			m.check(t, &newCrashDisk(t, m.files).disk)
			if t.Failed() {
				t.Fatalf("crash %d, %s, and when that was opened again, %s", i, c.when, m.when)
			}
		}
		if t.Failed() {
			t.Fatalf("crash %d, %s", i, c.when)
		}
	}
	t.Logf("opened what %d crashes left, and %d while that was opened", len(seen), again)
}

// sum tells states apart, with what must hold of them.
func (c crashed) sum() [32]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		fmt.Fprintf(h, "%s %d %s", name, len(c.files[name]), c.files[name])
	}
	for _, m := range []map[string]bool{c.there, c.gone} {
		fmt.Fprintln(h, slices.Sorted(maps.Keys(m)))
	}
	return [32]byte(h.Sum(nil))
}

// recordCrashes collects what every crash would leave.
func recordCrashes(d *crashDisk, l *ledger) *[]crashed {
	var all []crashed
	d.crash = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		known := l.clone()
		for kind, files := range d.states() {
			all = append(all, crashed{files, known, kind})
		}
	}
	return &all
}

// crashWorkload does something of everything.
func crashWorkload(t *testing.T, d *crashDisk, l *ledger) {
	s := mustOpen(t, &d.disk, crashOptions)
	for i := range 3 {
		crashEnqueue(t, s, l, fmt.Sprint("kept", i), 300, "kept.example")
	}
	for round := range 2 {
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				for i := range 10 {
					crashStep(t, s, l, fmt.Sprintf("m%d.%d", w, 10*round+i), fmt.Sprintf("d%d.example", w), i)
				}
			})
		}
		wg.Wait()
		mustClose(t, s)
		s = mustOpen(t, &d.disk, crashOptions)
	}
	mustClose(t, s)
}

func crashEnqueue(t *testing.T, s *Spool, l *ledger, name string, size int, dest string) {
	mustEnqueue(t, s, crashBody(name, size), dest)
	l.update(func() { l.there[name] = true })
}

// crashStep settles what is due at a destination, and enqueues one more.
func crashStep(t *testing.T, s *Spool, l *ledger, name, dest string, i int) {
	var settled []string
	for _, task := range mustClaim(t, s, dest) {
		if name, ok := crashSettle(t, s, l, task, i); ok {
			settled = append(settled, name)
		}
	}
	size := 100 + 50*i
	if i%5 == 0 {
		size = 2000 // in a file
	}
	crashEnqueue(t, s, l, name, size, dest)
	time.Sleep(2 * time.Second)
	l.update(func() {
		for _, name := range settled {
			l.gone[name] = true
		}
	})
}

// crashSettle settles in one of several ways. ok says that the message is gone as soon as that is on the disk.
func crashSettle(t *testing.T, s *Spool, l *ledger, task Task, i int) (name string, ok bool) {
	body, err := readBody(s, task.Lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ = strings.Cut(body, "|")
	switch i % 3 {
	case 0: // deferred
		mustSettle(t, s, task.Lease, Settlement{Next: time.Now(), Results: []smtp.Result{{Reply: &smtp.Reply{Code: 450, Text: name}}}})
		return name, false
	case 1: // rejected, with a report
		report := "report-" + name
		l.update(func() { delete(l.there, name); l.linked[name] = report })
		m := testMessage(crashBody(report, 60*i), "r.example")
		mustSettle(t, s, task.Lease, Settlement{Reports: []Message{m}})
		l.update(func() { delete(l.linked, name); l.there[report] = true; l.gone[name] = true })
		return name, false
	}
	l.update(func() { delete(l.there, name) })
	mustSettle(t, s, task.Lease, Settlement{})
	return name, true
}
