package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// must says what has to be found after a crash.
type must uint8

const (
	either must = iota
	yes
	no
)

// fact is what whoever was told by a spool knows of a task.
type fact struct {
	there, held must
	report      string // of the outcome that is on its way: the task is there, or that is

	attempts, most int  // now, and the highest number that there was
	deaths         int  // without that of this process
	leased         must // either: that is on its way
	releasing      bool
}

// ledger is what is known of all tasks, by the names of their messages and their destinations, and of reports.
type ledger struct {
	mu      sync.Mutex
	facts   map[string]fact
	settled []string          // gone as soon as what was written is on the disk; of no report task, which can come again
	ids     map[queue.ID]bool // those given out

	claiming map[string]int // Claims under way, by their destinations
	exact    bool           // the crash has lost nothing
}

func newLedger() *ledger {
	return &ledger{facts: map[string]fact{}, ids: map[queue.ID]bool{}, claiming: map[string]int{}, exact: true}
}

// clone copies l. l.mu is held.
func (l *ledger) clone() *ledger {
	return &ledger{
		facts: maps.Clone(l.facts), settled: slices.Clone(l.settled), ids: maps.Clone(l.ids),
		claiming: maps.Clone(l.claiming), exact: l.exact,
	}
}

// after is a clone for a crash of that kind.
func (l *ledger) after(kind string) *ledger {
	left := l.clone()
	left.exact = left.exact && kind == "killed"
	return left
}

// claim says that some tasks of a destination may be leased until claimed is called with their keys and attempts.
func (l *ledger) claim(dest string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claiming[dest] += n
}

// claimed notes a lease, and returns how many attempts the task should have now.
func (l *ledger) claimed(key string) (attempts int) {
	l.change([]string{key}, func(f *fact) {
		f.attempts++
		f.most, f.leased = max(f.most, f.attempts), yes
		attempts = f.attempts
	})
	return attempts
}

// returned notes the end of a lease with so many attempts, and deaths as they were or none.
func (l *ledger) returned(key string, attempts int, keep bool) {
	l.change([]string{key}, func(f *fact) {
		f.attempts, f.leased = attempts, no
		if !keep {
			f.deaths = 0
		}
	})
}

// closing notes that Close begins: from some moment on, a crash adds no deaths.
func (l *ledger) closing() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, f := range l.facts {
		if f.leased == yes {
			f.leased = either
			l.facts[key] = f
		}
	}
}

// closed notes that the leases have ended by Close.
func (l *ledger) closed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, f := range l.facts {
		f.leased = no
		l.facts[key] = f
	}
}

// tally says what is wrong with the attempts and deaths that were found of a task, if something is.
func (l *ledger) tally(want, got fact, dest string) string {
	claiming := l.claiming[dest] > 0 || want.leased == either
	switch {
	case got.attempts > want.most+1, !claiming && got.attempts > want.most:
		return fmt.Sprintf("has %d attempts, want at most %d", got.attempts, want.most)
	case !l.exact, claiming, want.releasing, want.leased == yes && got.attempts == want.attempts && got.deaths == want.deaths+1:
	case want.leased == yes || got.attempts != want.attempts || got.deaths != want.deaths:
		return fmt.Sprintf("has %d attempts and %d deaths, want %+v", got.attempts, got.deaths, want)
	}
	return ""
}

func (l *ledger) change(keys []string, f func(*fact)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		is := l.facts[key]
		f(&is)
		l.facts[key] = is
	}
}

// synced says that all that was written before now is on the disk.
func (l *ledger) synced(settled []string) {
	l.change(settled, func(f *fact) { f.there = no })
}

// all gives the keys of all tasks that the message of these ever had.
func (l *ledger) all(keys []string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name, _, _ := strings.Cut(keys[0], " ")
	for key := range l.facts {
		if strings.HasPrefix(key, name+" ") {
			all = append(all, key)
		}
	}
	return all
}

func (l *ledger) pending() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.settled)
}

// sum tells ledgers apart.
func (l *ledger) sum() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(l.facts)) {
		fmt.Fprint(&b, key, l.facts[key])
	}
	return b.String()
}

