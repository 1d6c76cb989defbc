// Package server receives mail: an SMTP server that parses commands, enforces their order and all bounds, and passes
// each message to a [Handler] as an envelope and a body. It stores nothing and relays nothing. postrider.Relay is a
// Handler with a queue.
//
// # Getting started
//
// Write a [Handler], and serve a listener:
//
//	srv := &server.Server{
//		Hostname:  "mx1.example.com",
//		Handler:   handler,   // receives each message
//		TLSConfig: tlsConfig, // enables STARTTLS
//	}
//	err := srv.Serve(ctx, listener) // nil after ctx has ended
//
// Refuse unknown recipients at RCPT, with a [RcptChecker]: a Handler that accepts a message and returns it later sends
// reports to forged senders.
//
// A submission server (ports 587 and 465, RFC 6409) has Authenticate and RequireAuth. For implicit TLS (port 465, RFC
// 8314), pass a listener made by [crypto/tls.NewListener]: its Accept must return a *[crypto/tls.Conn].
//
// # Files
//
//   - server.go: [Server] and its settings. check.go: [Server.Check]. serve.go: [Server.Serve], [Server.Shutdown].
//   - handler.go: [Handler] and its optional interfaces. peer.go: [Peer].
//   - session.go: a session from the greeting to the end. command.go: one command line. hello.go, mail.go, data.go,
//     auth.go, tls.go: the commands of these names.
//   - conn.go: lines, deadlines and the buffer of replies. limit.go: bounds on connections.
//
// # Interfaces to implement
//
//   - [Handler]: required.
//   - [ConnectChecker], [MailChecker], [RcptChecker]: refuse before the body is sent. [Allower]: decides who may relay
//     without AUTH. All four are optional methods of the Handler.
//   - Authenticate, a func field of Server: checks a password.
//
// # Bounds
//
// Every field of [Server] that is a number or a time is a bound, and zero is its default. The others are fixed:
//
//   - A command line has at most 512 octets, CRLF included. Parameters make it longer: MAIL 1181, RCPT 1048, VRFY and
//     EXPN 522 octets. A line of AUTH has at most 12288 octets (RFC 4954 §4). A longer line is refused, and after 256
//     KiB without a line end the connection is closed.
//   - At most 64 connections beyond MaxConns or MaxConnsPerIP wait for their refusal to be sent. Others are closed
//     without a reply.
//   - After the last reply to a client that may still be sending, the connection stays open for at most 1 second and 1
//     MiB.
//   - Memory: 17 KiB and one goroutine for each session. The body of a message is not buffered.
//   - The time of a Handler is not bounded. In a shutdown, its context ends after Grace.
//
// # Errors
//
//   - A message is accepted when Handle returns nil, or a reply 2xx, and its body ended well. The server sends 250 only
//     then (RFC 5321 §6.1). If the process crashes earlier, the client sends the message again.
//   - A connection that is lost before the final dot is an error of the body: the Handler discards the message. If a
//     connection is lost after Handle returned, the message stays accepted, and the client may send it again.
//   - If an error of a Handler has a *smtp.Reply, the client gets that reply. The text of any other error goes only to
//     the log.
//   - A panic of a Handler is logged with its stack and ends one session. Other sessions go on.
//   - A temporary error of Accept is logged, and Accept is called again after 5 ms, doubled up to 1 s. Any other error
//     of Accept ends Serve.
//
// # Standards
//
// RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461),
// ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954, RFC 4616).
//
// Differences from the RFCs:
//
//   - Only CRLF.CRLF ends a message, and only CRLF ends a command. A message or a command with a bare CR or a bare LF,
//     and a message with a NUL, is read to its true end and refused. RFC 5321 §2.3.8 forbids these as line ends, but
//     many servers accept them, and so a message could contain a hidden second one (SMTP smuggling).
//   - VRFY is always answered 252, and EXPN is not implemented (RFC 5321 §7.3 allows both).
//   - Input that follows STARTTLS before its reply closes the connection.
//   - An EHLO name must have the form of a host name or an address literal. Underscores are allowed, because hosts send
//     them. The name is not looked up (RFC 5321 §4.1.4).
//   - An octet above 127 in a body is accepted without BODY=8BITMIME, too, and a line of a body may be longer than the
//     1000 octets of RFC 5321 §4.5.3.1.6, up to [Server.MaxLine]. Both are common, and a refusal would lose mail that
//     the next host accepts.
//   - The AUTH parameter of MAIL becomes "<>" unless the client has authenticated (RFC 4954 §5).
//   - A client whose first line is an HTTP request is disconnected without a reply.
//   - STARTTLS disables session tickets: a widely used sender aborts on them. The config of a TLS listener is used as
//     it is.
//
// # Concurrency
//
// Each connection has one goroutine, which calls the Handler: calls for one connection never overlap, calls for
// different connections do. [Server.Serve], [Server.Shutdown] and [Server.Close] may be called at any time, from any
// goroutine. A Handler must not wait for Shutdown, because Shutdown waits for the Handler.
package server
