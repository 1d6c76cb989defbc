package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// simQueue is the Spool as its Runner sees it: what is asked of it, and what it answers, is checked and written into the ledger.
type simQueue struct {
	*spool.Spool
	life *simLife
}

// settled waits until nothing stirs and says whether the process is still there: what it was told otherwise, it never knew.
func (q *simQueue) settled() bool {
	q.life.settle()
	return q.life.crashed() == nil
}

// Enqueue implements [queue.Queue].
func (q *simQueue) Enqueue(ctx context.Context, msg queue.Message) (queue.ID, error) {
	m := &simMessage{}
	l := q.life.ledger
	l.add(m, &msg)
	id, err := q.Spool.Enqueue(ctx, msg)
	if !q.settled() {
		return id, err
	}
	if err != nil {
		l.problem("Enqueue: %v", err)
		m.accepted = no
		return id, err
	}
	if l.byID[id] != nil && !l.byID[id].over() {
		l.problem("%s has the id of %s", m.ref, l.byID[id].ref)
	}
	m.accepted, m.id = yes, id
	l.byID[id] = m
	return id, nil
}

func (m *simMessage) over() bool {
	for _, t := range m.tasks {
		if len(t.open()) > 0 {
			return false
		}
	}
	return true
}

// Claim implements [queue.Queue].
func (q *simQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	tasks, err := q.Spool.Claim(ctx, wants, lease)
	if !q.settled() {
		return nil, err
	}
	for i := range tasks {
		if t := q.life.ledger.task(&tasks[i]); t != nil {
			t.id = tasks[i].ID
			q.life.ledger.byID[t.id] = t.simMessage
			q.life.ledger.claimed(t, &tasks[i])
		} else {
			q.life.problem("%s comes from nowhere", tasks[i].Ref)
		}
	}
	return tasks, err
}

// claimed checks a task that was claimed.
func (l *simLedger) claimed(t *simTask, task *queue.Task) {
	now := time.Now()
	l.arrived(t, task)
	open := t.open()
	switch {
	case t.accepted != yes:
		l.problem("%v is claimed, and was never accepted", t)
	case t.held == yes:
		l.problem("%v is held, and is claimed", t)
	case t.leased, now.Before(t.lapse):
		l.problem("%v is claimed, and it is already", t)
	case len(open) != len(task.Envelope.Recipients):
		l.problem("%v is claimed for %d recipients, and %d are open", t, len(task.Envelope.Recipients), len(open))
	case task.Attempts != t.attempts+1:
		l.problem("%v is claimed as attempt %d after %d", t, task.Attempts, t.attempts)
	case t.due.After(now) && !passed(task.NoticeAt, now) && !passed(t.deadline, now):
		l.problem("%v is claimed, and isn't due before %v", t, t.due.Sub(now))
	}
	t.leased, t.attempts = true, task.Attempts
}

// Settle implements [queue.Queue].
func (q *simQueue) Settle(ctx context.Context, lease queue.Lease, set queue.Settlement) error {
	l, send := q.life.ledger, q.life.current
	t := send.task
	gone := len(t.open()) == 0
	c := &simChange{task: t, stored: simStored{set.Next, t.attempts}}
	if set.Uncounted {
		c.stored.attempts--
	}
	for i, r := range t.open() {
		switch {
		case len(set.Results) > 0 && set.Results[i].Outcome == smtp.Delivered:
			c.ends = append(c.ends, simEnding{r, simDelivered})
		case len(set.Results) > 0 && set.Results[i].Outcome == smtp.Rejected:
			c.ends = append(c.ends, simEnding{r, simRejected})
		case set.Next.IsZero():
			c.ends = append(c.ends, simEnding{r, simExpired})
		}
	}
	for _, msg := range set.Reports {
		c.reports = append(c.reports, l.byRef[msg.Ref])
	}
	if !gone {
		q.life.checkSettlement(send, c, &set)
	}
	l.begin(c)
	err := q.Spool.Settle(ctx, lease, set)
	switch {
	case !q.settled():
	case err == nil && gone:
		l.problem("%v is settled, and was removed", t)
	case err == nil:
		seq := q.life.disk.Written()
		l.settle(c, &set, seq)
		l.finish(seq)
	default:
		l.abandon()
		if !gone || !errors.Is(err, queue.ErrLeaseLost) {
			l.problem("Settle: %v: %v", t, err)
		}
	}
	return err
}

// settle notes what a settlement with a record up to seq makes of a task.
func (l *simLedger) settle(c *simChange, set *queue.Settlement, seq int) {
	t := c.task
	t.leased = false
	t.noticed = t.noticed || set.Noticed
	if !set.Next.IsZero() {
		l.note("waits", t.ref, t.dest, time.Until(set.Next))
		t.was = append(t.was, simWas{t.stored, seq})
		t.stored, t.due, t.attempts = c.stored, c.stored.due, c.stored.attempts
	}
}

// Remove implements [queue.Remover].
func (q *simQueue) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	l := q.life.ledger
	c := &simChange{}
	for _, id := range ids {
		for _, t := range l.byID[id].tasks {
			for _, r := range t.open() {
				c.ends = append(c.ends, simEnding{r, q.life.removing})
			}
		}
	}
	for _, msg := range reports {
		c.reports = append(c.reports, l.byRef[msg.Ref])
	}
	l.begin(c)
	err := q.Spool.Remove(ctx, ids, reports...)
	switch {
	case !q.settled():
	case err == nil:
		l.finish(q.life.disk.Written())
	default:
		l.abandon()
		l.problem("Remove: %v", err)
	}
	return err
}

// Hold implements [queue.Holder].
func (q *simQueue) Hold(ctx context.Context, ids ...queue.ID) error {
	return q.setHeld(ctx, ids, yes)
}

// Release implements [queue.Holder].
func (q *simQueue) Release(ctx context.Context, ids ...queue.ID) error {
	return q.setHeld(ctx, ids, no)
}

func (q *simQueue) setHeld(ctx context.Context, ids []queue.ID, held must) error {
	do, l := q.Spool.Release, q.life.ledger
	if held == yes {
		do = q.Spool.Hold
	}
	for _, id := range ids {
		l.byID[id].held = either
	}
	err := do(ctx, ids...)
	if !q.settled() {
		return err
	}
	if err != nil {
		l.problem("Hold or Release: %v", err)
	}
	for _, id := range ids {
		l.byID[id].held, l.byID[id].freeSince = held, time.Now()
	}
	return err
}
