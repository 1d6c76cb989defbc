package mx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLoopEqual: of hosts with one preference, one has our own address. The first of them ends the route, in any order.
func TestLoopEqual(t *testing.T) {
	z := &zone{
		mx:  map[string][]*net.MX{"example.net.": records("10 a.test.", "20 b.test.", "20 us.test.", "20 lost.test.", "30 c.test.")},
		ip:  addrs("a.test 192.0.2.1", "b.test 192.0.2.2", "us.test 192.0.2.66", "c.test 192.0.2.3"),
		err: failures{"IP lost.test.": servFail},
	}
	r := &Router{Resolver: z, SelfAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.66")}}
	first := make(map[string]bool)
	for range 100 {
		got := resolve(t.Context(), r, "example.net")
		rest, ok := strings.CutPrefix(got, "a.test=192.0.2.1:25 ")
		rest, lost := strings.CutPrefix(rest, "lost.test=451 4.4.3 ") // the addresses of the others are still compared
		if lost {
			first["lost.test"] = true
		}
		host, code, _ := strings.Cut(rest, "=")
		if !ok || code != "451 4.4.6" {
			t.Fatalf("got %s, want a.test, and that the next one leads back", got)
		}
		first[host] = true
	}
	if len(first) != 3 {
		t.Errorf("got only %v first of three", first)
	}

	z = &zone{mx: map[string][]*net.MX{"example.net.": records("20 b.test.", "20 us.test.", "30 c.test.")}, ip: z.ip}
	r = &Router{Resolver: z, SelfAddrs: r.SelfAddrs}
	for range 20 {
		if _, code, _ := strings.Cut(resolve(t.Context(), r, "example.net"), "="); code != "554 5.4.6" {
			t.Fatalf("best: got %s, want 554 5.4.6", code)
		}
	}
}

// TestLoopPeers: a host of the same preference whose lookup fails is not our own. Hosts are looked up only if needed.
func TestLoopPeers(t *testing.T) {
	z := func() *zone {
		return &zone{
			mx:  map[string][]*net.MX{"example.net.": records("20 a.test.", "20 lost.test.", "30 c.test.")},
			ip:  addrs("a.test 192.0.2.1", "c.test 192.0.2.3"),
			err: failures{"IP lost.test.": timeout},
		}
	}
	us := netip.MustParseAddr("192.0.2.66")
	host := Host{Name: "a.test", Port: 25}
	tests := []struct {
		name   string
		router Router
		asked  []string // of addresses
	}{
		{"no own addresses", Router{}, []string{"IP a.test."}},
		{"own addresses", Router{SelfAddrs: []netip.Addr{us}}, []string{"IP a.test.", "IP lost.test."}},
		{"own name", Router{Self: []string{"us.test"}}, []string{"IP a.test."}},
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.name, func(t *testing.T) {
			z := z()
			test.router.Resolver = z
			route, err := test.router.Route(t.Context(), "example.net")
			if err != nil {
				t.Fatal(err)
			}
			z.asked = nil
			got, err := test.router.Addrs(t.Context(), route, host)
			if err != nil || len(got) != 1 {
				t.Errorf("got %v, %v, want one address", got, err)
			}
			if !slices.Equal(z.asked, test.asked) {
				t.Errorf("asked %q, want %q", z.asked, test.asked)
			}
		})
	}

	r := &Router{Resolver: z(), SelfAddrs: []netip.Addr{us}}
	if got, err := r.Addrs(t.Context(), Route{MX: true, Hosts: []Host{host, {Name: "lost.test"}}}, host); err != nil || len(got) != 1 {
		t.Errorf("a route of another make: got %v, %v, want one address", got, err)
	}
}

// hanging is a Resolver that has addresses for two hosts only.
type hanging struct{ silent }

func (hanging) LookupMX(context.Context, string) ([]*net.MX, error) {
	return records("10 us.test.", "10 a.test.", "10 x.test.", "10 y.test.", "10 z.test."), nil
}

func (h hanging) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	switch name {
	case "us.test.":
		return []netip.Addr{netip.MustParseAddr("192.0.2.66")}, nil
	case "a.test.":
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	return h.silent.LookupNetIP(ctx, network, name)
}

// TestLoopSlow: the other hosts are looked up concurrently, and only until one is our own.
func TestLoopSlow(t *testing.T) {
	for _, test := range []struct {
		name, self, want string
		took             time.Duration
	}{
		{"one is ours", "192.0.2.66", "554 5.4.6", 0},
		{"none is known to be ours", "192.0.2.67", "", 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &Router{Resolver: hanging{}, SelfAddrs: []netip.Addr{netip.MustParseAddr(test.self)}}
				route, err := r.Route(t.Context(), "example.net")
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				_, err = r.Addrs(t.Context(), route, Host{Name: "a.test", Port: 25})
				got := ""
				if err != nil {
					got = reply(err)
				}
				if took := time.Since(begin); got != test.want || took != test.took || errors.Is(err, ErrLoop) != (test.want != "") {
					t.Errorf("got %q after %v (%v), want %q after %v", got, took, err, test.want, test.took)
				}
			})
		})
	}
}

func TestListensAt(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	tests := []struct {
		name   string
		router Router
		addr   net.Addr
		want   string // our addresses
	}{
		{"address", Router{}, tcp("192.0.2.7:25"), "192.0.2.7"},
		{"mapped address", Router{}, tcp("[::ffff:192.0.2.7]:25"), "192.0.2.7"},
		{"with a zone", Router{}, tcp("[fe80::1%eth0]:25"), "fe80::1"},
		{"another port", Router{}, tcp("192.0.2.7:587"), ""},
		{"another port than that of the hosts", Router{Port: 2525}, tcp("192.0.2.7:25"), ""},
		{"their port", Router{Port: 2525}, tcp("192.0.2.7:2525"), "192.0.2.7"},
		{"loopback", Router{}, tcp("127.0.0.1:25"), ""},
		{"loopback, IPv6", Router{}, tcp("[::1]:25"), ""},
		{"all, at another port", Router{}, tcp("[::]:2525"), ""},
		{"socket", Router{}, &net.UnixAddr{Name: "/run/smtp", Net: "unix"}, ""},
		{"beside SelfAddrs", Router{SelfAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.8")}}, tcp("192.0.2.7:25"), "192.0.2.7 192.0.2.8"},
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.name, func(t *testing.T) {
			if err := test.router.ListensAt(test.addr); err != nil {
				t.Fatal(err)
			}
			if got := ours(&test.router); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}

	// The addresses of this machine.
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for addr, six := range map[string]bool{"[::]:25": true, "0.0.0.0:25": false} {
		r, want := new(Router), new(Router)
		if err := r.ListensAt(tcp(addr)); err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && (six || ip.To4() != nil) {
				want.SelfAddrs = append(want.SelfAddrs, netip.MustParseAddr(ip.String()))
			}
		}
		want.once.Do(want.prepare)
		if got, want := ours(r), ours(want); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

func ours(r *Router) string {
	var list []string
	for ip := range r.own.addrs {
		list = append(list, ip.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
