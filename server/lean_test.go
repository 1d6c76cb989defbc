package server

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// buffers returns how many sessions have buffers.
func (w *world) buffers() int {
	sessions, _ := w.books()
	other := int64(sessions * sessionMemory)
	if w.secure {
		other += tlsMemory
	}
	return int(w.srv.memory.Load()-other) / bufferMemory
}

// TestLean: a session that waits for a command has no buffers after keepBuffers, and goes on whatever comes then, in
// pieces of any size.
func TestLean(t *testing.T) {
	said := ehlo + mail + rcpt + data
	for _, secure := range []bool{false, true} {
		for _, size := range []int{1, 2, 7, len(said)} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &Server{TLSConfig: testTLS(t), SessionTimeout: 24 * time.Hour})
				c := w.dial()
				c.take()
				if secure {
					c.want(ehlo+"STARTTLS\r\n", "250", "220")
					c.startTLS()
					w.secure = true
					c.want(ehlo, "250")
				}
				if w.buffers() != 1 {
					t.Error("got no buffers at once, want them kept for a while")
				}
				got := ""
				for rest := said; rest != ""; {
					atStart := len(rest) == len(said) || strings.HasSuffix(said[:len(said)-len(rest)], "\r\n")
					time.Sleep(2 * keepBuffers)
					synctest.Wait()
					if n := w.buffers(); (n == 0) != atStart {
						t.Fatalf("%d sessions have buffers before %.20q, want none: %t", n, rest, atStart)
					}
					n := min(size, len(rest))
					got += c.ask(rest[:n])
					rest = rest[n:]
				}
				if codes := strings.Join(replyCodes(got), " "); codes != "250 250 250 354" {
					t.Errorf("tls %t, pieces of %d: got %s", secure, size, codes)
				}
				c.want(body, "250")
				c.want("QUIT\r\n", "221")
			})
		}
	}
}

// TestLeanEnds: a session without buffers ends as one with them.
func TestLeanEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(w *world, c *client)
		want string
	}{
		{"time-out", func(*world, *client) { time.Sleep(5 * time.Minute) }, "421 4.4.2 timed out\r\n"},
		{"shutdown", func(w *world, _ *client) { w.srv.Shutdown(context.Background()) }, "421 4.3.2 shutting down\r\n"},
		{"the client leaves", func(_ *world, c *client) { c.pipe.CloseWrite() }, ""},
		{"QUIT", func(_ *world, c *client) { c.send("QUIT\r\n") }, "221 2.0.0 bye\r\n"},
		{"TLS", func(_ *world, c *client) { c.send("\x16") }, ""},
		{"HTTP", func(_ *world, c *client) { c.send("GET / HTTP/1.1\r\n") }, ""},
		{"one octet, then the time-out", func(_ *world, c *client) { c.send("N"); time.Sleep(5 * time.Minute) }, "421 4.4.2 timed out\r\n"},
		{"a long line", func(_ *world, c *client) { c.send(strings.Repeat("x", 20_000) + "\r\nQUIT\r\n") },
			"500 5.5.2 line too long\r\n221 2.0.0 bye\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &Server{})
				c := w.dial()
				c.take()
				time.Sleep(2 * keepBuffers)
				synctest.Wait()
				if w.buffers() != 0 {
					t.Fatal("got buffers, want none")
				}
				tt.end(w, c)
				if got := c.take(); got != tt.want || !c.closed() {
					t.Errorf("got %q, closed %t, want %q, closed", got, c.closed(), tt.want)
				}
				if n, _ := w.books(); n != 0 {
					t.Errorf("got %d sessions, want none", n)
				}
			})
		})
	}
}
