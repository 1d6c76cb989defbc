package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"
)

// Mem is a Queue in memory, for tests and for mail that need not survive the process. It is also a
// [Waker], a [Lister], a [Holder], a [Flusher], a [Remover] and a [Stater].
type Mem struct {
	watchers

	mu     sync.Mutex
	ix     *index[*memMessage, *state]
	last   uint64 // the newest id
	octets int64  // of all bodies
}

type memMessage struct {
	*stored
	body []byte
}

type memClaim = claimed[*memMessage, *state]

// NewMem makes an empty Mem.
func NewMem() *Mem { return &Mem{ix: newIndex[*memMessage, *state]()} }

// Enqueue implements [Queue].
func (q *Mem) Enqueue(ctx context.Context, m Message) (ID, error) {
	msg, err := newMemMessage(ctx, m)
	if err != nil {
		return "", fmt.Errorf("queue: enqueue: %w", err)
	}
	q.mu.Lock()
	q.add(msg)
	q.mu.Unlock()
	q.tellNew(msg.stored)
	return formatID(msg.id), nil
}

func newMemMessage(ctx context.Context, m Message) (*memMessage, error) {
	s, err := newStored(m)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return nil, errBody(err)
	}
	s.size = int64(len(body))
	return &memMessage{s, body}, ctx.Err()
}

// add takes the message in. q.mu is held.
func (q *Mem) add(m *memMessage) {
	q.last++
	m.arrive(q.last, time.Now())
	q.ix.add(m.stored, m)
	q.octets += m.size
}

// newMemMessages makes messages of reports.
func newMemMessages(ctx context.Context, reports []Message) ([]*memMessage, error) {
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

// Destinations implements [Queue].
func (q *Mem) Destinations(ctx context.Context, within time.Duration) iter.Seq2[Destination, error] {
	return upcoming(&q.mu, q.ix, within, ctx.Err)
}

// Claim implements [Queue].
func (q *Mem) Claim(ctx context.Context, wants []Want, lease time.Duration) ([]Task, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	granted, next := q.ix.claim(wants, lease)
	tasks := make([]Task, len(granted))
	for i, c := range granted {
		tasks[i] = memTask(c)
		c.lease.recipients.Store(int32(len(tasks[i].Last)))
	}
	q.mu.Unlock()
	tellClaimed(&q.watchers, granted, next)
	return tasks, nil
}

func memTask(c memClaim) Task {
	t := c.task
	c.data.fill(&t, memState(c))
	return t
}

func memState(c memClaim) *state {
	if c.state == nil {
		return c.data.initial(c.num)
	}
	return c.state
}

// Extend implements [Queue].
func (q *Mem) Extend(ctx context.Context, l Lease, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	expires, err := q.ix.extend(l, d)
	q.mu.Unlock()
	if err == nil {
		q.tell(expires, l.Destination)
	}
	return err
}

// Settle implements [Queue].
func (q *Mem) Settle(ctx context.Context, l Lease, s Settlement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	begun, c, err := q.ix.begin(l)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	settled := false
	defer func() {
		if !settled { // a report's reader may have panicked
			q.mu.Lock()
			expires := q.ix.abort(begun)
			q.mu.Unlock()
			q.tell(expires, l.Destination)
		}
	}()
	if err := s.check(int(begun.recipients.Load())); err != nil {
		return fmt.Errorf("queue: settle %s for %s: %w", l.ID, l.Destination, err)
	}
	reports, err := newMemMessages(ctx, s.Reports)
	if err != nil {
		return fmt.Errorf("queue: settle %s for %s: %w", l.ID, l.Destination, err)
	}
	due, err := q.settle(begun, c, s, reports)
	if err != nil {
		return err
	}
	settled = true
	if due != never {
		q.tell(fromNano(due), l.Destination)
	}
	for _, r := range reports {
		q.tellNew(r.stored)
	}
	return nil
}

// settle carries the settlement out and says when the task can be claimed again.
func (q *Mem) settle(l *lease, c memClaim, s Settlement, reports []*memMessage) (due int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.void() {
		return never, ErrLeaseLost
	}
	for _, r := range reports {
		q.add(r)
	}
	st := memState(c).after(s)
	if len(st.recipients) == 0 {
		if q.ix.done(l) {
			q.octets -= c.data.size
		}
		return never, nil
	}
	overdue := c.data.overdue(st.noticed)
	q.ix.retry(l, toNano(s.Next), overdue, s.attempts(c.task.Attempts), st)
	return min(toNano(s.Next), overdue), nil
}

// Open implements [Queue].
func (q *Mem) Open(ctx context.Context, id ID) (Body, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, ok := parseID(id)
	if !ok {
		return nil, ErrNotFound
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	m := q.ix.data(n)
	if m == nil {
		return nil, ErrNotFound
	}
	return bytesBody{bytes.NewReader((*m).body)}, nil
}

var _ Queue = (*Mem)(nil)
