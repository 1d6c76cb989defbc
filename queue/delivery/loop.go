package delivery

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

// runnerLoop is one Run. Its goroutine alone decides what is claimed when and owns all state but
// the inbox, in which the queue and the deliveries leave their news. Each claim takes as much as there are
// places, so that claims grow with the load: what finishes while one is made is filled by the next.
type runnerLoop struct {
	r      *Runner
	inbox  *inbox
	lease  time.Duration
	logger *slog.Logger
	polled bool // the queue isn't a Waker: only a list tells when a destination has something due

	places  int       // for deliveries: few at first, one more with each that ends, and at last Concurrency
	first   int       // Initial
	most    int       // Concurrency
	free    int       // of places
	grown   time.Time // when places were last made for the time that has passed
	jobs    chan *delivery
	workers int            // goroutines that deliver, started as they are needed
	group   sync.WaitGroup // of them

	stale    bool      // the queue hasn't been listed, or is polled
	listAt   time.Time // when Destinations may be asked again
	failures int       // of the queue, in a row
	resumeAt time.Time // when the queue may be asked again after one
	news     news      // what was in the inbox
	siting   int       // calls of SiteOf that are under way

	// What the machine is told and asked is a matter of microseconds. Others look into it, and suspend.
	mu      sync.Mutex
	machine *machine
}

const (
	// all is how far ahead destinations are listed: for all times that a queue may know.
	all = 100 * 365 * 24 * time.Hour

	// A list costs as much as there is mail. One follows the other after a hundred times what it took.
	listShare = 100

	// There are Initial more places after each growTime in which all are taken.
	growTime = time.Second

	// After a failure of the queue it is left alone for a time that doubles.
	firstPause   = time.Second
	longestPause = time.Minute

	// longestSleep bounds a timer, so that a clock set forward and a machine that slept are noticed.
	longestSleep = 15 * time.Minute
)

func newRunnerLoop(r *Runner) *runnerLoop {
	most, lease := cmp.Or(r.Concurrency, defaultConcurrency), cmp.Or(r.Lease, defaultLease)
	first := min(most, cmp.Or(r.Initial, defaultInitial))
	return &runnerLoop{
		r: r,
		machine: newMachine(machineConfig{
			lease:    lease,
			resolve:  r.SiteOf != nil,
			retry:    r.Retry,
			maxProbe: cmp.Or(r.MaxProbeWait, defaultMaxProbeWait),
			site:     r.siteLimits,
			source:   r.sourceRate,
			tenant:   r.tenantRate,
			sourceOf: r.SourceOf,
		}),
		inbox:  newInbox(),
		lease:  lease,
		logger: r.logger(),
		places: first,
		first:  first,
		most:   most,
		free:   first,
		jobs:   make(chan *delivery, most),
		stale:  true,
		grown:  time.Now(),
	}
}

