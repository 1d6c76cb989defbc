package postrider

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// noted is a Resolver that notes the questions.
type noted struct {
	mx.Resolver
	mu    sync.Mutex
	asked []string
}

func (n *noted) note(question string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, question)
}

func (n *noted) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	n.note("MX " + name)
	return n.Resolver.LookupMX(ctx, name)
}

func (n *noted) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	n.note(network + " " + name)
	return n.Resolver.LookupNetIP(ctx, network, name)
}

// TestSiteOf: a Runner learns the site of a destination and its addresses. An attempt after that asks the DNS nothing.
func TestSiteOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		first := inet.MX("next.test", "mx1.next.test")
		inet.MX("next.test", "mx2.next.test")
		inet.MX("guest.test", "mx1.next.test")
		inet.MX("guest.test", "mx2.next.test")
		dns := &noted{Resolver: inet}
		r := newRelay(inet)
		r.Resolver = dns
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer r.transport.Close()
		for _, domain := range []string{"next.test", "guest.test"} {
			site, err := r.runner.SiteOf(t.Context(), domain)
			want, _ := inet.LookupNetIP(t.Context(), "ip4", "mx1.next.test.")
			six, _ := inet.LookupNetIP(t.Context(), "ip6", "mx1.next.test.")
			want = append(want, six...)
			if err != nil || site.Name != "mx1.next.test,mx2.next.test" || !slices.Equal(site.Addrs, want) {
				t.Errorf("%s: got %+v, %v; want the addresses %v", domain, site, err, want)
			}
		}
		dns.asked = nil
		env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
		if _, err := r.transport.Send(t.Context(), env, smtp.Text(text)); err != nil {
			t.Fatal(err)
		}
		if first.Wait(1); len(dns.asked) != 0 {
			t.Errorf("the attempt asked the DNS: %v", dns.asked)
		}
	})
}

// limited returns a Relay with a limit for big.test, whose DNS doesn't answer.
func limited(t *testing.T) (*Relay, *smtptest.Network) {
	inet := smtptest.NewNetwork(t)
	inet.MX("big.test", "mx.big.test")
	inet.MX("guest.test", "mx.big.test")
	for i := range 10 {
		domain := fmt.Sprintf("free%d.test", i)
		inet.MX(domain, "mx."+domain)
	}
	inet.FailDNS("big.test", smtptest.DNSTimeout)
	r := newRelay(inet)
	r.Limits = map[string]delivery.SiteLimits{"big.test": {Concurrency: 1}}
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, inet
}

// TestLimitsHang: a domain in Limits whose DNS doesn't answer delays other mail once, for 10 seconds in all.
func TestLimitsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inet := limited(t)
		waits := func(at string, want time.Duration) {
			t.Helper()
			begun := time.Now()
			var wg sync.WaitGroup
			for i := range 10 {
				domain := fmt.Sprintf("free%d.test", i)
				wg.Go(func() {
					site, err := r.runner.SiteOf(t.Context(), domain)
					if took := time.Since(begun); err != nil || site.Name != "mx."+domain || took > want {
						t.Errorf("%s: got %v and %v after %v, want it within %v", at, site, err, took, want)
					}
				})
			}
			wg.Wait()
		}
		waits("at first", 10*time.Second)
		for range 10 {
			waits("later", 0)
			time.Sleep(30 * time.Second)
		}
		inet.FailDNS("big.test", smtptest.NoFault)
		time.Sleep(2 * time.Minute)
		waits("when it answers", 0)
		synctest.Wait()
		if got := r.runner.SiteFor("mx.big.test"); got.Concurrency != 1 {
			t.Errorf("got the limits %+v, want those of big.test", got)
		}
	})
}

// TestLimitsCancelled: a lookup of a site that is cancelled leaves the limits to be learnt by others. It returns the
// site, which is known.
func TestLimitsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inet := limited(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		site, err := r.runner.SiteOf(ctx, "free1.test")
		if took := time.Since(begun); site.Name != "mx.free1.test" || err != nil || took != time.Second {
			t.Errorf("got %+v and %v after %v, want the site after 1s", site, err, took)
		}
		inet.FailDNS("big.test", smtptest.NoFault)
		time.Sleep(90 * time.Second)
		for range 2 { // the first one begins the lookup
			if site, err := r.runner.SiteOf(t.Context(), "guest.test"); site.Name != "mx.big.test" || err != nil {
				t.Errorf("got %+v, %v", site, err)
			}
			synctest.Wait()
		}
		if got := r.runner.SiteFor("mx.big.test"); got.Concurrency != 1 {
			t.Errorf("got the limits %+v, want those of big.test", got)
		}
	})
}

// late is a Resolver that takes 5 seconds to answer for big.test.
type late struct{ mx.Resolver }

func (l late) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if name == "big.test." {
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return l.Resolver.LookupMX(ctx, name)
}

// TestLimitsShared: the end of the ctx of the first caller doesn't end the lookups that others wait for.
func TestLimitsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("big.test", "mx.big.test")
		inet.MX("guest.test", "mx.big.test")
		r := newRelay(inet)
		r.Resolver = late{inet}
		r.Limits = map[string]delivery.SiteLimits{"big.test": {Concurrency: 1}}
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		var wg sync.WaitGroup
		for _, want := range []time.Duration{time.Second, 5 * time.Second} {
			ctx := t.Context()
			if want == time.Second {
				ctx = first
			}
			wg.Go(func() {
				r.runner.SiteOf(ctx, "guest.test")
				if took := time.Since(begun); took != want {
					t.Errorf("got the site after %v, want %v", took, want)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if got := r.runner.SiteFor("mx.big.test"); got.Concurrency != 1 {
			t.Errorf("got the limits %+v, want those of big.test", got)
		}
	})
}

// TestLimitsMove: the limits follow a domain to its new hosts, and the old hosts lose them.
func TestLimitsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inet := limited(t)
		inet.FailDNS("big.test", smtptest.NoFault)
		check := func(name string, want int) {
			t.Helper()
			r.runner.SiteOf(t.Context(), "free1.test")
			synctest.Wait()
			if got := r.runner.SiteFor(name).Concurrency; got != want {
				t.Errorf("%s: got %d, want %d", name, got, want)
			}
		}
		check("mx.big.test", 1)
		inet.MX("big.test", "mx.new.test")
		time.Sleep(6 * time.Minute)
		check("mx.big.test,mx.new.test", 1)
		check("mx.big.test", 0)
	})
}

// TestLimitsStop: the end of Run ends the lookups for Limits.
func TestLimitsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := limited(t)
		ctx, cancel := context.WithCancel(t.Context())
		mustSend(t, r, "ann@source.test", "bob@free1.test")
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Second)
		begun := time.Now()
		cancel()
		<-done
		if took := time.Since(begun); took != 0 {
			t.Errorf("Run ended after %v, want it at once", took)
		}
	})
}
