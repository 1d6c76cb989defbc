package index

import (
	"iter"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
)

// flushed is the result of a step of Flush.
type flushed struct {
	Now          time.Time
	Count        int
	Destinations []string
}

// Flush makes the waiting tasks of a destination that have a counted attempt due, in steps. An empty destination means
// all. It yields the result of each step. At each step, with mu held, an error of check ends it.
func Flush[M, S any](
	mu sync.Locker, ix *Index[M, S], destination string, check func() error,
) iter.Seq2[flushed, error] {
	return func(yield func(flushed, error) bool) {
		now := time.Now()
		for n, more := 0, true; more; n++ {
			f := flushed{Now: now}
			mu.Lock()
			err := check()
			if err == nil {
				more = ix.flush(n, destination, &f)
			}
			mu.Unlock()
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// flush makes the tasks of chunk n due. more reports whether there are further chunks.
func (ix *Index[M, S]) flush(n int, destination string, f *flushed) (more bool) {
	ix.expire()
	dest := ix.byName[destination]
	if destination != "" && dest == 0 {
		return false
	}
	now := f.Now.UnixNano()
	seen := map[ref]bool{}
	return ix.Tasks.each(n, func(_ ref, t *task[S]) {
		if dest != 0 && t.dest != dest || t.is() != queue.Waiting || t.attempts == 0 || t.due <= now {
			return
		}
		t.due = now
		d := ix.dests.At(t.dest)
		heap.Fix(byAt[M, S]{ix}, *ix.class(d, t), int(t.place))
		ix.reorder(t.dest)
		f.Count++
		if !seen[t.dest] {
			seen[t.dest] = true
			f.Destinations = append(f.Destinations, d.name)
		}
	})
}
