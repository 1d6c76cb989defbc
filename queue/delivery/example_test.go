package delivery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// A Runner without a Relay, with a Sender of its own.
func ExampleRunner() {
	q := mem.New()
	_, err := q.Enqueue(context.Background(), queue.Message{
		Envelope:     smtp.NewEnvelope("billing@example.com", "ann@example.net"),
		Destinations: []string{"example.net"}, // of each recipient
		Body:         strings.NewReader("Subject: Order 17\r\n\r\nThank you.\r\n"),
		Ref:          "order-17",
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, stop := context.WithCancel(context.Background())
	runner := &delivery.Runner{
		Queue: q,
		Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			job, _ := smtp.JobOf(ctx)
			fmt.Printf("attempt %d at %s: %d octets\n", job.Attempt, env.Recipients[0].Address, c.Size())
			return nil, nil // no results and no error: delivered
		}),
		Events: delivery.Events{Delivered: func(e delivery.Event) {
			fmt.Println(e.Task.Ref, "is delivered to", e.Result.Recipient)
			stop()
		}},
	}
	if err := runner.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// attempt 1 at ann@example.net: 33 octets
	// order-17 is delivered to ann@example.net
}

// Keep over a restart what was learned. A program saves the JSON in a file, when Run has returned and every few minutes.
func ExampleRunner_LearnedRates() {
	used := time.Date(2030, time.May, 1, 12, 0, 0, 0, time.UTC)
	before := &delivery.Runner{Learned: []delivery.LearnedRate{ // as if Run had learned it
		{Site: "mx.example.net", Of: "address", Name: "out1", PerHour: 855, Level: 900, Used: used},
	}}
	saved, err := json.Marshal(before.LearnedRates())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(saved))

	var learned []delivery.LearnedRate
	if err := json.Unmarshal(saved, &learned); err != nil {
		fmt.Println(err)
		return
	}
	after := &delivery.Runner{Learned: learned} // and a Queue and a Sender
	fmt.Println(len(after.LearnedRates()), "rate")
	// Output:
	// [{"site":"mx.example.net","of":"address","name":"out1","perHour":855,"level":900,"used":"2030-05-01T12:00:00Z"}]
	// 1 rate
}
