package server_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// inbox takes mail for one domain and counts its octets.
type inbox struct{ domain string }

func (b inbox) CheckRcpt(ctx context.Context, p *server.Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	_, domain := smtp.SplitAddress(rcpt.Address)
	if d, err := smtp.ASCIIDomain(domain); err != nil || d != b.domain {
		return &smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Text: "no relaying"}
	}
	return nil
}

func (b inbox) Handle(ctx context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return nil, err // not whole, or not good: nothing was taken
	}
	fmt.Printf("%d octets from <%s>\n", n, env.From)
	return nil, nil
}

func ExampleServer() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	listener, err := net.Listen("tcp", "localhost:2525")
	if err != nil {
		log.Fatal(err)
	}
	srv := &server.Server{Hostname: "mx.example.com", Handler: inbox{"example.com"}}
	if err := srv.Serve(ctx, listener); err != nil { // until interrupted
		log.Fatal(err)
	}
}
