package delivery

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Of a message to several destinations, what its tasks owe the sender is collected in its report task: see
// queue.ReportDestination. So one report tells of many destinations. A message to one destination has its report in the
// commit of the outcome.

const defaultReportDelay = time.Minute

// merges reports whether what the task owes is reported together with other tasks of its message.
func (d *delivery) merges() bool { return !d.task.Only && d.r.ReportDelay >= 0 }

// reportAt is when the report task is due for what is owed now.
func (r *Runner) reportAt() time.Time {
	return r.time().Add(min(cmp.Or(r.ReportDelay, defaultReportDelay), ever))
}

// owes lists the recipients whose sender wants to hear what happened to them.
func (o *Occasion) owes() (owed []queue.Owed) {
	for i := range o.Task.Envelope.Recipients {
		if kind := o.Kind(i); kind != "" {
			owed = append(owed, queue.Owed{Recipient: i, Result: o.Results[i], Delayed: kind == kindDelayed})
		}
	}
	return owed
}

// owesSuccess lists those of owes that were delivered.
func (o *Occasion) owesSuccess() (owed []queue.Owed) {
	for _, one := range o.owes() {
		if one.Result.Outcome == smtp.Delivered {
			owed = append(owed, one)
		}
	}
	return owed
}

// reportOwed reports what is collected in a report task.
func (d *delivery) reportOwed(ctx context.Context) (lapse time.Time) {
	var body queue.Body
	if d.r.Report != nil {
		if body = d.open(ctx); body != nil {
			defer body.Close()
		}
	}
	occasions := collected(&d.task)
	for i := range occasions {
		if body != nil {
			occasions[i].Content = body
		}
	}
	return d.repeat(ctx, &queue.Settlement{}, func(doubt bool) error { return d.commitOwed(ctx, occasions, doubt) })
}

// collected makes the occasions for reports of a report task: one for those who are settled, one for those whose mail
// is delayed. A delay is left out if its end is told of in the same report, or if no other task of the message is left.
// It is told of if the recipient was settled without a report while another task is open: the task doesn't say.
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

// commitOwed settles a report task once. Where the reports can't be had or, if doubt says so, can't be stored, it comes
// up again later.
func (d *delivery) commitOwed(ctx context.Context, occasions []Occasion, doubt bool) error {
	var s queue.Settlement
	reports := make([][]queue.Message, len(occasions))
	later := func(o *Occasion, cause error) error {
		err := d.store(ctx, queue.Settlement{Uncounted: true, Next: d.r.time().Add(reportPause)})
		if !errors.Is(err, queue.ErrSettled) { // else a try before it, with the reports
			d.r.tellUnreported(ctx, o, cause)
		}
		return err
	}
	for i := range occasions {
		if d.r.Report == nil {
			break
		}
		var err error
		if reports[i], err = d.r.report(ctx, occasions[i]); err != nil {
			return later(&occasions[i], err)
		}
		s.Reports = append(s.Reports, reports[i]...)
	}
	err := d.store(ctx, s)
	if err != nil && len(s.Reports) > 0 && doubt && !leaseEnded(err) {
		if err = later(&occasions[0], err); !errors.Is(err, queue.ErrSettled) {
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
