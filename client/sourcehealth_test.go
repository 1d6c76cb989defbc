package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestAddrHealth has what happens to an address, minute by minute: "out" and "suspect" with a fault and a site, "works"
// with how far a message came, "probe".
func TestAddrHealth(t *testing.T) {
	const first, most = time.Minute, 10 * time.Minute
	tests := []struct {
		name  string
		steps string
		want  string // after each step
	}{
		{"out and back", "out proxy-down, works connected", "left proxy-down 1m, back fine"},
		{"failures that come together", "out proxy-down, out proxy-down, out proxy-down",
			"left proxy-down 1m, proxy-down 1m, proxy-down 1m"},
		{"probes that fail", "out proxy-down, probe, out proxy-down, probe, out proxy-down, probe, out proxy-down, probe, out proxy-down",
			"left proxy-down 1m, proxy-down 1m, proxy-down 2m, proxy-down 2m, proxy-down 4m, proxy-down 4m, proxy-down 8m, proxy-down 8m, proxy-down 10m"},
		{"a probe that shows nothing", "out proxy-down, probe, probe, out proxy-down",
			"left proxy-down 1m, proxy-down 1m, proxy-down 1m, proxy-down 2m"},
		{"another fault", "out refused-by-sites, out address-missing, works connected",
			"left refused-by-sites 1m, address-missing 2m, back fine"},
		{"sites in succession", "suspect refused-by-sites a, suspect refused-by-sites b, suspect refused-by-sites c",
			"fine, fine, enough fine"},
		{"the same site", "suspect refused-by-sites a, suspect refused-by-sites a, suspect refused-by-sites a, suspect refused-by-sites b",
			"fine, fine, fine, fine"},
		{"a site took many messages", "works accepted x, suspect refused-by-sites a, works accepted x, suspect refused-by-sites b, works accepted x, suspect refused-by-sites c",
			"fine, fine, fine, fine, fine, enough fine"},
		{"as many take mail as refuse it", "suspect refused-by-sites a, works accepted x, suspect refused-by-sites b, works accepted y, works accepted z, suspect refused-by-sites c, suspect refused-by-sites d",
			"fine, fine, fine, fine, fine, fine, enough fine"},
		{"sites took mail before", "works accepted x, works accepted y, works accepted z, suspect refused-by-sites a, suspect refused-by-sites b, suspect refused-by-sites c",
			"fine, fine, fine, fine, fine, fine"},
		{"sites took mail long before", "works accepted x, works accepted y, works accepted z, wait, suspect refused-by-sites a, suspect refused-by-sites b, suspect refused-by-sites c",
			"fine, fine, fine, fine, fine, fine, enough fine"},
		{"a site refuses, and takes the next one", "suspect refused-by-sites a, works accepted a, suspect refused-by-sites b, works accepted b, suspect refused-by-sites c, works accepted c, suspect refused-by-sites d, suspect refused-by-sites e, suspect refused-by-sites f, suspect refused-by-sites g",
			"fine, fine, fine, fine, fine, fine, fine, fine, fine, enough fine"},
		{"a session between", "suspect refused-by-sites a, suspect refused-by-sites b, works inSession, suspect refused-by-sites c",
			"fine, fine, fine, enough fine"},
		{"a session through the proxy", "suspect proxy-fails a, suspect proxy-fails b, works inSession, suspect proxy-fails c",
			"fine, fine, fine, fine"},
		{"a connection through the proxy", "suspect proxy-fails a, suspect proxy-fails b, works connected, suspect proxy-fails c",
			"fine, fine, fine, enough fine"},
		{"two kinds", "suspect refused-by-sites a, suspect proxy-fails b, suspect refused-by-sites c, suspect proxy-fails d",
			"fine, fine, fine, fine"},
		{"too slow", "suspect refused-by-sites a, wait, suspect refused-by-sites b, suspect refused-by-sites c, suspect refused-by-sites d",
			"fine, fine, fine, fine, enough fine"},
		{"a connection doesn't unlist", "out refused-by-sites, works inSession, works accepted",
			"left refused-by-sites 1m, refused-by-sites 1m, back fine"},
		{"a session shows that the proxy works", "out proxy-fails, works connected, works inSession",
			"left proxy-fails 1m, proxy-fails 1m, back fine"},
		{"a refusal without a probe", "out refused-by-sites, suspect refused-by-sites x",
			"left refused-by-sites 1m, refused-by-sites 1m"},
		{"a refusal of a probe", "out refused-by-sites, probe, suspect refused-by-sites x, out refused-by-sites",
			"left refused-by-sites 1m, refused-by-sites 1m, enough refused-by-sites 1m, refused-by-sites 2m"},
	}
	fault := func(name string) SourceFault {
		for f := range sourceFaults {
			if sourceFaults[f] == name {
				return SourceFault(f)
			}
		}
		panic(name)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, now := new(addrHealth), time.Unix(0, 0)
			var got []string
			for step := range strings.SplitSeq(tt.steps, ", ") {
				now = now.Add(time.Minute)
				word, what := strings.Fields(step), ""
				switch word[0] {
				case "out":
					if a.out(now, fault(word[1]), errors.New("no"), first, most) {
						what = "left "
					}
				case "suspect":
					if a.suspect(fault(word[1]), word[2], now, 3, time.Hour) {
						what = "enough "
					}
				case "works":
					site := "" // that doesn't matter
					if len(word) > 2 {
						site = word[2]
					}
					if a.works(map[string]good{"connected": connected, "inSession": inSession, "accepted": accepted}[word[1]], site, now) {
						what = "back "
					}
				case "probe":
					a.probing = true
				case "wait":
					now = now.Add(time.Hour)
				}
				what += a.fault.String()
				if a.fault != SourceFine {
					what += fmt.Sprintf(" %dm", a.wait/time.Minute)
				}
				got = append(got, what)
			}
			if got := strings.Join(got, ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestAddrHealthBound: so many sites are remembered, the latest ones among them.
func TestAddrHealthBound(t *testing.T) {
	a, now := new(addrHealth), time.Unix(0, 0)
	for i := range 3 * maxVerdicts {
		now = now.Add(time.Second)
		a.works(accepted, fmt.Sprint("good", i), now)
	}
	late := 0
	for _, v := range a.verdicts {
		if now.Sub(v.at) < maxVerdicts*time.Second {
			late++
		}
	}
	if len(a.verdicts) != maxVerdicts || late < maxVerdicts/2 {
		t.Errorf("got %d sites, %d of them late, want %d and most", len(a.verdicts), late, maxVerdicts)
	}
}

// changes records the events of a Transport.
func (s *sourced) changes() *[]string {
	list := new([]string)
	s.SourceHealth.Changed = func(c SourceState) {
		*list = append(*list, fmt.Sprintf("%v %v", c.SourceAddr, c.Fault))
	}
	return list
}

func checkList(t *testing.T, what string, got *[]string, want ...string) {
	t.Helper()
	if g, w := strings.Join(*got, ", "), strings.Join(want, ", "); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
	*got = nil
}

// bindFails is the error of a dial whose source address isn't there.
func bindFails() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
}

// TestSourceHealth: sources leave the pool and come back.
func TestSourceHealth(t *testing.T) {
	const a = "192.0.2.1:25"
	got := toBob + ready + body + taken
	const delivered = "delivered final 250 taken"
	send := func(t *testing.T, s *sourced, want string) {
		t.Helper()
		if got := s.mail(t, bobOfA); got != want {
			t.Errorf("got %s, want %s; tries:\n%s", got, want, strings.Join(s.tries, "\n"))
		}
		s.CloseIdle()
	}
	tests := []struct {
		name string
		run  func(t *testing.T, s *sourced, changes *[]string)
	}{
		{"a proxy that is down, probed until it is up", func(t *testing.T, s *sourced, changes *[]string) {
			s.Sources[0].Proxy = socks5()
			s.inet.scripts(a, helloB+got+quit, helloB+got+quit, helloB+got+quit, helloB+got+quit, helloA+got+quit, helloA+got+quit)
			send(t, s, delivered)
			s.check(t, "- "+proxyAddr, "B "+a)
			checkList(t, "changes", changes, "198.51.100.1 proxy-down")
			time.Sleep(59 * time.Second)
			send(t, s, delivered)
			s.check(t, "B "+a) // not yet
			time.Sleep(time.Second)
			send(t, s, delivered)
			s.check(t, "- "+proxyAddr, "B "+a) // a probe
			time.Sleep(119 * time.Second)
			send(t, s, delivered)
			s.check(t, "B "+a)
			s.inet.serve(proxyAddr, socksProxy(s.inet, "", 0))
			time.Sleep(time.Second)
			checkList(t, "changes", changes)
			send(t, s, delivered)
			send(t, s, delivered)
			s.check(t, "- "+proxyAddr, "- "+proxyAddr)
			checkList(t, "changes", changes, "198.51.100.1 fine")
		}},
		{"an address that isn't there", func(t *testing.T, s *sourced, changes *[]string) {
			dial, missing := s.DialContext, true
			s.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if SourceAddr(ctx) == srcA && missing {
					s.dials = append(s.dials, "A fails")
					return nil, bindFails()
				}
				return dial(ctx, network, addr)
			}
			s.inet.scripts(a, helloB+got+quit, helloB+got+quit, helloA+got+quit)
			send(t, s, delivered)
			send(t, s, delivered)
			s.check(t, "A fails", "B "+a, "B "+a)
			if states := s.SourceStates(); len(states) != 2 || states[0].Fault != AddrMissing || states[0].SourceAddr != srcA ||
				!states[0].Until.Equal(time.Now().Add(time.Minute)) || states[0].Since.IsZero() || states[0].Err == nil ||
				states[1].Fault != SourceFine || states[1].Source != "198.51.100.2" {
				t.Errorf("got %+v", states)
			}
			missing = false
			time.Sleep(time.Minute)
			send(t, s, delivered)
			s.check(t, "A "+a)
			checkList(t, "changes", changes, "198.51.100.1 address-missing", "198.51.100.1 fine")
		}},
		{"no port is left: not missing", func(t *testing.T, s *sourced, changes *[]string) {
			dial := s.DialContext
			s.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if SourceAddr(ctx) == srcA {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{}, Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}
				}
				return dial(ctx, network, addr)
			}
			send(t, s, "deferred connect 451 4.4.1 connect: cannot assign requested address")
			checkList(t, "changes", changes)
		}},
		{"the error has the proxy's failure once", func(t *testing.T, s *sourced, _ *[]string) {
			s.Sources = s.Sources[:1]
			s.Sources[0].Proxy = socks5()
			_, err := s.Send(t.Context(), smtp.NewEnvelope("ann@client.test", bobOfA), smtp.Text("Hello.\n"))
			if err == nil || strings.Count(err.Error(), "proxy SOCKS5") != 1 {
				t.Errorf("got %v", err)
			}
		}},
		{"one probe at a time", func(t *testing.T, s *sourced, changes *[]string) {
			s.Sources = s.Sources[:1]
			s.Sources[0].Proxy = socks5()
			send(t, s, "deferred connect 451 4.3.0 no source address can be used: proxy-down (1)")
			s.inet.serve(proxyAddr, func(c *pipeConn) { time.Sleep(20 * time.Second); c.Close() })
			time.Sleep(time.Minute)
			var dials atomic.Int32
			s.Tried, s.DialContext = nil, func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return s.inet.DialContext(ctx, network, addr)
			}
			done := make(chan bool)
			for range 5 {
				go func() {
					s.Send(t.Context(), smtp.NewEnvelope("ann@client.test", bobOfA), smtp.Text("Hello.\n"))
					done <- true
				}()
			}
			for range 5 {
				<-done
			}
			if got := dials.Load(); got != 1 {
				t.Errorf("got %d dials for 5 messages, want 1", got)
			}
		}},
		{"refused by sites", func(t *testing.T, s *sourced, changes *[]string) {
			s.SourceHealth.Sites = 3
			s.inet.scripts(a, helloB+got+quit, helloA+got+quit)
			refuse := func(n int) {
				t.Helper()
				domain, addr := fmt.Sprintf("site%d.test", n), fmt.Sprintf("192.0.2.%d:25", 100+n)
				s.inet.add(domain, fmt.Sprintf("mx.%s=192.0.2.%d", domain, 100+n))
				to := prefersA(s, domain)
				toThem := strings.ReplaceAll(got, bobOfA, to)
				s.inet.scripts(addr, listed+"C: QUIT\neof", helloB+toThem+quit)
				s.mail(t, to)
				s.CloseIdle()
				s.check(t, "A "+addr, "B "+addr)
			}
			refuse(1)
			refuse(2)
			checkList(t, "changes", changes)
			refuse(3)
			checkList(t, "changes", changes, "198.51.100.1 refused-by-sites")
			send(t, s, delivered)
			s.check(t, "B "+a)
			time.Sleep(time.Minute)
			send(t, s, delivered)
			s.check(t, "A "+a)
			checkList(t, "changes", changes, "198.51.100.1 fine")
		}},
		{"refused, and still used if no other source is in the pool", func(t *testing.T, s *sourced, changes *[]string) {
			k := sourceAddr{&s.Sources[0], srcA}
			s.faulty(k, RefusedBySites, errors.New("listed"))
			s.Sources[1].Proxy = socks5()
			s.inet.scripts(a, helloA+got+quit)
			send(t, s, delivered)
			s.check(t, "- "+proxyAddr, "A "+a)
			checkList(t, "changes", changes, "198.51.100.1 refused-by-sites", "198.51.100.2 proxy-down", "198.51.100.1 fine")
		}},
		{"not used beside one that is blocked", func(t *testing.T, s *sourced, changes *[]string) {
			s.faulty(sourceAddr{&s.Sources[0], srcA}, RefusedBySites, errors.New("listed"))
			s.Block(Block{Site: "a.test,b.test,c.test", SourceAddr: srcB, Until: time.Now().Add(time.Hour)})
			send(t, s, "deferred connect 451 4.3.0 no source address can be used: refused-by-sites (1), blocked for a.test,b.test,c.test (1)")
			s.check(t)
		}},
		{"each with its reason", func(t *testing.T, s *sourced, changes *[]string) {
			s.Sources[0].Proxy = socks5()
			s.faulty(sourceAddr{&s.Sources[1], srcB}, AddrMissing, bindFails())
			send(t, s, "deferred connect 451 4.3.0 no source address can be used: address-missing (1), proxy-down (1)")
			last := s.tries[len(s.tries)-1]
			for _, want := range []string{"198.51.100.1: proxy-down: proxy SOCKS5 " + proxyAddr, "198.51.100.2: address-missing: "} {
				if !strings.Contains(last, want) {
					t.Errorf("got %s, want %s in it", last, want)
				}
			}
			s.check(t, "- "+proxyAddr)
		}},
		{"a proxy with a header that reaches nobody", func(t *testing.T, s *sourced, changes *[]string) {
			s.SourceHealth.Sites = 2
			s.Sources[0].Proxy = &Proxy{Protocol: PROXYv2, Addr: netip.MustParseAddrPort(proxyAddr)}
			s.inet.mx["example.net."] = s.inet.mx["example.net."][:1]
			s.inet.serve(proxyAddr, func(c *pipeConn) { io.ReadFull(c, make([]byte, 28)); c.Close() })
			s.inet.add("site.test", "mx.site.test=192.0.2.100")
			to := prefersA(s, "site.test")
			s.inet.scripts("192.0.2.100:25", helloB+strings.ReplaceAll(got, bobOfA, to)+quit)
			send(t, s, "deferred greeting 451 4.4.2 the host closed the connection")
			checkList(t, "changes", changes)
			if got := s.mail(t, to); got != delivered {
				t.Errorf("got %s", got)
			}
			s.check(t, "- "+proxyAddr, "- "+proxyAddr, "B 192.0.2.100:25")
			checkList(t, "changes", changes, "198.51.100.1 proxy-fails")
		}},
		{"never", func(t *testing.T, s *sourced, changes *[]string) {
			s.SourceHealth.ProbeAfter = -1
			s.Sources[0].Proxy = socks5()
			s.inet.scripts(a, helloB+got+quit, helloB+got+quit)
			send(t, s, delivered)
			send(t, s, delivered)
			s.check(t, "- "+proxyAddr, "B "+a, "- "+proxyAddr, "B "+a)
			s.Sources = s.Sources[:1]
			send(t, s, "deferred connect 451 4.3.0 no source address can be used: failed just now: connection refused (1)")
			checkList(t, "changes", changes)
		}},
		{"a proxy that fails for a host, which alone shows nothing", func(t *testing.T, s *sourced, changes *[]string) {
			s.Sources[0].Proxy = socks5()
			s.inet.serve(proxyAddr, socksProxy(s.inet, "", 1))
			s.inet.scripts(a, helloB+got+quit, helloB+got+quit)
			send(t, s, delivered)
			send(t, s, delivered)
			s.check(t, "- "+proxyAddr, "B "+a, "- "+proxyAddr, "B "+a)
			s.Sources = s.Sources[:1]
			send(t, s, "deferred connect 451 4.3.0 no source address can be used: failed just now: general failure (1)")
			last := s.tries[len(s.tries)-1]
			if !strings.Contains(last, "proxy SOCKS5 "+proxyAddr+": general failure") {
				t.Errorf("got %s, want the proxy in it", last)
			}
			checkList(t, "changes", changes)
		}},
		{"a panic in Changed", func(t *testing.T, s *sourced, changes *[]string) {
			var log bytes.Buffer
			s.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s.SourceHealth.Changed = func(SourceState) { panic("Changed") }
			s.Sources[0].Proxy = socks5()
			s.inet.scripts(a, helloB+got+quit)
			send(t, s, delivered)
			for _, want := range []string{"SourceHealth.Changed", "source address left the pool", "proxy-down"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("got log\n%s\nwant %q in it", log.String(), want)
				}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSourced(t)
				tt.run(t, s, s.changes())
				s.Close()
			})
		})
	}
}

