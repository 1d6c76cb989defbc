package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// listen returns a Listener on loopback, which trusts the networks.
func listen(t *testing.T, l *Listener, from ...string) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Listener = inner
	for _, p := range from {
		l.From = append(l.From, netip.MustParsePrefix(p))
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects and says something.
func dial(t *testing.T, l *Listener, said string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, said)
	return conn
}

// v2 returns a header of version 2.
func v2(t *testing.T, change func(*proxyproto.Header)) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1000},
		&net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 25})
	change(h)
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		name, header  string
		remote, local string // "" for those of the proxy
	}{
		{"version 1", "PROXY TCP4 192.0.2.1 198.51.100.1 1000 25\r\n", "192.0.2.1:1000", "198.51.100.1:25"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1000 25\r\n", "[2001:db8::1]:1000", "[2001:db8::2]:25"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "0.0.0.0:0", ""},
		{"version 1, unknown, with addresses", "PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 25\r\n", "0.0.0.0:0", ""},
		{"version 2, unspecified", v2(t, func(h *proxyproto.Header) { h.TransportProtocol = proxyproto.UNSPEC }), "0.0.0.0:0", ""},
		{"version 2, a Unix socket", v2(t, func(h *proxyproto.Header) {
			h.TransportProtocol = proxyproto.UnixStream
			h.SourceAddr, h.DestinationAddr = &net.UnixAddr{Name: "/a", Net: "unix"}, &net.UnixAddr{Name: "/b", Net: "unix"}
		}), "0.0.0.0:0", ""},
		{"version 2", v2(t, func(*proxyproto.Header) {}), "192.0.2.1:1000", "198.51.100.1:25"},
		{"version 2, local", v2(t, func(h *proxyproto.Header) { h.Command = proxyproto.LOCAL }), "", ""},
		{"version 2, local, with a family that isn't known", "\r\n\r\n\x00\r\nQUIT\n\x20\x99\x00\x03abc", "", ""},
		{"version 2, unspecified, with data", "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x03abc", "0.0.0.0:0", ""},
		{"version 1, the longest", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", "0.0.0.0:0", ""},
		{"version 2, with many fields", v2(t, func(h *proxyproto.Header) {
			h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, 4000)}})
		}), "192.0.2.1:1000", "198.51.100.1:25"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := listen(t, &Listener{}, "127.0.0.0/8")
			client := dial(t, l, tt.header+"EHLO x\r\n")
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			remote := cmp.Or(tt.remote, client.LocalAddr().String())
			local := cmp.Or(tt.local, client.RemoteAddr().String())
			if conn.RemoteAddr().String() != remote || conn.LocalAddr().String() != local {
				t.Errorf("got %v to %v, want %s to %s", conn.RemoteAddr(), conn.LocalAddr(), remote, local)
			}
			client.(*net.TCPConn).CloseWrite()
			if b, err := io.ReadAll(conn); string(b) != "EHLO x\r\n" || err != nil {
				t.Errorf("got %q, %v, want what follows the header", b, err)
			}
		})
	}
}

