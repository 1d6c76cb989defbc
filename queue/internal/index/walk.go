package index

import (
	"iter"
	"math"
	"slices"
	"sync"

	"github.com/postrider/postrider/queue"
)

// A walk through all tasks is done in steps, and the lock of the store is released between two steps: with a million
// messages, a walk takes a tenth of a second.

// firstIDs is how many messages Search finds in its first walk. Each further walk finds moreIDs times as many.
const (
	firstIDs = 100
	moreIDs  = 20
)

// Search yields the IDs of the messages of which f may select a task, in the order of arrival. At each step, with mu
// held, an error of check ends it.
//
// Each walk skips the messages that are known to be later than those it looks for. So the first one, which fills a
// page, is short, unless few of the messages match.
func Search[M, S any](mu sync.Locker, ix *Index[M, S], f *Filter, check func() error) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		if f.ID != "" {
			mu.Lock()
			err := check()
			found := err == nil && len(ix.Matching(f.id, f)) > 0
			mu.Unlock()
			if err != nil || found {
				yield(f.id, err)
			}
			return
		}
		rest := *f
		for most := firstIDs; ; most *= moreIDs {
			ids, more, err := walk(mu, ix, &rest, most, check)
			if err != nil {
				yield(0, err)
				return
			}
			for _, id := range ids {
				if !yield(id, nil) {
					return
				}
			}
			if !more {
				return
			}
			rest.after = ids[len(ids)-1]
		}
	}
}

// walk returns the first IDs for Search, most of them at most. more reports whether there are others.
func walk[M, S any](mu sync.Locker, ix *Index[M, S], f *Filter, most int, check func() error) (
	ids []uint64, more bool, err error,
) {
	last := uint64(math.MaxUint64) // later ones aren't needed
	keep := func() {
		slices.Sort(ids)
		if len(ids) > most {
			ids, more = ids[:most], true
			last = ids[most-1]
		}
	}
	what := ix.soughtBy(f)
	for n, further := 0, true; further; {
		mu.Lock()
		if err = check(); err == nil {
			n, further = ix.search(n, f, &what, last, &ids)
		}
		mu.Unlock()
		if err != nil {
			return nil, false, err
		}
		if len(ids) >= 2*most {
			keep()
		}
	}
	keep()
	return ids, more, nil
}

// search appends the IDs up to last of the messages that have a task that f may select, for some chunks of messages
// from n on. next is the chunk to go on with, and further reports whether there is one.
func (ix *Index[M, S]) search(n int, f *Filter, what *sought, last uint64, ids *[]uint64) (next int, further bool) {
	ix.expire()
	w := wanted{dest: ix.byName[f.Destination], state: f.State, owner: what.owner}
	if f.Destination != "" && w.dest == 0 || f.State == queue.Held && ix.kept == 0 {
		return n, false
	}
	return ix.messages.upTo(n, func() uint64 { return last }, what, func(n int) uint64 {
		least := uint64(math.MaxUint64)
		sum := ix.messages.chunks[n].again()
		ix.messages.each(n, func(_ ref, m *message[M]) {
			least = min(least, m.id)
			if sum != nil {
				sum.note(&m.marks)
				ix.noteTasks(sum, m)
			}
			if m.id <= last && f.message(m.id) && m.marks.match(&what.marks) && ix.has(m, &w) {
				*ids = append(*ids, m.id)
			}
		})
		return least
	})
}

// wanted is what a Filter wants of a task: all that isn't zero.
type wanted struct {
	dest  ref
	state queue.State
	owner queue.Owner
}

// has reports whether the message has such a task.
func (ix *Index[M, S]) has(m *message[M], w *wanted) bool {
	if *w == (wanted{}) {
		return true
	}
	for r := m.first; r != 0; {
		t := ix.Tasks.At(r)
		l := ix.lanes.At(t.lane)
		if w.owner != 0 && l.owner != w.owner {
			return false // all tasks of a message have one owner
		}
		if (w.dest == 0 || l.dest == w.dest) && (w.state == 0 || t.is() == w.state) {
			return true
		}
		r = t.next
	}
	return false
}

// lets reports whether f may select t, if f may select its message.
func (ix *Index[M, S]) lets(f *Filter, t *task[S]) bool {
	return (f.Destination == "" || ix.nameOf(t.lane).Destination == f.Destination) && f.state(t.is())
}

// Oldest returns the ID of the message that arrived first.
func Oldest[M, S any](mu sync.Locker, ix *Index[M, S]) (id uint64, ok bool) {
	id = math.MaxUint64
	for n, more := 0, true; more; {
		mu.Lock()
		n, more = ix.messages.upTo(n, func() uint64 { return id }, &sought{}, func(n int) uint64 {
			least := uint64(math.MaxUint64)
			ix.messages.each(n, func(_ ref, m *message[M]) { least = min(least, m.id) })
			id, ok = min(id, least), true
			return least
		})
		mu.Unlock()
	}
	return id, ok
}

// Each calls visit for each message that exists during the whole walk, in any order, and for some of the others. mu is
// held during visit.
func Each[M, S any](mu sync.Locker, ix *Index[M, S], visit func(id uint64, data *M)) {
	for n, more := 0, true; more; n++ {
		mu.Lock()
		more = ix.messages.each(n, func(_ ref, m *message[M]) { visit(m.id, &m.data) })
		mu.Unlock()
	}
}

// Lanes yields the lanes that have a task that waits and isn't held. At each step, with mu held, an error of check ends
// it.
func Lanes[M, S any](mu sync.Locker, ix *Index[M, S], check func() error) iter.Seq2[queue.LaneDue, error] {
	return func(yield func(queue.LaneDue, error) bool) {
		var due []queue.LaneDue
		for n, more := 0, true; more; n++ {
			mu.Lock()
			err := check()
			if err == nil {
				due, more = ix.waiting(n, due[:0])
			}
			mu.Unlock()
			if err != nil {
				yield(queue.LaneDue{}, err)
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

// waiting appends the lanes of chunk n that have a task that waits and isn't held. more reports whether there are
// further chunks.
func (ix *Index[M, S]) waiting(n int, due []queue.LaneDue) (_ []queue.LaneDue, more bool) {
	ix.expire()
	more = ix.lanes.each(n, func(r ref, l *lane) {
		first := ix.firstIn(l, queue.Any)
		if first == 0 {
			return
		}
		d := queue.LaneDue{Lane: ix.nameOf(r), Due: fromDue(ix.Tasks.At(first).at())}
		if overdue := top(l.overdue); overdue != 0 {
			d.Overdue = FromNano(ix.Tasks.At(overdue).overdue)
		}
		due = append(due, d)
	})
	return due, more
}
