// Inbox is a server that prints the mail that it receives: the envelope and the message on standard output, a log on
// standard error.
//
//	go run ./examples/inbox -user ann@example.net -user bob@example.com -http 127.0.0.1:8025
//
// With -http, it also keeps the last 1000 messages and shows them on a web page, which has switches for what the
// receiver does: refuse, greylist, count quotas, stall, take 7-bit mail only. Only this machine can open the page.
//
// It is an example of an inbound service, which processes mail itself and has no queue: a Handler for package server.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postrider/postrider/client/preflight"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/inbox"
	"github.com/postrider/postrider/smtp"
)

// Inbox is a server.Handler.
type Inbox struct {
	Out   io.Writer
	Users map[string]bool // addresses that exist, in lower case; if empty, every address exists

	Box *inbox.Inbox // of the page; nil without one

	mu sync.Mutex // for Out: messages come concurrently
}

// CheckRcpt refuses an unknown user at RCPT, before the message is sent.
func (in *Inbox) CheckRcpt(ctx context.Context, p *server.Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	address := strings.ToLower(rcpt.Address)
	local, _ := smtp.SplitAddress(address)
	if len(in.Users) > 0 && !in.Users[address] && local != "postmaster" { // RFC 5321 §4.5.1: it always exists
		return smtp.NewReply(550, "5.1.1", "no such user")
	}
	if in.Box != nil {
		return in.Box.CheckRcpt(ctx, p, env, rcpt)
	}
	return nil
}

// CheckConnect, CheckMail and SevenBit are what the page's switches need.
func (in *Inbox) CheckConnect(ctx context.Context, p *server.Peer) error {
	if in.Box != nil {
		return in.Box.CheckConnect(ctx, p)
	}
	return nil
}

func (in *Inbox) CheckMail(ctx context.Context, p *server.Peer, env *smtp.Envelope) error {
	if in.Box != nil {
		return in.Box.CheckMail(ctx, p, env)
	}
	return nil
}

func (in *Inbox) SevenBit(ctx context.Context, p *server.Peer) bool {
	return in.Box != nil && in.Box.SevenBit(ctx, p)
}

// Handle prints a message. The client gets 250 after Handle has returned nil, and 451 after any error.
func (in *Inbox) Handle(ctx context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	message, err := io.ReadAll(body) // at most Server.MaxSize
	if err != nil {
		return nil, err // the connection was lost, or the message is invalid
	}
	if in.Box != nil {
		if reply, err := in.Box.Handle(ctx, p, env, bytes.NewReader(message)); err != nil || reply != nil {
			return reply, err
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	fmt.Fprintf(in.Out, "==== from <%s>", env.From)
	for _, rcpt := range env.Recipients {
		fmt.Fprintf(in.Out, " to <%s>", rcpt.Address)
	}
	_, err = fmt.Fprintf(in.Out, "\n%s\n", bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n")))
	return nil, err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "inbox:", err)
		os.Exit(1)
	}
}

func run() error {
	in := &Inbox{Out: os.Stdout, Users: make(map[string]bool)}
	listen := flag.String("listen", "127.0.0.1:2526", "accept mail on this `address`")
	flag.Func("user", "an `address` that exists; repeatable; without one, every address exists", func(s string) error {
		in.Users[strings.ToLower(s)] = true
		return smtp.CheckAddress(s)
	})
	web := flag.String("http", "", "show the mail on a web page on this loopback `address`, such as 127.0.0.1:8025")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: -help lists the flags", flag.Arg(0))
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.Info("listening", "address", l.Addr())
	srv := &server.Server{Handler: in, MaxSize: 10 << 20, Logger: log}
	if *web == "" {
		return srv.Serve(ctx, l)
	}
	checker := new(preflight.Checker)
	preflight := func(_ context.Context, env *smtp.Envelope, c smtp.Content) (found []string) {
		for _, f := range checker.Message(env, c) {
			found = append(found, f.String())
		}
		return found
	}
	in.Box = &inbox.Inbox{Logger: log, Preflight: preflight}
	page, err := net.Listen("tcp", *web)
	if err != nil {
		return fmt.Errorf("-http: %w", err)
	}
	s := &http.Server{
		Handler: in.Box, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 5 * time.Minute,
	}
	log.Info("the mail is on http://" + page.Addr().String() + "/")
	go s.Serve(page)
	defer s.Close()
	return srv.Serve(ctx, l)
}
