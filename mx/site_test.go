package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// siteOf returns what SiteAddrs returns, on one line.
func siteOf(ctx context.Context, r *Router, destination string) string {
	site, addrs, err := r.SiteAddrs(ctx, destination)
	out := site
	for _, a := range addrs {
		out += " " + a.String()
	}
	if err != nil {
		out += " " + reply(err)
	}
	return strings.TrimSpace(out)
}

func TestSiteAddrs(t *testing.T) {
	z := &zone{
		mx: map[string][]*net.MX{
			"two.test.":     records("10 b.test.", "20 c.test.", "10 a.test."),
			"shared.test.":  records("10 c.test.", "10 a.test.", "20 b.test."),
			"half.test.":    records("10 a.test.", "10 dead.test."),
			"dead.test.":    records("10 dead.test.", "20 a.test."),
			"private.test.": records("10 inside.test."),
			"null.test.":    records("0 ."),
			"many.test.":    records("10 many1.test.", "10 many2.test."),
		},
		ip: addrs("a.test 192.0.2.1 2001:db8::1", "b.test 192.0.2.2", "c.test 192.0.2.3 192.0.2.1",
			"inside.test 10.0.0.1", "plain.test 192.0.2.9", "smart.test 192.0.2.25", "spare.test 192.0.2.26"),
		err: failures{"IP dead.test.": servFail, "MX fail.test.": servFail},
	}
	for _, host := range []string{"many1.test.", "many2.test."} {
		for i := range 60 {
			z.ip[host] = append(z.ip[host], fmt.Sprintf("198.51.100.%d", i+len(z.ip["many1.test."])))
		}
	}
	smart := explicitly(Smarthost("smart.test:587"))
	smart.Hosts = append(smart.Hosts, Host{Name: "spare.test", Port: 587})
	r := &Router{Resolver: z, Routes: map[string]Route{
		"smart.test": smart,
		"box.test":   explicitly(LMTP("/run/lmtp")),
		"func.test": Func("app", func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			return nil, nil
		}),
		"ip.test":   explicitly(Smarthost("192.0.2.77:25")),
		"gone.test": explicitly(Smarthost("nowhere.test:25")),
	}}
	tests := []struct{ destination, want string }{
		{"two.test", "a.test,b.test,c.test 192.0.2.1 192.0.2.2 2001:db8::1"},
		{"shared.test", "a.test,b.test,c.test 192.0.2.1 192.0.2.3 2001:db8::1"},
		{"half.test", "a.test,dead.test 192.0.2.1 2001:db8::1"},
		{"dead.test", "a.test,dead.test 451 4.4.3"},
		{"private.test", "inside.test 550 5.4.4"},
		{"null.test", "556 5.1.10"},
		{"fail.test", "451 4.4.3"},
		{"plain.test", "plain.test 192.0.2.9"},
		{"[192.0.2.55]", "192.0.2.55 192.0.2.55"},
		{smart.Name, smart.Name + " 192.0.2.25"},
		{"smart.test", smart.Name + " 192.0.2.25"},
		{"box.test", "lmtp:/run/lmtp"},
		{"func.test", "func:app"},
		{"ip.test", "smarthost:192.0.2.77:25 192.0.2.77"},
		{"gone.test", "smarthost:nowhere.test:25 451 4.4.4"},
	}
	for _, tt := range tests {
		if got := siteOf(t.Context(), r, tt.destination); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.destination, got, tt.want)
		}
	}
	if _, got, err := r.SiteAddrs(t.Context(), "many.test"); len(got) != MaxAddrs || err != nil {
		t.Errorf("got %d addresses and %v, want %d", len(got), err, MaxAddrs)
	}
}

// TestSiteCached: after SiteAddrs, a delivery to the most preferred hosts asks the DNS nothing until the TTL has
// passed.
func TestSiteCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{
			mx: map[string][]*net.MX{"example.net.": records("10 a.test.", "10 b.test.", "20 c.test.")},
			ip: addrs("a.test 192.0.2.1 2001:db8::1", "b.test 192.0.2.2", "smart.test 192.0.2.25",
				"plain.test 192.0.2.9"),
		}
		smart := explicitly(Smarthost("smart.test:587"))
		r := &Router{Resolver: z, CacheTime: time.Minute, Routes: map[string]Route{"smart.test": smart},
			SelfAddrs: []netip.Addr{netip.MustParseAddr("203.0.113.1")}}
		for _, destination := range []string{"example.net", "plain.test", smart.Name} {
			r.SiteAddrs(t.Context(), destination)
			time.Sleep(time.Minute - time.Nanosecond)
			before := len(z.asked)
			z.asked = nil
			for range 10 { // hosts of one preference are in random order
				domain := strings.TrimSuffix(strings.TrimPrefix(destination, "smarthost:"), ":587")
				route, err := r.Route(t.Context(), domain)
				if err != nil {
					t.Fatal(err)
				}
				if addrs, err := r.Addrs(t.Context(), route, route.Hosts[0]); err != nil || len(addrs) == 0 {
					t.Errorf("%s: got %v, %v", destination, addrs, err)
				}
			}
			if len(z.asked) != 0 || before == 0 {
				t.Errorf("%s: got the questions %v, want none after %d before", destination, z.asked, before)
			}
			time.Sleep(time.Nanosecond)
			if r.SiteAddrs(t.Context(), destination); len(z.asked) == 0 {
				t.Errorf("%s: got no question after the TTL", destination)
			}
		}
	})
}

