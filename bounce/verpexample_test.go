package bounce_test

import (
	"context"
	"fmt"
	"log"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/smtp"
)

// The mail of a program that submits it by AUTH at the relay's port 587 gets signed reverse-paths, as mail from code
// does. That of people keeps its own: they get the bounces.
func ExampleVERP_applies() {
	verp := &bounce.VERP{
		Domain: "bounces.example.com",
		Keys:   [][]byte{[]byte("32 random octets from a secret...")},
		Applies: func(ctx context.Context, env *smtp.Envelope) bool {
			job, queued := smtp.JobOf(ctx)
			return !queued || job.Origin == smtp.OriginCode ||
				job.Origin == smtp.OriginAuthenticated && env.From == "shop@example.com"
		},
	}
	sender := verp.Wrap(smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		fmt.Println(verp.Signed(env.From))
		return nil, nil
	}))
	ctx := smtp.WithJob(context.Background(), smtp.Job{ID: "1k7", Origin: smtp.OriginAuthenticated})
	for _, from := range []string{"shop@example.com", "ann@example.com"} {
		if _, err := sender.Send(ctx, smtp.NewEnvelope(from, "bob@example.net"), smtp.Text("Hello")); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// true
	// false
}

// A signed reverse-path, and what it says.
func ExampleVERP() {
	verp := &bounce.VERP{Domain: "bounces.example.com", Keys: [][]byte{[]byte("32 random octets from a secret...")}}
	address, err := verp.Address(bounce.Sent{ID: "1k7", Tenant: "acme", Recipient: "ann@example.net"})
	if err != nil {
		log.Fatal(err)
	}
	sent, err := verp.Read(address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sent.ID, sent.Tenant, sent.Recipient)
	_, err = verp.Read("b+1k7-ann-example.net-aaaaaaaaaaaaaaaa@bounces.example.com")
	fmt.Println(err)
	// Output:
	// 1k7 acme ann@example.net
	// bounce: the address isn't signed by one of the keys
}
