// Outbox is a shop that stores an order and its mail in one transaction of PostgreSQL: the mail is sent if and only if
// the order is there. With examples/inbox as the host that takes its mail:
//
//	go run ./examples/inbox
//	cd examples/outbox && go run . -dsn postgres://localhost/shop -smarthost 127.0.0.1:2526 -to ann@example.net
//
// It delivers the mail itself. Where another program does, open the Queue with NoDelivery, and don't run the Relay.
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/mail"
	"os"
	"os/signal"
	"strconv"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// Schema makes the tables of the shop.
const Schema = `
CREATE TABLE IF NOT EXISTS stock (item text PRIMARY KEY, pieces int NOT NULL CHECK (pieces >= 0));
CREATE TABLE IF NOT EXISTS orders (id bigserial PRIMARY KEY, key text NOT NULL UNIQUE, item text NOT NULL,
	customer text NOT NULL);`

// Shop takes orders.
type Shop struct {
	DB    *sql.DB
	Queue *pgqueue.Queue // in DB
	Relay *postrider.Relay
	From  string // author of its mail
}

// Order stores an order of one piece and the mail that confirms it.
//
// After an error, either both are stored or neither is: if the connection breaks during the commit, that may have
// succeeded. So the caller chooses a key for the order, and repeats Order with the same key. An order with a key that
// is known stores nothing, and Order returns the id of the first one.
func (s *Shop) Order(ctx context.Context, key, item, customer string) (id int64, err error) {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	err = tx.QueryRowContext(ctx, `INSERT INTO orders (key, item, customer) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO NOTHING RETURNING id`, key, item, customer).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) { // the order is stored already
		err = tx.QueryRowContext(ctx, `SELECT id FROM orders WHERE key = $1`, key).Scan(&id)
		return id, err
	}
	if err != nil {
		return 0, err
	}
	result, err := tx.ExecContext(ctx, `UPDATE stock SET pieces = pieces - 1 WHERE item = $1 AND pieces > 0`, item)
	if err != nil {
		return 0, err
	}
	if n, err := result.RowsAffected(); err != nil {
		return 0, err
	} else if n == 0 {
		return 0, fmt.Errorf("%s is sold out, or isn't an item of the shop", item)
	}
	if err := s.confirm(ctx, tx, id, item, customer); err != nil {
		return 0, err
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	// Refresh has the mail sent at once. Its error isn't one of the order, which is stored: the mail is sent later.
	_ = s.Queue.Refresh(ctx)
	return id, nil
}

// confirm stores the mail in the transaction.
func (s *Shop) confirm(ctx context.Context, tx *sql.Tx, id int64, item, customer string) error {
	env, content, err := (&compose.Message{
		From: mail.Address{Name: "Shop", Address: s.From}, To: []mail.Address{{Address: customer}},
		Subject: "Your order " + strconv.FormatInt(id, 10),
		Text:    "Thank you! You ordered " + item + ".\n",
	}).Compose()
	if err != nil {
		return err
	}
	m, err := s.Relay.Prepare(ctx, env, smtp.NewReader(content))
	if err != nil {
		return err
	}
	m.Ref = strconv.FormatInt(id, 10)
	_, err = s.Queue.EnqueueTx(ctx, tx, m)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "outbox:", err)
		os.Exit(1)
	}
}

func run() error {
	dsn := flag.String("dsn", "", "`address` of the database")
	smarthost := flag.String("smarthost", "127.0.0.1:2526", "`host:port` that takes the mail")
	to := flag.String("to", "", "`address` of the customer")
	flag.Parse()
	if *dsn == "" || *to == "" {
		return errors.New("-dsn and -to are needed")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	db, err := sql.Open("pgx", *dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	shop, err := Open(ctx, db, *smarthost)
	if err != nil {
		return err
	}
	defer shop.Queue.Close()
	if _, err := db.ExecContext(ctx, `INSERT INTO stock VALUES ('tea', 10) ON CONFLICT DO NOTHING`); err != nil {
		return err
	}
	id, err := shop.Order(ctx, rand.Text(), "tea", *to) // a web shop has the key in its form
	if err != nil {
		return err
	}
	fmt.Println("order", id, "is stored; its mail is on its way; end with Ctrl-C")
	return shop.Relay.Run(ctx)
}

// Open makes the tables and opens the shop. The mail goes to the smarthost.
func Open(ctx context.Context, db *sql.DB, smarthost string) (*Shop, error) {
	if err := pgqueue.Migrate(ctx, db, ""); err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, Schema); err != nil {
		return nil, err
	}
	route, err := mx.ParseRoute(smarthost)
	if err != nil {
		return nil, err
	}
	q, err := (&pgqueue.Options{Logger: slog.Default()}).Open(ctx, db)
	if err != nil {
		return nil, err
	}
	relay := &postrider.Relay{
		Hostname: "shop.example.com", Queue: q, Routes: map[string]mx.Route{"*": route}, Logger: slog.Default(),
	}
	return &Shop{DB: db, Queue: q, Relay: relay, From: "shop@example.com"}, nil
}
