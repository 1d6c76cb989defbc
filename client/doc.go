// Package client sends mail over SMTP and LMTP.
//
//   - [Submission] hands messages to a submission server, with a password: for programs that have one.
//   - [Transport] delivers to the hosts that an mx.Router names, keeps sessions for the next message, and
//     is what queue.Runner sends with.
//   - [Conn] is one session over a connection of the caller's.
//
// Start with Submission:
//
//	sub := &client.Submission{Addr: "smtp.example.com:587", Auth: sasl.NewPlainClient("", user, password)}
//	results, err := sub.Send(ctx, smtp.NewEnvelope(from, to), smtp.Text(message))
//
// Each Send gives one smtp.Result a recipient. Nothing is tried twice there but as Transport.Send says; trying again
// later is for a queue.
//
// The package implements the client's side of RFC 5321, and of RFC 1870 (SIZE), 2033 (LMTP), 2920 (PIPELINING),
// 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8) and 8314 (implicit TLS).
//
// Rules that a caller may rely on:
//
//   - Nothing is written before the envelope, the content and our own name have been checked.
//   - A message that can't be read to its end is never committed: the connection is closed, without the final
//     dot and without QUIT.
//   - A recipient is Rejected only by a 5xx to MAIL, RCPT, DATA or the final dot, or by a rule of our own or of
//     package mx; the Result has Local set then. Everything else leaves it Deferred.
//   - A connection that is lost between the final dot and the reply leaves it Unknown.
//   - A password is sent under TLS with a verified certificate, or to this very machine.
//
// Where it differs from the RFCs: a message isn't converted to 7-bit for a host without 8BITMIME (RFC
// 6152 §3 allows either), and it isn't sent as it is; a 552 to RCPT is always temporary, which RFC 5321 §4.5.3.1.10 has as
// SHOULD; and time-outs hold for a reply as a whole, not for each of its lines.
package client