// check opens what a crash left, compares, and notes in the ledger what is so from now on. It leaves the spool open, nil if it
// can't be opened.
func (l *ledger) check(m *crashfs.FS[File]) (s *Spool, problems []string) {
	s, err := openSpool(m, "memory", crashConfig)
	if err != nil {
		return nil, []string{fmt.Sprintf("it can't be opened: %v", err)}
	}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, d := range s.Damage() {
		problem("damage is reported: %+v", d)
	}
	found := map[string]fact{}
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			problem("List: %v", err)
			continue
		}
		body, err := readBody(s, task.ID)
		name, _, ok := strings.Cut(body, "|")
		if name == later {
			continue // that one may be there
		}
		if err != nil || !ok || body != crashBody(name, len(body)) {
			problem("message %s isn't whole: %v, %.20q and %d octets", task.ID, err, body, len(body))
			continue
		}
		key := name + " " + task.Destination
		if found[key].there == yes {
			problem("%s is there twice", key)
		}
		held := no
		if id, _ := index.ParseID(task.ID); s.ix.Held(id) {
			held = yes
		}
		found[key] = fact{there: yes, held: held, attempts: task.Attempts, most: task.Attempts, deaths: task.Deaths, leased: no}
	}
	l.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(l.facts)) {
		want, got := l.facts[key], found[key]
		got.there = cmp.Or(got.there, no)
		switch {
		case want.there == yes && got.there == no:
			problem("%s was acknowledged and is lost", key)
		case want.there == no && got.there == yes:
			problem("%s was settled or removed, durably, and is there again", key)
		case want.report != "" && (got.there == yes) == (found[want.report].there == yes):
			problem("%s and the report of its end are there: %v", key, got.there == yes)
		case got.there == yes && want.held != either && want.held != got.held:
			problem("%s is held: %v", key, got.held == yes)
		case got.there == yes:
			_, dest, _ := strings.Cut(key, " ")
			if wrong := l.tally(want, got, dest); wrong != "" {
				problem("%s %s", key, wrong)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if _, ok := l.facts[key]; !ok {
			problem("%s comes from nowhere", key)
		}
	}
	for key := range l.facts {
		f := found[key]
		f.there = cmp.Or(f.there, no)
		l.facts[key] = f
	}
	l.settled, l.exact = nil, true
	clear(l.claiming)
	l.mu.Unlock()
	if id, err := s.Enqueue(context.Background(), testMessage(crashBody(later, 100), "later.example")); err != nil || l.ids[id] {
		problem("new mail gets %q and %v, want an id of its own", id, err)
	} else if err := s.Remove(context.Background(), []queue.ID{id}); err != nil {
		problem("removing it: %v", err)
	}
	return s, problems
}

const later = "later" // a message that is only there to be given an id

func crashBody(name string, n int) string {
	return strings.Repeat(name+"|", 1+n/(len(name)+1))[:n]
}

var crashConfig = Options{SegmentSize: 2000, InlineSize: 600, SyncDelay: time.Second}

// crashScript does something of everything, as r will have it.
type crashScript struct {
	r    *rand.Rand
	m    *crashfs.FS[File]
	s    *Spool
	l    *ledger
	life string // tells the messages of this life of the spool from others
	next int

	faulty bool // operations may fail

	mu       sync.Mutex
	problems []string
	touched  map[string]bool // by what happens at once: no two of it have to do with one task
}

// touch reports whether the tasks are for the caller alone.
func (c *crashScript) touch(keys []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if c.touched[key] {
			return false
		}
	}
	for _, key := range keys {
		c.touched[key] = true
	}
	return true
}

func (c *crashScript) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// step does one operation, or some at once.
func (c *crashScript) step(together bool) {
	c.touched = map[string]bool{}
	if !together {
		c.plan()()
		synctest.Wait()
		return
	}
	plans := []func(){c.plan(), c.plan(), c.plan()}
	var wg sync.WaitGroup
	for _, f := range plans {
		wg.Go(f)
	}
	wg.Wait()
	synctest.Wait()
}

// plan says what to do, and leaves nothing to chance.
func (c *crashScript) plan() func() {
	switch n := c.r.IntN(20); {
	case n < 7:
		return c.enqueue()
	case n < 13:
		return c.settle()
	case n < 14:
		return c.hold(true)
	case n < 15:
		return c.hold(false)
	case n < 17:
		return c.remove()
	}
	return func() {
		settled := c.l.pending()
		time.Sleep(2 * time.Second)
		if c.s.log.broken() == nil {
			c.l.synced(settled)
		}
	}
}