func (l *runnerLoop) run(ctx context.Context) error {
	// Deliveries outlive ctx, and what is recorded may go on longer than what is sent.
	store, endStore := context.WithCancel(context.WithoutCancel(ctx))
	defer endStore()
	sends, endSends := context.WithCancel(store)
	defer endSends()
	if w, ok := l.r.Queue.(queue.Waker); ok {
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
	l.r.teller.wait()
	return err
}

// deliver is what a worker does with a job.
func (l *runnerLoop) deliver(store, sends context.Context, d *delivery) {
	o := outcome{target: d.target, exited: true}
	defer func() { // also if the Sender ends its goroutine
		if o.exited {
			o.lapse = d.lease.expires()
		}
		l.inbox.finish(o)
	}()
	o.verdict, o.lapse = d.deliver(store, sends)
	o.exited = false
}

// serve claims and has workers deliver until ctx ends.
func (l *runnerLoop) serve(ctx context.Context, worker func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		l.receive(now)
		again, err := l.work(ctx, now, worker)
		if err != nil {
			return err
		}
		if l.askSites(ctx); again {
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
	l.inbox.take(&l.news)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free <= 0 && now.Sub(l.grown) >= growTime {
		l.grow(l.first) // those there are may all be with hosts that take their time
		l.grown = now
	}
	for name, due := range l.news.woken {
		l.machine.wake(name, due, now)
	}
	for _, s := range l.news.sited {
		l.machine.sited(s.destination, s.site, now)
		l.siting--
	}
	for _, o := range l.news.done {
		l.machine.done(o.target, o.verdict, o.lapse, now)
		l.free++
		l.grow(1)
		if o.exited {
			l.workers--
		}
	}
}

// grow makes up to n more places. l.mu is held.
func (l *runnerLoop) grow(n int) {
	n = min(n, l.most-l.places)
	l.places += n
	l.free += n
}

// askSites has the sites of targets looked up that stand in line.
func (l *runnerLoop) askSites(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.siting < l.most && l.machine.line.len() < l.most {
		name, ok := l.machine.toSite()
		if !ok {
			return
		}
		l.siting++
		l.group.Go(func() {
			l.inbox.found(sited{name, l.siteOf(ctx, name)})
		})
	}
}

// siteOf returns the site of a destination, which is its own if the user's func fails: the attempt will tell what is
// wrong.
func (l *runnerLoop) siteOf(ctx context.Context, destination string) (site string) {
	defer func() {
		if p := recover(); p != nil {
			site = destination
			l.r.logger().LogAttrs(ctx, slog.LevelError, "SiteOf panics", slog.String("destination", destination),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	site, err := l.r.SiteOf(ctx, destination)
	if err != nil {
		return destination
	}
	return cmp.Or(site, destination)
}

// work lists or claims, if there is cause. again says that there may be more to do at once; an error, that there
// is no use in going on.
func (l *runnerLoop) work(ctx context.Context, now time.Time, worker func()) (again bool, err error) {
	if l.free <= 0 || now.Before(l.resumeAt) {
		return false, nil
	}
	l.resumeAt = time.Time{}
	if l.stale && !now.Before(l.listAt) {
		if err := l.list(ctx, now); err != nil {
			return false, l.failed(ctx, "list", err)
		}
	}
	l.mu.Lock()
	wants := l.machine.pick(l.free, now)
	l.mu.Unlock()
	if len(wants) == 0 {
		return false, nil
	}
	tasks, err := l.r.Queue.Claim(ctx, wants, l.lease)
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

// start hands a task to a worker. Workers stay: a goroutine for each task, which has to grow its stack anew, costs
// half as much again as all else here. l.mu is held.
func (l *runnerLoop) start(t *queue.Task, claimed time.Time, worker func()) {
	l.free--
	if l.workers < l.places-l.free {
		l.workers++
		l.group.Go(worker)
	}
	target, plan := l.machine.claimed(t, time.Now())
	until := claimed.Add(l.lease) // it counts from before the claim
	d := &delivery{
		r:      l.r,
		target: target,
		plan:   plan,
		task:   *t,
		lease:  leaseKeeper{queue: l.r.Queue, term: l.lease, until: until, logger: l.logger},
		logger: l.logger,
	}
	d.lease.task = &d.task
	l.jobs <- d
}

// list learns when each destination next has something due.
func (l *runnerLoop) list(ctx context.Context, now time.Time) error {
	for d, err := range l.r.Queue.Destinations(ctx, all) {
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.machine.list(d, now)
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.machine.listed()
	l.mu.Unlock()
	l.stale = l.polled
	end := time.Now()
	l.listAt = end.Add(max(cmp.Or(l.r.PollInterval, defaultPollInterval), listShare*end.Sub(now)))
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
	l.resumeAt = time.Now().Add(pause)
	l.logger.LogAttrs(ctx, slog.LevelError, "queue fails", slog.String("op", what), slog.Any("err", err),
		slog.Duration("pause", pause))
	return nil
}

// wakeAt says when there is something to do without further news; zero: never.
func (l *runnerLoop) wakeAt() time.Time {
	if l.free <= 0 && l.places == l.most {
		return time.Time{}
	}
	if l.free <= 0 {
		return l.grown.Add(growTime)
	}
	if !l.resumeAt.IsZero() {
		return l.resumeAt
	}
	l.mu.Lock()
	next := l.machine.next()
	l.mu.Unlock()
	if l.stale {
		next = earliest(next, l.listAt)
	}
	return next
}

// stop ends what is under way: in peace, by cutting it off, and at last by no longer recording it.
func (l *runnerLoop) stop(endSends, endStore context.CancelFunc) {
	finished := make(chan struct{})
	go func() { l.group.Wait(); close(finished) }()
	grace := cmp.Or(l.r.Grace, defaultGrace)
	for _, phase := range []struct {
		time time.Duration
		end  context.CancelFunc
	}{{grace, endSends}, {l.r.settleTimeout(), endStore}} {
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
