package index

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"time"
	"unique"

	"github.com/postrider/postrider/queue"
)

const (
	// Never is the time of a notice or a deadline that a message doesn't have.
	Never = math.MaxInt64

	// AtOnce is the due time of a task that waits for no time. It comes before all others, whatever the clock says.
	AtOnce = 0
)

// manyTasks is how many tasks a message has at least that is in Index.byNum: to look at all of them for each would take
// time in the square of their number.
const manyTasks = 64

// Index is the state machine of a queue: its tasks, the times at which they are due, and their leases. It does no I/O
// and has no lock. M is what the store keeps of a message, and S of a task: values in mem, places in the log in spool.
//
// It is built for millions of messages. A message of one task takes 32+2+56 octets, and slots in two heaps and in a
// table of IDs. A lane takes 88 octets and a slot in a table, and a destination 24 octets and an entry of a map.
//
// Times are Unix nanoseconds by the wall clock. Leases expire by the monotonic clock, counted from base, so that a step
// of the wall clock ends none early.
//
// Between two calls, the following holds. checkIndex in the tests verifies it.
//
//   - Each task is waiting, leased or settling.
//   - A waiting task is in the heap of its class, and in its lane's overdue if it has a notice or a deadline to come,
//     unless it is held or set aside. Other tasks are in no heap.
//   - A leased or settling task has one Lease, in leases and byTask. It is in byExpiry only if the task is leased.
//   - A message has at most one report task, which is its last one. It is in reports, by the ID of the message.
//   - The tasks of a message are in the order of their nums. Each task of a message in byNum is there, unless it is the
//     report task.
//   - Each lane has a task, and each destination has a lane.
//   - Each reason is of a message that was held after it was stored, and isn't empty.
//   - No message has an ID below the least of its chunk, or marks, an Owner or a destination that its chunk's
//     summary lacks.
type Index[M, S any] struct {
	// Owner returns the Owner of a message, at least 1 unless it has no Tenant and the null reverse-path. If nil, the
	// numbers are those of this Index alone. It must be set before the first Add.
	Owner func(*Message) queue.Owner

	// Elapsed is the monotonic clock by which leases expire. If nil, it is that of now. It must be set before the first
	// Claim.
	Elapsed func() time.Duration

	now      func() time.Time // the wall clock, with a monotonic one
	base     time.Time        // of expires
	tenants  maphash.Seed     // of their owners
	senders  maphash.Seed     // of theirs
	messages slab[message[M]]
	Tasks    slab[task[S]]
	lanes    slab[lane]
	dests    slab[destination]
	byID     idTable[uint64]
	byLane   idTable[uint64] // by laneKey
	byName   map[string]ref
	byNum    map[uint64][]ref // of a message with many tasks, by its ID: the tasks by num; 0: it is gone
	leases   map[uint64]*Lease
	byTask   map[ref]*Lease // the same ones
	byExpiry []*Lease       // a heap; those that are being settled aren't in it
	reports  map[uint64]*report[S]
	token    uint64
	settled  settled
	expired  bool                             // a lease has
	count    int                              // tasks
	kept     int                              // tasks that wait and are held
	reasons  map[uint64]unique.Handle[string] // of messages held after they were stored, by ID: see hold

	// These are of apart.go.
	suspects   map[ref]*suspect
	few, alone int      // leased suspects with one death, and with more
	aside      []ref    // suspects that wait for the end of such a lease
	recalled   []Coming // what Recalled returns next
}

type message[M any] struct {
	id    uint64
	data  M
	first ref // of its tasks
	marks marks
}

type task[S any] struct {
	due      int64 // of the next attempt, or AtOnce
	overdue  int64 // of its notice or its deadline, the earlier one
	State    S
	message  ref
	lane     ref
	next     ref // of the same message
	num      uint32
	place    int32 // in its lane's fresh or retried; -1: it is in no heap
	oplace   int32 // in its lane's overdue
	attempts uint16
	phase    phase
	hold     hold // as its message has it
}

type phase uint8

const (
	waiting  phase = iota // in the heaps, unless it is held
	leased                // the lease may expire
	Settling              // a settlement is in progress: the lease can't expire
)

// at returns the time from which the task can be claimed.
func (t *task[S]) at() int64 { return min(t.due, t.overdue) }

// Due returns the time of the next attempt, or AtOnce.
func (t *task[S]) Due() int64 { return t.due }

// New returns an empty Index. now replaces time.Now, for tests that step the wall clock; nil stands for time.Now.
func New[M, S any](now func() time.Time) *Index[M, S] {
	if now == nil {
		now = time.Now
	}
	ix := &Index[M, S]{
		now:      now,
		base:     now(),
		tenants:  maphash.MakeSeed(),
		senders:  maphash.MakeSeed(),
		byName:   map[string]ref{},
		byNum:    map[uint64][]ref{},
		leases:   map[uint64]*Lease{},
		byTask:   map[ref]*Lease{},
		reports:  map[uint64]*report[S]{},
		reasons:  map[uint64]unique.Handle[string]{},
		suspects: map[ref]*suspect{},
		token:    rand.Uint64(), // so that no lease from before a restart is valid
	}
	ix.byID.hash, ix.byLane.hash = hashID, hashID
	ix.byID.idOf = func(r ref) uint64 { return ix.messages.At(r).id }
	ix.byLane.idOf = func(r ref) uint64 {
		l := ix.lanes.At(r)
		return laneKey(l.dest, l.owner, l.priority)
	}
	return ix
}

