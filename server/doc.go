// Package server accepts mail: an SMTP server that parses, orders and bounds what comes over the
// wire, and hands each message to a [Handler] as an envelope and a body.
//
//	srv := &server.Server{
//		Hostname:  "mx1.example.com",
//		Handler:   handler,   // says what becomes of a message
//		TLSConfig: tlsConfig, // with it, STARTTLS
//	}
//	err := srv.Serve(ctx, listener) // until ctx ends
//
// A Server relays nothing and stores nothing. Whom it takes mail for is for the Handler to say, best
// at RCPT ([RcptChecker]); postrider.Relay is a Handler with a queue behind it.
//
// # Standards
//
// RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN
// (RFC 3461), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954, RFC 4616).
// Implicit TLS (RFC 8314) takes a listener made by [crypto/tls.NewListener].
//
// # Where it differs
//
//   - Only CRLF.CRLF ends a message and only CRLF a command. A bare CR, a bare LF or a NUL is
//     read on to the true end and refused, never taken for a line end (RFC 5321 §2.3.8 allows nothing else,
//     many servers do).
//   - VRFY is always 252, EXPN is not implemented (RFC 5321 §7.3 allows both).
//   - Anything that comes behind STARTTLS without waiting for its reply closes the connection.
//   - An EHLO name must have the form of a name or an address literal; underscores pass, as hosts send them. It is
//     not looked up (RFC 5321 §4.1.4).
//   - An octet above 127 in a body is taken with or without BODY=8BITMIME, and a line of a body may be
//     longer than the 1000 octets of RFC 5321 §4.5.3.1.6 unless [Server.MaxLine] says otherwise: both are common,
//     and a refusal would lose mail that the next host takes.
//   - The AUTH parameter of MAIL is believed from authenticated clients only; for others it reads as
//     "<>" (RFC 4954 §5).
//   - A first line that is HTTP closes the connection without a word.
//   - TLS by STARTTLS has session tickets switched off: a widely used sender aborts on them. For a TLS listener that is
//     for its own config to say.
//
// # Concurrency
//
// Each connection has one goroutine, which calls the Handler and its checks one after the other;
// calls for different connections are concurrent. [Server.Serve], [Server.Shutdown] and
// [Server.Close] are safe at any moment and from any goroutine, but a Handler must not wait for Shutdown, which
// waits for it. Fields must not change once Serve was called. Serve returns only when all of its sessions have
// ended.
package server
