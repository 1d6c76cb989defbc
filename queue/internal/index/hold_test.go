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
	var count, kept, leases, places, wanted int
	for n, more := 0, true; more; n++ {
		more = ix.Tasks.each(n, func(r ref, task *task[int]) {
			count++
			d := ix.dests.At(task.dest)
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
			wanted++
			if task.overdue != Never {
				wanted++
				if d.overdue[task.oplace] != r {
					t.Fatalf("task %d isn't at its place %d among the overdue", r, task.oplace)
				}
			}
			if (*ix.class(d, task))[task.place] != r || d.at > task.at() {
				t.Fatalf("task %d isn't at its place %d, or its destination is due at %d and not at %d", r, task.place, d.at, task.at())
			}
		})
	}
	for n, more := 0, true; more; n++ {
		more = ix.dests.each(n, func(_ ref, d *destination) {
			places += len(d.overdue)
			for _, class := range d.classes() {
				places += len(class)
				for i, r := range class {
					if i > 0 && (byAt[int, int]{ix}).Before(r, class[(i-1)/2]) {
						t.Fatalf("task %d at place %d is to be claimed before the one above it", r, i)
					}
				}
			}
		})
	}
	if places != wanted || count != ix.count || kept != ix.kept || leases != len(ix.leases) || leases != len(ix.byTask) {
		t.Fatalf("got %d places, %d tasks, %d held, %d leases (%d by task); want %d, %d, %d, %d",
			places, ix.count, ix.kept, len(ix.leases), len(ix.byTask), wanted, count, kept, leases)
	}
	for _, l := range ix.byExpiry {
		if ix.byTask[l.Task] != l {
			t.Fatalf("lease %+v would expire, and isn't that of its task", l)
		}
	}
}

