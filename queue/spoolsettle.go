package queue

import (
	"context"
	"fmt"
)

// Settle implements [Queue]. ctx plays no part any more when the bodies of the reports have been read.
func (s *Spool) Settle(ctx context.Context, l Lease, set Settlement) error {
	begun, c, p, err := s.beginSettling(ctx, l, len(set.Reports) == 0)
	if err != nil {
		return err
	}
	written := false
	defer func() {
		if !written { // a report's reader may have panicked
			s.mu.Lock()
			expires := s.ix.abort(begun)
			s.endSettling(begun)
			s.mu.Unlock()
			s.tell(expires, l.Destination)
		}
	}()
	d := s.newDraft(len(set.Reports) > 0 && mutant != mutantSettlesEarly)
	defer d.free()
	st, err := s.writeSettlement(ctx, d, begun, c, p, set)
	if err != nil {
		return s.failed(fmt.Sprintf("settle %s for %s", l.ID, l.Destination), err)
	}
	written = true
	s.mu.Lock()
	s.settle(d, begun, st)
	s.takeIn(d)
	s.endSettling(begun)
	untidy := s.wasteful() || len(s.removed) > 0 && s.log.reached(s.removed[0].seq)
	s.mu.Unlock()
	if untidy {
		s.wakeJanitor()
	}
	if !st.done {
		s.tell(fromNano(min(st.due, st.overdue)), l.Destination)
	}
	for _, m := range d.messages {
		s.tellNew(m.stored)
	}
	return nil
}

// beginSettling begins a settlement, and pins the task. quick says that no reader of the caller's comes before it is written: then that may
// begin with it.
func (s *Spool) beginSettling(ctx context.Context, l Lease, quick bool) (*lease, spoolClaim, pin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx); err != nil {
		return nil, spoolClaim{}, pin{}, err
	}
	begun, c, err := s.ix.begin(l)
	if err != nil {
		return nil, spoolClaim{}, pin{}, err
	}
	begun.writing = quick && s.busy[c.id] == nil
	return begun, c, s.pin(c)[0], nil
}

// startWriting keeps the settlement's message from being held, released or removed until endSettling.
func (s *Spool) startWriting(id uint64, l *lease) error {
	if l.writing {
		return nil
	}
	for {
		s.mu.Lock()
		other := s.busy[id]
		if other == nil {
			defer s.mu.Unlock()
			if l.void() {
				return ErrLeaseLost
			}
			l.writing = true
			return nil
		}
		s.mu.Unlock()
		<-other
	}
}

// endSettling lets others at what was being settled. s.mu is held.
func (s *Spool) endSettling(l *lease) {
	l.writing = false
	if s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// writeSettlement puts the settlement into the log, and unpins the task.
func (s *Spool) writeSettlement(ctx context.Context, d *draft, l *lease, c spoolClaim, p pin, set Settlement) (*taskState, error) {
	st, msg, err := s.outcome(l, c, p, set)
	if err != nil {
		return nil, err
	}
	if err := s.log.broken(); err != nil {
		return nil, err
	}
	d.record.record = appendState(d.record.record, st, msg)
	d.state = len(d.record.record) - recordHeaderLen
	if err := d.addReports(ctx, set.Reports); err != nil {
		return nil, err
	}
	if err := s.startWriting(c.id, l); err != nil {
		return nil, err
	}
	return st, d.commit()
}

// outcome says what the settlement makes of the task, and unpins it.
func (s *Spool) outcome(l *lease, c spoolClaim, p pin, set Settlement) (*taskState, *stored, error) {
	st := &taskState{id: c.id, num: c.num, done: true}
	if err := set.check(int(l.recipients.Load())); err != nil || set.final() {
		s.unpin([]pin{p})
		return st, nil, err
	}
	msg, old, err := s.load(c, p)
	if err != nil {
		return nil, nil, err
	}
	st.done = false
	st.state = *old.after(set)
	st.attempts = set.attempts(c.task.Attempts)
	st.due, st.overdue = toNano(set.Next), msg.overdue(st.state.noticed)
	return st, msg, nil
}

// settle carries out what the log has. s.mu is held.
func (s *Spool) settle(d *draft, l *lease, st *taskState) {
	t := s.ix.tasks.at(l.task)
	s.live -= int64(t.state.length)
	if !st.done {
		p := d.record.place(recordHeaderLen, d.state)
		s.live += int64(p.length)
		s.ix.retry(l, st.due, st.overdue, st.attempts, p)
		return
	}
	p := *s.ix.data(st.id) // where compaction has put it
	if s.ix.done(l) {
		s.gone(p)
		s.removeFile(st.id, d.record.seq)
	}
}
