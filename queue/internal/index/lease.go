package index

import (
	"math"
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
	Task       ref          // 0: the lease is void, because its message was removed
	Recipients atomic.Int32 // of the queue.Task
	place      int          // in byExpiry; -1: it isn't there
	Writing    bool         // the store is writing its settlement
	expires    time.Duration
}

// Void reports whether the message was removed during a settlement under l. Done, Retry and Abort then do nothing.
func (l *Lease) Void() bool { return l.Task == 0 }

// Task is a task of a Claim, with its Lease, or of a list. The store makes a queue.Task of it by Message.Fill.
type Task[M, S any] struct {
	ID    uint64
	Data  M
	Num   uint32
	Phase phase
	State S
	Lease *Lease
	Task  queue.Task // ID, Destination, Lease, State, Due and Attempts
}

// expire ends the leases that have expired. Every method that looks at tasks or leases calls it first.
func (ix *Index[M, S]) expire() {
	now := time.Since(ix.base)
	for len(ix.byExpiry) > 0 && ix.byExpiry[0].expires <= now {
		l := ix.byExpiry[0]
		ix.end(l)
		ix.Put(l.Task)
	}
}

// end removes the lease.
func (ix *Index[M, S]) end(l *Lease) {
	if l.place >= 0 {
		ix.byExpiry = heap.Remove(byExpiry{}, ix.byExpiry, l.place)
	}
	delete(ix.leases, l.token)
	delete(ix.byTask, l.Task)
}

// coming is the time of the next task of a destination from which a Claim returned fewer tasks than wanted.
type coming struct {
	name string
	at   time.Time
}

// Claim leases due tasks. next has the destinations from which it returned fewer than wanted.
func (ix *Index[M, S]) Claim(wants []queue.Want, d time.Duration) (tasks []Task[M, S], next []coming) {
	ix.expire()
	now := time.Now()
	for _, want := range wants {
		for range want.Max {
			r, at := ix.first(want, now.UnixNano())
			if r == 0 {
				if at != Never {
					next = append(next, coming{want.Destination, FromNano(at)})
				}
				break
			}
			ix.Take(r)
			tasks = append(tasks, ix.grant(r, now, d))
		}
	}
	return tasks, next
}

// grant leases a task that doesn't wait.
func (ix *Index[M, S]) grant(r ref, now time.Time, d time.Duration) Task[M, S] {
	ix.token++
	l := &Lease{token: ix.token, Task: r, expires: now.Sub(ix.base) + d}
	ix.leases[l.token], ix.byTask[r] = l, l
	ix.byExpiry = heap.Push(byExpiry{}, ix.byExpiry, l)
	t := ix.Tasks.At(r)
	t.phase = leased
	if t.attempts < MaxAttempts {
		t.attempts++
	}
	c := ix.describe(r)
	c.Lease = l
	c.Task.Lease = queue.Lease(l.token)
	return c
}

func (ix *Index[M, S]) describe(r ref) Task[M, S] {
	t := ix.Tasks.At(r)
	m := ix.messages.At(t.message)
	return Task[M, S]{
		ID: m.id, Data: m.data, Num: t.num, Phase: t.phase, State: t.State,
		Task: queue.Task{
			ID:          FormatID(m.id),
			Destination: ix.dests.At(t.dest).name,
			State:       t.is(),
			Due:         FromNano(t.due),
			Attempts:    int(t.attempts),
		},
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

// Extend changes the end of the lease to d from now. It returns the destination of its task.
func (ix *Index[M, S]) Extend(l queue.Lease, d time.Duration) (destination string, expires time.Time, err error) {
	got, err := ix.find(l)
	if err != nil {
		return "", time.Time{}, err
	}
	now := time.Now()
	got.expires = now.Sub(ix.base) + d
	t := ix.Tasks.At(got.Task)
	if t.phase == leased { // otherwise Abort puts it back
		heap.Fix(byExpiry{}, ix.byExpiry, got.place)
	}
	return ix.dests.At(t.dest).name, now.Add(d), nil
}

// Begin starts a settlement. Until Done, Retry or Abort, the lease can't expire and no other settlement can start. It
// may become void.
func (ix *Index[M, S]) Begin(l queue.Lease) (*Lease, Task[M, S], error) {
	got, err := ix.find(l)
	if err != nil {
		return nil, Task[M, S]{}, err
	}
	if ix.Tasks.At(got.Task).phase == Settling {
		return nil, Task[M, S]{}, queue.ErrLeaseLost
	}
	ix.byExpiry = heap.Remove(byExpiry{}, ix.byExpiry, got.place)
	ix.Tasks.At(got.Task).phase = Settling
	return got, ix.describe(got.Task), nil
}

// Abort undoes Begin. It returns the time at which the lease expires.
func (ix *Index[M, S]) Abort(l *Lease) time.Time {
	if !l.Void() {
		ix.Tasks.At(l.Task).phase = leased
		ix.byExpiry = heap.Push(byExpiry{}, ix.byExpiry, l)
	}
	now := time.Now()
	return now.Add(l.expires - now.Sub(ix.base))
}

// Done ends the lease and removes the task. gone reports whether it was the message's last.
func (ix *Index[M, S]) Done(l *Lease) (gone bool) {
	if l.Void() {
		return false
	}
	ix.end(l)
	return ix.Drop(l.Task)
}

// Retry ends the lease and makes the task wait until due.
func (ix *Index[M, S]) Retry(l *Lease, due, overdue int64, attempts int, state S) {
	if l.Void() {
		return
	}
	ix.end(l)
	ix.Change(l.Task, due, overdue, attempts, state)
	ix.Put(l.Task)
}

// Change sets the stored fields of a task that doesn't wait.
func (ix *Index[M, S]) Change(r ref, due, overdue int64, attempts int, state S) {
	t := ix.Tasks.At(r)
	t.due, t.overdue, t.State = due, overdue, state
	t.attempts = uint16(min(attempts, MaxAttempts))
}
