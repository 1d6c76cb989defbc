// Package delivery delivers the mail of a [queue.Queue]. A [Runner] decides which destination is served next, claims
// its tasks, sends them and settles the results, by the retry rules of RFC 5321 §4.5.4.1. It knows no protocol: an
// [smtp.Sender] sends, and a func composes the reports. In a postrider.Relay these are a client.Transport and package
// bounce.
//
// A Relay has a Runner of its own. Give it one to set its fields, and to operate it:
//
//	runner := &delivery.Runner{Site: delivery.SiteLimits{Concurrency: 10}}
//	relay := &postrider.Relay{Hostname: "mx1.example.com", Queue: q, Runner: runner}
//
// Without a Relay, two fields are enough. Run delivers until ctx ends:
//
//	runner := &delivery.Runner{Queue: q, Sender: sender}
//	err := runner.Run(ctx)
//
// # Bounds
//
//   - attempts at a time: Concurrency for all, [SiteLimits] for each site
//   - messages in a time: a [Rate] for each site, source and tenant, and rates that are learned: see [SiteLimits]
//   - attempts at one message: Retry, RetryAfter and the message's Deadline
//   - the time that Run takes to end: Grace and SettleTimeout, if the Sender returns when its ctx ends
//   - lookups by SiteOf at a time: 1,200; one that takes over a second yields to others
//   - memory: about 300 octets for each lane with mail, 110 octets for each learned rate, of which there are 100,000 at
//     most, the attempts under way, and Events.Buffer
//
// # Promises
//
// A recipient leaves the queue when a host has accepted or rejected the message, when the Deadline has passed, or by
// Cancel and Purge. The report that is owed is stored in the same commit, or the recipient moves to the report task of
// its message, see Runner.ReportDelay. Nothing expires without an attempt, unless its site is down or suspended at that
// time, or a rate has no room for it. Nothing expires within an hour after a step of the wall clock. Nothing is sent,
// reported as delayed or expired before its NotBefore.
//
// A message can arrive twice in three cases: an attempt ended without a reply to the final dot (smtp.Unknown), a crash
// came before its commit was durable in the Queue, or the Queue failed for as long as a Lease. After a crash, a task
// that was being sent is attempted again when its Lease has expired, or when the Queue is opened again if that ends
// leases, as in a spool. After three crashes in a row, the message is quarantined. So is a message whose report fails
// for about 3 days.
//
// A fault of the Queue delays mail and loses none. It is logged, and the call is repeated after 1 second, then 2, 4 and
// so on up to 1 minute. After three failures of Settle in a row nothing is sent until Settle works again, since all
// that is sent meanwhile might be sent again: see Activity.Halted. Mail that a Queue fails to announce is found within
// 5 minutes. Run ends with an error only if the Queue is closed or broken. A panic of a func, a slog.Handler or the
// Queue is logged: see Runner.
//
// # Interfaces to implement
//
//   - Runner.Sender: a wrapper around another Sender may sign, split, trace or refuse a message
//   - Runner.Queue: see package queue; queuetest tests it
//   - Report, Outbox, DeadLetter, SiteOf, SourceOf, SignerOf, SiteFor, SourceFor, TenantFor, and the funcs of Events
//
// # Operation
//
// Flush, FlushMessages, Suspend, Hold, Release, Cancel and Purge change the state of mail and sites; Activity, Explain,
// LearnedRates, Suspended and Missed show it. All may be called while Run runs, and from any goroutine. If the Queue
// lacks an ability that an operation needs, the error wraps errors.ErrUnsupported and names the ability.
//
// # Log lines
//
// There is a line for each recipient and attempt: "delivered", "deferred", "unknown", "rejected" or "expired". It has
// the keys to, attempt, stage, reply, reason, local, host, addr, tls and next. A task that wasn't attempted has a line
// "delayed" or "handed back", with next. The latter has why, too: "rate", "site" (it is down, suspended or takes no
// more), "stop" (of Run), "slot" (fast mail needs it), "halted" (the Queue fails), "permit" (the Queue can't be asked
// for one, see "Several Runners" at Runner), "quarantine", "clock" or "early".
//
// A message that is quarantined has a line "quarantined" at level Error, with deaths, or with reports: how often its
// report has failed. Each line about a task ends with id, destination, ref and tenant; the last two are left out if
// they are empty.
//
// A report has a line "report" when it is stored, with to, kind (see Event.Kind) and about, the ID of the message that
// it is about. If it can't be composed or stored, "report fails" is a warning with the same keys. A report that is
// rejected or expires itself is a warning, too; if DeadLetter returns an error for it, so is "dead letter fails". A
// report about several destinations has queue.ReportDestination in their place. One about aliases has
// queue.ExpandedDestination. Cancel and Purge write "cancelled" or "purged" for each message.
//
// # Files
//
//	runner.go, check.go        Runner, its fields, their defaults and Check
//	limits.go, rate.go         limits of sites, sources and tenants
//	meter.go, learn.go         rates that are learned: how each moves, and at which sites they are
//	facets.go                  what a site can count of a message
//	gate.go, learned.go        who waits for such a rate; what is shown and kept of them
//	lot.go, shareturn.go       limits that Runners share: what this one has, and how it gets that
//	rateshare.go               shares of the rates of tenants and sources
//	sharer.go, told.go         the transactions with the Queue; what one Runner has learned of a rate
//	schedule.go, reason.go     when a task is tried again, and what its Reason changes
//	events.go, report.go       events, and the lines of the log
//	operate.go, remove.go      Flush, FlushMessages, Suspend, Hold, Release; Cancel and Purge
//	explain.go, cause.go       Activity and Explain; why a task waits
//	advice.go                  what can be done about a recipient that has no mail
//	machine.go                 the state machine: which lane is claimed next, and the rules of that
//	machine_turn.go, lines.go  one turn of it, and who stands in line for what
//	desk.go                    notices and deadlines of mail that isn't sent for now
//	site.go, standing.go       sites, owners at sites, and what is learned of both
//	blocked.go                 what keeps mail from being sent: sites that are down, suspensions; Flush
//	share.go, flight.go        who may have how many slots; what has one
//	lookups.go                 the questions for sites
//	call.go                    calls of funcs that may panic
//	loop.go, inbox.go          the goroutine that drives the machine, and its news
//	claim.go                   what that goroutine asks the Queue: Lanes, Claim, Flush
//	clock.go                   steps of the wall clock
//	delivery.go, conclude.go   one task: the attempt, and what follows from its results
//	settle.go, lease.go        the commit, and the lease until then
//	watchdog.go                the halt while there is no commit
//	quarantine.go              a message that ends the process, or whose report fails
//	merge.go                   one report about several tasks of a message
//	outbox.go                  messages that are stored with an outcome
package delivery
