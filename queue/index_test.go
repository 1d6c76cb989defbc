package queue

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
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
				if *s.at(ref) != v {
					t.Fatalf("step %d: got %d at %d, want %d", i, *s.at(ref), ref, v)
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
	if got := s.add(1); *s.at(got) != 1 || len(s.chunks) > 20 {
		t.Errorf("got %d chunks after that", len(s.chunks))
	}
}

// byKey orders items of a test, which know their places.
type byKey struct{}

type heapItem struct{ key, place int }

func (byKey) before(a, b *heapItem) bool { return a.key < b.key }

func (byKey) moved(x *heapItem, place int) { x.place = place }

// TestHeap pushes, changes and removes at random: the first is the least, and all know their places.
func TestHeap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var h []*heapItem
	for i := range 5000 {
		switch {
		case len(h) == 0 || r.IntN(3) == 0:
			h = heapPush(byKey{}, h, &heapItem{key: r.IntN(1000)})
		case r.IntN(2) == 0:
			n := r.IntN(len(h))
			h[n].key = r.IntN(1000)
			heapFix(byKey{}, h, n)
		case len(h) > 50:
			x := h[r.IntN(len(h))]
			if h = heapRemove(byKey{}, h, x.place); x.place >= 0 {
				t.Fatalf("step %d: what was removed thinks that it is at %d", i, x.place)
			}
		}
		limit, n := r.IntN(1000), 0
		for places := []int{0}; len(places) > 0; {
			most, seen := 1+r.IntN(10), n
			places, _ = heapWalk(h, places, most, func(x *heapItem) bool {
				if x.key > limit {
					return false
				}
				n++
				return true
			})
			if n-seen > most {
				t.Fatalf("step %d: heapWalk visits %d items at once, want at most %d", i, n-seen, most)
			}
		}
		for place, x := range h {
			if x.place != place || x.key < h[0].key {
				t.Fatalf("step %d: %+v is at %d, behind %d", i, x, place, h[0].key)
			}
			if x.key <= limit {
				n--
			}
		}
		if n != 0 {
			t.Fatalf("step %d: heapWalk visits %d too many", i, n)
		}
	}
}

// TestIndexMemory holds the index of a Spool to what it may take for each message.
func TestIndexMemory(t *testing.T) {
	const messages, perMessage = 100_000, 150
	before := heapInUse()
	ix := newIndex[place, place]()
	now := time.Now().UnixNano()
	for i := range messages {
		// Ten messages a destination.
		ix.add(uint64(i), place{}, []string{string(formatID(uint64(i/10))) + ".destination.example"}, now, now+int64(i))
	}
	used := heapInUse() - before
	t.Logf("%d octets for each message", used/messages)
	if used/messages > perMessage {
		t.Errorf("got %d octets for each message, want at most %d", used/messages, perMessage)
	}
	runtime.KeepAlive(ix)
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// ids and destinations are all at once, for tests that hold the lock or need none.
func (ix *index[M, S]) ids() []uint64 {
	ids, _ := search(new(sync.Mutex), ix, &filter{}, func() error { return nil })
	return ids
}

func (ix *index[M, S]) destinations(within time.Duration) (due []Destination) {
	for d := range upcoming(new(sync.Mutex), ix, within, func() error { return nil }) {
		due = append(due, d)
	}
	return due
}
