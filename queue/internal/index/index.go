package index

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/postrider/postrider/internal/heap"
)

// Never is the time of a notice or a deadline that a message doesn't have.
const Never = math.MaxInt64

// Index is the state machine of a queue: its tasks, the times at which they are due, and their leases. It does no I/O
// and has no lock. M is what the store keeps of a message, and S of a task: values in mem, places in the log in spool.
//
// It is built for millions of messages. A message of one task takes 24+56 octets, and slots in two heaps and in a table
// of IDs.
//
// Times are Unix nanoseconds. Leases expire by the monotonic clock, counted from base, so that a step of the wall clock
// ends none early.
//
// Between two calls, the following holds. checkIndex in the tests verifies it.
//
//   - Each task is waiting, leased or settling.
//   - A waiting task is in the heap of its class, and in its destination's overdue if it has a notice or a deadline to
//     come, unless it is held. Other tasks are in no heap.
//   - A leased or settling task has one Lease, in leases and byTask. It is in byExpiry only if the task is leased.
//   - All destinations are in byDue, in the order of the first task in their heaps.
type Index[M, S any] struct {
	base     time.Time // of expires
	messages slab[message[M]]
	Tasks    slab[task[S]]
	dests    slab[destination]
	byID     idTable
	byName   map[string]ref
	byDue    []ref // all destinations: a heap by when the first of their tasks falls due
	leases   map[uint64]*Lease
	byTask   map[ref]*Lease // the same ones
	byExpiry []*Lease       // a heap; those that are being settled aren't in it
	token    uint64
	count    int // tasks
	kept     int // tasks that wait and are held
}

type message[M any] struct {
	id    uint64
	data  M
	first ref // of its tasks
}

type task[S any] struct {
	due      int64 // of the next attempt
	overdue  int64 // of its notice or its deadline, the earlier one
	State    S
	message  ref
	dest     ref
	next     ref // of the same message
	num      uint32
	place    int32 // in its lane's fresh or retried; -1: it is in no heap
	oplace   int32 // in its destination's overdue
	attempts uint16
	phase    phase
	traits   // of its message
}

type phase uint8

const (
	waiting  phase = iota // in the heaps, unless it is held
	leased                // the lease may expire
	Settling              // a settlement is in progress: the lease can't expire
)

// at returns the time from which the task can be claimed.
func (t *task[S]) at() int64 { return min(t.due, t.overdue) }

type destination struct {
	name    string
	at      int64 // at which its first task can be claimed
	tasks   int32 // in any phase
	place   int32 // in byDue
	lanes   [lanes]*lane
	overdue []ref // heap by overdue
}

// New returns an empty Index.
func New[M, S any]() *Index[M, S] {
	ix := &Index[M, S]{
		base:   time.Now(),
		byName: map[string]ref{},
		leases: map[uint64]*Lease{},
		byTask: map[ref]*Lease{},
		token:  rand.Uint64(), // so that no lease from before a restart is valid
	}
	ix.byID.idOf = func(r ref) uint64 { return ix.messages.At(r).id }
	return ix
}

// Add adds a message with one task for each destination. It keeps no reference to s. The ID must be new.
func (ix *Index[M, S]) Add(s *Message, data M) {
	m := ix.messages.add(message[M]{id: s.ID, data: data})
	ix.byID.add(s.ID, m)
	next := &ix.messages.At(m).first
	for num, name := range s.Dests {
		t := ix.Tasks.add(task[S]{
			due: s.Due, overdue: s.Overdue(false), message: m, num: uint32(num),
			place: -1, oplace: -1, traits: traitsOf(s.Priority),
		})
		*next = t
		next = &ix.Tasks.At(t).next
		ix.adopt(t, name)
	}
}

