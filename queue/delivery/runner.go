package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Runner delivers the mail of a [queue.Queue]: it claims due tasks, sends each one and settles its results.
//
// # Several Runners
//
// Several Runners may share a Queue, or Queues on the same store, on several machines if all of them reach it. A task
// is sent by one of them at a time.
//
// If the Queue is a [queue.Sharer], as a pgqueue.Queue is, they share the limits of each site, tenant and source: its
// Concurrency is how many tasks all of them send at a time, and each Rate counts the messages of all. Give all Runners
// the same limits. A Runner takes permits in blocks, so that it seldom waits for the Queue. If there are fewer permits
// than Runners that want one, these take turns of 10 seconds. Package queue says what happens if a Runner fails: the
// limits hold, and mail waits. Besides:
//
//   - If the Queue can't be asked for 20 seconds, attempts are cut off, and their tasks are due again: see
//     Activity.NotShared. A Sender must return soon after its ctx has ended, within 10 seconds.
//   - A connection that a Sender keeps without a task counts at the host, and not here. If that matters, set
//     IdleTimeout of a client.Transport to a negative time, so that none is kept.
//   - A Rate of a tenant or a source allows one message more for each Runner: see Runner.Source.
//   - A learned rate is that of one Runner, which finds its part. Within 3 seconds after a refusal, the other Runners
//     pause, too. The Queue keeps 1,000 rates: a Runner that starts has those that others have learned.
//   - Places at the addresses of hosts that several sites have aren't shared.
//
// With any other Queue, Concurrency, SiteLimits and each Rate are limits of one Runner. With N Runners, a site, source
// or tenant can get N times as much, so set each limit to an N-th. A limit below N can't be kept, except with a single
// Runner. Learned rates are those of one Runner; its Learned may be another's.
//
// In any case, each Runner counts and learns for itself in these ways:
//
//   - Runner.Concurrency, and the window of a site below its limit, are those of one Runner.
//   - The shares of owners and of slow sites are those of one Runner, so an owner can have its share at each.
//   - A site that is down gets a probe from each Runner, and each needs its own failures to take the site down.
//   - Suspend, Activity, Explain, Suspended and Missed are about one Runner. So are Events and the log: each result is
//     reported by the Runner that had the task.
//   - Hold, Release, Flush, FlushMessages, Cancel and Purge change the mail of all. Only the sites of the Runner that
//     is asked are probed after its Flush or FlushMessages. A message that another Runner is sending may be delivered
//     after Cancel and Purge; its result isn't recorded, and that Runner logs it as a warning.
//   - The clocks of the machines must agree to a minute. A task that another clock made due more than a minute before
//     its NotBefore is handed back.
//   - When a process ends, its tasks wait until their leases end: see Lease and the doc of the store.
//
// # Attempts
//
// A task is attempted when it is due, and then by the schedules of Retry and RetryAfter. At its Deadline, its open
// recipients fail. A task that was never attempted is attempted first, however late it is, unless its site is down or
// suspended at the Deadline, or a rate has no room for it. At its NoticeAt, a task that is still deferred is reported
// as delayed. Nothing of that happens before its NotBefore.
//
// If the wall clock steps by more than a minute against the monotonic clock, nothing expires and nothing is reported as
// delayed for an hour. Retries that a clock was ahead for are made due again: at the start of Run, and after a step,
// the Runner flushes those that are further off than the longest wait of its schedules, if the Queue is a
// [queue.Flusher].
//
// Each attempt ends in one commit to the queue: the results, the time of the next attempt, and the reports. If the
// commit fails, the Runner keeps the lease and repeats the commit. So a fault of the queue that is shorter than Lease
// doesn't make it send a message twice.
//
// # Fairness and sites
//
// Mail is in lanes: one for each destination, owner and group of priorities. The owner of a message is its Tenant or,
// without one, its sender. Owners take turns at a site, and lanes within an owner: 200,000 messages of one don't delay
// a single message of another. A message takes one more turn for each 256 KiB, and 40 more at most. Memory grows with
// the number of lanes that have mail, not with the number of messages.
//
// Higher priorities go first, and new mail before retries, at all destinations together. One turn in eight is the other
// way round, so that nothing waits for ever.
//
// The Runner sends Concurrency tasks at a time. It shares them out so that nobody's hosts can hold up the mail of
// others:
//
//   - A site that took mail within 10 seconds, within the last day, is fast. Its mail is never behind the mail for
//     other sites. That mail has what the fast mail leaves, from an eighth to four fifths of Concurrency.
//   - An owner has 1/28 of Concurrency or, if that is more, its part of all that was lately delivered or rejected. It
//     has more while three eighths of Concurrency are free. At a site, it has an eighth of the window or its part.
//   - For mail that isn't fast, an owner has three quarters of Concurrency at most, also if no other has mail. It has
//     two fifths at most while no attempt of it that took less than 10 seconds was lately delivered or rejected. So
//     another owner's mail to new sites has slots, even if all hosts of the first owner stall. Owners that stall one
//     after the other have fewer each time: 80, 27, 9 and then 1 of 200; 8 and then 1 of 20; 2 and then 1 of 8. With a
//     Concurrency of 8 or more, four owners whose hosts stall leave a slot for a fifth owner.
//   - An attempt that waits for its host for over 10 seconds, before MAIL, ends if fast mail waits for its place. It
//     doesn't count, and comes again: see [smtp.Slot].
//
// Destinations whose mail goes to the same hosts share a site. The Runner learns how many tasks a site takes at a time,
// and at which rate: see [SiteLimits]. A site that is down is probed with one message, after the waits of Retry,
// and at least every MaxProbeWait; owners take turns with that. Its other mail stays due meanwhile, and nothing is
// written to the queue. What a host says about a sender counts against that owner at that site, in the same way.
//
// # Quarantine
//
// A message that can't be processed is quarantined after a number of tries: it is held, logged once at level Error, and
// passed once to Events.Quarantined. Runner.Release gives it another try, and Runner.Purge removes it. There are two
// causes: the process ends, or Report fails.
//
// If the process ends without a Close of the Queue, for example by a panic in another goroutine or because its memory
// is used up, one of the tasks that it had may be the cause. The Queue counts the Deaths of each, and lets the Runner
// claim these tasks apart from each other. After three deaths in a row, the message of a task is quarantined. Any
// result of an attempt sets the Deaths of a task to 0. Release gives the message another three deaths.
//
// If a report fails 30 times, see Runner.Report, its message is quarantined. The recipients of the report are in the
// report task, or are aliases, and no other task of the message is left. Release gives the report one more try.
//
// To find quarantined messages later, list the tasks with the State queue.Held. The cause is a task with 3 Deaths or
// more, or a task with the destination queue.ReportDestination or queue.ExpandedDestination and 30 Attempts or more.
// Explain returns the cause, too. Stats.Held counts the tasks of these messages among those that an operator holds.
//
// Cancel returns a quarantined message to its sender. It calls Report, so use Purge if Report may be the cause. The
// Queue must be a [queue.Holder]. Otherwise the message isn't held: the task comes up again every hour, and only a
// report is tried then.
//
// # Panics
//
// A panic in a func, in a slog.Handler or in a method of the Queue is logged and doesn't end the process:
//
//   - Events, Logger: nothing else changes.
//   - Sender: the results are smtp.Unknown, as a host may have accepted the message before.
//   - Report, Outbox, DeadLetter, SiteOf, a method of the Queue: as if it had returned an error.
//   - SourceOf, SignerOf, SiteFor, SourceFor, TenantFor: as if it had returned the zero value.
//
// # Fields
//
// Queue and Sender must be set. All fields may be set until the first call of Run, and nothing is computed from them
// before. A Relay fills in Queue, Sender and the funcs that are nil at its own first call, so operate a Runner of a
// Relay after that call. Fields must not change while Run runs. A time over 100 years counts as 100 years.
type Runner struct {
	// Queue has the tasks. The Runner calls Lanes again and again: after PollInterval or, if the Queue is a
	// [queue.Waker], which announces due tasks, after 5 minutes, when the Queue works again after an error, and when
	// the Queue asks for it. Between two calls it waits at least 100 times as long as the first one took.
	Queue queue.Queue

	// PollInterval is the time between two calls of Lanes if the Queue isn't a queue.Waker. If zero, 1 second.
	PollInterval time.Duration

	// Sender sends a task. It is called concurrently, with a context from which [smtp.JobOf] returns the task's
	// message. The context ends after Grace, and if the lease is lost; nothing else bounds the time of a Send. Its
	// results go through smtp.Complete; missing ones are logged as a warning.
	Sender smtp.Sender

	// Report composes the reports that are owed for what happened to a task. They are stored in the commit that settles
	// the task. Their Bodies are read then, while o.Content is open. Report is called again if the commit is repeated.
	//
	// If Report returns an error, or its reports can't be stored, the task is settled without them: the recipients
	// whose sender wants a report move to the report task of the message. Report is called again after 5 minutes, then
	// after 10, 20, 40 and 80 minutes, and then every 160 minutes. Each failure is logged as a warning. After 30
	// failures, about 3 days, the message is quarantined: see "Quarantine". Failures count when all other tasks of the
	// message are settled; until then, Report is called again every 5 minutes. A Report that can't read o.Content does
	// best to compose a report without it.
	//
	// If Report is nil, there are no reports. The Runner sets About of each report. A report that is rejected or
	// expires itself is logged as a warning, and passed to DeadLetter. postrider.Reporter has a func for this field.
	Report func(ctx context.Context, o Occasion) ([]queue.Message, error)

	// DeadLetter is called for a report or a message of Outbox, which are those with an About, that has failed for
	// good, before it leaves the queue: nothing is sent about it. o.Content is the message, and o.Results has the
	// cause. It is called once, unless the commit fails, or the process ends before that is durable. After an error,
	// the message stays in the queue and comes up again after 1 hour, until 3 days after its Deadline. A message that
	// Cancel or Purge removes isn't passed on. If DeadLetter is nil, only the log has the failure.
	DeadLetter func(ctx context.Context, o Occasion) error

	// Outbox returns messages that are stored in the commit that records events, for example webhooks: package
	// queue/webhook has a func for this field. So each of these messages exists if, and only if, the outcome is
	// recorded, also after a crash. All events are about one message: usually about one task of it, after Cancel and
	// Purge about all of its tasks. There are none of the type EventAttempted.
	//
	// Outbox isn't called for events about reports, nor about messages that Outbox returned: the Runner sets About of
	// each of these to the ID of the message that the events are about. So nothing loops. A message of Outbox that
	// fails for good is passed to DeadLetter.
	//
	// Outbox is called again if the commit is repeated, and then for the same events. The Bodies of its messages are
	// read in the commit. The messages must have no Key. If Outbox returns an error or a message that no Queue would
	// store, the commit is repeated; after five failures, the task is settled without messages, since the mail would
	// be sent again otherwise. The log has that as "outbox fails" at level Error. Cancel and Purge return the error.
	//
	// With messages, each commit is durable when it ends, which takes a sync of the disk that several commits share.
	// Without Outbox, most commits needn't be. Outbox is called concurrently, and must not block. If nil, there are no
	// such messages.
	Outbox func(ctx context.Context, events []Event) ([]queue.Message, error)

	// ReportDelay is how long a report about a message to several destinations waits for the outcomes at the others, so
	// that one report has them. Those that come later have another report. Until then, the recipients are in the queue,
	// in a task with the destination queue.ReportDestination. It is reported at once when all others are settled. A
	// message to one destination is never delayed. If zero, 1 minute; if negative, each task has a report of its own.
	//
	// A stranger (see smtp.Origin.IsStranger) may have forged the sender, who gets at most one report an hour about a
	// message: the delay is at least 1 hour, unless it is negative, and also applies to a message to one destination
	// while some of its recipients are open.
	ReportDelay time.Duration

	// SiteOf returns the site that a destination's mail goes to. Destinations with the same Site.Name share the limits
	// of the site. SiteOf may ask the DNS, and must return soon after ctx has ended. It is called concurrently, each
	// time that a destination without tasks in flight has mail due. A Name beside an error counts. If SiteOf is nil, or
	// returns no Name, the destination is its own site.
	SiteOf func(ctx context.Context, destination string) (Site, error)

	// SourceOf returns a name for the address that a task goes out from, for the Rate of that source and for learned
	// rates. A source named "" has no Rate. The names should be those of smtp.Result.Source: if a message left from
	// another source than SourceOf returned, a refusal for rate counts for both. SourceOf is called concurrently. It
	// must not block and must not call the Runner. If nil, there are no sources.
	SourceOf func(*queue.Task) string

	// SignerOf returns the domain that a task is signed by (DKIM, the d= of the signature), for the rates that sites
	// keep of it: see SiteLimits. A domain named "" has none. It is called concurrently. SignerOf must not block and
	// must not call the Runner. If nil, the FromDomain of the task, unless a stranger sent it (see
	// smtp.Origin.IsStranger).
	SignerOf func(*queue.Task) string

	// Site bounds what each site gets.
	Site SiteLimits

	// SiteFor returns the limits of one site. Fields that are zero or negative are as in Site. It is called when mail
	// for the site comes up after a while without any. It must not block and must not call the Runner. If nil, all
	// sites have the limits of Site.
	SiteFor func(site string) SiteLimits

	// Learned are rates that sites take: those that LearnedRates returned before a restart, or another Runner's. Those
	// that weren't used for a day, or have an Of that isn't known, are ignored. Check refuses those without a Site or
	// with a negative rate. If nil, all is learned anew.
	Learned []LearnedRate

	// Source bounds the tasks that go out from each source (see SourceOf), and Tenant those of each tenant (see
	// queue.Message). A task beyond a Rate is postponed to a time of its own; other tasks go first. If zero, there is
	// no limit. A task without a source or a tenant has no Rate of that kind: mail that a Relay gets by SMTP has the
	// tenant that Relay.TenantOf returns, or none. Its clients can be bounded as they send, by server/ratelimit. A
	// report and a message of Outbox have no Rate of a tenant. Turns and learned rates count the reverse-path of mail
	// without a tenant.
	//
	// Runners that share a Queue (see queue.Sharer) have shares of a Rate, by their mail. In any time, they together
	// send at most the messages that the Rate allows, and one more for each Runner: of one a minute, three Runners may
	// send three at once. Each restart may add one. A Runner that alone has mail uses the whole Rate, as is so for each
	// tenant on queue/pgqueue. Several with mail of one source, or that take mail of the same lanes, use most of it.
	Source, Tenant Rate

	// SourceFor and TenantFor return the Rate of one source or tenant. If that is no limit, Source or Tenant applies.
	// They are called for each task. They must not block and must not call the Runner. If nil, all have the same Rate.
	SourceFor, TenantFor func(name string) Rate

	// Retry has the waits between attempts, the first one after the first attempt. The last one repeats. Retry applies
	// to every Reason that has no schedule of its own. If empty: 5, 15, 30, 60 minutes, then 2 hours (RFC 5321
	// §4.5.4.1; the first two are shorter than the 30 minutes that it recommends, because greylisting is common).
	//
	// Each wait is changed at random by up to 10 %. No wait is longer than an eighth of the time from a message's
	// Arrival, or its NotBefore if that is later, to its Deadline, or than a minute if that is more:
	//
	//	a message with 16 minutes to live waits 2 minutes at most
	Retry []time.Duration

	// RetryAfter replaces the schedule of a Reason. A Reason that isn't in it, or has an empty one, keeps its own:
	//
	//	smtp.RateLimited  1, 5, 15, 30, 60 minutes, then 2 hours
	//	smtp.Greylisted   3, 4, 5, 8, 15, 30 minutes, then 1 hour
	//	smtp.Blocklisted  30, 60 minutes, 2 hours, then 4 hours
	//	smtp.MailboxFull  1, 2, 4 hours, then 6 hours
	//	smtp.NoSource     5, 15, then 30 minutes, or until Result.NotBefore
	//	all others        Retry
	//
	// If the recipients of a task have several reasons, the last of these counts: UserUnknown, HostUnknown,
	// MailboxDisabled, MailboxFull, TooBig, Syntax, Virus, SpamContent, Expired, Other, Temporary, RelayDenied,
	// PolicyAuth, TLS, Network, NoSource, RateLimited, Greylisted, Blocklisted. So a task with a full mailbox and
	// another open recipient is tried again for the other one. smtp.NoReason counts as Other, and can't be a key.
	RetryAfter map[smtp.Reason][]time.Duration

	// Replies sets the Reason of a Result that the Sender leaves without one. If nil, by the default rules of package
	// replies. The rules for a client.Transport are those of its own field.
	Replies *replies.Classifier

	// MaxProbeWait is the longest time between two probes of a site that is down. If zero, 20 minutes.
	MaxProbeWait time.Duration

	// Concurrency is how many tasks are sent at a time at most, up to 1,000,000. If zero, 200. A fifth of it is for
	// sites that are known to be fast. With less than 8, the stalled hosts of a few owners can take all slots until
	// they answer or time out; with 1, those of one owner.
	Concurrency int

	// Initial is how many tasks are sent at a time when Run begins. Each task that ends adds one. Each second in which
	// all are busy, or mail waits for its owner's share, adds Initial, up to Concurrency. If zero, 20. It is never more
	// than Concurrency.
	Initial int

	// Lease is the length of a lease. After a crash, a task that was being sent waits until its lease expires. The
	// Runner renews a lease after a third of its length. If zero, 5 minutes.
	Lease time.Duration

	// Grace is how long attempts under way may go on when Run ends. If zero, 10 seconds; if negative, they are cut off
	// at once.
	Grace time.Duration

	// SettleTimeout is how long the settling of attempts may take after Grace. Tasks that aren't settled by then are
	// attempted again. If zero, 10 seconds.
	SettleTimeout time.Duration

	// Events are called for what happens to each recipient.
	Events Events

	// Logger gets a line for each result, without bodies. If nil, nothing is logged.
	Logger *slog.Logger

	now    func() time.Time // for tests that step the wall clock; if nil, time.Now
	clock  clock
	missed atomic.Bool // an announcement may be missing, since a call of the Queue failed

	mu        sync.Mutex
	loop      *runnerLoop // while Run goes
	suspended map[string]time.Time
	flushes   uint64            // how many there were
	flushed   map[string]uint64 // which of them was the last of each destination
	teller    teller
	watchdog  watchdog
	learned   []LearnedRate // of the last Run; nil: there was none
}

