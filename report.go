package postrider

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// report composes what the sender is owed after an attempt: at most one report, about all recipients
// of the task that something happened to. It is a value for delivery.Runner.Report.
func (r *Relay) report(ctx context.Context, o delivery.Occasion) ([]queue.Message, error) {
	now := time.Now()
	report := bounce.Report{
		ReportingMTA: r.hostname,
		Envelope:     o.Task.Envelope,
		Arrival:      o.Task.Arrival,
		Date:         now,
		Original:     o.Content,
	}
	for i, result := range o.Results {
		if action, ok := actionFor(o, result); ok {
			rcpt := bounce.Recipient{
				Recipient:      o.Task.Envelope.Recipients[i],
				Action:         action,
				Result:         result,
				WillRetryUntil: o.Task.Deadline,
			}
			if !o.Untried && result.Outcome.Final() { // else the attempt may have been long ago
				rcpt.LastAttempt = now
			}
			report.Recipients = append(report.Recipients, rcpt)
		}
	}
	env, content, err := report.Compose()
	if err != nil && !errors.Is(err, bounce.ErrUnwanted) { // the original can't be read: tell what happened without it
		r.logger().LogAttrs(ctx, slog.LevelWarn, "a report goes out without its original", slog.String("id", string(o.Task.ID)), slog.Any("err", err))
		report.Original = smtp.Text("")
		env, content, err = report.Compose()
	}
	if errors.Is(err, bounce.ErrUnwanted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := r.message(env)
	if err != nil { // a sender whose domain can't be: there is no one to tell
		r.logger().LogAttrs(ctx, slog.LevelWarn, "no report can be sent", slog.String("id", string(o.Task.ID)),
			slog.String("to", env.Recipients[0].Address), slog.Any("err", err))
		return nil, nil
	}
	m.Body = smtp.NewReader(content)
	m.Tenant = o.Task.Tenant
	return []queue.Message{m}, nil
}

// actionFor says what a report would call this result (RFC 3464 §2.3.3). ok is false if there is nothing to tell.
func actionFor(o delivery.Occasion, result smtp.Result) (action bounce.Action, ok bool) {
	switch {
	case result.Outcome == smtp.Rejected, !result.Outcome.Final() && o.Expired:
		return bounce.Failed, true
	case !result.Outcome.Final() && o.Delayed:
		return bounce.Delayed, true
	case result.Outcome != smtp.Delivered || result.DSN:
		return 0, false // a host that took the DSN parameters reports from here on (RFC 3461 §5.2.1)
	case result.Relayed:
		return bounce.Relayed, true
	}
	return bounce.Delivered, true
}
