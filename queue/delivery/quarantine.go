package delivery

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postrider/postrider/queue"
)

// quarantinePause is how soon a task comes up again that should be held and can't be.
const quarantinePause = time.Hour

// quarantine holds the message of a task that may be why the process has ended, until somebody releases or removes it.
// It doesn't open the body.
func (d *delivery) quarantine(ctx context.Context) (lapse time.Time) {
	next := nextDue(&d.task)
	if !d.hold(ctx, slog.Int("deaths", d.task.Deaths)) {
		next = d.r.time().Add(quarantinePause)
	}
	s := queue.Settlement{Uncounted: true, Next: next}
	return d.settle(ctx, s, Occasion{Task: d.task, Next: next}, nil)
}

// hold holds the message of the task, logs that and calls Events.Quarantined. why is the cause. It returns false if the
// message can't be held.
func (d *delivery) hold(ctx context.Context, why slog.Attr) bool {
	q, err := able[queue.Holder](d.r, "hold")
	if err == nil {
		err = d.r.call(ctx, "Queue.Hold", &d.task, func() error { return q.Hold(ctx, d.task.ID) })
	}
	switch {
	case err == nil:
		d.log(ctx, slog.LevelError, "quarantined", why)
		d.held = true
		d.r.tellEvent(Event{Type: EventQuarantined, Task: d.task})
	case !errors.Is(err, queue.ErrNotFound): // else it was removed meanwhile
		d.log(ctx, slog.LevelError, "message can't be quarantined", why, slog.Any("err", err))
		return false
	}
	return true
}
