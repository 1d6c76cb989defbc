package index

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// triedInVain adds a message that was tried once and waits to be tried again at the time due.
func triedInVain[M, S any](ix *Index[M, S], s *Message) {
	var data M
	var state S
	ix.Add(s, data)
	r := ix.Task(s.ID, 0)
	ix.Take(r)
	ix.Change(r, s.NotBefore, s.Overdue(false), 1, state)
	ix.Put(r)
}

// TestIndexFlush has tasks claimed, settled and added between the steps of a flush: none that waited all the time is left out.
func TestIndexFlush(t *testing.T) {
	const messages, step = 20 * chunkSize, 40
	r := rand.New(rand.NewPCG(5, 6))
	ix := New[int, int](nil)
	now := time.Now().UnixNano()
	later := func() int64 { return now + int64(time.Hour) + r.Int64N(int64(time.Hour)) }
	untouched := map[uint64]bool{}
	for id := range uint64(messages) {
		s := waitingFor(id, later(), []string{"d", "e"}[r.IntN(2)])
		s.Priority = int8(r.IntN(3) - 1)
		triedInVain(ix, s)
		untouched[id] = s.Dests[0] == "d"
	}
	next := uint64(messages)
	count := 0
	for f, err := range Flush(new(sync.Mutex), ix, "d", 0, func() error { return nil }) {
		if err != nil || slices.ContainsFunc(f.Lanes, func(l queue.Lane) bool { return l.Destination != "d" }) || f.Count > chunkSize {
			t.Fatalf("got %+v and %v, want a step of d", f, err)
		}
		count += f.Count
		for range step {
			switch r.IntN(3) {
			case 0:
				ix.Add(waitingFor(next, later(), "d"), 0)
				next++
			case 1:
				id := r.Uint64N(next)
				ix.Remove(id)
				delete(untouched, id)
			case 2:
				for _, c := range ix.claimAt("d", 3, queue.Any) {
					l, _, err := ix.Find(c.Lease.Token())
					if err != nil {
						t.Fatal(err)
					}
					ix.Begin(l)
					ix.Retry(l, later(), Never, 2, 0)
					delete(untouched, c.ID)
				}
			}
		}
	}
	checkIndex(t, ix)
	flushed := time.Now().UnixNano()
	for id, is := range untouched {
		if due := ix.Tasks.At(ix.Task(id, 0)).due; is != (due <= flushed) {
			t.Fatalf("task %d of d %v is due at %d, and it is %d", id, is, due, flushed)
		}
	}
	if count < messages/3 {
		t.Errorf("got %d brought forward, want about %d", count, messages/2)
	}
}

// BenchmarkIndexFlush is of a destination with so many of a million tasks. It tells for how long the lock is held: of a hundred
// times, all but one, and the worst.
func BenchmarkIndexFlush(b *testing.B) {
	const messages, of = 1_000_000, 100_000
	ix := New[testPlace, testPlace](nil)
	now := time.Now().UnixNano()
	for id := range uint64(messages) {
		name := "large"
		if id%(messages/of) != 0 {
			name = destName(int(id / 10))
		}
		triedInVain(ix, waitingFor(id, now+int64(time.Hour), name))
	}
	var mu timedLock
	for b.Loop() {
		n := 0
		for f := range Flush(&mu, ix, "large", 0, func() error { return nil }) {
			n += f.Count
		}
		b.StopTimer()
		if n != of {
			b.Fatalf("got %d brought forward, want %d", n, of)
		}
		for id := uint64(0); id < messages; id += messages / of {
			r := ix.Task(id, 0)
			ix.Take(r)
			ix.Change(r, now+rand.Int64N(int64(time.Hour))+int64(time.Hour), Never, 1, testPlace{})
			ix.Put(r)
		}
		b.StartTimer()
	}
	slices.Sort(mu.held)
	b.ReportMetric(float64(mu.held[len(mu.held)*99/100].Microseconds()), "µs-locked")
	b.ReportMetric(float64(mu.held[len(mu.held)-1].Microseconds()), "worst-µs-locked")
}
