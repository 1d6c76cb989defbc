package index

import (
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
)

// A walk through all tasks is done in steps, and the lock of the store is released between two steps: with a million
// messages, a walk takes a tenth of a second.

// walkStep is the number of heap items that a step visits.
const walkStep = 1024

// Search returns the IDs of the messages of which f may select a task, in the order of arrival. At each step, with mu
// held, an error of check ends it.
func Search[M, S any](mu sync.Locker, ix *Index[M, S], f *Filter, check func() error) (ids []uint64, err error) {
	if f.ID != "" {
		mu.Lock()
		defer mu.Unlock()
		if err := check(); err != nil || len(ix.Matching(f.id, f)) == 0 {
			return nil, err
		}
		return []uint64{f.id}, nil
	}
	var found []uint64
	for n, more := 0, true; more; n++ {
		mu.Lock()
		if err = check(); err == nil {
			found, more = ix.search(n, f, found[:0])
		}
		mu.Unlock()
		if err != nil {
			return nil, err
		}
		ids = append(ids, found...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// search appends the IDs of the messages that have a task in chunk n that f may select. more reports whether there are
// further chunks.
func (ix *Index[M, S]) search(n int, f *Filter, ids []uint64) (_ []uint64, more bool) {
	ix.expire()
	dest := ix.byName[f.Destination]
	if f.Destination != "" && dest == 0 {
		return ids, false
	}
	more = ix.Tasks.each(n, func(_ ref, t *task[S]) {
		if dest != 0 && t.dest != dest || !f.state(t.is()) {
			return
		}
		id := ix.messages.At(t.message).id
		if f.message(id) && (len(ids) == 0 || ids[len(ids)-1] != id) {
			ids = append(ids, id)
		}
	})
	return ids, more
}

// lets reports whether f may select t, if f may select its message.
func (ix *Index[M, S]) lets(f *Filter, t *task[S]) bool {
	return (f.Destination == "" || ix.dests.At(t.dest).name == f.Destination) && f.state(t.is())
}

// Oldest returns the ID of the message that arrived first.
func Oldest[M, S any](mu sync.Locker, ix *Index[M, S]) (id uint64, ok bool) {
	id = math.MaxUint64
	for n, more := 0, true; more; n++ {
		mu.Lock()
		more = ix.messages.each(n, func(_ ref, m *message[M]) {
			id, ok = min(id, m.id), true
		})
		mu.Unlock()
	}
	return id, ok
}

// Upcoming yields the destinations that have a task due within the given time. At each step, with mu held, an error of
// check ends it.
func Upcoming[M, S any](
	mu sync.Locker, ix *Index[M, S], within time.Duration, check func() error,
) iter.Seq2[queue.Destination, error] {
	return func(yield func(queue.Destination, error) bool) {
		w := dueWalk{limit: ToNano(time.Now().Add(within))}
		for more := true; more; {
			var due []queue.Destination
			mu.Lock()
			err := check()
			if err == nil {
				due, more = ix.upcoming(&w)
			}
			mu.Unlock()
			if err != nil {
				yield(queue.Destination{}, err)
				return
			}
			for _, d := range due {
				if !yield(d, nil) {
					return
				}
			}
		}
	}
}

// dueWalk is the progress of Upcoming.
type dueWalk struct {
	limit  int64
	chunk  int      // the next chunk of destinations
	last   bool     // there are no further chunks
	names  []string // destinations of earlier chunks that have due tasks and aren't listed yet
	class  int      // the heap of the first of these that is being counted
	places []int    // where to continue in that heap
	counts [2]int   // of its due tasks so far, fresh and retried
}

// upcoming does one step of the walk.
func (ix *Index[M, S]) upcoming(w *dueWalk) (due []queue.Destination, more bool) {
	ix.expire()
	if len(ix.byDue) == 0 || ix.dests.At(ix.byDue[0]).at > w.limit {
		return nil, false // the most frequent case
	}
	if len(w.names) == 0 {
		w.last = !ix.dests.each(w.chunk, func(_ ref, d *destination) {
			if d.at <= w.limit { // false for Never
				w.names = append(w.names, d.name)
			}
		})
		w.chunk++
		w.begin(0)
	}
	for most := walkStep; len(w.names) > 0; {
		d := ix.byName[w.names[0]]
		if d != 0 {
			if most = ix.countDue(w, ix.dests.At(d), most); most <= 0 {
				return due, true
			}
			if dest, ok := ix.destination(w, ix.dests.At(d)); ok {
				due = append(due, dest)
			}
		}
		w.names, w.counts = w.names[1:], [2]int{}
		w.begin(0)
	}
	return due, !w.last
}

// countDue continues to count the due tasks of d. It looks at up to most of them, and returns how many of these are
// left.
func (ix *Index[M, S]) countDue(w *dueWalk, d *destination, most int) int {
	for classes := d.classes(); w.class < len(classes); {
		w.places, most = heap.Walk(classes[w.class], w.places, most, func(r ref) bool {
			if ix.Tasks.At(r).at() > w.limit {
				return false
			}
			w.counts[w.class%2]++
			return true
		})
		if len(w.places) > 0 {
			return 0
		}
		w.begin(w.class + 1)
	}
	return most
}

// begin continues with the heap of a class.
func (w *dueWalk) begin(class int) { w.class, w.places = class, append(w.places[:0], 0) }

// destination returns d, whose tasks are counted. It reports false if none is due.
func (ix *Index[M, S]) destination(w *dueWalk, d *destination) (queue.Destination, bool) {
	if d.at > w.limit || w.counts == [2]int{} {
		return queue.Destination{}, false
	}
	dest := queue.Destination{Name: d.name, Due: FromNano(d.at), Fresh: w.counts[0], Retried: w.counts[1]}
	if len(d.overdue) > 0 {
		dest.Overdue = FromNano(ix.Tasks.At(d.overdue[0]).overdue)
	}
	return dest, true
}
