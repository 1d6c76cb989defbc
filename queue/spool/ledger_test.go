package spool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// TestLedgerOwedAgain: a report task is settled, and there again as soon as another task of its message is owed a report. The ledger
// doesn't take the one for the other, whatever is written and synced afterwards. What was settled is durably gone.
func TestLedgerOwedAgain(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		c := &crashScript{r: rand.New(rand.NewPCG(1, 0)), m: crashfs.New[File](nil), l: newLedger(), life: "x"}
		c.s = mustOpen(t, c.m, crashConfig)
		const name = "x.both"
		dests := []string{"a.example", "b.example"}
		if _, err := c.s.Enqueue(context.Background(), testMessage(crashBody(name, 100), dests...)); err != nil {
			t.Fatal(err)
		}
		c.l.change(keysOf(name, dests), func(f *fact) { *f = fact{there: yes, held: no} })
		owed := name + " " + queue.ReportDestination
		claim := func(dest string) queue.Task {
			c.touched = map[string]bool{}
			c.l.claimed(name + " " + dest)
			return mustClaim(t, c.s, dest)[0]
		}
		check := func(when string) {
			t.Helper()
			for _, kind := range crashfs.Kinds {
				left := c.snapshot(kind, when)
				s, problems := left.ledger.check(left.FS)
				for _, p := range append(problems, c.problems...) {
					t.Errorf("%s: %s", left.when, p)
				}
				if s != nil {
					mustClose(t, s)
				}
			}
		}
		for _, dest := range dests {
			task, key := claim(dest), name+" "+dest
			report, m := c.report()
			c.reported([]string{key}, report, func() error { return c.owe(task, key, owed, []queue.Message{m}) })
			c.enqueue()() // syncs
			check("after " + dest + " is owed a report")
			if dest == dests[0] {
				c.ends(owed, claim(queue.ReportDestination))
				check("after the report")
			}
		}
	})
}

// TestLedgerClosing: Close ends the leases by what it writes last. A crash before that adds a death, and one after it doesn't.
func TestLedgerClosing(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		c := &crashScript{r: rand.New(rand.NewPCG(1, 0)), m: crashfs.New[File](nil), l: newLedger(), life: "x"}
		c.s = mustOpen(t, c.m, crashConfig)
		const name = "x.leased"
		dests := []string{"a.example"}
		if _, err := c.s.Enqueue(context.Background(), testMessage(crashBody(name, 100), dests...)); err != nil {
			t.Fatal(err)
		}
		c.l.change(keysOf(name, dests), func(f *fact) { *f = fact{there: yes, held: no} })
		mustClaim(t, c.s, dests[0])
		c.l.claimed(name + " " + dests[0])
		var mu sync.Mutex
		var all []crashed
		c.m.Before = func(op string, names ...string) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, c.snapshot("killed", fmt.Sprint("before ", op, names)))
			return nil
		}
		c.l.closing()
		mustClose(t, c.s)
		deaths := map[int]bool{}
		for _, left := range all {
			s, problems := left.ledger.check(left.FS)
			for _, p := range problems {
				t.Errorf("%s: %s", left.when, p)
			}
			if s != nil {
				for task := range s.List(context.Background(), queue.Filter{}) {
					deaths[task.Deaths] = true
				}
				mustClose(t, s)
			}
		}
		if !deaths[0] || !deaths[1] {
			t.Errorf("got deaths %v in %d crashes, want 0 and 1", deaths, len(all))
		}
	})
}
