package delivery

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// delivery is the processing of one task, from its claim to its settlement.
type delivery struct {
	r      *Runner
	flight flight // for the loop alone
	slot   smtp.Slot
	cutter cutter
	task   queue.Task
	plan   plan
	lease  leaseKeeper
	logger *slog.Logger
	unsure bool // a Settle returned an error, and may have succeeded
	held   bool // the message was quarantined
}

// deliver processes the task, and returns its verdict on the site. If the task couldn't be settled, lapse is the end of
// its lease. ctx is for the Queue. sends ends earlier, and cuts off a Send.
func (d *delivery) deliver(ctx, sends context.Context) (v verdict, lapse time.Time) {
	sends, cancel := context.WithCancelCause(sends)
	defer cancel(nil)
	d.cutter.arm(cancel)
	d.lease.keep(ctx, cancel)
	defer d.lease.stop()
	if d.plan.step == stepAttempt {
		return d.attempt(ctx, sends)
	}
	return verdict{}, d.untried(ctx)
}

// untried processes a task that isn't sent.
func (d *delivery) untried(ctx context.Context) (lapse time.Time) {
	step := d.plan.step
	if (step == stepNotice || step == stepExpire) && !d.r.doubt(d.r.time()).IsZero() {
		step, d.plan.why = stepPostpone, "clock" // it was set since the claim
	}
	switch step {
	case stepNotice:
		return d.notice(ctx)
	case stepExpire:
		return d.expire(ctx)
	case stepQuarantine:
		return d.quarantine(ctx)
	case stepReport:
		return d.reportOwed(ctx)
	}
	next := d.plan.next
	if next.IsZero() {
		next = nextDue(&d.task)
	}
	s := queue.Settlement{Uncounted: true, Next: next}
	return d.settle(ctx, s, Occasion{Task: d.task, Next: next}, nil)
}

// attempt sends the task and settles it.
func (d *delivery) attempt(ctx, sends context.Context) (v verdict, lapse time.Time) {
	d.r.tellEvent(Event{Type: EventAttempted, Task: d.task})
	before, begun := d.r.flushNumber(), time.Now()
	var results []smtp.Result
	body := d.open(sends)
	if body == nil {
		results, _ = smtp.Complete(d.task.Envelope, nil, smtp.NewReply(451, "4.3.0", "the message can't be read"))
		results = d.r.Replies.Complete(results)
	} else {
		defer body.Close()
		results = d.send(sends, body)
	}
	if ctx.Err() != nil { // a Sender that was deaf to its ctx has come back at last
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), d.r.settleTimeout())
		defer cancel()
	}
	v, s, o := d.ended(results, body, time.Since(begun), sends.Err() != nil || d.slot.TakenBack(), 2*rand.Float64()-1)
	if !s.Next.IsZero() && d.r.flushedSince(before, d.task.Destination) {
		s.Next = d.r.time()
		o.Next = s.Next
	}
	return v, d.settle(ctx, s, o, body)
}

// ended returns the verdict, the settlement and the occasion of an attempt that ended now and took that long. cutOff is
// true if its ctx has ended. jitter is as in nextTry.
func (d *delivery) ended(results []smtp.Result, body queue.Body, took time.Duration, cutOff bool, jitter float64) (
	v verdict, s queue.Settlement, o Occasion,
) {
	now := d.r.time()
	if cutOff && anyCutOff(results) {
		switch d.plan.why = "stop"; {
		case d.cutter.isCut():
			d.plan.why = "permit"
		case d.slot.TakenBack():
			d.plan.why = "slot"
		}
		s, o = handBack(d.task, results, now)
		return verdict{}, s, o
	}
	var why smtp.Reason
	if body != nil {
		v, why = judge(results, took)
		if why == smtp.RateLimited || v.result.Reason == smtp.RateLimited {
			v.refusal = d.r.refusalOf(&d.task, results)
		}
	}
	t := d.task
	if !d.r.doubt(now).IsZero() {
		t = doubted(t)
	}
	wait := d.r.wait(&d.task, why, now)
	held, all := heldBack(results)
	isHeld := held.After(now) // a time that has come would be tried again at once, without end
	if isHeld {
		wait, jitter = min(max(held.Sub(now), leastHeld), ever), 0
	}
	next := later(nextTry(wait, now, t.Deadline, jitter), d.task.NotBefore) // the clock may have been set back
	s, o = conclude(t, results, now, next)
	s.Uncounted = isHeld && all && !s.Next.IsZero()
	o.Task = d.task
	if !s.Next.IsZero() {
		v.overdue = overdueOf(&d.task, s.Noticed)
	}
	return v, s, o
}

