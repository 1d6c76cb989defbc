// Shop is a small web shop that sends one mail for each order, with an invoice in PDF, and has a page on which the
// people of the shop see why the mail of an order isn't there yet. With examples/inbox as the host that takes its mail:
//
//	go run ./examples/inbox -user ann@example.net
//	go run ./examples/shop
//	curl -X PUT -d 'email=ann@example.net&item=Green tea&cents=1750' http://127.0.0.1:8080/orders/17
//	curl http://127.0.0.1:8080/admin/orders/17
//
// Repeat the third command, and no second mail is sent. Stop the inbox, put order 18, and the page of order 18 says
// what the mail waits for. In a real shop, a login is in front of /admin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/spool"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8080", "HTTP `address`")
	dir := flag.String("spool", "./shop-spool", "keep unsent mail in this `directory`")
	smarthost := flag.String("smarthost", "127.0.0.1:2526", "`host:port` that takes our mail")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; -help lists the flags", flag.Arg(0))
	}
	route, err := mx.Smarthost(*smarthost)
	if err != nil {
		return fmt.Errorf("-smarthost: %w", err)
	}
	q, err := spool.Open(*dir)
	if err != nil {
		return fmt.Errorf("-spool: %w", err)
	}
	defer q.Close()
	shop := NewShop(&postrider.Relay{
		Hostname: "shop.example.com",
		Queue:    q,
		Routes:   map[string]mx.Route{"*": route},
		Logger:   slog.Default(),
	}, q)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	web := &http.Server{Handler: shop.Handler(), BaseContext: func(net.Listener) context.Context { return ctx }}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	go web.Serve(l)
	err = shop.relay.Run(ctx) // until interrupted
	return errors.Join(err, web.Shutdown(context.Background()))
}
