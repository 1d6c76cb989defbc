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
// Each line is a question of users, and the example that answers it. An example of another package has the directory of
// that package before its name. The page of a package on pkg.go.dev shows its examples; go doc doesn't. In a clone of
// the repository, one command finds client/compose.ExampleFile, and another one runs it:
//
//	grep -n -A 60 "^func ExampleFile(" client/compose/*_test.go
//	go test -v -run "^ExampleFile$" ./client/compose
//
// Most examples run against an internet in memory, package smtptest, in the virtual time of testing/synctest. The t in
// them stands for that of a test.
//
// Send a mail, and test that:
//
//   - one mail through a provider, with a password: Example_submission
//   - with HTML, pictures and attachments: client/compose.Example
//   - with a file that doesn't fit into memory: client/compose.ExampleFile
//   - many mails over one connection: client.ExampleSubmission
//   - which recipients were refused, and whether the address is dead: client.ExampleSubmission_Send
//   - why TLS or the login fails: client.ExampleSubmission_Check
//   - the dialogue with the server: client.ExampleTrace
//   - addresses beyond ASCII: client.ExampleTransport_unicode
//   - tokens of Microsoft 365 and Google in place of a password: client/oauth.Example
//   - a newsletter with one-click unsubscribe: client/compose.ExampleTemplate_Send
//   - a test of code that sends mail: smtp/smtptest.Example_signup
//   - two days of outage, in a test of milliseconds: smtp/smtptest.ExampleHost_Down
//   - an inbox that a test reads, and a person on a web page: server/inbox.Example
//   - a server with a full mailbox and a quota: server/inbox.ExampleInbox_SetSwitches
//   - what Gmail and others would refuse, before it is sent: client/preflight.ExampleChecker_Message
//
// Send by a queue:
//
//   - a mail that is tried again until it is delivered: ExampleRelay_Send
//   - what happens while the other host is down: Example_retries
//   - a mail that goes out tomorrow: ExampleRelay_Enqueue
//   - a login code that is useless after ten minutes: Example_deadline
//   - once, whatever crashes: ExampleRelay_Enqueue_once
//   - in one transaction with an order, in PostgreSQL: queue/pgqueue.ExampleQueue_EnqueueTx
//   - a body that doesn't fit into memory: Example_large
//
// Know what became of it:
//
//   - what happened to the mail about order 17: Example_events
//   - why a mail isn't delivered: ExampleRelay_Explain
//   - an HTTP request for each mail that failed: queue/webhook.ExampleHooks
//   - the receiver of these requests: queue/webhook.ExampleVerify
//   - what a bounce says: bounce.ExampleParse
//   - which mail a bounce belongs to (VERP): bounce.ExampleHandler
//   - no more mail to dead addresses: bounce/suppress.ExamplePolicy
//   - reports to senders in other words: ExampleReporter
//
// Be welcome at receivers:
//
//   - signatures by DKIM: client/dkim.Example
//   - TLS where DANE or MTA-STS demands it: Example_dane
//   - several source addresses: client.ExampleTransport_sources
//   - a new address that sends more each day: client.ExampleWarmUp
//   - limits for one receiver: ExampleRelay_limits
//   - a rate for each customer: queue/delivery.ExampleRunner_tenants
//
// Receive mail:
//
//   - the mail of a domain, for a mailbox server over LMTP: Example_relay
//   - mail for a Go func: Example_func
//   - mail from users at port 587, with a password: Example_users
//   - ports 25, 587, 465 and 2587, and a Tenant for each user: ExampleRelay_Serve
//   - aliases and groups: Example_aliases
//   - SPF, DKIM and DMARC of incoming mail: server/authres.ExampleEnforce
//   - greylisting: server/greylist.ExamplePolicy
//   - blocklists: server/dnsbl.ExampleList
//   - filters such as rspamd: server/milter.ExampleFilter_Check
//   - mail that waits for a person to release it: Example_held
//   - all of it in one relay: Example_roles
//
// Operate:
//
//   - the queue on a web page: queue/queueweb.ExampleHandler
//   - mail from code that waits for approval on that page: queue/queueweb.ExampleHandler_approval
//   - what is in the log: Example_logs
//   - metrics: queue/delivery.ExampleEvents
//   - a stop without losing mail: Example_shutdown
//   - several machines with one queue in PostgreSQL: examples/cluster, a program
//   - one domain stopped for a while: ExampleRelay_Suspend
//   - another way for one domain, for now: ExampleRelay_Redirect
//   - the mail of a sender who turned out to be an intruder: queue.ExampleHolder
//   - all mail to another store, or off this machine: queue/drain.Example
//   - answers of the DNS of one's own: mx.ExampleResolver
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
// Set Trusted in each of those: without it, no func is called from MAIL on for a client that has authenticated, and
// [Relay.Check] returns an error. The funcs of a check are called after the Relay has accepted a client, a recipient or
// a sender.
//
// A check can hold mail: it is accepted, and stays in the Queue until an operator calls its Release or Remove. The
// Queue must be a [queue.Holder], as those of spool and mem are. Code holds a message by Held of the [queue.Message]
// that [Relay.Prepare] returns. Held mail is listed by a [queue.Filter] with the State queue.Held. The reason of a
// check is in the log line "mail held", and is the HeldFor of its tasks, which the page of package queueweb lists. The
// time for which mail is held counts for MaxAge: after it, released mail is tried once, and returned if that fails.
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
// SendAs, TenantOf, Expand or Authenticate, a client is refused for now, and Send returns an error. After one of an
// smtp.Sender (Wrap, or the func of a route), the results are smtp.Unknown: a host may have accepted the message
// before.
//
// # Interfaces to implement
//
// A queue.Queue (queue/queuetest tests it), an mx.Resolver, an smtp.Sender (a route of your own, or a Wrap around every
// delivery), and the funcs of Relay.
//
// # Files
//
//	relay.go    Relay: its fields, Serve, Run, Send
//	listen.go   listeners and their roles
//	parts.go    Check, how the parts are put together, and Limits by domain
//	access.go   who may send to whom
//	expand.go   aliases
//	prepare.go  Prepare: from an envelope and a body to a queue.Message
//	header.go   the header: Received, Date, Message-ID
//	report.go   reports to the sender
//	operate.go  Flush, Suspend, Redirect, Explain
//	suppress.go refusals of suppressed recipients
//	call.go     calls of funcs that may panic, and bodies from code
package postrider
