package mx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// timed is a Resolver that takes a time for each family, with an address in it or an error.
type timed struct {
	Resolver
	after map[string]time.Duration // below zero: until ctx ends
	err   map[string]error
}

func (r timed) LookupNetIP(ctx context.Context, network, _ string) ([]netip.Addr, error) {
	if after := r.after[network]; after < 0 {
		<-ctx.Done()
	} else {
		select {
		case <-ctx.Done():
		case <-time.After(after):
		}
	}
	if ctx.Err() != nil || r.err[network] != nil {
		return nil, cmpErr(ctx.Err(), r.err[network])
	}
	return map[string][]netip.Addr{"ip4": {netip.MustParseAddr("192.0.2.1")}, "ip6": {netip.MustParseAddr("2001:db8::1")}}[network], nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// TestSlowFamily: a family that has addresses waits for the other one for a second.
func TestSlowFamily(t *testing.T) {
	tests := []struct {
		name     string
		ip4, ip6 time.Duration
		err      map[string]error
		want     string
		took     time.Duration
	}{
		{"both at once", 0, 0, nil, "h.test=[2001:db8::1]:25,192.0.2.1:25", 0},
		{"AAAA in time", 0, 900 * time.Millisecond, nil, "h.test=[2001:db8::1]:25,192.0.2.1:25", 900 * time.Millisecond},
		{"AAAA late", 3 * time.Second, 30 * time.Second, nil, "h.test=192.0.2.1:25", 4 * time.Second},
		{"AAAA never", 0, -1, nil, "h.test=192.0.2.1:25", time.Second},
		{"A never", -1, 0, nil, "h.test=[2001:db8::1]:25", time.Second},
		{"AAAA late, no A", 0, 30 * time.Second, map[string]error{"ip4": notFound}, "h.test=[2001:db8::1]:25", 30 * time.Second},
		{"AAAA late, A fails", 0, 30 * time.Second, map[string]error{"ip4": servFail}, "h.test=[2001:db8::1]:25", 30 * time.Second},
		{"neither", -1, -1, nil, "h.test=451 4.4.3", time.Minute},
		{"AAAA never, no A", 0, -1, map[string]error{"ip4": notFound}, "h.test=451 4.4.3", time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := &zone{mx: map[string][]*net.MX{"example.net.": records("10 h.test.")}}
				r := &Router{Resolver: timed{z, map[string]time.Duration{"ip4": test.ip4, "ip6": test.ip6}, test.err}}
				begin := time.Now()
				if got := resolve(t.Context(), r, "example.net"); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if took := time.Since(begin); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
			})
		})
	}
}

// TestFailedFamily: not each mail waits for a family that fails beside addresses of the other one.
func TestFailedFamily(t *testing.T) {
	const both, ip4 = "h.test=[2001:db8::1]:25,192.0.2.1:25", "h.test=192.0.2.1:25"
	for _, test := range []struct {
		name  string
		cache time.Duration
		err   error         // of AAAA; nil: no answer
		first time.Duration // of the first lookup; zero: to its end
		took  time.Duration // of a lookup right after it
	}{
		{"no answer", 0, nil, 0, 0},
		{"SERVFAIL", 0, servFail, 0, 0},
		{"no answer, no cache", -1, nil, 0, time.Second},
		{"the first caller gives up", 0, nil, time.Second / 2, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := &zone{mx: map[string][]*net.MX{"example.net.": records("10 h.test.")}}
				answers := timed{z, map[string]time.Duration{"ip6": -1}, map[string]error{"ip6": test.err}}
				if test.err != nil {
					answers.after["ip6"] = 0
				}
				r := &Router{Resolver: answers, CacheTime: test.cache}
				ctx := t.Context()
				if test.first > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.first)
					defer cancel()
				}
				if got := resolve(ctx, r, "example.net"); got != ip4 {
					t.Errorf("got %s, want %s", got, ip4)
				}
				begin := time.Now()
				if got := resolve(t.Context(), r, "example.net"); got != ip4 || time.Since(begin) != test.took {
					t.Errorf("again: got %s after %v, want %s after %v", got, time.Since(begin), ip4, test.took)
				}
				time.Sleep(failureTime)
				answers.after["ip6"], answers.err["ip6"] = 0, nil
				if got := resolve(t.Context(), r, "example.net"); got != both {
					t.Errorf("after %v: got %s, want %s", failureTime, got, both)
				}
			})
		})
	}
}

