package postrider_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// How do I send one mail through my provider, with a password? Without a queue: a Submission makes one attempt.
func Example_submission() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t) // in place of the internet
		provider := inet.Host("smtp.example.com")
		provider.Auth("billing", "secret")

		sub := &client.Submission{
			Addr: "smtp.example.com:587", // with STARTTLS; port 465: TLS from the start
			Auth: &client.Credentials{Username: "billing", Password: "secret"},
			// A real program leaves out these three:
			Resolver: inet, DialContext: inet.DialContext, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
		}
		defer sub.Close()
		env := smtp.NewEnvelope("billing@example.com", "ann@example.net") // reverse-path, recipients
		message := "From: billing@example.com\nTo: ann@example.net\nSubject: Your invoice\n\nIt is 17 €.\n"
		results, err := sub.Send(context.Background(), env, smtp.Text(message))
		fmt.Println(results[0].Outcome, results[0].TLS, err)
		fmt.Println("as", provider.Messages()[0].Identity)
	})
	// Output:
	// delivered TLS 1.3 <nil>
	// as billing
}

// Put a mail into a relay's queue from code: when Send returns, the mail is durable. Run delivers it.
func ExampleRelay_Send() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		relay := &postrider.Relay{
			Hostname: "app.example.com",
			Queue:    mem.New(), // or spool.Open
			Resolver: inet, DialContext: inet.DialContext,
		}
		inet.Go(relay.Run) // in a program: go relay.Run(ctx)

		message := strings.NewReader("From: shop@example.com\nTo: ann@example.net\nSubject: Welcome\n\nHello!\n")
		id, err := relay.Send(context.Background(), smtp.NewEnvelope("shop@example.com", "ann@example.net"), message)
		fmt.Println(id, err)
		fmt.Println("delivered to", host.Wait(1)[0].Envelope.Recipients[0].Address)
	})
	// Output:
	// 1 <nil>
	// delivered to ann@example.net
}

// What happens if the other host is down? The mail waits in the queue and is tried again, for 5 days by default. The
// sender is told after 4 hours.
func Example_retries() {
	synctest.Test(t, func(t *testing.T) { // time is virtual: this takes no day
		inet := smtptest.NewNetwork(t)
		host, ours := inet.MX("example.net", "mx.example.net"), inet.MX("example.com", "mx.example.com")
		host.Down()
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		}
		relay.Runner = &delivery.Runner{Retry: []time.Duration{10 * time.Minute, time.Hour}} // the last wait repeats
		inet.Go(relay.Run)

		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		begin := time.Now()
		if _, err := relay.Send(context.Background(), env, strings.NewReader("Subject: Welcome\n\nHello!\n")); err != nil {
			log.Fatal(err)
		}
		notice := ours.Wait(1)[0]
		delayed := bytes.Contains(notice.Data, []byte("Action: delayed"))
		fmt.Println("after", time.Since(begin).Round(time.Hour), "a notice:", delayed)
		time.Sleep(20 * time.Hour)
		host.Up()
		host.Wait(1)
		fmt.Println("delivered within", time.Since(begin).Round(2*time.Hour))
	})
	// Output:
	// after 4h0m0s a notice: true
	// delivered within 24h0m0s
}

// How do I schedule a mail? This one goes out tomorrow.
func ExampleRelay_Enqueue() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		}
		inet.Go(relay.Run)

		ctx, begin := context.Background(), time.Now()
		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		m, err := relay.Prepare(ctx, env, strings.NewReader("From: shop@example.com\nSubject: News\n\nHello!\n"))
		if err != nil {
			log.Fatal(err)
		}
		m.Postpone(begin.Add(24 * time.Hour))
		fmt.Println(relay.Enqueue(ctx, m))
		fmt.Println("arrived after", host.Wait(1)[0].Time.Sub(begin))
	})
	// Output:
	// 1 <nil>
	// arrived after 24h0m0s
}

// How do I bound the retries of a mail? Nobody wants a login code after ten minutes.
func Example_deadline() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("example.net", "mx.example.net").Down()
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		}
		begin, done := time.Now(), make(chan bool)
		relay.NoReports = true // Expired is all that we want
		relay.Events.Expired = func(e delivery.Event) {
			fmt.Println(e.Task.Ref, "has failed after", e.Time.Sub(begin).Round(time.Minute))
			close(done)
		}
		inet.Go(relay.Run)

		ctx, env := context.Background(), smtp.NewEnvelope("shop@example.com", "ann@example.net")
		m, err := relay.Prepare(ctx, env, strings.NewReader("From: shop@example.com\nSubject: Your code\n\n314159\n"))
		if err != nil {
			log.Fatal(err)
		}
		m.Ref = "login-271"
		m.MakeTransactional(10 * time.Minute) // before other mail, too; a Deadline alone is a field of m
		if _, err := relay.Enqueue(ctx, m); err != nil {
			log.Fatal(err)
		}
		<-done
	})
	// Output:
	// login-271 has failed after 10m0s
}

// How do I learn what became of a mail? Give the mail a reference of your own; each event has it.
func Example_events() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("example.net", "mx.example.net").Reject("bob@example.net", nil) // no such user
		inet.MX("example.com", "mx.example.com")
		events := make(chan string)
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Events: delivery.Events{
				Delivered: func(e delivery.Event) { events <- fmt.Sprint(e.Task.Ref, ": ", e.Result) },
				Rejected:  func(e delivery.Event) { events <- fmt.Sprint(e.Task.Ref, ": ", e.Result) },
			},
			NoReports: true, // the events are enough
		}
		inet.Go(relay.Run)

		ctx := context.Background()
		for _, to := range []string{"ann@example.net", "bob@example.net"} {
			env := smtp.NewEnvelope("shop@example.com", to)
			m, err := relay.Prepare(ctx, env, strings.NewReader("Subject: Order\n\nHi!\n"))
			if err != nil {
				log.Fatal(err)
			}
			m.Ref = "order of " + to
			if _, err := relay.Enqueue(ctx, m); err != nil {
				log.Fatal(err)
			}
			fmt.Println(<-events)
		}
	})
	// Output:
	// order of ann@example.net: ann@example.net delivered: mx.example.net: final: 250 2.0.0 taken
	// order of bob@example.net: bob@example.net rejected (user-unknown): mx.example.net: rcpt: 550 5.1.1 no such user
}

// How do I send a mail that doesn't fit into memory? Send reads it from an io.Reader, the spool keeps it on the disk, and
// it is read again as it is sent.
func Example_large() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Chunking() // so that the host can refuse a large mail before its end
		dir, err := os.MkdirTemp("", "spool")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		q, err := spool.Open(dir)
		if err != nil {
			log.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		relay := &postrider.Relay{Hostname: "app.example.com", Queue: q, Resolver: inet, DialContext: inet.DialContext}
		done := make(chan error)
		go func() { done <- relay.Run(ctx) }()

		line := strings.NewReader(strings.Repeat("a line of a very long text\n", 400_000)) // in a program, a file or a pipe
		body := io.MultiReader(strings.NewReader("From: shop@example.com\nSubject: All\n\n"), line)
		if _, err := relay.Send(ctx, smtp.NewEnvelope("shop@example.com", "ann@example.net"), body); err != nil {
			log.Fatal(err)
		}
		mail := host.Wait(1)[0]
		fmt.Println(len(mail.Data)>>20, "MiB in", mail.Chunks, "chunks")
		stop()
		fmt.Println(<-done, q.Close())
	})
	// Output:
	// 10 MiB in 11 chunks
	// <nil> <nil>
}
