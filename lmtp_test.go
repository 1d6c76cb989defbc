package postrider

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestLMTPRole: a relay takes mail by LMTP from another one, refuses an unknown recipient, and passes the mail on.
func TestLMTPRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("here.test", "mx.here.test")
		sender := inet.MX("source.test", "mx.source.test")
		back := newRelay(inet)
		back.Domains = []string{"here.test"}
		back.CheckRcpt = func(_ context.Context, p *server.Peer, rcpt smtp.Recipient) error {
			if !strings.HasPrefix(rcpt.Address, "bob@") {
				return smtp.NewReply(550, "5.1.1", "no such user")
			}
			return nil
		}
		l, err := inet.Listen("relay.test:24")
		if err != nil {
			t.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return back.Serve(ctx, LMTPListener(l)) })

		front := newRelay(inet)
		front.Hostname = "front.test"
		route, err := mx.LMTP("relay.test:24")
		if err != nil {
			t.Fatal(err)
		}
		front.Routes = map[string]mx.Route{"here.test": route}
		inet.Go(front.Run)
		mustSend(t, front, "ann@source.test", "bob@here.test", "eve@here.test")

		got := host.Wait(1)[0]
		if len(got.Envelope.Recipients) != 1 || !strings.Contains(string(got.Data), "with LMTP") {
			t.Errorf("got %v and\n%s\nwant bob's mail, by LMTP", got.Envelope.Recipients, got.Data)
		}
		if report := string(sender.Wait(1)[0].Data); !strings.Contains(report, "eve@here.test") || !strings.Contains(report, "5.1.1") {
			t.Errorf("got the report %s, want eve in it", report)
		}
	})
}

// TestNilListeners: a mark around nothing is an error, as nothing is.
func TestNilListeners(t *testing.T) {
	for _, l := range []net.Listener{nil, SubmissionListener(nil), LMTPListener(nil)} {
		r := newRelay(smtptest.NewNetwork(t))
		if err := r.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "listener 0 is nil") {
			t.Errorf("%T: got %v, want an error about listener 0", l, err)
		}
	}
}
