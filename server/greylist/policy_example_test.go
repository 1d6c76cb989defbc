package greylist_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/greylist"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// inbox accepts all mail.
type inbox struct{}

func (inbox) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	return nil, err
}

// How do I greylist? Strangers are deferred once: a mail server comes again, and from then on its network needn't wait.
func ExamplePolicy() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		policy := &greylist.Policy{} // Store: greylist.Open("/var/lib/app/greylist"), to last over restarts
		srv := &server.Server{
			Hostname: "mx1.example.com", Handler: inbox{}, // or Server of a Relay
			Checks: []server.Check{policy.Check()},
		}
		listener, err := inet.Listen("mx1.example.com:25")
		if err != nil {
			log.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, listener) })

		inet.MX("example.com", "mx1.example.com")
		stranger := &client.Transport{Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext}
		defer stranger.Close()
		for _, to := range []string{"ann@example.com", "ann@example.com", "bob@example.com"} {
			env := smtp.NewEnvelope("eve@example.org", to)
			results, _ := stranger.Send(context.Background(), env, smtp.Text("Subject: Hi\n\nHi!\n"))
			fmt.Println(to, results[0].Outcome, results[0].Reason)
			time.Sleep(10 * time.Minute) // a server's queue
		}
	})
	// Output:
	// ann@example.com deferred greylisted
	// ann@example.com delivered none
	// bob@example.com delivered none
}
