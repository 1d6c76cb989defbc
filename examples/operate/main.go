// Operate is a relay with JSON endpoints for its operator (operator.go): they list and explain the queue, and call its
// operations. Each request needs the token.
//
//	OPERATE_TOKEN=secret go run ./examples/operate -route example.net=127.0.0.1:2526
//	curl -H 'Authorization: Bearer secret' 'http://127.0.0.1:8025/queue?domain=example.net'
//
// An operator reads addresses and can delete mail. So the endpoints listen on this machine only; put TLS in front of
// them before you open them to others.
package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/spool"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "operate:", err)
		os.Exit(1)
	}
}

func run() error {
	hostname, _ := os.Hostname()
	relay := &postrider.Relay{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Routes: make(map[string]mx.Route),
		Allow:  postrider.AllowNetworks(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")),
	}
	listen := flag.String("listen", "127.0.0.1:2525", "accept mail on this `address`")
	dir := flag.String("spool", "./spool", "keep the queue in this `directory`")
	panel := flag.String("http", "127.0.0.1:8025", "answer the operator on this `address`")
	flag.StringVar(&relay.Hostname, "hostname", hostname, "our `name` in the DNS")
	routes := "`domain=route`; a route is host:port, lmtp:host:port or lmtp:/socket; repeatable; * is for other domains"
	flag.Func("route", routes, func(s string) (err error) {
		domain, to, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want domain=route, such as example.net=mx.example.net:25")
		}
		relay.Routes[domain], err = mx.ParseRoute(to)
		return err
	})
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; -help lists the flags", flag.Arg(0))
	}
	token := os.Getenv("OPERATE_TOKEN")
	if token == "" {
		return errors.New("OPERATE_TOKEN is empty: set this variable to a secret that the operator sends")
	}

	q, err := (&spool.Options{Logger: relay.Logger}).Open(*dir)
	if err != nil {
		return err
	}
	defer q.Close()
	runner := new(delivery.Runner)
	relay.Queue, relay.Runner = q, runner
	if err := relay.Check(context.Background()); err != nil {
		return err
	}

	mail, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	l, err := net.Listen("tcp", *panel)
	if err != nil {
		mail.Close()
		return fmt.Errorf("-http: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	web := &http.Server{
		Handler:           &operator{relay: relay, runner: runner, queue: q, authorise: bearer(token)},
		BaseContext:       func(net.Listener) context.Context { return ctx }, // operations end with the relay
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      5 * time.Minute,
	}
	served := make(chan error, 1)
	go func() {
		served <- web.Serve(l)
		stop() // if one of the two ends, so does the other
	}()
	fmt.Println("mail on", mail.Addr(), "and the operator on", l.Addr())
	err = relay.Serve(ctx, mail)

	last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(err, web.Shutdown(last), web.Close())
	if webErr := <-served; !errors.Is(webErr, http.ErrServerClosed) {
		err = errors.Join(err, webErr)
	}
	return err
}

// bearer accepts requests with the token in their Authorization field (RFC 6750 §2.1).
func bearer(token string) func(*http.Request) error {
	return func(r *http.Request) error {
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1 {
			return errors.New("the token is missing or wrong")
		}
		return nil
	}
}
