package client

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

func TestOwnName(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	v4, v6 := tcp("192.0.2.9:40000"), tcp("[2001:db8::9]:40000")
	tests := []struct {
		name   string
		system string
		local  net.Addr
		want   string
	}{
		{"full", "mx1.example.com", v4, "mx1.example.com"},
		{"full, in capitals and with a dot", "MX1.Example.COM.", v4, "mx1.example.com"},
		{"full, in Unicode", "mx.bücher.example", v4, "mx.xn--bcher-kva.example"},
		{"full, without an address", "mx1.example.com", nil, "mx1.example.com"},
		{"a label", "vm", v4, "[192.0.2.9]"},
		{"a container", "3f2c1a9b7d10", v4, "[192.0.2.9]"},
		{"a label with a dot", "vm.", v4, "[192.0.2.9]"},
		{"none", "", v4, "[192.0.2.9]"},
		{"localhost", "localhost", v4, "[192.0.2.9]"},
		{"localhost.localdomain", "localhost.localdomain", v4, "[192.0.2.9]"},
		{"below localhost", "vm.localhost", v4, "[192.0.2.9]"},
		{"multicast DNS", "laptop.local", v4, "[192.0.2.9]"},
		{"a cloud", "ip-10-0-0-1.ec2.internal", v4, "[192.0.2.9]"},
		{"a home", "nas.home.arpa", v4, "[192.0.2.9]"},
		{"a router", "laptop.lan", v4, "[192.0.2.9]"},
		{"an address for a name", "192.0.2.7", v4, "[192.0.2.9]"},
		{"a literal for a name", "[192.0.2.7]", v4, "[192.0.2.9]"},
		{"an underscore", "my_vm.example.com", v4, "[192.0.2.9]"},
		{"no domain", "mx one.example.com", v4, "[192.0.2.9]"},
		{"a command", "a.example.com\r\nRSET", v4, "[192.0.2.9]"},
		{"IPv6", "vm", v6, "[IPv6:2001:db8::9]"},
		{"IPv6 with a zone", "vm", tcp("[fe80::9%eth0]:40000"), "[IPv6:fe80::9]"},
		{"IPv4 in IPv6", "vm", tcp("[::ffff:192.0.2.9]:40000"), "[192.0.2.9]"},
		{"loopback", "vm", tcp("127.0.0.1:40000"), "[127.0.0.1]"},
		{"no address", "vm", nil, "localhost"},
		{"unspecified", "vm", tcp("0.0.0.0:40000"), "localhost"},
		{"a Unix socket", "vm", &net.UnixAddr{Name: "@", Net: "unix"}, "localhost"},
		{"a pipe", "vm", pipeAddr("pipe"), "localhost"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ownName(tt.system, tt.local)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if _, err := smtp.ASCIIDomain(got); err != nil {
				t.Errorf("no server takes it: %v", err)
			}
		})
	}
}

// localConn has a local address.
type localConn struct {
	*pipeConn
	local net.Addr
}

func (c localConn) LocalAddr() net.Addr { return c.local }

// TestHelloName: the name in EHLO, LHLO, and after STARTTLS or a refused EHLO in what follows.
func TestHelloName(t *testing.T) {
	system, _ := os.Hostname()
	local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.9:40000"))
	own := ownName(system, local) // the literal, unless the machine has a name in the DNS
	tests := []struct {
		name string
		conn Conn
		want string
	}{
		{"no Hostname", Conn{}, "EHLO " + own},
		{"no Hostname, LMTP", Conn{LMTP: true}, "LHLO " + own},
		{"a name", Conn{Hostname: "MX1.example.com"}, "EHLO mx1.example.com"},
		{"a label, as it is set", Conn{Hostname: "vm"}, "EHLO vm"},
		{"a literal", Conn{Hostname: "[IPv6:2001:db8::1]"}, "EHLO [IPv6:2001:db8::1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe("192.0.2.1:25")
				heard := make(chan []string, 1)
				go func() { heard <- play(server, steps("S: 220 hi\nC: EHLO\nS: 250 host\nC: QUIT\nS: 221 bye"), nil, nil) }()
				c := tt.conn
				if err := c.Open(t.Context(), localConn{client, local}); err != nil {
					t.Fatal(err)
				}
				c.Quit(t.Context())
				if got := (<-heard)[1]; got != "C: "+tt.want {
					t.Errorf("got %q, want %q", got, "C: "+tt.want)
				}
			})
		})
	}
}

// TestHelloNameOfSources: a Source without a Hostname has the literal of its own address.
func TestHelloNameOfSources(t *testing.T) {
	system, _ := os.Hostname()
	synctest.Test(t, func(t *testing.T) {
		inet := newInternet(t)
		var said []string
		inet.serve("192.0.2.1:25", func(c *pipeConn) {
			said = append(said, play(c, steps("S: 220 hi\nC: EHLO\nS: 554 no\nC: HELO\nS: 554 no\nC: QUIT"), nil, nil)...)
		})
		tr := &Transport{
			Sources: []Source{{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.77")}}},
			Router:  &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("192.0.2.1:25"))}},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := inet.DialContext(ctx, network, addr)
				return localConn{c.(*pipeConn), net.TCPAddrFromAddrPort(netip.AddrPortFrom(SourceAddr(ctx), 40000))}, err
			},
		}
		tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		tr.Close()
		inet.wg.Wait()
		own := ownName(system, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.77:40000")))
		got := strings.Join(said, "\n")
		if !strings.Contains(got, "C: EHLO "+own+"\n") || !strings.Contains(got, "C: HELO "+own+"\n") {
			t.Errorf("got\n%s\nwant EHLO and HELO %s", got, own)
		}
	})
}
