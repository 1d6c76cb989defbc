package postrider_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
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

// How do I send a mail once, whatever crashes? With a Key, it is stored once, however often the program sends it: it may
// have crashed before it could note that it had.
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
