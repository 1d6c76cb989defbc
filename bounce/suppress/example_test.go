package suppress_test

import (
	"context"
	"log"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// A relay that learns dead addresses from results and bounces, and doesn't write to them again.
func Example() {
	list, err := suppress.Open("/var/lib/app/suppressed")
	if err != nil {
		log.Fatal(err)
	}
	defer list.Close()
	policy := &suppress.Policy{List: list}
	verp := &bounce.VERP{Domain: "bounces.example.com", Keys: [][]byte{[]byte("32 random octets from a secret...")}}
	handler := &bounce.Handler{VERP: verp, Handle: policy.Handle}
	relay := &postrider.Relay{
		Hostname: "mx1.example.com",
		Queue:    mem.New(),
		Domains:  []string{"bounces.example.com"},
		Routes:   map[string]mx.Route{"bounces.example.com": mx.Func("bounces", handler.Send)},
		CheckRcpt: func(ctx context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
			return handler.CheckRcpt(ctx, rcpt.Address)
		},
		Wrap:     verp.Wrap,
		Suppress: policy,
	}
	log.Fatal(relay.ListenAndServe(context.Background(), ":25"))
}

// An operator suppresses an address, and takes that back.
func ExampleList() {
	ctx := context.Background()
	var list suppress.List = new(suppress.Memory)
	k, err := suppress.KeyOf("", "ann@example.net")
	if err != nil {
		log.Fatal(err)
	}
	if err := list.Add(ctx, suppress.Entry{Key: k, Source: suppress.Manual, Time: time.Now(), Text: "by phone"}); err != nil {
		log.Fatal(err)
	}
	if err := list.Remove(ctx, k); err != nil {
		log.Fatal(err)
	}
}
