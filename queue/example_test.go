package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

func enqueue(q queue.Queue, from, to string) queue.ID {
	_, domain := smtp.SplitAddress(to)
	id, err := q.Enqueue(context.Background(), queue.Message{
		Envelope:     smtp.NewEnvelope(from, to),
		Destinations: []string{domain},
		Body:         strings.NewReader("Subject: hello\r\n\r\nHow are you?\r\n"),
	})
	if err != nil {
		panic(err)
	}
	return id
}

// How do I stop the mail of an account that was broken into? What waits is held, looked at, and removed.
func ExampleHolder() {
	ctx := context.Background()
	q := mem.New() // or a *spool.Spool
	enqueue(q, "ann@example.com", "bob@example.net")
	for i := range 3 {
		enqueue(q, "intruder@example.com", fmt.Sprintf("victim%d@example.org", i))
	}

	var ids []queue.ID
	for task, err := range q.List(ctx, queue.Filter{Sender: "intruder@example.com"}) {
		if err != nil {
			panic(err)
		}
		ids = append(ids, task.ID)
	}
	if err := q.Hold(ctx, ids...); err != nil {
		panic(err)
	}
	stats, _ := q.Stats(ctx)
	fmt.Println(stats.Waiting, "waiting,", stats.Held, "held")

	if err := q.Remove(ctx, ids); err != nil { // with reports, the senders would hear of it
		panic(err)
	}
	stats, _ = q.Stats(ctx)
	fmt.Println(stats.Waiting, "waiting,", stats.Held, "held")
	// Output:
	// 1 waiting, 3 held
	// 1 waiting, 0 held
}

func ExampleExport() {
	q := mem.New()
	id := enqueue(q, "ann@example.com", "bob@example.net")
	var file bytes.Buffer
	if err := queue.Export(context.Background(), q, id, &file); err != nil {
		panic(err)
	}
	fmt.Println(strings.ReplaceAll(file.String(), "\r\n", "\n"))
	// Output:
	// EHLO localhost
	// MAIL FROM:<ann@example.com> SIZE=32
	// RCPT TO:<bob@example.net>
	// DATA
	// Subject: hello
	//
	// How are you?
	// .
	// QUIT
}
