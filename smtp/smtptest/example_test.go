package smtptest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// t stands for the *testing.T of a test: an example has none.
var t *testing.T

// TestExamples runs the examples. They print nothing and report failures to t.
func TestExamples(tt *testing.T) {
	for name, example := range map[string]func(){
		"signup":   Example_signup,
		"bounce":   Example_bounce,
		"greylist": ExampleHost_Greylist,
		"outage":   ExampleHost_Down,
		"sessions": ExampleHost_MaxSessions,
		"records":  ExampleNetwork_LookupTLSA,
	} {
		tt.Run(name, func(tt *testing.T) {
			t = tt
			example()
		})
	}
}

// signup is the code under test: it sends the welcome message of a shop.
func signup(relay *postrider.Relay, address string) error {
	message := "From: <shop@shop.test>\nTo: <" + address + ">\nSubject: Welcome\n\nHello!\n"
	env := smtp.NewEnvelope("shop@shop.test", address)
	_, err := relay.Send(context.Background(), env, strings.NewReader(message))
	return err
}

// How do I test that my program sends a mail? This signup sends one message, to the new customer. The relay logs to the
// test's output, which go test prints only if the test fails: a forgotten DialContext or a misspelled domain then explains
// itself.
func Example_signup() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		relay := &postrider.Relay{
			Hostname:    "shop.test",
			Queue:       mem.New(),
			Resolver:    inet,
			DialContext: inet.DialContext,
			Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		inet.Go(relay.Run)

		if err := signup(relay, "ann@example.net"); err != nil {
			t.Fatal(err)
		}
		mail := host.Wait(1)[0]
		if got := mail.Envelope.Recipients[0].Address; got != "ann@example.net" {
			t.Errorf("got %q, want ann@example.net", got)
		}
		if !bytes.Contains(mail.Data, []byte("\r\nSubject: Welcome\r\n")) {
			t.Errorf("no welcome in %q", mail.Data)
		}
	})
}

// A message to an unknown user is rejected: the code under test gets an event, and the sender gets a report.
func Example_bounce() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		ours := inet.MX("shop.test", "mx.shop.test")
		theirs := inet.MX("example.net", "mx.example.net")
		theirs.Reject("nobody@example.net", smtp.NewReply(550, "5.1.1", "no such user"))

		gone := make(chan string, 1) // addresses not to write to again
		relay := &postrider.Relay{
			Hostname:    "shop.test",
			Queue:       mem.New(),
			Resolver:    inet,
			DialContext: inet.DialContext,
			Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		relay.Events.Rejected = func(e delivery.Event) {
			if e.Result.Reason == smtp.UserUnknown { // any other rejection says nothing about the address
				gone <- e.Result.Recipient
			}
		}
		inet.Go(relay.Run)

		if err := signup(relay, "nobody@example.net"); err != nil {
			t.Fatal(err)
		}
		if got := <-gone; got != "nobody@example.net" {
			t.Errorf("got %q, want nobody@example.net", got)
		}
		report := ours.Wait(1)[0]
		if report.Envelope.From != "" || !bytes.Contains(report.Data, []byte("\r\nStatus: 5.1.1\r\n")) {
			t.Errorf("no report on 5.1.1 from <>:\n%s", report.Data)
		}
	})
}

// A host that greylists gets the message after its delay, and only once.
func ExampleHost_Greylist() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Greylist(10 * time.Minute)
		relay := &postrider.Relay{
			Hostname:    "shop.test",
			Queue:       mem.New(),
			Resolver:    inet,
			DialContext: inet.DialContext,
			Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		inet.Go(relay.Run)

		start := time.Now()
		if err := signup(relay, "ann@example.net"); err != nil {
			t.Fatal(err)
		}
		mail := host.Wait(1)[0]
		if wait := mail.Time.Sub(start); wait < 10*time.Minute || wait > time.Hour { // virtual
			t.Errorf("the mail came after %v, want 10m to 1h", wait)
		}
		time.Sleep(24 * time.Hour)
		if got := len(host.Messages()); got != 1 {
			t.Errorf("got %d messages, want 1", got)
		}
	})
}

// How do I test what happens in an outage? A host is down for two days and gets its message soon after it is up again.
func ExampleHost_Down() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		relay := &postrider.Relay{
			Hostname:    "shop.test",
			Queue:       mem.New(),
			Resolver:    inet,
			DialContext: inet.DialContext,
			Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		inet.Go(relay.Run)

		host.Down()
		if err := signup(relay, "ann@example.net"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour) // virtual: it takes no time
		host.Up()
		back := time.Now()
		host.Wait(1)
		if late := time.Since(back); late > 3*time.Hour {
			t.Errorf("the mail came %v after the outage, want 3h at most", late)
		}
	})
}

// A host allows two sessions at once and takes a minute for each message. All messages arrive.
func ExampleHost_MaxSessions() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.MaxSessions(2, smtp.NewReply(421, "4.7.0", "too many sessions"))
		host.Slow(time.Minute, smtp.StageFinal)
		relay := &postrider.Relay{
			Hostname:    "shop.test",
			Queue:       mem.New(),
			Resolver:    inet,
			DialContext: inet.DialContext,
			Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		inet.Go(relay.Run)

		for range 20 {
			if err := signup(relay, "ann@example.net"); err != nil {
				t.Fatal(err)
			}
		}
		host.Wait(20)
		host.WaitSessions(0)
		if got := host.MostSessions(); got > 2 {
			t.Errorf("got %d sessions at once, want 2 at most", got)
		}
	})
}

// The DNS of a host with DANE (RFC 7672): its zone is signed, and a TLSA record names its key.
func ExampleNetwork_LookupTLSA() {
	inet := smtptest.NewNetwork(t)
	inet.MX("example.net", "mx.example.net")
	inet.Sign("example.net")
	key := sha256.Sum256(inet.Certificate("mx.example.net").Leaf.RawSubjectPublicKeyInfo)
	inet.TLSA("_25._tcp.mx.example.net", dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: key[:]})

	records, proof, err := inet.LookupTLSA(context.Background(), "_25._tcp.mx.example.net.")
	if err != nil || !proof.Authentic || len(records) != 1 {
		t.Errorf("got %v, %+v, and %v", records, proof, err)
	}
	_, proof, err = inet.LookupTLSA(context.Background(), "_465._tcp.mx.example.net.")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound || !proof.Authentic {
		t.Errorf("got %v, %+v, want that there surely is none", err, proof)
	}
}
