// Signup is a small web shop that sends a mail to each visitor who signs up: a program that embeds postrider, and the
// test that its author would write (signup_test.go). With examples/inbox as the host that takes its mail:
//
//	go run ./examples/inbox
//	go run ./examples/signup
//	curl -d email=ann@example.net http://127.0.0.1:8080/signup
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// Shop answers POST /signup.
type Shop struct {
	Name  string
	From  string // reverse-path and author of its mail: reports on failures go there
	Relay *postrider.Relay
}

func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address := r.PostFormValue("email")
	if err := s.Welcome(r.Context(), address); err != nil {
		// The address is bad, or the queue failed: nothing was stored, and the visitor can try again.
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "Welcome! A mail is on its way to %s.\n", address)
}

// Welcome puts the welcome mail into the queue. When it returns nil, the mail is on disk.
func (s *Shop) Welcome(ctx context.Context, address string) error {
	if !strings.Contains(address, "@") {
		return fmt.Errorf("%q is no mail address: it needs an @ and a domain", address)
	}
	now := time.Now()
	message := fmt.Sprintf(`From: %s <%s>
To: <%s>
Subject: %s
Date: %s
Message-ID: <signup.%d@%s>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Thank you for signing up at %s.
`, mime.QEncoding.Encode("utf-8", s.Name), s.From, address, mime.QEncoding.Encode("utf-8", "Welcome to "+s.Name),
		now.Format(time.RFC1123Z), now.UnixNano(), s.Relay.Hostname, s.Name)
	_, err := s.Relay.Send(ctx, smtp.NewEnvelope(s.From, address), strings.NewReader(message))
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "signup:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8080", "HTTP `address`")
	dir := flag.String("spool", "./signup-spool", "keep unsent mail in this `directory`")
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
	relay := &postrider.Relay{
		Hostname: "shop.example.com",
		Queue:    q,
		Routes:   map[string]mx.Route{"*": route},
		Logger:   slog.Default(),
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	http.Handle("POST /signup", &Shop{Name: "Shop", From: "shop@example.com", Relay: relay})
	web := &http.Server{BaseContext: func(net.Listener) context.Context { return ctx }}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	go web.Serve(l)
	err = relay.Run(ctx) // until interrupted
	return errors.Join(err, web.Shutdown(context.Background()))
}
