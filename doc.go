// Package postrider is an embeddable mail relay. It accepts mail over SMTP or from code, keeps it in a durable queue,
// finds the host that takes mail for each domain, delivers it, retries for days, and returns to its sender what can't
// be delivered.
//
// [Relay] is the whole; a literal with a Hostname and a Queue is enough to send. A relay that accepts the mail of
// example.com for a mailbox server:
//
//	q, err := spool.Open("/var/spool/app")
//	if err != nil {
//		return err
//	}
//	defer q.Close()
//	mailboxes, err := mx.LMTP("/run/dovecot/lmtp")
//	if err != nil {
//		return err
//	}
//	relay := &postrider.Relay{
//		Hostname:  "mx1.example.com",
//		Queue:     q,
//		Domains:   []string{"example.com"},
//		Routes:    map[string]mx.Route{"example.com": mailboxes},
//		CheckRcpt: directory.Lookup, // who exists there
//		TLSConfig: tlsConfig,
//	}
//	return relay.ListenAndServe(ctx, ":25")
//
// From code, [Relay.Send] puts a message into the queue while [Relay.Run] delivers. [Relay.Check] finds mistakes in the
// fields before a client connects.
//
// # A tour
//
// Each line is a question of users, and the example that answers it. Most examples run against an internet in memory,
// package smtptest, in the virtual time of testing/synctest. The t in them stands for that of a test.
//
// Send a mail, and test that:
//
//   - one mail through a provider, with a password: [Example_submission]
//   - with HTML, pictures and attachments: [compose.Example]
//   - with a file that doesn't fit into memory: [compose.ExampleFile]
//   - many mails over one connection: [client.ExampleSubmission]
//   - which recipients were refused, and whether the address is dead: [client.ExampleSubmission_Send]
//   - why TLS or the login fails: [client.ExampleSubmission_Check]
//   - the dialogue with the server: [client.ExampleTrace]
//   - addresses beyond ASCII: [client.ExampleTransport_unicode]
//   - tokens of Microsoft 365 and Google in place of a password: [oauth.Example]
//   - a newsletter with one-click unsubscribe: [compose.ExampleTemplate_Send]
//   - a test of code that sends mail: [smtptest.Example_signup]
//   - two days of outage, in a test of milliseconds: [smtptest.ExampleHost_Down]
//   - what Gmail and others would refuse, before it is sent: [preflight.ExampleChecker_Message]
//
// Send by a queue:
//
//   - a mail that is tried again until it is delivered: [ExampleRelay_Send]
//   - what happens while the other host is down: [Example_retries]
//   - a mail that goes out tomorrow: [ExampleRelay_Enqueue]
//   - a login code that is useless after ten minutes: [Example_deadline]
//   - once, whatever crashes: [ExampleRelay_Enqueue_once]
//   - in one transaction with an order, in PostgreSQL: [pgqueue.ExampleQueue_EnqueueTx]
//   - a body that doesn't fit into memory: [Example_large]
//
// Know what became of it:
//
//   - what happened to the mail about order 17: [Example_events]
//   - why a mail isn't delivered: [ExampleRelay_Explain]
//   - what a bounce says: [bounce.ExampleParse]
//   - which mail a bounce belongs to (VERP): [bounce.ExampleHandler]
//   - no more mail to dead addresses: [suppress.ExamplePolicy]
//   - reports to senders in other words: [ExampleReporter]
//
// Be welcome at receivers:
//
//   - signatures by DKIM: [dkim.Example]
//   - TLS where DANE or MTA-STS demands it: [Example_dane]
//   - several source addresses: [client.ExampleTransport_sources]
//   - a new address that sends more each day: [client.ExampleWarmUp]
//   - limits for one receiver: [ExampleRelay_limits]
//   - a rate for each customer: [delivery.ExampleRunner_tenants]
//
// Receive mail:
//
//   - the mail of a domain, for a mailbox server over LMTP: [Example_relay]
//   - mail for a Go func: [Example_func]
//   - mail from users at port 587, with a password: [Example_users]
//   - aliases and groups: [Example_aliases]
//   - SPF, DKIM and DMARC of incoming mail: [authres.ExampleEnforce]
//   - greylisting: [greylist.ExamplePolicy]
//   - blocklists: [dnsbl.ExampleList]
//   - filters such as rspamd: [milter.ExampleFilter_Check]
//   - mail that waits for a person to release it: [Example_held]
//   - all of it in one relay: [Example_roles]
//
// Operate:
//
//   - the queue on a web page: [queueweb.ExampleHandler]
//   - what is in the log: [Example_logs]
//   - metrics: [delivery.ExampleEvents]
//   - a stop without losing mail: [Example_shutdown]
//   - one domain stopped for a while: [ExampleRelay_Suspend]
//   - another way for one domain, for now: [ExampleRelay_Redirect]
//   - the mail of a sender who turned out to be an intruder: [queue.ExampleHolder]
//   - all mail to another machine: [drain.Example]
//   - answers of the DNS of one's own: [mx.ExampleResolver]
//
// # One message's way
//
//  1. Package server parses MAIL and RCPT into one smtp.Envelope. The Relay answers each RCPT: anyone may bring mail
//     for Domains, if CheckRcpt knows the recipient; clients that authenticated, or that Allow trusts, may relay to
//     anyone. Nobody else can relay.
//  2. [Relay.Prepare] puts the Received field on top, checks for a loop, expands aliases, and finds each recipient's
//     destination: an explicit route, or the domain. Lines of an mbox file before the first field ("From ann@a.test
//     Sun Nov 22"), and a byte order mark, are dropped: they would end the header. A message without a header gets an
//     empty line first.
//  3. The queue.Queue stores the message. Only when envelope and body are durable does the server say 250 (RFC 5321
//     §6.1).
//  4. delivery.Runner claims a task, one message × one destination, and hands it to client.Transport.
//  5. client.Transport asks package mx for the hosts, takes a pooled session or dials one, and returns one smtp.Result
//     for each recipient.
//  6. The Runner settles the task in one commit: results, the next attempt, and the reports that package bounce
//     composed. These are new messages with the null reverse-path. A report that fails is never reported on.
//
// # Checks and held mail
//
// Server.Checks look at strangers and their mail: DNS blocklists, greylisting, SPF, DKIM, DMARC, filters, and checks of
// your own. Package server lists those of the library. Submission.Checks are for users: limits by account, for example.
// Their funcs are called after the Relay has accepted a client, a recipient or a sender.
//
// A check can hold mail: it is accepted, and stays in the Queue until an operator calls its Release or Remove. The
// Queue must be a [queue.Holder], as those of spool and mem are. Code holds a message by Held of the [queue.Message]
// that [Relay.Prepare] returns. Held mail is listed by a [queue.Filter] with the State queue.Held. The reason of a
// check is in the log line "mail held", and isn't stored. The time for which mail is held counts for MaxAge: after it,
// released mail is tried once, and returned if that fails.
//
// # Bounds
//
// Every bound and time-out is a field of a part, with its default in the doc: of server.Server (sizes, connections,
// waits), client.Transport (waits, sessions), mx.Router (DNS), delivery.Runner (concurrency, rates, schedules). These
// bounds are fixed: 1 MiB and 100 Received fields for a header section; with Expand, 10,000 recipients for a message
// (100,000 before duplicates are removed) and 20 aliases in a chain. The size of mail from code has no bound.
//
// # Errors and crashes
//
// After an error of Send or Enqueue, nothing was stored. Accepted mail survives the death of the process, and of the
// machine, as far as the Queue does: see package spool. A message is delivered at least once. A second copy can arise
// in three cases only: an attempt ended without a reply to the final dot, or an smtp.Sender of your own panicked
// (smtp.Unknown); the process or machine died between a delivery and the next sync of the queue; or the queue failed
// for as long as Runner.Lease.
//
// Suspensions and redirections are forgotten when the process ends.
//
// A panic of a func, a slog.Handler or an interface below is logged, and doesn't end the process. After one of
// Accepted, Events, Transport.Tried, Transport.Trace or a Logger, nothing else changes. After one of Allow, CheckRcpt,
// SendAs, Expand or Authenticate, a client is refused for now, and Send returns an error. After one of an smtp.Sender
// (Wrap, or the func of a route), the results are smtp.Unknown: a host may have accepted the message before.
//
// # Interfaces to implement
//
// A queue.Queue (queue/queuetest tests it), an mx.Resolver, an smtp.Sender (a route of your own, or a Wrap around every
// delivery), and the funcs of Relay.
//
// # Files
//
//	relay.go    Relay: its fields, Serve, Run, Send
//	parts.go    Check, how the parts are put together, and Limits by domain
//	access.go   who may send to whom
//	expand.go   aliases
//	prepare.go  Prepare: from an envelope and a body to a queue.Message
//	header.go   the header: Received, Date, Message-ID
//	report.go   reports to the sender
//	operate.go  Flush, Suspend, Redirect, Explain
//	suppress.go refusals of suppressed recipients
//	call.go     calls of funcs that may panic, and bodies from code
//
// [Example_submission]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Submission
// [compose.Example]: https://pkg.go.dev/github.com/postrider/postrider/client/compose#example-package
// [compose.ExampleFile]: https://pkg.go.dev/github.com/postrider/postrider/client/compose#example-File
// [client.ExampleSubmission]: https://pkg.go.dev/github.com/postrider/postrider/client#example-Submission
// [client.ExampleSubmission_Send]: https://pkg.go.dev/github.com/postrider/postrider/client#example-Submission.Send
// [client.ExampleSubmission_Check]: https://pkg.go.dev/github.com/postrider/postrider/client#example-Submission.Check
// [client.ExampleTrace]: https://pkg.go.dev/github.com/postrider/postrider/client#example-Trace
// [client.ExampleTransport_unicode]: https://pkg.go.dev/github.com/postrider/postrider/client#example-Transport-Unicode
// [oauth.Example]: https://pkg.go.dev/github.com/postrider/postrider/client/oauth#example-package
// [compose.ExampleTemplate_Send]: https://pkg.go.dev/github.com/postrider/postrider/client/compose#example-Template.Send
// [smtptest.Example_signup]: https://pkg.go.dev/github.com/postrider/postrider/smtp/smtptest#example-package-Signup
// [smtptest.ExampleHost_Down]: https://pkg.go.dev/github.com/postrider/postrider/smtp/smtptest#example-Host.Down
// [preflight.ExampleChecker_Message]: https://pkg.go.dev/github.com/postrider/postrider/client/preflight#example-Checker.Message
// [ExampleRelay_Send]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay.Send
// [Example_retries]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Retries
// [ExampleRelay_Enqueue]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay.Enqueue
// [Example_deadline]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Deadline
// [ExampleRelay_Enqueue_once]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay.Enqueue-Once
// [pgqueue.ExampleQueue_EnqueueTx]: https://pkg.go.dev/github.com/postrider/postrider/queue/pgqueue#example-Queue.EnqueueTx
// [Example_large]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Large
// [Example_events]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Events
// [ExampleRelay_Explain]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay.Explain
// [bounce.ExampleParse]: https://pkg.go.dev/github.com/postrider/postrider/bounce#example-Parse
// [bounce.ExampleHandler]: https://pkg.go.dev/github.com/postrider/postrider/bounce#example-Handler
// [suppress.ExamplePolicy]: https://pkg.go.dev/github.com/postrider/postrider/bounce/suppress#example-Policy
// [ExampleReporter]: https://pkg.go.dev/github.com/postrider/postrider#example-Reporter
// [dkim.Example]: https://pkg.go.dev/github.com/postrider/postrider/client/dkim#example-package
// [Example_dane]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Dane
// [client.ExampleTransport_sources]: https://pkg.go.dev/github.com/postrider/postrider/client#example-Transport-Sources
// [client.ExampleWarmUp]: https://pkg.go.dev/github.com/postrider/postrider/client#example-WarmUp
// [ExampleRelay_limits]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay-Limits
// [delivery.ExampleRunner_tenants]: https://pkg.go.dev/github.com/postrider/postrider/queue/delivery#example-Runner-Tenants
// [Example_relay]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Relay
// [Example_func]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Func
// [Example_users]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Users
// [Example_aliases]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Aliases
// [authres.ExampleEnforce]: https://pkg.go.dev/github.com/postrider/postrider/server/authres#example-Enforce
// [greylist.ExamplePolicy]: https://pkg.go.dev/github.com/postrider/postrider/server/greylist#example-Policy
// [dnsbl.ExampleList]: https://pkg.go.dev/github.com/postrider/postrider/server/dnsbl#example-List
// [milter.ExampleFilter_Check]: https://pkg.go.dev/github.com/postrider/postrider/server/milter#example-Filter.Check
// [Example_held]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Held
// [Example_roles]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Roles
// [queueweb.ExampleHandler]: https://pkg.go.dev/github.com/postrider/postrider/queue/queueweb#example-Handler
// [Example_logs]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Logs
// [delivery.ExampleEvents]: https://pkg.go.dev/github.com/postrider/postrider/queue/delivery#example-Events
// [Example_shutdown]: https://pkg.go.dev/github.com/postrider/postrider#example-package-Shutdown
// [ExampleRelay_Suspend]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay.Suspend
// [ExampleRelay_Redirect]: https://pkg.go.dev/github.com/postrider/postrider#example-Relay.Redirect
// [queue.ExampleHolder]: https://pkg.go.dev/github.com/postrider/postrider/queue#example-Holder
// [drain.Example]: https://pkg.go.dev/github.com/postrider/postrider/queue/drain#example-package
// [mx.ExampleResolver]: https://pkg.go.dev/github.com/postrider/postrider/mx#example-Resolver
package postrider
