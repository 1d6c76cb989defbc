package spool

import (
	"context"
	"iter"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// List implements [queue.Lister]. It yields an error for each task that can't be read, and continues.
func (s *Spool) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		parsed, err := index.NewFilter(f)
		if err != nil {
			yield(queue.Task{}, s.failed("list", err))
			return
		}
		check := func() error { return s.check(ctx) }
		for id, err := range index.Search(&s.mu, s.ix, parsed, check) {
			if err != nil {
				yield(queue.Task{}, err)
				return
			}
			s.mu.Lock()
			if err := check(); err != nil {
				s.mu.Unlock()
				yield(queue.Task{}, err)
				return
			}
			tasks := s.ix.Matching(id, parsed)
			pins := s.pinAll(tasks)
			s.mu.Unlock()
			for i := range tasks {
				c := &tasks[i]
				task := c.Bare()
				msg, st, err := s.load(c, pins[i])
				switch {
				case err != nil:
					err = s.failed("list", err)
				case !parsed.MatchesMessage(msg):
					continue
				default:
					if c.Fill(&task, msg, st, s.ix.Now()); !parsed.MatchesTask(&task) {
						continue
					}
				}
				if !yield(task, err) {
					unpin(pins[i+1:])
					return
				}
			}
		}
	}
}

// Stats implements [queue.Stater]. Octets includes envelopes and results.
func (s *Spool) Stats(ctx context.Context) (queue.Stats, error) {
	s.mu.Lock()
	if err := s.check(ctx); err != nil {
		s.mu.Unlock()
		return queue.Stats{}, err
	}
	st := s.ix.Stats()
	st.Octets = s.live + s.large
	s.mu.Unlock()
	for st.Messages > 0 {
		id, ok := index.Oldest(&s.mu, s.ix)
		if !ok {
			break
		}
		m, err := s.stored(id)
		if err == queue.ErrNotFound {
			continue // it has just left
		}
		if err == nil { // else it is reported as damage, and the counts stand
			st.Oldest = index.FromNano(m.Arrival)
		}
		break
	}
	return st, nil
}

// stored reads what is kept of a message but its body.
func (s *Spool) stored(id uint64) (*index.Message, error) {
	s.mu.Lock()
	p := s.ix.Data(id)
	if p == nil || s.closed {
		defer s.mu.Unlock()
		if s.closed {
			return nil, queue.ErrClosed
		}
		return nil, queue.ErrNotFound
	}
	at, seg := *p, s.log.acquire(p.segment)
	s.mu.Unlock()
	defer seg.release()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	m, err := s.readMessage(seg, at, *buf)
	if err != nil {
		return nil, s.unreadable(at, err)
	}
	return m, nil
}

var (
	_ queue.Waker        = (*Spool)(nil)
	_ queue.Lister       = (*Spool)(nil)
	_ queue.ReasonHolder = (*Spool)(nil)
	_ queue.Flusher      = (*Spool)(nil)
	_ queue.Hastener     = (*Spool)(nil)
	_ queue.Remover      = (*Spool)(nil)
	_ queue.Stater       = (*Spool)(nil)
)