func (c *crashScript) enqueue() func() {
	name := fmt.Sprintf("%s.%d", c.life, c.next)
	c.next++
	size := 100 + c.r.IntN(400)
	if c.r.IntN(5) == 0 {
		size = 700 + c.r.IntN(1000) // in a file
	}
	dests := []string{"a.example", "b.example"}[:1+c.r.IntN(2)]
	keys, held := keysOf(name, dests), no
	m := testMessage(crashBody(name, size), dests...)
	if m.Held = c.r.IntN(6) == 0; m.Held {
		held = yes
	}
	return func() {
		settled := c.l.pending()
		c.touch(keys) // they can be claimed before this has heard that they are there
		c.l.change(keys, func(f *fact) { *f = fact{held: held} })
		id, err := c.s.Enqueue(context.Background(), m)
		if c.expect("Enqueue", err) != nil {
			if !errors.Is(err, queue.ErrBroken) {
				c.l.change(keys, func(f *fact) { f.there = no })
			}
			return
		}
		c.l.change(keys, func(f *fact) { f.there = yes })
		c.l.synced(settled) // the log is in order
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		if c.l.ids[id] {
			c.problem("%s was given out twice", id)
		}
		c.l.ids[id] = true
	}
}

func keysOf(name string, dests []string) (keys []string) {
	for _, d := range dests {
		keys = append(keys, name+" "+d)
	}
	return keys
}

// report makes the report of an outcome.
func (c *crashScript) report() (key string, m queue.Message) {
	name := fmt.Sprintf("%s.r%d", c.life, c.next)
	c.next++
	return name + " r.example", testMessage(crashBody(name, 50+c.r.IntN(800)), "r.example")
}

// settle settles a task or two in one of several ways.
func (c *crashScript) settle() func() {
	dest := []string{"a.example", "b.example", "r.example", queue.ReportDestination}[c.r.IntN(4)]
	max, way := 1+c.r.IntN(2), c.r.IntN(6)
	var reports []queue.Message
	var keys []string
	for range max {
		key, m := c.report()
		keys, reports = append(keys, key), append(reports, m)
	}
	return func() {
		c.l.claim(dest, 1)
		tasks, err := claimOf(c.s, dest, max)
		if c.expect("Claim", err) != nil {
			return
		}
		names := make([]string, len(tasks))
		for i, task := range tasks {
			if names[i] = c.name(task.ID); names[i] == "" { // it was removed meanwhile
				continue
			}
			if want := c.l.claimed(names[i] + " " + dest); task.Attempts != want {
				c.problem("%s %s is claimed as attempt %d, want %d", names[i], dest, task.Attempts, want)
			}
		}
		c.l.claim(dest, -1)
		for i, task := range tasks {
			name := names[i]
			key := name + " " + dest
			if name == "" || !c.touch([]string{key}) { // it was removed meanwhile, or is another's
				continue
			}
			c.l.change([]string{key}, func(f *fact) { f.leased = either })
			switch owed := name + " " + queue.ReportDestination; way {
			case 5: // rejected, with a report and something more to report
				end := func() error { return c.settleTask(task, queue.Settlement{Reports: reports[i : i+1]}) }
				if dest != queue.ReportDestination && c.touch([]string{owed}) {
					end = func() error { return c.owe(task, key, owed, reports[i:i+1]) }
				}
				c.reported([]string{key}, keys[i], end)
			case 0: // deferred
				reply := smtp.NewReply(450, "", key)
				results := slices.Repeat([]smtp.Result{{Reply: reply}}, len(task.Last)) // a report task may have several
				c.goesOn(key, task, task.Attempts, queue.Settlement{Next: time.Now(), Results: results})
			case 3: // handed back
				c.goesOn(key, task, task.Attempts-1, queue.Settlement{Next: time.Now(), Uncounted: true})
			case 1: // rejected, with a report
				c.reported([]string{key}, keys[i], func() error { return c.settleTask(task, queue.Settlement{Reports: reports[i : i+1]}) })
			case 2: // delivered
				c.ends(key, task)
			}
		}
	}
}

