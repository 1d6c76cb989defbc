// Package smtptest is an internet in memory for tests of code that sends or takes mail: a DNS, hosts
// that take mail and misbehave when told to, and connections between them. It opens no socket and asks no
// real name server, so that inside testing/synctest days of retries pass in milliseconds. It works
// outside a bubble too.
//
//	synctest.Test(t, func(t *testing.T) {
//		inet := smtptest.NewNetwork(t)
//		host := inet.MX("example.net", "mx.example.net")
//		host.Greylist(10 * time.Minute)
//
//		relay := &postrider.Relay{Hostname: "mx1.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext}
//		inet.Go(relay.Run) // until the test ends, which waits for it
//		signup(relay, "ann@example.net")
//
//		mail := host.Wait(1)[0] // no sleep: until the message has come
//		if got := mail.Envelope.Recipients[0].Address; got != "ann@example.net" {
//			t.Errorf("got %q, want ann@example.net", got)
//		}
//	})
//
// An outage of two days:
//
//	host.Down()
//	signup(relay, "ann@example.net")
//	time.Sleep(48 * time.Hour) // virtual
//	host.Up()
//	host.Wait(1)
//
// A mailbox that doesn't exist, and a host that loses the connection where it hurts most:
//
//	host.Reject("bob@example.net", smtp.NewReply(550, "5.1.1", "no such user")) // nil says the same
//	host.CloseAt(smtp.StageFinal) // it has the message, and the client doesn't know
//	host.Heal()                   // all is well again
//
// A relay that is a host itself, with TLS that the other hosts can verify:
//
//	l, err := inet.Listen("mx1.test:25")
//	relay.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("mx1.test")}}
//	pool := inet.RootCAs() // for the clients
//
// # Hosts
//
// A [Host] speaks SMTP (RFC 5321) on ports 25 and 587, and on 465 with TLS from the first octet (RFC 8314). It offers
// PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461),
// ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207) and, once it has an account, AUTH PLAIN (RFC 4954). When asked
// to, it speaks CHUNKING and BINARYMIME (RFC 3030: [Host.Chunking], [Host.BinaryMIME]), and announces limits and holds
// clients to them (RFC 9422: [Host.Limit]). It is strict, as the far end of a test should be: a parameter of an extension
// that it doesn't offer is refused, and so are commands that come ahead of a reply without PIPELINING, content with
// octets above 127 where it has no 8BITMIME, and a bare CR or LF anywhere but in BINARYMIME. It shares no code with package
// server.
//
// # What goes wrong
//
// On a host, until [Host.Heal]:
//
//   - At a stage of the session, from the greeting to the final dot: [Host.Answer], [Host.AnswerRaw],
//     [Host.AnswerEarly], [Host.CloseAt], [Host.ResetAt], [Host.StallAt], [Host.BabbleAt], [Host.Slow].
//   - For recipients: [Host.Reject], [Host.RejectFinal], [Host.Defer], [Host.Greylist].
//   - Above a number: [Host.MaxSessions], [Host.MaxMessages], [Host.MaxRecipients], [Host.RateLimit].
//   - Against the rules: [Host.Refuse], [Host.DropPipelined], [Host.DataAnyway], [Host.FailTLS].
//   - As a whole: [Host.Down], [Host.Hang].
//   - In the middle: [Host.AfterMessages] does any of these after so many messages.
//
// What a host is lasts: [Host.Offer], [Host.Without], [Host.MaxSize], [Host.Chunking], [Host.BinaryMIME], [Host.Limit],
// [Host.LMTP], [Host.Auth], and [Host.Link] for the way to it. In the DNS there is [Network.FailDNS].
//
// # DNS
//
// A [Network] is an mx.Resolver: it has the methods of *[net.Resolver] for MX,
// addresses and TXT, and one for TLSA. It follows CNAMEs ([Network.CNAME]) in all of them. [Network.LookupTLSA] and
// [Network.Authentic] tell what DNSSEC vouches for, which is where [Network.Sign] signed.
//
// # Waiting
//
// [Host.Wait], [Host.WaitSessions] and [Host.WaitConnections] wait until something is so, and fail the test when it
// doesn't come to be. [Host.Sessions], [Host.MostSessions] and [Host.Connections] count.
//
// # Failures
//
// When the test fails, the transcript of each host is printed at its end. Credentials and content aren't in it.
//
// Make the Network inside the bubble, with the t that synctest.Test gives, and don't use it outside.
// Everything that it started has ended when the test's cleanup is over.
package smtptest
