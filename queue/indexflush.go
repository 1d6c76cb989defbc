package queue

import (
	"iter"
	"sync"
	"time"
)

// flushed is what a step of flush has made due.
type flushed struct {
	now          time.Time
	count        int
	destinations []string
}

// flush makes due, in steps, what waits to be tried again at the destination, "" being all destinations. check is asked at each step,
// with mu held, whether to go on.
func flush[M, S any](mu sync.Locker, ix *index[M, S], destination string, check func() error) iter.Seq2[flushed, error] {
	return func(yield func(flushed, error) bool) {
		now := time.Now()
		for n, more := 0, true; more; n++ {
			f := flushed{now: now}
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

// flush makes due what chunk n has of it. more says that there are other chunks.
func (ix *index[M, S]) flush(n int, destination string, f *flushed) (more bool) {
	ix.expire()
	dest := ix.byName[destination]
	if destination != "" && dest == 0 {
		return false
	}
	now := f.now.UnixNano()
	seen := map[ref]bool{}
	return ix.tasks.each(n, func(_ ref, t *task[S]) {
		if dest != 0 && t.dest != dest || t.is() != Waiting || t.attempts == 0 || t.due <= now {
			return
		}
		t.due = now
		d := ix.dests.at(t.dest)
		heapFix(byAt[M, S]{ix}, *ix.class(d, t), int(t.place))
		ix.reorder(t.dest)
		f.count++
		if !seen[t.dest] {
			seen[t.dest] = true
			f.destinations = append(f.destinations, d.name)
		}
	})
}