// TestOrder: IPv4 comes first for a resolver of this machine, if the machine has no IPv6.
func TestOrder(t *testing.T) {
	ip := addrs("h.test 2001:db8::1 192.0.2.1")
	r := &Router{Resolver: &zone{ip: ip}}
	if got, want := resolve(t.Context(), r, "h.test"), "h.test=[2001:db8::1]:25,192.0.2.1:25"; got != want {
		t.Errorf("in memory: got %s, want %s", got, want)
	}
	r.probe = new(probe)
	for six, want := range map[bool]string{false: "h.test=192.0.2.1:25,[2001:db8::1]:25", true: "h.test=[2001:db8::1]:25,192.0.2.1:25"} {
		r.probe.last.Store(&probed{time.Now(), six})
		if got := resolve(t.Context(), r, "h.test"); got != want {
			t.Errorf("IPv6 %t: got %s, want %s", six, got, want)
		}
	}
	r.probe.last.Store(&probed{time.Now().Add(-reprobe), !hasIPv6()})
	if got, want := r.ip4First(), !hasIPv6(); got != want {
		t.Errorf("after %v: got IPv4 first: %t, want %t", reprobe, got, want)
	}
	for _, tt := range []struct {
		name     string
		resolver Resolver
		probes   bool
	}{{"nil", nil, true}, {"a nil *dns.Resolver", (*dns.Resolver)(nil), true}, {"*dns.Resolver", new(dns.Resolver), true},
		{"*net.Resolver", new(net.Resolver), true}, {"a wrapper", timed{}, false}} {
		r := &Router{Resolver: tt.resolver}
		if err := r.Check(); err != nil || (r.probe != nil) != tt.probes {
			t.Errorf("%s: got %v, and a look at this machine: %t, want %t", tt.name, err, r.probe != nil, tt.probes)
		}
	}
}

// TestNoSuchDomain: nothing else is asked about a domain that doesn't exist.
func TestNoSuchDomain(t *testing.T) {
	z := &zone{err: failures{"MX example.net.": noName}}
	_, err := (&Router{Resolver: z}).Route(t.Context(), "example.net")
	reply, _ := errors.AsType[*smtp.Reply](err)
	if want := "550 5.1.2 the domain example.net does not exist"; reply == nil || reply.Error() != want || !errors.Is(err, dns.NXDomain) {
		t.Errorf("got %v, want %s", err, want)
	}
	if want := []string{"MX example.net."}; !slices.Equal(z.asked, want) {
		t.Errorf("asked %q, want %q", z.asked, want)
	}
}

