package smtp_test

import (
	"context"
	"fmt"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// A wrapper sees each message of the queue on its way out. This one refuses reports on mail that it doesn't know, and
// prints the results of all others.
func ExampleSender() {
	next := smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
		return nil, nil // delivered
	})
	wrapped := smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		job, _ := smtp.JobOf(ctx)
		if env.From == "" && job.Origin == smtp.OriginStranger {
			return nil, smtp.NewReply(550, "5.7.1", "no reports from strangers")
		}
		results, err := next.Send(ctx, env, c)
		results, missing := smtp.Complete(env, results, err)
		for _, r := range results {
			fmt.Println(job.ID, r.Recipient, r.Outcome, missing)
		}
		return results, err
	})

	env := smtp.NewEnvelope("billing@example.com", "ann@example.net")
	ctx := smtp.WithJob(context.Background(), smtp.Job{ID: "17", Origin: smtp.OriginCode})
	wrapped.Send(ctx, env, smtp.Text("Subject: Invoice\n\nHello.\n"))
	// Output: 17 ann@example.net delivered 0
}

// Only a recipient that is Rejected as UserUnknown is a bad address. Other rejections are about the message, the sender
// or the host.
func ExampleResult() {
	results := []smtp.Result{
		{Recipient: "ann@example.net", Outcome: smtp.Rejected, Stage: smtp.StageRcpt,
			Reply: smtp.NewReply(550, "5.1.1", "no such user")},
		{Recipient: "bob@example.net", Outcome: smtp.Rejected, Stage: smtp.StageFinal,
			Reply: smtp.NewReply(554, "5.7.1", "looks like spam")},
	}
	for _, r := range results {
		if r.Outcome == smtp.Rejected && replies.ReasonOf(&r) == smtp.UserUnknown {
			fmt.Println("suppress", r.Recipient)
		}
	}
	// Output: suppress ann@example.net
}

// A mechanism of github.com/emersion/go-sasl is an AuthExchange as it is.
func ExampleAuthMechanism() {
	auth := smtp.AuthMechanism(func() smtp.AuthExchange { return sasl.NewPlainClient("", "ann", "secret") })
	sub := &client.Submission{Addr: "smtp.example.com:587", Auth: auth}
	defer sub.Close()

	exchange, _ := sub.Auth.Begin(context.Background(), smtp.AuthHost{Mechanisms: []string{"LOGIN", "PLAIN"}})
	mechanism, _, _ := exchange.Start()
	fmt.Println(mechanism)
	// Output: PLAIN
}
