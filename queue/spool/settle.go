package spool

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Settle implements [queue.Queue]. After the bodies of the reports are read, the end of ctx has no effect.
func (s *Spool) Settle(ctx context.Context, l queue.Lease, set queue.Settlement) error {
	c, err := s.checkSettlement(ctx, l, &set)
	if err != nil {
		return err
	}
	// What is to be reported is durable before it can be claimed: a crash might keep the report without it.
	durable := len(set.Reports) > 0 || len(set.Owed) > 0 || c.Num == index.ReportTask
	d := s.newDraft(durable)
	defer d.free()
	if err := d.addReports(ctx, set.Reports); err != nil {
		return s.failedSettling(c, err)
	}
	begun, c, p, err := s.beginSettling(ctx, l)
	if err != nil {
		return err
	}
	written := false
	defer func() {
		if !written { // after a panic too: nothing could be done to the message any more
			s.abortSettling(begun, c.Lane)
		}
	}()
	e, err := s.writeSettlement(d, begun, c, p, set)
	if err != nil {
		return s.failedSettling(c, err)
	}
	written = true
	s.mu.Lock()
	due, report := s.settle(d, begun, e)
	s.takeIn(d)
	s.endSettling()
	recalled := s.ix.Recalled()
	untidy := s.wasteful() || len(s.removed) > 0 && s.log.reached(s.removed[0].seq)
	s.mu.Unlock()
	if untidy {
		s.wakeJanitor()
	}
	s.watch.TellComing(recalled)
	if due != index.Never {
		s.watch.TellDue(due, c.Lane)
	}
	if report != index.Never {
		s.watch.TellDue(report, index.ReportLane(c.Lane))
	}
	for _, m := range d.messages {
		s.watch.TellNew(m.Message)
	}
	return nil
}

func (s *Spool) failedSettling(c *spoolClaim, err error) error {
	return s.failed(fmt.Sprintf("settle %s for %s", index.FormatID(c.ID), c.Lane.Destination), err)
}

// checkSettlement says why a settlement can't succeed, before the reports are read. It changes nothing.
func (s *Spool) checkSettlement(ctx context.Context, l queue.Lease, set *queue.Settlement) (c *spoolClaim, err error) {
	s.mu.Lock()
	err = s.check(ctx)
	var found *index.Lease
	if err == nil {
		found, c, err = s.ix.Find(l)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	err = index.CheckSettlement(set, c.Lane.Destination, int(found.Recipients.Load()))
	if err == nil {
		err = s.log.broken()
	}
	if err != nil {
		return c, s.failedSettling(c, err)
	}
	return c, nil
}

// beginSettling begins a settlement, and pins the task. It waits until no other settlement under the lease is in
// progress, and nothing else is being done to the message. From then on until endSettling, the message can't be held,
// released, removed or moved.
func (s *Spool) beginSettling(
	ctx context.Context, l queue.Lease,
) (begun *index.Lease, c *spoolClaim, p pin, err error) {
	for {
		var other chan struct{}
		s.mu.Lock()
		if err = s.check(ctx); err == nil {
			begun, c, err = s.ix.Find(l)
		}
		switch {
		case err != nil:
		case c.Phase == index.Settling:
			other = s.nextSettled()
		case s.busy[c.ID] != nil:
			other = s.busy[c.ID]
		default:
			s.ix.Begin(begun)
			p = s.pin(c)
		}
		s.mu.Unlock()
		if err != nil || other == nil {
			return begun, c, p, err
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, nil, pin{}, ctx.Err()
		}
	}
}

// abortSettling ends a settlement that has failed. The lease continues.
func (s *Spool) abortSettling(begun *index.Lease, lane queue.Lane) {
	s.mu.Lock()
	expires := s.ix.Abort(begun)
	s.endSettling()
	s.mu.Unlock()
	s.watch.Tell(expires, lane)
}

// nextSettled returns what is closed when a settlement ends. s.mu is held.
func (s *Spool) nextSettled() chan struct{} {
	if s.settled == nil {
		s.settled = make(chan struct{})
	}
	return s.settled
}

// endSettling lets others at what was being settled. s.mu is held.
func (s *Spool) endSettling() {
	if s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// ending is what a settlement makes of a task.
type ending struct {
	task     *spoolClaim
	msg      *index.Message // nil if no entry needs it
	state    *taskState     // of the task; of a report task the part that stays, nil if none does
	part     *taskState     // that is added to the report task; nil: none is
	reported []uint32       // the parts of a report task that go
	stateAt  span           // where their entries are in the record
	partAt   span
}

// writeSettlement puts the settlement into the log, after its reports, and unpins the task.
func (s *Spool) writeSettlement(
	d *draft, l *index.Lease, c *spoolClaim, p pin, set queue.Settlement,
) (*ending, error) {
	e, err := s.ending(l, c, p, set)
	if err != nil {
		return nil, err
	}
	// What stays, or is added, comes first: when the log is read, the message isn't without a task in between.
	e.partAt = d.addState(e.part, e.msg)
	e.stateAt = d.addState(e.state, e.msg)
	for _, num := range e.reported {
		d.addState(&taskState{id: c.ID, num: num, done: true}, nil)
	}
	return e, d.commit()
}

// addState adds the entry of a state, if it isn't nil.
func (d *draft) addState(st *taskState, m *index.Message) span {
	from := len(d.record.record)
	if st != nil {
		d.record.record = appendState(d.record.record, st, m)
	}
	return span{int64(from), int64(len(d.record.record))}
}

// ending says what the settlement makes of the task, and unpins it.
func (s *Spool) ending(l *index.Lease, c *spoolClaim, p pin, set queue.Settlement) (*ending, error) {
	e := &ending{task: c}
	for _, part := range c.Parts {
		e.reported = append(e.reported, part.Num)
	}
	all := index.SettlesAll(&set)
	if c.Num != index.ReportTask {
		e.state = &taskState{id: c.ID, num: c.Num, done: all}
	}
	if all && len(set.Owed) == 0 {
		p.release()
		return e, nil
	}
	msg, old, err := s.load(c, p)
	if err != nil {
		return nil, err
	}
	if len(old.Recipients) != int(l.Recipients.Load()) { // a part can't be read any more
		return nil, errEntry
	}
	e.msg = msg
	now := s.ix.Now()
	if len(set.Owed) > 0 {
		e.part = &taskState{id: c.ID, num: s.partNumber(c.ID), due: index.ReportAt(&set, now), overdue: index.Never}
		e.part.state = *old.Owed(&set)
	}
	if all {
		return e, nil
	}
	if c.Num == index.ReportTask {
		e.state = &taskState{id: c.ID, num: s.partNumber(c.ID)}
	}
	e.state.state = *old.After(&set)
	e.state.attempts = index.AttemptsAfter(&set, c.Attempts)
	e.state.deaths = index.DeathsAfter(&set, c.Deaths)
	if c.Num == index.ReportTask {
		e.state.due, e.state.overdue = index.ToNano(set.Next), index.Never
	} else {
		e.state.due, e.state.overdue = index.Next(set.Next, now), msg.OverdueAfter(&set, e.state.state.Noticed)
	}
	return e, nil
}

// partNumber returns a number for a part of the message's report task. After the last number, it begins again, and
// passes over those that parts of the message have.
func (s *Spool) partNumber(id uint64) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.parts = s.parts%maxPart + 1
		if num := s.parts | partBit; s.ix.Part(id, num) == nil {
			return num
		}
	}
}

