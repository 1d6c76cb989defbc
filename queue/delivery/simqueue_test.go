package delivery

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// simQueue is the Spool as its Runner sees it: what is asked of it, and what it answers, is checked and written into the ledger.
type simQueue struct {
	*spool.Spool
	life *simLife

	mu     sync.Mutex
	owners []queue.Owner // the Spool's numbers, at the Runner's less one: the Spool's are others at each run of a seed
}

// owner gives the Runner's number of an owner.
func (q *simQueue) owner(theirs queue.Owner) queue.Owner {
	q.mu.Lock()
	defer q.mu.Unlock()
	if theirs == 0 {
		return 0
	}
	i := slices.Index(q.owners, theirs)
	if i < 0 {
		i = len(q.owners)
		q.owners = append(q.owners, theirs)
	}
	return queue.Owner(i + 1)
}

// spoolOwner is the reverse of owner.
func (q *simQueue) spoolOwner(ours queue.Owner) queue.Owner {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ours == 0 {
		return 0
	}
	return q.owners[ours-1]
}

// Watch implements [queue.Waker].
func (q *simQueue) Watch(f func(queue.Lane, time.Time)) (stop func()) {
	return q.Spool.Watch(func(l queue.Lane, due time.Time) {
		l.Owner = q.owner(l.Owner)
		f(l, due)
	})
}

