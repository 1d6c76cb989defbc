package delivery

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// The kinds of reports, as an Action field has them (RFC 3464 §2.3.3).
const (
	kindFailed    = "failed"
	kindDelayed   = "delayed"
	kindRelayed   = "relayed"
	kindExpanded  = "expanded"
	kindDelivered = "delivered"
)

// Kind returns what the sender of Task is owed a report on about Task.Envelope.Recipients[i]: "failed", "delayed",
// "relayed", "expanded" or "delivered". It returns "" if nothing is to be reported: nothing has happened, the next host
// has taken over to report, NOTIFY doesn't ask for it, or the reverse-path is the null one (RFC 3461 §5.2). It returns
// "" also if there is no recipient i, or no result of it.
func (o *Occasion) Kind(i int) string {
	if o.Task.Envelope == nil || i < 0 || i >= min(len(o.Task.Envelope.Recipients), len(o.Results)) {
		return ""
	}
	kind, flag := o.kindOf(i)
	if o.Task.Envelope.From == "" || !o.Task.Envelope.Recipients[i].Notify.Wants(flag) {
		return ""
	}
	return kind
}

// kind is that of a report about o: the worst that happened to a recipient whose sender wants to hear of it.
func (o *Occasion) kind() string { return cmp.Or(o.worst(false), o.worst(true)) }

// worst is the worst that happened to a recipient, which may be one whose sender doesn't want to hear of it.
func (o *Occasion) worst(unwanted bool) string {
	kinds := make(map[string]bool)
	for i, rcpt := range o.Task.Envelope.Recipients {
		kind, flag := o.kindOf(i)
		kinds[kind] = kinds[kind] || unwanted || rcpt.Notify.Wants(flag)
	}
	for _, kind := range []string{kindFailed, kindDelayed, kindRelayed, kindExpanded, kindDelivered} {
		if kinds[kind] {
			return kind
		}
	}
	return ""
}

// kindOf is what happened to a recipient, "" if nothing did that may be reported, and the flag that asks for a report.
func (o *Occasion) kindOf(i int) (kind string, flag smtp.Notify) {
	res, by := o.Results[i], o.Task.Envelope.By
	// RFC 2852 §4.1.4, §4.1.4.2: with T, or if nobody tells the sender any more when the time of mode N is over.
	byAsks := by.Trace || !by.Time.IsZero() && !by.Return && !res.DeliverBy
	switch {
	case o.Task.Destination == queue.ExpandedDestination:
		return kindExpanded, smtp.NotifySuccess // RFC 3461 §5.2.7.3
	case res.Outcome == smtp.Delivered && res.DSN && !byAsks:
		return "", 0 // a host that took the DSN parameters reports from here on (RFC 3461 §5.2.1)
	case res.Outcome == smtp.Delivered && !res.Relayed:
		return kindDelivered, smtp.NotifySuccess
	case res.Outcome == smtp.Delivered && byAsks: // all but NEVER
		return kindRelayed, smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay
	case res.Outcome == smtp.Delivered:
		return kindRelayed, smtp.NotifySuccess
	case res.Outcome == smtp.Rejected, o.Expired:
		return kindFailed, smtp.NotifyFailure
	case o.Delayed:
		return kindDelayed, smtp.NotifyDelay
	}
	return "", 0
}

// tellReports logs the reports about o that are in the Queue, and calls Events.Reported.
func (r *Runner) tellReports(ctx context.Context, o *Occasion, reports []queue.Message) {
	if len(reports) == 0 {
		return
	}
	kind := o.kind()
	for _, e := range o.reported(reports) {
		r.tellEvent(e)
	}
	for _, m := range reports {
		for _, rcpt := range m.Envelope.Recipients {
			r.logger().LogAttrs(ctx, slog.LevelInfo, "report", o.attrs(rcpt.Address, kind)...)
		}
	}
}

// reported returns the events of reports about o.
func (o *Occasion) reported(reports []queue.Message) (events []Event) {
	for _, m := range reports {
		e := Event{Type: EventReported, Task: o.Task, Next: o.Next, Report: m.Envelope, Kind: o.kind()}
		events = append(events, e)
	}
	return events
}

// tellUnreported logs that a report about o couldn't be composed or stored.
func (r *Runner) tellUnreported(ctx context.Context, o *Occasion, err error) {
	attrs := append(o.attrs(o.Task.Envelope.From, o.kind()), slog.Any("err", err))
	r.logger().LogAttrs(ctx, slog.LevelWarn, "report fails", attrs...)
}

// attrs are those of a line about a report to an address.
func (o *Occasion) attrs(to, kind string) []slog.Attr {
	attrs := []slog.Attr{slog.String("to", to), slog.String("kind", kind), slog.String("about", string(o.Task.ID))}
	if o.Task.Destination != "" {
		attrs = append(attrs, slog.String("destination", o.Task.Destination))
	}
	return appendOwner(attrs, &o.Task)
}

// report calls Report for o, and sets About of each report. A panic is an error.
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

// A report that DeadLetter returns an error for comes up again after deadLetterPause, until deadLetterTime after its
// Deadline.
const (
	deadLetterPause = time.Hour
	deadLetterTime  = 3 * 24 * time.Hour
)

// deadLetter passes on a report that has failed for good. It is called once for a settlement, however often that is
// tried. After an error, it makes the settlement one of a task that comes up again.
func (d *delivery) deadLetter(ctx context.Context, s *queue.Settlement, o *Occasion) {
	if d.r.DeadLetter == nil || !isDead(o) {
		return
	}
	err := d.r.call(ctx, "DeadLetter", &d.task, func() error { return d.r.DeadLetter(ctx, *o) })
	if err == nil {
		return
	}
	level, now := slog.LevelWarn, d.r.time()
	if deadline := d.task.Deadline; !deadline.IsZero() && passed(deadline.Add(deadLetterTime), now) {
		level = slog.LevelError // it leaves the queue
	} else {
		next := now.Add(deadLetterPause)
		*s = queue.Settlement{Uncounted: true, Next: next, OverdueFrom: next}
		*o = Occasion{Task: d.task, Next: next}
	}
	d.log(ctx, level, "dead letter fails", slog.Any("err", err))
}

// isDead reports whether o is the end of a report that has failed.
func isDead(o *Occasion) bool {
	if o.Task.About == "" {
		return false
	}
	for i := range o.Results {
		if kind, _ := o.kindOf(i); kind == kindFailed {
			return true
		}
	}
	return false
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
