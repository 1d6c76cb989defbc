package heap

import (
	"math/rand/v2"
	"testing"
)

// byKey orders items of a test, which know their places.
type byKey struct{}

type heapItem struct{ key, place int }

func (byKey) Before(a, b *heapItem) bool { return a.key < b.key }

func (byKey) Moved(x *heapItem, place int) { x.place = place }

// TestHeap pushes, changes and removes at random: the first is the least, and all know their places.
func TestHeap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var h []*heapItem
	for i := range 5000 {
		switch {
		case len(h) == 0 || r.IntN(3) == 0:
			h = Push(byKey{}, h, &heapItem{key: r.IntN(1000)})
		case r.IntN(2) == 0:
			n := r.IntN(len(h))
			h[n].key = r.IntN(1000)
			Fix(byKey{}, h, n)
		case len(h) > 50:
			x := h[r.IntN(len(h))]
			if h = Remove(byKey{}, h, x.place); x.place >= 0 {
				t.Fatalf("step %d: what was removed thinks that it is at %d", i, x.place)
			}
		}
		for place, x := range h {
			if x.place != place || x.key < h[0].key {
				t.Fatalf("step %d: %+v is at %d, behind %d", i, x, place, h[0].key)
			}
		}
	}
}
