package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Runner takes due tasks from a Queue, sends them, and settles what came of it: delivered, to be tried
// again, or given up. Several Runners, on several machines, may share a Queue that they all reach.
//
// A destination's tasks are sent several at a time, and destinations take turns for the places there
// are: one with 200,000 messages doesn't hold up another with one, and the fresh mail of one goes beside what
// is tried again. Large messages take more turns. Runner's memory grows with the destinations that have mail, not
// with the mail.
//
// How much a site takes at a time is learned from what it does, as Postfix does: see [SiteLimits]. A site that answers
// nobody is left alone, and probed with one message after the waits of Retry, each twenty minutes at the longest; its mail waits
// meanwhile, with nothing written. After a start, places grow from 20, and what had failed before is probed too.
//
// A task is tried at its Due and, for recipients not settled, by the schedule Retry until its
// Deadline; what is open then is given up, but never untried: only where its site is down or suspended by then, it is
// given up for that reason. At its NoticeAt a task that was tried in vain is reported as delayed. Each attempt ends in one
// commit of results, next time and reports. Where that fails the lease is held and it is tried again: while the process
// lives, what was delivered isn't sent twice because the queue had a bad minute.
type Runner struct {
	// Queue has the tasks. If it is a [queue.Waker], nothing is polled; otherwise it is asked every second.
	Queue queue.Queue

	// Sender sends a task. It is called concurrently, with a context from which [smtp.JobOf] returns the task's message. Results
	// that are missing beside others, against the rules of smtp.Sender, are logged as a warning once an attempt.
	Sender smtp.Sender

	// Report composes the reports that are owed for what happened to a task. They become durable in
	// the commit that settles it; their Body is read then, while o.Content is still open. It is
	// called again if the commit must be repeated. On an error nothing is given up: what the host has
	// taken is settled, without a report, and the rest stays and comes up again soon. If nil, there are no reports.
	Report func(ctx context.Context, o Occasion) ([]queue.Message, error)

	// SiteOf returns the name of the site that a destination's mail goes to: destinations with one name share the limits of that site. It
	// may ask the DNS, and is called concurrently, each time that a destination without tasks in flight has one due. If it
	// returns an error or "", or is nil, a destination is its own site.
	SiteOf func(ctx context.Context, destination string) (string, error)

	// SourceOf returns the name of the address that a task goes out from, for the Rate of that source. "" has no Rate. It must not
	// block, and must not call the Runner. If nil, there are no sources.
	SourceOf func(*queue.Task) string

	// Site bounds what each site gets.
	Site SiteLimits

	// Source bounds the tasks that go out from each source, see SourceOf, and Tenant those of each tenant, see queue.Message. A
	// task that is over a Rate is postponed to a time of its own, and others go on. If zero, there is no limit.
	Source, Tenant Rate

	// SiteFor returns limits of its own for a site, in place of Site. A field that is zero is as in Site. It is called when a site's
	// mail comes up after a while without any. It must not block, and must not call the Runner. If nil, all have the same.
	SiteFor func(site string) SiteLimits

	// SourceFor and TenantFor return a Rate of its own for a source or a tenant, in place of Source or Tenant; the zero Rate is
	// none. They are called for each task. They must not block, and must not call the Runner. If nil, all have the same.
	SourceFor, TenantFor func(name string) Rate

	// Retry has the waits between attempts, the first after the first attempt. The last repeats. It is for every Reason that has no
	// schedule of its own. If empty: 5, 15, 30, 60 minutes, then 2 hours.
	//
	// Each wait is changed by chance by up to 10 %. No wait is longer than an eighth of the time from a message's Arrival to its
	// Deadline, or than a minute if that is more: a message with 16 minutes is tried every 2 minutes at least.
	Retry []time.Duration

	// RetryAfter replaces the schedule for a Reason. Those that aren't in it keep their own:
	//
	//	smtp.RateLimited  1, 5, 15, 30, 60 minutes, then 2 hours
	//	smtp.Greylisted   3, 4, 5, 8, 15, 30 minutes, then 1 hour
	//	smtp.Blocklisted  30, 60 minutes, 2 hours, then 4 hours
	//	all others        Retry
	//
	// If the recipients of a task have several reasons, the last of these counts: UserUnknown, Other, Network, RateLimited,
	// Greylisted, Blocklisted. smtp.NoReason counts as Other, and is no key.
	RetryAfter map[smtp.Reason][]time.Duration

	// Concurrency is how many tasks are sent at a time. Run begins with 20 at most; one more with each that ends, and 20
	// more each second in which all are taken. If zero, 200.
	Concurrency int

	// Lease is how long a claimed task stays ours without a word from us: after a crash, what was under
	// way waits that long. It is renewed at a third of it. If zero, 5 minutes.
	Lease time.Duration

	// Grace is how long sends that are under way may go on when Run ends. If zero, 10 seconds; if
	// negative, they are cut off at once.
	Grace time.Duration

	// Events are told what became of each recipient.
	Events Events

	// Logger gets a line for each result, without bodies. If nil, nothing is logged.
	Logger *slog.Logger

	mu        sync.Mutex
	loop      *runnerLoop // while Run goes
	suspended map[string]time.Time
	flushes   uint64            // how many there were
	flushed   map[string]uint64 // which of them was the last of each destination
	teller    teller
}

