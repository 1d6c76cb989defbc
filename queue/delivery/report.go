package delivery

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// The kinds of reports, from the worst on.
const (
	kindFailed    = "failed"
	kindDelayed   = "delayed"
	kindDelivered = "delivered"
)

// kind is that of a report about o: the worst that happened to a recipient whose sender wants to hear of it.
func (o *Occasion) kind() string { return cmp.Or(o.worst(false), o.worst(true)) }

// worst is the worst that happened to a recipient, which may be one whose sender doesn't want to hear of it.
func (o *Occasion) worst(unwanted bool) string {
	kinds := make(map[string]bool)
	for i, rcpt := range o.Task.Envelope.Recipients {
		kind, flag := o.kindOf(i)
		kinds[kind] = kinds[kind] || unwanted || rcpt.Notify.Wants(flag)
	}
	for _, kind := range []string{kindFailed, kindDelayed, kindDelivered} {
		if kinds[kind] {
			return kind
		}
	}
	return ""
}

// kindOf is what happened to a recipient, "" if nothing did that may be reported, and the flag that asks for a report.
func (o *Occasion) kindOf(i int) (kind string, flag smtp.Notify) {
	switch res := o.Results[i]; {
	case res.Outcome == smtp.Delivered && res.Relayed && o.Task.Envelope.By.Trace: // RFC 2852 §4.1.5: all but NEVER
		return kindDelivered, smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay
	case res.Outcome == smtp.Delivered:
		return kindDelivered, smtp.NotifySuccess
	case res.Outcome == smtp.Rejected, o.Expired:
		return kindFailed, smtp.NotifyFailure
	case o.Delayed:
		return kindDelayed, smtp.NotifyDelay
	}
	return "", 0
}

// tellReports says that reports about o are in the queue.
func (r *Runner) tellReports(ctx context.Context, o *Occasion, reports []queue.Message) {
	if len(reports) == 0 {
		return
	}
	kind := o.kind()
	for _, m := range reports {
		r.tell(r.Events.Reported, Event{Task: o.Task, Next: o.Next, Report: m.Envelope, Kind: kind})
		for _, rcpt := range m.Envelope.Recipients {
			r.logger().LogAttrs(ctx, slog.LevelInfo, "report", o.attrs(rcpt.Address, kind)...)
		}
	}
}

// tellUnreported says that a report about o couldn't be composed or stored.
func (r *Runner) tellUnreported(ctx context.Context, o *Occasion, err error) {
	attrs := append(o.attrs(o.Task.Envelope.From, o.kind()), slog.Any("err", err))
	r.logger().LogAttrs(ctx, slog.LevelWarn, "report fails", attrs...)
}

// attrs are those of a line about a report to an address.
func (o *Occasion) attrs(to, kind string) []slog.Attr {
	return appendOwner([]slog.Attr{
		slog.String("to", to), slog.String("kind", kind), slog.String("about", string(o.Task.ID)),
		slog.String("destination", o.Task.Destination),
	}, &o.Task)
}

// report has the reports composed that are owed for o, and says in each what it is about. A panic is an error.
func (r *Runner) report(ctx context.Context, o Occasion) (reports []queue.Message, err error) {
	err = r.call(ctx, "Report", &o.Task, func() (err error) {
		reports, err = r.Report(ctx, o)
		return err
	})
	for i := range reports {
		reports[i].About = o.Task.ID
	}
	return reports, err
}

// taskAttrs appends to attrs those that name a task.
func taskAttrs(t *queue.Task, attrs ...slog.Attr) []slog.Attr {
	return appendOwner(append(attrs, slog.String("id", string(t.ID)), slog.String("destination", t.Destination)), t)
}

// messageAttrs appends to attrs those that name a message, by one of its tasks.
func messageAttrs(t *queue.Task, attrs ...slog.Attr) []slog.Attr {
	return appendOwner(append(attrs, slog.String("id", string(t.ID))), t)
}

// appendOwner appends the Ref and the Tenant of a task, if they are set.
func appendOwner(attrs []slog.Attr, t *queue.Task) []slog.Attr {
	if t.Ref != "" {
		attrs = append(attrs, slog.String("ref", t.Ref))
	}
	if t.Tenant != "" {
		attrs = append(attrs, slog.String("tenant", t.Tenant))
	}
	if t.About != "" {
		attrs = append(attrs, slog.String("about", string(t.About)))
	}
	return attrs
}
