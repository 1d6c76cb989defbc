package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Purge removes every message with a task that f matches, without a report. The zero Filter matches everything. A
// message that is being sent may be delivered nevertheless. Purge returns how many messages it removed. After an error,
// some may be removed and others not. The Queue must be a [queue.Lister] and a [queue.Remover].
func (r *Runner) Purge(ctx context.Context, f queue.Filter) (n int, err error) {
	return r.remove(ctx, "purge", f, nil)
}

// Cancel removes messages as Purge does, and returns each one to its sender as rejected by the reply "554 5.3.0" with
// this text. A message that is delivered at the same time may be returned nevertheless. If Runner.Report is nil,
// nothing is returned.
func (r *Runner) Cancel(ctx context.Context, f queue.Filter, text string) (n int, err error) {
	// RFC 3463 §3.4: X.3.0, something about the mail system, and permanent as nobody will try again.
	return r.remove(ctx, "cancel", f, smtp.NewReply(554, "5.3.0", text))
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
		// Each by itself, so that none is reported on that is settled meanwhile, and all at once, so that they share a
		// sync.
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
		if reports[i], err = r.report(ctx, o); err != nil {
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
	msg, attr := "purged", slog.Attr{} // a zero Attr isn't logged
	if reply != nil {
		msg, attr = "cancelled", slog.String("reply", reply.Error())
	}
	r.logger().LogAttrs(ctx, slog.LevelInfo, msg, messageAttrs(message, attr)...)
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
