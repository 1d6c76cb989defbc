package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// What an operator may do while the Runner runs, or before. All of it may be called concurrently.

// ErrUnsupported is in the error of an operation that needs an ability which the Queue lacks: a [queue.Flusher], a [queue.Lister], a
// [queue.Holder] or a [queue.Remover].
var ErrUnsupported = errors.New("queue: the queue can't do that")

// Flush has the mail of a destination tried now, or all mail for "": what waits for its next try becomes due, and a site
// that is down is probed at once. It says how many tasks were brought forward. What is being sent now, and is deferred, is tried
// once more at once. What was never tried and is to go out later stays as it is.
func (r *Runner) Flush(ctx context.Context, destination string) (n int, err error) {
	q, ok := r.Queue.(queue.Flusher)
	if !ok {
		return 0, fmt.Errorf("flush: %w", ErrUnsupported)
	}
	n, err = q.Flush(ctx, destination)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flushed == nil || len(r.flushed) >= maxFlushed {
		r.flushed = make(map[string]uint64)
	}
	r.flushes++
	r.flushed[destination] = r.flushes
	r.tellMachine(func(m *machine) { m.flush(destination, time.Now()) })
	return n, err
}

// maxFlushed is how many flushed destinations are remembered, for what is being sent meanwhile.
const maxFlushed = 10_000

func (r *Runner) flushNumber() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flushes
}

// flushedSince reports whether a destination, or everything, was flushed after the flush of that number.
func (r *Runner) flushedSince(before uint64, destination string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.flushed[destination], r.flushed[""]) > before
}

// Suspend keeps the mail of a destination, or of a site by its name, from being sent until a time; one that has come ends that.
// What is being sent goes on. Delay notices and deadlines stay as they are. A new process knows nothing of it.
func (r *Runner) Suspend(name string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.suspended == nil {
		r.suspended = make(map[string]time.Time)
	}
	r.suspended[name] = until
	maps.DeleteFunc(r.suspended, func(_ string, until time.Time) bool { return !until.After(now) })
	r.tellMachine(func(m *machine) { m.suspend(name, until, now) })
}

// tellMachine changes something in the machine, if Run goes, and has the loop look at it. r.mu is held.
func (r *Runner) tellMachine(f func(m *machine)) {
	r.withMachine(f)
	if r.loop != nil {
		r.loop.inbox.ring()
	}
}

// withMachine looks into the machine, if Run goes. r.mu is held.
func (r *Runner) withMachine(f func(m *machine)) {
	if r.loop != nil {
		r.loop.mu.Lock()
		defer r.loop.mu.Unlock()
		f(r.loop.machine)
	}
}

// Hold keeps back the messages of which f lets a task through, with all their tasks, until Release. It says how many
// they are. After an error some are held and others aren't.
func (r *Runner) Hold(ctx context.Context, f queue.Filter) (n int, err error) {
	q, ok := r.Queue.(queue.Holder)
	if !ok {
		return 0, fmt.Errorf("hold: %w", ErrUnsupported)
	}
	return r.each(ctx, "hold", f, func(ids []queue.ID) error { return q.Hold(ctx, ids...) })
}

// Release undoes Hold. f.State may well be [queue.Held].
func (r *Runner) Release(ctx context.Context, f queue.Filter) (n int, err error) {
	q, ok := r.Queue.(queue.Holder)
	if !ok {
		return 0, fmt.Errorf("release: %w", ErrUnsupported)
	}
	return r.each(ctx, "release", f, func(ids []queue.ID) error { return q.Release(ctx, ids...) })
}

// Purge takes out the messages of which f lets a task through, with all their tasks, and tells no sender. The zero Filter
// takes out everything. What is being sent may be delivered none the less. It says how many messages they are. After an
// error some are gone and others aren't.
func (r *Runner) Purge(ctx context.Context, f queue.Filter) (n int, err error) {
	return r.remove(ctx, "purge", f, nil)
}

// Cancel is Purge, but returns each message to its sender as Rejected, with the text as the reason. What is delivered at that very moment
// may be returned none the less.
func (r *Runner) Cancel(ctx context.Context, f queue.Filter, text string) (n int, err error) {
	// RFC 3463 §3.4: X.3.0, something about the mail system, and permanent as nobody will try again.
	return r.remove(ctx, "cancel", f, &smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 3, 0}, Text: text})
}

