package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// How do I send many mails over one connection? Keep the Submission: it keeps its sessions.
func ExampleSubmission() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t) // in place of the internet
		provider := inet.Host("smtp.example.com")
		provider.Auth("news", "secret")

		sub := &client.Submission{
			Addr: "smtp.example.com:587", Auth: &client.Credentials{Username: "news", Password: "secret"},
			Resolver: inet, DialContext: inet.DialContext, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
		}
		defer sub.Close()
		for _, to := range []string{"ann@example.net", "bob@example.net", "eve@example.org"} {
			message := smtp.Text("From: news@example.com\nTo: " + to + "\nSubject: News\n\nHello!\n")
			if _, err := sub.Send(context.Background(), smtp.NewEnvelope("news@example.com", to), message); err != nil {
				fmt.Println(err)
			}
		}
		fmt.Println(len(provider.Messages()), "mails over", provider.Connections(), "connection")
	})
	// Output:
	// 3 mails over 1 connection
}

// Which recipients were refused, and is the address dead? There is one Result for each.
func ExampleSubmission_Send() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		provider := inet.Host("smtp.example.com")
		provider.Reject("bob@example.net", nil) // no such user
		provider.Reject("eve@example.org", smtp.NewReply(554, "5.7.1", "we don't want your mail"))

		sub := &client.Submission{
			Addr: "smtp.example.com:587", Resolver: inet, DialContext: inet.DialContext,
			TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
		}
		defer sub.Close()
		env := smtp.NewEnvelope("shop@example.com", "ann@example.net", "bob@example.net", "eve@example.org")
		results, _ := sub.Send(context.Background(), env, smtp.Text("Subject: News\n\nHello!\n")) // err: the first failure
		for _, r := range results {
			switch {
			case r.Outcome == smtp.Delivered:
				fmt.Println(r.Recipient, "has it")
			case r.Outcome == smtp.Rejected && r.Reason.Hard():
				fmt.Println(r.Recipient, "is dead:", r.Reply)
			default: // our content, our password, or a failure that passes
				fmt.Println(r.Recipient, "may be good:", r.Reply)
			}
		}
	})
	// Output:
	// ann@example.net has it
	// bob@example.net is dead: 550 5.1.1 no such user
	// eve@example.org may be good: 554 5.7.1 we don't want your mail
}

// What is wrong with my settings? Check goes as far as a mail would, at the start of the program. Here, the server has a
// certificate for another name.
func ExampleSubmission_Check() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.Host("smtp.example.com").FailTLS(smtptest.TLSWrongName)

		sub := &client.Submission{
			Addr: "smtp.example.com:587", Resolver: inet, DialContext: inet.DialContext,
			TLSConfig: &tls.Config{RootCAs: inet.RootCAs()}, // an authority of your own goes here
		}
		defer sub.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err := sub.Check(ctx)
		fmt.Println(strings.ReplaceAll(err.Error(), ": ", ":\n  "))
		_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
		fmt.Println("the certificate is at fault:", certificate)
	})
	// Output:
	// client:
	//   Submission.Addr "smtp.example.com:587" has a certificate for another name:
	//   use a name in the certificate, or set TLSConfig.ServerName:
	//   451 4.7.5 the TLS handshake failed:
	//   tls:
	//   failed to verify certificate:
	//   x509:
	//   certificate is valid for other.invalid, not smtp.example.com
	// the certificate is at fault: true
}

