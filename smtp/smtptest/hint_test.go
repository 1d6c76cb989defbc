package smtptest

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHints(t *testing.T) {
	ctx := t.Context()
	mx := func(n *Network, domains ...string) {
		for _, d := range domains {
			n.LookupMX(ctx, d)
		}
	}
	addrs := func(n *Network, hosts ...string) {
		for _, h := range hosts {
			n.LookupNetIP(ctx, "ip", h)
		}
	}
	dial := func(n *Network, addresses ...string) {
		for _, a := range addresses {
			if c, err := n.DialContext(ctx, "tcp", a); err == nil {
				c.Close()
			}
		}
	}
	tests := []struct {
		name string
		do   func(*Network)
		want []string
	}{
		{"all is well", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			mx(n, "example.net")
			addrs(n, "mx.example.net")
			dial(n, n.Host("mx.example.net").Addrs()[0].String()+":25")
		}, nil},
		{"nothing at all", func(*Network) {}, nil},
		{"no MX, and nothing happens", func(n *Network) { n.Host("mx.example.net") }, nil},
		{"no DialContext", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			n.CNAME("alias.example.net", "mx.example.net")
			mx(n, "example.net", "example.net.")
			addrs(n, "mx.example.net", "MX.example.net.", "alias.example.net")
		}, []string{"mx.example.net: 3 lookups, no dial: is DialContext set to that of the Network?"}},
		{"no DialContext for one of two domains", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			n.MX("example.com", "mx.example.com")
			mx(n, "example.net", "example.com")
			addrs(n, "mx.example.net", "mx.example.com")
			dial(n, "mx.example.net:25")
		}, []string{"mx.example.com: 1 lookup, no dial: is DialContext set to that of the Network?"}},
		{"a second MX isn't needed", func(n *Network) {
			n.MX("example.net", "mx1.example.net")
			n.MX("example.net", "mx2.example.net")
			mx(n, "example.net")
			addrs(n, "mx1.example.net", "mx2.example.net")
			dial(n, "mx1.example.net:25")
		}, nil},
		{"a host that is down was dialled", func(n *Network) {
			n.MX("example.net", "mx.example.net").Down()
			addrs(n, "mx.example.net")
			dial(n, "mx.example.net:25")
		}, nil},
		{"a host without addresses can't be dialled", func(n *Network) {
			n.MX("example.net", "mx.example.net").SetAddrs()
			addrs(n, "mx.example.net")
		}, nil},
		{"no Resolver", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			dial(n, "198.18.0.1:25", "198.18.0.2:25", "198.18.0.1:25")
		}, []string{
			"198.18.0.1:25: 2 dials, no host with this address, and no lookup of any name: " +
				"is Resolver set to the Network?",
			"198.18.0.2:25: 1 dial, no host with this address, and no lookup of any name: " +
				"is Resolver set to the Network?",
		}},
		{"a Resolver, and an address of old", func(n *Network) {
			n.MX("example.net", "mx.example.net").SetAddrs()
			mx(n, "example.net")
			dial(n, "198.18.0.1:25")
		}, nil},
		{"neither", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			n.MX("example.com", "mx.example.net")
			n.NullMX("example.org")
			dial(n, "smtp.example.com:587") // which isn't there
			n.Host("other.example.net")
			dial(n, "other.example.net:25")
		}, []string{"smtp.example.com: 1 lookup, no records: is the name misspelled?"}},
		{"neither, and nothing else", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			n.MX("example.com", "mx.example.net")
			n.NullMX("example.org")
		}, []string{"example.com, example.net: no lookup, and no dial of the mail hosts: " +
			"are Resolver and DialContext set to those of the Network?"}},
		{"a route to the host needs no lookup", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			dial(n, "mx.example.net:25")
		}, nil},
		{"a typo", func(n *Network) {
			n.MX("example.net", "mx.example.net")
			mx(n, "exampel.net", "Exampel.net.")
			addrs(n, "exampel.net")
		}, []string{"exampel.net: 3 lookups, no records: is the name misspelled?"}},
		{"names of which something is known", func(n *Network) {
			n.TXT("txt.test", "v=spf1 -all")
			n.FailDNS("gone.test", NXDomain)
			n.CNAME("alias.test", "exampel.net")
			n.NullMX("null.test")
			mx(n, "txt.test", "gone.test", "alias.test", "null.test")
		}, nil},
		{"records that may be missing", func(n *Network) {
			n.LookupTXT(ctx, "_mta-sts.exampel.net")
			n.LookupTLSA(ctx, "_25._tcp.mx.exampel.net")
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := NewNetwork(t)
			test.do(n)
			n.mu.Lock()
			defer n.mu.Unlock()
			if got := n.hints(); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestHintsBounded: a thousand mistakes have at most maxHints hints of each kind.
func TestHintsBounded(t *testing.T) {
	n := NewNetwork(t)
	for i := range 1000 {
		n.LookupNetIP(t.Context(), "ip", n.Host(fmt.Sprintf("mx%d.example.net", i)).Name())
		n.LookupMX(t.Context(), fmt.Sprintf("exampel%d.net", i))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := len(n.hints()); got != 2*maxHints {
		t.Errorf("got %d hints, want %d", got, 2*maxHints)
	}
}

// TestHintsPrinted: a test that fails prints the hints after the transcripts. A test that passes prints nothing.
func TestHintsPrinted(t *testing.T) {
	for name, fails := range map[string]bool{"fails": true, "passes": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				n := NewNetwork(r)
				h := n.MX("example.net", "mx.example.net")
				got := r.run(func() {
					post(n, "mx.example.net:25", "ann@example.com", "bob@example.net")
					n.LookupMX(t.Context(), "exampel.net")
					if fails {
						h.Wait(2)
					}
				})
				if !fails && got != "" {
					t.Errorf("got %q, want nothing", got)
				}
				want := "S: 221 2.0.0 bye\n\n" +
					"smtptest: hint: exampel.net: 1 lookup, no records: is the name misspelled?\n"
				if fails && !strings.HasSuffix(got, want) {
					t.Errorf("got %q, want %q at its end", got, want)
				}
			})
		})
	}
}

