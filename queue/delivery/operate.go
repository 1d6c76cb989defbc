package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
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

// Flush makes the deferred mail of a destination due now, or all deferred mail if name is "". If the destination's site
// is down, the site is probed at once; name may also be the site's own. A task that is being sent, and is deferred, is
// attempted once more at once. Scheduled mail that was never attempted keeps its time, and a suspension goes on.
//
// Flush returns how many tasks became due, and how many sites that were down are probed. If both are 0, nothing waits
// under that name. The Queue must be a [queue.Flusher].
func (r *Runner) Flush(ctx context.Context, name string) (tasks, sites int, err error) {
	q, err := able[queue.Flusher](r, "flush")
	if err != nil {
		return 0, 0, err
	}
	tasks, err = q.Flush(ctx, name, 0)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flushed == nil || len(r.flushed) >= maxFlushed {
		r.flushed = make(map[string]uint64)
	}
	r.flushes++
	r.flushed[name] = r.flushes
	r.tellMachine(func(m *machine) { sites = m.flush(r.time(), name) })
	if err != nil {
		return tasks, sites, fmt.Errorf("flush: %w", err)
	}
	return tasks, sites, nil
}

// FlushMessages does for the messages with a task that f matches what Flush does for a destination: all their deferred
// tasks become due now. The sites of their tasks that are down are probed at once, each with one message, which may be
// another one. Limits, rates and suspensions go on. Unlike Flush, it leaves a task that is being sent alone: if that is
// deferred, it waits for its retry.
//
// FlushMessages returns how many messages have a task that became due, and how many sites that were down are probed.
// After an error, some may be due and others not. The Queue must be a [queue.Lister] and a [queue.Hastener].
func (r *Runner) FlushMessages(ctx context.Context, f queue.Filter) (messages, sites int, err error) {
	q, err := able[queue.Hastener](r, "flush")
	if err != nil {
		return 0, 0, err
	}
	var mu sync.Mutex
	destinations := make(map[string]bool)
	messages, err = r.each(ctx, "flush", f, func(m *queue.Task) error {
		tasks, err := r.tasks(ctx, "flush", m.ID)
		if err != nil {
			return err
		}
		n, err := q.Hasten(ctx, m.ID)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range tasks {
			t := &tasks[i]
			waits := t.State == queue.Waiting && (t.Attempts > 0 || !t.Due.After(r.time()))
			if waits && len(destinations) < maxFlushed {
				destinations[t.Destination] = true
			}
		}
		if n == 0 {
			return queue.ErrNotFound // it isn't counted
		}
		return nil
	})
	if len(destinations) == 0 {
		return messages, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellMachine(func(m *machine) { sites = m.flush(r.time(), slices.Collect(maps.Keys(destinations))...) })
	return messages, sites, err
}

// maxFlushed is how many flushed destinations are remembered, for what is being sent meanwhile. FlushMessages looks
// after the sites of as many.
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

// Suspend stops the delivery to destinations, or to sites, until a time. A time that isn't in the future ends the
// suspension. Attempts under way go on; delay notices and deadlines keep their times. The process forgets the
// suspension when it ends. If several Runners share the Queue, call Suspend of each: the others go on.
//
// Suspend returns how many of the names are known now: as a destination with mail, or as a site in Activity.Sites. A
// name that isn't known may be misspelt, or have no mail yet; it is suspended too. If Run isn't running, no name is
// known.
func (r *Runner) Suspend(until time.Time, names ...string) (known int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.time()
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
	now := r.time()
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
		r.loop.locked(f)
	}
}

// Hold holds every message with a task that f matches, until Release: none of its tasks is attempted, reported as
// delayed or expired. It returns how many messages were held. After an error, some may be held and others not. The
// Queue must be a [queue.Lister] and a [queue.Holder].
func (r *Runner) Hold(ctx context.Context, f queue.Filter) (n int, err error) {
	q, err := able[queue.Holder](r, "hold")
	if err != nil {
		return 0, err
	}
	return r.each(ctx, "hold", f, func(m *queue.Task) error { return q.Hold(ctx, m.ID) })
}

// HoldFor is Hold for a reason, which Explain and the page of package queueweb show: see [queue.ReasonHolder]. It
// replaces the reason of a message that is held already. The Queue must be a ReasonHolder, unless the reason is empty.
func (r *Runner) HoldFor(ctx context.Context, f queue.Filter, reason string) (n int, err error) {
	if reason == "" {
		return r.Hold(ctx, f)
	}
	q, err := able[queue.ReasonHolder](r, "hold")
	if err != nil {
		return 0, err
	}
	return r.each(ctx, "hold", f, func(m *queue.Task) error { return q.HoldFor(ctx, reason, m.ID) })
}

// Release ends Hold, and the quarantine that is described at Runner, for every message with a task that f matches. It
// returns how many messages those are. Set f.State to queue.Held to count only those that are held.
func (r *Runner) Release(ctx context.Context, f queue.Filter) (n int, err error) {
	q, err := able[queue.Holder](r, "release")
	if err != nil {
		return 0, err
	}
	return r.each(ctx, "release", f, func(m *queue.Task) error { return q.Release(ctx, m.ID) })
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

// each calls do for every message with a task that f matches, with its first such task, and returns for how many do
// returned nil. do runs for some at a time, so that they share a sync; more could take all connections of a database.
// ErrNotFound is no error: the message was settled meanwhile. Another error of do ends it. A task that can't be listed
// doesn't: the error is returned in the end.
func (r *Runner) each(ctx context.Context, op string, f queue.Filter, do func(*queue.Task) error) (n int, err error) {
	const some = 32
	q, err := able[queue.Lister](r, op)
	if err != nil {
		return 0, err
	}
	var messages []queue.Task
	flush := func() error {
		done, err := r.together(ctx, messages, do)
		n += done
		messages = messages[:0]
		return err
	}
	var unlisted error
	for t, listErr := range q.List(ctx, f) {
		if listErr != nil {
			unlisted = cmp.Or(unlisted, listErr)
			continue
		}
		if last := len(messages) - 1; last >= 0 && messages[last].ID == t.ID {
			continue
		}
		if len(messages) == some {
			if err = flush(); err != nil {
				break
			}
		}
		messages = append(messages, t)
	}
	if err == nil {
		err = flush()
	}
	if err = cmp.Or(err, unlisted); err != nil {
		return n, fmt.Errorf("%s: %w", op, err)
	}
	return n, nil
}

// errExited is the error of a message whose func of the user ended its goroutine, as t.Fatal does.
var errExited = errors.New("the goroutine has ended")

// together calls do for all messages at once. It returns for how many do returned nil, and the first error but
// ErrNotFound.
func (r *Runner) together(ctx context.Context, messages []queue.Task, do func(*queue.Task) error) (n int, err error) {
	errs := make([]error, len(messages))
	var wg sync.WaitGroup
	for i := range messages {
		errs[i] = errExited
		m := &messages[i]
		wg.Go(func() { errs[i] = r.call(ctx, "Queue", m, func() error { return do(m) }) })
	}
	wg.Wait()
	for _, failed := range errs {
		switch {
		case failed == nil:
			n++
		case err == nil && !errors.Is(failed, queue.ErrNotFound):
			err = failed
		}
	}
	return n, err
}
