package mem

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// List implements [queue.Lister].
func (q *Queue) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		parsed, err := index.NewFilter(f)
		if err != nil {
			yield(queue.Task{}, fmt.Errorf("mem: list: %w", err))
			return
		}
		for id, err := range index.Search(&q.mu, q.made(), parsed, ctx.Err) {
			if err = cmp.Or(err, ctx.Err()); err != nil {
				yield(queue.Task{}, err)
				return
			}
			q.lock()
			tasks := q.ix.Matching(id, parsed)
			q.mu.Unlock()
			if len(tasks) == 0 || !parsed.MatchesMessage(tasks[0].Data.Message) {
				continue
			}
			for i := range tasks {
				var t queue.Task
				if fillTask(&t, &tasks[i], q.ix.Now()); parsed.MatchesTask(&t) && !yield(t, nil) {
					return
				}
			}
		}
	}
}

// Hold implements [queue.Holder].
func (q *Queue) Hold(ctx context.Context, ids ...queue.ID) error {
	return q.HoldFor(ctx, "", ids...)
}

// HoldFor implements [queue.ReasonHolder].
func (q *Queue) HoldFor(ctx context.Context, reason string, ids ...queue.ID) error {
	reason = index.CutReason(reason)
	return q.each(ctx, ids, func(id uint64) bool { return q.ix.Hold(id, reason) })
}

// Release implements [queue.Holder].
func (q *Queue) Release(ctx context.Context, ids ...queue.ID) error {
	var due []queue.LaneDue
	err := q.each(ctx, ids, func(id uint64) bool {
		if !q.ix.Held(id) {
			return q.ix.Data(id) != nil
		}
		q.ix.Release(id)
		due = append(due, q.ix.Claimable(id)...)
		return true
	})
	for _, d := range due {
		q.watch.Tell(d.Due, d.Lane)
	}
	return err
}

// Flush implements [queue.Flusher].
func (q *Queue) Flush(ctx context.Context, destination string, after time.Duration) (n int, err error) {
	for f, err := range index.Flush(&q.mu, q.made(), destination, after, ctx.Err) {
		if err != nil {
			return n, err
		}
		n += f.Count
		q.watch.Tell(time.Time{}, f.Lanes...)
	}
	return n, nil
}

// Hasten implements [queue.Hastener].
func (q *Queue) Hasten(ctx context.Context, ids ...queue.ID) (n int, err error) {
	var lanes []queue.Lane
	err = q.each(ctx, ids, func(id uint64) bool {
		f, ok := q.ix.FlushMessage(id)
		n, lanes = n+f.Count, append(lanes, f.Lanes...)
		return ok
	})
	q.watch.Tell(time.Time{}, lanes...)
	return n, err
}

// Remove implements [queue.Remover].
func (q *Queue) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	made, err := newMemMessages(ctx, reports)
	if err != nil {
		return fmt.Errorf("mem: remove: %w", err)
	}
	err = q.each(ctx, ids, func(id uint64) bool {
		gone := q.ix.Remove(id)
		if len(gone) == 0 {
			return false
		}
		q.octets -= gone[0].Data.Size
		return true
	})
	if err != nil {
		return err
	}
	q.lock()
	for _, r := range made {
		q.add(r)
	}
	q.mu.Unlock()
	for _, r := range made {
		q.watch.TellNew(r.Message)
	}
	return nil
}

// each calls do for each ID, with q.mu held for one call at a time. If do returns false each time, it returns
// ErrNotFound.
func (q *Queue) each(ctx context.Context, ids []queue.ID, do func(id uint64) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	found := false
	for _, id := range ids {
		if n, ok := index.ParseID(id); ok {
			q.lock()
			found = do(n) || found
			q.mu.Unlock()
		}
	}
	if !found {
		return queue.ErrNotFound
	}
	return nil
}

// Stats implements [queue.Stater].
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	if err := ctx.Err(); err != nil {
		return queue.Stats{}, err
	}
	q.lock()
	s := q.ix.Stats()
	s.Octets = q.octets
	q.mu.Unlock()
	for s.Messages > 0 {
		id, ok := index.Oldest(&q.mu, q.made())
		if !ok {
			break
		}
		q.lock()
		m := q.ix.Data(id)
		if m != nil { // otherwise it has just left
			s.Oldest = index.FromNano((*m).Arrival)
		}
		q.mu.Unlock()
		if m != nil {
			break
		}
	}
	return s, nil
}

var (
	_ queue.Keyer        = (*Queue)(nil)
	_ queue.Importer     = (*Queue)(nil)
	_ queue.Waker        = (*Queue)(nil)
	_ queue.Lister       = (*Queue)(nil)
	_ queue.ReasonHolder = (*Queue)(nil)
	_ queue.Flusher      = (*Queue)(nil)
	_ queue.Hastener     = (*Queue)(nil)
	_ queue.Remover      = (*Queue)(nil)
	_ queue.Stater       = (*Queue)(nil)
)
