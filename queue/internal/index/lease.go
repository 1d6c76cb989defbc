package index

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
)

// MaxAttempts is the highest number of attempts. Later ones aren't counted.
const MaxAttempts = math.MaxUint16

// Lease is a lease that was granted and hasn't ended.
type Lease struct {
	token      uint64
	Task       ref
	Recipients atomic.Int32 // of the queue.Task
	Data       any          // what the store keeps while the lease lasts
	parts      int          // of a report task, that the lease is for
	place      int          // in byExpiry; -1: it isn't there
	expires    time.Duration
}

// Token returns the lease as the user of the store knows it.
func (l *Lease) Token() queue.Lease { return queue.Lease(l.token) }

// Task is a task of a Claim, with its Lease, or of a list. The store makes a queue.Task of it by Fill, or by Bare.
type Task[M, S any] struct {
	ID       uint64
	Data     M
	Num      uint32
	Phase    phase
	State    S
	Parts    []Part[S] // of a report task
	Lane     queue.Lane
	Lease    *Lease
	Is       queue.State
	Only     bool
	AsStored bool // it is held for the HeldFor of its Message
	Due      int64
	Attempts int
	Deaths   int
	HeldFor  string // unless AsStored is true
}

// expire ends the leases that have expired. Every method that looks at tasks or leases calls it first.
func (ix *Index[M, S]) expire() {
	now := ix.elapsed(ix.now())
	for len(ix.byExpiry) > 0 && ix.byExpiry[0].expires <= now {
		l := ix.byExpiry[0]
		ix.end(l)
		ix.Put(l.Task)
		ix.expired = true
	}
}

// Unsettled reports whether there may be claims that weren't settled: there is a lease, or one has expired.
func (ix *Index[M, S]) Unsettled() bool { return ix.expired || len(ix.leases) > 0 }

// end removes the lease.
func (ix *Index[M, S]) end(l *Lease) {
	if l.place >= 0 {
		ix.byExpiry = heap.Remove(byExpiry{}, ix.byExpiry, l.place)
	}
	delete(ix.leases, l.token)
	delete(ix.byTask, l.Task)
	ix.suspectReturned(l.Task)
}

// Coming is the time of the next task of a lane from which a Claim returned fewer tasks than wanted.
type Coming struct {
	lane queue.Lane
	at   time.Time
}

// Claim leases due tasks. next has the lanes from which it returned fewer than wanted. It passes over suspects that
// must wait for others.
func (ix *Index[M, S]) Claim(wants []queue.Want, d time.Duration) (tasks []Task[M, S], next []Coming) {
	ix.expire()
	now := ix.now()
	var leases []*Lease
	for _, want := range wants {
		l := ix.laneOf(want.Lane)
		if l == 0 {
			continue
		}
		for n := 0; n < want.Max; {
			r, at := ix.first(l, want.Class, now.UnixNano())
			if r == 0 {
				if at != Never {
					next = append(next, Coming{want.Lane, fromDue(at)})
				}
				break
			}
			ix.Take(r)
			if ix.mustWait(r) {
				ix.setAside(r)
				continue
			}
			leases = append(leases, ix.grant(r, now, d))
			n++
		}
	}
	tasks = make([]Task[M, S], len(leases))
	for i, l := range leases {
		tasks[i] = ix.describe(l.Task)
		tasks[i].Lease = l
		l.parts = len(tasks[i].Parts)
	}
	return tasks, next
}

// grant leases a task that doesn't wait.
func (ix *Index[M, S]) grant(r ref, now time.Time, d time.Duration) *Lease {
	ix.token++
	l := &Lease{token: ix.token, Task: r, expires: ix.elapsed(now) + d}
	ix.leases[l.token], ix.byTask[r] = l, l
	ix.byExpiry = heap.Push(byExpiry{}, ix.byExpiry, l)
	t := ix.Tasks.At(r)
	t.phase = leased
	if t.attempts < MaxAttempts {
		t.attempts++
	}
	ix.suspectLeased(r)
	return l
}

