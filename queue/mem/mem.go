// Package mem is a [queue.Queue] in memory, for tests and for mail that may be lost with the process.
//
//	q := mem.New()
//
// A Queue has no settings and no limits. Bodies are in memory as a whole. It has no Close, and none of its methods
// fails by itself. It implements every rule of [queue.Queue] except durability, and all of its abilities:
// [queue.Waker], [queue.Lister], [queue.Holder], [queue.Flusher], [queue.Remover] and [queue.Stater].
//
// # Files
//
//	mem.go        Queue and the methods of queue.Queue and queue.Waker
//	abilities.go  the methods of the other abilities
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Queue is a [queue.Queue] in memory. The zero Queue is empty, as that of New.
type Queue struct {
	watch index.Watchers
	now   func() time.Time // for tests; if nil, time.Now

	mu     sync.Mutex
	ix     *index.Index[*memMessage, *index.Progress] // set by the first lock
	last   uint64                                     // the newest ID
	octets int64                                      // of all bodies
}

type memMessage struct {
	*index.Message
	body []byte
}

type memClaim = index.Task[*memMessage, *index.Progress]

// New returns an empty Queue.
func New() *Queue { return new(Queue) }

func (q *Queue) lock() {
	q.mu.Lock()
	if q.ix == nil {
		q.ix = index.New[*memMessage, *index.Progress](q.now)
	}
}

// made returns q.ix.
func (q *Queue) made() *index.Index[*memMessage, *index.Progress] {
	q.lock()
	defer q.mu.Unlock()
	return q.ix
}

// Enqueue implements [queue.Queue].
func (q *Queue) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	msg, err := newMemMessage(ctx, m)
	if err != nil {
		return "", fmt.Errorf("mem: enqueue: %w", err)
	}
	q.lock()
	q.add(msg)
	q.mu.Unlock()
	q.watch.TellNew(msg.Message)
	return index.FormatID(msg.ID), nil
}

func newMemMessage(ctx context.Context, m queue.Message) (*memMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := index.NewMessage(m)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return nil, index.BodyError(err)
	}
	s.Size = int64(len(body))
	s.Group()
	return &memMessage{s, body}, ctx.Err()
}

// add adds the message. q.mu is held.
func (q *Queue) add(m *memMessage) {
	q.last++
	m.Arrive(q.last, q.ix.Now())
	q.ix.Add(m.Message, m)
	q.octets += m.Size
}

// newMemMessages reads reports.
func newMemMessages(ctx context.Context, reports []queue.Message) ([]*memMessage, error) {
	made := make([]*memMessage, len(reports))
	for i, m := range reports {
		msg, err := newMemMessage(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		made[i] = msg
	}
	return made, nil
}

// Lanes implements [queue.Queue].
func (q *Queue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return index.Lanes(&q.mu, q.made(), ctx.Err)
}

// Claim implements [queue.Queue].
func (q *Queue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.lock()
	granted, next := q.ix.Claim(wants, lease)
	tasks := make([]queue.Task, len(granted))
	for i := range granted {
		tasks[i] = memTask(&granted[i], q.ix.Now())
		granted[i].Lease.Recipients.Store(int32(len(tasks[i].Last)))
	}
	q.mu.Unlock()
	index.TellClaimed(&q.watch, granted, q.made().Now().Add(lease), next)
	return tasks, nil
}

func memTask(c *memClaim, now time.Time) queue.Task {
	st := memState(c)
	if c.State != nil || c.Parts != nil {
		st = st.Clone() // the queue keeps it
	}
	c.Data.Fill(&c.Task, st, now)
	return c.Task
}

func memState(c *memClaim) *index.Progress {
	if c.Num == index.ReportTask {
		parts := make([]*index.Progress, len(c.Parts))
		for i, p := range c.Parts {
			parts[i] = p.State
		}
		return index.Merge(parts)
	}
	if c.State == nil {
		return c.Data.Initial(c.Num)
	}
	return c.State
}

// Extend implements [queue.Queue].
func (q *Queue) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.lock()
	lane, expires, err := q.ix.Extend(l, d)
	q.mu.Unlock()
	if err == nil {
		q.watch.Tell(expires, lane)
	}
	return err
}

