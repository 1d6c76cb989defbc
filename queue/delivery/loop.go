package delivery

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime"
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

	listAt   time.Time                     // when Lanes is asked again
	listed   time.Time                     // when it was
	mayList  time.Time                     // when it may be asked again if there is cause
	asked    bool                          // the queue asks for that
	steps    int                           // of the clock, until retries were last brought forward; -1: they never were
	failures int                           // of the queue, in a row
	halted   bool                          // see watchdog
	haltAt   time.Time                     // when a task is claimed although it is
	resumeAt time.Time                     // when the queue may be asked again after one
	news     news                          // what was in the inbox
	lookups  map[string]context.CancelFunc // calls of SiteOf that are under way
	sharer   *sharer                       // nil: the queue isn't a Sharer

	// What the machine is told and asked is a matter of microseconds. Others look into it, and suspend.
	mu      sync.Mutex
	machine *machine
}

const (
	// A list costs as much as there is mail. One follows the other after a hundred times what it took.
	listShare = 100

	// News of a Waker are hints. What it didn't tell of is found by a list, at the latest after this time.
	relistInterval = 5 * time.Minute

	// There are Initial more places after each growTime in which all are taken, or mail waits that may have none.
	growTime = time.Second

	// After a failure of the queue it is left alone for a time that doubles.
	firstPause   = time.Second
	longestPause = time.Minute

	// longestSleep bounds a timer, so that a clock set forward and a machine that slept are noticed.
	longestSleep = 15 * time.Minute
)

func newRunnerLoop(r *Runner) *runnerLoop {
	var numbers func() uint64
	if _, ok := r.Queue.(queue.Sharer); ok {
		numbers = rand.Uint64
	}
	most, lease := cmp.Or(r.Concurrency, defaultConcurrency), min(cmp.Or(r.Lease, defaultLease), ever)
	first := min(most, cmp.Or(r.Initial, defaultInitial))
	l := &runnerLoop{
		r: r,
		machine: newMachine(machineConfig{
			lease:    lease,
			resolve:  r.SiteOf != nil,
			retry:    r.Retry,
			maxProbe: cmp.Or(r.MaxProbeWait, defaultMaxProbeWait),
			site:     r.siteLimits,
			source:   r.sourceRate,
			tenant:   r.tenantRate,
			sourceOf: r.sourceOf,
			signerOf: r.signerOf,
			shares:   numbers,
		}),
		inbox:   newInbox(),
		lease:   lease,
		logger:  r.logger(),
		places:  first,
		first:   first,
		most:    most,
		free:    first,
		jobs:    make(chan *delivery, most),
		steps:   -1,
		lookups: make(map[string]context.CancelFunc),
		grown:   r.time(),
	}
	l.machine.base = r.time()
	return l
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
	l.startSharing(context.WithoutCancel(ctx))
	defer func() { // also if the Queue or a slog.Handler ends the goroutine
		close(l.jobs)
		l.stop(endSends, endStore)
		if l.sharer != nil {
			l.sharer.stop(ctx)
		}
		l.r.teller.wait()
	}()
	return l.serve(ctx, func() {
		for d := range l.jobs {
			l.deliver(store, sends, d)
		}
	})
}

// deliver is what a worker does with a job.
func (l *runnerLoop) deliver(store, sends context.Context, d *delivery) {
	o := outcome{flight: &d.flight, exited: true}
	defer func() { // also if the Sender ends its goroutine
		if o.exited {
			o.lapse = d.lease.expires()
		}
		l.inbox.finish(o)
	}()
	err := l.r.call(store, "delivery", &d.task, func() error {
		o.verdict, o.lapse = d.deliver(store, sends)
		return nil
	})
	if err != nil { // a Body panicked, for example
		o.lapse = d.lease.expires()
	}
	o.exited = false
}

