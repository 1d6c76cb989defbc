// Package smtptest is an internet in memory, for tests of code that sends or receives mail. It has a DNS, hosts that
// take mail and fail on demand, and connections. It opens no socket and asks no real name server. Inside
// testing/synctest, days of retries pass in milliseconds. Outside a synctest bubble the package works in real time.
//
// # Getting started
//
// Make a [Network] inside the bubble, with the t that synctest.Test passes to its func. Give the code under test the
// Network as its Resolver and [Network.DialContext] as its DialContext:
//
//	func TestSignup(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			inet := smtptest.NewNetwork(t)
//			host := inet.MX("example.net", "mx.example.net") // a domain, and the host that takes its mail
//			host.Greylist(10 * time.Minute)
//
//			relay := &postrider.Relay{
//				Hostname:    "shop.test",
//				Queue:       mem.New(),
//				Resolver:    inet,
//				DialContext: inet.DialContext,
//				Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)), // explains a failure
//			}
//			inet.Go(relay.Run) // until the test ends
//			signup(relay, "ann@example.net")
//
//			mail := host.Wait(1)[0] // until the host has taken one message; no sleep
//			if got := mail.Envelope.Recipients[0].Address; got != "ann@example.net" {
//				t.Errorf("got %q, want ann@example.net", got)
//			}
//		})
//	}
//
// An outage of two days:
//
//	host.Down()
//	signup(relay, "ann@example.net")
//	time.Sleep(48 * time.Hour) // virtual: takes no time
//	host.Up()
//	host.Wait(1)
//
// A mailbox that doesn't exist, a host that is busy for a day, and a connection that is lost after the final dot:
//
//	host.Reject("bob@example.net", nil) // nil is the usual reply: 550 5.1.1 no such user
//	host.Defer(26*time.Hour, smtp.NewReply(451, "4.7.1", "come back"))
//	host.CloseAt(smtp.StageFinal) // the host has the message; the client doesn't know
//	host.Heal()                   // ends all of that
//
// A relay under test that also receives, with TLS:
//
//	l, err := inet.Listen("mx1.test:25")
//	relay.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("mx1.test")}}
//	pool := inet.RootCAs() // for its clients
//
// # When a test fails
//
// A test that fails prints, at its end, the transcript of each host and hints about likely mistakes:
//
//	smtptest: hint: mx.example.net: 3 lookups, no dial: is DialContext set to that of the Network?
//	smtptest: hint: exampel.net: 3 lookups, no records: is the name misspelled?
//
// Transcripts contain no credentials and no content. Pass a slog.Logger that writes to t.Output() to the code under
// test, so that its log lines stand beside them.
//
// Code that waits for anything real, such as the dial of a real network, stops the clock of its bubble: the test hangs.
// After 5 seconds of real time the hints are printed to standard error.
//
// A Network that was made outside the bubble and is used inside, or the reverse, fails the test with a remedy.
//
// # Hosts
//
// A [Host] speaks SMTP (RFC 5321) on ports 25 and 587, and with implicit TLS (RFC 8314) on port 465. It offers
// PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), ENHANCEDSTATUSCODES
// (RFC 2034) and STARTTLS (RFC 3207). Once it has an account it offers AUTH PLAIN (RFC 4954). CHUNKING and BINARYMIME
// (RFC 3030), LIMITS (RFC 9422), REQUIRETLS (RFC 8689) and LMTP (RFC 2033) are offered on demand.
//
// A Host is strict. It refuses a parameter of an extension that it doesn't offer, a command that arrives before a reply
// without PIPELINING, a body above 127 without 8BITMIME, and a bare CR or LF outside BINARYMIME. It shares no code
// with package server.
//
// These methods set lasting properties:
//
//   - [Host.Offer], [Host.Without], [Host.NoTLS], [Host.OfferRequireTLS], [Host.Chunking], [Host.BinaryMIME],
//     [Host.LMTP]: the protocol.
//   - [Host.Auth], [Host.MaxSize], [Host.Limit]: accounts and announced limits.
//   - [Host.SetAddrs], [Host.IPv6], [Host.Link]: addresses, latency and bandwidth.
//
// These set faults, until [Host.Heal]:
//
//   - At a stage, from the greeting to the final dot: [Host.Answer], [Host.AnswerRaw], [Host.AnswerEarly],
//     [Host.CloseAt], [Host.ResetAt], [Host.StallAt], [Host.BabbleAt], [Host.Slow].
//   - For recipients: [Host.Reject], [Host.RejectFinal], [Host.Defer], [Host.Greylist].
//   - Above a number: [Host.MaxSessions], [Host.MaxMessages], [Host.MaxRecipients], [Host.RateLimit],
//     [Host.Quota].
//   - Against the protocol: [Host.Refuse], [Host.DropPipelined], [Host.DataAnyway], [Host.FailTLS].
//   - As a whole: [Host.Down], [Host.Hang].
//   - After a number of messages: [Host.AfterMessages] calls a func, which sets any of these.
//
// # DNS
//
// A [Network] has MX, address, TXT, TLSA and CNAME records, with the lookup methods of *[net.Resolver]. The name of an
// address is that of its [Host]: see [Network.LookupAddr]. [Network.FailDNS] makes lookups of other records fail.
// [Network.Sign] signs a zone. The Network is an mx.SecureResolver: [Network.Authentic] and the dns.Proof of a lookup
// report which answers DNSSEC secures.
//
// # Files
//
//   - network.go: [Network], [Network.Go], [Network.Host]. dns.go, records.go: the DNS. dial.go, listen.go:
//     [Network.DialContext] and [Network.Listen]. cert.go: certificates.
//   - host.go: [Host], [Message], and the lasting properties of a host. wait.go: Wait, and the counts of messages and
//     sessions.
//   - stage.go: faults at a stage. script.go: Reject, Defer, Greylist, Heal. limit.go: limits. habit.go: Refuse,
//     AfterMessages and other habits. chunk.go: BDAT. tlsfault.go: STARTTLS and its faults. link.go: latency and
//     bandwidth.
//   - session.go: one SMTP session. command.go, auth.go, data.go: its commands. act.go: how it carries out faults.
//   - conn.go, pipe.go: connections in memory.
//   - transcript.go: transcripts. hint.go, stall.go: hints. bubble.go: inside or outside a bubble.
//
// # Bounds
//
//   - [Host.Wait], [Host.WaitSessions] and [Host.WaitConnections] fail the test after [Network.WaitLimit]: 30 days in a
//     bubble, 30 seconds outside.
//   - A connection buffers 256 KiB in each direction. Then writes block, as over TCP.
//   - A message has at most 64 MiB ([Host.MaxSize]) and 1000 recipients ([Host.MaxRecipients]). A command line has at
//     most 4096 octets.
//   - A host closes a session when the client is silent for 5 minutes.
//   - A transcript keeps the last 1000 lines of a host, each cut at 512 octets.
//   - Messages are kept in memory until the test ends.
//
// # Guarantees
//
//   - When the cleanup of the test is over, every goroutine that the Network started has ended, and so have the funcs
//     of [Network.Go]. Connections are reset and listeners closed.
//   - A host keeps a message if and only if it received the whole content, up to the final dot, and nothing refused it.
//     The client may not have received the reply: see [Host.CloseAt] and [Host.StallAt].
//   - All methods may be called from several goroutines, except those that wait or that fail the test for a mistake in
//     their arguments: like t.Fatal, they belong in the test's own goroutine.
//   - No behaviour is random. Concurrent sessions run in any order.
//
// # Clients and servers
//
// Any client: [Network.DialContext] returns a [net.Conn] that behaves as a *[net.TCPConn] does. Any server: it serves
// the [net.Listener] that [Network.Listen] returns. Any [testing.TB]: a test, a benchmark, a fuzz target.
package smtptest