// TestBadHeaders: a proxy without a good header is closed, and others get through.
func TestBadHeaders(t *testing.T) {
	for _, tt := range []struct{ name, said, log string }{
		{"none", "EHLO x\r\nMAIL FROM:<>\r\n", "doesn't begin with a PROXY header: switch the header on at the proxy"},
		{"too long", "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", "107 bytes or less"},
		{"nonsense", "PROXY TCP4 a b c d\r\n", "invalid address"},
		{"bare LF", "PROXY TCP4 192.0.2.1 198.51.100.1 1000 25\n", "must end with"},
		{"version 2, cut", v2(t, func(*proxyproto.Header) {})[:20], "err="},
		{"twice", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			l := listen(t, &Listener{Logger: slog.New(slog.NewTextHandler(&log, nil))}, "127.0.0.0/8")
			const good = "PROXY TCP4 192.0.2.1 198.51.100.1 1000 25\r\n"
			if tt.name == "twice" { // the second one is the client's, and no header
				dial(t, l, good+"PROXY TCP4 10.0.0.1 198.51.100.1 1000 25\r\n")
				conn, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 6)
				if _, err := io.ReadFull(conn, b); string(b) != "PROXY " || conn.RemoteAddr().String() != "192.0.2.1:1000" {
					t.Errorf("got %q from %v, %v, want the second header as it is", b, conn.RemoteAddr(), err)
				}
				conn.Close()
				return
			}
			bad := dial(t, l, tt.said)
			bad.(*net.TCPConn).CloseWrite()
			dial(t, l, good)
			conn, err := l.Accept()
			if err != nil || conn.RemoteAddr().String() != "192.0.2.1:1000" {
				t.Fatalf("got %v, %v, want the good one", conn, err)
			}
			conn.Close()
			if b, _ := io.ReadAll(bad); len(b) > 0 {
				t.Errorf("got %q, want it closed", b)
			}
			l.Close()
			if !strings.Contains(log.String(), "connection of a proxy closed") || !strings.Contains(log.String(), tt.log) {
				t.Errorf("got log %q, want %q as the reason", log.String(), tt.log)
			}
		})
	}
}

// TestSplitHeaders: a header may come in several segments.
func TestSplitHeaders(t *testing.T) {
	for _, header := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 1000 25\r\n", v2(t, func(*proxyproto.Header) {}),
	} {
		for at := range len(header) {
			inner, outer := net.Pipe() // a Read returns what one Write has written
			go func() {
				io.WriteString(outer, header[:at])
				io.WriteString(outer, header[at:])
				io.WriteString(outer, "EHLO x\r\n")
				outer.Close()
			}()
			conn, err := new(Listener).read(inner)
			if err != nil {
				t.Errorf("%q cut at %d: got %v", header, at, err)
				continue
			}
			if b, err := io.ReadAll(conn); string(b) != "EHLO x\r\n" || err != nil || conn.RemoteAddr().String() != "192.0.2.1:1000" {
				t.Errorf("%q cut at %d: got %q from %v, %v", header, at, b, conn.RemoteAddr(), err)
			}
		}
	}
}

// TestUntrusted: a header from elsewhere is the client's own words.
func TestUntrusted(t *testing.T) {
	l := listen(t, &Listener{}, "10.0.0.0/8")
	client := dial(t, l, "PROXY TCP4 10.0.0.1 198.51.100.1 1000 25\r\n")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 6)
	if _, err := io.ReadFull(conn, b); string(b) != "PROXY " || conn.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("got %q from %v, %v, want its own address", b, conn.RemoteAddr(), err)
	}
}

// TestSilentProxies: connections that wait for their header hold up no other, are bounded, and end.
func TestSilentProxies(t *testing.T) {
	l := listen(t, &Listener{MaxWaiting: 2, Timeout: time.Hour}, "127.0.0.0/8")
	l.start() // connections are accepted in the order in which they came
	first, second := dial(t, l, ""), dial(t, l, "")
	third := dial(t, l, "PROXY UNKNOWN\r\n")
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("got the third one kept, want it closed")
	}
	io.WriteString(first, "PROXY UNKNOWN\r\n")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	l.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("got the silent one kept, want it closed by Close")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	l.Close()

	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	l = listen(t, &Listener{Timeout: time.Millisecond, Logger: logger}, "127.0.0.0/8")
	l.start()
	if _, err := dial(t, l, "").Read(make([]byte, 1)); err == nil {
		t.Error("got a silent one kept, want it closed after Timeout")
	}
	l.Close()
	if want := "no PROXY header came within 1ms: switch"; !strings.Contains(log.String(), want) {
		t.Errorf("got log %q, want %q in it", log.String(), want)
	}
}
