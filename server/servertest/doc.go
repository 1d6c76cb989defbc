// Package servertest is an internet in memory for tests of code that sends or takes mail: a DNS, hosts
// that take mail and misbehave when told to, and connections between them. It opens no socket and asks no
// real name server, so that inside testing/synctest days of retries pass in milliseconds. It works
// outside a bubble too.
//
//	synctest.Test(t, func(t *testing.T) {
//		inet := servertest.NewNetwork(t)
//		host := inet.MX("example.net", "mx.example.net")
//		host.Greylist(10 * time.Minute)
//
//		relay := &postrider.Relay{Hostname: "mx1.test", Queue: queue.NewMem(), Resolver: inet, DialContext: inet.DialContext}
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
//	host.Reject("bob@example.net", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Text: "no such user"})
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
// ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207) and, once it has an account, AUTH PLAIN (RFC 4954). It is strict,
// as the far end of a test should be: a parameter of an extension that it doesn't offer is refused, and so are commands
// that come ahead of a reply without PIPELINING, content with octets above 127 where it has no 8BITMIME, and a
// bare CR or LF anywhere. It shares no code with package server.
//
// # Failures
//
// When the test fails, the transcript of each host is printed at its end. Credentials and content aren't in it.
//
// Make the Network inside the bubble, with the t that synctest.Test gives, and don't use it outside.
// Everything that it started has ended when the test's cleanup is over.
package servertest
