package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

func TestMain(m *testing.M) {
	if os.Getenv(inRelay) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// inbox counts the mails that it gets.
type inbox struct {
	mu  sync.Mutex
	got map[string]int
}

func (b *inbox) Handle(_ context.Context, _ *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[env.Recipients[0].Address]++
	return nil, err
}

// TestCluster sends mail through three relays: each mail arrives once.
func TestCluster(t *testing.T) {
	s, err := pgtest.Start()
	pgtest.Need(t, err)
	t.Cleanup(s.Remove)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mails := &inbox{got: map[string]int{}}
	host := &server.Server{Handler: mails}
	go host.Serve(t.Context(), l)
	t.Cleanup(func() { host.Close() })

	const relays, each = 3, 20
	first := freePorts(t, relays)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-dsn", s.DSN(), "-smarthost", l.Addr().String(), "-hostname", "cluster.example.com",
			"-listen", fmt.Sprintf("127.0.0.1:%d", first)})
	}()
	for i := range relays {
		sub := &client.Submission{Addr: fmt.Sprintf("127.0.0.1:%d", first+i), TLS: mx.TLSNone, LeaveIncomplete: true}
		waitFor(t, sub.Addr)
		for n := range each {
			env := smtp.NewEnvelope(fmt.Sprintf("sender%d@example.com", n), fmt.Sprintf("r%d-%d@example.net", i, n))
			results, err := sub.Send(t.Context(), env, smtp.Text("Subject: hello\n\nHello.\n"))
			if err != nil || results[0].Outcome != smtp.Delivered {
				t.Fatalf("relay %d: got %v and %v", i, results, err)
			}
		}
		sub.Close()
	}
	for range 3000 {
		mails.mu.Lock()
		n := len(mails.got)
		mails.mu.Unlock()
		if n == relays*each {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	mails.mu.Lock()
	defer mails.mu.Unlock()
	if len(mails.got) != relays*each {
		t.Errorf("got %d mails, want %d", len(mails.got), relays*each)
	}
	for to, n := range mails.got {
		if n != 1 {
			t.Errorf("got %d mails to %s, want 1", n, to)
		}
	}
}

// freePorts returns the first of some ports in a row that nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
next:
	for first := 23000; first < 60000; first += n {
		var open []net.Listener
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				for _, l := range open {
					l.Close()
				}
				continue next
			}
			open = append(open, l)
		}
		for _, l := range open {
			l.Close()
		}
		return first
	}
	t.Fatal("no ports are free")
	return 0
}

// waitFor waits until someone listens on an address.
func waitFor(t *testing.T, addr string) {
	t.Helper()
	for range 3000 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", addr)
}

// TestFlags gives flags that are wrong.
func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no database", nil, "-dsn is missing"},
		{"no relays", []string{"-dsn", "x", "-relays", "0"}, "-relays"},
		{"no port", []string{"-dsn", "x", "-listen", "127.0.0.1"}, "-listen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := run(t.Context(), tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
