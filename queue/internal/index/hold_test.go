package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
)

// checkIndex looks whether all that an index knows fits together.
func checkIndex(t *testing.T, ix *Index[int, int]) {
	t.Helper()
	var count, kept, leases, places, wanted, lanes, inLanes int
	ofDest := map[ref]int{} // lanes
	for n, more := 0, true; more; n++ {
		more = ix.Tasks.each(n, func(r ref, task *task[int]) {
			count++
			d := ix.lanes.At(task.lane)
			l := ix.byTask[r]
			if l != nil {
				leases++
			}
			if (l != nil) != (task.phase != waiting) ||
				l != nil && (l.Task != r || ix.leases[l.token] != l || (l.place >= 0) != (task.phase == leased)) {
				t.Fatalf("task %d in phase %d has lease %+v", r, task.phase, l)
			}
			if task.is() == queue.Held {
				kept++
			}
			if task.is() != queue.Waiting {
				if task.place >= 0 || task.oplace >= 0 {
					t.Fatalf("task %d is %v, and at %d and %d in the heaps", r, task.is(), task.place, task.oplace)
				}
				return
			}
			if s := ix.suspects[r]; s != nil && s.aside {
				if task.place >= 0 || task.oplace >= 0 || !slices.Contains(ix.aside, r) {
					t.Fatalf("task %d is set aside, and at %d and %d in the heaps", r, task.place, task.oplace)
				}
				return
			}
			wanted++
			if task.overdue != Never {
				wanted++
				if d.overdue[task.oplace] != r {
					t.Fatalf("task %d isn't at its place %d among the overdue", r, task.oplace)
				}
			}
			if (*d.class(task.attempts))[task.place] != r {
				t.Fatalf("task %d isn't at its place %d", r, task.place)
			}
		})
	}
	for id, reason := range ix.reasons {
		if m := ix.byID.get(id); m == 0 || ix.Tasks.At(ix.messages.At(m).first).hold != later || reason.Value() == "" {
			t.Fatalf("there is a reason %q to hold message %d", reason.Value(), id)
		}
	}
	for n, more := 0, true; more; n++ {
		more = ix.messages.each(n, func(r ref, m *message[int]) {
			c := ix.messages.chunks[n]
			for _, f := range append(ix.soughtIn(m), sought{marks: marks{ref: m.marks.ref}},
				sought{marks: marks{sender: m.marks.sender}}, sought{marks: marks{to: m.marks.to}}) {
				if m.id < c.least || !c.sum.may(&f) {
					t.Fatalf("chunk %d says that message %d isn't there, for %+v", n, m.id, f)
				}
			}
		})
	}
	for n, more := 0, true; more; n++ {
		more = ix.lanes.each(n, func(r ref, l *lane) {
			lanes++
			ofDest[l.dest]++
			inLanes += int(l.tasks)
			if got := ix.laneOf(ix.nameOf(r)); got != r || l.tasks <= 0 {
				t.Fatalf("lane %d of %d tasks is %d by its name", r, l.tasks, got)
			}
			places += len(l.overdue)
			for _, class := range [][]ref{l.fresh, l.retried} {
				places += len(class)
				for i, r := range class {
					if i > 0 && (byAt[int, int]{ix}).Before(r, class[(i-1)/2]) {
						t.Fatalf("task %d at place %d is to be claimed before the one above it", r, i)
					}
				}
			}
		})
	}
	for dest, n := range ofDest {
		if d := ix.dests.At(dest); int(d.lanes) != n || ix.byName[d.name] != dest {
			t.Fatalf("destination %q has %d lanes, want %d", d.name, d.lanes, n)
		}
	}
	if inLanes != count || lanes != ix.byLane.count || len(ofDest) != len(ix.byName) {
		t.Fatalf("got %d tasks in %d lanes of %d destinations; want %d, %d, %d",
			inLanes, lanes, len(ofDest), count, ix.byLane.count, len(ix.byName))
	}
	if places != wanted || count != ix.count || kept != ix.kept || leases != len(ix.leases) || leases != len(ix.byTask) {
		t.Fatalf("got %d places, %d tasks, %d held, %d leases (%d by task); want %d, %d, %d, %d",
			places, ix.count, ix.kept, len(ix.leases), len(ix.byTask), wanted, count, kept, leases)
	}
	ix.messages.each(0, func(_ ref, m *message[int]) { checkTasks(t, ix, m) })
	few, alone, aside := 0, 0, 0
	for r, s := range ix.suspects {
		if s.aside {
			aside++
		}
		if s.leased != (ix.byTask[r] != nil) {
			t.Fatalf("suspect %d is leased: %v; its lease is %+v", r, s.leased, ix.byTask[r])
		}
		switch {
		case s.leased && s.deaths == 1:
			few++
		case s.leased:
			alone++
		}
	}
	if few != ix.few || alone != ix.alone || aside != len(ix.aside) || few+alone == 0 && aside > 0 {
		t.Fatalf("got %d and %d suspects leased, %d aside; want %d, %d, %d", ix.few, ix.alone, len(ix.aside), few, alone, aside)
	}
	if alone > 1 || alone > 0 && few > 0 || few > fewSuspects {
		t.Fatalf("got %d suspects with one death and %d with more leased at a time", few, alone)
	}
	for _, l := range ix.byExpiry {
		if ix.byTask[l.Task] != l {
			t.Fatalf("lease %+v would expire, and isn't that of its task", l)
		}
	}
}

