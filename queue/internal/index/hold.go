package index

import (
	"maps"
	"slices"
	"unique"

	"github.com/postrider/postrider/queue"
)

// hold is whether a message is held, and where the reason is. That of one that is held as it was stored is in what the
// store keeps of it, as it may be long, and each message may have another. That of another hold is in Index.reasons.
type hold uint8

const (
	free     hold = iota
	asStored      // the reason is the HeldFor of the Message
	later         // the reason is in Index.reasons; if there is none, no reason was given
)

// is returns the State of the task.
func (t *task[S]) is() queue.State {
	switch {
	case t.phase != waiting:
		return queue.Leased
	case t.hold != free:
		return queue.Held
	}
	return queue.Waiting
}

// Leased reports whether the task is leased or being settled.
func (ix *Index[M, S]) Leased(r ref) bool { return ix.Tasks.At(r).phase != waiting }

// Hold holds the tasks of a message for a reason, which has been cut by CutReason. If the message is held already, and
// the reason is empty, the former reason stays. Hold reports false if there is no such message.
func (ix *Index[M, S]) Hold(id uint64, reason string) bool {
	if reason == "" && ix.Held(id) {
		return true
	}
	if !ix.setHold(id, later) {
		return false
	}
	if reason != "" {
		ix.reasons[id] = unique.Make(reason) // a user holds many messages for one reason
	}
	return true
}

// HoldAsStored holds the tasks of a message for the HeldFor of its Message. If it is held already, the reason stays.
func (ix *Index[M, S]) HoldAsStored(id uint64) bool { return ix.Held(id) || ix.setHold(id, asStored) }

// Release ends the hold of a message. It reports false if there is no such message.
func (ix *Index[M, S]) Release(id uint64) bool {
	delete(ix.reasons, id)
	return ix.setHold(id, free)
}

func (ix *Index[M, S]) setHold(id uint64, keep hold) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	ix.expire()
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		t := ix.Tasks.At(r)
		if t.phase != waiting {
			t.hold = keep // it takes effect at the end of the lease
			continue
		}
		ix.Take(r)
		t.hold = keep
		ix.Put(r)
	}
	return true
}

// Held reports whether the message exists and is held.
func (ix *Index[M, S]) Held(id uint64) bool {
	m := ix.byID.get(id)
	return m != 0 && ix.Tasks.At(ix.messages.At(m).first).hold != free
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
