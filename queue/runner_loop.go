package queue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"
)

// runnerLoop is one Run. Its goroutine alone decides what is claimed when and owns all state but
// the inbox, in which the queue and the deliveries leave their news. Each claim takes as much as there are
// places, so that claims grow with the load: what finishes while one is made is filled by the next.
type runnerLoop struct {
	r      *Runner
	agenda *agenda
	inbox  *inbox
	lease  time.Duration
	logger *slog.Logger
	polled bool // the queue isn't a Waker

	places  int // for deliveries
	free    int // of them
	jobs    chan *delivery
	workers int            // goroutines that deliver, started as they are needed
	group   sync.WaitGroup // of them

	stale    bool      // a destination may have something due that isn't known
	listAt   time.Time // when Destinations may be asked again
	failures int       // of the queue, in a row
	resumeAt time.Time // when the queue may be asked again after one
	woken    map[string]time.Time
	done     []outcome
}

const (
	// all is how far ahead destinations are listed: for all times that a queue may know.
	all = 100 * 365 * 24 * time.Hour

	// A list costs as much as there is mail. One follows the other after a hundred times what it took.
	listPause = time.Second
	listShare = 100

	// After a failure of the queue it is left alone for a time that doubles.
	firstPause   = time.Second
	longestPause = time.Minute

	// longestSleep bounds a timer, so that a clock set forward and a machine that slept are noticed.
	longestSleep = 15 * time.Minute

	// settleTime is how long after the time of grace what came of the sends may take to be recorded.
	settleTime = 10 * time.Second
)

func newRunnerLoop(r *Runner) *runnerLoop {
	places, lease := cmp.Or(r.Concurrency, defaultConcurrency), cmp.Or(r.Lease, defaultLease)
	return &runnerLoop{
		r:      r,
		agenda: newAgenda(cmp.Or(r.PerDestination, defaultPerDestination), lease),
		inbox:  newInbox(),
		lease:  lease,
		logger: r.logger(),
		places: places,
		free:   places,
		jobs:   make(chan *delivery, places),
		stale:  true,
	}
}

func (l *runnerLoop) run(ctx context.Context) error {
	// Deliveries outlive ctx, and what is recorded may go on longer than what is sent.
	store, endStore := context.WithCancel(context.WithoutCancel(ctx))
	defer endStore()
	sends, endSends := context.WithCancel(store)
	defer endSends()
	if w, ok := l.r.Queue.(Waker); ok {
		defer w.Watch(l.inbox.wake)()
	} else {
		l.polled = true
	}
	err := l.serve(ctx, func() {
		for d := range l.jobs {
			l.deliver(store, sends, d)
		}
	})
	close(l.jobs)
	l.stop(endSends, endStore)
	return err
}

// deliver is what a worker does with a job.
func (l *runnerLoop) deliver(store, sends context.Context, d *delivery) {
	o := outcome{entry: d.entry, exited: true}
	defer func() { // also if the Sender ends its goroutine
		if o.exited {
			o.lapse = d.lease.expires()
		}
		l.inbox.finish(o)
	}()
	o.lapse = d.deliver(store, sends)
	o.exited = false
}

// serve claims and has workers deliver until ctx ends.
func (l *runnerLoop) serve(ctx context.Context, worker func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		l.receive(now)
		if again, err := l.work(ctx, now, worker); err != nil {
			return err
		} else if again {
			continue
		}
		timer.Stop()
		if wake := l.wakeAt(); !wake.IsZero() {
			timer.Reset(min(wake.Sub(now), longestSleep))
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.inbox.signal:
			// Let what is about to finish do so, that one claim may fill all its places.
			runtime.Gosched()
		}
	}
	return nil
}

// receive takes in what the inbox has.
func (l *runnerLoop) receive(now time.Time) {
	l.woken, l.done = l.inbox.take(l.woken, l.done)
	for name, due := range l.woken {
		l.agenda.wake(name, due, now)
	}
	for _, o := range l.done {
		l.agenda.done(o.entry, o.lapse, now)
		l.free++
		if o.exited {
			l.workers--
		}
	}
}