// checkTasks checks the tasks of a message: they are in the order of their nums, and each is found by its own.
func checkTasks(t *testing.T, ix *Index[int, int], m *message[int]) {
	t.Helper()
	var before *task[int]
	count := 0
	for r := m.first; r != 0; r = before.next {
		task := ix.Tasks.At(r)
		if before != nil && task.num <= before.num {
			t.Fatalf("message %d: task %d comes after task %d", m.id, task.num, before.num)
		}
		if got := ix.Task(m.id, task.num); got != r {
			t.Fatalf("message %d: task %d is %d, want %d", m.id, task.num, got, r)
		}
		if task.num != ReportTask {
			count++
		}
		before = task
	}
	if before != nil && (before.num == ReportTask) != (ix.reports[m.id] != nil) {
		t.Fatalf("message %d: its last task is %d, its report task is %+v", m.id, before.num, ix.reports[m.id])
	}
	if many := ix.byNum[m.id]; many != nil {
		if got := len(many) - len(slices.DeleteFunc(slices.Clone(many), func(r ref) bool { return r != 0 })); got != count {
			t.Fatalf("message %d: got %d tasks by num, want %d", m.id, got, count)
		}
	}
}

// TestIndexRandom does what comes: all fits together after each step.
func TestIndexRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		ix := New[int, int](nil)
		held, why := map[uint64]bool{}, map[uint64]string{}
		var ids []uint64
		var claims, settling []Task[int, int]
		pick := func(s *[]Task[int, int]) (c Task[int, int], ok bool) {
			if len(*s) == 0 {
				return c, false
			}
			i := r.IntN(len(*s))
			c = (*s)[i]
			*s = slices.Delete(*s, i, i+1)
			return c, true
		}
		for step := range 6000 {
			now := time.Now().UnixNano()
			switch r.IntN(11) {
			case 0, 1:
				id := uint64(step + 1)
				var dests []string
				for i := range 1 + r.IntN(3) {
					dests = append(dests, fmt.Sprint(i, r.IntN(3)))
				}
				ix.Add(&Message{
					ID: id, Dests: dests, NotBefore: now + r.Int64N(1000), Notice: Never,
					Deadline: []int64{Never, now + r.Int64N(1000)}[r.IntN(2)], Priority: int8(r.IntN(3) - 1),
					Tenant: []string{"", "a", "b"}[r.IntN(3)],
				}, 0)
				ids = append(ids, id)
			case 2:
				var wants []queue.Want
				for _, d := range ix.allLanes() {
					wants = append(wants, queue.Want{Lane: d.Lane, Max: r.IntN(4), Class: queue.Class(r.IntN(4))})
				}
				tasks, _ := ix.Claim(wants, time.Duration(r.IntN(1000)))
				for _, c := range tasks {
					if held[c.ID] {
						t.Fatalf("step %d: claimed a task of %d, which is held", step, c.ID)
					}
					claims = append(claims, c)
				}
			case 3:
				if c, ok := pick(&claims); ok {
					if l, again, err := ix.Find(c.Lease.Token()); err == nil {
						ix.Begin(l)
						again.Lease = l
						settling = append(settling, *again)
					}
				}
			case 4:
				if c, ok := pick(&settling); ok {
					switch r.IntN(3) {
					case 0:
						ix.Abort(c.Lease)
						claims = append(claims, c)
					case 1:
						ix.Done(c.Lease)
					case 2:
						ix.SetDeaths(c.Lease.Task, min(c.Deaths, r.IntN(4)))
						ix.Retry(c.Lease, now+r.Int64N(1000), Never, r.IntN(3), 0)
					}
				}
			case 5, 6:
				if len(ids) > 0 {
					id := ids[r.IntN(len(ids))]
					keep := r.IntN(2) == 0
					reason := []string{"", "a", "b"}[r.IntN(3)]
					do := func() bool { return ix.Hold(id, reason) }
					switch {
					case !keep:
						do, why[id] = func() bool { return ix.Release(id) }, ""
					case reason != "" || !held[id]:
						why[id] = reason
					}
					if got := do(); got != (ix.Data(id) != nil) || ix.Held(id) != (got && keep) {
						t.Fatalf("step %d: hold(%d, %v) gives %v, and held %v", step, id, keep, got, ix.Held(id))
					}
					held[id] = keep
					for _, task := range ix.TasksOf(id) {
						if task.HeldFor != why[id] || task.AsStored {
							t.Fatalf("step %d: %d is held for %q, as stored: %v, want %q", step, id, task.HeldFor, task.AsStored, why[id])
						}
					}
				}
			case 7:
				if len(ids) > 20 {
					id := ids[r.IntN(len(ids))]
					if ix.Settling(id) {
						break
					}
					was := len(ix.TasksOf(id))
					if gone := ix.Remove(id); len(gone) != was || ix.Data(id) != nil || ix.Held(id) {
						t.Fatalf("step %d: remove(%d) gives %d tasks, want %d, or it is still there", step, id, len(gone), was)
					}
				}
			case 8:
				time.Sleep(time.Duration(r.IntN(300)))
			case 9, 10:
				if len(ids) > 0 {
					if ref := ix.Task(ids[r.IntN(len(ids))], 0); ref != 0 && !ix.Leased(ref) {
						ix.Take(ref)
						ix.SetDeaths(ref, r.IntN(4))
						ix.Put(ref)
					}
				}
			}
			ids = slices.DeleteFunc(ids, func(id uint64) bool { return ix.Data(id) == nil })
			checkIndex(t, ix)
		}
		for _, c := range settling {
			ix.Abort(c.Lease)
		}
		for _, id := range ids {
			ix.Remove(id)
		}
		checkIndex(t, ix)
		if s := ix.Stats(); s != (queue.Stats{}) {
			t.Errorf("got %+v left, want nothing", s)
		}
	})
}

