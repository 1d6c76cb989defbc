package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

const proxyAddr = "10.0.0.9:1080"

func socks5() *Proxy { return &Proxy{Addr: netip.MustParseAddrPort(proxyAddr)} }

func TestProxyCheck(t *testing.T) {
	at := netip.MustParseAddrPort(proxyAddr)
	tests := []struct {
		name string
		p    Proxy
		ok   bool
	}{
		{"SOCKS5", Proxy{Addr: at}, true},
		{"with a login", Proxy{Addr: at, Username: "ann", Password: "secret"}, true},
		{"PROXY", Proxy{Addr: at, Protocol: PROXYv2}, true},
		{"zero", Proxy{}, false},
		{"no port", Proxy{Addr: netip.AddrPortFrom(at.Addr(), 0)}, false},
		{"unspecified", Proxy{Addr: netip.MustParseAddrPort("0.0.0.0:1080")}, false},
		{"unknown protocol", Proxy{Addr: at, Protocol: PROXYv2 + 1}, false},
		{"a login for PROXY", Proxy{Addr: at, Protocol: PROXYv1, Username: "ann", Password: "secret"}, false},
		{"no password", Proxy{Addr: at, Username: "ann"}, false},
		{"no name", Proxy{Addr: at, Password: "secret"}, false},
		{"a long password", Proxy{Addr: at, Username: "ann", Password: strings.Repeat("secret", 50)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := (&Source{Addrs: []netip.Addr{srcA}, Proxy: &tt.p}).Check()
			if (err == nil) != tt.ok {
				t.Errorf("got %v, want an error: %v", err, !tt.ok)
			}
			for _, text := range []string{fmt.Sprint(err), fmt.Sprint(tt.p), fmt.Sprintf("%+v %#v", &tt.p, tt.p)} {
				if strings.Contains(text, "secret") {
					t.Errorf("got the password in %s", text)
				}
			}
		})
	}
}

