package delivery_test

import (
	"context"
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

// How do I give each customer a rate? By the Tenant of a message. What is beyond the rate waits, and delays nobody else.
func ExampleRunner_tenants() {
	synctest.Test(t, func(t *testing.T) { // in virtual time
		q, sent := mem.New(), make(chan string)
		runner := &delivery.Runner{
			Queue: q,
			Sender: smtp.SenderFunc(func(ctx context.Context, _ *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
				job, _ := smtp.JobOf(ctx)
				sent <- job.Tenant
				return nil, nil // delivered
			}),
			Tenant: delivery.Rate{Messages: 600, Per: time.Hour}, // one in six seconds
			TenantFor: func(tenant string) delivery.Rate {
				if tenant == "big" {
					return delivery.Rate{Messages: 10, Per: time.Second}
				}
				return delivery.Rate{} // as Tenant
			},
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- runner.Run(ctx) }()
		for _, tenant := range strings.Fields(strings.Repeat("small ", 100) + strings.Repeat("big ", 100)) {
			m := queue.Message{ // Relay.Prepare makes one of a mail
				Envelope: smtp.NewEnvelope("shop@example.com", "ann@example.net"), Destinations: []string{"example.net"},
				Body: strings.NewReader("Subject: Hi\r\n\r\nHi!\r\n"), Tenant: tenant,
			}
			if _, err := q.Enqueue(ctx, m); err != nil {
				fmt.Println(err)
			}
		}
		begin, last := time.Now(), make(map[string]time.Duration)
		for range 200 {
			last[<-sent] = time.Since(begin)
		}
		fmt.Println("100 of big in", last["big"].Round(time.Second))
		fmt.Println("100 of small in", last["small"].Round(time.Minute))
		stop()
		<-done
	})
	// Output:
	// 100 of big in 10s
	// 100 of small in 10m0s
}