// serve claims and has workers deliver until ctx ends.
func (l *runnerLoop) serve(ctx context.Context, worker func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := l.r.time()
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
	if now.Sub(l.grown) >= growTime && (l.free <= 0 || l.machine.lacks()) {
		l.grow(l.first) // those there are may all be with hosts that take their time
		l.grown = now
	}
	for lane, due := range l.news.woken {
		l.machine.wake(lane, dueBy(due, now), now)
	}
	if l.news.asked {
		l.asked = true
		l.relist()
	}
	if l.news.failed { // not at once: a Queue that fails every other time would be asked for nothing else
		l.listAt = earliest(l.listAt, later(l.mayList, l.listed.Add(longestPause)))
	}
	for _, s := range l.news.sited {
		l.lookups[s.destination]()
		delete(l.lookups, s.destination)
		l.machine.sited(s.destination, s.site, now)
	}
	for _, o := range l.news.done {
		l.machine.done(o.flight, o.verdict, o.lapse, now)
		l.free++
		l.grow(1)
		if o.exited {
			l.workers--
		}
	}
}

// dueBy returns a time of a Queue, of which zero is at once.
func dueBy(due, now time.Time) time.Time {
	if due.IsZero() {
		return now
	}
	return due
}

// grow makes up to n more places. l.mu is held.
func (l *runnerLoop) grow(n int) {
	n = min(n, l.most-l.places)
	l.places += n
	l.free += n
}

// locked calls f with the machine.
func (l *runnerLoop) locked(f func(m *machine)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.machine)
}

// askSites starts the lookups of sites that are due, and ends lookups that block others.
func (l *runnerLoop) askSites(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.r.time()
	for {
		name, ok := l.machine.toSite(now)
		if !ok {
			break
		}
		if l.lookups[name] != nil {
			continue // it was given up, and hasn't noticed yet: its answer is welcome
		}
		ctx, cancel := context.WithCancel(ctx)
		l.lookups[name] = cancel
		l.group.Go(func() {
			site := Site{Name: name}
			defer func() { l.inbox.found(sited{name, site}) }() // also if SiteOf ends its goroutine
			site = l.r.siteOf(ctx, name)
		})
	}
	for _, name := range l.machine.overlong(now) {
		l.lookups[name]()
	}
}

// siteOf returns the site of a destination, which is its own if the user's func has no name for it: the attempt will
// tell what is wrong. Tasks that are only reported have one of their own.
func (r *Runner) siteOf(ctx context.Context, destination string) (site Site) {
	if r.SiteOf == nil || queue.OnlyReports(destination) {
		return Site{Name: destination}
	}
	about := queue.Task{Destination: destination}
	r.call(ctx, "SiteOf", &about, func() (err error) {
		site, err = r.SiteOf(ctx, destination)
		return err
	})
	site.Name = cmp.Or(site.Name, destination)
	return site
}

// takeBack has slots given back for which fast mail waits.
func (l *runnerLoop) takeBack(now time.Time) {
	var back []*flight
	l.locked(func(m *machine) { back = m.takeBack(now) })
	for _, f := range back {
		f.slot.TakeBack()
	}
}

// wakeAt returns the time at which there is something to do without further news, zero if there is none.
func (l *runnerLoop) wakeAt() time.Time {
	var next time.Time
	l.locked(func(m *machine) {
		next = m.next(l.free > 0)
		if m.shared != nil && m.shared.urgent {
			l.sharer.wake()
		}
	})
	switch {
	case l.free <= 0 && l.places < l.most:
		next = earliest(next, l.grown.Add(growTime))
	case l.free <= 0:
	case !l.resumeAt.IsZero():
		return l.resumeAt
	case l.halted:
		return earliest(l.haltAt, l.listAt)
	default:
		next = earliest(next, l.listAt)
	}
	return next
}

// stop ends what is under way: in peace, by cutting it off, and at last by no longer recording it.
func (l *runnerLoop) stop(endSends, endStore context.CancelFunc) {
	finished := make(chan struct{})
	go func() { l.group.Wait(); close(finished) }()
	grace := min(cmp.Or(l.r.Grace, defaultGrace), ever)
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
