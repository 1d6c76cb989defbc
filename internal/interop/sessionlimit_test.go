package interop

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// TestSessionLimit: hosts that end the use of a session after some mails. OpenSMTPD has 452 4.5.3 for the 101st MAIL, by
// its default; Exim has 421 and closes. All mails of one Submission and of a Relay are delivered at their first attempt.
func TestSessionLimit(t *testing.T) {
	for _, host := range []struct {
		name               string
		start              func(t *testing.T) *nextHost
		submitted, relayed int
		sessions           int32 // the Submission needs at least so many
	}{
		{"opensmtpd", opensmtpd, 300, 400, 3},
		{"exim", func(t *testing.T) *nextHost { return eximWith(t, "smtp_accept_max_per_connection = 10\n") }, 30, 60, 3},
	} {
		t.Run(host.name, func(t *testing.T) {
			l := &limited{nextHost: host.start(t)}
			l.submit(t, host.submitted)
			// A session more, or two, may be there where the limit is learnt by hitting it.
			if n := l.dials.Load(); n < host.sessions || n > host.sessions+2 {
				t.Errorf("got %d sessions for %d mails of a Submission, want %d or few more", n, host.submitted, host.sessions)
			}
			l.relay(t, host.relayed)
			want := host.submitted + host.relayed
			if n := grows(want, func() int { return len(l.mails(t)) }); n != want {
				t.Errorf("got %d mails in the box, want %d: one copy of each", n, want)
			}
		})
	}
}

// limited is a host that ends the use of a session after some mails.
type limited struct {
	*nextHost

	dials   atomic.Int32
	refused atomic.Int32 // replies of 4xx
}

func (l *limited) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.dials.Add(1)
	return l.nextHost.dial(ctx, network, address)
}

func (l *limited) trace() *client.Trace {
	return &client.Trace{Received: func(_ client.SessionInfo, r *smtp.Reply) {
		if r.Temporary() {
			l.refused.Add(1)
		}
	}}
}

// submit sends mails by one Submission, one after the other.
func (l *limited) submit(t *testing.T, mails int) {
	t.Helper()
	s := &client.Submission{
		Addr: l.domain() + ":25", TLS: mx.TLSNone, Hostname: "source.test",
		Resolver: loopback{}, DialContext: l.dial, Trace: l.trace(),
	}
	defer s.Close()
	failed, first := 0, ""
	for i := range mails {
		env := smtp.NewEnvelope("ann@source.test", fmt.Sprintf("submitted%d@%s", i, l.domain()))
		results, _ := s.Send(t.Context(), env, strings.NewReader(letter("Hello.\r\n")))
		if results[0].Outcome != smtp.Delivered {
			failed, first = failed+1, cmp.Or(first, describe(results[0]))
		}
	}
	if failed > 0 {
		t.Errorf("got %d of %d mails of the Submission not delivered, want none; the first: %s", failed, mails, first)
	}
	t.Logf("Submission: %d mails, %d sessions, %d replies of 4xx", mails, l.dials.Load(), l.refused.Load())
}

// relay sends mails by a Relay. Its sessions have more mails than the host takes in one.
func (l *limited) relay(t *testing.T, mails int) {
	t.Helper()
	l.dials.Store(0)
	l.refused.Store(0)
	r := &postrider.Relay{
		Routes:      map[string]mx.Route{"*": l.mxRoute(t, ways[0])},
		Resolver:    loopback{},
		DialContext: l.dial,
		Transport:   &client.Transport{Trace: l.trace()},
		Runner: &delivery.Runner{
			Site:  delivery.SiteLimits{Concurrency: 3}, // with the default of 20, OpenSMTPD's 100 are too many for 400 mails
			Retry: []time.Duration{time.Hour},          // a mail that is deferred doesn't come
		},
	}
	own := serveRelay(t, r)
	for i := range mails {
		env := smtp.NewEnvelope("ann@source.test", fmt.Sprintf("relayed%d@%s", i, l.domain()))
		if _, err := r.Send(t.Context(), env, strings.NewReader(letter("Hello.\r\n"))); err != nil {
			t.Fatal(err)
		}
	}
	deferred, first := 0, ""
	for i := range mails {
		res := own.result(t, fmt.Sprintf("relayed%d@%s", i, l.domain()))
		if res.Outcome != smtp.Delivered {
			deferred, first = deferred+1, cmp.Or(first, describe(res))
		}
	}
	if deferred > 0 {
		t.Errorf("got %d of %d mails of the Relay deferred, want none; the first: %s", deferred, mails, first)
	}
	t.Logf("Relay: %d mails, %d sessions, %d replies of 4xx", mails, l.dials.Load(), l.refused.Load())
}
