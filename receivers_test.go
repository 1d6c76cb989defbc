package postrider

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestReceivers: what is known about receivers is the default of a Relay. Limits by hand are above it, and one field
// replaces it or switches it off.
func TestReceivers(t *testing.T) {
	minutely := func(n int) delivery.Rate { return delivery.Rate{Messages: n, Per: time.Minute} }
	own := receivers.List{{Name: "own", Hosts: []string{"gmx.net"}, Connections: 7, Start: 3, Messages: 9, Rate: minutely(60)}}
	tests := []struct {
		name      string
		list      receivers.List
		site      delivery.SiteLimits // Runner.Site
		siteFor   func(string) delivery.SiteLimits
		transport *client.Transport
		want      delivery.SiteLimits
		messages  int
	}{
		{name: "default", want: delivery.SiteLimits{Concurrency: 4}, messages: 20},
		{name: "off", list: receivers.List{}},
		{name: "replaced", list: own, want: delivery.SiteLimits{Concurrency: 7, Initial: 3, Rate: minutely(60)}, messages: 9},
		{name: "bounded", list: own, site: delivery.SiteLimits{Concurrency: 2, Initial: 1, Rate: minutely(6)}, messages: 9,
			want: delivery.SiteLimits{Concurrency: 2, Initial: 1, Rate: minutely(6)}},
		{name: "bounded less", list: own, site: delivery.SiteLimits{Concurrency: 20, Initial: 5, Rate: minutely(600)}, messages: 9,
			want: delivery.SiteLimits{Concurrency: 7, Initial: 3, Rate: minutely(60)}},
		{name: "no rate known", site: delivery.SiteLimits{Rate: minutely(6)}, want: delivery.SiteLimits{Concurrency: 4}, messages: 20},
		{name: "own func", siteFor: func(string) delivery.SiteLimits { return delivery.SiteLimits{Concurrency: 1} },
			want: delivery.SiteLimits{Concurrency: 1}, messages: 20},
		{name: "own messages", transport: &client.Transport{MaxMessages: func(string) int { return 3 }},
			want: delivery.SiteLimits{Concurrency: 4}, messages: 3},
	}
	for _, tt := range tests {
		r := newRelay(smtptest.NewNetwork(t))
		r.Receivers, r.Transport = tt.list, tt.transport
		r.Runner = &delivery.Runner{Site: tt.site, SiteFor: tt.siteFor}
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.runner.SiteFor("mx00.gmx.net,mx01.gmx.net"); got != tt.want {
			t.Errorf("%s: got the limits %+v, want %+v", tt.name, got, tt.want)
		}
		sessions := r.transport.MaxSessions
		if bound := sessions != nil; bound != (tt.siteFor == nil) || bound && sessions("mx00.gmx.net,mx01.gmx.net") != tt.want.Concurrency {
			t.Errorf("%s: got another bound on sessions than that on tasks", tt.name)
		}
		if got := r.transport.MaxMessages("mx00.gmx.net"); got != tt.messages {
			t.Errorf("%s: got %d messages a session, want %d", tt.name, got, tt.messages)
		}
	}
	r := newRelay(smtptest.NewNetwork(t))
	r.Receivers = receivers.List{{Name: "none"}}
	if err := r.Check(t.Context()); err == nil {
		t.Error("a Profile without Hosts: got no error")
	}
	r = newRelay(smtptest.NewNetwork(t))
	r.receivers, r.runner = own, new(delivery.Runner)
	r.limited.sites = map[string]delivery.SiteLimits{"mx00.gmx.net": {Concurrency: 8}}
	if got, want := r.siteFor("mx00.gmx.net"), (delivery.SiteLimits{Concurrency: 8, Initial: 3, Rate: minutely(60)}); got != want {
		t.Errorf("limits by hand: got %+v, want %+v", got, want)
	}
}

// lateQuit is a connection in which QUIT arrives late.
type lateQuit struct{ net.Conn }

func (c lateQuit) Write(b []byte) (int, error) {
	if string(b) == "QUIT\r\n" {
		time.Sleep(3 * time.Second)
	}
	return c.Conn.Write(b)
}

// TestConnections: a site has as many connections as its receiver takes, idle ones and those in QUIT included.
func TestConnections(t *testing.T) {
	tests := []struct {
		name     string
		messages int // in a connection
		limits   int // by hand
		sources  []client.Source
		want     int // connections
	}{
		{name: "sessions stay idle", want: 4},
		{name: "sessions end", messages: 3, want: 4},
		{name: "limits by hand", messages: 3, limits: 2, want: 2},
		{name: "source addresses", want: 4, sources: []client.Source{
			{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}, {Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2")}},
			{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.3")}}, {Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.4")}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				host.NoTLS()
				host.Slow(time.Second, smtp.StageFinal)
				r := newRelay(inet)
				r.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := inet.DialContext(ctx, network, addr)
					return lateQuit{c}, err
				}
				r.Receivers = receivers.List{{Name: "next", Hosts: []string{"next.test"}, Connections: 4, Start: 4, Messages: tt.messages}}
				r.Transport = &client.Transport{Sources: tt.sources}
				if tt.limits > 0 {
					r.Limits = map[string]delivery.SiteLimits{"next.test": {Concurrency: tt.limits}}
				}
				for i := range 100 {
					mustSend(t, r, "ann@source.test", fmt.Sprintf("bob%d@next.test", i))
				}
				inet.Go(r.Run)
				host.Wait(100)
				if got := host.MostSessions(); got != tt.want {
					t.Errorf("got %d connections at a time, want %d", got, tt.want)
				}
				if n := len(host.Messages()); n != 100 {
					t.Errorf("got %d messages, want 100", n)
				}
			})
		})
	}
}
