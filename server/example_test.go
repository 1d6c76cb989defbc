package server_test

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/early"
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
	if reason := server.SessionOf(ctx).Held(); reason != "" { // of a check
		fmt.Println("put aside:", reason)
	}
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
	if err := srv.Serve(context.Background(), server.NewTLSListener(listener, config)); err != nil {
		log.Fatal(err)
	}
}

// A submission server with SCRAM alone: no password crosses the wire, nor is one stored.
func ExampleServer_scram() {
	ann, err := server.NewSCRAMCredentials("secret", 0) // once, when Ann sets her password; then stored
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	if err != nil {
		log.Fatal(err)
	}
	users := map[string]*server.SCRAMCredentials{"ann": ann}
	srv := &server.Server{
		Hostname:    "smtp.example.com",
		Handler:     inbox{"example.com"},
		RequireAuth: true,
		StoredCredentials: func(_ context.Context, _ *server.Peer, username string) (*server.SCRAMCredentials, error) {
			if c, ok := users[username]; ok {
				return c, nil
			}
			return nil, server.ErrAuthFailed
		},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	listener, err := net.Listen("tcp", ":587")
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Serve(context.Background(), listener); err != nil {
		log.Fatal(err)
	}
}

// mailboxes is a Handler for LMTP: each recipient has a mailbox, and one of them may be full.
type mailboxes map[string]func(message []byte) error

func (m mailboxes) HandleLMTP(_ context.Context, _ *server.Peer, env *smtp.Envelope, body io.Reader) ([]*smtp.Reply, error) {
	message, err := io.ReadAll(body)
	if err != nil {
		return nil, err // incomplete or invalid: refused for all recipients
	}
	replies := make([]*smtp.Reply, len(env.Recipients))
	for i, rcpt := range env.Recipients {
		if err := m[rcpt.Address](message); err != nil {
			replies[i] = smtp.NewReply(452, "4.2.2", "the mailbox is full") // nil: delivered
		}
	}
	return replies, nil
}

// Handle is required, but isn't called over LMTP.
func (m mailboxes) Handle(context.Context, *server.Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
	return smtp.NewReply(554, "5.3.2", "this server speaks LMTP"), nil
}

func (m mailboxes) CheckRcpt(_ context.Context, _ *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
	if m[rcpt.Address] == nil {
		return smtp.NewReply(550, "5.1.1", "no such mailbox")
	}
	return nil
}

// A mailbox server that speaks LMTP at a Unix socket. For a relay that delivers to it, the route is mx.LMTP.
func ExampleLMTPHandler() {
	listener, err := net.Listen("unix", "/run/app/lmtp")
	if err != nil {
		log.Fatal(err)
	}
	srv := &server.Server{
		Hostname: "mail.example.com",
		LMTP:     true,
		Handler: mailboxes{
			"ann@example.com": func(message []byte) error { return os.WriteFile("ann.eml", message, 0o600) },
		},
	}
	if err := srv.Serve(context.Background(), listener); err != nil {
		log.Fatal(err)
	}
}

// A check of one's own, after two that only report what they find. It adds up their scores: mail above 1 is tagged,
// mail above 2 is held, and above 3 recipients are refused.
func ExampleCheck() {
	rules := &early.Rules{Action: server.Tell}
	list := &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.example.org", Weight: 2}}, Action: server.Tell}
	weigh := server.Check{
		Name: "weigh",
		Rcpt: func(_ context.Context, s *server.Session, _ smtp.Recipient) error {
			begin, _ := server.Value[early.Result](s)
			listed, _ := server.Value[dnsbl.Result](s)
			switch score := begin.Score + listed.Score; {
			case score > 3:
				return smtp.NewReply(550, "5.7.1", "we don't take mail from you")
			case score > 2:
				s.Hold(fmt.Sprintf("the score is %d", score))
			case score > 1:
				return s.Act(server.Tag, "", "X-Score", fmt.Sprint(score)) // one field, also for many recipients
			}
			return nil
		},
	}
	srv := &server.Server{
		Hostname: "mx.example.com",
		Handler:  inbox{"example.com"}, // its Handle looks at Held
		Checks:   []server.Check{rules.Check(), list.Check(), weigh},
	}
	if err := srv.Check(); err != nil {
		log.Fatal(err)
	}
}

// The field that a Handler puts on top of each message that it passes on.
func ExampleReceivedField() {
	p := &server.Peer{
		ID: "YFY7LOGAOWM2", Tx: 1, Hello: "mail.example.net", ESMTP: true,
		RemoteAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.25:1024")),
	}
	env := smtp.NewEnvelope("bob@example.net", "ann@example.com")
	at := time.Date(2026, 11, 29, 19, 35, 46, 0, time.UTC)

	field := server.ReceivedField("mx.example.com", p, env, "", at)
	body := io.MultiReader(strings.NewReader(field.String()), strings.NewReader("Subject: hello\r\n\r\nHello.\r\n"))
	message, _ := io.ReadAll(body)
	fmt.Print(strings.ReplaceAll(string(message), "\r\n", "\n"))
	// Output:
	// Received: from mail.example.net ([192.0.2.25])
	// 	by mx.example.com with ESMTP id YFY7LOGAOWM2-1
	// 	for <ann@example.com>;
	// 	Sun, 29 Nov 2026 19:35:46 +0000
	// Subject: hello
	//
	// Hello.
}
