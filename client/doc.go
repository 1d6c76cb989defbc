// Package client sends mail over SMTP and LMTP.
//
//   - [Submission] sends to a submission server, with a password or a token. Most programs need this one.
//   - [Transport] delivers to the hosts that an mx.Router finds, and keeps sessions. delivery.Runner sends with it.
//   - [Conn] is one session over a connection of the caller's.
//
// Submission and Transport are each an [smtp.Sender]. Start with Submission:
//
//	auth := &client.Credentials{Username: user, Password: password}
//	sub := &client.Submission{Addr: "smtp.example.com:587", Auth: auth}
//	defer sub.Close()
//	if err := sub.Check(ctx); err != nil { // at the start of the program; it names the field at fault
//		return err
//	}
//	results, err := sub.Send(ctx, smtp.NewEnvelope(from, to), smtp.Text(message))
//
// A Send is one attempt. To try again later is for a queue: see package delivery.
//
// # How a message is sent
//
// A Send checks envelope and content first, and scans the content once. A Transport asks the Router for the route of
// each domain. It tries the hosts of the route in order, and the addresses of each host: in an idle session, or in a
// new one from one of its Sources. A Conn says EHLO, begins TLS and authenticates. With PIPELINING it writes MAIL, all
// RCPTs and DATA at once, so that a message takes two round trips in a kept session. A message larger than a chunk goes
// by BDAT if the host offers CHUNKING. The LIMITS of a host, and a 452 that means too many recipients, split the
// recipients into several transactions.
//
// [Transport.Tried] reports each host that was tried, and a [Trace] each command and reply.
//
// # Bounds
//
// Every wait of a session has a time-out in [Timeouts], and so has an attempt as a whole. A Transport bounds its idle
// sessions, the addresses that it tries, and its memory about hosts. Its caller bounds the concurrent Sends. A
// Submission bounds its open sessions, and further Sends wait in order of arrival. The lines and octets of a reply and
// the steps of AUTH have fixed bounds. A result keeps 2 KiB of the text of a reply. A Send reads the content in blocks
// of 64 KiB at most and never holds it whole. A field may be negative only where its doc says so.
//
// # Promises
//
//   - A Send of a Transport or a Submission returns one Result for each recipient, in order, whatever happens.
//   - A recipient is Rejected only by a 5xx to MAIL, RCPT, DATA, BDAT or the final dot, by the Sender of its route, or
//     by a rule of this package or of package mx; then the Result is Local. Every other failure defers. If a host sends
//     more replies than it got commands, so that they can't be matched, it rejects nobody.
//   - If the final dot or the last chunk gets no valid reply, in time and before ctx ends, the outcome is Unknown: the
//     host may have the message. Nothing else is Unknown, and no Send offers an Unknown recipient to another host.
//   - Once ctx ends, I/O in flight is aborted and the session is closed. Recipients are Deferred, or Unknown as above.
//   - Nothing is sent before envelope, content and Hostname have been checked. One invalid address in the envelope
//     rejects the message for all recipients.
//   - A message that can't be read to its end is never committed: the connection is closed without the final dot, the
//     last chunk or QUIT.
//   - A password is sent only under TLS with a verified certificate, or to this machine. It is in no error, Result, log
//     or Trace.
//   - Close returns when no Send, session or goroutine is left.
//
// # Interfaces
//
// A program may bring its own smtp.Auth, mx.Resolver and DialContext, and funcs for Trace and Tried. Each is called
// from several goroutines. An smtp.Sender around a Transport can sign, split or trace messages.
//
// # RFCs
//
// The package implements the client's side of RFC 5321, and of RFC 1870 (SIZE), 2033 (LMTP), 2920 (PIPELINING), 3030
// (CHUNKING, BINARYMIME), 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME), 6409 (submission), 6531
// (SMTPUTF8), 8314 (implicit TLS) and 9422 (LIMITS); SCRAM-SHA-256 and -PLUS by RFC 5802, 7677, 9266 and 5929 §3, and
// OAUTHBEARER by RFC 7628.
//
// It differs from them in these points:
//
//   - An 8-bit message isn't converted for a host without 8BITMIME (RFC 6152 §3 allows that), nor a binary one for a
//     host without BINARYMIME. Both are Rejected.
//   - A line of more than 998 octets is sent as it is, since cutting it would break signatures.
//   - A 552 to RCPT is always transient, which is a SHOULD of RFC 5321 §4.5.3.1.10.
//   - A time-out holds for a reply as a whole, not for each of its lines.
//   - Return-Path is added for a route by mx.Func (RFC 5321 §4.4). A server that speaks LMTP adds it itself.
//
// # Files
//
//	submission.go, submissioncheck.go  Submission; its Check
//	transport.go                       Transport: settings, Send, routes
//	delivery.go, connect.go, offer.go  one message on one route: the hosts, a new session, an offer and what follows
//	senderroute.go                     a route that is a Sender
//	pool.go, slots.go                  idle sessions; the bound on the sessions of a Submission
//	probe_*.go                         whether an idle session is alive
//	source.go, sourceblocks.go         Sources: the choice of a source address, and its blocks
//	bdatmemory.go                      hosts that failed at BDAT
//	conn.go, hello.go, starttls.go     Conn: a session up to MAIL
//	auth.go, credentials.go            AUTH, and the choice of a mechanism
//	scram.go, saslprep.go, bearer.go   the mechanisms that go-sasl lacks
//	fit.go, transaction.go             how a message fits a host; MAIL, RCPT and the final reply
//	data.go, bdat.go                   the body by DATA and by BDAT
//	wire.go, timeouts.go               commands, replies and deadlines
//	message.go, failure.go             the results of a Send; the error that ended a step
//	try.go, trace.go                   what a program can watch
package client