// Now returns the time by the wall clock.
func (ix *Index[M, S]) Now() time.Time { return ix.now() }

// elapsed returns the time by the monotonic clock. now is what ix.now has returned.
func (ix *Index[M, S]) elapsed(now time.Time) time.Duration {
	if ix.Elapsed != nil {
		return ix.Elapsed()
	}
	return now.Sub(ix.base)
}

// Add adds a message with one task for each destination, and sets its Owner. It keeps no reference to s. The ID must be
// new.
func (ix *Index[M, S]) Add(s *Message, data M) {
	s.Owner = ix.owner(s)
	marks := ix.marksOf(s)
	m := ix.messages.add(message[M]{id: s.ID, data: data, marks: marks})
	sum := ix.messages.belongs(m, s.ID, &marks)
	sum.noteOwner(s.Owner)
	sum.noteDests(func(yield func(uint64) bool) {
		for _, name := range s.Dests {
			if !yield(ix.destMark(name)) {
				return
			}
		}
	})
	ix.byID.add(s.ID, m)
	next := &ix.messages.At(m).first
	var many []ref
	if len(s.Dests) >= manyTasks {
		many = make([]ref, len(s.Dests))
		ix.byNum[s.ID] = many
	}
	keep := free
	if s.Held {
		keep = asStored
	}
	for num, name := range s.Dests {
		t := ix.Tasks.add(task[S]{
			due: s.NotBefore, overdue: s.Overdue(false), message: m, lane: ix.join(s.Lane(name)), num: uint32(num),
			place: -1, oplace: -1, hold: keep,
		})
		*next = t
		next = &ix.Tasks.At(t).next
		if many != nil {
			many[num] = t
		}
		ix.count++
		ix.Put(t)
	}
}

// Put makes the task wait: it can be claimed, unless it is held.
func (ix *Index[M, S]) Put(r ref) {
	t := ix.Tasks.At(r)
	t.phase = waiting
	if t.hold != free {
		ix.kept++
		return
	}
	ix.put(r)
}

// Take undoes Put.
func (ix *Index[M, S]) Take(r ref) {
	if ix.Tasks.At(r).hold != free {
		ix.kept--
		return
	}
	if ix.takeAside(r) {
		return
	}
	ix.take(r)
}

// Drop removes a task that doesn't wait, and its message and its lane if it was their last. gone reports whether the
// message was removed.
func (ix *Index[M, S]) Drop(r ref) (gone bool) {
	t := *ix.Tasks.At(r)
	m := ix.messages.At(t.message)
	*ix.link(m, r) = t.next
	if many := ix.byNum[m.id]; many != nil && t.num != ReportTask {
		many[t.num] = 0
	}
	delete(ix.suspects, r)
	ix.Tasks.free(r)
	if t.num == ReportTask {
		delete(ix.reports, m.id)
	}
	ix.count--
	ix.leave(t.lane)
	if m.first != 0 {
		return false
	}
	ix.byID.remove(m.id)
	delete(ix.byNum, m.id)
	delete(ix.reasons, m.id)
	ix.messages.free(t.message)
	return true
}

// link returns what leads to a task of the message, for 0 the end of its tasks.
func (ix *Index[M, S]) link(m *message[M], r ref) *ref {
	next := &m.first
	if many := ix.byNum[m.id]; many != nil && *next != r {
		if r != 0 && ix.Tasks.At(r).num != ReportTask {
			many = many[:ix.Tasks.At(r).num]
		}
		for _, before := range slices.Backward(many) {
			if before != 0 {
				next = &ix.Tasks.At(before).next
				break
			}
		}
	}
	for *next != r {
		next = &ix.Tasks.At(*next).next
	}
	return next
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

// OwnerOf returns the Owner of a message, 0 if there is no such message.
func (ix *Index[M, S]) OwnerOf(id uint64) queue.Owner {
	m := ix.byID.get(id)
	if m == 0 {
		return 0
	}
	return ix.lanes.At(ix.Tasks.At(ix.messages.At(m).first).lane).owner
}

// Task returns a task of a message, 0 if there is none with this num.
func (ix *Index[M, S]) Task(id uint64, num uint32) ref {
	m := ix.byID.get(id)
	if m == 0 {
		return 0
	}
	if many := ix.byNum[id]; many != nil && num != ReportTask {
		if uint64(num) >= uint64(len(many)) {
			return 0
		}
		return many[num]
	}
	if num == ReportTask {
		if r := ix.reports[id]; r != nil {
			return r.task
		}
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
