package index

import (
	"maps"
	"slices"

	"github.com/postrider/postrider/queue"
)

// is returns the State of the task.
func (t *task[S]) is() queue.State {
	switch {
	case t.phase != waiting:
		return queue.Leased
	case t.held:
		return queue.Held
	}
	return queue.Waiting
}

// Leased reports whether the task is leased or being settled.
func (ix *Index[M, S]) Leased(r ref) bool { return ix.Tasks.At(r).phase != waiting }

// Hold holds the tasks of a message, or releases them. It reports false if there is no such message.
func (ix *Index[M, S]) Hold(id uint64, held bool) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	ix.expire()
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		t := ix.Tasks.At(r)
		if t.phase != waiting {
			t.held = held // it takes effect at the end of the lease
			continue
		}
		ix.Take(r)
		t.held = held
		ix.Put(r)
	}
	return true
}

// Held reports whether the message exists and is held.
func (ix *Index[M, S]) Held(id uint64) bool {
	m := ix.byID.get(id)
	return m != 0 && ix.Tasks.At(ix.messages.At(m).first).held
}

// Settling reports whether a settlement of one of the message's tasks is in progress.
func (ix *Index[M, S]) Settling(id uint64) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		if ix.Tasks.At(r).phase == Settling {
			return true
		}
	}
	return false
}

// Claimable returns the lanes of the message's waiting tasks, each with the time at which the task is due.
func (ix *Index[M, S]) Claimable(id uint64) (due []queue.LaneDue) {
	m := ix.byID.get(id)
	if m == 0 {
		return nil
	}
	ix.expire()
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		if t := ix.Tasks.At(r); t.is() == queue.Waiting {
			due = append(due, queue.LaneDue{Lane: ix.nameOf(t.lane), Due: fromDue(t.at())})
		}
	}
	return due
}

// Remove removes a message and returns its tasks, none if there is no such message. Leases on them end. No settlement
// of one of them may be in progress.
func (ix *Index[M, S]) Remove(id uint64) []Task[M, S] {
	tasks := ix.TasksOf(id)
	m := ix.byID.get(id)
	for range tasks {
		r := ix.messages.At(m).first
		if l := ix.byTask[r]; l != nil {
			ix.end(l)
		} else {
			ix.Take(r)
		}
		ix.Drop(r)
	}
	return tasks
}

// Destinations returns the names of the destinations that have a task, in any order.
func (ix *Index[M, S]) Destinations() []string { return slices.Collect(maps.Keys(ix.byName)) }

// Stats returns the counts. It leaves Octets and Oldest to the store.
func (ix *Index[M, S]) Stats() queue.Stats {
	ix.expire()
	return queue.Stats{
		Messages: ix.byID.count, Tasks: ix.count, Destinations: len(ix.byName),
		Waiting: ix.count - len(ix.leases) - ix.kept, Leased: len(ix.leases), Held: ix.kept,
	}
}
