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
package postrider
