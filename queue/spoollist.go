package queue

import (
	"context"
	"iter"
)

// List implements [Lister].
func (s *Spool) List(ctx context.Context, f Filter) iter.Seq2[Task, error] {
	return func(yield func(Task, error) bool) {
		parsed, err := newFilter(f)
		if err != nil {
			yield(Task{}, s.failed("list", err))
			return
		}
		check := func() error { return s.check(ctx) }
		ids, err := search(&s.mu, s.ix, parsed, check)
		if err != nil {
			yield(Task{}, err)
			return
		}
		for _, id := range ids {
			s.mu.Lock()
			if err := check(); err != nil {
				s.mu.Unlock()
				yield(Task{}, err)
				return
			}
			tasks := s.ix.matching(id, parsed)
			pins := s.pin(tasks...)
			s.mu.Unlock()
			for i, c := range tasks {
				msg, st, err := s.load(c, pins[i])
				switch {
				case err != nil:
					err = s.failed("list", err)
				case !parsed.stored(msg):
					continue
				default:
					msg.fill(&c.task, st)
				}
				if !yield(c.task, err) {
					s.unpin(pins[i+1:])
					return
				}
			}
		}
	}
}

// Stats implements [Stater]. Octets counts envelopes and what is known of tasks, too.
func (s *Spool) Stats(ctx context.Context) (Stats, error) {
	s.mu.Lock()
	if err := s.check(ctx); err != nil {
		s.mu.Unlock()
		return Stats{}, err
	}
	st := s.ix.stats()
	st.Octets = s.live + s.large
	s.mu.Unlock()
	for st.Messages > 0 {
		id, ok := oldest(&s.mu, s.ix)
		if !ok {
			break
		}
		m, err := s.stored(id)
		if err == ErrNotFound {
			continue // it has just left
		}
		if err == nil { // else it is reported as damage, and the counts stand
			st.Oldest = fromNano(m.arrival)
		}
		break
	}
	return st, nil
}

// stored reads what is kept of a message but its body.
func (s *Spool) stored(id uint64) (*stored, error) {
	s.mu.Lock()
	p := s.ix.data(id)
	if p == nil || s.closed {
		defer s.mu.Unlock()
		if s.closed {
			return nil, ErrClosed
		}
		return nil, ErrNotFound
	}
	at, seg := *p, s.log.acquire(p.segment)
	s.mu.Unlock()
	defer seg.release()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	m, err := readMessage(seg, at, *buf)
	if err != nil {
		return nil, s.unreadable(at, err)
	}
	return m, nil
}

var (
	_ Waker   = (*Spool)(nil)
	_ Lister  = (*Spool)(nil)
	_ Holder  = (*Spool)(nil)
	_ Flusher = (*Spool)(nil)
	_ Remover = (*Spool)(nil)
	_ Stater  = (*Spool)(nil)
)
