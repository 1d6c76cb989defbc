package queue

import (
	"context"
	"fmt"
	"iter"
)

// List implements [Lister].
func (q *Mem) List(ctx context.Context, f Filter) iter.Seq2[Task, error] {
	return func(yield func(Task, error) bool) {
		parsed, err := newFilter(f)
		if err != nil {
			yield(Task{}, fmt.Errorf("queue: list: %w", err))
			return
		}
		ids, err := search(&q.mu, q.ix, parsed, ctx.Err)
		if err != nil {
			yield(Task{}, err)
			return
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				yield(Task{}, err)
				return
			}
			q.mu.Lock()
			tasks := q.ix.matching(id, parsed)
			q.mu.Unlock()
			if len(tasks) == 0 || !parsed.stored(tasks[0].data.stored) {
				continue
			}
			for _, c := range tasks {
				if !yield(memTask(c), nil) {
					return
				}
			}
		}
	}
}

// Hold implements [Holder].
func (q *Mem) Hold(ctx context.Context, ids ...ID) error {
	return q.each(ctx, ids, func(id uint64) bool { return q.ix.hold(id, true) })
}

// Release implements [Holder].
func (q *Mem) Release(ctx context.Context, ids ...ID) error {
	var due []Destination
	err := q.each(ctx, ids, func(id uint64) bool {
		if !q.ix.held(id) {
			return q.ix.data(id) != nil
		}
		q.ix.hold(id, false)
		due = append(due, q.ix.claimable(id)...)
		return true
	})
	for _, d := range due {
		q.tell(d.Due, d.Name)
	}
	return err
}

// Flush implements [Flusher].
func (q *Mem) Flush(ctx context.Context, destination string) (n int, err error) {
	for f, err := range flush(&q.mu, q.ix, destination, ctx.Err) {
		if err != nil {
			return n, err
		}
		n += f.count
		q.tell(f.now, f.destinations...)
	}
	return n, nil
}

// Remove implements [Remover].
func (q *Mem) Remove(ctx context.Context, ids []ID, reports ...Message) error {
	made, err := newMemMessages(ctx, reports)
	if err != nil {
		return fmt.Errorf("queue: remove: %w", err)
	}
	err = q.each(ctx, ids, func(id uint64) bool {
		gone := q.ix.remove(id)
		if len(gone) == 0 {
			return false
		}
		q.octets -= gone[0].data.size
		return true
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	for _, r := range made {
		q.add(r)
	}
	q.mu.Unlock()
	for _, r := range made {
		q.tellNew(r.stored)
	}
	return nil
}

// each calls do for each id, with q.mu held for one at a time. ErrNotFound: do said of none that it is there.
func (q *Mem) each(ctx context.Context, ids []ID, do func(id uint64) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	found := false
	for _, id := range ids {
		if n, ok := parseID(id); ok {
			q.mu.Lock()
			found = do(n) || found
			q.mu.Unlock()
		}
	}
	if !found {
		return ErrNotFound
	}
	return nil
}

// Stats implements [Stater].
func (q *Mem) Stats(ctx context.Context) (Stats, error) {
	if err := ctx.Err(); err != nil {
		return Stats{}, err
	}
	q.mu.Lock()
	s := q.ix.stats()
	s.Octets = q.octets
	q.mu.Unlock()
	for s.Messages > 0 {
		id, ok := oldest(&q.mu, q.ix)
		if !ok {
			break
		}
		q.mu.Lock()
		m := q.ix.data(id)
		if m != nil { // else it has just left
			s.Oldest = fromNano((*m).arrival)
		}
		q.mu.Unlock()
		if m != nil {
			break
		}
	}
	return s, nil
}

var (
	_ Waker   = (*Mem)(nil)
	_ Lister  = (*Mem)(nil)
	_ Holder  = (*Mem)(nil)
	_ Flusher = (*Mem)(nil)
	_ Remover = (*Mem)(nil)
	_ Stater  = (*Mem)(nil)
)