// ends settles a task that leaves the queue.
func (c *crashScript) ends(key string, task queue.Task) {
	c.l.change([]string{key}, func(f *fact) { f.there = either })
	if c.settleTask(task, queue.Settlement{}) != nil {
		return
	}
	if task.Destination == queue.ReportDestination { // durably, and it may come again: something more may be owed
		c.l.change([]string{key}, func(f *fact) { f.there = no })
		return
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.settled = append(c.l.settled, key)
}

// goesOn settles a task that stays in the queue, with so many attempts.
func (c *crashScript) goesOn(key string, task queue.Task, attempts int, s queue.Settlement) {
	if c.settleTask(task, s) == nil {
		c.l.returned(key, attempts, s.Uncounted)
	}
}

// owe settles a task and leaves it to the report task to tell of it. The report task may be there already.
func (c *crashScript) owe(task queue.Task, key, owed string, reports []queue.Message) error {
	c.l.mu.Lock()
	before := c.l.facts[owed]
	if before.there != yes {
		c.l.facts[owed] = fact{held: c.l.facts[key].held, report: key}
	}
	c.l.mu.Unlock()
	set := queue.Settlement{Reports: reports, Owed: []queue.Owed{{Result: smtp.Result{Reply: smtp.NewReply(550, "", key)}}}}
	err := c.settleTask(task, set)
	switch {
	case err == nil:
		c.l.change([]string{owed}, func(f *fact) { f.there, f.report = yes, "" })
	case before.there != yes && !errors.Is(err, queue.ErrBroken):
		c.l.change([]string{owed}, func(f *fact) { f.there, f.report = no, "" })
	}
	return err
}

func (c *crashScript) settleTask(task queue.Task, s queue.Settlement) error {
	return c.expect("Settle", c.s.Settle(context.Background(), task.Lease, s))
}

// expect gives the error of an operation, which is a problem where the disk is good and the task was there.
func (c *crashScript) expect(op string, err error) error {
	if err != nil && err != queue.ErrLeaseLost && err != queue.ErrNotFound && !c.faulty {
		c.problem("%s: %v", op, err)
	}
	return err
}

// reported ends tasks with one report, durably.
func (c *crashScript) reported(keys []string, report string, end func() error) {
	if c.s.log.broken() != nil {
		return // nothing begins any more, and what is known of the keys stays
	}
	c.touch([]string{report}) // as in enqueue
	c.l.change(keys, func(f *fact) { f.there, f.report = either, report })
	c.l.change([]string{report}, func(f *fact) { *f = fact{held: no} })
	switch err := end(); {
	case err == nil:
		c.l.change(keys, func(f *fact) { f.there, f.report = no, "" })
		c.l.change([]string{report}, func(f *fact) { f.there = yes })
	case !errors.Is(err, queue.ErrBroken): // else nobody knows, until it has been opened again
		c.l.change(keys, func(f *fact) { f.report = "" })
		c.l.change([]string{report}, func(f *fact) { f.there = no })
	}
}

// name is that of the message, "" if it is gone.
func (c *crashScript) name(id queue.ID) string {
	body, err := readBody(c.s, id)
	if err != nil && err != queue.ErrNotFound {
		c.problem("message %s: %v", id, err)
	}
	name, _, _ := strings.Cut(body, "|")
	return name
}

// pick gives a message that is there, and the keys of its tasks.
func (c *crashScript) pick() (id queue.ID, keys []string) {
	var tasks []queue.Task
	for t, err := range c.s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			c.problem("List: %v", err)
			return "", nil
		}
		if t.Destination != "later.example" {
			tasks = append(tasks, t)
		}
	}
	if len(tasks) == 0 {
		return "", nil
	}
	id = tasks[c.r.IntN(len(tasks))].ID
	for _, t := range tasks {
		if t.ID == id {
			keys = append(keys, c.name(id)+" "+t.Destination)
		}
	}
	return id, keys
}

func (c *crashScript) hold(held bool) func() {
	id, keys := c.pick()
	return func() {
		if id == "" || !c.touch(keys) {
			return
		}
		op, outcome := c.s.Release, no
		if held {
			op, outcome = c.s.Hold, yes
		}
		keys := c.l.all(keys) // a crash may bring back a task that was settled a moment ago: it belongs to the message
		forgiven := map[string]bool{}
		c.l.mu.Lock()
		for _, key := range keys {
			forgiven[key] = !held && c.l.facts[key].held == yes && c.l.facts[key].leased == no
		}
		c.l.mu.Unlock()
		c.l.change(keys, func(f *fact) { f.held, f.releasing = either, !held })
		if c.expect("Hold or Release", op(context.Background(), id)) != nil {
			return
		}
		c.l.change(keys, func(f *fact) { f.held, f.releasing = outcome, false })
		for _, key := range keys {
			if forgiven[key] {
				c.l.change([]string{key}, func(f *fact) { f.deaths = 0 })
			}
		}
	}
}

