package postrider

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// report composes the report that the sender is owed after an attempt: at most one, about all recipients of the task
// that something happened to. It is a value for delivery.Runner.Report.
func (r *Relay) report(ctx context.Context, o delivery.Occasion) ([]queue.Message, error) {
	now := time.Now()
	report := bounce.Report{
		ReportingMTA: r.hostname,
		Envelope:     o.Task.Envelope,
		Arrival:      o.Task.Arrival,
		Date:         now,
		Original:     o.Content,
		Stranger:     o.Task.Origin == smtp.OriginStranger || o.Task.Origin == smtp.OriginUnknown,
	}
	for i, result := range o.Results {
		result = overBy(o, result, now)
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
			traced(o, &rcpt)
			if report.Stranger {
				rcpt.Recipient = r.withoutMember(rcpt.Recipient)
			}
			if report.Stranger && slices.ContainsFunc(report.Recipients, func(other bounce.Recipient) bool {
				return other.Address == rcpt.Address && other.Action == rcpt.Action
			}) {
				continue // another member of the same alias
			}
			report.Recipients = append(report.Recipients, rcpt)
		}
	}
	env, content, err := report.Compose()
	if err != nil && !errors.Is(err, bounce.ErrUnwanted) { // the original can't be read: report without it
		r.logger().LogAttrs(ctx, slog.LevelWarn, "report without the original message",
			appendOwner(o.Task.Ref, o.Task.Tenant, slog.String("about", string(o.Task.ID)), slog.Any("err", err))...)
		report.Original = smtp.Text("")
		env, content, err = report.Compose()
	}
	if errors.Is(err, bounce.ErrUnwanted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := r.reportMessage(env, content, o.Task.Tenant)
	if err != nil { // the sender's domain is impossible: there is nobody to report to
		r.logger().LogAttrs(ctx, slog.LevelWarn, "report not sent", appendOwner(o.Task.Ref, o.Task.Tenant,
			slog.String("to", env.Recipients[0].Address), slog.String("about", string(o.Task.ID)),
			slog.Any("err", err))...)
		return nil, nil
	}
	return []queue.Message{m}, nil
}

// withoutMember returns a recipient of a stranger's mail as the stranger knows it: of a member of an alias of ours, the
// alias, which is its ORCPT.
func (r *Relay) withoutMember(rcpt smtp.Recipient) smtp.Recipient {
	kind, address, _ := strings.Cut(rcpt.ORCPT, ";")
	if !strings.EqualFold(kind, "rfc822") && !strings.EqualFold(kind, "utf-8") {
		return rcpt
	}
	if _, domain := smtp.SplitAddress(address); r.isPostmaster(address) || r.isOurs(domain) {
		rcpt.Address = address
	}
	return rcpt
}

// reportMessage is a report as the Queue stores it.
func (r *Relay) reportMessage(env *smtp.Envelope, content smtp.Content, tenant string) (queue.Message, error) {
	m, err := r.message(env)
	if err != nil {
		return queue.Message{}, err
	}
	m.Body, m.Tenant, m.Origin = smtp.NewReader(content), tenant, smtp.OriginCode
	if !strings.HasPrefix(r.hostname, "[") {
		m.FromDomain = r.hostname // its author is the postmaster there
	}
	return m, nil
}

// actionFor returns the Action of a result (RFC 3464 §2.3.3). ok is false if there is nothing to report.
func actionFor(o delivery.Occasion, result smtp.Result) (action bounce.Action, ok bool) {
	switch {
	case result.Outcome == smtp.Rejected, !result.Outcome.Final() && o.Expired:
		return bounce.Failed, true
	case !result.Outcome.Final() && o.Delayed:
		return bounce.Delayed, true
	case result.Outcome != smtp.Delivered, result.DSN && !o.Task.Envelope.By.Trace:
		return 0, false // a host that took the DSN parameters reports from here on (RFC 3461 §5.2.1)
	case result.Relayed:
		return bounce.Relayed, true
	}
	return bounce.Delivered, true
}
