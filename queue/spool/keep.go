package spool

import (
	"cmp"
	"context"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Remove implements [queue.Remover]. After the bodies of the reports are read, the end of ctx has no effect.
func (s *Spool) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	d := s.newDraft(true)
	defer d.free()
	err := d.addReports(ctx, reports)
	if err == nil {
		err = s.record(ctx, d, ids, appendRemoval, func(id uint64) {
			s.drop(id)
			s.removeFile(id)
		})
	}
	if err != nil {
		return s.failed("remove", err)
	}
	s.wakeJanitor()
	for _, m := range d.messages {
		s.watch.TellNew(m.Message)
	}
	return nil
}

// Hold implements [queue.Holder].
func (s *Spool) Hold(ctx context.Context, ids ...queue.ID) error { return s.HoldFor(ctx, "", ids...) }

// HoldFor implements [queue.ReasonHolder].
func (s *Spool) HoldFor(ctx context.Context, reason string, ids ...queue.ID) error {
	reason = index.CutReason(reason)
	d := s.newDraft(true)
	defer d.free()
	hold := func(b []byte, id uint64) []byte { return appendHold(b, id, reason) }
	err := s.record(ctx, d, ids, hold, func(id uint64) { s.ix.Hold(id, reason) })
	if err != nil {
		return s.failed("hold", err)
	}
	return nil
}

// Release implements [queue.Holder]. Held tasks have no Deaths afterwards.
func (s *Spool) Release(ctx context.Context, ids ...queue.ID) error {
	d := s.newDraft(true)
	defer d.free()
	var due []queue.LaneDue
	var cleared []claimed
	release := func(b []byte, id uint64) []byte {
		was := len(cleared)
		cleared = s.suspectsOf(cleared, id)
		for i := range cleared[was:] {
			cleared[was+i].deaths = 0
			b = appendClaim(b, cleared[was+i])
		}
		return appendRelease(b, id)
	}
	err := s.record(ctx, d, ids, release, func(id uint64) {
		for _, c := range cleared {
			if c.id == id {
				s.count(c)
			}
		}
		if s.ix.Held(id) {
			s.ix.Release(id)
			due = append(due, s.ix.Claimable(id)...)
		}
	})
	if err != nil {
		return s.failed("release", err)
	}
	for _, d := range due {
		s.watch.Tell(d.Due, d.Lane)
	}
	return nil
}

// suspectsOf appends the tasks of a message that are held and have deaths.
func (s *Spool) suspectsOf(found []claimed, id uint64) []claimed {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.ix.TasksOf(id) {
		if c.Is == queue.Held && c.Deaths > 0 {
			found = append(found, claimedOf(c))
		}
	}
	return found
}

// Flush implements [queue.Flusher]. It writes nothing: after a restart, a task that wasn't settled since is due at its
// former time.
func (s *Spool) Flush(ctx context.Context, destination string, after time.Duration) (n int, err error) {
	check := func() error { return cmp.Or(s.log.broken(), s.check(ctx)) }
	for f, err := range index.Flush(&s.mu, s.ix, destination, after, check) {
		if err != nil {
			return n, s.failed("flush", err)
		}
		n += f.Count
		s.watch.Tell(time.Time{}, f.Lanes...)
	}
	return n, nil
}

// Hasten implements [queue.Hastener]. Like Flush, it writes nothing.
func (s *Spool) Hasten(ctx context.Context, ids ...queue.ID) (n int, err error) {
	if n, err = s.hasten(ctx, ids); err != nil {
		return n, s.failed("hasten", err)
	}
	return n, nil
}

func (s *Spool) hasten(ctx context.Context, ids []queue.ID) (n int, err error) {
	s.mu.Lock()
	err = cmp.Or(s.log.broken(), s.check(ctx))
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	there := false
	for _, id := range ids {
		number, ok := index.ParseID(id)
		if !ok {
			continue
		}
		s.mu.Lock()
		if err := s.check(ctx); err != nil {
			s.mu.Unlock()
			return n, err
		}
		f, ok := s.ix.FlushMessage(number)
		s.mu.Unlock()
		n, there = n+f.Count, there || ok
		s.watch.Tell(time.Time{}, f.Lanes...)
	}
	if !there {
		return 0, queue.ErrNotFound
	}
	return n, nil
}

// record writes, with the draft's messages, that something was done to those messages that are there, and then does it.
func (s *Spool) record(
	ctx context.Context, d *draft, ids []queue.ID, entry func(b []byte, id uint64) []byte, do func(id uint64),
) error {
	found, err := s.begin(ctx, ids)
	if err != nil {
		return err
	}
	defer s.end(found)
	for _, id := range found {
		d.record.record = entry(d.record.record, id)
	}
	if err := d.commit(); err != nil {
		return err
	}
	s.mu.Lock()
	for _, id := range found {
		do(id)
	}
	s.takeIn(d)
	recalled := s.ix.Recalled()
	s.mu.Unlock()
	s.watch.TellComing(recalled)
	return nil
}

// begin finds the messages that are there and keeps others from holding, releasing, removing, settling or moving them
// until end: what comes last in the log is to come last in the index, too.
func (s *Spool) begin(ctx context.Context, ids []queue.ID) (found []uint64, err error) {
	if err := s.log.broken(); err != nil {
		return nil, err
	}
	for {
		s.mu.Lock()
		err := s.check(ctx)
		var other chan struct{}
		if err == nil {
			found, other = s.find(ids)
		}
		if err == nil && other == nil {
			done := make(chan struct{})
			for _, id := range found {
				s.busy[id] = done
			}
		}
		s.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case other == nil && len(found) == 0:
			return nil, queue.ErrNotFound
		case other == nil:
			return found, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// find returns the messages that are there, each once. If something else is being done to one of them, it returns a
// channel that is closed when that may have ended. s.mu is held.
func (s *Spool) find(ids []queue.ID) (found []uint64, other chan struct{}) {
	seen := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		n, ok := index.ParseID(id)
		if !ok || seen[n] || s.ix.Data(n) == nil {
			continue
		}
		if other := s.busy[n]; other != nil {
			return nil, other
		}
		if s.ix.Settling(n) {
			return nil, s.nextSettled()
		}
		seen[n] = true
		found = append(found, n)
	}
	return found, nil
}

// end lets others at the messages.
func (s *Spool) end(ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.busy[ids[0]])
	for _, id := range ids {
		delete(s.busy, id)
	}
	s.wakeJanitor() // it may have passed them over
}
