package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// DeadLetter returns a value for Relay.DeadLetter, or for Runner.DeadLetter without a Relay. It stores an event that no
// receiver took in q again, held, and logs "webhook kept". After Runner.Release, it is posted for another MaxAge, and
// once at least. What isn't an event is passed to next, which may be nil.
//
// The webhook-id stays the same. If q is no queue.Holder, the event stays in the queue for 3 days after its Deadline,
// is logged again every hour, and then dropped. If q is a queue.Keyer, an event is stored once, even if the process
// ends meanwhile.
func (h *Hooks) DeadLetter(
	q queue.Queue, next func(context.Context, delivery.Occasion) error,
) func(context.Context, delivery.Occasion) error {
	return func(ctx context.Context, o delivery.Occasion) error {
		if !isEvent(&o) {
			if next == nil {
				return nil
			}
			return next(ctx, o)
		}
		if q == nil {
			return errors.New("webhook: DeadLetter has no Queue")
		}
		return h.keep(ctx, q, &o)
	}
}

// isEvent reports whether o is about an event as message makes it. A report to a forged sender has no webhook-id.
func isEvent(o *delivery.Occasion) bool {
	env := o.Task.Envelope
	if env == nil || len(env.Recipients) != 1 || env.From != "" || o.Task.Origin != smtp.OriginCode ||
		!isAddress(env.Recipients[0].Address) || !strings.HasPrefix(o.Task.Destination, "webhook:") {
		return false
	}
	if o.Content == nil {
		return true // keep fails, and the event comes up again
	}
	_, _, err := readEvent(o.Content)
	return !errors.Is(err, errNotEvent)
}

// keep stores an event again, held.
func (h *Hooks) keep(ctx context.Context, q queue.Queue, o *delivery.Occasion) error {
	if o.Content == nil || o.Content.Size() > maxEvent {
		return errors.New("webhook: the event can't be read")
	}
	all, err := io.ReadAll(smtp.NewReader(o.Content))
	if err != nil {
		return fmt.Errorf("webhook: the event can't be read: %w", err)
	}
	m := h.queued(o.Task.Envelope.Recipients[0].Address, o.Task.Destination, bytes.NewReader(all))
	m.Held, m.HeldFor, m.About = true, "no endpoint has taken this event", o.Task.About
	if _, ok := q.(queue.Keyer); ok && o.Task.ID != "" {
		m.Key = "webhook-kept-" + string(o.Task.ID)
	}
	id, err := q.Enqueue(ctx, m)
	if err != nil {
		return fmt.Errorf("webhook: the event can't be kept: %w", err)
	}
	reply := ""
	if len(o.Results) > 0 {
		reply = o.Results[0].Reply.Error()
	}
	guard.Logger(h.Logger).LogAttrs(ctx, slog.LevelError, "webhook kept", slog.String("kept", string(id)),
		slog.String("reply", reply), slog.String("id", string(o.Task.ID)),
		slog.String("destination", o.Task.Destination), slog.String("about", string(o.Task.About)))
	return nil
}
