package drain_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/drain"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// How do I move all mail to another machine or store? Both Queues may be in use meanwhile.
func Example() {
	ctx := context.Background()
	from, to := mem.New(), mem.New() // spool.Open returns Queues that last
	for range 3 {
		_, err := from.Enqueue(ctx, queue.Message{
			Envelope:     smtp.NewEnvelope("ann@example.com", "bob@example.net"),
			Destinations: []string{"example.net"}, Body: strings.NewReader("Hello.\r\n"),
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "drain")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d := &drain.Drain{
		From: from, To: to, Name: "mx1", Journal: filepath.Join(dir, "journal"), Batch: 2,
		Progress: func(p drain.Progress) { fmt.Printf("%d moved, %d left\n", p.Moved, p.Left) },
	}
	if err := d.Run(ctx); err != nil {
		log.Fatal(err) // the next Run goes on
	}
	// Output:
	// 2 moved, 1 left
	// 3 moved, 0 left
	// 3 moved, 0 left
}
