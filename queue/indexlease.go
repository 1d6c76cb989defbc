package queue

import (
	"math"
	"sync/atomic"
	"time"
)

// lease is one that was granted and hasn't ended.
type lease struct {
	token      uint64
	task       ref          // 0: the lease is void, as its message was removed
	recipients atomic.Int32 // of the Task that was handed out
	place      int          // in byExpiry
	writing    bool         // its settlement is
	expires    time.Duration
}

// void reports whether the message was removed while a settlement was on its way, which then comes to nothing.
func (l *lease) void() bool { return l.task == 0 }

// claimed is a task, under a new lease if it was claimed, for the queue to make a Task of.
type claimed[M, S any] struct {
	id    uint64
	data  M
	num   uint32
	phase phase
	state S
	lease *lease
	task  Task // Lease, State, Due and Attempts
}

// expire ends the leases whose time has come. All that looks at tasks or leases calls it first.
func (ix *index[M, S]) expire() {
	now := time.Since(ix.base)
	for len(ix.byExpiry) > 0 && ix.byExpiry[0].expires <= now {
		l := ix.byExpiry[0]
		ix.end(l)
		ix.put(l.task)
	}
}

// end forgets the lease.
func (ix *index[M, S]) end(l *lease) {
	if l.place >= 0 {
		ix.byExpiry = heapRemove(byExpiry{}, ix.byExpiry, l.place)
	}
	delete(ix.leases, l.token)
	delete(ix.byTask, l.task)
}

// coming is when a destination that had less than a Want asked for has more of its class.
type coming struct {
	name string
	at   time.Time
}

// claim leases what is due, and says what comes next where that is less than was wanted.
func (ix *index[M, S]) claim(wants []Want, d time.Duration) (tasks []claimed[M, S], next []coming) {
	ix.expire()
	now := time.Now()
	for _, want := range wants {
		for range want.Max {
			r, at := ix.first(want, now.UnixNano())
			if r == 0 {
				if at != never {
					next = append(next, coming{want.Destination, fromNano(at)})
				}
				break
			}
			ix.take(r)
			tasks = append(tasks, ix.grant(r, now, d))
		}
	}
	return tasks, next
}

func (ix *index[M, S]) grant(r ref, now time.Time, d time.Duration) claimed[M, S] {
	ix.token++
	l := &lease{token: ix.token, task: r, expires: now.Sub(ix.base) + d}
	ix.leases[l.token], ix.byTask[r] = l, l
	ix.byExpiry = heapPush(byExpiry{}, ix.byExpiry, l)
	t := ix.tasks.at(r)
	t.phase = leased
	if t.attempts < math.MaxUint16 {
		t.attempts++
	}
	c := ix.describe(r)
	c.lease = l
	c.task.Lease.Token = l.token
	c.task.Lease.Expires = now.Add(d)
	return c
}

func (ix *index[M, S]) describe(r ref) claimed[M, S] {
	t := ix.tasks.at(r)
	m := ix.messages.at(t.message)
	return claimed[M, S]{
		id: m.id, data: m.data, num: t.num, phase: t.phase, state: t.state,
		task: Task{
			Lease:    Lease{ID: formatID(m.id), Destination: ix.dests.at(t.dest).name},
			State:    t.is(),
			Due:      fromNano(t.due),
			Attempts: int(t.attempts),
		},
	}
}

// find gives the lease if it holds, a settlement that is on its way or not.
func (ix *index[M, S]) find(l Lease) (*lease, error) {
	ix.expire()
	got := ix.leases[l.Token]
	if got == nil {
		return nil, ErrLeaseLost
	}
	t := ix.tasks.at(got.task)
	if t.phase == waiting || formatID(ix.messages.at(t.message).id) != l.ID || ix.dests.at(t.dest).name != l.Destination {
		return nil, ErrLeaseLost
	}
	return got, nil
}

// extend makes the lease last until d from now.
func (ix *index[M, S]) extend(l Lease, d time.Duration) (expires time.Time, err error) {
	got, err := ix.find(l)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	got.expires = now.Sub(ix.base) + d
	if ix.tasks.at(got.task).phase == leased { // else abort puts it back
		heapFix(byExpiry{}, ix.byExpiry, got.place)
	}
	return now.Add(d), nil
}

// begin starts a settlement: until abort, done or retry the lease can't expire, and serves no other settlement. It
// may become void, and then those three do nothing.
func (ix *index[M, S]) begin(l Lease) (*lease, claimed[M, S], error) {
	got, err := ix.find(l)
	if err != nil {
		return nil, claimed[M, S]{}, err
	}
	if ix.tasks.at(got.task).phase == settling {
		return nil, claimed[M, S]{}, ErrLeaseLost
	}
	ix.byExpiry = heapRemove(byExpiry{}, ix.byExpiry, got.place)
	ix.tasks.at(got.task).phase = settling
	return got, ix.describe(got.task), nil
}

// abort takes begin back and says when the lease expires.
func (ix *index[M, S]) abort(l *lease) time.Time {
	if !l.void() {
		ix.tasks.at(l.task).phase = leased
		ix.byExpiry = heapPush(byExpiry{}, ix.byExpiry, l)
	}
	now := time.Now()
	return now.Add(l.expires - now.Sub(ix.base))
}

// done ends the lease and the task with it. gone says that it was the message's last.
func (ix *index[M, S]) done(l *lease) (gone bool) {
	if l.void() {
		return false
	}
	ix.end(l)
	return ix.drop(l.task)
}

// retry ends the lease and puts the task back.
func (ix *index[M, S]) retry(l *lease, due, overdue int64, attempts int, state S) {
	if l.void() {
		return
	}
	ix.end(l)
	ix.change(l.task, due, overdue, attempts, state)
	ix.put(l.task)
}

func (ix *index[M, S]) change(r ref, due, overdue int64, attempts int, state S) {
	t := ix.tasks.at(r)
	t.due, t.overdue, t.state = due, overdue, state
	t.attempts = uint16(min(attempts, math.MaxUint16))
}