// TestReplies: the reply, which reaches strangers, has our own words for any error of any Resolver.
func TestReplies(t *testing.T) {
	const secret = "read udp 10.0.0.2:4711->10.0.0.53:53: i/o timeout"
	op := &net.OpError{Op: "read", Net: "udp", Err: errors.New(secret)}
	tests := []struct {
		name, want string
		err        error
	}{
		{"time-out", ": the name servers did not answer in time", &net.DNSError{Err: secret, Server: "10.0.0.53:53", IsTimeout: true}},
		{"end of ctx", ": the name servers did not answer in time", context.DeadlineExceeded},
		{"SERVFAIL", ": the name server answered SERVFAIL", &net.DNSError{Err: secret, UnwrapErr: dns.ServFail, IsTemporary: true}},
		{"temporary", ": the name servers failed", &net.DNSError{Err: secret, IsTemporary: true}},
		{"no flags", ": the name servers failed", &net.DNSError{Err: secret, UnwrapErr: op}},
		{"no DNSError", "", op},
		{"text", "", errors.New(secret)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			z := &zone{mx: map[string][]*net.MX{"example.net.": records("10 a.test.")}, err: failures{"MX example.org.": test.err, "IP a.test.": test.err}}
			r := &Router{Resolver: z}
			_, mxErr := r.Route(t.Context(), "example.org")
			route, _ := r.Route(t.Context(), "example.net")
			_, ipErr := r.Addrs(t.Context(), route, route.Hosts[0])
			for text, err := range map[string]error{"cannot look up the MX of example.org": mxErr, "cannot look up the address of a.test": ipErr} {
				reply, ok := errors.AsType[*smtp.Reply](err)
				if !ok || reply.Text != text+test.want || !errors.Is(err, test.err) {
					t.Errorf("got %v, want %s", err, text+test.want)
				}
			}
		})
	}
}

// TestOperatorNames: the hosts file applies to explicit routes, and to no host from the DNS, by a *dns.Resolver and by
// none. Every other Resolver is asked for all.
func TestOperatorNames(t *testing.T) {
	explicit := map[string]Route{"app.test": explicitly(Smarthost("localhost:25"))}
	deaf := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 192.0.2.53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, resolver := range []Resolver{&dns.Resolver{Servers: []string{"192.0.2.53"}, Dial: deaf},
		&dns.Resolver{ResolvConf: conf, Dial: deaf}} {
		r := &Router{Resolver: resolver, Routes: explicit}
		if got := resolve(t.Context(), r, "app.test"); !strings.Contains(got, "127.0.0.1:25") && !strings.Contains(got, "[::1]:25") {
			t.Errorf("explicit: got %s, want an address of the hosts file", got)
		}
		if got := resolve(t.Context(), r, "example.net"); got != "451 4.4.3" {
			t.Errorf("MX: got %s, want 451 4.4.3: nobody answers", got)
		}
	}

	file := &zone{ip: addrs("mx.example.net 127.0.1.1", "relay.test 127.0.0.3")}
	network := &zone{mx: map[string][]*net.MX{"example.net.": records("10 mx.example.net.")}, ip: addrs("mx.example.net 192.0.2.1", "relay.test 192.0.2.3")}
	r := &Router{Resolver: new(dns.Resolver), Routes: map[string]Route{
		"app.test":   explicitly(Smarthost("relay.test:25")),
		"other.test": explicitly(Smarthost("mx.example.net:25")),
	}}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	r.resolver.resolver, r.system.resolver, r.probe = network, file, nil
	for domain, want := range map[string]string{
		"example.net":    "mx.example.net=192.0.2.1:25",
		"mx.example.net": "mx.example.net=192.0.2.1:25",
		"app.test":       "relay.test=127.0.0.3:25",
		"other.test":     "mx.example.net=127.0.1.1:25",
	} {
		for range 2 { // from the cache, too
			if got := resolve(t.Context(), r, domain); got != want {
				t.Errorf("%s: got %s, want %s", domain, got, want)
			}
		}
	}
	own := &Router{Resolver: network, Routes: r.Routes}
	if got, want := resolve(t.Context(), own, "app.test"), "relay.test=192.0.2.3:25"; got != want {
		t.Errorf("another Resolver: got %s, want %s", got, want)
	}
}

func TestResolverCheck(t *testing.T) {
	r := &Router{Resolver: &dns.Resolver{Servers: []string{"192.0.2.53:dns"}}}
	if err := r.Check(); err == nil || !strings.HasPrefix(err.Error(), `mx: Resolver: dns: Servers[0] is "192.0.2.53:dns"`) {
		t.Errorf("got %v, want the mistake", err)
	}
}
