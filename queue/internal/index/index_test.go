package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestSlab adds and frees at random: refs are of their own, values stay, and room is given back.
func TestSlab(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s slab[int]
	want := map[ref]int{}
	var refs []ref
	for i := range 20_000 {
		if r.IntN(5) < 2 && len(refs) > 0 || i > 15_000 && len(refs) > 0 {
			n := r.IntN(len(refs))
			gone := refs[n]
			refs = slices.Delete(refs, n, n+1)
			s.free(gone)
			delete(want, gone)
			continue
		}
		got := s.add(i)
		if _, ok := want[got]; ok || got == 0 {
			t.Fatalf("step %d: got ref %d, which is in use or none", i, got)
		}
		want[got] = i
		refs = append(refs, got)
		if i%100 == 0 {
			for ref, v := range want {
				if *s.At(ref) != v {
					t.Fatalf("step %d: got %d at %d, want %d", i, *s.At(ref), ref, v)
				}
			}
		}
	}
	for _, ref := range refs {
		s.free(ref)
	}
	for i, c := range s.chunks {
		if c != nil {
			t.Errorf("chunk %d wasn't given back", i)
		}
	}
	if got := s.add(1); *s.At(got) != 1 || len(s.chunks) > 20 {
		t.Errorf("got %d chunks after that", len(s.chunks))
	}
}

// TestIndexLanes has tasks of many priorities, some of them not due yet, fresh and retried.
func TestIndexLanes(t *testing.T) {
	const soon = int64(time.Minute)
	tests := []struct {
		name  string
		tasks []laneTask // each with the number of its place here
		class queue.Class
		want  []int
	}{
		{"above zero, zero, below", []laneTask{{priority: -1}, {priority: 0}, {priority: 1}}, queue.Any, []int{2, 1, 0}},
		{"earliest of a lane", []laneTask{{priority: 1, due: 3}, {priority: 9, due: 2}, {priority: 5, due: 1}}, queue.Any, []int{2, 1, 0}},
		{"one lane of all below zero", []laneTask{{priority: -1, due: 3}, {priority: -9, due: 2}, {priority: -5, due: 1}}, queue.Any, []int{2, 1, 0}},
		{"not due yet", []laneTask{{priority: 9, due: soon}, {priority: 0, due: soon}, {priority: -9}}, queue.Any, []int{2}},
		{"overdue before it is due", []laneTask{{priority: 0}, {priority: 9, due: soon, overdue: 5}}, queue.Any, []int{1, 0}},
		{"fresh and retried in one lane", []laneTask{{priority: 2, due: 2}, {priority: 3, due: 1, attempts: 1}, {priority: 1, due: 3}}, queue.Any, []int{1, 0, 2}},
		{"retried above fresh", []laneTask{{priority: 0, due: 1}, {priority: 1, due: 2, attempts: 3}}, queue.Any, []int{1, 0}},
		{"fresh above retried", []laneTask{{priority: 0, due: 1, attempts: 3}, {priority: 1, due: 2}}, queue.Any, []int{1, 0}},
		{"Fresh", []laneTask{{priority: -1}, {priority: 1, attempts: 1}, {priority: 0}}, queue.Fresh, []int{2, 0}},
		{"Retried", []laneTask{{priority: -1, attempts: 1}, {priority: 1}, {priority: 0, attempts: 1}}, queue.Retried, []int{2, 0}},
		{"Overdue knows no lane", []laneTask{{priority: 9, overdue: 3}, {priority: -9, overdue: 1}, {priority: 0, overdue: 2}}, queue.Overdue, []int{1, 2, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ix := New[int, int]()
			now := time.Now().UnixNano()
			for i, task := range tt.tasks {
				s := waitingFor(uint64(i), now-1000+task.due, "d")
				s.Priority = task.priority
				if task.overdue != 0 {
					s.Deadline = now - 1000 + task.overdue
				}
				ix.Add(s, 0)
				r := ix.Task(uint64(i), 0)
				ix.Take(r)
				ix.Change(r, s.Due, s.Overdue(false), task.attempts, 0)
				ix.Put(r)
			}
			for i := range tt.tasks { // their lane stays with them
				ix.Hold(uint64(i), true)
				ix.Hold(uint64(i), false)
			}
			checkIndex(t, ix)
			fresh, retried := 0, 0
			for _, task := range tt.tasks {
				if task.attempts > 0 {
					retried++
				} else {
					fresh++
				}
			}
			if due := ix.destinations(time.Hour); len(due) != 1 || due[0].Fresh != fresh || due[0].Retried != retried {
				t.Errorf("got %+v, want %d fresh and %d retried in all lanes", due, fresh, retried)
			}
			var got []int
			for range len(tt.tasks) + 1 {
				tasks, _ := ix.Claim([]queue.Want{{Destination: "d", Max: 1, Class: tt.class}}, time.Hour)
				for _, c := range tasks {
					got = append(got, int(c.ID))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v claimed, want %v", got, tt.want)
			}
			checkIndex(t, ix)
		})
	}
}

// laneTask is a task of a test. Its times are in nanoseconds from a microsecond ago.
type laneTask struct {
	priority     int8
	due, overdue int64
	attempts     int
}

// TestIndexMemory holds the index of a Spool to what it may take for each message, of one priority or of all.
func TestIndexMemory(t *testing.T) {
	const messages, perMessage = 100_000, 150
	tests := []struct {
		name     string
		priority func(i int) int8
	}{
		{"one lane", func(int) int8 { return 0 }},
		{"all lanes", func(i int) int8 { return int8(i%3 - 1) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := heapInUse()
			ix := New[testPlace, testPlace]()
			now := time.Now().UnixNano()
			for i := range messages {
				// Ten messages a destination.
				s := waitingFor(uint64(i), now, string(FormatID(uint64(i/10)))+".destination.example")
				s.Deadline, s.Priority = now+int64(i), tt.priority(i)
				ix.Add(s, testPlace{})
			}
			used := heapInUse() - before
			t.Logf("%d octets for each message", used/messages)
			if used/messages > perMessage {
				t.Errorf("got %d octets for each message, want at most %d", used/messages, perMessage)
			}
			runtime.KeepAlive(ix)
		})
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// waitingFor is a message that is to be tried at the time due, and has neither notice nor deadline.
func waitingFor(id uint64, due int64, dests ...string) *Message {
	return &Message{ID: id, Due: due, Notice: Never, Deadline: Never, Dests: dests}
}

// ids and destinations are all at once, for tests that hold the lock or need none.
func (ix *Index[M, S]) ids() []uint64 {
	ids, _ := Search(new(sync.Mutex), ix, &Filter{}, func() error { return nil })
	return ids
}

func (ix *Index[M, S]) destinations(within time.Duration) (due []queue.Destination) {
	for d := range Upcoming(new(sync.Mutex), ix, within, func() error { return nil }) {
		due = append(due, d)
	}
	return due
}

// testPlace is as large as what a Spool keeps of a message and of a task.
type testPlace [3]uint32

func destName(i int) string { return fmt.Sprintf("d%d.example", i) }
