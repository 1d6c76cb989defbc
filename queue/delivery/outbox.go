package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// eventOf returns the event for a result that is settled. If next is zero, the task is done.
func (d *delivery) eventOf(res *smtp.Result, next time.Time) Event {
	return Event{Type: typeOf(res.Outcome, next.IsZero()), Task: d.task, Result: *res, Next: next}
}

// events returns what the settlement s records, with the reports in it.
func (d *delivery) events(s *queue.Settlement, o *Occasion) (events []Event) {
	results := settledResults(s, o)
	for i := range results {
		events = append(events, d.eventOf(&results[i], s.Next))
	}
	for i := range o.Results {
		if o.Delayed && isOpen(o.Results[i]) {
			events = append(events, Event{Type: EventDelayed, Task: d.task, Result: o.Results[i], Next: s.Next})
		}
	}
	if d.held {
		events = append(events, Event{Type: EventQuarantined, Task: d.task})
	}
	return append(events, o.reported(s.Reports)...)
}

// outbox returns the messages of Outbox for the settlement of the task. If doubt is true, it returns none if Outbox
// fails, and no error.
func (d *delivery) outbox(ctx context.Context, doubt bool, events func() []Event) ([]queue.Message, error) {
	if d.r.Outbox == nil || d.task.About != "" {
		return nil, nil // the events needn't be made
	}
	messages, err := d.r.outbox(ctx, &d.task, events())
	if err != nil && doubt {
		d.log(ctx, slog.LevelError, "outbox fails", slog.Any("err", err))
		return nil, nil
	}
	return messages, err
}

// outbox calls Outbox for events about the message of t, and sets About of the messages that it returns. There are none
// about a message that has an About itself.
func (r *Runner) outbox(ctx context.Context, t *queue.Task, events []Event) (messages []queue.Message, err error) {
	if r.Outbox == nil || t.About != "" || len(events) == 0 {
		return nil, nil
	}
	now := r.time()
	for i := range events {
		events[i].Time = now
	}
	err = r.call(ctx, "Outbox", t, func() (err error) {
		messages, err = r.Outbox(ctx, events)
		return err
	})
	if err != nil { // not wrapped: it must not look like an error of Settle
		return nil, fmt.Errorf("delivery: Outbox: %v", err)
	}
	for i := range messages {
		if err := checkMessage(&messages[i]); err != nil {
			return nil, fmt.Errorf("delivery: message %d of Outbox: %w", i, err)
		}
		messages[i].About = t.ID
	}
	return messages, nil
}

// checkMessage returns an error for a message that no Queue would store in a Settlement.
func checkMessage(m *queue.Message) error {
	switch {
	case m.Envelope == nil || len(m.Envelope.Recipients) == 0:
		return errors.New("it has no recipient")
	case len(m.Destinations) != len(m.Envelope.Recipients):
		return fmt.Errorf("it has %d Destinations for %d recipients", len(m.Destinations), len(m.Envelope.Recipients))
	case slices.ContainsFunc(m.Destinations, func(to string) bool { return to == "" || queue.OnlyReports(to) }):
		return fmt.Errorf("one of its Destinations %q is empty or reserved", m.Destinations)
	case m.Body == nil:
		return errors.New("its Body is nil")
	case m.Key != "":
		return fmt.Errorf("it has the Key %q: leave the Key empty", m.Key)
	case !m.Deadline.IsZero() && !m.NotBefore.Before(m.Deadline):
		return fmt.Errorf("NotBefore is %v, and the Deadline is %v: set a later Deadline", m.NotBefore, m.Deadline)
	}
	return nil
}
