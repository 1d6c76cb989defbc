package index

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/postrider/postrider/internal/heap"
)

// Never is a time that doesn't come.
const Never = math.MaxInt64

// Index is the state machine of a queue: which tasks there are, when each falls due and who holds
// it. It does no I/O and has no lock. M is what the queue that uses it keeps of a message and S what
// it keeps of a task: values for Mem, places in the log for Spool. It is built for millions of
// messages: 24+56 octets and its slots in two heaps and a map are what a message of one task takes.
//
// Times are Unix nanoseconds. The expiry of leases is counted on the monotonic clock, from base, so
// that no jump of the wall clock ends one early.
type Index[M, S any] struct {
	base     time.Time
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
	State    S
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
	Settling              // a settlement is on its way: the lease can't expire
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

func New[M, S any]() *Index[M, S] {
	ix := &Index[M, S]{
		base:   time.Now(),
		byName: map[string]ref{},
		leases: map[uint64]*Lease{},
		byTask: map[ref]*Lease{},
		token:  rand.Uint64(), // a lease of an earlier life of the queue means nothing to this one
	}
	ix.byID.idOf = func(r ref) uint64 { return ix.messages.At(r).id }
	return ix
}

// Add takes in a message with one task for each destination. It keeps nothing of s.
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

// adopt gives the task its destination.
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

// Put has the task wait, to be claimed unless it is held.
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

// Take ends the wait of a task: it undoes put.
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

// Drop forgets the task, which doesn't wait any more, and its message and its destination if it was their
// last. gone says that the message is.
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

// Data gives what the queue keeps of the message, nil if there is none.
func (ix *Index[M, S]) Data(id uint64) *M {
	m := ix.byID.get(id)
	if m == 0 {
		return nil
	}
	return &ix.messages.At(m).data
}

// Task finds a task of a message.
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

// TasksOf lists the tasks of a message that are left.
func (ix *Index[M, S]) TasksOf(id uint64) []Task[M, S] { return ix.Matching(id, &Filter{}) }

// Matching lists the tasks of a message that are left and that f may let through.
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
