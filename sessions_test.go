package postrider

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestHello: what a host hears in EHLO. A name without a dot means nothing to it.
func TestHello(t *testing.T) {
	for _, tt := range []struct{ hostname, want string }{
		{"relay.test", "relay.test"},
		{"[192.0.2.1]", "[192.0.2.1]"},
		{"3f2c1a9b7d10", "["}, // a literal, unless this machine has a name in the DNS
	} {
		synctest.Test(t, func(t *testing.T) {
			inet := smtptest.NewNetwork(t)
			host := inet.MX("next.test", "mx.next.test")
			r := newRelay(inet)
			r.Hostname = tt.hostname
			inet.Go(r.Run)
			mustSend(t, r, "ann@source.test", "bob@next.test")
			host.Wait(1)
			got := host.Messages()[0].Hello
			if tt.want == "[" && got != tt.hostname && strings.ContainsAny(got, ".:") {
				return
			}
			if got != tt.want {
				t.Errorf("%s: got EHLO %s, want %s", tt.hostname, got, tt.want)
			}
		})
	}
}

// TestBoundedSessions: 400 mails through a Relay to a host that ends the use of a session after 100, as OpenSMTPD does.
// None is deferred.
func TestBoundedSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.MaxMessages(100, smtp.NewReply(452, "4.5.3", "Too many messages sent"))
		r := newRelay(inet)
		var deferred atomic.Int64
		r.Transport = &client.Transport{Tried: func(_ context.Context, try client.Try) {
			for _, res := range try.Results {
				if res.Outcome == smtp.Deferred && !try.Reused {
					deferred.Add(1)
				}
			}
		}}
		for i := range 400 {
			mustSend(t, r, "ann@source.test", fmt.Sprintf("bob%d@next.test", i))
		}
		begun := time.Now()
		inet.Go(r.Run)
		host.Wait(400)
		if took := time.Since(begun); took > time.Minute || deferred.Load() > 0 {
			t.Errorf("got %d refusals in new sessions, and the last mail after %v, want none and no retry", deferred.Load(), took)
		}
		if n := len(host.Messages()); n != 400 {
			t.Errorf("got %d messages, want 400", n)
		}
	})
}
