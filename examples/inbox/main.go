// Inbox is a server that prints the mail that it receives: the envelope and the message on standard output, a log on
// standard error.
//
//	go run ./examples/inbox -user ann@example.net -user bob@example.com
//
// It is the example of an inbound service, which processes mail itself and has no queue: a Handler for package server.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Inbox is a server.Handler.
type Inbox struct {
	Out   io.Writer
	Users map[string]bool // addresses that exist, in lower case; if empty, every address exists

	mu sync.Mutex // for Out: messages come concurrently
}

// CheckRcpt refuses an unknown user at RCPT, before the message is sent.
func (in *Inbox) CheckRcpt(_ context.Context, _ *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
	address := strings.ToLower(rcpt.Address)
	local, _ := smtp.SplitAddress(address)
	if len(in.Users) > 0 && !in.Users[address] && local != "postmaster" { // RFC 5321 §4.5.1: it always exists
		return smtp.NewReply(550, "5.1.1", "no such user")
	}
	return nil
}

// Handle prints a message. The client gets 250 after Handle has returned nil, and 451 after any error.
func (in *Inbox) Handle(_ context.Context, _ *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	message, err := io.ReadAll(body) // at most Server.MaxSize
	if err != nil {
		return nil, err // the connection was lost, or the message is invalid
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
	return srv.Serve(ctx, l)
}
