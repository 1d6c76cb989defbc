package client

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestOurAddressInReplies: strangers read the text of a Reply in reports, so it has no address of our own.
func TestOurAddressInReplies(t *testing.T) {
	ours, theirs := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4711}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1080}
	reset := &net.OpError{Op: "read", Net: "tcp", Source: ours, Addr: theirs, Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	proxied := &net.OpError{Op: "socks connect", Net: "tcp", Addr: theirs, Err: reset}
	for _, tt := range []struct {
		name string
		err  error
		read bool // the connection is made, and breaks in the handshake
		want string
	}{
		{name: "dial", err: reset, want: "read: connection reset by peer"},
		{name: "dial by a proxy", err: proxied, want: "read: connection reset by peer"},
		{name: "dial by a wrapper", err: errors.New("10.0.0.7: no way"), want: "no connection"},
		{name: "handshake", err: reset, read: true, want: "the TLS handshake failed: read: connection reset by peer"},
		{name: "handshake by a proxy", err: proxied, read: true, want: "the TLS handshake failed: read: connection reset by peer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			route := mustRoute(mx.Smarthost("192.0.2.1:465"))
			tr := &Transport{
				Hostname: "client.test",
				Router:   &mx.Router{Routes: map[string]mx.Route{"*": route}},
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					if tt.read {
						near, _ := pipe("192.0.2.1:465")
						return brokenConn{near, tt.err}, nil
					}
					return nil, tt.err
				},
			}
			results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
			if got := results[0].Reply.Text; got != tt.want || strings.Contains(got, "10.0.0") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// brokenConn fails at each read.
type brokenConn struct {
	net.Conn
	err error
}

func (c brokenConn) Read([]byte) (int, error) { return 0, c.err }
