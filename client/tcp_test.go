package client

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestConcurrentSends: several goroutines share a Transport, its pool and a host, over sockets.
func TestConcurrentSends(t *testing.T) {
	cert, roots := testTLS(t, "127.0.0.1")
	for _, secure := range []bool{false, true} {
		var server *tls.Config
		dial := new(net.Dialer).DialContext
		if secure {
			server = cert
			dial = (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext
		}
		sink, addr := listenSink(t, server)
		route := mustRoute(mx.Smarthost(addr))
		route.TLS = mx.TLSNone // it is below, where there is some
		tr := &Transport{Hostname: "client.test", DialContext: dial, Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}, MaxIdlePerHost: 3}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 25 {
					if _, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), lines(100<<10)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		if got, want := sink.messages.Load(), int64(200); got != want {
			t.Errorf("got %d messages, want %d", got, want)
		}
		if got, want := sink.octets.Load(), 200*lines(100<<10).Size(); got != want {
			t.Errorf("got %d octets, want %d", got, want)
		}
	}
}

// TestUnixSocket delivers over LMTP on a real socket.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no Unix sockets here:", err)
	}
	defer l.Close()
	sink := new(sink)
	go func() {
		if c, err := l.Accept(); err == nil {
			sink.session(c)
		}
	}()
	tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.LMTP(path))}}}
	results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	if err != nil || results[0].Relayed || results[0].Addr != path {
		t.Errorf("got %s, %v", show(results), err)
	}
	tr.Close()
}