// settle carries out what the log has. It returns the time from which the task can be claimed again, and that of the
// report task if it has changed: index.Never if they can't, or if it hasn't. s.mu is held.
func (s *Spool) settle(d *draft, l *index.Lease, e *ending) (due, report int64) {
	id := e.task.ID
	if e.task.Num == index.ReportTask {
		return s.settleReport(d, l, e), index.Never
	}
	report = index.Never
	if e.part != nil {
		report = e.part.due
		s.ix.Owe(id, s.newPart(d, e.part, e.partAt))
	}
	s.live -= int64(s.ix.Tasks.At(l.Task).State.length)
	if st := e.state; !st.done {
		p := d.place(e.stateAt)
		s.live += int64(p.length)
		s.ix.SetDeaths(l.Task, st.deaths)
		s.ix.Retry(l, st.due, st.overdue, st.attempts, p)
		return min(st.due, st.overdue), report
	}
	p := *s.ix.Data(id) // where compaction has put it
	switch {
	case s.ix.Done(l):
		s.gone(p)
		s.removeFile(id)
	case s.ix.Hurry(id):
		report = index.ToNano(s.ix.Now())
	}
	return index.Never, report
}

// settleReport carries out what the log has of a report task. It returns the time from which the task can be claimed
// again. s.mu is held.
func (s *Spool) settleReport(d *draft, l *index.Lease, e *ending) (due int64) {
	for _, num := range e.reported {
		s.live -= int64(s.ix.Part(e.task.ID, num).State.length)
	}
	var stays *spoolPart
	if e.state != nil {
		part := s.newPart(d, e.state, e.stateAt)
		stays = &part
	}
	p := *s.ix.Data(e.task.ID)
	due, gone := s.ix.Reported(l, stays)
	if gone {
		s.gone(p)
		s.removeFile(e.task.ID)
	}
	return due
}

// newPart counts a part of a report task that the draft has. s.mu is held.
func (s *Spool) newPart(d *draft, st *taskState, at span) spoolPart {
	p := d.place(at)
	s.live += int64(p.length)
	return spoolPart{Num: st.num, Due: st.due, Attempts: st.attempts, Deaths: st.deaths, State: p}
}

// place returns the place of an entry of the draft, which is in the log.
func (d *draft) place(at span) place { return d.record.place(int(at.from), int(at.to-at.from)) }