// TestIndexRandom does what comes, removals that overtake a settlement included: all fits together after each step.
func TestIndexRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		ix := New[int, int]()
		held := map[uint64]bool{}
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
		void := 0
		for step := range 6000 {
			now := time.Now().UnixNano()
			switch r.IntN(9) {
			case 0, 1:
				id := uint64(step + 1)
				var dests []string
				for i := range 1 + r.IntN(3) {
					dests = append(dests, fmt.Sprint(i, r.IntN(3)))
				}
				ix.Add(&Message{
					ID: id, Dests: dests, Due: now + r.Int64N(1000), Notice: Never,
					Deadline: []int64{Never, now + r.Int64N(1000)}[r.IntN(2)], Priority: int8(r.IntN(3) - 1),
				}, 0)
				ids = append(ids, id)
			case 2:
				var wants []queue.Want
				for i := range 9 {
					wants = append(wants, queue.Want{Destination: fmt.Sprint(i/3, i%3), Max: r.IntN(4), Class: queue.Class(r.IntN(4))})
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
					if l, again, err := ix.Begin(c.Task.Lease); err == nil {
						again.Lease = l
						settling = append(settling, again)
					}
				}
			case 4:
				if c, ok := pick(&settling); ok {
					if c.Lease.Void() {
						void++
					}
					switch r.IntN(3) {
					case 0:
						ix.Abort(c.Lease)
						claims = append(claims, c)
					case 1:
						ix.Done(c.Lease)
					case 2:
						ix.Retry(c.Lease, now+r.Int64N(1000), Never, r.IntN(3), 0)
					}
				}
			case 5, 6:
				if len(ids) > 0 {
					id := ids[r.IntN(len(ids))]
					keep := r.IntN(2) == 0
					if got := ix.Hold(id, keep); got != (ix.Data(id) != nil) || ix.Held(id) != (got && keep) {
						t.Fatalf("step %d: hold(%d, %v) gives %v, and held %v", step, id, keep, got, ix.Held(id))
					}
					held[id] = keep
				}
			case 7:
				if len(ids) > 20 {
					id := ids[r.IntN(len(ids))]
					if len(settling) > 0 && r.IntN(2) == 0 {
						id = settling[r.IntN(len(settling))].ID
					}
					was := len(ix.TasksOf(id))
					if gone := ix.Remove(id); len(gone) != was || ix.Data(id) != nil || ix.Held(id) {
						t.Fatalf("step %d: remove(%d) gives %d tasks, want %d, or it is still there", step, id, len(gone), was)
					}
				}
			case 8:
				time.Sleep(time.Duration(r.IntN(300)))
			}
			ids = slices.DeleteFunc(ids, func(id uint64) bool { return ix.Data(id) == nil })
			checkIndex(t, ix)
		}
		if void == 0 {
			t.Error("no settlement was overtaken by a removal")
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

// TestIndexVoid has a message removed while its task is being settled, and another take its room: neither way to end
// the settlement changes that.
func TestIndexVoid(t *testing.T) {
	tests := []struct {
		name string
		end  func(*Index[int, int], *Lease)
	}{
		{"done", func(ix *Index[int, int], l *Lease) { ix.Done(l) }},
		{"retry", func(ix *Index[int, int], l *Lease) { ix.Retry(l, 1, 1, 5, 5) }},
		{"abort", func(ix *Index[int, int], l *Lease) { ix.Abort(l) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ix := New[int, int]()
			ix.Add(waitingFor(1, 0, "d"), 0)
			tasks, _ := ix.Claim([]queue.Want{{Destination: "d", Max: 1}}, time.Hour)
			c := tasks[0]
			l, _, err := ix.Begin(c.Task.Lease)
			if err != nil {
				t.Fatal(err)
			}
			if ix.Remove(1); !l.Void() {
				t.Error("the lease isn't void")
			}
			ix.Add(waitingFor(2, 0, "d"), 0)
			before := ix.TasksOf(2)[0]
			tt.end(ix, l)
			checkIndex(t, ix)
			if after := ix.TasksOf(2); len(after) != 1 || after[0].Task.Attempts != before.Task.Attempts ||
				!after[0].Task.Due.Equal(before.Task.Due) || after[0].Task.State != queue.Waiting || after[0].State != 0 {
				t.Errorf("got %+v, want %+v", after, before)
			}
			if _, _, err := ix.Begin(c.Task.Lease); err != queue.ErrLeaseLost {
				t.Errorf("begin under a void lease: got %v, want ErrLeaseLost", err)
			}
		})
	}
}

// TestIndexWalk goes through what takes many steps, and finds all.
func TestIndexWalk(t *testing.T) {
	const dests, each = 3 * chunkSize, 3
	ix := New[int, int]()
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
	for i := range 3 * walkStep {
		add(now+int64(i), "large")
	}
	add(now+int64(time.Hour), "later")
	tasks, _ := ix.Claim([]queue.Want{{Destination: "large", Max: walkStep / 2}}, time.Hour)
	for _, c := range tasks {
		l, _, err := ix.Begin(c.Task.Lease)
		if err != nil {
			t.Fatal(err)
		}
		ix.Retry(l, now, Never, 1, 0)
	}
	due := ix.destinations(time.Minute)
	for _, d := range due {
		if d.Name == "large" {
			if d.Fresh != 3*walkStep-walkStep/2 || d.Retried != walkStep/2 {
				t.Errorf("got %+v, want %d and %d", d, 3*walkStep-walkStep/2, walkStep/2)
			}
		} else if d.Fresh != 2*each || d.Retried != 0 {
			t.Errorf("got %+v, want %d fresh", d, 2*each)
		}
	}
	if len(due) != dests+1 {
		t.Errorf("got %d destinations, want %d", len(due), dests+1)
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
		ix := New[testPlace, testPlace]()
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
		walk("destinations", func(mu sync.Locker) (n int) {
			for d := range Upcoming(mu, ix, 0, goOn) {
				n += d.Fresh
			}
			if n != messages {
				b.Fatalf("got %d messages due, want all", n)
			}
			return n
		})
		walk("search", func(mu sync.Locker) int {
			ids, _ := Search(mu, ix, &Filter{}, goOn)
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
