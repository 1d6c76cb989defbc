package postrider_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/early"
	"github.com/postrider/postrider/server/greylist"
	"github.com/postrider/postrider/server/milter"
	"github.com/postrider/postrider/server/ratelimit"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/spf"
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
	later.Postpone(time.Now().Add(12 * time.Hour))
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

// The mail about an order is stored once, however often the program sends it: it may have crashed, or lost its database,
// before it could note that it had.
func ExampleRelay_Enqueue_once() {
	relay := &postrider.Relay{Hostname: "shop.example.com", Queue: mem.New()} // or spool.Open
	confirm := func(ctx context.Context, order int, to string) (queue.ID, error) {
		body := fmt.Sprintf("From: shop@example.com\nTo: %s\nSubject: Order %d\n\nThank you!\n", to, order)
		m, err := relay.Prepare(ctx, smtp.NewEnvelope("shop@example.com", to), strings.NewReader(body))
		if err != nil {
			return "", err
		}
		m.Key = fmt.Sprintf("order-%d-confirmation", order)
		return relay.Enqueue(ctx, m)
	}
	ctx := context.Background()
	fmt.Println(confirm(ctx, 17, "ann@example.net"))
	fmt.Println(confirm(ctx, 17, "ann@example.net")) // the ID of the first
	fmt.Println(confirm(ctx, 18, "ann@example.net"))
	_, err := confirm(ctx, 17, "bob@example.net")
	fmt.Println(errors.Is(err, queue.ErrKeyReused))
	// Output:
	// 1 <nil>
	// 1 <nil>
	// 2 <nil>
	// true
}

// What strangers send to port 25 passes several checks: those that need no message come first, and the one that costs
// most comes last. A submission server has limits for its users in place of them.
func Example_checks() {
	store, err := greylist.Open("/var/lib/app/greylist")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	resolver := &dns.Resolver{Servers: []string{"127.0.0.1"}} // a name server of our own: lists don't answer public ones
	begin := &early.Rules{}                                   // clients that talk before the greeting
	networks := &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 200}}
	list := &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.example.org"}}, Resolver: resolver}
	verifier := &authres.Verifier{Resolver: resolver, Policy: authres.Mark} // SPF, DKIM, DMARC
	grey := &greylist.Policy{
		Store: store,
		Skip: func(s *server.Session) bool { // with SPF pass: a retry may come from any host of the domain
			r := authres.Of(s)
			return r != nil && r.SPF.Code == spf.Pass
		},
	}
	rspamd := &milter.Filter{Name: "rspamd", Addr: "127.0.0.1:11332"}
	accounts := &ratelimit.Limiter{Account: ratelimit.Rate{Messages: 500, Recipients: 2000, Period: 24 * time.Hour}}

	relay := &postrider.Relay{
		Hostname: "mx1.example.com",
		Queue:    mem.New(), // or spool.Open
		Domains:  []string{"example.com"},
		Server: &server.Server{Checks: []server.Check{
			begin.Check(), networks.Check(), list.Check(), verifier.Check(), grey.Check(), rspamd.Check(),
		}},
		Submission: &server.Server{Checks: []server.Check{accounts.Check()}},
	}
	if err := relay.Check(context.Background()); err != nil { // mistakes in the settings of checks, too
		log.Fatal(err)
	}
}

// A check holds suspicious mail. The operator looks at it, and releases it or removes it.
func Example_held() {
	ctx := context.Background()
	q := mem.New() // or spool.Open
	suspect := server.Check{
		Name: "suspect",
		Content: func(_ context.Context, s *server.Session, m *server.Message) error {
			for _, f := range m.Header {
				if f.Is("Subject") && strings.Contains(f.Value, "invoice") {
					s.Hold("an invoice")
				}
			}
			return nil
		},
	}
	relay := &postrider.Relay{
		Hostname: "mx1.example.com",
		Queue:    q,
		Domains:  []string{"example.com"},
		Server:   &server.Server{Checks: []server.Check{suspect}},
	}
	_ = relay // relay.ListenAndServe(ctx, ":25")

	var ids []queue.ID // a message with several destinations has several tasks
	for task, err := range q.List(ctx, queue.Filter{State: queue.Held}) {
		if err != nil {
			log.Fatal(err)
		}
		ids = append(ids, task.ID)
	}
	for _, id := range slices.Compact(ids) {
		if err := queue.Export(ctx, q, id, os.Stdout); err != nil { // the message, to look at
			log.Fatal(err)
		}
		if err := q.Release(ctx, id); err != nil { // or q.Remove
			log.Fatal(err)
		}
	}
}