// TestIndexWalk goes through what takes many steps, and finds all.
func TestIndexWalk(t *testing.T) {
	const dests, each = 3 * chunkSize, 3
	ix := New[int, int](nil)
	now := time.Now().UnixNano()
	var id uint64
	add := func(due int64, names ...string) {
		id++
		ix.Add(waitingFor(id, due, names...), 0)
	}
	for range each {
		for i := range dests {
			add(now, fmt.Sprint(i), fmt.Sprint((i+1)%dests))
		}
	}
	add(now+int64(time.Hour), "later")
	add(now, "leased")
	ix.claimAt("leased", 1, queue.Any)
	add(now, "held")
	ix.Hold(id, "")
	seen := map[queue.Lane]bool{}
	for _, d := range ix.allLanes() {
		want := now
		if d.Destination == "later" {
			want += int64(time.Hour)
		}
		if seen[d.Lane] || d.Due.UnixNano() != want {
			t.Errorf("got %+v, want it once, due at %d", d, want)
		}
		seen[d.Lane] = true
	}
	if len(seen) != dests+1 || seen[queue.Lane{Destination: "leased"}] || seen[queue.Lane{Destination: "held"}] {
		t.Errorf("got %d lanes, want %d", len(seen), dests+1)
	}
	if ids := ix.ids(); len(ids) != int(id) || ids[0] != 1 || ids[id-1] != id || !slices.IsSorted(ids) {
		t.Errorf("got %d messages, want %d in their order", len(ids), id)
	}
	for n := range id {
		if least, ok := Oldest(new(sync.Mutex), ix); !ok || least != n+1 {
			t.Fatalf("got %d as the oldest, want %d", least, n+1)
		}
		ix.Remove(n + 1)
	}
	if id, ok := Oldest(new(sync.Mutex), ix); ok {
		t.Errorf("got %d as the oldest, want none", id)
	}
}

