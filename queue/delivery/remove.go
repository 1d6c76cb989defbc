package delivery

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Purge removes every message with a task that f matches, without a report. The zero Filter matches everything. A
// message that is being sent may be delivered nevertheless. The report task of the message goes too: recipients that
// were settled within ReportDelay, and whose report isn't made, are never reported. Use Cancel to have them reported.
// Purge returns how many messages it removed. After an error, some may be removed and others not. The Queue must be a
// [queue.Lister] and a [queue.Remover].
func (r *Runner) Purge(ctx context.Context, f queue.Filter) (n int, err error) {
	return r.remove(ctx, "purge", f, nil)
}

// Cancel removes messages as Purge does, and returns each one to its sender as rejected by the reply "554 5.3.0" with
// this text. A message that is delivered at the same time may be returned nevertheless, and a recipient about whom
// a report is stored at the same time may be reported twice. If Runner.Report is nil, nothing is returned.
func (r *Runner) Cancel(ctx context.Context, f queue.Filter, text string) (n int, err error) {
	// RFC 3463 §3.4: X.3.0, something about the mail system, and permanent as nobody will try again.
	return r.remove(ctx, "cancel", f, smtp.NewReply(554, "5.3.0", text))
}

func (r *Runner) remove(ctx context.Context, op string, f queue.Filter, reply *smtp.Reply) (n int, err error) {
	q, err := able[queue.Remover](r, op)
	if err != nil {
		return 0, err
	}
	return r.each(ctx, op, f, func(m *queue.Task) error {
		if reply == nil || r.Report == nil {
			return r.purge(ctx, q, m, reply)
		}
		return r.cancel(ctx, q, m, reply)
	})
}

// purge takes out a message, which one of its tasks names. A reply is that of a Cancel without a report.
func (r *Runner) purge(ctx context.Context, q queue.Remover, message *queue.Task, reply *smtp.Reply) error {
	var tasks []queue.Task
	if r.Events.Cancelled != nil || r.Outbox != nil {
		var err error
		if tasks, err = r.tasks(ctx, "purge", message.ID); err != nil {
			return err
		}
	}
	events := cancelledEvents(tasks)
	outbox, err := r.outbox(ctx, message, events)
	if err != nil {
		return err
	}
	if err := q.Remove(ctx, []queue.ID{message.ID}, outbox...); err != nil {
		return err
	}
	r.logRemoved(ctx, message, reply)
	for _, e := range events {
		r.tellEvent(e)
	}
	return nil
}

// cancel takes out a message, which one of its tasks names, and returns it to its sender with the reply.
func (r *Runner) cancel(ctx context.Context, q queue.Remover, message *queue.Task, reply *smtp.Reply) error {
	tasks, err := r.tasks(ctx, "cancel", message.ID)
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		return queue.ErrNotFound
	}
	o := cancelled(tasks, reply)
	if len(o.Results) == 0 { // all were settled after they were delayed, without a report; aliases alone are left
		return r.purge(ctx, q, message, reply)
	}
	var content smtp.Content // none if it can't be read
	if body, err := r.Queue.Open(ctx, message.ID); err == nil {
		defer body.Close() // when the reports have been read
		content = body
	} else if errors.Is(err, queue.ErrNotFound) {
		return err
	}
	o.Content = content
	reports, err := r.report(ctx, o)
	if err != nil {
		r.tellUnreported(ctx, &o, err)
		return err
	}
	events := cancelledEvents(tasks)
	outbox, err := r.outbox(ctx, message, append(events, o.reported(reports)...))
	if err != nil {
		return err
	}
	if err := q.Remove(ctx, []queue.ID{message.ID}, slices.Concat(reports, outbox)...); err != nil {
		return err
	}
	r.logRemoved(ctx, message, reply)
	for _, e := range events {
		r.tellEvent(e)
	}
	r.tellReports(ctx, &o, reports)
	return nil
}

// cancelled makes the occasion for the report of a Cancel: its reply for all recipients that aren't settled, and what
// is to be reported about others.
func cancelled(tasks []queue.Task, reply *smtp.Reply) Occasion {
	tasks = slices.DeleteFunc(slices.Clone(tasks), func(t queue.Task) bool {
		return t.Destination == queue.ExpandedDestination // the report is about the addresses that it stands for
	})
	if len(tasks) == 0 {
		return Occasion{}
	}
	o := Occasion{Task: tasks[0], Untried: true, Expired: true}
	if len(tasks) > 1 {
		o.Task.Destination = queue.ReportDestination
	}
	env := *tasks[0].Envelope
	env.Recipients, o.Task.Delayed = nil, nil
	for _, t := range tasks {
		results := lastResults(&t, nil)
		for i, rcpt := range t.Envelope.Recipients {
			switch {
			case t.Destination != queue.ReportDestination:
				results[i] = smtp.Result{
					Recipient: rcpt.Address, Outcome: smtp.Rejected, Reply: reply, Local: true, Reason: smtp.Other,
				}
			case t.Delayed[i]:
				continue // the recipient is in another task
			}
			env.Recipients, o.Results = append(env.Recipients, rcpt), append(o.Results, results[i])
		}
	}
	o.Task.Envelope, o.Task.Last = &env, o.Results
	return o
}

// logRemoved writes a line about a message that was taken out. reply is nil for a purge.
func (r *Runner) logRemoved(ctx context.Context, message *queue.Task, reply *smtp.Reply) {
	msg, attr := "purged", slog.Attr{} // a zero Attr isn't logged
	if reply != nil {
		msg, attr = "cancelled", slog.String("reply", reply.Error())
	}
	r.logger().LogAttrs(ctx, slog.LevelInfo, msg, messageAttrs(message, attr)...)
}

// cancelledEvents returns an event for each recipient of a message that is removed.
func cancelledEvents(tasks []queue.Task) (events []Event) {
	for _, t := range tasks {
		if queue.OnlyReports(t.Destination) {
			continue // its recipients are settled or in another task, or they are aliases
		}
		for _, res := range lastResults(&t, &smtp.Result{}) {
			events = append(events, Event{Type: EventCancelled, Task: t, Result: res})
		}
	}
	return events
}
