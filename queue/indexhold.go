package queue

// is says what may be done with the task.
func (t *task[S]) is() State {
	switch {
	case t.phase != waiting:
		return Leased
	case t.held():
		return Held
	}
	return Waiting
}

// hold keeps the tasks of a message from being claimed, or releases them. false: there is no such message.
func (ix *index[M, S]) hold(id uint64, held bool) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	ix.expire()
	for r := ix.messages.at(m).first; r != 0; r = ix.tasks.at(r).next {
		t := ix.tasks.at(r)
		if t.phase != waiting {
			t.hold(held) // the end of its lease finds it so
			continue
		}
		ix.take(r)
		t.hold(held)
		ix.put(r)
	}
	return true
}

// held reports whether the message is there and held.
func (ix *index[M, S]) held(id uint64) bool {
	m := ix.byID.get(id)
	return m != 0 && ix.tasks.at(ix.messages.at(m).first).held()
}

// writing reports whether a settlement of one of the message's tasks is being written.
func (ix *index[M, S]) writing(id uint64) bool {
	m := ix.byID.get(id)
	if m == 0 {
		return false
	}
	for r := ix.messages.at(m).first; r != 0; r = ix.tasks.at(r).next {
		if l := ix.byTask[r]; l != nil && l.writing {
			return true
		}
	}
	return false
}

// claimable lists the destinations for which the message has a task to be claimed, each with the time.
func (ix *index[M, S]) claimable(id uint64) (due []Destination) {
	m := ix.byID.get(id)
	if m == 0 {
		return nil
	}
	ix.expire()
	for r := ix.messages.at(m).first; r != 0; r = ix.tasks.at(r).next {
		if t := ix.tasks.at(r); t.is() == Waiting {
			due = append(due, Destination{Name: ix.dests.at(t.dest).name, Due: fromNano(t.at())})
		}
	}
	return due
}

// remove forgets a message with all its tasks, and says what they were: none, if there is no such message. Leases on
// them are void, those under which a settlement is on its way, too.
func (ix *index[M, S]) remove(id uint64) []claimed[M, S] {
	tasks := ix.tasksOf(id)
	m := ix.byID.get(id)
	for range tasks {
		r := ix.messages.at(m).first
		if l := ix.byTask[r]; l != nil {
			ix.end(l)
			l.task = 0 // the ref will name another task
		} else {
			ix.take(r)
		}
		ix.drop(r)
	}
	return tasks
}

// stats counts what is there, but for Octets and Oldest.
func (ix *index[M, S]) stats() Stats {
	ix.expire()
	return Stats{
		Messages: ix.byID.count, Tasks: ix.count, Destinations: len(ix.byName),
		Waiting: ix.count - len(ix.leases) - ix.kept, Leased: len(ix.leases), Held: ix.kept,
	}
}