// prefersA returns an address at a domain whose mail prefers the source A.
func prefersA(s *sourced, domain string) string {
	for i := 0; ; i++ {
		if to := fmt.Sprintf("eve%d@%s", i, domain); rank(s.Sources, pair{"ann@client.test", to})[0] == &s.Sources[0] {
			return to
		}
	}
}

// TestMissingSource: an address that isn't on this machine is noticed on a real socket, and tested by a bind.
func TestMissingSource(t *testing.T) {
	missing, here := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")
	if bindable(missing) == nil {
		t.Skip("192.0.2.1 can be bound to on this machine")
	}
	tr := &Transport{Hostname: "client.test", Sources: []Source{{Addrs: []netip.Addr{missing}}, {Addrs: []netip.Addr{here}}}}
	tr.Router = &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("192.0.2.2:25"))}}
	results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	if r := results[0]; r.Reason != smtp.NoSource || r.Outcome != smtp.Deferred || !r.Local || r.Reply.Enhanced[1] != 3 {
		t.Errorf("got %s", show(results))
	}
	states := tr.SourceStates()
	if wait := time.Until(states[0].Until); states[0].Fault != AddrMissing || wait > bindWait {
		t.Errorf("got %+v, with a test in %v", states[0], wait)
	}

	d := &delivery{t: tr, ranked: []*Source{&tr.Sources[1]}}
	k := sourceAddr{&tr.Sources[1], here}
	tr.faulty(k, AddrMissing, bindFails())
	d.testMissing(here)
	if fault, _ := tr.health.of(k); fault != AddrMissing {
		t.Error("it was tested before its time")
	}
	tr.health.addrs[k].until = time.Now()
	d.testMissing(here)
	if fault, _ := tr.health.of(k); fault != SourceFine {
		t.Errorf("got %v, though the address can be bound to", fault)
	}
	tr.Close()
}