// Lanes implements [queue.Queue].
func (q *simQueue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return func(yield func(queue.LaneDue, error) bool) {
		for d, err := range q.Spool.Lanes(ctx) {
			d.Owner = q.owner(d.Owner)
			if !yield(d, err) {
				return
			}
		}
	}
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
	first := l.first(msg.Key)
	l.add(m, &msg)
	id, repeats, err := q.Spool.EnqueueOnce(ctx, msg)
	if !q.settled() {
		return id, err
	}
	if err != nil {
		l.problem("Enqueue: %v", err)
		m.accepted = no
		return id, err
	}
	q.life.keyed(m, first, id, repeats)
	if repeats {
		m.accepted = no
		return id, nil
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
	wants = slices.Clone(wants)
	for i := range wants {
		wants[i].Owner = q.spoolOwner(wants[i].Owner)
	}
	l := q.life.ledger
	l.claiming = true
	tasks, err := q.Spool.Claim(ctx, wants, lease)
	if !q.settled() {
		return nil, err
	}
	l.claiming = false
	for i := range tasks {
		tasks[i].Owner = q.owner(tasks[i].Owner)
		if t := l.task(&tasks[i]); t != nil {
			t.id = tasks[i].ID
			l.byID[t.id] = t.simMessage
			l.claimed(t, &tasks[i])
		} else {
			q.life.problem("%s comes from nowhere", tasks[i].Ref)
		}
	}
	return tasks, err
}

// claimed checks a task that was claimed.
func (l *simLedger) claimed(t *simTask, task *queue.Task) {
	now := l.clock.Now()
	l.arrived(t, task)
	if t == t.report {
		l.claimedReport(t, task)
		return
	}
	open := t.open()
	switch {
	case t.accepted != yes:
		l.problem("%v is claimed, and was never accepted", t)
	case t.held == yes:
		l.problem("%v is held, and is claimed", t)
	case !t.once && now.Before(t.notBefore):
		l.problem("%v is claimed %v before it was to go out", t, t.notBefore.Sub(now))
	case t.leased, now.Before(t.lapse):
		l.problem("%v is claimed, and it is already", t)
	case len(open) != len(task.Envelope.Recipients):
		l.problem("%v is claimed for %d recipients, and %d are open", t, len(task.Envelope.Recipients), len(open))
	case task.Attempts != t.attempts+1:
		l.problem("%v is claimed as attempt %d after %d", t, task.Attempts, t.attempts)
	case !t.once && t.due.After(now) && !passed(task.NoticeAt, now) && !passed(t.deadline, now):
		l.problem("%v is claimed, and isn't due before %v", t, t.due.Sub(now))
	}
	t.leased, t.attempts, t.stored.claimed = true, task.Attempts, task.Attempts
}

// claimedReport checks a report task that was claimed.
func (l *simLedger) claimedReport(t *simTask, task *queue.Task) {
	has := owing(t.simMessage, task)
	for _, other := range t.tasks {
		for _, r := range other.recipients {
			if r.owes != has[r] {
				l.problem("%v is to be reported: %v, and is claimed for it: %v", r, r.owes, has[r])
			}
		}
	}
	switch now := l.clock.Now(); {
	case t.accepted != yes:
		l.problem("%v is claimed, and was never accepted", t)
	case t.held == yes:
		l.problem("%v is held, and is claimed", t)
	case t.leased, now.Before(t.lapse):
		l.problem("%v is claimed, and it is already", t)
	case now.Round(0).Before(t.due) && !task.Only: // by the wall clock, as the store has it
		l.problem("%v is claimed, and isn't due before %v", t, t.due.Sub(now.Round(0)))
	}
	t.leased, t.added = true, time.Time{}
}

// settleReport is Settle for a report task.
func (q *simQueue) settleReport(ctx context.Context, send *simSend, set queue.Settlement) error {
	l, m := q.life.ledger, send.task.simMessage
	c := &simChange{}
	for _, msg := range set.Reports {
		c.reports = append(c.reports, l.byRef[msg.Ref])
	}
	has, removed := owing(m, &send.d.task), false
	for _, t := range m.tasks {
		for _, r := range t.recipients {
			if !has[r] {
				continue
			}
			removed = removed || !r.owes
			if set.Next.IsZero() && r.owes {
				c.ends = append(c.ends, simEnding{r, r.end, true})
				if !slices.ContainsFunc(c.reports, func(m *simMessage) bool { return slices.Contains(m.about, r) }) {
					l.problem("%v isn't to be reported any more, and wasn't", r)
				}
			}
		}
	}
	l.begin(c)
	err := q.Spool.Settle(ctx, send.d.task.Lease, set)
	switch {
	case !q.settled():
	case err == nil:
		l.finish(q.life.disk.Written())
		send.task.leased, send.task.due = false, set.Next
		if !set.Next.IsZero() {
			send.task.due = earliest(set.Next, send.task.added)
		}
	default:
		l.abandon()
		if !errors.Is(err, queue.ErrLeaseLost) || !m.over() || len(has) > 0 && !removed {
			l.problem("Settle: %v: %v", send.task, err)
		}
	}
	return err
}

// Settle implements [queue.Queue].
func (q *simQueue) Settle(ctx context.Context, lease queue.Lease, set queue.Settlement) error {
	l, send := q.life.ledger, q.life.current
	t := send.task
	if t == t.report {
		return q.settleReport(ctx, send, set)
	}
	gone := len(t.open()) == 0
	c := &simChange{task: t, stored: simStored{set.Next.Round(0), !set.Next.After(l.clock.Now()), t.attempts, t.attempts}}
	if set.Uncounted {
		c.stored.attempts--
		c.stored.claimed--
	}
	for i, r := range t.open() {
		switch {
		case len(set.Results) > 0 && set.Results[i].Outcome == smtp.Delivered:
			c.ends = append(c.ends, simEnding{r, simDelivered, false})
		case len(set.Results) > 0 && set.Results[i].Outcome == smtp.Rejected:
			c.ends = append(c.ends, simEnding{r, simRejected, false})
		case set.Next.IsZero():
			c.ends = append(c.ends, simEnding{r, simExpired, false})
		}
	}
	for _, o := range set.Owed {
		if !gone && !o.Delayed {
			c.owed = append(c.owed, t.open()[o.Recipient])
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
		if len(set.Owed) > 0 {
			t.report.due = earliest(t.report.due, set.ReportAt)
			t.report.added = earliest(t.report.added, set.ReportAt)
		}
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
		l.note("waits", t.ref, t.dest, set.Next.Sub(l.clock.Now()))
		t.was = append(t.was, simWas{t.stored, seq})
		t.stored, t.due, t.once, t.attempts = c.stored, c.stored.due, c.stored.once, c.stored.attempts
	}
}

// Remove implements [queue.Remover].
func (q *simQueue) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	l := q.life.ledger
	c := &simChange{}
	for _, id := range ids {
		for _, t := range l.byID[id].tasks {
			for _, r := range t.open() {
				c.ends = append(c.ends, simEnding{r, q.life.removing, false})
			}
			for _, r := range t.recipients {
				switch {
				case r.owes && q.life.removing == simPurged:
					c.ends = append(c.ends, simEnding{r, simPurged, true})
				case r.owes:
					c.ends = append(c.ends, simEnding{r, r.end, true})
				}
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

// Flush implements [queue.Flusher].
func (q *simQueue) Flush(ctx context.Context, name string, after time.Duration) (int, error) {
	l := q.life
	want, reports := 0, 0
	now := l.clock.Now().Round(0)
	for _, m := range l.ledger.messages {
		if name == "" && m.report.due.After(now.Add(after)) { // whose attempts the ledger doesn't know
			m.report.due = now
			reports++
		}
		for _, t := range m.tasks {
			if (name == "" || t.dest == name) && m.accepted == yes && t.flushed(l.clock.Now(), after) {
				want++
			}
		}
	}
	n, err := q.Spool.Flush(ctx, name, after)
	if !q.settled() {
		return n, err
	}
	if err != nil || n < want || n > want+reports {
		l.problem("Flush brings %d tasks forward, want %d, and %d reports at most: %v", n, want, reports, err)
	}
	return n, err
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
