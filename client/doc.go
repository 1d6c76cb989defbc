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
// A Submission adds a Date and a Message-ID to a message without them: see [AddMissing]. Submission.Wrap puts a Sender
// around it, to sign messages for example. A Send is one attempt. To try again later is for a queue: see package
// delivery.
//
// # How a message is sent
//
// A Send checks envelope and content first, and scans the content once. A Transport asks the Router for the route of
// each domain. It tries the hosts of the route in order, and the addresses of each host: in an idle session, or in a
// new one from one of its Sources. A Conn says EHLO, begins TLS and authenticates. With PIPELINING it writes MAIL, all
// RCPTs and DATA at once, so that a message takes two round trips in a kept session. A message larger than a chunk goes
// by BDAT if the host offers CHUNKING. The LIMITS of a host, and a 452 that means too many recipients, split the
// recipients into several transactions. What a host shows is remembered for Transport.RememberFor: the extensions that
// it offers and fails at, and the messages that it takes in a session.
//
// SMTPUTF8 is used where an address needs it, or where the sender declared it and the header is in UTF-8. An 8-bit body
// is converted by [smtp.SevenBit] for a host without 8BITMIME, or one that offers it and refuses its parameter, once
// for all hosts (RFC 6152 §3). A message whose signature doesn't survive that goes to a host with 8BITMIME: see
// [Transport.ConvertSigned]. A host that lacks an extension that the message needs, or announces a smaller SIZE, is
// skipped. If there is no other, the message is
// Rejected. BY with mode R needs DELIVERBY and enough time, except over LMTP, and HoldUntil needs FUTURERELEASE. BY
// with mode N, and a priority, go to the hosts that have an extension for them.
//
// The sessions of a [Source] come from an address of this machine, or go through a [Proxy]. A source address that can't
// be used leaves the pool, and comes back by a probe: see [SourceHealth]. [Transport.SourceStates] has the state of
// each address. The failures of a source or a proxy have the Reason smtp.NoSource, and count against no host.
//
// TLS with hosts from the DNS is opportunistic, unless one of Transport.Policies demands more: by DANE or MTA-STS, for
// example. A session without that TLS isn't used: the next host is tried, and after the last one the message is
// Deferred. decide.go has the table of what follows on each trouble with TLS. Without a demand, a host whose TLS fails
// gets the mail in cleartext, over a new connection. [Try] and its [Security] have what was wanted and reached.
//
// [Transport.Tried] reports each host that was tried, and a [Trace] each command and reply.
//
// # REQUIRETLS
//
// A message with Envelope.RequireTLS (RFC 8689) goes to a host only if all of this is so:
//
//   - The host is one of the domain's: by DNSSEC, by a policy that demands a verified certificate of the host (MTA-STS
//     does, in testing, too), or because its name is the domain itself. An explicit route needs no such proof.
//   - The session has TLS, and the certificate is verified by DANE, by MTA-STS, or by the trusted authorities of
//     TLSConfig.
//   - The host offers REQUIRETLS. MAIL has the parameter.
//
// Otherwise the next host is tried. If no host can have the message, it is Rejected: with 5.7.30 if the last one
// doesn't offer REQUIRETLS, and with 5.7.10 if it has no TLS, a certificate that isn't valid, or no proof. If a host
// was out of reach, its TLS broke, or a policy excludes it or isn't known, the message is Deferred instead.
//
// There are three exceptions. Mail by LMTP needs no REQUIRETLS, since the host delivers it. A host on this machine
// needs no TLS. A message with the null reverse-path, which is a report, goes on as any other message does, and has the
// parameter where all of the above is so (RFC 8689 §5). [Transport.LaxRequireTLS] is for hosts of today. The Sender of
// a route gets the envelope with RequireTLS, and has to see to it itself.
//
// A message with Envelope.TLSOptional, whose header has "TLS-Required: No", goes on as if the Policies were in testing.
// A Policy that fails is ignored. Route.TLS counts as always.
//
// Result.Policy and Security.Policy begin with "requiretls" or "tls-optional+" where this changes what is demanded.
//
// # Bounds
//
// Every wait of a session has a time-out in [Timeouts]. Timeouts also bound MAIL and all RCPTs together (Envelope), the
// time of a message by its size (MinDataRate), and an attempt as a whole (Attempt). A Transport bounds its idle
// sessions, the addresses that it tries, and its memory about hosts. Its caller bounds the concurrent Sends. A
// Submission bounds its open sessions, and further Sends wait in order of arrival. The lines and octets of a reply and
// the steps of AUTH have fixed bounds. A result keeps 2 KiB of the text of a reply. A Send reads the content in blocks
// of 64 KiB at most and never holds it whole. A field may be negative only where its doc says so.
//
// # Promises
//
//   - A Send of a Transport or a Submission returns one Result for each recipient, in order, whatever happens.
//   - A reply counts by its first digit, whether its code is known or not (RFC 5321 §4.2, §4.3.2). A digit that the
//     command can't have, such as 2xx to DATA, 3xx to MAIL or any 6xx, ends the session. It rejects no recipient.
//   - A recipient is Rejected only by a 5xx to MAIL, RCPT, DATA, BDAT or the final dot, by the Sender of its route, or
//     by a rule of this package or of package mx; then the Result is Local. Every other failure defers. If a host sends
//     more replies than it got commands, and the one too many is read with the others, they can't be matched, and the
//     host rejects nobody: a 550 that comes with a 250 defers, and leaves the outcome Unknown after the final dot. A
//     421 isn't counted. A line without a code may stand for a reply. If there is one among the replies to pipelined
//     commands or to an LMTP message, and then a reply is missing, the host rejects nobody either.
//   - If the final dot or the last chunk gets no valid reply, in time and before ctx ends, the outcome is Unknown: the
//     host may have the message. Else only the Sender of a route makes a result Unknown. No Send offers an Unknown
//     recipient to another host.
//   - After a panic of the Sender of Submission.Wrap, recipients are Unknown.
//   - Once ctx ends, I/O in flight is aborted and the session is closed. Recipients are Deferred, or Unknown as above.
//   - An attempt whose slot was taken back ([smtp.Slot]) has sent no MAIL.
//   - Nothing is sent before envelope, content and Hostname have been checked. A recipient that isn't valid is Rejected
//     by itself: with 501 5.1.3 and the Reason UserUnknown for its address, with 501 5.5.4 for its Notify or ORCPT. Any
//     other fault of envelope or content rejects the message for all recipients. A Hostname that isn't valid defers
//     all.
//   - One reply for several recipients is never UserUnknown: it doesn't say which address it means.
//   - A panic of a func of the caller is logged, if there is a Logger. After one of Trace, Tried or the Logger nothing
//     changes. After one of DialContext, Auth, the Resolver, a Policy or a func of TLSConfig, recipients are
//     Deferred. After one of the Sender of a route they are Unknown.
//   - A message that can't be read to its end is never committed: the connection is closed without the final dot, the
//     last chunk or QUIT.
//   - A password is sent only under TLS with a verified certificate, or to this machine: a Unix socket, a loopback
//     address in the route, or "localhost". It is in no error, Result, log or Trace.
//   - Close returns when no Send, session or goroutine is left.
//
// # Interfaces
//
// A program may bring its own smtp.Auth, mx.Resolver and DialContext, and funcs for Trace and Tried. Each is called
// from several goroutines. An smtp.Sender around a Transport can sign, split or trace messages.
//
// # RFCs
//
// The package implements the client's side of RFC 5321, and of RFC 1870 (SIZE), 2033 (LMTP), 2852 (DELIVERBY), 2920
// (PIPELINING), 3030 (CHUNKING, BINARYMIME), 3207 (STARTTLS), 3461 (DSN), 4865 (FUTURERELEASE), 4954 (AUTH), 6152
// (8BITMIME), 6409 (submission), 6531 (SMTPUTF8), 6710 (MT-PRIORITY), 8314 (implicit TLS), 8689 (REQUIRETLS) and 9422
// (LIMITS); SCRAM-SHA-256 and -PLUS by RFC 5802, 7677, 9266 and 5929 §3, and OAUTHBEARER by RFC 7628; CONNECT of SOCKS5
// by RFC 1928 and 1929, and the PROXY header, versions 1 and 2, by HAProxy's specification.
//
// It differs from them in these points:
//
//   - A binary message isn't converted for a host without BINARYMIME. It is Rejected.
//   - Octets above 127 in a header go on as they came, even to a host without 8BITMIME or SMTPUTF8 (RFC 6152 §3 and
//     RFC 6531 §3.5 forbid it). Many programs send such headers, and most hosts accept them. If the sender declared
//     SMTPUTF8 and the header is UTF-8, the message goes to hosts with SMTPUTF8 only.
//   - A line of more than 998 octets is sent as it is, since cutting it would break signatures.
//   - A 552 to RCPT is always transient, which is a SHOULD of RFC 5321 §4.5.3.1.10.
//   - A time-out holds for a reply as a whole, not for each of its lines.
//   - Up to 16 lines without a code are skipped before a reply and inside it, except between STARTTLS and TLS. If the
//     code changes inside a reply, the last one counts: see [smtp.ReadReply]. In either case, a 421 to the final dot
//     makes the outcome Unknown: it may be about an idle session.
//   - A reply that no command asked for changes no result: a 550 or 421 after the 250 to the final dot leaves the
//     message Delivered (RFC 5321 §4.2.5), and a Transport sends the next message in another session; a Conn defers
//     it.
//   - A session with a host that lacks REQUIRETLS ends after Transport.IdleTimeout, not at once (RFC 8689 §4.2.1).
//   - Keywords of EHLO are known with further blanks, tabs and text around them. The prompts of AUTH LOGIN may be in
//     any form.
//   - Return-Path is added for a route by mx.Func (RFC 5321 §4.4). A server that speaks LMTP adds it itself.
//
// # Files
//
//	submission.go, submissioncheck.go  Submission; its Check
//	missing.go                         AddMissing: Date and Message-ID
//	transport.go                       Transport: settings, Send, routes
//	delivery.go, connect.go, offer.go  one message on one route: the hosts, a new session, an offer and what follows
//	senderroute.go                     a route that is a Sender
//	pool.go, slots.go                  idle sessions; the bound on the sessions of a Submission
//	probe_*.go                         whether an idle session is alive
//	source.go, sourceblocks.go         Sources: the choice of a source address, and its blocks
//	sourcehealth.go, sourcestate.go    source addresses that leave the pool and come back; what is told of them
//	egress.go, socks.go                the dial from a source address, through a Proxy or not
//	worn.go                            refusals that may be about the session
//	habits.go, breakage.go             what hosts showed; extensions that they offer and fail at
//	policy.go, decide.go               Policies; what follows on trouble with TLS
//	requiretls.go                      REQUIRETLS and TLS-Required: No
//	security.go                        Security: how a session is secured; the size of a ClientHello
//	conn.go, hello.go, starttls.go     Conn: a session up to MAIL
//	hostname.go                        the name in EHLO
//	auth.go, credentials.go            AUTH, and the choice of a mechanism
//	scram.go, saslprep.go, bearer.go   the mechanisms that go-sasl lacks
//	fit.go, transaction.go             how a message fits a host; MAIL, RCPT and the final reply
//	eightbit.go                        octets above 127: SMTPUTF8, 8BITMIME, conversion
//	data.go, bdat.go                   the body by DATA and by BDAT
//	wire.go, timeouts.go               commands, replies and deadlines
//	message.go, failure.go             the results of a Send; the error that ended a step
//	try.go, trace.go, tlsresult.go     what a program can watch
//	panics.go                          funcs of the caller that panic
package client
