package spool

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/queue/internal/mutant"
)

// Settle implements [queue.Queue]. After the bodies of the reports are read, the end of ctx has no effect.
func (s *Spool) Settle(ctx context.Context, l queue.Lease, set queue.Settlement) error {
	begun, c, p, err := s.beginSettling(ctx, l, len(set.Reports) == 0)
	if err != nil {
		return err
	}
	written := false
	defer func() {
		if !written { // a report's reader may have panicked
			s.mu.Lock()
			expires := s.ix.Abort(begun)
			s.endSettling(begun)
			s.mu.Unlock()
			s.watch.Tell(expires, c.Task.Destination)
		}
	}()
	d := s.newDraft(len(set.Reports) > 0 && mutant.On != mutant.SettlesEarly)
	defer d.free()
	st, err := s.writeSettlement(ctx, d, begun, c, p, set)
	if err != nil {
		return s.failed(fmt.Sprintf("settle %s for %s", c.Task.ID, c.Task.Destination), err)
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
		s.watch.Tell(index.FromNano(min(st.due, st.overdue)), c.Task.Destination)
	}
	for _, m := range d.messages {
		s.watch.TellNew(m.Message)
	}
	return nil
}

// beginSettling begins a settlement, and pins the task. quick says that no reader of the caller's comes before it is
// written: then that may begin with it.
func (s *Spool) beginSettling(ctx context.Context, l queue.Lease, quick bool) (*index.Lease, spoolClaim, pin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx); err != nil {
		return nil, spoolClaim{}, pin{}, err
	}
	begun, c, err := s.ix.Begin(l)
	if err != nil {
		return nil, spoolClaim{}, pin{}, err
	}
	begun.Writing = quick && s.busy[c.ID] == nil
	return begun, c, s.pin(c)[0], nil
}

// startWriting keeps the settlement's message from being held, released or removed until endSettling.
func (s *Spool) startWriting(id uint64, l *index.Lease) error {
	if l.Writing {
		return nil
	}
	for {
		s.mu.Lock()
		other := s.busy[id]
		if other == nil {
			defer s.mu.Unlock()
			if l.Void() {
				return queue.ErrLeaseLost
			}
			l.Writing = true
			return nil
		}
		s.mu.Unlock()
		<-other
	}
}

// endSettling lets others at what was being settled. s.mu is held.
func (s *Spool) endSettling(l *index.Lease) {
	l.Writing = false
	if s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// writeSettlement puts the settlement into the log, and unpins the task.
func (s *Spool) writeSettlement(
	ctx context.Context, d *draft, l *index.Lease, c spoolClaim, p pin, set queue.Settlement,
) (*taskState, error) {
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
	if err := s.startWriting(c.ID, l); err != nil {
		return nil, err
	}
	return st, d.commit()
}

// outcome says what the settlement makes of the task, and unpins it.
func (s *Spool) outcome(l *index.Lease, c spoolClaim, p pin, set queue.Settlement) (*taskState, *index.Message, error) {
	st := &taskState{id: c.ID, num: c.Num, done: true}
	if err := index.CheckSettlement(&set, int(l.Recipients.Load())); err != nil || index.SettlesAll(&set) {
		s.unpin([]pin{p})
		return st, nil, err
	}
	msg, old, err := s.load(c, p)
	if err != nil {
		return nil, nil, err
	}
	st.done = false
	st.state = *old.After(set)
	st.attempts = index.AttemptsAfter(&set, c.Task.Attempts)
	st.due, st.overdue = index.ToNano(set.Next), msg.Overdue(st.state.Noticed)
	return st, msg, nil
}

// settle carries out what the log has. s.mu is held.
func (s *Spool) settle(d *draft, l *index.Lease, st *taskState) {
	t := s.ix.Tasks.At(l.Task)
	s.live -= int64(t.State.length)
	if !st.done {
		p := d.record.place(recordHeaderLen, d.state)
		s.live += int64(p.length)
		s.ix.Retry(l, st.due, st.overdue, st.attempts, p)
		return
	}
	p := *s.ix.Data(st.id) // where compaction has put it
	if s.ix.Done(l) {
		s.gone(p)
		s.removeFile(st.id, d.record.seq)
	}
}
