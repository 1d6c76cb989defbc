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

// What looks at all that a queue holds goes step by step, and the queue's lock is let go between two of them: with a
// million messages the whole takes a tenth of a second, in which nobody else could claim or settle.

// walkStep is how many items of a heap are visited in a step.
const walkStep = 1024

// Search lists the messages of which f may let a task through, in the order of their arrival, which is that of their
// ids. check is asked at each step, with mu held, whether to go on.
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

// search adds to ids the messages that have a task in chunk n that f may let through. more says that there are other
// chunks.
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

// lets reports whether f may let this task through, if it does its message.
func (ix *Index[M, S]) lets(f *Filter, t *task[S]) bool {
	return (f.Destination == "" || ix.dests.At(t.dest).name == f.Destination) && f.state(t.is())
}

// Oldest finds the message that came first.
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

// Upcoming lists the destinations that have something due within the given time. check is asked at each step, with mu
// held, whether to go on.
func Upcoming[M, S any](mu sync.Locker, ix *Index[M, S], within time.Duration, check func() error) iter.Seq2[queue.Destination, error] {
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

// dueWalk is how far a list of what is due by limit has come.
type dueWalk struct {
	limit  int64
	chunk  int      // of destinations, the next one
	last   bool     // it isn't there
	names  []string // of those before it that have something due and aren't listed yet
	class  int      // the heap of the first of them that is being counted, of classes
	places []int    // where to go on in it
	counts [2]int   // of its tasks, fresh and retried, so far
}

// upcoming takes the walk one step on.
func (ix *Index[M, S]) upcoming(w *dueWalk) (due []queue.Destination, more bool) {
	ix.expire()
	if len(ix.byDue) == 0 || ix.dests.At(ix.byDue[0]).at > w.limit {
		return nil, false // as it is most of the time
	}
	if len(w.names) == 0 {
		w.last = !ix.dests.each(w.chunk, func(_ ref, d *destination) {
			if d.at <= w.limit { // never is beyond it
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

// countDue goes on counting what is due of d, looking at so many of its tasks at most, and says how many it had left.
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

// begin goes on with the next heap.
func (w *dueWalk) begin(class int) { w.class, w.places = class, append(w.places[:0], 0) }

// destination describes d, of which all is counted, if something of it is due.
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
