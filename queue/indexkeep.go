package queue

// hold keeps the tasks of a message from being claimed, or ends that. It reports false if there is no such message.
func (ix *index[M, S]) hold(id uint64, held bool) bool {
	m := ix.byID[id]
	if m == 0 {
		return false
	}
	ix.expire()
	for r := ix.messages.at(m).first; r != 0; r = ix.tasks.at(r).next {
		t := ix.tasks.at(r)
		if t.held == held {
			continue
		}
		if t.phase != waiting {
			t.held = held
			continue
		}
		if held {
			ix.take(r)
			t.held = true
		} else {
			t.held = false
			ix.put(r)
		}
	}
	return true
}

// held reports whether a message is held.
func (ix *index[M, S]) held(id uint64) bool {
	m := ix.byID[id]
	return m != 0 && ix.tasks.at(ix.messages.at(m).first).held
}

// remove forgets a message and says what its tasks were.
func (ix *index[M, S]) remove(id uint64) []claimed[M, S] {
	tasks := ix.tasksOf(id)
	for _, l := range ix.leases {
		if l.task != 0 && ix.messages.at(ix.tasks.at(l.task).message).id == id {
			ix.end(l)
			l.task = 0
		}
	}
	for _, c := range tasks {
		r := ix.task(id, c.num)
		if ix.tasks.at(r).phase == waiting {
			ix.take(r)
		}
		ix.drop(r)
	}
	return tasks
}

func (c *claimed[M, S]) due() int64 { return min(c.task.Due.UnixNano(), never) }