// remove removes a message, with a report or without.
func (c *crashScript) remove() func() {
	id, keys := c.pick()
	key, report := c.report()
	reported := c.r.IntN(2) == 0
	return func() {
		if id == "" || !c.touch(keys) {
			return
		}
		if reported {
			c.reported(keys, key, func() error { return c.removeOne(id, report) })
			return
		}
		c.l.change(keys, func(f *fact) { f.there = either })
		if c.removeOne(id) == nil {
			c.l.change(keys, func(f *fact) { f.there = no })
		}
	}
}

func (c *crashScript) removeOne(id queue.ID, reports ...queue.Message) error {
	return c.expect("Remove", c.s.Remove(context.Background(), []queue.ID{id}, reports...))
}

// crashed is what a crash left, and what was known then.
type crashed struct {
	*crashfs.FS[File]
	*ledger
	when string
}

// snapshot is called with what happens before an operation on the disk.
func (c *crashScript) snapshot(kind string, when string) crashed {
	c.l.mu.Lock() // no outcome can become known meanwhile
	defer c.l.mu.Unlock()
	return crashed{c.m.After(kind, c.r), c.l.after(kind), kind + " " + when}
}

// TestSpoolCrash runs a script of 50 operations, crashes before every operation on the disk, in five ways, and opens what is
// left: all that was acknowledged is there, whole and once, held or not; what was durably settled or removed isn't; an end
// came with its report or not at all; and nothing is called damage. Then it crashes in as many ways while that is being opened.
func TestSpoolCrash(t *testing.T) {
	quiet(t)
	scripts := uint64(2)
	if testing.Short() {
		scripts = 1
	}
	for seed := range scripts {
		var all []crashed
		synctest.Test(t, func(t *testing.T) {
			c := &crashScript{r: rand.New(rand.NewPCG(seed, 0)), m: crashfs.New[File](nil), l: newLedger(), life: "x"}
			var mu sync.Mutex
			c.m.Before = func(op string, names ...string) error {
				mu.Lock()
				defer mu.Unlock()
				for _, kind := range crashfs.Kinds {
					all = append(all, c.snapshot(kind, fmt.Sprint("before ", op, names)))
				}
				return nil
			}
			for i := range 50 {
				if i%20 == 0 {
					if i > 0 {
						c.l.closing()
						mustClose(t, c.s)
						c.l.closed()
						c.l.synced(c.l.pending())
					}
					c.s = mustOpen(t, c.m, crashConfig)
				}
				c.step(false)
			}
			c.l.closing()
			mustClose(t, c.s)
			for _, p := range c.problems {
				t.Errorf("seed %d: %s", seed, p)
			}
		})
		seen := map[string]bool{}
		first, again := 0, 0
		for i, c := range all {
			var more []crashed
			if key := fmt.Sprintf("%x %s", c.FS.Sum(), c.ledger.sum()); seen[key] {
				continue
			} else {
				seen[key] = true
			}
			first++
			checkCrashed(t, c, &more)
			for _, m := range more {
				key := fmt.Sprintf("%x %s", m.FS.Sum(), m.ledger.sum())
				if seen[key] {
					continue
				}
				seen[key] = true
				again++
				checkCrashed(t, m, nil)
			}
			if t.Failed() {
				t.Fatalf("seed %d, crash %d, %s", seed, i, c.when)
			}
		}
		t.Logf("seed %d: opened what %d crashes left, and %d while that was being opened", seed, first, again)
	}
}

// checkCrashed checks what a crash left, and collects what crashes leave while that is being opened.
func checkCrashed(t *testing.T, c crashed, more *[]crashed) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, known := c.FS.After("killed", nil), c.ledger.clone()
		if more != nil {
			var mu sync.Mutex
			m.Before = func(op string, names ...string) error {
				mu.Lock()
				defer mu.Unlock()
				for _, kind := range crashfs.Kinds {
					left := known.clone()
					left.exact = left.exact && kind == "killed"
					*more = append(*more, crashed{m.After(kind, nil), left, fmt.Sprintf("%s, then %s before %s%v", c.when, kind, op, names)})
				}
				return nil
			}
		}
		s, err := openSpool(m, "memory", crashConfig)
		if err == nil {
			synctest.Wait() // for the janitor
			err = s.Close()
		}
		if err != nil {
			t.Errorf("%s: opening it: %v", c.when, err)
		}
		m.Before = nil
		s, problems := known.clone().check(m)
		for _, p := range problems {
			t.Errorf("%s: %s", c.when, p)
		}
		if s != nil {
			s.Close()
		}
	})
}