// adopt links the task to its destination.
func (ix *Index[M, S]) adopt(t ref, name string) {
	d := ix.byName[name]
	if d == 0 {
		d = ix.dests.add(destination{name: name, at: Never, place: -1})
		ix.byName[name] = d
		ix.byDue = heap.Push(byDue[M, S]{ix}, ix.byDue, d)
	}
	ix.count++
	ix.dests.At(d).tasks++
	ix.Tasks.At(t).dest = d
	ix.Put(t)
}

// Put makes the task wait: it can be claimed, unless it is held.
func (ix *Index[M, S]) Put(r ref) {
	t := ix.Tasks.At(r)
	t.phase = waiting
	if t.held() {
		ix.kept++
		return
	}
	d := ix.dests.At(t.dest)
	class := ix.class(d, t)
	*class = heap.Push(byAt[M, S]{ix}, *class, r)
	if t.overdue != Never {
		d.overdue = heap.Push(byOverdue[M, S]{ix}, d.overdue, r)
	}
	ix.reorder(t.dest)
}

// Take undoes Put.
func (ix *Index[M, S]) Take(r ref) {
	t := ix.Tasks.At(r)
	if t.held() {
		ix.kept--
		return
	}
	d := ix.dests.At(t.dest)
	class := ix.class(d, t)
	*class = heap.Remove(byAt[M, S]{ix}, *class, int(t.place))
	if t.oplace >= 0 {
		d.overdue = heap.Remove(byOverdue[M, S]{ix}, d.overdue, int(t.oplace))
	}
	ix.reorder(t.dest)
}

// reorder moves a destination to its place in byDue.
func (ix *Index[M, S]) reorder(r ref) {
	d := ix.dests.At(r)
	at := int64(Never)
	for _, class := range d.classes() {
		if len(class) > 0 {
			at = min(at, ix.Tasks.At(class[0]).at())
		}
	}
	if at != d.at {
		d.at = at
		heap.Fix(byDue[M, S]{ix}, ix.byDue, int(d.place))
	}
}

// Drop removes a task that doesn't wait, and its message and its destination if it was their last. gone reports whether
// the message was removed.
func (ix *Index[M, S]) Drop(r ref) (gone bool) {
	t := *ix.Tasks.At(r)
	m := ix.messages.At(t.message)
	for next := &m.first; ; next = &ix.Tasks.At(*next).next {
		if *next == r {
			*next = t.next
			break
		}
	}
	ix.Tasks.free(r)
	ix.count--
	d := ix.dests.At(t.dest)
	if d.tasks--; d.tasks == 0 {
		ix.byDue = heap.Remove(byDue[M, S]{ix}, ix.byDue, int(d.place))
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

// Data returns what the store keeps of the message, nil if there is no such message. The pointer is valid until the
// message is removed.
func (ix *Index[M, S]) Data(id uint64) *M {
	m := ix.byID.get(id)
	if m == 0 {
		return nil
	}
	return &ix.messages.At(m).data
}

// Task returns a task of a message, 0 if there is none with this num.
func (ix *Index[M, S]) Task(id uint64, num uint32) ref {
	m := ix.byID.get(id)
	if m == 0 {
		return 0
	}
	r := ix.messages.At(m).first
	for r != 0 && ix.Tasks.At(r).num != num {
		r = ix.Tasks.At(r).next
	}
	return r
}

// TasksOf returns the tasks of a message that are left.
func (ix *Index[M, S]) TasksOf(id uint64) []Task[M, S] { return ix.Matching(id, &Filter{}) }

// Matching returns the tasks of a message that are left and that f may select.
func (ix *Index[M, S]) Matching(id uint64, f *Filter) []Task[M, S] {
	m := ix.byID.get(id)
	if m == 0 || !f.message(id) {
		return nil
	}
	ix.expire()
	var tasks []Task[M, S]
	for r := ix.messages.At(m).first; r != 0; r = ix.Tasks.At(r).next {
		if ix.lets(f, ix.Tasks.At(r)) {
			tasks = append(tasks, ix.describe(r))
		}
	}
	return tasks
}
