package index

import (
	"hash/maphash"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
)

// destination is the name that one or more lanes share.
type destination struct {
	name  string
	lanes int32
}

// lane has the tasks of a queue.Lane. The waiting ones are in its heaps.
type lane struct {
	dest     ref
	tasks    int32 // in any phase
	owner    queue.Owner
	priority int8  // 1, 0 or -1
	fresh    []ref // a heap by at
	retried  []ref // a heap by at
	overdue  []ref // a heap by overdue: those of both that have a notice or a deadline
}

// laneKey is the number of a lane in the idTable of lanes.
func laneKey(dest ref, owner queue.Owner, priority int8) uint64 {
	return uint64(dest)<<24 | uint64(owner)<<8 | uint64(uint8(priority))
}

// laneOf returns the lane of that name, 0 if it has no tasks.
func (ix *Index[M, S]) laneOf(l queue.Lane) ref {
	dest := ix.byName[l.Destination]
	if dest == 0 {
		return 0
	}
	return ix.byLane.get(laneKey(dest, l.Owner, l.Priority))
}

// nameOf is the reverse of laneOf.
func (ix *Index[M, S]) nameOf(r ref) queue.Lane {
	l := ix.lanes.At(r)
	return queue.Lane{Destination: ix.dests.At(l.dest).name, Owner: l.owner, Priority: l.priority}
}

// join adds a task to the lane, which is made if need be.
func (ix *Index[M, S]) join(name queue.Lane) ref {
	dest := ix.byName[name.Destination]
	if dest == 0 {
		dest = ix.dests.add(destination{name: name.Destination})
		ix.byName[name.Destination] = dest
	}
	key := laneKey(dest, name.Owner, name.Priority)
	r := ix.byLane.get(key)
	if r == 0 {
		r = ix.lanes.add(lane{dest: dest, owner: name.Owner, priority: name.Priority})
		ix.byLane.add(key, r)
		ix.dests.At(dest).lanes++
	}
	ix.lanes.At(r).tasks++
	return r
}

// leave removes a task from its lane. A lane without tasks is removed, and a destination without lanes.
func (ix *Index[M, S]) leave(r ref) {
	l := ix.lanes.At(r)
	if l.tasks--; l.tasks > 0 {
		return
	}
	ix.byLane.remove(laneKey(l.dest, l.owner, l.priority))
	d := ix.dests.At(l.dest)
	if d.lanes--; d.lanes == 0 {
		delete(ix.byName, d.name)
		ix.dests.free(l.dest)
	}
	ix.lanes.free(r)
}

// owner returns the Owner of a message. It needs no lock.
func (ix *Index[M, S]) owner(s *Message) queue.Owner {
	switch {
	case ix.Owner != nil:
		return ix.Owner(s)
	case s.Tenant != "":
		return ix.tenant(s.Tenant)
	case s.Envelope.From != "":
		return max(1, queue.Owner(maphash.String(ix.senders, s.Envelope.From)))
	}
	return 0
}

func (ix *Index[M, S]) tenant(name string) queue.Owner {
	return max(1, queue.Owner(maphash.String(ix.tenants, name)))
}

// class returns the heap of a waiting task.
func (l *lane) class(attempts uint16) *[]ref {
	if attempts == 0 {
		return &l.fresh
	}
	return &l.retried
}

// first returns the due task that comes first for the want. If none is due, it returns 0 and the time of the next one.
func (ix *Index[M, S]) first(r ref, class queue.Class, now int64) (_ ref, at int64) {
	if r = ix.firstIn(ix.lanes.At(r), class); r == 0 {
		return 0, Never
	}
	if at = ix.Tasks.At(r).at(); class == queue.Overdue {
		at = ix.Tasks.At(r).overdue
	}
	if at > now {
		return 0, at
	}
	return r, at
}

// firstIn returns the first task of the class in the lane, due or not, 0 if there is none.
func (ix *Index[M, S]) firstIn(l *lane, class queue.Class) (r ref) {
	if class == queue.Overdue {
		return top(l.overdue)
	}
	fresh, retried := top(l.fresh), top(l.retried)
	switch {
	case class == queue.Fresh, class != queue.Retried && retried == 0:
		return fresh
	case class == queue.Retried, fresh == 0, (byAt[M, S]{ix}).Before(retried, fresh):
		return retried
	}
	return fresh
}

// top returns the first of a heap, 0 if it is empty.
func top(h []ref) ref {
	if len(h) == 0 {
		return 0
	}
	return h[0]
}

// put adds a waiting task to its heaps.
func (ix *Index[M, S]) put(r ref) {
	t := ix.Tasks.At(r)
	l := ix.lanes.At(t.lane)
	class := l.class(t.attempts)
	*class = heap.Push(byAt[M, S]{ix}, *class, r)
	if t.overdue != Never {
		l.overdue = heap.Push(byOverdue[M, S]{ix}, l.overdue, r)
	}
}

// take undoes put.
func (ix *Index[M, S]) take(r ref) {
	t := ix.Tasks.At(r)
	l := ix.lanes.At(t.lane)
	class := l.class(t.attempts)
	*class = heap.Remove(byAt[M, S]{ix}, *class, int(t.place))
	if t.oplace >= 0 {
		l.overdue = heap.Remove(byOverdue[M, S]{ix}, l.overdue, int(t.oplace))
	}
}
