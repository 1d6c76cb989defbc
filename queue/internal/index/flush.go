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
	Count int
	Lanes []queue.Lane
}

// Flush makes the waiting tasks of a destination that have a counted attempt, and are due later than after from now,
// due at once, in steps. An empty destination means all. It yields the result of each step. At each step, with mu held,
// an error of check ends it.
func Flush[M, S any](
	mu sync.Locker, ix *Index[M, S], destination string, after time.Duration, check func() error,
) iter.Seq2[flushed, error] {
	return func(yield func(flushed, error) bool) {
		for n, more := 0, true; more; n++ {
			var f flushed
			mu.Lock()
			err := check()
			if err == nil {
				more = ix.flush(n, destination, after, &f)
			}
			mu.Unlock()
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// flush makes the tasks of chunk n due at once. more reports whether there are further chunks.
func (ix *Index[M, S]) flush(n int, destination string, after time.Duration, f *flushed) (more bool) {
	ix.expire()
	dest := ix.byName[destination]
	if destination != "" && dest == 0 {
		return false
	}
	limit := ToNano(ix.now().Add(after))
	seen := map[ref]bool{}
	return ix.Tasks.each(n, func(_ ref, t *task[S]) {
		if dest != 0 && ix.lanes.At(t.lane).dest != dest || t.due <= limit || !ix.hasten(t) {
			return
		}
		f.Count++
		if !seen[t.lane] {
			seen[t.lane] = true
			f.Lanes = append(f.Lanes, ix.nameOf(t.lane))
		}
	})
}

// FlushMessage does for the tasks of a message what Flush does for those of a destination. ok reports whether there is
// such a message.
func (ix *Index[M, S]) FlushMessage(id uint64) (f flushed, ok bool) {
	ix.expire()
	m := ix.byID.get(id)
	if m == 0 {
		return f, false
	}
	now := ToNano(ix.now())
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		if t := ix.Tasks.At(r); t.due > now && ix.hasten(t) {
			f.Count++
			f.Lanes = append(f.Lanes, ix.nameOf(t.lane)) // each is of another destination
		}
	}
	return f, true
}

// hasten makes a task due at once if it waits and has a counted attempt. It reports whether it has.
func (ix *Index[M, S]) hasten(t *task[S]) bool {
	if t.is() != queue.Waiting || t.attempts == 0 {
		return false
	}
	t.due = AtOnce
	if t.place >= 0 { // it isn't set aside
		heap.Fix(byAt[M, S]{ix}, ix.lanes.At(t.lane).retried, int(t.place))
	}
	return true
}

// Hasten does for one task what Flush does for many. It returns its lane.
func (ix *Index[M, S]) Hasten(id uint64, num uint32) (lane queue.Lane, ok bool) {
	ix.expire()
	r := ix.Task(id, num)
	if r == 0 || !ix.hasten(ix.Tasks.At(r)) {
		return queue.Lane{}, false
	}
	return ix.nameOf(ix.Tasks.At(r).lane), true
}
