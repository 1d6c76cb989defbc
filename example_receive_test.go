package postrider_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// How do I accept the mail of my domain, and hand it to a mailbox server over LMTP? Unknown users are refused at RCPT.
// Nobody else can relay, except from the networks of Allow.
func Example_relay() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		dovecot := inet.Host("/run/dovecot/lmtp")
		dovecot.LMTP()
		mailboxes, err := mx.LMTP("/run/dovecot/lmtp")
		if err != nil {
			log.Fatal(err)
		}
		relay := &postrider.Relay{
			Hostname: "mx1.example.com",
			Queue:    mem.New(), // spool.Open in a program
			Domains:  []string{"example.com"},
			Routes:   map[string]mx.Route{"example.com": mailboxes},
			CheckRcpt: func(_ context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
				if rcpt.Address != "ann@example.com" {
					return smtp.NewReply(550, "5.1.1", "no such user")
				}
				return nil
			},
			Allow:    postrider.AllowNetworks(netip.MustParsePrefix("127.0.0.0/8")),
			Resolver: inet, DialContext: inet.DialContext,
		}
		listener, err := inet.Listen("mx1.example.com:25") // relay.ListenAndServe(ctx, ":25") in a program
		if err != nil {
			log.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return relay.Serve(ctx, listener) })

		inet.MX("example.com", "mx1.example.com")
		stranger := &client.Transport{Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext}
		defer stranger.Close()
		for _, to := range []string{"ann@example.com", "bob@example.com"} {
			env := smtp.NewEnvelope("eve@example.org", to)
			results, _ := stranger.Send(context.Background(), env, smtp.Text("Subject: Hi\n\nHi!\n"))
			fmt.Println(to, results[0].Outcome, results[0].Reason)
		}
		fmt.Println("in the mailbox of", dovecot.Wait(1)[0].Envelope.Recipients[0].Address)
	})
	// Output:
	// ann@example.com delivered none
	// bob@example.com rejected user-unknown
	// in the mailbox of ann@example.com
}

// How do my users, or other programs, send mail through the relay? At port 587, with a password. Strangers can't.
func Example_users() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		relay := &postrider.Relay{
			Hostname: "smtp.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{inet.Certificate("smtp.example.com")}},
			Authenticate: func(_ context.Context, _ *server.Peer, username, password string) error {
				if username != "ann" || password != "secret" {
					return server.ErrAuthFailed
				}
				return nil
			},
			SendAs: func(_ context.Context, p *server.Peer, address string) (bool, error) {
				return address == p.Username+"@example.com", nil
			},
		}
		listener, err := inet.Listen("smtp.example.com:587") // relay.ListenAndServe(ctx, ":587", ":465")
		if err != nil {
			log.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return relay.Serve(ctx, postrider.SubmissionListener(listener)) })

		ann := &client.Submission{
			Addr: "smtp.example.com:587", Auth: &client.Credentials{Username: "ann", Password: "secret"},
			Resolver: inet, DialContext: inet.DialContext, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
		}
		defer ann.Close()
		for _, from := range []string{"ann@example.com", "bob@example.com"} {
			message := smtp.Text("From: " + from + "\nSubject: Hi\n\nHi!\n")
			results, _ := ann.Send(context.Background(), smtp.NewEnvelope(from, "eve@example.net"), message)
			fmt.Println(from, results[0].Reply)
		}
		fmt.Println("delivered from", host.Wait(1)[0].Envelope.From)
	})
	// Output:
	// ann@example.com 250 2.0.0 queued as 1
	// bob@example.com 550 5.7.1 you may not send as bob@example.com
	// delivered from ann@example.com
}

// How do I get incoming mail into my program? A func is a route.
func Example_func() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		tickets := make(chan string)
		take := func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			mail, err := io.ReadAll(smtp.NewReader(c))
			_, text, _ := bytes.Cut(mail, []byte("\r\n\r\n"))
			tickets <- env.From + ": " + strings.TrimSpace(string(text))
			return nil, err // nil: delivered; a *smtp.Reply of 5xx: rejected; any other error: tried again
		}
		relay := &postrider.Relay{
			Hostname: "mx1.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Domains: []string{"help.example.com"},
			Routes:  map[string]mx.Route{"help.example.com": mx.Func("tickets", take)},
		}
		inet.Go(relay.Run)
		env := smtp.NewEnvelope("ann@example.net", "7@help.example.com") // the same for mail at port 25
		if _, err := relay.Send(context.Background(), env, strings.NewReader("Subject: Help\n\nIt is broken.\n")); err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-tickets)
	})
	// Output:
	// ann@example.net: It is broken.
}

// How do I have aliases and groups?
func Example_aliases() {
	ctx := context.Background()
	aliases := map[string][]string{
		"sales@example.com": {"ann@example.com", "bob@example.net"},
	}
	relay := &postrider.Relay{
		Hostname: "mx1.example.com",
		Queue:    mem.New(),
		Domains:  []string{"example.com"},
		Expand: func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
			return aliases[strings.ToLower(rcpt.Address)], nil // none for an ordinary address
		},
	}
	env := smtp.NewEnvelope("eve@example.org", "sales@example.com")
	m, err := relay.Prepare(ctx, env, strings.NewReader("Subject: Hi\n\nHi!\n")) // so does mail at port 25
	if err != nil {
		log.Fatal(err)
	}
	for _, rcpt := range m.Envelope.Recipients {
		fmt.Println(rcpt.Address)
	}
	// Output:
	// ann@example.com
	// bob@example.net
}

// How do I hold suspicious mail until a person has looked at it? A check holds it, and the operator releases it or
// removes it: here by code, on a page with package queueweb.
func Example_held() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.com", "mailbox.example.com")
		suspect := server.Check{
			Name: "suspect",
			Content: func(_ context.Context, s *server.Session, m *server.Message) error {
				for _, f := range m.Header {
					if f.Is("Subject") && strings.Contains(f.Value, "invoice") {
						s.Hold("an invoice")
					}
				}
				return nil
			},
		}
		q := mem.New() // or spool.Open
		relay := &postrider.Relay{
			Hostname: "mx1.example.com", Queue: q, Resolver: inet, DialContext: inet.DialContext,
			Domains: []string{"example.com"},
			Server:  &server.Server{Checks: []server.Check{suspect}},
		}
		listener, err := inet.Listen("mx1.example.com:25")
		if err != nil {
			log.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return relay.Serve(ctx, listener) })

		ctx := context.Background()
		to, _ := mx.Smarthost("mx1.example.com:25")
		stranger := &client.Transport{
			Router: &mx.Router{Resolver: inet, Routes: map[string]mx.Route{"*": to}}, DialContext: inet.DialContext,
		}
		defer stranger.Close()
		env := smtp.NewEnvelope("eve@example.org", "ann@example.com")
		if _, err := stranger.Send(ctx, env, smtp.Text("Subject: Your invoice\n\nPay!\n")); err != nil {
			log.Fatal(err)
		}
		for task, err := range q.List(ctx, queue.Filter{State: queue.Held}) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println("held:", task.Envelope.From, "to", task.Destination)
			if err := q.Release(ctx, task.ID); err != nil { // or q.Remove; queue.Export writes the mail, to look at
				log.Fatal(err)
			}
		}
		fmt.Println("delivered:", len(host.Wait(1)))
	})
	// Output:
	// held: eve@example.org to example.com
	// delivered: 1
}
