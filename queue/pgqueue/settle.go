package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Settle implements [queue.Queue]. Concurrent calls share a commit. One without Reports and Owed is durable within
// three times the wal_writer_delay of the server, 0.6 seconds unless that is changed.
//
// If the connection is lost during the commit, Settle returns when it is known whether that succeeded. It waits for
// twice Options.Timeout at most: after that, it returns an error, and another Settle under the lease waits on.
func (q *Queue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	var reports []*draft
	if len(s.Reports) > 0 {
		c, err := q.checkSettlement(ctx, l, &s)
		if err != nil {
			return err
		}
		if reports, err = newReports(ctx, s.Reports); err != nil {
			return failedSettling(c, err)
		}
		defer freeAll(reports)
	}
	for {
		err := q.settle(ctx, l, &s, reports)
		if !errors.Is(err, errFenced) {
			return err
		}
		if err := q.next(ctx); err != nil { // which takes in what was removed, and the fence
			return err
		}
	}
}

func failedSettling(c *claim, err error) error {
	if err == nil {
		return nil
	}
	return failed(fmt.Sprintf("settle %s for %s", index.FormatID(c.ID), c.Lane.Destination), err)
}

// checkSettlement returns the reason why a settlement can't succeed, before the reports are read.
func (q *Queue) checkSettlement(ctx context.Context, l queue.Lease, s *queue.Settlement) (c *claim, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, c, err = q.leaseOf(ctx, l, s)
	return c, err
}

// leaseOf returns a lease and its task, or the reason why this settlement of it can't succeed. q.mu is held.
func (q *Queue) leaseOf(ctx context.Context, l queue.Lease, s *queue.Settlement) (*index.Lease, *claim, error) {
	if err := q.check(ctx); err != nil {
		return nil, nil, err
	}
	found, c, err := q.ix.Find(l)
	if err != nil {
		return nil, nil, err
	}
	if err := index.CheckSettlement(s, c.Lane.Destination, int(found.Recipients.Load())); err != nil {
		return nil, nil, failedSettling(c, err)
	}
	return found, c, nil
}

// settlement is a settlement in progress.
type settlement struct {
	job
	q        *Queue
	begun    *index.Lease
	claim    *claim
	after    *index.Progress // no recipients: the task is done
	due      int64
	overdue  int64
	attempts int
	deaths   int
	part     *part // that is added to the report task; of a report task, that stays
	row      [1]outcomeRow
	tells    tells
}

// tells is what a settlement announces.
type tells struct {
	expires     time.Time // of the lease, that continues; zero: it has ended
	due, report int64     // index.Never: there is none
	recalled    []index.Coming
}

// settle stores a settlement.
func (q *Queue) settle(ctx context.Context, l queue.Lease, s *queue.Settlement, reports []*draft) error {
	q.gate.RLock()
	st, err := q.beginSettling(ctx, l, s)
	if err != nil {
		q.gate.RUnlock()
		return err
	}
	st.msgs = reports
	now := index.ToNano(q.clock.time())
	for _, d := range reports {
		d.Arrival = now
	}
	st.lazy = len(reports) == 0 && len(s.Owed) == 0 && st.claim.Num != index.ReportTask
	g := q.groupOf(&st.job)
	g.submit(&st.job)
	return failedSettling(st.claim, g.wait(&st.job))
}

// stored implements [call].
func (st *settlement) stored(err error) {
	if err != nil {
		st.q.abortSettling(st)
		return
	}
	st.q.applySettling(st)
}

// finish implements [call].
func (st *settlement) finish(err error) {
	q := st.q
	defer q.gate.RUnlock()
	q.watch.TellComing(st.tells.recalled)
	switch lane := st.claim.Lane; {
	case err != nil:
		q.watch.Tell(st.tells.expires, lane)
	default:
		if st.tells.due != index.Never {
			q.watch.TellDue(st.tells.due, lane)
		}
		if st.tells.report != index.Never {
			q.watch.TellDue(st.tells.report, index.ReportLane(lane))
		}
		q.added(st.msgs...)
	}
}