var errNoQueue = errors.New("delivery: Queue is nil: set it, or give the Runner to a Relay")

const (
	defaultConcurrency = 200
	defaultLease       = 5 * time.Minute
	defaultGrace       = 10 * time.Second
)

// Occasion is something that happened to a task and for which reports may be owed: recipients
// were settled, a delay notice fell due, or the deadline passed.
type Occasion struct {
	Task queue.Task

	// Results has one for each recipient of Task.Envelope, in its order: after this attempt or, where none
	// was made, the last there were. Their Reply is never nil.
	Results []smtp.Result

	// Untried says that no attempt has just been made.
	Untried bool

	// Expired says that recipients whose Outcome isn't final are given up.
	Expired bool

	// Delayed says that the delay notice falls due for recipients whose Outcome isn't final.
	Delayed bool

	// Next is when the task is tried again. If zero, it isn't.
	Next time.Time

	// Content is the message. If nil, it can't be read.
	Content smtp.Content
}

// Run delivers until ctx ends. Then it claims no more, lets sends finish within Grace, cuts off the
// others and hands their tasks back, as due as they were; it returns nil when nothing of it is left running. Any
// other end is an error: a field that is wrong, or a Queue that is closed. Run may be called again,
// but only one at a time.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	l := newRunnerLoop(r)
	if !r.begin(l) {
		return errors.New("queue: runner: Run is called while it runs")
	}
	defer r.end(l)
	return l.run(ctx)
}

func (r *Runner) begin(l *runnerLoop) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loop != nil {
		return false
	}
	r.loop = l
	now := time.Now()
	for name, until := range r.suspended {
		l.machine.suspend([]string{name}, until, now)
	}
	return true
}

func (r *Runner) end(l *runnerLoop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loop = nil
}

// Missed counts the events that were dropped, as the funcs of Events took too long.
func (r *Runner) Missed() uint64 {
	r.teller.mu.Lock()
	defer r.teller.mu.Unlock()
	return r.teller.missed
}

func (r *Runner) check() error {
	switch {
	case r.Queue == nil:
		return errNoQueue
	case r.Sender == nil:
		return errors.New("queue: runner: Sender is nil")
	case r.Concurrency < 0, r.Lease < 0, r.Events.Buffer < 0:
		return errors.New("queue: runner: Concurrency, Lease or Events.Buffer is negative")
	}
	if err := r.Site.check(); err != nil {
		return err
	}
	if err := r.Source.check("Source"); err != nil {
		return err
	}
	if err := r.Tenant.check("Tenant"); err != nil {
		return err
	}
	if err := checkWaits(r.Retry); err != nil {
		return err
	}
	for reason, waits := range r.RetryAfter {
		if reason == smtp.NoReason {
			return errors.New("queue: runner: RetryAfter has smtp.NoReason, which counts as smtp.Other: use that")
		}
		if err := checkWaits(waits); err != nil {
			return err
		}
	}
	return nil
}

func checkWaits(waits []time.Duration) error {
	for _, wait := range waits {
		if wait <= 0 {
			return fmt.Errorf("queue: runner: Retry or RetryAfter has %v: it must be positive", wait)
		}
	}
	return nil
}

func (r *Runner) logger() *slog.Logger {
	if r.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger
}

// over reports whether err says that a Queue is of no more use.
func over(err error) bool { return errors.Is(err, queue.ErrClosed) || errors.Is(err, queue.ErrBroken) }