// work lists or claims, if there is cause. again says that there may be more to do at once; an error, that there
// is no use in going on.
func (l *runnerLoop) work(ctx context.Context, now time.Time, worker func()) (again bool, err error) {
	if l.free <= 0 || now.Before(l.resumeAt) {
		return false, nil
	}
	l.resumeAt = time.Time{}
	if (l.stale || l.polled) && !now.Before(l.listAt) {
		if err := l.list(ctx, now); err != nil {
			return false, l.failed(ctx, "list", err)
		}
	}
	wants := l.agenda.pick(l.free, now)
	if len(wants) == 0 {
		return false, nil
	}
	tasks, err := l.r.Queue.Claim(ctx, wants, l.lease)
	for i := range tasks {
		l.start(tasks[i], now.Add(l.lease), worker) // the lease counts from before the claim
	}
	if l.agenda.settleTurn(err != nil) {
		l.stale = true
	}
	if err != nil {
		return false, l.failed(ctx, "claim", err)
	}
	l.failures = 0
	return true, nil
}

// start hands a task to a worker. Workers stay: a goroutine for each task, which has to grow its stack anew, costs
// half as much again as all else here.
func (l *runnerLoop) start(t Task, until time.Time, worker func()) {
	l.free--
	if l.workers < l.places-l.free {
		l.workers++
		l.group.Go(worker)
	}
	l.jobs <- &delivery{
		r:      l.r,
		entry:  l.agenda.start(t.Lease.Destination),
		task:   t,
		lease:  leaseKeeper{queue: l.r.Queue, lease: t.Lease, term: l.lease, until: until, logger: l.logger},
		logger: l.logger,
	}
}

// list learns when each destination next has something due.
func (l *runnerLoop) list(ctx context.Context, now time.Time) error {
	for d, err := range l.r.Queue.Destinations(ctx, all) {
		if err != nil {
			return err
		}
		l.agenda.wake(d.Name, d.Due, now)
	}
	l.agenda.sweep()
	l.stale = false
	end := time.Now()
	l.listAt = end.Add(max(listPause, listShare*end.Sub(now)))
	return nil
}

// failed leaves the queue alone for a while. It returns an error if there is no use in asking again.
func (l *runnerLoop) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if over(err) {
		return fmt.Errorf("queue: runner: %s: %w", what, err)
	}
	pause := pauseAfter(l.failures)
	l.failures++
	l.resumeAt = time.Now().Add(pause)
	l.logger.LogAttrs(ctx, slog.LevelError, "queue fails", slog.String("op", what), slog.Any("err", err),
		slog.Duration("pause", pause))
	return nil
}

// wakeAt says when there is something to do without further news; zero: never.
func (l *runnerLoop) wakeAt() time.Time {
	switch {
	case l.free <= 0:
		return time.Time{}
	case !l.resumeAt.IsZero():
		return l.resumeAt
	case l.stale || l.polled:
		return earliest(l.agenda.next(), l.listAt)
	}
	return l.agenda.next()
}

// stop ends what is under way: in peace, by cutting it off, and at last by no longer recording it.
func (l *runnerLoop) stop(endSends, endStore context.CancelFunc) {
	finished := make(chan struct{})
	go func() { l.group.Wait(); close(finished) }()
	grace := cmp.Or(l.r.Grace, defaultGrace)
	for _, phase := range []struct {
		time time.Duration
		end  context.CancelFunc
	}{{grace, endSends}, {settleTime, endStore}} {
		timer := time.NewTimer(phase.time)
		select {
		case <-finished:
		case <-timer.C:
		}
		timer.Stop()
		phase.end()
	}
	<-finished
}

// pauseAfter is how long to leave the queue alone after so many failures before this one.
func pauseAfter(failures int) time.Duration {
	return min(firstPause<<min(failures, 10), longestPause)
}
