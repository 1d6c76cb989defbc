package postrider_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/mx/mtasts"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// Why isn't a mail delivered? Explain says what each of its tasks waits for. Its last results say what the host said.
func ExampleRelay_Explain() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Defer(24*time.Hour, smtp.NewReply(452, "4.2.2", "the mailbox is full"))
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		}
		inet.Go(relay.Run)

		ctx, env := context.Background(), smtp.NewEnvelope("shop@example.com", "ann@example.net")
		id, err := relay.Send(ctx, env, strings.NewReader("Subject: Welcome\n\nHello!\n"))
		if err != nil {
			log.Fatal(err)
		}
		synctest.Wait() // until the first attempt is over
		waits, err := relay.Explain(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		for _, w := range waits {
			fmt.Println(w.Why)
			fmt.Println(w.Task.Last[0])
		}
	})
	// Output:
	// It was deferred: 452 4.2.2 the mailbox is full
	// ann@example.net deferred (mailbox-full): mx.example.net: rcpt: 452 4.2.2 the mailbox is full
}

// How do I send everything through another host for now, because a receiver has blocked our address? Mail that waits
// goes that way at once.
func ExampleRelay_Redirect() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Answer(smtp.StageGreeting, smtp.NewReply(554, "5.7.1", "192.0.2.1 is blocked"))
		other := inet.Host("relay.example.com")
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		}
		inet.Go(relay.Run)

		ctx, env := context.Background(), smtp.NewEnvelope("shop@example.com", "ann@example.net")
		if _, err := relay.Send(ctx, env, strings.NewReader("Subject: Welcome\n\nHello!\n")); err != nil {
			log.Fatal(err)
		}
		synctest.Wait()
		route, err := mx.Smarthost("relay.example.com:25")
		if err != nil {
			log.Fatal(err)
		}
		begin := time.Now()
		fmt.Println(relay.Redirect(ctx, "example.net", &route)) // nil in place of &route undoes it
		fmt.Println(len(other.Wait(1)), "mail after", time.Since(begin))
	})
	// Output:
	// <nil>
	// 1 mail after 0s
}

// How do I stop the mail for one domain, and go on later?
func ExampleRelay_Suspend() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		}
		inet.Go(relay.Run)

		ctx, begin := context.Background(), time.Now()
		if _, err := relay.Suspend(ctx, "example.net", begin.Add(3*time.Hour)); err != nil {
			log.Fatal(err)
		}
		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		if _, err := relay.Send(ctx, env, strings.NewReader("Subject: Welcome\n\nHello!\n")); err != nil {
			log.Fatal(err)
		}
		fmt.Println("delivered after", host.Wait(1)[0].Time.Sub(begin))
	})
	// Output:
	// delivered after 3h0m0s
}

// How do I send less to one receiver? A limit for a domain is one for its hosts, so for all domains that these serve.
func ExampleRelay_limits() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		inet.MX("example.org", "mx.example.net")
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Limits: map[string]delivery.SiteLimits{
				"example.net": {Concurrency: 2, Rate: delivery.Rate{Messages: 60, Per: time.Hour}},
			},
		}
		inet.Go(relay.Run)
		for i := range 10 {
			to := []string{"ann@example.net", "bob@example.org"}[i%2]
			env := smtp.NewEnvelope("shop@example.com", to)
			if _, err := relay.Send(context.Background(), env, strings.NewReader("Subject: News\n\nHello!\n")); err != nil {
				log.Fatal(err)
			}
		}
		mails := host.Wait(10)
		fmt.Println("10 mails in", mails[9].Time.Sub(mails[0].Time).Round(time.Minute))
		fmt.Println("two sessions at most:", host.MostSessions() <= 2)
	})
	// Output:
	// 10 mails in 9m0s
	// two sessions at most: true
}

// How do I demand TLS where a domain publishes that it has TLS, by DANE or MTA-STS? Here, somebody between us and the
// host has another certificate: the mail waits.
func Example_dane() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t) // in a program: &dns.Resolver{Servers: …, TrustAD: true}, of a validating name server
		inet.Sign("example.net")
		host := inet.MX("example.net", "mx.example.net")
		inet.TLSA("_25._tcp.mx.example.net", dns.TLSA{Usage: 3, Data: inet.Certificate("mx.example.net").Certificate[0]})
		host.FailTLS(smtptest.TLSUntrusted)

		events := make(chan string)
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Transport: &client.Transport{Policies: []mx.Policy{
				dane.Policy{}, // first
				&mtasts.Client{Resolver: inet},
			}},
			Events: delivery.Events{
				Deferred:  func(e delivery.Event) { events <- fmt.Sprint("deferred: ", e.Result.Reason) },
				Delivered: func(e delivery.Event) { events <- fmt.Sprint("delivered: ", e.Result.Security.Reached) },
			},
		}
		inet.Go(relay.Run)
		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		if _, err := relay.Send(context.Background(), env, strings.NewReader("Subject: Welcome\n\nHello!\n")); err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-events)
		host.Heal()
		fmt.Println(<-events)
	})
	// Output:
	// deferred: tls
	// delivered: verified
}

// What is in the log? A line for each message and attempt, with keys that stay: to search for, and to count.
func Example_logs() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		keep := func(_ []string, a slog.Attr) slog.Attr { // for a short example
			switch a.Key {
			case slog.LevelKey, slog.MessageKey, "id", "ref", "to", "reply":
				return a
			}
			return slog.Attr{}
		}
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: keep})),
		}
		inet.Go(relay.Run)

		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		m, err := relay.Prepare(context.Background(), env, strings.NewReader("Subject: Welcome\n\nHello!\n"))
		if err != nil {
			log.Fatal(err)
		}
		m.Ref = "order-17"
		if _, err := relay.Enqueue(context.Background(), m); err != nil {
			log.Fatal(err)
		}
		host.Wait(1)
		synctest.Wait()
	})
	// Output:
	// level=INFO msg=mail id=1 ref=order-17
	// level=INFO msg=delivered to=ann@example.net reply="250 2.0.0 taken" id=1 ref=order-17
}

// How do I stop without losing mail? End the context: attempts under way may finish, the rest stays in the queue.
func Example_shutdown() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Slow(5*time.Second, smtp.StageFinal)
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Runner: &delivery.Runner{Grace: 30 * time.Second},
		}
		ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a program
		done := make(chan error)
		go func() { done <- relay.Run(ctx) }()

		env := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		if _, err := relay.Send(ctx, env, strings.NewReader("Subject: Welcome\n\nHello!\n")); err != nil {
			log.Fatal(err)
		}
		host.Wait(1) // and the host hasn't answered yet
		begin := time.Now()
		stop()
		fmt.Println(<-done, "after", time.Since(begin))
	})
	// Output:
	// <nil> after 5s
}
