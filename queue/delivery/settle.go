package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// reportTries is how often a settlement with reports may fail before one without is tried too: the fault may be
// in a report.
const reportTries = 5

// settle ends the lease, with the reports that are owed for o. lapse is as in deliver.
func (d *delivery) settle(ctx context.Context, s queue.Settlement, o Occasion, body queue.Body) (lapse time.Time) {
	if body != nil {
		o.Content = body
	}
	d.deadLetter(ctx, &s, &o)
	if !s.Next.IsZero() {
		s.OverdueFrom = later(s.OverdueFrom, d.r.doubt(d.r.time()))
	}
	return d.repeat(ctx, &s, func(doubt bool) error {
		done, err := d.commit(ctx, s, &o, doubt)
		if d.settled(err) {
			d.tell(ctx, &done, &o)
		}
		return err
	})
}

// repeat calls commit, which settles s, until it succeeds, the lease is lost, or the time for that is over.
func (d *delivery) repeat(ctx context.Context, s *queue.Settlement, commit func(doubt bool) error) (lapse time.Time) {
	failures := 0
	defer func() {
		if failures > 0 {
			d.r.watchdog.over()
		}
	}()
	for ; ; failures++ {
		err := commit(failures >= reportTries)
		switch {
		case d.settled(err):
			d.r.watchdog.recorded()
			return time.Time{}
		case leaseEnded(err), over(err), ctx.Err() != nil:
			d.tellLost(ctx, s, err)
			return d.lease.expires()
		}
		d.r.watchdog.failed(err, failures == 0)
		d.log(ctx, slog.LevelError, "queue fails", slog.String("op", "settle"), slog.Any("err", err))
		pause(ctx, pauseAfter(failures))
	}
}

// settled reports whether the error of a commit means that the task is settled. If a try that returned an error has
// settled it nevertheless, the next one returns ErrSettled, and that is success.
func (d *delivery) settled(err error) bool {
	return err == nil || errors.Is(err, queue.ErrSettled) && d.unsure
}

// commit settles once, with the reports that are owed. If they can't be composed or, if doubt is true, can't be stored,
// what is owed moves to the report task. It does so at once if the message has other tasks. It returns what it settled.
func (d *delivery) commit(ctx context.Context, s queue.Settlement, o *Occasion, doubt bool) (queue.Settlement, error) {
	store := func(s queue.Settlement) error {
		outbox, err := d.outbox(ctx, doubt, func() []Event { return d.events(&s, o) })
		if err != nil {
			return err
		}
		return d.store(ctx, s, outbox)
	}
	if d.r.Report == nil || !owed(o) {
		return s, store(s)
	}
	if d.merges(!s.Next.IsZero()) {
		s.Owed, s.ReportAt = o.owes(), d.reportAt()
		return s, store(s)
	}
	reports, err := d.r.report(ctx, *o)
	if err == nil {
		s.Reports = reports
		err = store(s)
		if err == nil || len(reports) == 0 || !doubt || leaseEnded(err) {
			return s, err
		}
	}
	less := s
	less.Reports, less.Owed, less.ReportAt = nil, o.owes(), d.r.time().Add(reportPause)
	stored := store(less)
	if errors.Is(stored, queue.ErrSettled) { // a try before it has settled with the reports
		return s, stored
	}
	d.r.tellUnreported(ctx, o, err)
	return less, stored
}

// store settles once, with the messages of Outbox in the same commit.
func (d *delivery) store(ctx context.Context, s queue.Settlement, outbox []queue.Message) error {
	if len(outbox) > 0 {
		s.Reports = slices.Concat(s.Reports, outbox)
	}
	err := d.r.callQueue(ctx, "Queue.Settle", &d.task, func() error { return d.r.Queue.Settle(ctx, d.task.Lease, s) })
	d.unsure = d.unsure || err != nil && !leaseEnded(err)
	return err
}

// leaseEnded reports whether err means that the lease has ended.
func leaseEnded(err error) bool {
	return errors.Is(err, queue.ErrLeaseLost) || errors.Is(err, queue.ErrSettled)
}

// owed reports whether something happened that a report may be owed for.
func owed(o *Occasion) bool {
	if o.Expired || o.Delayed {
		return true
	}
	for i := range o.Results {
		if o.Results[i].Outcome.Final() {
			return true
		}
	}
	return false
}

