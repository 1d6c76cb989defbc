// Bounces is an application that learns which of its mails could not be delivered, even if it fails itself for a while.
//
// The reverse-path of each mail has the number of its order, as in order+17@bounces.shop.example, and mail for that
// domain is routed to a func of the application (shop.go). A report goes through the relay's queue to that func: the
// report is durable, and it is tried again while the func returns an error.
//
// To see a report, with examples/inbox as the host that doesn't know the recipient:
//
//	go run ./examples/inbox -user ann@example.net
//	go run ./examples/bounces -order 17 -to nobody@example.net
//
// It is then in ./shop-reports/17.eml. Not every message there means that the mail of the order failed: some hosts send
// automatic replies to that address, and anyone can write to it. A MAC of the number in the address would keep forged
// reports out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/spool"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bounces:", err)
		os.Exit(1)
	}
}

func run() error {
	order := flag.Int("order", 17, "`number` of the order to confirm")
	to := flag.String("to", "", "`address` to send the confirmation to; if empty, none is sent")
	smarthost := flag.String("smarthost", "127.0.0.1:2526", "`host:port` that takes our mail")
	listen := flag.String("listen", "127.0.0.1:2527", "accept the reports of other hosts on this `address`")
	queue := flag.String("spool", "./shop-spool", "keep the queue in this `directory`")
	dir := flag.String("reports", "./shop-reports", "store reports in this `directory`")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; -help lists the flags", flag.Arg(0))
	}
	if *order < 1 {
		return fmt.Errorf("-order is %d: want 1 or more", *order)
	}
	route, err := mx.Smarthost(*smarthost)
	if err != nil {
		return fmt.Errorf("-smarthost: %w", err)
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return fmt.Errorf("-reports: %w", err)
	}
	q, err := spool.Open(*queue)
	if err != nil {
		return fmt.Errorf("-spool: %w", err)
	}
	defer q.Close()
	shop := NewShop(&postrider.Relay{
		Hostname: "mail.shop.example",
		Queue:    q,
		Routes:   map[string]mx.Route{"*": route},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, func(_ context.Context, order int, report io.Reader) error {
		return writeFile(*dir, strconv.Itoa(order)+".eml", report)
	})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *to != "" {
		if err := shop.Confirm(ctx, *order, *to); err != nil {
			return fmt.Errorf("-to: %w", err)
		}
	}
	return shop.Relay.ListenAndServe(ctx, *listen)
}

// writeFile returns nil when the file is durable. In an application this is the commit of its database.
func writeFile(dir, name string, content io.Reader) error {
	f, err := os.CreateTemp(dir, name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it was renamed
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