// Settle implements [queue.Queue].
func (q *Queue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.lock()
	found, c, err := q.ix.Find(l)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	if err := index.CheckSettlement(&s, c.Task.Destination, int(found.Recipients.Load())); err != nil {
		return fmt.Errorf("mem: settle %s for %s: %w", c.Task.ID, c.Task.Destination, err)
	}
	reports, err := newMemMessages(ctx, s.Reports)
	if err != nil {
		return fmt.Errorf("mem: settle %s for %s: %w", c.Task.ID, c.Task.Destination, err)
	}
	due, report, err := q.settle(l, s, reports)
	if err != nil {
		return err
	}
	if due != index.Never {
		q.watch.TellDue(due, c.Lane)
	}
	if report != index.Never {
		q.watch.TellDue(report, index.ReportLane(c.Lane))
	}
	for _, r := range reports {
		q.watch.TellNew(r.Message)
	}
	return nil
}

// settle stores the settlement. It returns the time from which the task can be claimed again, and that of the report
// task if it has changed: index.Never if they can't, or if it hasn't.
func (q *Queue) settle(l queue.Lease, s queue.Settlement, reports []*memMessage) (due, report int64, err error) {
	q.lock()
	defer q.mu.Unlock()
	begun, c, err := q.ix.Find(l)
	if err != nil {
		return index.Never, index.Never, err
	}
	q.ix.Begin(begun)
	for _, r := range reports {
		q.add(r)
	}
	before := memState(&c)
	after := before.After(s)
	attempts := index.AttemptsAfter(&s, c.Task.Attempts)
	if c.Num == index.ReportTask {
		due, gone := q.ix.Reported(begun, q.part(after, index.ToNano(s.Next), attempts))
		if gone {
			q.octets -= c.Data.Size
		}
		return due, index.Never, nil
	}
	report = index.Never
	if len(s.Owed) > 0 {
		report = index.ReportAt(&s, q.ix.Now())
		q.ix.Owe(c.ID, *q.part(before.Owed(&s), report, 0))
	}
	if len(after.Recipients) > 0 {
		next, overdue := index.Next(s.Next, q.ix.Now()), c.Data.OverdueAfter(s, after.Noticed)
		q.ix.Retry(begun, next, overdue, attempts, after)
		return min(next, overdue), report, nil
	}
	if q.ix.Done(begun) {
		q.octets -= c.Data.Size
	}
	if q.ix.Hurry(c.ID) {
		report = index.ToNano(q.ix.Now())
	}
	return index.Never, report, nil
}

// part makes a part of a report task, nil if it has no recipients. q.mu is held.
func (q *Queue) part(st *index.Progress, due int64, attempts int) *index.Part[*index.Progress] {
	if len(st.Recipients) == 0 {
		return nil
	}
	return &index.Part[*index.Progress]{Due: due, Attempts: attempts, State: st}
}

// Open implements [queue.Queue].
func (q *Queue) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, ok := index.ParseID(id)
	if !ok {
		return nil, queue.ErrNotFound
	}
	q.lock()
	defer q.mu.Unlock()
	m := q.ix.Data(n)
	if m == nil {
		return nil, queue.ErrNotFound
	}
	return index.BytesBody{Reader: bytes.NewReader((*m).body)}, nil
}

var _ queue.Queue = (*Queue)(nil)

// Watch implements [queue.Waker]. It also announces a lease when it is granted or extended, with the time at which it
// expires.
func (q *Queue) Watch(f func(l queue.Lane, due time.Time)) (stop func()) {
	return q.watch.Watch(f)
}
