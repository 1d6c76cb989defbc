package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// able returns the Queue as one that has an ability. The error of a Queue that lacks it wraps errors.ErrUnsupported.
func able[T any](r *Runner, op string) (T, error) {
	q, ok := r.Queue.(T)
	switch {
	case r.Queue == nil:
		return q, fmt.Errorf("%s: %w", op, errNoQueue)
	case !ok:
		return q, fmt.Errorf("%s: the Queue is no %v: %w", op, reflect.TypeFor[T](), errors.ErrUnsupported)
	}
	return q, nil
}

// Flush makes the deferred mail of a destination due now, or all deferred mail if name is "". If its site is down, the site is probed
// at once; for that, name may also be a site's. A task that is being sent, and is deferred, is tried once more at once.
// Scheduled mail that was never tried keeps its time.
//
// Flush returns how many tasks became due and how many sites that were down are probed. If both are 0, nothing waits under that name. The
// Queue must be a [queue.Flusher].
func (r *Runner) Flush(ctx context.Context, name string) (tasks, sites int, err error) {
	q, err := able[queue.Flusher](r, "flush")
	if err != nil {
		return 0, 0, err
	}
	tasks, err = q.Flush(ctx, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flushed == nil || len(r.flushed) >= maxFlushed {
		r.flushed = make(map[string]uint64)
	}
	r.flushes++
	r.flushed[name] = r.flushes
	r.tellMachine(func(m *machine) { sites = m.flush(name, time.Now()) })
	if err != nil {
		return tasks, sites, fmt.Errorf("flush: %w", err)
	}
	return tasks, sites, nil
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

// Suspend stops the delivery to destinations, or to sites, until a time; a time that isn't in the future ends the suspension. Attempts
// under way go on. Delay notices and deadlines keep their times. The process forgets the suspension when it ends.
//
// Suspend returns how many of the names are known now: as a destination with mail, or as a site in Activity.Sites. A name that isn't
// known may be misspelt, or have no mail yet. It is suspended too. If Run isn't running, no name is known.
func (r *Runner) Suspend(until time.Time, names ...string) (known int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.suspended == nil {
		r.suspended = make(map[string]time.Time)
	}
	for _, name := range names {
		r.suspended[name] = until
	}
	maps.DeleteFunc(r.suspended, func(_ string, until time.Time) bool { return !until.After(now) })
	r.tellMachine(func(m *machine) { known = m.suspend(names, until, now) })
	return known
}

// Suspended returns the names that are suspended, and until when.
func (r *Runner) Suspended() map[string]time.Time {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make(map[string]time.Time, len(r.suspended))
	for name, until := range r.suspended {
		if until.After(now) {
			names[name] = until
		}
	}
	return names
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
	q, err := able[queue.Holder](r, "hold")
	if err != nil {
		return 0, err
	}
	return r.each(ctx, "hold", f, func(messages []queue.Task) error { return q.Hold(ctx, ids(messages)...) })
}

// Release undoes Hold. f.State may well be [queue.Held].
func (r *Runner) Release(ctx context.Context, f queue.Filter) (n int, err error) {
	q, err := able[queue.Holder](r, "release")
	if err != nil {
		return 0, err
	}
	return r.each(ctx, "release", f, func(messages []queue.Task) error { return q.Release(ctx, ids(messages)...) })
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
	q, err := able[queue.Remover](r, op)
	if err != nil {
		return 0, err
	}
	return r.each(ctx, op, f, func(messages []queue.Task) error {
		if reply == nil || r.Report == nil {
			return r.purge(ctx, q, messages, reply)
		}
		// Each by itself, so that none is reported on that is settled meanwhile, and all at once, so that they share a sync.
		errs := make([]error, len(messages))
		var wg sync.WaitGroup
		for i := range messages {
			wg.Go(func() { errs[i] = r.cancel(ctx, q, &messages[i], reply) })
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

// purge takes messages out, each of which one of its tasks names. A reply is that of a Cancel without a report.
func (r *Runner) purge(ctx context.Context, q queue.Remover, messages []queue.Task, reply *smtp.Reply) error {
	var tasks []queue.Task
	if r.Events.Cancelled != nil {
		for _, m := range messages {
			more, err := r.tasks(ctx, "purge", m.ID)
			if err != nil {
				return err
			}
			tasks = append(tasks, more...)
		}
	}
	if err := q.Remove(ctx, ids(messages)); err != nil {
		return err
	}
	for i := range messages {
		r.logRemoved(ctx, &messages[i], reply)
	}
	r.tellCancelled(tasks)
	return nil
}

// cancel takes out a message, which one of its tasks names, and returns it to its sender with the reply.
func (r *Runner) cancel(ctx context.Context, q queue.Remover, message *queue.Task, reply *smtp.Reply) error {
	tasks, err := r.tasks(ctx, "cancel", message.ID)
	if err != nil {
		return err
	}
	var content smtp.Content // none if it can't be read
	if body, err := r.Queue.Open(ctx, message.ID); err == nil {
		defer body.Close() // when the reports have been read
		content = body
	} else if errors.Is(err, queue.ErrNotFound) {
		return err
	}
	var all []queue.Message
	reports := make([][]queue.Message, len(tasks))
	occasions := make([]Occasion, len(tasks))
	for i, t := range tasks {
		o := Occasion{Task: t, Untried: true, Content: content}
		for _, rcpt := range t.Envelope.Recipients {
			o.Results = append(o.Results, smtp.Result{
				Recipient: rcpt.Address, Outcome: smtp.Rejected, Reply: reply, Local: true, Reason: smtp.Other,
			})
		}
		if reports[i], err = r.Report(ctx, o); err != nil {
			r.tellUnreported(ctx, &o, err)
			return err
		}
		all, occasions[i] = append(all, reports[i]...), o
	}
	if err := q.Remove(ctx, []queue.ID{message.ID}, all...); err != nil {
		return err
	}
	r.logRemoved(ctx, message, reply)
	r.tellCancelled(tasks)
	for i := range occasions {
		r.tellReports(ctx, &occasions[i], reports[i])
	}
	return nil
}

// logRemoved writes a line about a message that was taken out. reply is nil for a purge.
func (r *Runner) logRemoved(ctx context.Context, message *queue.Task, reply *smtp.Reply) {
	if reply == nil {
		logMessage(ctx, r.logger(), "purged", message)
		return
	}
	logMessage(ctx, r.logger(), "cancelled", message, slog.String("reply", reply.Error()))
}

func (r *Runner) tellCancelled(tasks []queue.Task) {
	for _, t := range tasks {
		for _, res := range lastResults(&t, &smtp.Result{}) {
			r.tell(r.Events.Cancelled, Event{Task: t, Result: res})
		}
	}
}

// ids has the ID of each of messages.
func ids(messages []queue.Task) []queue.ID {
	all := make([]queue.ID, len(messages))
	for i := range messages {
		all[i] = messages[i].ID
	}
	return all
}

// tasks lists those of a message.
func (r *Runner) tasks(ctx context.Context, op string, id queue.ID) (tasks []queue.Task, err error) {
	q, err := able[queue.Lister](r, op)
	if err != nil {
		return nil, err
	}
	for t, err := range q.List(ctx, queue.Filter{ID: id}) {
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
}

// each calls do with the messages of which f lets a task through, some at a time: with the first such task of each.
func (r *Runner) each(ctx context.Context, op string, f queue.Filter, do func(messages []queue.Task) error) (n int, err error) {
	const some = 200
	q, err := able[queue.Lister](r, op)
	if err != nil {
		return 0, err
	}
	var messages []queue.Task
	flush := func() error {
		if len(messages) == 0 {
			return nil
		}
		err := do(messages)
		if err == nil {
			n += len(messages)
		}
		messages = messages[:0]
		if errors.Is(err, queue.ErrNotFound) { // all of them were settled meanwhile
			return nil
		}
		return err
	}
	for t, listErr := range q.List(ctx, f) {
		err = listErr
		if last := len(messages) - 1; err == nil && (last < 0 || messages[last].ID != t.ID) {
			if len(messages) == some {
				err = flush()
			}
			messages = append(messages, t)
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
