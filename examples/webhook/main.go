// Webhook is a relay that tells an application what happens to its mail, by signed HTTP requests. The application sends
// by SMTP from this machine. A secret is in the environment:
//
//	export WEBHOOK_SECRET=$(go run ./examples/webhook -new-secret)
//	go run ./examples/webhook -receive 127.0.0.1:8080
//	go run ./examples/webhook -hostname mx1.example.com -url http://127.0.0.1:8080/ -private -route '*=127.0.0.1:2526'
//
// The first one that runs is a receiver that prints the events (receive.go). The second one is the relay. While the
// receiver is down, events wait in the spool. A post that failed is tried again after 5 minutes, and a program that
// calls Runner.Flush(ctx, "webhook:app") tries now. An event that nobody takes in 5 days is held: the log has it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/queue/webhook"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "webhook:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	hostname, _ := os.Hostname()
	endpoint := &webhook.Endpoint{Name: "app", Secrets: strings.Fields(os.Getenv("WEBHOOK_SECRET"))}
	hooks := &webhook.Hooks{Endpoints: []*webhook.Endpoint{endpoint}, Logger: log}
	relay := &postrider.Relay{
		Logger: log, Routes: make(map[string]mx.Route),
		Allow: postrider.AllowNetworks(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")),
	}
	fresh := flag.Bool("new-secret", false, "print a secret and end")
	receive := flag.String("receive", "", "print events that are posted to this `address`, and send nothing")
	listen := flag.String("listen", "127.0.0.1:2525", "accept mail on this `address`")
	dir := flag.String("spool", "./spool", "keep the queue in this `directory`")
	flag.StringVar(&relay.Hostname, "hostname", hostname, "our `name` in the DNS")
	flag.StringVar(&endpoint.URL, "url", "", "post events to this `URL`")
	flag.BoolVar(&hooks.AllowPrivate, "private", false, "allow a URL at a private address, and http")
	flag.Func("route", "`domain=route`; a route is host:port, lmtp:host:port or lmtp:/socket; * is for other domains",
		func(s string) (err error) {
			domain, to, ok := strings.Cut(s, "=")
			if !ok {
				return errors.New("want domain=route, such as example.net=mx.example.net:25")
			}
			relay.Routes[domain], err = mx.ParseRoute(to)
			return err
		})
	flag.Parse()
	switch {
	case *fresh:
		fmt.Println(webhook.NewSecret())
		return nil
	case *receive != "":
		fmt.Printf("listening on %s for events: run the relay with -url http://%[1]s/ -private\n", *receive)
		r := &receiver{keys: endpoint.Secrets, print: func(e *webhook.Event) { fmt.Println(describe(e)) }}
		return http.ListenAndServe(*receive, r)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if relay.Queue, err = spool.Open(*dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relay.Queue.(*spool.Spool).Close()) }()
	if err := connect(relay, hooks, relay.Queue); err != nil {
		return err
	}
	defer hooks.CloseIdle()
	fmt.Printf("listening on %s: send a message to it by SMTP, and its events are posted to %s\n", *listen,
		shown(endpoint.URL))
	return relay.ListenAndServe(ctx, *listen)
}

// shown returns a URL without its password.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

// connect has a relay post its events.
func connect(relay *postrider.Relay, hooks *webhook.Hooks, q queue.Queue) error {
	if err := hooks.Check(); err != nil {
		return err
	}
	if relay.Routes == nil {
		relay.Routes = make(map[string]mx.Route)
	}
	maps.Copy(relay.Routes, hooks.Routes())
	relay.Runner = &delivery.Runner{Outbox: hooks.Outbox}
	relay.DeadLetter = hooks.DeadLetter(q, nil)
	return nil
}