// How do I see the dialogue with the server? A Trace has the commands and replies, without passwords and content.
func ExampleTrace() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.Host("smtp.example.com")
		host.Auth("shop", "secret")

		sub := &client.Submission{
			Addr: "smtp.example.com:465", Hostname: "app.example.com",
			Auth:     &client.Credentials{Username: "shop", Password: "secret"},
			Resolver: inet, DialContext: inet.DialContext, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
			Trace: &client.Trace{
				Sent:     func(_ client.SessionInfo, line string) { fmt.Println("C:", line) },
				Received: func(_ client.SessionInfo, r *smtp.Reply) { fmt.Println("S:", r) },
			},
		}
		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		sub.Send(context.Background(), env, smtp.Text("Subject: Welcome\n\nHello!\n"))
		sub.Close()
	})
	// Output:
	// S: 220 smtp.example.com ESMTP
	// C: EHLO app.example.com
	// S: 250 smtp.example.com PIPELINING SIZE 67108864 8BITMIME SMTPUTF8 DSN ENHANCEDSTATUSCODES AUTH PLAIN
	// C: AUTH PLAIN ***
	// S: 235 2.7.0 welcome
	// C: MAIL FROM:<shop@example.com> SIZE=121
	// C: RCPT TO:<ann@example.net>
	// C: DATA
	// S: 250 2.1.0 ok
	// S: 250 2.1.5 ok
	// S: 354 end with <CRLF>.<CRLF>
	// S: 250 2.0.0 taken
	// C: QUIT
	// S: 221 2.0.0 bye
}

// How do I write to addresses with letters beyond ASCII? As they are. A domain is sent as an A-label; a local part needs
// a host with SMTPUTF8, and the mail is rejected without one.
func ExampleTransport_unicode() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("bücher.example", "mx.example.net")
		inet.MX("old.example", "mx.old.example").Without("SMTPUTF8")

		transport := &client.Transport{
			Hostname: "app.example.com", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext,
		}
		defer transport.Close()
		for _, to := range []string{"ann@bücher.example", "jürgen@bücher.example", "jürgen@old.example"} {
			env := smtp.NewEnvelope("shop@example.com", to)
			results, _ := transport.Send(context.Background(), env, smtp.Text("Subject: Hi\n\nGrüße!\n"))
			fmt.Println(to, results[0].Outcome, results[0].Reply)
		}
	})
	// Output:
	// ann@bücher.example delivered 250 2.0.0 taken
	// jürgen@bücher.example delivered 250 2.0.0 taken
	// jürgen@old.example rejected 553 5.6.7 the address is UTF-8, and the host takes ASCII only
}

// How do I send from several addresses? Each mail goes out from one of them, by weight. The same sender and recipient
// always have the same one, which hosts that greylist expect.
func ExampleTransport_sources() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		out1, out2 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
		transport := &client.Transport{
			Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext,
			Sources: []client.Source{
				{Addrs: []netip.Addr{out1}, Hostname: "out1.example.com", Weight: 3},
				{Addrs: []netip.Addr{out2}, Hostname: "out2.example.com"},
			},
		}
		defer transport.Close()
		host := inet.MX("example.net", "mx.example.net")
		for i := range 100 {
			env := smtp.NewEnvelope("shop@example.com", fmt.Sprintf("user%d@example.net", i))
			if _, err := transport.Send(context.Background(), env, smtp.Text("Subject: Hi\n\nHi!\n")); err != nil {
				fmt.Println(err)
			}
		}
		count := make(map[string]int)
		for _, m := range host.Messages() {
			count[m.Hello]++
		}
		fmt.Println(count)
	})
	// Output:
	// map[out1.example.com:71 out2.example.com:29]
}

// How do I warm up a new address? It sends more each day; the other one sends the rest.
func ExampleWarmUp() {
	start := time.Date(2030, time.May, 1, 0, 0, 0, 0, time.UTC)
	transport := &client.Transport{Sources: []client.Source{
		{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, Weight: 9},
		{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2")}, WarmUp: &client.WarmUp{
			Start:     start,
			Days:      client.Grow(50, 1.5, 1000),
			Providers: map[string][]int{"google": client.Grow(20, 1.3, 500)},
		}},
	}} // WarmCounts: a *warmup.File keeps the counts over a restart
	plan := transport.Sources[1].WarmUp.Days
	fmt.Println(plan, "in", len(plan), "days, then without a bound")
	// Output:
	// [50 75 112 168 253 379 569 854] in 8 days, then without a bound
}
