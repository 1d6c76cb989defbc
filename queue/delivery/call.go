package delivery

import (
	"context"
	"log/slog"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/queue"
)

// call calls a func of the user, or a method of the Queue. A panic is logged, and becomes the error. about may be nil,
// or have no more than a Destination.
func (r *Runner) call(ctx context.Context, what string, about *queue.Task, f func() error) (err error) {
	p := guard.Call(func() { err = f() })
	if p == nil {
		return err
	}
	var attrs []slog.Attr
	switch {
	case about == nil:
	case about.ID == "":
		attrs = []slog.Attr{slog.String("destination", about.Destination)}
	default:
		attrs = taskAttrs(about)
	}
	p.Log(ctx, r.logger(), what, attrs...)
	return p
}

// callQueue calls a method of the Queue. The loop lists again after a lease that was lost, and when the Queue works
// after it failed: an announcement may have been missed.
func (r *Runner) callQueue(ctx context.Context, what string, about *queue.Task, f func() error) error {
	err := r.call(ctx, what, about, f)
	switch {
	case err != nil && !leaseEnded(err):
		r.missed.Store(true)
	case err != nil || r.missed.Swap(false):
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.loop != nil {
			r.loop.inbox.recovered()
		}
	}
	return err
}

// callLocked calls a func of the user that answers for a name while the loop is locked. A panic is logged later, by the
// goroutine that tells Events, as a slog.Handler may take its time.
func (r *Runner) callLocked(what, name string, f func()) {
	if p := guard.Call(f); p != nil {
		log := func(Event) { p.Log(context.Background(), r.logger(), what, slog.String("name", name)) }
		r.tell(log, Event{})
	}
}

// logger returns a Logger whose Handler can't panic.
func (r *Runner) logger() *slog.Logger { return guard.Logger(r.Logger) }
