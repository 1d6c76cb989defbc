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

// Queue is a [queue.Queue] in memory. New makes one; the zero Queue can't be used.
type Queue struct {
	watch index.Watchers

	mu     sync.Mutex
	ix     *index.Index[*memMessage, *index.Progress]
	last   uint64 // the newest ID
	octets int64  // of all bodies
}

type memMessage struct {
	*index.Message
	body []byte
}

type memClaim = index.Task[*memMessage, *index.Progress]

// New returns an empty Queue.
func New() *Queue { return &Queue{ix: index.New[*memMessage, *index.Progress]()} }

// Enqueue implements [queue.Queue].
func (q *Queue) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	msg, err := newMemMessage(ctx, m)
	if err != nil {
		return "", fmt.Errorf("mem: enqueue: %w", err)
	}
	q.mu.Lock()
	q.add(msg)
	q.mu.Unlock()
	q.watch.TellNew(msg.Message)
	return index.FormatID(msg.ID), nil
}

func newMemMessage(ctx context.Context, m queue.Message) (*memMessage, error) {
	s, err := index.NewMessage(m)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return nil, index.BodyError(err)
	}
	s.Size = int64(len(body))
	return &memMessage{s, body}, ctx.Err()
}

// add adds the message. q.mu is held.
func (q *Queue) add(m *memMessage) {
	q.last++
	m.Arrive(q.last, time.Now())
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

// Destinations implements [queue.Queue].
func (q *Queue) Destinations(ctx context.Context, within time.Duration) iter.Seq2[queue.Destination, error] {
	return index.Upcoming(&q.mu, q.ix, within, ctx.Err)
}

// Claim implements [queue.Queue].
func (q *Queue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	granted, next := q.ix.Claim(wants, lease)
	tasks := make([]queue.Task, len(granted))
	for i, c := range granted {
		tasks[i] = memTask(c)
		c.Lease.Recipients.Store(int32(len(tasks[i].Last)))
	}
	q.mu.Unlock()
	index.TellClaimed(&q.watch, granted, time.Now().Add(lease), next)
	return tasks, nil
}

func memTask(c memClaim) queue.Task {
	t := c.Task
	c.Data.Fill(&t, memState(c))
	return t
}

func memState(c memClaim) *index.Progress {
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
	q.mu.Lock()
	destination, expires, err := q.ix.Extend(l, d)
	q.mu.Unlock()
	if err == nil {
		q.watch.Tell(expires, destination)
	}
	return err
}

// Settle implements [queue.Queue].
func (q *Queue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	begun, c, err := q.ix.Begin(l)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	settled := false
	defer func() {
		if !settled { // even if a report's reader has panicked
			q.mu.Lock()
			expires := q.ix.Abort(begun)
			q.mu.Unlock()
			q.watch.Tell(expires, c.Task.Destination)
		}
	}()
	if err := index.CheckSettlement(&s, int(begun.Recipients.Load())); err != nil {
		return fmt.Errorf("mem: settle %s for %s: %w", c.Task.ID, c.Task.Destination, err)
	}
	reports, err := newMemMessages(ctx, s.Reports)
	if err != nil {
		return fmt.Errorf("mem: settle %s for %s: %w", c.Task.ID, c.Task.Destination, err)
	}
	due, err := q.settle(begun, c, s, reports)
	if err != nil {
		return err
	}
	settled = true
	if due != index.Never {
		q.watch.Tell(index.FromNano(due), c.Task.Destination)
	}
	for _, r := range reports {
		q.watch.TellNew(r.Message)
	}
	return nil
}

// settle stores the settlement. It returns the time from which the task can be claimed again, index.Never if it is
// done.
func (q *Queue) settle(l *index.Lease, c memClaim, s queue.Settlement, reports []*memMessage) (due int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.Void() {
		return index.Never, queue.ErrLeaseLost
	}
	for _, r := range reports {
		q.add(r)
	}
	st := memState(c).After(s)
	if len(st.Recipients) == 0 {
		if q.ix.Done(l) {
			q.octets -= c.Data.Size
		}
		return index.Never, nil
	}
	overdue := c.Data.Overdue(st.Noticed)
	q.ix.Retry(l, index.ToNano(s.Next), overdue, index.AttemptsAfter(&s, c.Task.Attempts), st)
	return min(index.ToNano(s.Next), overdue), nil
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
	q.mu.Lock()
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
func (q *Queue) Watch(f func(destination string, due time.Time)) (stop func()) {
	return q.watch.Watch(f)
}
