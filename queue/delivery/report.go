package delivery

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

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
		kind, flag := "", smtp.Notify(0)
		switch res := o.Results[i]; {
		case res.Outcome == smtp.Delivered:
			kind, flag = kindDelivered, smtp.NotifySuccess
		case res.Outcome == smtp.Rejected, o.Expired:
			kind, flag = kindFailed, smtp.NotifyFailure
		case o.Delayed:
			kind, flag = kindDelayed, smtp.NotifyDelay
		default:
			continue
		}
		kinds[kind] = kinds[kind] || unwanted || rcpt.Notify.Wants(flag)
	}
	for _, kind := range []string{kindFailed, kindDelayed, kindDelivered} {
		if kinds[kind] {
			return kind
		}
	}
	return ""
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
	defer func() {
		if p := recover(); p != nil {
			reports, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	reports, err = r.Report(ctx, o)
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