// leastHeld is how long a message waits at least that the Sender held back.
const leastHeld = time.Second

// notice reports a task as delayed that isn't tried now.
func (d *delivery) notice(ctx context.Context) (lapse time.Time) {
	now := d.r.time()
	next := nextDue(&d.task)
	delayed := delays(&d.task, now) && (attempted(&d.task) || d.plan.reason != nil && passed(next, now))
	return d.settleUntried(ctx, queue.Settlement{Uncounted: true, Next: next, Noticed: true}, Occasion{
		Task:    d.task,
		Results: lastResults(&d.task, d.plan.reason),
		Untried: true,
		Delayed: delayed,
		Next:    next,
	})
}

// expire settles a task after its deadline: its recipients fail.
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
	if d.r.Report != nil || d.r.DeadLetter != nil && isDead(&o) {
		if body = d.open(ctx); body != nil {
			defer body.Close()
		}
	}
	return d.settle(ctx, s, o, body)
}

// open returns the body, nil if it can't be read.
func (d *delivery) open(ctx context.Context) (body queue.Body) {
	err := d.r.callQueue(ctx, "Queue.Open", &d.task, func() (err error) {
		body, err = d.r.Queue.Open(ctx, d.task.ID)
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			d.log(ctx, slog.LevelError, "message can't be read", slog.Any("err", err))
		}
		return nil
	}
	return body
}

// send calls the Sender. It returns one result for each recipient in every case. After a panic, the results are
// Unknown, as a host may have accepted the message before.
func (d *delivery) send(ctx context.Context, body queue.Body) (results []smtp.Result) {
	env := d.task.Envelope
	err := d.r.call(ctx, "sender", &d.task, func() (err error) {
		results, err = d.r.Sender.Send(smtp.WithSlot(smtp.WithJob(ctx, d.job()), &d.slot), env, body)
		return err
	})
	if _, panicked := err.(*guard.Panic); panicked {
		results, _ = smtp.Complete(env, nil, smtp.NewReply(451, "4.3.0", "internal error"))
		for i := range results {
			results[i].Outcome, results[i].Reason = smtp.Unknown, smtp.Other
		}
		return results
	}
	results, missing := smtp.Complete(env, results, err)
	if missing > 0 {
		d.log(ctx, slog.LevelWarn, "sender returns too few results", slog.Int("missing", missing),
			slog.Int("recipients", len(env.Recipients)), slog.Any("err", err))
	}
	return d.r.Replies.Complete(results)
}

// job returns the Job of the task, for the Sender.
func (d *delivery) job() smtp.Job {
	t := &d.task
	return smtp.Job{
		ID: string(t.ID), Ref: t.Ref, Tenant: t.Tenant, Origin: t.Origin, From: t.Envelope.From,
		FromDomain: t.FromDomain, Attempt: t.Attempts,
	}
}

// log writes a line about the task.
func (d *delivery) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	if d.logger.Enabled(ctx, level) {
		var room [24]slog.Attr // on the stack: there is such a line for each recipient
		d.logger.LogAttrs(ctx, level, msg, taskAttrs(&d.task, append(room[:0], attrs...)...)...)
	}
}