func (r *Runner) remove(ctx context.Context, op string, f queue.Filter, reply *smtp.Reply) (n int, err error) {
	q, ok := r.Queue.(queue.Remover)
	if !ok {
		return 0, fmt.Errorf("%s: %w", op, ErrUnsupported)
	}
	return r.each(ctx, op, f, func(ids []queue.ID) error {
		if reply == nil || r.Report == nil {
			return r.purge(ctx, q, ids)
		}
		// Each by itself, so that none is reported on that is settled meanwhile, and all at once, so that they share a sync.
		errs := make([]error, len(ids))
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() { errs[i] = r.cancel(ctx, q, id, reply) })
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil && !errors.Is(err, queue.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// purge takes messages out.
func (r *Runner) purge(ctx context.Context, q queue.Remover, ids []queue.ID) error {
	var tasks []queue.Task
	if r.Events.Cancelled != nil {
		for _, id := range ids {
			more, err := r.tasks(ctx, id)
			if err != nil {
				return err
			}
			tasks = append(tasks, more...)
		}
	}
	if err := q.Remove(ctx, ids); err != nil {
		return err
	}
	r.tellCancelled(tasks)
	return nil
}

// cancel takes a message out, and returns it to its sender with the reply.
func (r *Runner) cancel(ctx context.Context, q queue.Remover, id queue.ID, reply *smtp.Reply) error {
	tasks, err := r.tasks(ctx, id)
	if err != nil {
		return err
	}
	var content smtp.Content // none if it can't be read
	if body, err := r.Queue.Open(ctx, id); err == nil {
		defer body.Close() // when the reports have been read
		content = body
	} else if errors.Is(err, queue.ErrNotFound) {
		return err
	}
	var reports []queue.Message
	for _, t := range tasks {
		o := Occasion{Task: t, Untried: true, Content: content}
		for _, rcpt := range t.Envelope.Recipients {
			o.Results = append(o.Results, smtp.Result{Recipient: rcpt.Address, Outcome: smtp.Rejected, Reply: reply, Local: true})
		}
		more, err := r.Report(ctx, o)
		if err != nil {
			return err
		}
		reports = append(reports, more...)
	}
	if err := q.Remove(ctx, []queue.ID{id}, reports...); err != nil {
		return err
	}
	r.tellCancelled(tasks)
	return nil
}

func (r *Runner) tellCancelled(tasks []queue.Task) {
	for _, t := range tasks {
		for _, res := range lastResults(&t, &smtp.Result{}) {
			r.tell(r.Events.Cancelled, Event{Task: t, Result: res})
		}
	}
}

// tasks lists those of a message.
func (r *Runner) tasks(ctx context.Context, id queue.ID) (tasks []queue.Task, err error) {
	q, ok := r.Queue.(queue.Lister)
	if !ok {
		return nil, fmt.Errorf("list: %w", ErrUnsupported)
	}
	for t, err := range q.List(ctx, queue.Filter{ID: id}) {
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
}

// each calls do with the messages of which f lets a task through, some at a time.
func (r *Runner) each(ctx context.Context, op string, f queue.Filter, do func([]queue.ID) error) (n int, err error) {
	const some = 200
	q, ok := r.Queue.(queue.Lister)
	if !ok {
		return 0, fmt.Errorf("%s: %w", op, ErrUnsupported)
	}
	var ids []queue.ID
	flush := func() error {
		if len(ids) == 0 {
			return nil
		}
		err := do(ids)
		if err == nil {
			n += len(ids)
		}
		ids = ids[:0]
		if errors.Is(err, queue.ErrNotFound) { // all of them were settled meanwhile
			return nil
		}
		return err
	}
	for t, listErr := range q.List(ctx, f) {
		err = listErr
		if err == nil && !slices.Contains(ids[max(0, len(ids)-1):], t.ID) {
			if len(ids) == some {
				err = flush()
			}
			ids = append(ids, t.ID)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		return n, fmt.Errorf("%s: %w", op, err)
	}
	return n, nil
}