// settledResults returns the results of a settlement, or the last ones if the recipients expired without an attempt.
func settledResults(s *queue.Settlement, o *Occasion) []smtp.Result {
	if o.Expired && len(s.Results) == 0 {
		return o.Results
	}
	return s.Results
}

// tell logs what was settled, and calls Events for it.
func (d *delivery) tell(ctx context.Context, s *queue.Settlement, o *Occasion) {
	results := settledResults(s, o)
	if len(results) == 0 {
		msg, why := "handed back", slog.String("why", d.whyBack())
		if o.Delayed {
			msg, why = "delayed", slog.Attr{} // a zero Attr isn't logged
		}
		d.log(ctx, slog.LevelInfo, msg, slog.Time("next", later(s.Next, d.r.time())), why)
	}
	for i := range results {
		res := &results[i]
		d.r.tellEvent(d.eventOf(res, s.Next))
		d.logOutcome(ctx, res, s.Next)
	}
	d.r.tellReports(ctx, o, s.Reports)
}

// whyBack returns why the task was handed back.
func (d *delivery) whyBack() string {
	if d.plan.step == stepQuarantine {
		return "quarantine"
	}
	return cmp.Or(d.plan.why, "early")
}

// logOutcome logs the result that was settled for a recipient. If next is zero, the task is done.
func (d *delivery) logOutcome(ctx context.Context, res *smtp.Result, next time.Time) {
	level, msg := slog.LevelInfo, res.Outcome.String()
	var attr slog.Attr // a zero Attr isn't logged
	switch {
	case isOpen(*res) && next.IsZero():
		msg = "expired"
	case isOpen(*res):
		attr = slog.Time("next", next)
	}
	if d.task.About != "" && res.Outcome != smtp.Delivered && attr.Key == "" {
		level = slog.LevelWarn
	}
	d.logResult(ctx, level, msg, res, attr)
}

// tellLost logs the results that couldn't be stored. A recipient that has the message may get it again.
func (d *delivery) tellLost(ctx context.Context, s *queue.Settlement, err error) {
	d.log(ctx, slog.LevelWarn, "task isn't settled", slog.Any("err", err))
	for i := range s.Results {
		outcome := slog.String("outcome", s.Results[i].Outcome.String())
		d.logResult(ctx, slog.LevelWarn, "result isn't recorded", &s.Results[i], outcome)
	}
}

func (d *delivery) logResult(ctx context.Context, level slog.Level, msg string, res *smtp.Result, attr slog.Attr) {
	if !d.logger.Enabled(ctx, level) {
		return
	}
	var reason, source, policy, security slog.Attr // a zero Attr isn't logged
	if res.Outcome != smtp.Delivered {
		reason = slog.String("reason", res.Reason.String())
	}
	if res.Source != "" {
		source = slog.String("source", res.Source)
	}
	if res.Policy != "" {
		policy = slog.String("policy", res.Policy)
	}
	if res.Security != nil {
		security = slog.Attr{Value: slog.GroupValue(securityAttrs(res.Security)...)} // without a key, it is no group
	}
	d.log(ctx, level, msg, slog.String("to", res.Recipient), slog.Int("attempt", d.task.Attempts),
		slog.String("stage", res.Stage.String()), slog.String("reply", res.Reply.Error()), reason,
		slog.Bool("local", res.Local), slog.String("host", res.Host), slog.String("addr", res.Addr),
		source, slog.String("tls", res.TLS), policy, security, attr)
}

// securityAttrs describes how a session was secured. Without TLS, and where nothing was demanded, "tls" says it all.
func securityAttrs(s *smtp.Security) (attrs []slog.Attr) {
	if s.Wanted != "nothing" {
		attrs = append(attrs, slog.String("wanted", s.Wanted))
	}
	if s.CipherSuite == "" {
		return attrs
	}
	attrs = append(attrs, slog.String("reached", s.Reached), slog.String("cipher", s.CipherSuite),
		slog.String("kex", s.KeyExchange), slog.Bool("pq", s.PostQuantum))
	if s.VerifiedBy != "" {
		attrs = append(attrs, slog.String("verified-by", s.VerifiedBy))
	}
	return attrs
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