// slowZone takes a time for some answers, unless ctx ends before.
type slowZone struct {
	*zone
	slow string // "MX example.net." or "IP a.test."
	took time.Duration

	mu    sync.Mutex
	times int // that it was asked slow
}

func (z *slowZone) wait(ctx context.Context, question string) error {
	if question != z.slow {
		return nil
	}
	z.mu.Lock()
	z.times++
	z.mu.Unlock()
	select {
	case <-time.After(z.took):
		return nil
	case <-ctx.Done():
		return &net.DNSError{Err: ctx.Err().Error(), IsTimeout: true, UnwrapErr: ctx.Err()}
	}
}

func (z *slowZone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := z.wait(ctx, "MX "+name); err != nil {
		return nil, err
	}
	return z.zone.LookupMX(ctx, name)
}

func (z *slowZone) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	if err := z.wait(ctx, network+" "+name); err != nil {
		return nil, err
	}
	return z.zone.LookupNetIP(ctx, network, name)
}

// TestSiteCancelled: a caller that is cancelled returns at once. The others get the answer of the same lookup. If there
// are none, the next caller starts a new lookup. In no case is anything cached that the end of ctx caused.
func TestSiteCancelled(t *testing.T) {
	const whole = "a.test,b.test 192.0.2.1 192.0.2.2 2001:db8::1"
	tests := []struct{ slow, cut string }{
		{"MX example.net.", "451 4.4.3"},
		{"ip4 a.test.", "a.test,b.test 192.0.2.2 2001:db8::1"}, // one family of a host, and another host
		{"ip6 a.test.", "a.test,b.test 192.0.2.1 192.0.2.2"},
		{"ip4 b.test.", "a.test,b.test 192.0.2.1 2001:db8::1"},
	}
	for _, tt := range tests {
		for _, others := range []int{0, 1, 5} {
			t.Run(fmt.Sprintf("%s, %d others", tt.slow, others), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					z := &slowZone{slow: tt.slow, took: 900 * time.Millisecond, zone: &zone{
						mx: map[string][]*net.MX{"example.net.": records("10 a.test.", "10 b.test.")},
						ip: addrs("a.test 192.0.2.1 2001:db8::1", "b.test 192.0.2.2"),
					}}
					r := &Router{Resolver: z, CacheTime: time.Hour}
					ctx, cancel := context.WithCancel(t.Context())
					begun := time.Now()
					var wg sync.WaitGroup
					ask := func(ctx context.Context, want string, after time.Duration) {
						got := siteOf(ctx, r, "example.net")
						if took := time.Since(begun); got != want || took != after {
							t.Errorf("got %s after %v, want %s after %v", got, took, want, after)
						}
					}
					wg.Go(func() { ask(ctx, tt.cut, 500*time.Millisecond) })
					for range others {
						wg.Go(func() { ask(t.Context(), whole, z.took) })
					}
					time.Sleep(500 * time.Millisecond)
					cancel()
					wg.Wait()
					want := 1
					if others == 0 {
						want = 2
					}
					if got := siteOf(t.Context(), r, "example.net"); got != whole || z.times != want {
						t.Errorf("afterwards: got %s and %d lookups, want %s and %d", got, z.times, whole, want)
					}
				})
			})
		}
	}
}

// TestSiteFailure: a lookup of addresses that fails or hangs is remembered for half a minute, so that not each mail
// waits for it.
func TestSiteFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{
			mx:  map[string][]*net.MX{"example.net.": records("10 a.test.")},
			err: failures{"IP a.test.": servFail},
		}
		slow := &slowZone{zone: z, slow: "ip4 a.test.", took: time.Hour}
		r := &Router{Resolver: slow, CacheTime: time.Hour}
		check := func(want string, took time.Duration) {
			t.Helper()
			begun := time.Now()
			if got := siteOf(t.Context(), r, "example.net"); got != want || time.Since(begun) != took {
				t.Errorf("got %s after %v, want %s after %v", got, time.Since(begun), want, took)
			}
		}
		check("a.test 451 4.4.3", time.Minute) // Router.Timeout
		check("a.test 451 4.4.3", 0)
		slow.slow = ""
		z.err, z.ip = nil, addrs("a.test 192.0.2.1")
		time.Sleep(failureTime)
		check("a.test 192.0.2.1", 0)
	})
}

// TestCacheContext: an answer that is kept doesn't keep the context of the caller that asked first.
func TestCacheContext(t *testing.T) {
	c := newCache(new(zone))
	q := question{"mx", "x.test."}
	c.LookupMX(t.Context(), q.name)
	if a := c.answers[q]; a == nil || a.stop != nil {
		t.Errorf("got %+v, want an answer without a context", a)
	}
}
