package queue

import (
	"math"
	"math/rand/v2"
	"time"
)

// never is a time that doesn't come.
const never = math.MaxInt64

// index is the state machine of a queue: which tasks there are, when each falls due and who holds
// it. It does no I/O and has no lock. M is what the queue that uses it keeps of a message and S what
// it keeps of a task: values for Mem, places in the log for Spool. It is built for millions of
// messages: 24+56 octets and its slots in two heaps and a map are what a message of one task takes.
//
// Times are Unix nanoseconds. The expiry of leases is counted on the monotonic clock, from base, so
// that no jump of the wall clock ends one early.
type index[M, S any] struct {
	base     time.Time
	messages slab[message[M]]
	tasks    slab[task[S]]
	dests    slab[destination]
	byID     idTable
	byName   map[string]ref
	byDue    []ref // all destinations: a heap by when the first of their tasks falls due
	leases   map[uint64]*lease
	byTask   map[ref]*lease // the same ones
	byExpiry []*lease       // a heap; those that are being settled aren't in it
	token    uint64
	count    int // of tasks
	kept     int // tasks that are waiting and held
}

type message[M any] struct {
	id    uint64
	data  M
	first ref // of its tasks
}

type task[S any] struct {
	due      int64 // when to try it
	overdue  int64 // the earlier of its delay notice and its deadline
	state    S
	message  ref
	dest     ref
	next     ref // of the same message
	num      uint32
	place    int32 // in its lane's fresh or retried; -1: it isn't claimable, in time or not
	oplace   int32 // in its destination's overdue
	attempts uint16
	phase    phase
	traits   // of its message
}

type phase uint8

const (
	waiting  phase = iota // in the heaps, unless it is held
	leased                // the lease may expire
	settling              // a settlement is on its way: the lease can't expire
)

// at is when the task can be claimed.
func (t *task[S]) at() int64 { return min(t.due, t.overdue) }

type destination struct {
	name    string
	at      int64 // when its first task can be claimed
	tasks   int32 // leased ones too
	place   int32 // in byDue
	lanes   [lanes]*lane
	overdue []ref // heap by overdue
}

func newIndex[M, S any]() *index[M, S] {
	ix := &index[M, S]{
		base:   time.Now(),
		byName: map[string]ref{},
		leases: map[uint64]*lease{},
		byTask: map[ref]*lease{},
		token:  rand.Uint64(), // a lease of an earlier life of the queue means nothing to this one
	}
	ix.byID.idOf = func(r ref) uint64 { return ix.messages.at(r).id }
	return ix
}

// add takes in a message with one task for each destination. It keeps nothing of s.
func (ix *index[M, S]) add(s *stored, data M) {
	m := ix.messages.add(message[M]{id: s.id, data: data})
	ix.byID.add(s.id, m)
	next := &ix.messages.at(m).first
	for num, name := range s.dests {
		t := ix.tasks.add(task[S]{
			due: s.due, overdue: s.overdue(false), message: m, num: uint32(num),
			place: -1, oplace: -1, traits: traitsOf(s.priority),
		})
		*next = t
		next = &ix.tasks.at(t).next
		ix.adopt(t, name)
	}
}

// adopt gives the task its destination.
func (ix *index[M, S]) adopt(t ref, name string) {
	d := ix.byName[name]
	if d == 0 {
		d = ix.dests.add(destination{name: name, at: never, place: -1})
		ix.byName[name] = d
		ix.byDue = heapPush(byDue[M, S]{ix}, ix.byDue, d)
	}
	ix.count++
	ix.dests.at(d).tasks++
	ix.tasks.at(t).dest = d
	ix.put(t)
}

// put has the task wait, to be claimed unless it is held.
func (ix *index[M, S]) put(r ref) {
	t := ix.tasks.at(r)
	t.phase = waiting
	if t.held() {
		ix.kept++
		return
	}
	d := ix.dests.at(t.dest)
	class := ix.class(d, t)
	*class = heapPush(byAt[M, S]{ix}, *class, r)
	if t.overdue != never {
		d.overdue = heapPush(byOverdue[M, S]{ix}, d.overdue, r)
	}
	ix.reorder(t.dest)
}

// take ends the wait of a task: it undoes put.
func (ix *index[M, S]) take(r ref) {
	t := ix.tasks.at(r)
	if t.held() {
		ix.kept--
		return
	}
	d := ix.dests.at(t.dest)
	class := ix.class(d, t)
	*class = heapRemove(byAt[M, S]{ix}, *class, int(t.place))
	if t.oplace >= 0 {
		d.overdue = heapRemove(byOverdue[M, S]{ix}, d.overdue, int(t.oplace))
	}
	ix.reorder(t.dest)
}

func (ix *index[M, S]) reorder(r ref) {
	d := ix.dests.at(r)
	at := int64(never)
	for _, class := range d.classes() {
		if len(class) > 0 {
			at = min(at, ix.tasks.at(class[0]).at())
		}
	}
	if at != d.at {
		d.at = at
		heapFix(byDue[M, S]{ix}, ix.byDue, int(d.place))
	}
}

// drop forgets the task, which doesn't wait any more, and its message and its destination if it was their
// last. gone says that the message is.
func (ix *index[M, S]) drop(r ref) (gone bool) {
	t := *ix.tasks.at(r)
	m := ix.messages.at(t.message)
	for next := &m.first; ; next = &ix.tasks.at(*next).next {
		if *next == r {
			*next = t.next
			break
		}
	}
	ix.tasks.free(r)
	ix.count--
	d := ix.dests.at(t.dest)
	if d.tasks--; d.tasks == 0 {
		ix.byDue = heapRemove(byDue[M, S]{ix}, ix.byDue, int(d.place))
		delete(ix.byName, d.name)
		ix.dests.free(t.dest)
	}
	if m.first != 0 {
		return false
	}
	ix.byID.remove(m.id)
	ix.messages.free(t.message)
	return true
}

// data gives what the queue keeps of the message, nil if there is none.
func (ix *index[M, S]) data(id uint64) *M {
	m := ix.byID.get(id)
	if m == 0 {
		return nil
	}
	return &ix.messages.at(m).data
}

// task finds a task of a message.
func (ix *index[M, S]) task(id uint64, num uint32) ref {
	m := ix.byID.get(id)
	if m == 0 {
		return 0
	}
	r := ix.messages.at(m).first
	for r != 0 && ix.tasks.at(r).num != num {
		r = ix.tasks.at(r).next
	}
	return r
}

// tasksOf lists the tasks of a message that are left.
func (ix *index[M, S]) tasksOf(id uint64) []claimed[M, S] { return ix.matching(id, &filter{}) }

// matching lists the tasks of a message that are left and that f may let through.
func (ix *index[M, S]) matching(id uint64, f *filter) []claimed[M, S] {
	m := ix.byID.get(id)
	if m == 0 || !f.message(id) {
		return nil
	}
	ix.expire()
	var tasks []claimed[M, S]
	for r := ix.messages.at(m).first; r != 0; r = ix.tasks.at(r).next {
		if ix.lets(f, ix.tasks.at(r)) {
			tasks = append(tasks, ix.describe(r))
		}
	}
	return tasks
}