func (ix *Index[M, S]) describe(r ref) Task[M, S] {
	t := ix.Tasks.At(r)
	m := ix.messages.At(t.message)
	lane := ix.nameOf(t.lane)
	var parts []Part[S]
	if t.num == ReportTask {
		parts = slices.Clone(ix.reports[m.id].parts)
	}
	var reason string
	if t.hold == later {
		if r, ok := ix.reasons[m.id]; ok {
			reason = r.Value()
		}
	}
	return Task[M, S]{
		ID: m.id, Data: m.data, Num: t.num, Phase: t.phase, State: t.State, Parts: parts, Lane: lane,
		Is: t.is(), Only: ix.only(r), Due: t.due, Attempts: int(t.attempts), Deaths: ix.deaths(r),
		HeldFor: reason, AsStored: t.hold == asStored,
	}
}

// find returns the lease unless it has ended.
func (ix *Index[M, S]) find(l queue.Lease) (*Lease, error) {
	ix.expire()
	if got := ix.leases[uint64(l)]; got != nil {
		return got, nil
	}
	return nil, queue.ErrLeaseLost
}

// Find returns the lease and its task, of a report task the parts that the lease is for. If the lease has ended, it
// returns queue.ErrSettled or queue.ErrLeaseLost.
func (ix *Index[M, S]) Find(l queue.Lease) (*Lease, *Task[M, S], error) {
	got, err := ix.find(l)
	if err != nil && slices.Contains(ix.settled.tokens, uint64(l)) {
		err = queue.ErrSettled
	}
	if err != nil {
		return nil, nil, err
	}
	task := ix.describe(got.Task)
	task.Parts = task.Parts[:got.parts]
	return got, &task, nil
}

// Extend changes the end of the lease to d from now. It returns the lane of its task.
func (ix *Index[M, S]) Extend(l queue.Lease, d time.Duration) (lane queue.Lane, expires time.Time, err error) {
	got, err := ix.find(l)
	if err != nil {
		return queue.Lane{}, time.Time{}, err
	}
	now := ix.now()
	got.expires = ix.elapsed(now) + d
	t := ix.Tasks.At(got.Task)
	if t.phase == leased { // otherwise Abort puts it back
		heap.Fix(byExpiry{}, ix.byExpiry, got.place)
	}
	return ix.nameOf(t.lane), now.Add(d), nil
}

// Begin starts a settlement under a lease that Find returned; none may be in progress. Until Done, Retry or Abort, the
// lease can't expire, and the message must not be removed.
func (ix *Index[M, S]) Begin(l *Lease) {
	ix.byExpiry = heap.Remove(byExpiry{}, ix.byExpiry, l.place)
	ix.Tasks.At(l.Task).phase = Settling
}

// settled has the tokens of the last settlements that succeeded.
type settled struct {
	tokens []uint64
	next   int // of tokens, the one that is replaced next
}

// maxSettled is how many settlements are remembered; the doc of queue.Queue says so.
const maxSettled = 10_000

func (s *settled) add(token uint64) {
	if len(s.tokens) < maxSettled {
		s.tokens = append(s.tokens, token)
		return
	}
	s.tokens[s.next] = token
	s.next = (s.next + 1) % maxSettled
}

// Abort undoes Begin. It returns the time at which the lease expires.
func (ix *Index[M, S]) Abort(l *Lease) time.Time {
	ix.Tasks.At(l.Task).phase = leased
	ix.byExpiry = heap.Push(byExpiry{}, ix.byExpiry, l)
	now := ix.now()
	return now.Add(l.expires - ix.elapsed(now))
}

// Done ends the lease and removes the task. gone reports whether it was the message's last.
func (ix *Index[M, S]) Done(l *Lease) (gone bool) {
	ix.end(l)
	ix.settled.add(l.token)
	return ix.Drop(l.Task)
}

// Retry ends the lease and makes the task wait until due.
func (ix *Index[M, S]) Retry(l *Lease, due, overdue int64, attempts int, state S) {
	ix.end(l)
	ix.settled.add(l.token)
	ix.Change(l.Task, due, overdue, attempts, state)
	ix.Put(l.Task)
}

// SetAttempts sets the attempts of a task that doesn't wait.
func (ix *Index[M, S]) SetAttempts(r ref, attempts int) {
	ix.Tasks.At(r).attempts = uint16(min(attempts, MaxAttempts))
}

// Change sets the stored fields of a task that doesn't wait.
func (ix *Index[M, S]) Change(r ref, due, overdue int64, attempts int, state S) {
	t := ix.Tasks.At(r)
	t.due, t.overdue, t.State = due, overdue, state
	t.attempts = stored(attempts)
}

func stored(attempts int) uint16 { return uint16(min(attempts, MaxAttempts)) }
