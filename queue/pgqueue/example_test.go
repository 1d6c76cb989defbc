package pgqueue_test

import (
	"context"
	"database/sql"
	"strings"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// An order and its mail are stored in one transaction. examples/outbox is the whole program.
func ExampleQueue_EnqueueTx() {
	order := func(ctx context.Context, db *sql.DB, q *pgqueue.Queue) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, `INSERT INTO orders (item) VALUES ('tea')`); err != nil {
			return err
		}
		m := queue.Message{ // Relay.Prepare makes one of a mail
			Envelope:     smtp.NewEnvelope("shop@example.com", "ann@example.net"),
			Destinations: []string{"example.net"},
			Body:         strings.NewReader("Subject: Your order\r\n\r\nThank you!\r\n"),
		}
		if _, err := q.EnqueueTx(ctx, tx, m); err != nil {
			return err
		}
		return tx.Commit()
	}
	_ = order
}

// A program makes the schema at its start, and opens a Queue.
func ExampleOpen() {
	open := func(ctx context.Context, db *sql.DB) (*pgqueue.Queue, error) { // of the driver "pgx", for example
		if err := pgqueue.Migrate(ctx, db, pgqueue.DefaultSchema); err != nil {
			return nil, err
		}
		return pgqueue.Open(ctx, db)
	}
	_ = open
}

// A web server stores mail and doesn't deliver it. The Relay makes messages of mails. It isn't run here: other programs
// run theirs on the schema.
func ExampleOptions_noDelivery() {
	open := func(ctx context.Context, db *sql.DB) (*pgqueue.Queue, *postrider.Relay, error) {
		q, err := (&pgqueue.Options{NoDelivery: true}).Open(ctx, db)
		if err != nil {
			return nil, nil, err
		}
		return q, &postrider.Relay{Hostname: "web1.example.com", Queue: q}, nil
	}
	_ = open
}
