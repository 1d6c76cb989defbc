package postrider_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Send one transactional mail from code, without a queue.
func Example_submission() {
	message := "From: billing@example.com\nTo: ann@example.net\nSubject: Your invoice\n\nIt is attached.\n"

	env := smtp.NewEnvelope("billing@example.com", "ann@example.net") // reverse-path, recipients
	sub := &client.Submission{Addr: "smtp.example.com:587", Auth: &client.Credentials{Username: "billing", Password: "secret"}}
	defer sub.Close()
	results, err := sub.Send(context.Background(), env, smtp.Text(message)) // TLS is required
	if err != nil {
		fmt.Println(err) // the first failure; *smtp.Reply is in it
	}
	for _, result := range results {
		if result.Outcome == smtp.Rejected && result.Reason == smtp.UserUnknown { // not for our password or content
			fmt.Println("never write there again:", result.Recipient)
		}
	}
}

// Embed a relay with a durable queue. It accepts mail for the users of example.com from anyone and passes it to a
// mailbox server over LMTP. Programs on this machine may send to any address.
func Example_relay() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	q, err := spool.Open("/var/spool/app")
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	mailboxes, err := mx.LMTP("/run/dovecot/lmtp")
	if err != nil {
		log.Fatal(err)
	}
	relay := &postrider.Relay{
		Hostname: "mx1.example.com",
		Queue:    q,
		Domains:  []string{"example.com"},
		Routes:   map[string]mx.Route{"example.com": mailboxes},
		CheckRcpt: func(_ context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
			if rcpt.Address != "ann@example.com" {
				return smtp.NewReply(550, "5.1.1", "no such user") // refused at RCPT, not returned later
			}
			return nil
		},
		Allow: postrider.AllowNetworks(netip.MustParsePrefix("127.0.0.0/8")),
	}
	if err := relay.ListenAndServe(ctx, ":25"); err != nil {
		log.Print(err)
	}
}

// Put a mail into a relay's queue from code: when Send returns, the mail is durable.
func ExampleRelay_Send() {
	relay := &postrider.Relay{Hostname: "app.example.com", Queue: mem.New()} // or spool.Open
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }() // delivers

	message := strings.NewReader("From: shop@example.com\nTo: ann@example.net\nSubject: Welcome\n\nHello!\n")
	id, err := relay.Send(ctx, smtp.NewEnvelope("shop@example.com", "ann@example.net"), message)
	fmt.Println(id, err)

	cancel()
	<-done
}

// A mail that goes out tomorrow morning, and a code to log in with that nobody wants after ten minutes.
func ExampleRelay_Enqueue() {
	relay := &postrider.Relay{Hostname: "app.example.com", Queue: mem.New()}
	ctx := context.Background()
	env := smtp.NewEnvelope("shop@example.com", "ann@example.net")

	later, err := relay.Prepare(ctx, env, strings.NewReader("From: shop@example.com\nSubject: News\n\nHello!\n"))
	if err != nil {
		log.Fatal(err)
	}
	later.NotBefore = time.Now().Add(12 * time.Hour)
	fmt.Println(relay.Enqueue(ctx, later))

	code, err := relay.Prepare(ctx, env, strings.NewReader("From: shop@example.com\nSubject: Your code\n\n314159\n"))
	if err != nil {
		log.Fatal(err)
	}
	code.MakeTransactional(10 * time.Minute)
	fmt.Println(relay.Enqueue(ctx, code))
	// Output:
	// 1 <nil>
	// 2 <nil>
}
