package client

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestProxySockets: sessions through a small SOCKS5 proxy over sockets, which are kept, and noticed when they die.
func TestProxySockets(t *testing.T) {
	sink, addr := listenSink(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				b := make([]byte, 3+10)
				if _, err := io.ReadFull(c, b[:3]); err != nil {
					return
				}
				c.Write([]byte("\x05\x00"))
				if _, err := io.ReadFull(c, b[3:]); err != nil {
					return
				}
				ip, _ := netip.AddrFromSlice(b[7:11])
				host, err := net.Dial("tcp", netip.AddrPortFrom(ip, uint16(b[11])<<8|uint16(b[12])).String())
				if err != nil {
					c.Write([]byte("\x05\x05\x00\x01"))
					return
				}
				mu.Lock()
				open = append(open, c, host)
				mu.Unlock()
				c.Write([]byte("\x05\x00\x00\x03\x07a.proxy\x00\x00"))
				relay(c, host)
			})
		}
	})
	source := Source{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.2")},
		Proxy: &Proxy{Addr: l.Addr().(*net.TCPAddr).AddrPort()}}
	route := mustRoute(mx.Smarthost(addr))
	route.TLS = mx.TLSNone
	tr := &Transport{Hostname: "client.test", Sources: []Source{source}, Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}}
	send := func() {
		t.Helper()
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
		if results, err := tr.Send(t.Context(), env, lines(100<<10)); err != nil {
			t.Errorf("got %s", show(results))
		}
	}
	send()
	send()
	mu.Lock()
	if len(open) != 2 {
		t.Errorf("got %d connections of the proxy for two messages, want 2", len(open))
	}
	open[1].Close() // the session dies while it is idle
	mu.Unlock()
	send()
	tr.Close()
	if got := sink.messages.Load(); got != 3 {
		t.Errorf("got %d messages, want 3", got)
	}
}
