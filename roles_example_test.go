package postrider_test

import (
	"context"
	"crypto/tls"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Users send through port 587. Strangers bring mail for example.com to port 25, and bounces come there, too. All own mail
// is signed, and isn't sent to dead addresses. That of the program has signed reverse-paths; users get their bounces
// themselves.
func Example_roles() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serveRoles(ctx); err != nil {
		log.Fatal(err)
	}
}

func serveRoles(ctx context.Context) error {
	file, err := os.ReadFile("/etc/app/dkim.pem")
	if err != nil {
		return err
	}
	private, err := dkim.ParsePrivate(file)
	if err != nil {
		return err
	}
	secret, err := os.ReadFile("/etc/app/verp.key") // at least 16 octets
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair("/etc/app/tls.crt", "/etc/app/tls.key")
	if err != nil {
		return err
	}
	mailboxes, err := mx.LMTP("/run/dovecot/lmtp")
	if err != nil {
		return err
	}
	q, err := spool.Open("/var/spool/app")
	if err != nil {
		return err
	}
	defer q.Close()
	list, err := suppress.Open("/var/lib/app/suppressed")
	if err != nil {
		return err
	}
	defer list.Close()

	signer := &dkim.Signer{Keys: []dkim.Key{{Domain: "example.com", Selector: "2026a", Private: private}}}
	verp := &bounce.VERP{Domain: "bounces.example.com", Keys: [][]byte{secret}} // its MX is mx1.example.com
	policy := &suppress.Policy{List: list}
	bounces := &bounce.Handler{VERP: verp, Handle: policy.Handle}
	relay := &postrider.Relay{
		Hostname:  "mx1.example.com",
		Queue:     q,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Domains:   []string{"example.com", verp.Domain},
		Routes: map[string]mx.Route{
			"example.com": mailboxes,
			verp.Domain:   mx.Func("bounces", bounces.Send),
		},
		CheckRcpt: func(ctx context.Context, p *server.Peer, rcpt smtp.Recipient) error {
			if _, domain := smtp.SplitAddress(rcpt.Address); !strings.EqualFold(domain, verp.Domain) {
				return lookup(ctx, p, rcpt)
			}
			return bounces.CheckRcpt(ctx, rcpt.Address)
		},
		Submission: &server.Server{Authenticate: login},
		// The Message-ID and the Date are added first, and the signature is made last.
		Wrap:     func(next smtp.Sender) smtp.Sender { return client.AddMissing(verp.Wrap(signer.Wrap(next))) },
		Suppress: policy, // around Wrap
	}
	if err := relay.Check(ctx); err != nil { // the record of the key isn't in the DNS, for example
		return err
	}
	return relay.ListenAndServe(ctx, ":25", ":587", ":465")
}

// lookup and login ask the directory of the users.
func lookup(context.Context, *server.Peer, smtp.Recipient) error { return nil }

func login(context.Context, *server.Peer, string, string) error { return server.ErrAuthFailed }
