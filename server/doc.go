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
// A submission server (ports 587 and 465, RFC 6409) has RequireAuth and at least one of Authenticate, StoredCredentials
// and CheckToken. For implicit TLS (port 465, RFC 8314), pass a listener made by [NewTLSListener], or
// another one whose Accept returns *[crypto/tls.Conn].
//
// # Files
//
//   - server.go: [Server] and its settings. check.go: [Server.Check]. serve.go: [Server.Serve], [Server.Shutdown].
//   - handler.go: [Handler] and its optional interfaces. peer.go: [Peer].
//   - checks.go: [Check], and how its funcs are called. checksession.go: [Session] and [Finding]. action.go: [Action].
//     message.go: [Message], as a check sees and changes it.
//   - session.go: a session from the greeting to the end. command.go: one command line. hello.go, mail.go, data.go,
//     bdat.go, auth.go, tls.go: the commands of these names. lmtp.go: [LMTPHandler]. extensions.go: the extensions that
//     fields switch on.
//   - lenient.go: commands of devices, for [Server.Lenient].
//   - password.go, scram.go, bearer.go: the mechanisms of AUTH. credentials.go: [SCRAMCredentials]. guesses.go: the
//     bounds on failed logins.
//   - conn.go: lines, deadlines and the buffer of replies. limit.go: bounds on connections. crowd.go: who makes room.
//     memory.go: bounds on memory, and on headers.
//
// # Checks
//
// Each sub-package has one check. [Server].Checks has them in the order in which they are called. Put cheap ones first,
// and a check that uses the result of another one after it, for example so:
//
//   - early: the client talks before the greeting, or has a wrong name in EHLO.
//   - ratelimit: rates by network, account and sender.
//   - dnsbl: blocklists and allowlists in the DNS.
//   - authres: SPF, iprev, DKIM and DMARC, with an Authentication-Results field.
//   - greylist: unknown clients are deferred once. Its Skip can use the results of dnsbl and authres.
//   - milter: filters such as rspamd, ClamAV and OpenDKIM.
//
// A check decides by itself, or has [Tell] as its [Action]: then a check of your own adds up the results. See the
// example of [Check].
//
// Mail that a check holds is accepted. The Handler keeps it until an operator releases it: see [Session.Hold].
//
// Package proxy isn't a check, but a listener for a server behind a proxy. Package inbox is a Handler for development
// and tests: it keeps the mail, and shows it on a page.
//
// # Interfaces to implement
//
//   - [Handler]: required.
//   - [ConnectChecker], [MailChecker], [RcptChecker]: refuse before the body is sent. [Allower]: decides who may relay
//     without AUTH. [SevenBitter]: takes 7-bit mail only. All five are optional methods of the Handler.
//   - [LMTPHandler]: a Handler with a reply for each recipient, over LMTP.
//   - [Check]: funcs that look at a client and its mail beside the Handler, and refuse, tag, change or hold it. See
//     below for those of the library.
//   - Authenticate, StoredCredentials, CheckToken, func fields of Server: check a password, return what is stored of
//     it for SCRAM, check a token.
//
// # Bounds
//
// Every field of [Server] that is a number or a time is a bound, and zero is its default. The others are fixed:
//
//   - A command line has at most 512 octets, CRLF included. Parameters make it longer: MAIL 1249, RCPT 1048, VRFY and
//     EXPN 522 octets. A line of AUTH has at most 12288 octets (RFC 4954 §4). A longer line is refused, and after 256
//     KiB without a line end the connection is closed.
//   - Chunks of BDAT aren't counted as commands while they carry octets: MaxSize bounds those of a message, and
//     MaxDrain those that are discarded after its refusal. The wait for the next chunk counts as one for the message.
//   - Above 80 % of MaxConns, until there are fewer than 70 %, CommandTimeout and DataTimeout are a tenth of their
//     values.
//   - At MaxConns, a connection ends with 421 4.7.0 for a new one, if there is one whose client has neither sent a
//     message nor authenticated: one of the network with the most connections, and of those the one that has waited
//     longest for a command. A connection in a transaction is chosen last, and only if it is older than 1 minute.
//   - At most 64 connections beyond MaxConns, MaxConnsPerIP or MaxConnsPerNetwork wait for their refusal to be sent.
//     Others are closed without a reply.
//   - After the last reply to a client that may still be sending, the connection stays open for at most 1 second and 1
//     MiB.
//   - Memory: one goroutine and 5 KiB for each session, with TLS 17 KiB, while it waits for a command; 18 KiB more
//     otherwise. With its recipients (MaxEnvelope) and its header (MaxHeader), one session has about 300 KiB at most,
//     and all together have MaxMemory. The body of a message is not buffered, except for a [Check] with a Content
//     func: then up to 64 KiB of it are in memory, more go to a file.
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
//   - An error of Accept is logged, and Accept is called again after 5 ms, doubled up to 1 s. Only a closed listener
//     ends Serve.
//
// # Standards
//
// RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), CHUNKING (RFC 3030), SMTPUTF8 (RFC 6531),
// DSN (RFC 3461), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), LIMITS with RCPTMAX and MAILMAX (RFC 9422) and
// AUTH (RFC 4954): SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677; RFC 9266), OAUTHBEARER (RFC 7628), XOAUTH2, PLAIN (RFC
// 4616) and LOGIN. BINARYMIME (RFC 3030), DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710) and FUTURERELEASE (RFC 4865) are
// offered if [Server.BinaryMIME], [Server.DeliverBy], [Server.Priorities] and [Server.MaxHold] are set: each is a
// promise that the Handler has to keep. REQUIRETLS (RFC 8689), a promise about hosts after this one, is offered under
// TLS unless [Server.NoRequireTLS] is set. With [Server.LMTP], the server speaks LMTP (RFC 2033).
//
// Differences from the RFCs:
//
//   - Only CRLF.CRLF ends a message, and only CRLF ends a command. A message or a command with a bare CR or a bare LF,
//     and a message with a NUL, is read to its true end and refused. RFC 5321 §2.3.8 forbids these as line ends, but
//     many servers accept them, and so a message could contain a hidden second one (SMTP smuggling). After such a
//     message, the reply is 521 5.6.0, and the connection is closed (RFC 7504): a client that sees another end of the
//     message would go on with content that the server reads as commands. After such a command, 500 5.5.2, the session
//     goes on.
//   - By BDAT, too, a bare CR, a bare LF and a NUL are content only with BODY=BINARYMIME. A refused chunk ends the
//     transaction, so that no message lacks one. After a BDAT that can't be read, 501 5.5.4, the connection is closed,
//     since nobody knows how many octets follow.
//   - VRFY is always answered 252, and EXPN is not implemented (RFC 5321 §7.3 allows both).
//   - Input that follows STARTTLS before its reply closes the connection.
//   - LOGIN, which has no RFC, takes an initial response: many clients send the username so (against RFC 4954 §4).
//   - A failed login is answered after a second, and a network with many of them is refused with 454: see
//     MaxAuthFailures.
//   - The name in EHLO and HELO may be any text, octets above 127 included: RFC 5321 §4.1.4 forbids to refuse mail for
//     a name that can't be verified. It is not looked up. [Peer.Hello] has "?" for what can't be printed.
//   - With [Server.Lenient], commands of devices may break the grammar: its doc lists how.
//   - An octet above 127 in a body is accepted without BODY=8BITMIME, too, and a line of a body may be longer than the
//     1000 octets of RFC 5321 §4.5.3.1.6, up to [Server.MaxLine]. Both are common, and a refusal would lose mail that
//     the next host accepts.
//   - The AUTH parameter of MAIL is accepted also where AUTH isn't offered. It becomes "<>" unless the client has
//     authenticated and the value is a mailbox (RFC 4954 §5).
//   - A client is disconnected without a reply at a line that begins an HTTP request, and at the first octet of a TLS
//     handshake where none is due. A TLS handshake in which the client offers protocols by ALPN (RFC 7301), but not
//     "smtp" or "esmtp", fails.
//   - STARTTLS disables session tickets: a widely used sender aborts on them. [NewTLSListener] does so, too. The config
//     of any other TLS listener is used as it is.
//
// # Concurrency
//
// Each connection has one goroutine, which calls the Handler: calls for one connection never overlap, calls for
// different connections do. [Server.Serve], [Server.Shutdown] and [Server.Close] may be called at any time, from any
// goroutine. A Handler must not wait for Shutdown, because Shutdown waits for the Handler.
package server
