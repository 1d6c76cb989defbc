package main

import (
	"context"
	"database/sql"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// inbox hands on the mail that it gets.
type inbox chan string

func (b inbox) Handle(_ context.Context, _ *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	text, err := io.ReadAll(body)
	if err == nil {
		b <- env.Recipients[0].Address + "\n" + string(text)
	}
	return nil, err
}

// TestOrder places an order twice with one key, one that is sold out, and one of an unknown item: only the first is
// stored and has a mail.
func TestOrder(t *testing.T) {
	s, err := pgtest.Start()
	pgtest.Need(t, err)
	t.Cleanup(s.Remove)
	db, err := sql.Open("pgx", s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mails := make(inbox, 10)
	host := &server.Server{Handler: mails}
	go host.Serve(t.Context(), l)
	t.Cleanup(func() { host.Close() })

	shop, err := Open(t.Context(), db, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shop.Queue.Close() })
	if _, err := db.Exec(`INSERT INTO stock VALUES ('tea', 1)`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if id, err := shop.Order(t.Context(), "a", "tea", "ann@example.net"); err != nil || id != 1 {
			t.Fatalf("the first order: got %d and %v, want 1", id, err)
		}
	}
	for _, item := range []string{"tea", "coffee"} {
		if _, err := shop.Order(t.Context(), "b", item, "bob@example.net"); err == nil {
			t.Errorf("an order of %s, which isn't there: got no error", item)
		}
	}
	var orders int
	if err := db.QueryRow(`SELECT count(*) FROM orders`).Scan(&orders); err != nil || orders != 1 {
		t.Errorf("got %d orders and %v, want 1", orders, err)
	}
	if stats, err := shop.Queue.Stats(t.Context()); err != nil || stats.Messages != 1 {
		t.Errorf("got %d mails in the queue and %v, want 1", stats.Messages, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- shop.Relay.Run(ctx) }()
	select {
	case got := <-mails:
		if !strings.HasPrefix(got, "ann@example.net\n") || !strings.Contains(got, "Subject: Your order 1\r\n") {
			t.Errorf("got %q, want the mail of the first order", got)
		}
	case <-time.After(time.Minute):
		t.Error("the mail isn't sent")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if stats, err := shop.Queue.Stats(t.Context()); err != nil || stats.Messages != 0 || len(mails) > 0 {
		t.Errorf("got %d mails in the queue, %d more sent, and %v, want none", stats.Messages, len(mails), err)
	}
}