// Occasion is what happened to a task, so that reports may be owed: recipients were settled, a delay notice fell due,
// or the deadline passed. It may be about several tasks of a message: see Runner.ReportDelay.
type Occasion struct {
	// Task is the task, or one with the destination queue.ReportDestination that has the recipients of several. The
	// latter has only recipients whose Notify asks for a report. If the destination is queue.ExpandedDestination, the
	// recipients are aliases, and Results has no replies of hosts.
	Task queue.Task

	// Results has one Result for each recipient of Task.Envelope, in its order: of this attempt, or the last one if
	// Untried is true. Their Reply is never nil.
	Results []smtp.Result

	// Untried is true if no attempt was made just now, or if several tasks are reported together.
	Untried bool

	// Expired is true if the recipients without a final Outcome fail now.
	Expired bool

	// Delayed is true if the delay notice falls due for the recipients without a final Outcome.
	Delayed bool

	// Next is the time of the next attempt. If zero, there is none.
	Next time.Time

	// Content is the message. If nil, it can't be read.
	Content smtp.Content
}

// Run delivers until ctx ends. Then it claims nothing more, lets attempts finish within Grace, cuts off the others and
// returns their tasks to the queue, as due as they were. It returns nil when nothing of it runs any more. Any other end
// is an error: a field that is wrong, see [Runner.Check], or a Queue that is closed or broken.
//
// Run may be called again after it has returned. Only one Run runs at a time.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.Check(); err != nil {
		return err
	}
	l := newRunnerLoop(r)
	if !r.begin(l) {
		return errors.New("delivery: Run is running already: use a Runner for each Queue")
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
	now := r.time()
	l.machine.recall(r.remembered(), now)
	r.watchdog.recorded()
	for name, until := range r.suspended {
		l.machine.suspend([]string{name}, until, now)
	}
	return true
}

func (r *Runner) end(l *runnerLoop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.time()
	r.withMachine(func(m *machine) {
		m.at(now)
		r.learned = m.learnedRates(now)
	})
	if r.learned == nil {
		r.learned = []LearnedRate{}
	}
	r.loop = nil
}

// over reports whether err means that a Queue is closed or broken.
func over(err error) bool { return errors.Is(err, queue.ErrClosed) || errors.Is(err, queue.ErrBroken) }