// beginSettling begins a settlement. It waits until nothing else is in progress under the lease. If all other tasks of
// the message are being settled, it waits for the results of these: one of the outcomes must know that it is the last.
func (q *Queue) beginSettling(ctx context.Context, l queue.Lease, s *queue.Settlement) (*settlement, error) {
	for {
		q.mu.Lock()
		begun, c, err := q.leaseOf(ctx, l, s)
		if err != nil {
			q.mu.Unlock()
			return nil, err
		}
		if c.Phase != index.Settling && q.extending[l] == 0 {
			others, settling := q.others(c)
			if others == 0 || others > settling {
				st := q.settlement(begun, c, s)
				st.row[0] = q.outcome(st, others == 0)
				st.outcomes = st.row[:]
				q.ix.Begin(begun)
				q.mu.Unlock()
				return st, nil
			}
		}
		if q.settled == nil {
			q.settled = make(chan struct{})
		}
		settled := q.settled
		q.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// others returns how many other tasks the message has, and how many of these are being settled. q.mu is held.
func (q *Queue) others(c *claim) (others, settling int) {
	if c.Only {
		return 0, 0
	}
	for _, t := range q.ix.TasksOf(c.ID) {
		if t.Num == c.Num {
			continue
		}
		if others++; t.Phase == index.Settling {
			settling++
		}
	}
	return others, settling
}

// settlement computes what a settlement does. q.mu is held.
func (q *Queue) settlement(begun *index.Lease, c *claim, s *queue.Settlement) *settlement {
	now := q.clock.time()
	hand := begun.Data.(*inHand)
	before := &index.Progress{} // nothing of it stays in a task that is done
	if !s.Next.IsZero() || len(s.Owed) > 0 {
		before = hand.progress(c.Num)
	}
	st := &settlement{
		job: job{node: q.node, fence: q.fence}, q: q, begun: begun, claim: c, after: before.After(s),
		attempts: index.AttemptsAfter(s, c.Attempts), deaths: index.DeathsAfter(s, c.Deaths),
	}
	switch {
	case c.Num == index.ReportTask:
		if len(st.after.Recipients) > 0 {
			p := part{Due: index.ToNano(s.Next), Attempts: st.attempts, Deaths: st.deaths, State: st.after}
			st.part = q.newPart(p)
		}
	case len(s.Owed) > 0:
		st.part = q.newPart(part{Due: index.ReportAt(s, now), State: before.Owed(s)})
	}
	st.due, st.overdue = index.Next(s.Next, now), hand.msg.OverdueAfter(s, st.after.Noticed)
	st.call = st
	return st
}

// newPart numbers a part. q.mu is held.
func (q *Queue) newPart(p part) *part {
	q.parts++
	p.Num = q.parts
	return &p
}

// outcome returns the row of a settlement. only reports whether the message has no other task. q.mu is held.
func (q *Queue) outcome(st *settlement, only bool) outcomeRow {
	c, m := st.claim, st.begun.Data.(*inHand).msg
	row := outcomeRow{ID: c.ID, Lane: laneOf(c.Lane.Owner), Kind: settled}
	done := len(st.after.Recipients) == 0
	if row.Last = only && done && st.part == nil && c.Num != index.ReportTask; row.Last {
		return row // without Data, which nobody reads
	}
	r := &eventRecord{At: q.clock.time().UnixNano(), Num: c.Num, Overdue: index.Never}
	row.Data = r
	if st.part != nil {
		r.Part = recordOfPart(st.part, m)
	}
	if c.Num == index.ReportTask {
		row.Kind = reported
		for _, p := range c.Parts {
			r.Parts = append(r.Parts, p.Num)
		}
		// Only other tasks add parts, and there are none.
		row.Last = only && done && len(q.ix.TasksOf(c.ID)[0].Parts) == len(c.Parts)
		return row
	}
	if r.Done = done; !done {
		r.Due, r.Overdue, r.Attempts, r.Deaths = st.due, moment(st.overdue), st.attempts, st.deaths
		r.State, r.Version = recordOf(st.after, m), c.State+1
	}
	return row
}

// abortSettling ends a settlement that isn't stored. The lease continues. q.mu is held.
func (q *Queue) abortSettling(st *settlement) {
	st.tells.expires = q.ix.Abort(st.begun)
	q.afterSettling(st.claim.ID)
}

// applySettling takes in a settlement that is stored. q.mu is held.
func (q *Queue) applySettling(st *settlement) {
	c := st.claim
	due, report := int64(index.Never), int64(index.Never)
	gone := false
	switch {
	case c.Num == index.ReportTask:
		due, gone = q.ix.Reported(st.begun, light(st.part))
	default:
		if st.part != nil {
			q.ix.Owe(c.ID, *light(st.part))
			report = st.part.Due
		}
		if len(st.after.Recipients) > 0 {
			q.ix.SetDeaths(st.begun.Task, st.deaths)
			q.ix.Retry(st.begun, st.due, st.overdue, st.attempts, c.State+1)
			due = min(st.due, st.overdue)
			if c.Only {
				q.heads.drop(c.ID) // it waits, and new ones need the room
			}
			break
		}
		gone = q.ix.Done(st.begun)
		if q.ix.Hurry(c.ID) {
			report = q.clock.time().UnixNano()
		}
	}
	if gone {
		q.octets -= c.Data.octets
		q.heads.drop(c.ID)
	}
	q.afterSettling(c.ID)
	st.tells = tells{due: due, report: report, recalled: q.ix.Recalled()}
}

// afterSettling lets others at the message whose settlement has ended. q.mu is held.
func (q *Queue) afterSettling(id uint64) {
	if q.doomed[id] && !q.ix.Settling(id) {
		delete(q.doomed, id)
		q.remove(id)
	}
	q.endSettling()
}

// endSettling wakes those who wait for the end of a settlement. q.mu is held.
func (q *Queue) endSettling() {
	if q.settled != nil {
		close(q.settled)
		q.settled = nil
	}
}

// remove removes a message from ix, or as soon as no settlement of it is in progress. q.mu is held.
func (q *Queue) remove(id uint64) {
	if q.ix.Settling(id) {
		q.doomed[id] = true
		return
	}
	for i, t := range q.ix.Remove(id) {
		if i == 0 {
			q.octets -= t.Data.octets
			q.heads.drop(id)
		}
	}
}
