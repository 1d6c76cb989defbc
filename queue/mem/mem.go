// Package mem is a [queue.Queue] in memory, for tests and for mail that may be lost with the process.
//
//	q := mem.New()
//
// A Queue has no limits except that of Keys. Bodies are in memory as a whole. It has no Close, and none of its methods
// fails by itself. It implements every rule of [queue.Queue] except durability, and all of its abilities but
// [queue.Sharer], so Runners on it share no limits:
// [queue.Keyer], [queue.Importer], [queue.Waker], [queue.Lister], [queue.ReasonHolder], [queue.Flusher],
// [queue.Hastener], [queue.Remover] and [queue.Stater].
//
// # Files
//
//	mem.go        Queue and the methods of queue.Queue, queue.Keyer, queue.Importer and queue.Waker
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

// Queue is a [queue.Queue] in memory. The zero Queue is empty, as that of New. Its fields must not change after the
// first call of a method.
type Queue struct {
	// KeyTime is how long the Key of a message is remembered: see [queue.Keyer]. If zero, 24 hours.
	KeyTime time.Duration

	// MaxKeys is the largest number of Keys that are remembered, with about 90 octets of memory each. If zero,
	// 1,000,000.
	MaxKeys int

	watch index.Watchers
	now   func() time.Time // for tests; if nil, time.Now

	mu     sync.Mutex
	ix     *index.Index[*memMessage, *index.Progress] // set by the first lock
	keys   *index.Keys                                // set with it
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
		q.keys = index.NewKeys(q.KeyTime, q.MaxKeys, q.now)
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
	id, _, err := q.EnqueueOnce(ctx, m)
	return id, err
}

// EnqueueOnce implements [queue.Keyer].
func (q *Queue) EnqueueOnce(ctx context.Context, m queue.Message) (id queue.ID, repeats bool, err error) {
	n, repeats, err := q.enqueue(ctx, m, nil)
	if err != nil {
		return "", false, fmt.Errorf("mem: enqueue: %w", err)
	}
	return index.FormatID(n), repeats, nil
}

// Import implements [queue.Importer].
func (q *Queue) Import(ctx context.Context, in queue.Import) (id queue.ID, repeats bool, err error) {
	m, err := index.ImportedMessage(&in)
	var n uint64
	if err == nil {
		n, repeats, err = q.enqueue(ctx, m, &in)
	}
	if err != nil {
		return "", false, fmt.Errorf("mem: import: %w", err)
	}
	return index.FormatID(n), repeats, nil
}

// enqueue stores a message. in is set if it comes from another Queue.
func (q *Queue) enqueue(
	ctx context.Context, m queue.Message, in *queue.Import,
) (id uint64, repeats bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	key, keyed, err := index.NewKey(&m)
	if err == nil && keyed {
		q.made() // with the keys
		id, err = q.keys.Begin(ctx, &q.mu, &key)
	}
	if err != nil || id != 0 {
		return id, true, err
	}
	defer func() { // after a panic of m.Body, too
		if keyed && id == 0 {
			q.lock()
			defer q.mu.Unlock()
			q.keys.Cancel(key)
		}
	}()
	msg, err := newMemMessage(ctx, m, in)
	if err != nil {
		return 0, false, err
	}
	var states []index.Imported
	if in != nil {
		states = msg.Import(in)
	}
	q.lock()
	q.add(msg)
	for i := range states {
		q.ix.Imported(msg.ID, &states[i], states[i].Progress, 0)
	}
	due := q.ix.Claimable(msg.ID)
	if keyed {
		key.ID = msg.ID
		q.keys.Done(key)
	}
	q.mu.Unlock()
	for _, d := range due {
		q.watch.Tell(d.Due, d.Lane)
	}
	return msg.ID, false, nil
}

func newMemMessage(ctx context.Context, m queue.Message, in *queue.Import) (*memMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := index.NewMessage(m, in)
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
		msg, err := newMemMessage(ctx, m, nil)
		if err == nil && m.Key != "" {
			err = index.ErrReportKey
		}
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
		fillTask(&tasks[i], &granted[i], q.ix.Now())
		granted[i].Lease.Recipients.Store(int32(len(tasks[i].Last)))
	}
	q.mu.Unlock()
	index.TellClaimed(&q.watch, granted, q.made().Now().Add(lease), next)
	return tasks, nil
}

func fillTask(task *queue.Task, c *memClaim, now time.Time) {
	st := memState(c)
	if c.State != nil || c.Parts != nil {
		st = st.Clone() // the queue keeps it
	}
	c.Fill(task, c.Data.Message, st, now)
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
	if err := index.CheckSettlement(&s, c.Lane.Destination, int(found.Recipients.Load())); err != nil {
		return fmt.Errorf("mem: settle %s for %s: %w", index.FormatID(c.ID), c.Lane.Destination, err)
	}
	reports, err := newMemMessages(ctx, s.Reports)
	if err != nil {
		return fmt.Errorf("mem: settle %s for %s: %w", index.FormatID(c.ID), c.Lane.Destination, err)
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
	before := memState(c)
	after := before.After(&s)
	attempts := index.AttemptsAfter(&s, c.Attempts)
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
		next, overdue := index.Next(s.Next, q.ix.Now()), c.Data.OverdueAfter(&s, after.Noticed)
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
