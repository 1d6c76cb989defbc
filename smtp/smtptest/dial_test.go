package smtptest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDial(t *testing.T) {
	tests := []struct {
		name             string
		network, address string
		want             string // the address that answers
		err              error
		notFound         bool
	}{
		{name: "name", network: "tcp", address: "mx.example.net:25", want: "192.0.2.10:25"},
		{name: "name with a dot", network: "tcp", address: "MX.example.net.:587", want: "192.0.2.10:587"},
		{name: "address", network: "tcp4", address: "192.0.2.10:25", want: "192.0.2.10:25"},
		{name: "v6", network: "tcp6", address: "dual.example:25", want: "[2001:db8::25:1]:25"},
		{name: "v6 first", network: "tcp", address: "dual.example:25", want: "[2001:db8::25:1]:25"},
		{name: "v6 address", network: "tcp", address: "[2001:db8::25:1]:25", want: "[2001:db8::25:1]:25"},
		{name: "unix", network: "unix", address: "/run/lmtp.sock", want: "/run/lmtp.sock"},
		{name: "second address", network: "tcp", address: "moved.example:25", want: "127.0.0.1:25"},
		{name: "nobody at the port", network: "tcp", address: "mx.example.net:2525", err: syscall.ECONNREFUSED},
		{name: "nobody at the address", network: "tcp", address: "198.51.100.1:25", err: syscall.ECONNREFUSED},
		{name: "nobody at the path", network: "unix", address: "/run/other.sock", err: syscall.ECONNREFUSED},
		{name: "former address", network: "tcp", address: "192.0.2.12:25", err: syscall.ECONNREFUSED},
		{name: "down", network: "tcp", address: "down.example:25", err: syscall.ECONNREFUSED},
		{name: "only a name", network: "tcp", address: "quiet.example:25", err: syscall.ECONNREFUSED},
		{name: "no such name", network: "tcp", address: "nowhere.example:25", notFound: true},
		{name: "hangs", network: "tcp", address: "hangs.example:25", err: context.DeadlineExceeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				n.Host("mx.example.net")
				n.Host("dual.example").IPv6()
				n.Host("/run/lmtp.sock").LMTP()
				n.Host("moved.example").SetAddrs(netip.MustParseAddr("198.51.100.99"), netip.MustParseAddr("127.0.0.1"))
				n.Host("other.example").SetAddrs(netip.MustParseAddr("198.51.100.99"))
				n.Host("other.example").Down()
				n.Host("down.example").Down()
				n.Host("hangs.example").Hang()
				if _, err := n.Listen("quiet.example:24"); err != nil {
					t.Fatal(err)
				}

				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c, err := n.DialContext(ctx, test.network, test.address)
				if err != nil {
					op, ok := errors.AsType[*net.OpError](err)
					if !ok || op.Op != "dial" {
						t.Errorf("got %T %v, want a *net.OpError of dial", err, err)
					}
					if dns, ok := errors.AsType[*net.DNSError](err); ok != test.notFound || ok && !dns.IsNotFound {
						t.Errorf("got %v, want not found: %v", err, test.notFound)
					}
					if !test.notFound && !errors.Is(err, test.err) || test.want != "" {
						t.Errorf("got %v, want %v", err, test.err)
					}
					if test.err == context.DeadlineExceeded && !op.Timeout() {
						t.Errorf("%v isn't a time-out", err)
					}
					return
				}
				defer c.Close()
				if got := c.RemoteAddr().String(); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				line, err := bufio.NewReader(c).ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "220 ") {
					t.Errorf("got greeting %q, %v", line, err)
				}
			})
		})
	}
}

// TestHangEnds: a dial that hangs succeeds when the host is up again.
func TestHangEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.Hang()
		start := time.Now()
		time.AfterFunc(time.Hour, h.Up)
		c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25")
		if err != nil || time.Since(start) != time.Hour {
			t.Fatalf("got %v after %v, want a connection after 1h", err, time.Since(start))
		}
		c.Close()
	})
}

func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.MX("example.com", "mx1.test")
		l, err := n.Listen("mx1.test:25") // takes the port over
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("mx1.test:25"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: got %v, want %v", err, syscall.EADDRINUSE)
		}
		if got, want := l.Addr().String(), "192.0.2.10:25"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}

		client, err := n.Host("client.example").DialContext(t.Context(), "tcp", "mx1.test:25")
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		addr, ok := server.RemoteAddr().(*net.TCPAddr)
		if !ok || addr.IP.String() != "192.0.2.11" || addr.Port < 49152 {
			t.Errorf("got client %v, want 192.0.2.11 and a high port", server.RemoteAddr())
		}
		if client.LocalAddr().String() != server.RemoteAddr().String() {
			t.Errorf("the ends don't agree: %v, %v", client.LocalAddr(), server.RemoteAddr())
		}

		n.Host("mx1.test").Down()
		if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("when the host went down: got %v, want %v", err, syscall.ECONNRESET)
		}
		n.Host("mx1.test").Up()

		waiting, err := n.DialContext(t.Context(), "tcp", "mx1.test:25")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { l.Close() })
		l.Accept() // the one that waits
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: got %v, want %v", err, net.ErrClosed)
		}
		waiting.Close()
		if _, err := n.DialContext(t.Context(), "tcp", "mx1.test:25"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after close: got %v, want %v", err, syscall.ECONNREFUSED)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: got %v, want %v", err, net.ErrClosed)
		}
		if l, err = n.Listen("mx1.test:25"); err != nil {
			t.Errorf("again: got %v", err)
		}
		unaccepted, err := n.DialContext(t.Context(), "tcp", "mx1.test:25")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, err := unaccepted.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("never accepted: got %v, want %v", err, syscall.ECONNRESET)
		}
	})
}

// TestBacklog: there are more clients than the backlog holds.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		l, err := n.Listen("mx1.test:0")
		if err != nil {
			t.Fatal(err)
		}
		dial := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			c, err := n.DialContext(ctx, "tcp", l.Addr().String())
			if err == nil {
				t.Cleanup(func() { c.Close() })
			}
			return err
		}
		for range backlog {
			if err := dial(time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if err := dial(time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one too many: got %v, want %v", err, context.DeadlineExceeded)
		}
		time.AfterFunc(time.Second, func() { l.Accept() })
		if err := dial(time.Minute); err != nil {
			t.Errorf("with room again: got %v", err)
		}
	})
}

// TestNoFamily: a host without IPv6 can't dial a host without IPv4.
func TestNoFamily(t *testing.T) {
	n := NewNetwork(t)
	h := n.Host("mx.example.net")
	h.SetAddrs(h.IPv6())
	_, err := n.Host("client.example").DialContext(t.Context(), "tcp", "mx.example.net:25")
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("got %v, want %v", err, syscall.ENETUNREACH)
	}
}