// timedLock notes for how long it was held each time.
type timedLock struct {
	sync.Mutex
	since time.Time
	held  []time.Duration
}

func (l *timedLock) Lock() {
	l.Mutex.Lock()
	l.since = time.Now()
}

func (l *timedLock) Unlock() {
	l.held = append(l.held, time.Since(l.since))
	l.Mutex.Unlock()
}

// BenchmarkIndexWalk is of a million messages. It tells for how long the lock is held: of a thousand times, all but one.
func BenchmarkIndexWalk(b *testing.B) {
	for _, dests := range []int{1, 1000, 1_000_000} {
		const messages = 1_000_000
		ix := New[testPlace, testPlace](nil)
		now := time.Now().UnixNano()
		for i := range uint64(messages) {
			s := waitingFor(i+1, now-rand.Int64N(int64(time.Hour)), destName(rand.IntN(dests)))
			s.Deadline = now + int64(time.Hour)
			ix.Add(s, testPlace{})
		}
		goOn := func() error { return nil }
		walk := func(name string, f func(mu sync.Locker) int) {
			b.Run(fmt.Sprintf("%s/destinations=%d", name, dests), func(b *testing.B) {
				var mu timedLock
				for b.Loop() {
					f(&mu)
				}
				slices.Sort(mu.held)
				b.ReportMetric(float64(mu.held[len(mu.held)*999/1000].Microseconds()), "µs-locked")
				b.ReportMetric(float64(len(mu.held))/float64(b.N), "locks/op")
			})
		}
		walk("lanes", func(mu sync.Locker) (n int) {
			for range Lanes(mu, ix, goOn) {
				n++
			}
			if n != len(ix.byName) {
				b.Fatalf("got %d lanes, want all", n)
			}
			return n
		})
		walk("search", func(mu sync.Locker) int {
			var ids []uint64
			for id := range Search(mu, ix, &Filter{}, goOn) {
				ids = append(ids, id)
			}
			if len(ids) != messages {
				b.Fatalf("got %d messages, want all", len(ids))
			}
			return len(ids)
		})
		walk("oldest", func(mu sync.Locker) int {
			id, _ := Oldest(mu, ix)
			return int(id)
		})
	}
}

// soughtIn returns what finds the tasks of a message.
func (ix *Index[M, S]) soughtIn(m *message[M]) (all []sought) {
	for r := m.first; r != 0; r = ix.Tasks.At(r).next {
		l := ix.nameOf(ix.Tasks.At(r).lane)
		all = append(all, sought{dest: ix.destMark(l.Destination)}, sought{owner: l.Owner})
	}
	return all
}