// TestStandstill: a goroutine waits for a real read, and the hints are printed meanwhile.
func TestStandstill(t *testing.T) {
	tests := []struct {
		name string
		do   func(context.Context, *Network, *Host)
		want string
	}{
		{"a dial", func(ctx context.Context, n *Network, h *Host) { n.LookupNetIP(ctx, "ip", h.Name()) },
			"mx.example.net: 1 lookup, no dial: is DialContext set to that of the Network?\n"},
		{"a lookup", func(_ context.Context, n *Network, h *Host) {
			n.WaitLimit = time.Nanosecond
			h.WaitSessions(1)
		}, "example.net: no lookup, and no dial of the mail hosts: " +
			"are Resolver and DialContext set to those of the Network?\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fromOutside, said, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer fromOutside.Close()
				defer said.Close()
				r := record(t)
				n := NewNetwork(r)
				n.watch.patience, n.watch.out = time.Millisecond, said
				h := n.MX("example.net", "mx.example.net")
				r.run(func() {
					var wg sync.WaitGroup
					wg.Go(func() { test.do(t.Context(), n, h) })
					defer wg.Wait()
					buf := make([]byte, 1000)
					k, err := fromOutside.Read(buf) // the clock stands still until the hints are written
					want := "smtptest: " + t.Name() + ": the clock of the bubble has stood still for 1ms: " +
						"is a real network in use?\nsmtptest: hint: " + test.want
					if got := string(buf[:k]); got != want || err != nil {
						t.Errorf("got %q and %v, want %q", got, err, want)
					}
				})
			})
		})
	}
}

// TestNoStandstill: the watch ends when the clock moves. It doesn't start after a dial, or outside a bubble.
func TestNoStandstill(t *testing.T) {
	quiet := func(t *testing.T, n *Network) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.watch.timer != nil && n.watch.timer.Stop() {
			t.Error("the clock is watched, want not")
		}
	}
	t.Run("the clock moves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := NewNetwork(t)
			n.MX("example.net", "mx.example.net")
			n.LookupNetIP(t.Context(), "ip", "mx.example.net")
			time.Sleep(time.Second)
			quiet(t, n)
		})
	})
	t.Run("a dial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := NewNetwork(t)
			h := n.Host("mx.example.net")
			n.dialled(&net.TCPAddr{IP: h.Addrs()[0].AsSlice(), Port: 25})
			n.LookupNetIP(t.Context(), "ip", "mx.example.net")
			if n.watch.lookup {
				t.Error("the clock is watched, want not")
			}
		})
	})
	t.Run("no bubble", func(t *testing.T) {
		n := NewNetwork(t)
		n.MX("example.net", "mx.example.net")
		n.LookupNetIP(t.Context(), "ip", "mx.example.net")
		if n.watch.lookup {
			t.Error("the clock is watched, want not")
		}
	})
}
