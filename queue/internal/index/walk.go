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
		if dest != 0 && ix.lanes.At(t.lane).dest != dest || !f.state(t.is()) {
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
	return (f.Destination == "" || ix.nameOf(t.lane).Destination == f.Destination) && f.state(t.is())
}

// Oldest returns the ID of the message that arrived first.
func Oldest[M, S any](mu sync.Locker, ix *Index[M, S]) (id uint64, ok bool) {
	id = math.MaxUint64
	Each(mu, ix, func(n uint64, _ *M) { id, ok = min(id, n), true })
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
