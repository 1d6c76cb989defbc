package bounce_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// Which of my mails does a bounce belong to? Each mail gets a signed reverse-path, which the bounce comes back to. A host
// accepts this mail, and returns it later.
func ExampleHandler() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		verp := &bounce.VERP{Domain: "bounces.example.com", Keys: [][]byte{[]byte("32 random octets from a secret...")}}
		done := make(chan bool)
		handler := &bounce.Handler{VERP: verp, Handle: func(_ context.Context, e bounce.Event) error {
			fmt.Println(e.Kind, "of", e.Sent.Ref, "to", e.Recipient+":", e.Status.Reason)
			close(done)
			return nil // after an error, the bounce is tried again later
		}}
		relay := &postrider.Relay{
			Hostname: "mx1.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Wrap:    verp.Wrap,
			Domains: []string{verp.Domain}, // its MX is mx1.example.com
			Routes:  map[string]mx.Route{verp.Domain: mx.Func("bounces", handler.Send)},
			CheckRcpt: func(ctx context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
				return handler.CheckRcpt(ctx, rcpt.Address) // nobody can make up an address
			},
		}
		inet.Go(relay.Run)

		ctx := context.Background()
		order := smtp.NewEnvelope("shop@example.com", "ann@example.net")
		m, err := relay.Prepare(ctx, order, strings.NewReader("Subject: Hi\n\nHi!\n"))
		if err != nil {
			log.Fatal(err)
		}
		m.Ref = "order-17"
		if _, err := relay.Enqueue(ctx, m); err != nil {
			log.Fatal(err)
		}
		mail := host.Wait(1)[0]
		sent := mail.Envelope
		fmt.Println("signed:", verp.Signed(sent.From))
		report := bounce.Report{ // as mx.example.net composes it
			ReportingMTA: "mx.example.net", Envelope: sent,
			Recipients: []bounce.Recipient{{Recipient: sent.Recipients[0], Action: bounce.Failed,
				Result: smtp.Result{Outcome: smtp.Rejected, Reply: smtp.NewReply(552, "5.2.2", "mailbox full")}}},
			Original: smtp.Text(mail.Data),
		}
		env, content, err := report.Compose()
		if err != nil {
			log.Fatal(err)
		}
		if _, err := relay.Send(ctx, env, smtp.NewReader(content)); err != nil {
			log.Fatal(err)
		}
		<-done
	})
	// Output:
	// signed: true
	// bounce of order-17 to ann@example.net: mailbox-full
}