func TestPROXYHeader(t *testing.T) {
	const sig = "0d0a0d0a000d0a515549540a" // of the specification, §2.2
	tests := []struct {
		name     string
		protocol ProxyProtocol
		from, to string
		want     string
	}{
		{"1, IPv4", PROXYv1, "198.51.100.1", "192.0.2.1:25", "PROXY TCP4 198.51.100.1 192.0.2.1 0 25\r\n"},
		{"1, IPv6", PROXYv1, "2001:db8::c", "[2001:db8::1]:465", "PROXY TCP6 2001:db8::c 2001:db8::1 0 465\r\n"},
		{"2, IPv4", PROXYv2, "198.51.100.1", "192.0.2.1:25", sig + "2111000c" + "c6336401" + "c0000201" + "0000" + "0019"},
		{"2, mapped", PROXYv2, "198.51.100.1", "[::ffff:192.0.2.1]:25", sig + "2111000c" + "c6336401" + "c0000201" + "0000" + "0019"},
		{"2, IPv6", PROXYv2, "2001:db8::c", "[2001:db8::1]:465", sig + "21210024" + "20010db800000000000000000000000c" +
			"20010db8000000000000000000000001" + "0000" + "01d1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Proxy{Protocol: tt.protocol}
			got := string(p.header(netip.MustParseAddr(tt.from), netip.MustParseAddrPort(tt.to)))
			if tt.protocol == PROXYv2 {
				got = hex.EncodeToString([]byte(got))
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSOCKS: what is said to the proxy, whom a failure blames, and that nothing of the host's is read.
func TestSOCKS(t *testing.T) {
	const (
		v4 = "\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x19"
		v6 = "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x19"
		ok = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	)
	tests := []struct {
		name        string
		to          string
		user        string
		says, hears string // of the proxy
		want        string
	}{
		{"IPv4", "192.0.2.1:25", "", "\x05\x00" + ok, "\x05\x01\x00" + v4, "done"},
		{"IPv4, mapped", "[::ffff:192.0.2.1]:25", "", "\x05\x00" + ok, "\x05\x01\x00" + v4, "done"},
		{"IPv6", "[2001:db8::1]:25", "", "\x05\x00\x05\x00\x00\x04" + strings.Repeat("a", 18), "\x05\x01\x00" + v6, "done"},
		{"bound to a name", "192.0.2.1:25", "", "\x05\x00\x05\x00\x00\x03\x04name\x00\x19", "\x05\x01\x00" + v4, "done"},
		{"login", "192.0.2.1:25", "ann", "\x05\x02\x01\x00" + ok, "\x05\x02\x00\x02\x01\x03ann\x06secret" + v4, "done"},
		{"login not needed", "192.0.2.1:25", "ann", "\x05\x00" + ok, "\x05\x02\x00\x02" + v4, "done"},
		{"login refused", "192.0.2.1:25", "ann", "\x05\x02\x01\x01", "\x05\x02\x00\x02\x01\x03ann\x06secret", "proxy-refuses true"},
		{"login needed", "192.0.2.1:25", "", "\x05\xff", "\x05\x01\x00", "proxy-refuses true"},
		{"login that wasn't offered", "192.0.2.1:25", "", "\x05\x02", "\x05\x01\x00", "proxy-refuses true"},
		{"login by GSSAPI", "192.0.2.1:25", "ann", "\x05\x01", "\x05\x02\x00\x02", "proxy-refuses true"},
		{"no SOCKS", "192.0.2.1:25", "", "220 mx.test ESMTP\r\n", "\x05\x01\x00", "proxy-refuses true"},
		{"SOCKS4", "192.0.2.1:25", "", "\x00\x5b", "\x05\x01\x00", "proxy-refuses true"},
		{"closed at once", "192.0.2.1:25", "", "", "\x05\x01\x00", "proxy-down true"},
		{"closed in the login", "192.0.2.1:25", "ann", "\x05\x02\x01", "\x05\x02\x00\x02\x01\x03ann\x06secret", "proxy-down true"},
		{"closed at CONNECT", "192.0.2.1:25", "", "\x05\x00", "\x05\x01\x00" + v4, "proxy-fails false"},
		{"closed in the reply", "192.0.2.1:25", "", "\x05\x00\x05\x00\x00\x01\x00", "\x05\x01\x00" + v4, "proxy-fails false"},
		{"general failure", "192.0.2.1:25", "", "\x05\x00\x05\x01\x00\x01", "\x05\x01\x00" + v4, "proxy-fails false"},
		{"rules", "192.0.2.1:25", "", "\x05\x00\x05\x02\x00\x01", "\x05\x01\x00" + v4, "proxy-fails false"},
		{"unreachable network", "192.0.2.1:25", "", "\x05\x00\x05\x03\x00\x01", "\x05\x01\x00" + v4, "host network unreachable"},
		{"refused", "192.0.2.1:25", "", "\x05\x00\x05\x05\x00\x01", "\x05\x01\x00" + v4, "host connection refused"},
		{"no CONNECT", "192.0.2.1:25", "", "\x05\x00\x05\x07\x00\x01", "\x05\x01\x00" + v4, "proxy-refuses true"},
		{"no IPv6", "[2001:db8::1]:25", "", "\x05\x00\x05\x08\x00\x01", "\x05\x01\x00" + v6, "proxy-refuses true"},
		{"unknown code", "192.0.2.1:25", "", "\x05\x00\x05\x60\x00\x01", "\x05\x01\x00" + v4, "proxy-fails false"},
		{"another version", "192.0.2.1:25", "", "\x05\x00\x04\x00\x00\x01", "\x05\x01\x00" + v4, "proxy-fails false"},
		{"unknown type", "192.0.2.1:25", "", "\x05\x00\x05\x00\x00\x07", "\x05\x01\x00" + v4, "proxy-fails false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &scripted{in: strings.NewReader(tt.says)}
			if tt.want == "done" {
				c.in = strings.NewReader(tt.says + "220 ESMTP\r\n")
			}
			p := socks5()
			if tt.user != "" {
				p.Username, p.Password = tt.user, "secret"
			}
			err := p.socks(c, netip.MustParseAddrPort(tt.to))
			got := "done"
			if ours, ok := err.(*sourceError); ok {
				got = fmt.Sprint(ours.fault, " ", ours.single)
				if !strings.Contains(err.Error(), proxyAddr) {
					t.Errorf("got %v, want the proxy in it", err)
				}
			} else if err != nil {
				got = "host " + withoutAddrs(err)
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
			if got := c.out.String(); got != tt.hears {
				t.Errorf("the proxy got %q, want %q", got, tt.hears)
			}
			if rest, _ := io.ReadAll(c.in); err == nil && string(rest) != "220 ESMTP\r\n" {
				t.Errorf("%q is left for the session", rest)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("got the password in %v", err)
			}
		})
	}
}

// scripted is a connection whose other end has said all it will say.
type scripted struct {
	net.Conn
	in  *strings.Reader
	out bytes.Buffer
}

func (s *scripted) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *scripted) Write(b []byte) (int, error) { return s.out.Write(b) }

// FuzzSOCKS: a proxy may say what it likes. No more is read than its reply, of 264 octets at most.
func FuzzSOCKS(f *testing.F) {
	for _, says := range []string{"\x05\x00\x05\x00\x00\x01aaaaaa", "\x05\x02\x01\x00\x05\x00\x00\x03\x01ab", "\x05\xff", ""} {
		f.Add(says, says != "")
	}
	f.Fuzz(func(t *testing.T, says string, login bool) {
		p := socks5()
		if login {
			p.Username, p.Password = "ann", "secret"
		}
		c := &scripted{in: strings.NewReader(says)}
		err := p.socks(c, netip.MustParseAddrPort("192.0.2.1:25"))
		if read := len(says) - c.in.Len(); read > 2+2+4+1+255+2 {
			t.Errorf("read %d octets", read)
		}
		if ours, ok := errors.AsType[*sourceError](err); ok && ours.fault == SourceFine {
			t.Errorf("got %v without a fault", err)
		}
	})
}

// socksProxy serves SOCKS5 in inet, as DialContext does it.
func socksProxy(inet *internet, login string, answer byte) func(*pipeConn) {
	return func(c *pipeConn) {
		defer c.Close()
		b := make([]byte, 300)
		if n, _ := c.Read(b); n < 3 || b[0] != 5 {
			return
		}
		if login == "" {
			c.Write([]byte{5, 0})
		} else {
			c.Write([]byte{5, 2})
			n, _ := c.Read(b)
			if got := string(b[2:5]) + ":" + string(b[6:n]); got != login {
				c.Write([]byte{1, 1})
				return
			}
			c.Write([]byte{1, 0})
		}
		if n, _ := c.Read(b); n != 10 {
			return
		}
		if answer != 0 {
			c.Write([]byte{5, answer, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		ip, _ := netip.AddrFromSlice(b[4:8])
		host, err := inet.DialContext(context.Background(), "tcp", netip.AddrPortFrom(ip, uint16(b[8])<<8|uint16(b[9])).String())
		if err != nil {
			c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		relay(c, host)
	}
}

// relay copies in both directions until one end closes.
func relay(a, b net.Conn) {
	done := make(chan bool, 2)
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			io.Copy(pair[0], pair[1])
			pair[0].Close()
			done <- true
		}()
	}
	<-done
	<-done
}

// TestEgress: sessions go out through the proxies, and hosts see nothing of that.
func TestEgress(t *testing.T) {
	const a = "192.0.2.1:25"
	got := toBob + ready + body + taken
	tests := []struct {
		name  string
		setup func(s *sourced)
		want  string
		dials []string
		err   string // in the tries
	}{
		{"SOCKS5", func(s *sourced) {
			s.Sources[0].Proxy = socks5()
			s.inet.serve(proxyAddr, socksProxy(s.inet, "", 0))
			s.inet.scripts(a, helloA+got+quit)
		}, "delivered final 250 taken", []string{"- " + proxyAddr}, ""},
		{"SOCKS5 with a login", func(s *sourced) {
			s.Sources[0].Proxy = socks5()
			s.Sources[0].Proxy.Username, s.Sources[0].Proxy.Password = "ann", "secret"
			s.inet.serve(proxyAddr, socksProxy(s.inet, "ann:secret", 0))
			s.inet.scripts(a, helloA+got+quit)
		}, "delivered final 250 taken", []string{"- " + proxyAddr}, ""},
		{"the host is down", func(s *sourced) {
			s.Sources[0].Proxy = socks5()
			s.inet.mx["example.net."] = s.inet.mx["example.net."][:1]
			s.inet.serve(proxyAddr, socksProxy(s.inet, "", 0))
		}, "deferred connect 451 4.4.1 connection refused", []string{"- " + proxyAddr}, "SOCKS5 tcp " + proxyAddr},
		{"the host doesn't answer", func(s *sourced) {
			s.Sources[0].Proxy = socks5()
			s.inet.mx["example.net."] = s.inet.mx["example.net."][:1]
			s.inet.serve(proxyAddr, func(c *pipeConn) { c.Write([]byte{5, 0}); io.Copy(io.Discard, c) })
		}, "deferred connect 451 4.4.1 the host did not answer the proxy in time", []string{"- " + proxyAddr}, proxyAddr},
		{"the proxy is down: the next source", func(s *sourced) {
			s.Sources[0].Proxy = socks5()
			s.inet.scripts(a, helloB+got+quit)
		}, "delivered final 250 taken", []string{"- " + proxyAddr, "B " + a}, "a.test: connect: 451 4.3.0 the proxy of the source address failed: " +
			"connection refused: proxy SOCKS5 " + proxyAddr},
		{"the proxy doesn't answer: the next source", func(s *sourced) {
			s.Sources[0].Proxy = socks5()
			s.inet.serve(proxyAddr, func(c *pipeConn) { io.Copy(io.Discard, c) })
			s.inet.scripts(a, helloB+got+quit)
		}, "delivered final 250 taken", []string{"- " + proxyAddr, "B " + a}, "proxy SOCKS5 " + proxyAddr},
		{"the login is wrong, and there is no other source", func(s *sourced) {
			s.Sources = s.Sources[:1]
			s.Sources[0].Proxy = socks5()
			s.Sources[0].Proxy.Username, s.Sources[0].Proxy.Password = "ann", "secret"
			s.inet.serve(proxyAddr, socksProxy(s.inet, "ann:other", 0))
		}, "deferred connect 451 4.3.0 no source address can be used: proxy-refuses (1)",
			[]string{"- " + proxyAddr}, "198.51.100.1: proxy-refuses: proxy SOCKS5 " + proxyAddr},
		{"PROXY", func(s *sourced) {
			s.Sources[0].Proxy = &Proxy{Protocol: PROXYv1, Addr: netip.MustParseAddrPort(proxyAddr)}
			s.inet.serve(proxyAddr, func(c *pipeConn) {
				defer c.Close()
				in := bufio.NewReader(io.LimitReader(c, int64(len("PROXY TCP4 198.51.100.1 192.0.2.1 0 25\r\n"))))
				if line, err := in.ReadString('\n'); err != nil || line != "PROXY TCP4 198.51.100.1 192.0.2.1 0 25\r\n" {
					s.inet.t.Errorf("the proxy got %q, %v", line, err)
					return
				}
				host, err := s.inet.DialContext(context.Background(), "tcp", a)
				if err != nil {
					s.inet.t.Error(err)
					return
				}
				relay(c, host)
			})
			s.inet.scripts(a, helloA+got+quit)
		}, "delivered final 250 taken", []string{"- " + proxyAddr}, ""},
		{"a loopback host", func(s *sourced) {
			for i := range s.Sources {
				s.Sources[i].Addrs, s.Sources[i].Proxy = []netip.Addr{netip.MustParseAddr("127.0.0.2")}, socks5()
			}
			s.Router = &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}
			s.inet.scripts("127.0.0.1:25", whole)
		}, "delivered final 250 taken", []string{"- 127.0.0.1:25"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSourced(t)
				tt.setup(s)
				if got := s.mail(t, bobOfA); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if tries := strings.Join(s.tries, "\n"); !strings.Contains(tries, tt.err) || strings.Contains(tries, "secret") {
					t.Errorf("got tries\n%s\nwant %q in them", tries, tt.err)
				}
				s.check(t, tt.dials...)
				s.Close()
			})
		})
	}
}

// TestEgressAddrs: the connection has the addresses that the host sees, and the name in EHLO is made of those.
func TestEgressAddrs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSourced(t)
		s.inet.serve(proxyAddr, socksProxy(s.inet, "", 0))
		s.inet.serve("192.0.2.1:25", func(c *pipeConn) { c.Close() })
		c := &Conn{Addr: "192.0.2.1:25", source: srcA, via: &Source{Proxy: socks5()}}
		nc, err := s.dialProxy(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if got := fmt.Sprint(nc.LocalAddr(), " ", nc.RemoteAddr()); got != "198.51.100.1:0 192.0.2.1:25" {
			t.Errorf("got %s", got)
		}
		if got := ownName("localhost", nc.LocalAddr()); got != "[198.51.100.1]" {
			t.Errorf("got the name %s", got)
		}
	})
}

// TestEgressCancelled: the end of ctx ends the wait for a proxy, and blames nobody.
func TestEgressCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSourced(t)
		s.Sources[0].Proxy = socks5()
		s.inet.serve(proxyAddr, func(c *pipeConn) { io.Copy(io.Discard, c) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		results, err := s.Send(ctx, smtp.NewEnvelope("ann@client.test", bobOfA), smtp.Text("Hello.\n"))
		if !errors.Is(err, context.DeadlineExceeded) || results[0].Outcome != smtp.Deferred || time.Since(begun) != time.Second {
			t.Errorf("got %s, %v after %v", show(results), err, time.Since(begun))
		}
		for _, state := range s.SourceStates() {
			if state.Fault != SourceFine {
				t.Errorf("got %+v", state)
			}
		}
		s.Close()
	})
}
