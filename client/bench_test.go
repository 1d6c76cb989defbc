package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// listenSink serves a sink on the loopback, until the test ends.
func listenSink(t testing.TB, config *tls.Config) (*sink, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := new(sink)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				if config != nil {
					c = tls.Server(c, config)
				}
				s.session(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return s, l.Addr().String()
}

// counted counts what a Transport reads and writes.
type counted struct {
	net.Conn
	reads, writes *int
}

func (c counted) Read(b []byte) (int, error)  { *c.reads++; return c.Conn.Read(b) }
func (c counted) Write(b []byte) (int, error) { *c.writes++; return c.Conn.Write(b) }

// TestRoundTrips: a message of 10 KiB in a pooled session is two writes and two reads, whoever its recipients are.
func TestRoundTrips(t *testing.T) {
	_, addr := listenSink(t, nil)
	var reads, writes int
	tr := &Transport{
		Hostname: "client.test",
		Router:   &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return counted{c, &reads, &writes}, err
		},
	}
	defer tr.Close()
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.org", "joe@example.net")
	for i := range 5 {
		reads, writes = 0, 0
		if _, err := tr.Send(t.Context(), env, lines(10<<10)); err != nil {
			t.Fatal(err)
		}
		// A loopback may hand over the replies to one group in more than one piece.
		if i > 0 && (writes != 2 || reads < 2 || reads > 4) {
			t.Errorf("got %d writes and %d reads, want 2 and 2", writes, reads)
		}
	}
}

// TestRoundTripsTLS: nor does TLS cut a message into more writes.
func TestRoundTripsTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe("192.0.2.1:465")
		cert, roots := testTLS(t, "a.test")
		go new(sink).session(tls.Server(server, cert))
		c := &Conn{Hostname: "client.test", Host: "a.test", TLS: mx.TLSRequired, TLSStart: mx.TLSImplicit, TLSConfig: &tls.Config{RootCAs: roots}}
		if err := c.Open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		before := len(client.writes)
		if _, err := c.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), lines(10<<10)); err != nil {
			t.Error(err)
		}
		if got := len(client.writes) - before; got != 2 {
			t.Errorf("got %d writes, want 2", got)
		}
		c.Quit(t.Context())
	})
}

// lines is a message of n octets, more or less.
func lines(n int) smtp.Content {
	const line = "This line is one of many that have little to say and go on for 76 octets.\r\n"
	return strings.NewReader("From: ann@client.test\r\nSubject: hello\r\n\r\n" + strings.Repeat(line, n/len(line)))
}

// BenchmarkTransport sends to a sink on the loopback, whose work is in the figures.
func BenchmarkTransport(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10, 1 << 20} {
		for _, rcpts := range []int{1, 100} {
			b.Run(fmt.Sprintf("%dKiB/%drcpt", size>>10, rcpts), func(b *testing.B) {
				sink, addr := listenSink(b, nil)
				tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}}}
				defer tr.Close()
				env := smtp.NewEnvelope("ann@client.test")
				for i := range rcpts {
					env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("bob%d@example.net", i)})
				}
				content := lines(size)
				b.SetBytes(content.Size())
				b.ReportAllocs()
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				for b.Loop() {
					if _, err := tr.Send(ctx, env, content); err != nil {
						b.Fatal(err)
					}
				}
				if got := sink.messages.Load(); got != int64(b.N) {
					b.Errorf("the sink has %d messages, want %d", got, b.N)
				}
			})
		}
	}
}

// BenchmarkTransportParallel sends from several goroutines.
func BenchmarkTransportParallel(b *testing.B) {
	_, addr := listenSink(b, nil)
	tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}}}
	defer tr.Close()
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	content := lines(10 << 10)
	b.SetBytes(content.Size())
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := tr.Send(context.Background(), env, content); err != nil {
				b.Error(err)
			}
		}
	})
}

// replay is a connection to a host whose answers are known: what is left is our own work.
type replay struct {
	net.Conn
	replies []string
	next    int
}

func (c *replay) Write(b []byte) (int, error) { return len(b), nil }

func (c *replay) Read(b []byte) (int, error) {
	n := copy(b, c.replies[c.next])
	c.next = (c.next + 1) % len(c.replies)
	return n, nil
}

// BenchmarkOwnWork is a Send without a host and without the kernel, but for the deadlines of a socket.
func BenchmarkOwnWork(b *testing.B) {
	_, addr := listenSink(b, nil)
	var session *replay
	tr := &Transport{
		Hostname: "client.test",
		Router:   &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			session = &replay{Conn: c, replies: []string{"220 hi\r\n", "250-sink\r\n250 PIPELINING\r\n"}}
			return session, err
		},
	}
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	content := lines(10 << 10)
	send := func() {
		if _, err := tr.Send(b.Context(), env, content); err != nil {
			b.Fatal(err)
		}
	}
	transaction := []string{"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n", "250 2.0.0 taken as 1234567\r\n"}
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		session.replies = append(session.replies, transaction...)
		return c, err
	}
	send()
	session.replies, session.next = transaction, 0
	b.ReportAllocs()
	for b.Loop() {
		send()
	}
	tr.CloseIdle()
}
