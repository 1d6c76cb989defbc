package postrider

import (
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/receivers"
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
