package delivery

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/postrider/postrider/queue"
)

// relist requests a list of the Queue as soon as one is allowed.
func (l *runnerLoop) relist() { l.listAt = earliest(l.listAt, l.mayList) }

// work lists or claims, if there is a reason to. again is true if there may be more to do at once. An error means that
// the Queue is closed or broken.
func (l *runnerLoop) work(ctx context.Context, now time.Time, worker func()) (again bool, err error) {
	if l.free <= 0 {
		l.takeBack(now)
		return false, nil
	}
	if now.Before(l.resumeAt) {
		return false, nil
	}
	l.resumeAt = time.Time{}
	if l.asked { // it may be closed or broken, and a list needn't say so
		if _, err := l.claim(ctx, nil); err != nil {
			return false, l.failed(ctx, "claim", err)
		}
		l.asked = false
	}
	_, steps := l.r.clock.look(now)
	if steps != l.steps {
		l.relist()
	}
	if !now.Before(l.listAt) {
		if err := l.bringForward(ctx, steps); err != nil {
			return false, l.failed(ctx, "flush", err)
		}
		if err := l.list(ctx, now); err != nil {
			return false, l.failed(ctx, "list", err)
		}
	}
	free := l.halt(ctx, now)
	if free <= 0 {
		return false, nil
	}
	var wants []queue.Want
	l.locked(func(m *machine) { wants = m.pick(free, now) })
	if len(wants) == 0 {
		return false, nil
	}
	tasks, err := l.claim(ctx, wants)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tasks {
		l.start(&tasks[i], now, worker)
	}
	l.machine.settleTurn(err != nil)
	if err != nil {
		return false, l.failed(ctx, "claim", err)
	}
	l.failures = 0
	return true, nil
}

func (l *runnerLoop) claim(ctx context.Context, wants []queue.Want) (tasks []queue.Task, err error) {
	err = l.r.callQueue(ctx, "Queue.Claim", nil, func() (err error) {
		tasks, err = l.r.Queue.Claim(ctx, wants, l.lease)
		return err
	})
	return tasks, err
}

// start hands a task to a worker. Workers stay: a goroutine for each task, which has to grow its stack anew, costs
// half as much again as all else here. l.mu is held.
func (l *runnerLoop) start(t *queue.Task, claimed time.Time, worker func()) {
	l.free--
	if l.workers < l.places-l.free {
		l.workers++
		l.group.Go(worker)
	}
	until := claimed.Add(l.lease) // it counts from before the claim
	d := &delivery{
		r:      l.r,
		task:   *t,
		lease:  leaseKeeper{r: l.r, term: l.lease, until: until},
		logger: l.logger,
	}
	d.flight.slot, d.flight.cutter = &d.slot, &d.cutter
	now, seen := l.r.time(), &d.task
	if !l.r.doubt(now).IsZero() {
		unsure := doubted(d.task)
		seen = &unsure
	}
	d.plan = l.machine.claimed(&d.flight, seen, now)
	if l.halted && d.plan.step == stepAttempt {
		d.plan = plan{step: stepPostpone, why: "halted"}
	}
	d.lease.task = &d.task
	l.jobs <- d
}

// list learns when each lane next has something due.
func (l *runnerLoop) list(ctx context.Context, now time.Time) error {
	l.r.missed.Store(false)
	err := l.r.call(ctx, "Queue.Lanes", nil, func() error {
		for d, err := range l.r.Queue.Lanes(ctx) {
			if err != nil {
				return err
			}
			d.Due = dueBy(d.Due, now)
			l.locked(func(m *machine) { m.list(d, now) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	interval := relistInterval
	if l.polled {
		interval = min(cmp.Or(l.r.PollInterval, defaultPollInterval), ever)
	}
	end := l.r.time()
	l.listed = end
	l.mayList = end.Add(listShare * end.Sub(now))
	l.listAt = later(end.Add(interval), l.mayList)
	return nil
}

// bringForward makes retries due that no schedule can have put off for so long: the clock was ahead when they were, and
// isn't now. It does so once, and again after each step of the clock. The first time, the cause may also be a Sender
// that held them back (see smtp.Result.NotBefore), or a schedule that was longer before a restart.
func (l *runnerLoop) bringForward(ctx context.Context, steps int) error {
	q, ok := l.r.Queue.(queue.Flusher)
	if steps == l.steps || !ok {
		l.steps = steps
		return nil
	}
	longest := l.r.longestWait()
	var n int
	err := l.r.callQueue(ctx, "Queue.Flush", nil, func() (err error) {
		n, err = q.Flush(ctx, "", longest)
		return err
	})
	if err != nil {
		return err
	}
	level, msg := slog.LevelWarn, "retries were put off by a clock that was ahead"
	if l.steps < 0 {
		level, msg = slog.LevelInfo, "retries were put off for longer than any schedule does, and are due now"
	}
	if l.steps = steps; n > 0 {
		l.logger.LogAttrs(ctx, level, msg, slog.Int("tasks", n), slog.Duration("longest", longest))
	}
	return nil
}

// failed leaves the queue alone for a while. It returns an error if there is no use in asking again.
func (l *runnerLoop) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if over(err) {
		return fmt.Errorf("delivery: %s: %w", what, err)
	}
	pause := pauseAfter(l.failures)
	l.failures++
	l.resumeAt = l.r.time().Add(pause)
	l.logger.LogAttrs(ctx, slog.LevelError, "queue fails", slog.String("op", what), slog.Any("err", err),
		slog.Duration("pause", pause))
	return nil
}

// pauseAfter is how long to leave the queue alone after so many failures before this one.
func pauseAfter(failures int) time.Duration {
	return min(firstPause<<min(failures, 10), longestPause)
}
