package delivery

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/mutant"
	"github.com/postrider/postrider/smtp"
)

// delivery is one task's way from its claim to its settlement.
type delivery struct {
	r      *Runner
	target *target // for the loop alone
	task   queue.Task
	plan   plan
	lease  leaseKeeper
	logger *slog.Logger
}

// deliver does what is to be done with the task, and says what its end teaches about the site. If it couldn't be
// settled, lapse is when its lease ends. ctx is for the queue; sends ends earlier and cuts off what is being sent.
func (d *delivery) deliver(ctx, sends context.Context) (v verdict, lapse time.Time) {
	sends, cancel := context.WithCancelCause(sends)
	defer cancel(nil)
	d.lease.keep(ctx, cancel)
	defer d.lease.stop()
	if d.plan.step == stepAttempt {
		return d.attempt(ctx, sends)
	}
	return verdict{}, d.untried(ctx)
}

// untried does what is to be done with a task that isn't sent.
func (d *delivery) untried(ctx context.Context) (lapse time.Time) {
	switch d.plan.step {
	case stepNotice:
		return d.notice(ctx)
	case stepExpire:
		return d.expire(ctx)
	}
	next := d.plan.next
	if next.IsZero() {
		next = d.task.Due
	}
	s := queue.Settlement{Uncounted: true, Next: next}
	return d.settle(ctx, s, Occasion{Task: d.task, Next: next}, nil)
}

// attempt sends the task and settles it.
func (d *delivery) attempt(ctx, sends context.Context) (v verdict, lapse time.Time) {
	d.r.tell(d.r.Events.Attempted, Event{Task: d.task})
	before := d.r.flushNumber()
	var results []smtp.Result
	body := d.open(sends)
	if body == nil {
		results, _ = smtp.Complete(d.task.Envelope, nil, smtp.NewReply(451, "4.3.0", "the message can't be read"))
	} else {
		defer body.Close()
		results = d.send(sends, body)
	}
	if ctx.Err() != nil { // a Sender that was deaf to its ctx has come back at last
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), d.r.settleTimeout())
		defer cancel()
	}
	v, s, o := d.ended(results, body, sends.Err() != nil, 2*rand.Float64()-1)
	if !s.Next.IsZero() && d.r.flushedSince(before, d.task.Destination) {
		s.Next = time.Now()
		o.Next = s.Next
	}
	return v, d.settle(ctx, s, o, body)
}

// ended says what follows from an attempt that ended now, as its ctx did if cutOff says so. jitter is as in nextTry.
func (d *delivery) ended(results []smtp.Result, body queue.Body, cutOff bool, jitter float64) (
	v verdict, s queue.Settlement, o Occasion,
) {
	now := time.Now()
	if cutOff && anyCutOff(results) {
		s, o = handBack(d.task, results, now)
		return verdict{}, s, o
	}
	var why smtp.Reason
	if body != nil {
		v, why = judge(results)
	}
	wait := d.r.wait(&d.task, why)
	if mutant.On == mutant.RetriesEarly {
		wait /= 2
	}
	s, o = conclude(d.task, results, now, nextTry(wait, now, d.task.Deadline, jitter))
	if !s.Next.IsZero() {
		v.overdue = overdueOf(&d.task, s.Noticed)
	}
	return v, s, o
}

// notice reports a task that isn't tried for now as delayed.
func (d *delivery) notice(ctx context.Context) (lapse time.Time) {
	// What was to go out later from the start isn't delayed.
	delayed := attempted(&d.task) || d.plan.reason != nil && passed(d.task.Due, time.Now())
	return d.settleUntried(ctx, queue.Settlement{Uncounted: true, Next: d.task.Due, Noticed: true}, Occasion{
		Task:    d.task,
		Results: lastResults(&d.task, d.plan.reason),
		Untried: true,
		Delayed: delayed,
		Next:    d.task.Due,
	})
}

// expire gives the task up.
func (d *delivery) expire(ctx context.Context) (lapse time.Time) {
	return d.settleUntried(ctx, queue.Settlement{Uncounted: true}, Occasion{
		Task:    d.task,
		Results: lastResults(&d.task, d.plan.reason),
		Untried: true,
		Expired: true,
	})
}

func (d *delivery) settleUntried(ctx context.Context, s queue.Settlement, o Occasion) (lapse time.Time) {
	var body queue.Body
	if d.r.Report != nil {
		if body = d.open(ctx); body != nil {
			defer body.Close()
		}
	}
	return d.settle(ctx, s, o, body)
}

// open gives the body; nil if it can't be read.
func (d *delivery) open(ctx context.Context) queue.Body {
	body, err := d.r.Queue.Open(ctx, d.task.ID)
	if err != nil {
		if ctx.Err() == nil {
			d.log(ctx, slog.LevelError, "message can't be read", slog.Any("err", err))
		}
		return nil
	}
	return body
}

// send calls the Sender. There is one result a recipient whatever that does.
func (d *delivery) send(ctx context.Context, body queue.Body) (results []smtp.Result) {
	env := d.task.Envelope
	defer func() {
		if p := recover(); p != nil {
			stack := string(debug.Stack())
			d.log(ctx, slog.LevelError, "sender panics", slog.Any("panic", p), slog.String("stack", stack))
			results, _ = smtp.Complete(env, nil, smtp.NewReply(451, "4.3.0", "internal error"))
		}
	}()
	results, err := d.r.Sender.Send(smtp.WithJob(ctx, d.job()), env, body)
	results, missing := smtp.Complete(env, results, err)
	if missing > 0 {
		d.log(ctx, slog.LevelWarn, "sender returns too few results", slog.Int("missing", missing),
			slog.Int("recipients", len(env.Recipients)), slog.Any("err", err))
	}
	return results
}

// job is what a Sender learns of the task.
func (d *delivery) job() smtp.Job {
	t := &d.task
	return smtp.Job{
		ID: string(t.ID), Ref: t.Ref, Tenant: t.Tenant, Origin: t.Origin, FromDomain: t.FromDomain, Attempt: t.Attempts,
	}
}

// log writes a line about the task.
func (d *delivery) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	if d.logger.Enabled(ctx, level) {
		d.logger.LogAttrs(ctx, level, msg, taskAttrs(&d.task, attrs...)...)
	}
}
