package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestSuppression sends 1,000 mails to 50 domains, whose host is a Postfix. A fifth of the addresses is dead: one half of
// these is refused at RCPT. The other half Postfix passes on to a host that refuses it, and returns the mail. The list has
// exactly the dead ones, and a forged bounce adds nobody.
func TestSuppression(t *testing.T) {
	const domains = 50
	mails := 1000
	if testing.Short() {
		mails = 200
	}
	inet := smtptest.NewNetwork(t)
	inner := inet.Host("inner.test")
	mailboxes := []string{"postfix.test"}
	for i := range domains {
		domain := fmt.Sprintf("d%d.test", i)
		mailboxes = append(mailboxes, domain)
		inet.MX(domain, "mx."+domain)
	}
	var recipients, dead, alive []string
	for i := range mails {
		name := "user"
		switch i % 10 {
		case 0:
			name = "nobody" // Postfix doesn't know it
		case 5:
			name = "later"
		}
		to := fmt.Sprintf("%s%d@d%d.test", name, i, (i/10)%domains)
		recipients = append(recipients, to)
		switch name {
		case "later":
			inner.Reject(to, smtp.NewReply(550, "5.1.1", "no such user"))
			fallthrough
		case "nobody":
			dead = append(dead, to)
		default:
			alive = append(alive, to)
		}
	}
	slices.Sort(dead)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	transports := filepath.Join(serverDir(t, "transports"), "transports")
	write(t, transports, "/^later/ smtp:[127.0.0.1]:"+bridge(t, inet, inner)+"\n/@bounces\\.test$/ smtp:[127.0.0.1]:"+port+"\n")
	host := postfixWith(t, "virtual_mailbox_domains = "+strings.Join(mailboxes, ", ")+"\ntransport_maps = regexp:"+transports+
		"\nsmtp_tls_security_level = none\nqueue_run_delay = 10s\nminimal_backoff_time = 10s\n")

	list, err := suppress.Open(filepath.Join(t.TempDir(), "suppressed"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := list.Close(); err != nil {
			t.Error(err)
		}
	})
	policy := &suppress.Policy{List: list}
	verp := &bounce.VERP{Domain: "bounces.test", Keys: [][]byte{[]byte("a key of 32 octets for the tests")}}
	var handled, refused atomic.Int32
	handler := &bounce.Handler{VERP: verp,
		Handle: func(ctx context.Context, e bounce.Event) error {
			handled.Add(1)
			return policy.Handle(ctx, e)
		},
		Refused: func(context.Context, string, error) { refused.Add(1) },
	}
	relay := &postrider.Relay{
		Domains:  []string{"bounces.test"},
		Routes:   map[string]mx.Route{"bounces.test": mx.Func("bounces", handler.Send)},
		Resolver: inet, Wrap: verp.Wrap, Suppress: policy,
		Runner: &delivery.Runner{Retry: []time.Duration{2 * time.Second}}, // on a machine under load, a session may fail
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return host.dial(ctx, network, address)
		},
		CheckRcpt: func(ctx context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
			return handler.CheckRcpt(ctx, rcpt.Address)
		},
	}
	serveRelay(t, relay, l)
	begin := time.Now()
	for _, to := range recipients {
		env := smtp.NewEnvelope("news@news.test", to)
		env.Recipients[0].Notify = smtp.NotifyNever // the results are learnt as they come
		if _, err := relay.Send(t.Context(), env, strings.NewReader(message(to, to))); err != nil {
			t.Fatal(err)
		}
	}
	suppressed := func() (all []string) {
		for _, e := range list.Entries() {
			all = append(all, e.Address)
		}
		slices.Sort(all)
		return all
	}
	if !within(8*time.Minute, func() bool { return len(suppressed()) >= len(dead) }) {
		t.Errorf("after 8 minutes, %d addresses are suppressed, want %d", len(suppressed()), len(dead))
	}
	if !within(5*time.Minute, func() bool { return len(host.mails(t)) >= len(alive) }) {
		t.Errorf("after 5 minutes more, %d mails are there, want %d", len(host.mails(t)), len(alive))
	}
	t.Logf("%d mails, and %d bounces of Postfix, took %v", mails, handled.Load(), time.Since(begin))
	if got := suppressed(); !slices.Equal(got, dead) {
		t.Errorf("got %d suppressed, want exactly the %d dead ones:\n%q", len(got), len(dead), got)
	}

	// Forged bounces: to addresses that were changed, and to a true one, about everybody else.
	far := &client.Submission{Addr: "127.0.0.1:" + port, TLS: mx.TLSNone}
	defer far.Close()
	mine, err := verp.Address(bounce.Sent{ID: "7", Recipient: dead[0]}) // as the host of this recipient knows it
	if err != nil {
		t.Fatal(err)
	}
	report := bounce.Report{ReportingMTA: "mx.d1.test", Envelope: smtp.NewEnvelope(mine), Original: smtp.Text("Subject: news\n\n")}
	for _, to := range alive {
		report.Recipients = append(report.Recipients, bounce.Recipient{Recipient: smtp.Recipient{Address: to}, Action: bounce.Failed,
			Result: smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "no such user")}})
	}
	env, content, err := report.Compose()
	if err != nil {
		t.Fatal(err)
	}
	before := handled.Load()
	if _, err := far.Send(t.Context(), env, content); err != nil {
		t.Errorf("a bounce to a true address: got %v", err)
	}
	for _, forged := range []string{
		"b+" + alive[0], "bounces@bounces.test", "b+" + mine[3:], strings.Replace(mine, "b+", "b+a", 1), "b+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounces.test",
		mine[:10] + "x" + mine[11:], mine[:10] + "y" + mine[11:],
	} {
		if forged == mine {
			continue
		}
		results, err := far.Send(t.Context(), smtp.NewEnvelope("", forged), content)
		reply, _ := errors.AsType[*smtp.Reply](err)
		if reply == nil || !reply.Permanent() || results[0].Outcome != smtp.Rejected {
			t.Errorf("a bounce to %s: got %+v and %v, want it refused", forged, results, err)
		}
	}
	eventually(t, "the bounce to a true address is read", func() bool { return handled.Load() > before })
	if got := suppressed(); !slices.Equal(got, dead) {
		t.Errorf("got %d suppressed after forged bounces, want the %d of before", len(got), len(dead))
	}
	if refused.Load() == 0 {
		t.Error("nothing was told of the forged addresses")
	}

	// The next issue: nobody who is dead.
	for _, to := range []string{dead[0], dead[len(dead)-1], alive[0]} {
		env := smtp.NewEnvelope("news@news.test", to)
		if _, err := relay.Send(t.Context(), env, strings.NewReader(message("second"+to, to))); (err == nil) != (to == alive[0]) {
			t.Errorf("the next mail to %s: got %v", to, err)
		}
	}
}