// TestSpoolCrashes lives through many lives that each end in a crash. What a life begins with is what the last left.
// Seeds of even numbers repeat exactly; in the others several things happen at once. POSTRIDER_SEEDS says how many seeds it tries.
func TestSpoolCrashes(t *testing.T) {
	quiet(t)
	seeds, err := strconv.ParseUint(cmp.Or(os.Getenv("POSTRIDER_SEEDS"), "300"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		seeds = min(seeds, 50)
	}
	t.Logf("%d seeds", seeds)
	for seed := range seeds {
		for _, p := range crashLives(t, seed) {
			t.Errorf("seed %d: %s", seed, p)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// crashLives says what went wrong in the lives of a seed.
func crashLives(t *testing.T, seed uint64) (problems []string) {
	r := rand.New(rand.NewPCG(seed, 1))
	left := crashed{crashfs.New[File](nil), newLedger(), "at first"}
	for life := range 8 {
		synctest.Test(t, func(t *testing.T) {
			c := &crashScript{r: r, m: left.FS, l: left.ledger, life: fmt.Sprint("x", life)}
			at := r.IntN(60)
			kind := append(crashfs.Kinds, "random", "random", "random")[r.IntN(len(crashfs.Kinds)+3)]
			chance := rand.New(rand.NewPCG(seed, uint64(life)))
			var crashed atomic.Bool
			var mu sync.Mutex
			c.m.Before = func(op string, names ...string) error {
				mu.Lock()
				defer mu.Unlock()
				if at--; at == 0 {
					crashed.Store(true)
					left = c.after(kind, chance, fmt.Sprintf("life %d, crash before %s%v", life, op, names))
				}
				return nil
			}
			when := left.when
			defer func() {
				for _, p := range c.problems {
					problems = append(problems, when+": "+p)
				}
			}()
			c.s, c.problems = c.l.check(c.m)
			if c.s == nil {
				return
			}
			defer func() { // the crash may be in here
				c.l.closing()
				c.s.Close()
			}()
			for range 12 {
				if crashed.Load() || len(c.problems) > 0 {
					return
				}
				c.step(seed%2 == 1)
			}
			mu.Lock()
			defer mu.Unlock()
			if !crashed.Load() {
				crashed.Store(true)
				left = c.after(kind, chance, fmt.Sprintf("life %d, crash at its end", life))
			}
		})
		if len(problems) > 0 || t.Failed() {
			return problems
		}
	}
	return nil
}

// TestSpoolEveryFault has each operation on the disk fail in turn, once or from then on: nothing that was acknowledged is lost, by
// the process or by a crash at the end.
func TestSpoolEveryFault(t *testing.T) {
	quiet(t)
	for _, forEver := range []bool{false, true} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			n := 1
			for faults := 1; faults > 0; n++ {
				faults = failAt(t, n, forEver, &crashfs.TornWrite{N: 20, Err: cause})
			}
			t.Logf("%v at each of %d operations, for ever: %v", cause, n-2, forEver)
		}
	}
}

// failAt runs a script of which operation n fails, and says how many failed.
func failAt(t *testing.T, n int, forEver bool, fault error) (faults int) {
	synctest.Test(t, func(t *testing.T) {
		c := &crashScript{r: rand.New(rand.NewPCG(5, 0)), m: crashfs.New[File](nil), l: newLedger(), life: "x", faulty: true}
		c.s = mustOpen(t, c.m, crashConfig)
		var what string
		var mu sync.Mutex
		c.m.Before = func(op string, names ...string) error {
			mu.Lock()
			defer mu.Unlock()
			if n--; n == 0 || n < 0 && forEver {
				faults++
				what = fmt.Sprint(op, names)
				return fault
			}
			return nil
		}
		for range 25 {
			c.step(false)
		}
		c.m.Before = nil
		left := map[string]*crashfs.FS[File]{}
		for _, kind := range crashfs.Kinds {
			left[kind] = c.m.After(kind, nil)
		}
		known := c.l.after("faulty")
		c.s.Close()
		left["closed"] = c.m.After("killed", nil)
		for kind, m := range left {
			s, problems := known.clone().check(m)
			for _, p := range append(problems, c.problems...) {
				t.Errorf("%v at %s, for ever: %v; then %s: %s", fault, what, forEver, kind, p)
			}
			if s != nil {
				s.Close()
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	})
	return faults
}

// after is snapshot with chances of its own: those of the script go on as they would without a crash.
func (c *crashScript) after(kind string, chance *rand.Rand, when string) crashed {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return crashed{c.m.After(kind, chance), c.l.after(kind), kind + " " + when}
}
