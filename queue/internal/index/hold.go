package index

import "github.com/postrider/postrider/queue"

// is says what may be done with the task.
func (t *task[S]) is() queue.State {
	switch {
	case t.phase != waiting:
		return queue.Leased
	case t.held():
		return queue.Held
	}
	return queue.Waiting
}

// Hold keeps the tasks of a message from being claimed, or releases them. false: there is no such message.
func (ix *Index[M, S]) Hold(id uint64, held bool) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	ix.expire()
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		t := ix.Tasks.At(r)
		if t.phase != waiting {
			t.hold(held) // the end of its lease finds it so
			continue
		}
		ix.Take(r)
		t.hold(held)
		ix.Put(r)
	}
	return true
}

// Held reports whether the message is there and held.
func (ix *Index[M, S]) Held(id uint64) bool {
	m := ix.byID.get(id)
	return m != 0 && ix.Tasks.At(ix.messages.At(m).first).held()
}

// Writing reports whether a settlement of one of the message's tasks is being written.
func (ix *Index[M, S]) Writing(id uint64) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		if l := ix.byTask[r]; l != nil && l.Writing {
			return true
		}
	}
	return false
}

// Claimable lists the destinations for which the message has a task to be claimed, each with the time.
func (ix *Index[M, S]) Claimable(id uint64) (due []queue.Destination) {
	m := ix.byID.get(id)
	if m == 0 {
		return nil
	}
	ix.expire()
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		if t := ix.Tasks.At(r); t.is() == queue.Waiting {
			due = append(due, queue.Destination{Name: ix.dests.At(t.dest).name, Due: FromNano(t.at())})
		}
	}
	return due
}

// Remove forgets a message with all its tasks, and says what they were: none, if there is no such message. Leases on
// them are void, those under which a settlement is on its way, too.
func (ix *Index[M, S]) Remove(id uint64) []Task[M, S] {
	tasks := ix.TasksOf(id)
	m := ix.byID.get(id)
	for range tasks {
		r := ix.messages.At(m).first
		if l := ix.byTask[r]; l != nil {
			ix.end(l)
			l.Task = 0 // the ref will name another task
		} else {
			ix.Take(r)
		}
		ix.Drop(r)
	}
	return tasks
}

// Stats counts what is there, but for Octets and Oldest.
func (ix *Index[M, S]) Stats() queue.Stats {
	ix.expire()
	return queue.Stats{
		Messages: ix.byID.count, Tasks: ix.count, Destinations: len(ix.byName),
		Waiting: ix.count - len(ix.leases) - ix.kept, Leased: len(ix.leases), Held: ix.kept,
	}
}
