package server_test

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// inbox accepts mail for one domain and prints its size.
type inbox struct{ domain string }

func (b inbox) CheckRcpt(ctx context.Context, p *server.Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	_, domain := smtp.SplitAddress(rcpt.Address)
	if d, err := smtp.ASCIIDomain(domain); err != nil || d != b.domain {
		return smtp.NewReply(550, "5.7.1", "no relaying")
	}
	return nil
}

func (b inbox) Handle(ctx context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return nil, err // incomplete or invalid: refuse it
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

// A submission server, with implicit TLS: nobody sends mail before AUTH.
func ExampleServer_submission() {
	certificate, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", ":465")
	if err != nil {
		log.Fatal(err)
	}
	srv := &server.Server{
		Hostname: "smtp.example.com",
		Handler:  inbox{"example.com"},
		Authenticate: func(ctx context.Context, p *server.Peer, username, password string) error {
			if username != "ann" || subtle.ConstantTimeCompare([]byte(password), []byte("secret")) != 1 {
				return server.ErrAuthFailed
			}
			return nil
		},
		RequireAuth: true,
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	if err := srv.Serve(context.Background(), tls.NewListener(listener, config)); err != nil {
		log.Fatal(err)
	}
}
