package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// The tasks of a message to several destinations collect what they owe the sender in the report task of the message:
// see queue.ReportDestination. So one report is about several destinations. The report about a message to one
// destination is in the commit of the outcome.

const (
	defaultReportDelay = time.Minute
	strangerDelay      = time.Hour // the least for a stranger, whose sender may be forged
)

// merges reports whether what the task owes is reported together with other tasks of its message. For a stranger, that
// is also with what the task itself will owe if it goes on.
func (d *delivery) merges(goesOn bool) bool {
	return d.r.ReportDelay >= 0 && (!d.task.Only || goesOn && d.task.Origin.IsStranger())
}

// reportAt returns the time at which the report task is due for what the task owes now.
func (d *delivery) reportAt() time.Time {
	wait := cmp.Or(d.r.ReportDelay, defaultReportDelay)
	if d.task.Origin.IsStranger() {
		wait = max(wait, strangerDelay)
	}
	return d.r.time().Add(min(wait, ever))
}

// owes returns the recipients whose sender wants a report.
func (o *Occasion) owes() (owed []queue.Owed) {
	for i := range o.Task.Envelope.Recipients {
		if kind := o.Kind(i); kind != "" {
			owed = append(owed, queue.Owed{Recipient: i, Result: o.Results[i], Delayed: kind == kindDelayed})
		}
	}
	return owed
}

// reportOwed reports what is collected in a report task, or that aliases were expanded.
func (d *delivery) reportOwed(ctx context.Context) (lapse time.Time) {
	var body queue.Body
	if d.r.Report != nil {
		if body = d.open(ctx); body != nil {
			defer body.Close()
		}
	}
	occasions := []Occasion{expanded(&d.task)}
	if d.task.Destination == queue.ReportDestination {
		occasions = collected(&d.task)
	}
	for i := range occasions {
		if body != nil {
			occasions[i].Content = body
		}
	}
	return d.repeat(ctx, &queue.Settlement{}, func(doubt bool) error { return d.commitOwed(ctx, occasions, doubt) })
}

// collected returns the occasions for the reports of a report task: one for the recipients that are settled, one for
// those that are delayed. A delay is left out if the same report has the end of the recipient, or if no other task of
// the message is left. It is reported if the recipient was settled without a report while another task is open, as the
// task doesn't show that.
func collected(t *queue.Task) (occasions []Occasion) {
	results := lastResults(t, nil)
	settled := map[string]bool{}
	for i, rcpt := range t.Envelope.Recipients {
		if !t.Delayed[i] {
			settled[rcpt.Address] = true
		}
	}
	for _, delayed := range []bool{false, true} {
		o := Occasion{Task: *t, Untried: true, Expired: !delayed, Delayed: delayed}
		env := *t.Envelope
		env.Recipients, o.Task.Last, o.Task.Delayed = nil, nil, nil
		for i, rcpt := range t.Envelope.Recipients {
			if t.Delayed[i] != delayed || delayed && (t.Only || settled[rcpt.Address]) {
				continue
			}
			env.Recipients = append(env.Recipients, rcpt)
			o.Task.Last, o.Task.Delayed = append(o.Task.Last, t.Last[i]), append(o.Task.Delayed, delayed)
			o.Results = append(o.Results, results[i])
		}
		o.Task.Envelope = &env
		if len(o.Results) > 0 {
			occasions = append(occasions, o)
		}
	}
	return occasions
}

// expanded returns the occasion for the report of a task whose recipients are aliases.
func expanded(t *queue.Task) Occasion {
	o := Occasion{Task: *t, Untried: true, Results: make([]smtp.Result, len(t.Envelope.Recipients))}
	for i, rcpt := range t.Envelope.Recipients {
		// RFC 3463 §3.2: X.1.5, destination address valid.
		reply := smtp.NewReply(250, "2.1.5", "the address stands for several others")
		o.Results[i] = smtp.Result{Recipient: rcpt.Address, Outcome: smtp.Delivered, Reply: reply, Local: true}
	}
	return o
}

// commitOwed settles a task of queue.OnlyReports once. If the reports can't be composed or, if doubt is true, can't be
// stored, the task comes up again later.
func (d *delivery) commitOwed(ctx context.Context, occasions []Occasion, doubt bool) error {
	var s queue.Settlement
	reports := make([][]queue.Message, len(occasions))
	for i := range occasions {
		if d.r.Report == nil {
			break
		}
		var err error
		if reports[i], err = d.r.report(ctx, occasions[i]); err != nil {
			return d.postponeReport(ctx, &occasions[i], err)
		}
		s.Reports = append(s.Reports, reports[i]...)
	}
	outbox, err := d.outbox(ctx, doubt, func() (events []Event) {
		for i := range occasions {
			events = append(events, occasions[i].reported(reports[i])...)
		}
		return events
	})
	if err != nil {
		return err
	}
	err = d.store(ctx, s, outbox)
	if err != nil && len(s.Reports) > 0 && doubt && !leaseEnded(err) {
		if err = d.postponeReport(ctx, &occasions[0], err); !errors.Is(err, queue.ErrSettled) {
			return err
		}
	}
	if d.settled(err) {
		for i := range occasions {
			d.r.tellReports(ctx, &occasions[i], reports[i])
		}
	}
	return err
}

// A report that fails is tried again after 5, 10, 20, 40 and 80 minutes, then after 160 minutes each time. After
// maxReports tries, about 3 days, its message is held.
const (
	reportPause   = 5 * time.Minute
	reportDoubles = 5
	maxReports    = 30
)

// postponeReport settles a task of queue.OnlyReports so that it comes up again later. Only tries after the end of all
// other tasks of the message count: until then the message isn't held, and recipients are added to a report task.
func (d *delivery) postponeReport(ctx context.Context, o *Occasion, cause error) error {
	wait, last := reportPause, false
	if d.task.Only {
		wait, last = reportPause<<min(max(d.task.Attempts-1, 0), reportDoubles), d.task.Attempts >= maxReports
	}
	if last {
		wait = quarantinePause // if it can't be held, or is released
	}
	next := d.r.time().Add(wait)
	err := d.store(ctx, queue.Settlement{Uncounted: !d.task.Only, Next: next, OverdueFrom: next}, nil)
	if errors.Is(err, queue.ErrSettled) { // a try before it has settled with the reports
		return err
	}
	d.r.tellUnreported(ctx, o, cause)
	if err == nil && last {
		d.hold(ctx, slog.Int("reports", d.task.Attempts))
	}
	return err
}
