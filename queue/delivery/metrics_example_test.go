package delivery_test

import (
	"context"
	"expvar"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// How do I count what happens? Events count outcomes, queue.Stats and Runner.Activity have the present state.
// examples/metrics has the same for Prometheus and OpenTelemetry.
func ExampleEvents() {
	synctest.Test(t, func(t *testing.T) {
		outcomes := new(expvar.Map) // expvar.NewMap("mail") in a program
		count := func(e delivery.Event) { outcomes.Add(e.Result.Outcome.String()+" "+e.Result.Reason.String(), 1) }
		q := mem.New()
		runner := &delivery.Runner{
			Queue: q,
			Sender: smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
				if env.Recipients[0].Address == "bob@example.net" {
					return nil, smtp.NewReply(452, "4.2.2", "mailbox full")
				}
				return nil, nil
			}),
			Events: delivery.Events{Delivered: count, Deferred: count, Rejected: count, Expired: count},
		}
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		for _, to := range []string{"ann@example.net", "bob@example.net"} {
			m := queue.Message{
				Envelope: smtp.NewEnvelope("shop@example.com", to), Destinations: []string{"example.net"},
				Body: strings.NewReader("Subject: Hi\r\n\r\nHi!\r\n"),
			}
			if _, err := q.Enqueue(ctx, m); err != nil {
				fmt.Println(err)
			}
		}
		if err := runner.Run(ctx); err != nil {
			fmt.Println(err)
		}
		stats, err := q.Stats(context.Background())
		fmt.Println(outcomes)
		fmt.Println(stats.Messages, "in the queue", err)
	})
	// Output:
	// {"deferred mailbox-full": 1, "delivered none": 1}
	// 1 in the queue <nil>
}
