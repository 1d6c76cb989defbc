// Package client sends mail over SMTP and LMTP.
//
//   - [Submission] hands messages to a submission server, with a password or a token: for programs that have one.
//   - [Transport] delivers to the hosts that an mx.Router names, keeps sessions for the next message, and
//     is what delivery.Runner sends with.
//   - [Conn] is one session over a connection of the caller's.
//
// Start with Submission:
//
//	sub := &client.Submission{Addr: "smtp.example.com:587", Auth: &client.Credentials{Username: user, Password: password}}
//	defer sub.Close()
//	results, err := sub.Send(ctx, smtp.NewEnvelope(from, to), smtp.Text(message))
//
// Each Send gives one smtp.Result a recipient. Nothing is tried twice there but as Transport.Send says; trying again
// later is for a queue.
//
// # A message's way
//
// Envelope and content are checked, and the content is scanned once. Transport asks mx for the route and goes through its hosts
// in order, and through the addresses of each: with a session that idles there, or with a new one, from one of
// Sources. A Conn says EHLO, secures itself, authenticates, and sends MAIL, all RCPTs and DATA in one write where the host has
// PIPELINING, so that a message in a kept session takes two round trips. What is larger than a chunk goes by BDAT where that
// is offered. LIMITS, and 452 for want of room, part the recipients into several transactions. [Transport.Tried] tells of each host, and a
// [Trace] of each line.
//
// The package implements the client's side of RFC 5321, and of RFC 1870 (SIZE), 2033 (LMTP), 2920 (PIPELINING), 3030 (CHUNKING,
// BINARYMIME), 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8), 8314 (implicit TLS) and 9422 (LIMITS);
// SCRAM-SHA-256 and -PLUS by RFC 5802, 7677, 9266 and 5929 §3, and OAUTHBEARER by RFC 7628.
//
// # Rules that a caller may rely on
//
//   - Nothing is written before the envelope, the content and our own name have been checked.
//   - A message that can't be read to its end is never committed: the connection is closed, without the final
//     dot or the last chunk, and without QUIT.
//   - A recipient is Rejected only by a 5xx to MAIL, RCPT, DATA, BDAT or the final dot, or by a rule of our own or of
//     package mx; the Result has Local set then. Everything else leaves it Deferred. Replies that can't be told apart, as there
//     are more of them than commands, reject nobody.
//   - A connection that is lost between the final dot, or the last chunk, and the reply leaves it Unknown.
//   - A password is sent under TLS with a verified certificate, or to this very machine. It is in no error, Result, log or Trace.
//
// # Differences from the RFCs
//
// A message isn't converted to 7-bit for a host without 8BITMIME (RFC 6152 §3 allows either), nor to text for one without
// BINARYMIME, and it isn't sent as it is. A line over 998 octets is sent as it is, since cutting it would break signatures. A 552 to RCPT
// is always temporary, which RFC 5321 §4.5.3.1.10 has as SHOULD. Time-outs hold for a reply as a whole, not for
// each of its lines. Return-Path is put on top for a route that is a func (RFC 5321 §4.4), and not for LMTP, whose servers do it.
package client
