package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

const (
	ehlo   = "EHLO client.example\r\n"
	mail   = "MAIL FROM:<ann@example.com>\r\n"
	rcpt   = "RCPT TO:<bob@example.net>\r\n"
	data   = "DATA\r\n"
	body   = "Subject: x\r\n\r\nhello\r\n.\r\n"
	talked = ehlo + mail + rcpt
)

// TestShutdownIdle: a session without a transaction gets 421 and ends, in each of its states.
func TestShutdownIdle(t *testing.T) {
	tests := []struct {
		name  string
		said  string
		want  string // the last lines from the server
		setup func(*Server)
	}{
		{name: "greeted"},
		{name: "hello", said: ehlo},
		{name: "half a command", said: ehlo + "MAIL FR"},
		{name: "transaction reset", said: talked + "RSET\r\n"},
		{name: "mail taken", said: talked + data + body},
		{name: "mail refused", said: talked + data + "xxxxxx\r\n.\r\n", setup: func(s *Server) { s.MaxSize = 5 }},
		{name: "mail and sender refused", said: ehlo + "MAIL FROM:<>>\r\n"},
		{name: "authenticating", said: ehlo + "AUTH PLAIN\r\n", setup: func(s *Server) {
			s.Authenticate, s.AllowInsecureAuth = authenticate, true
		}},
		{name: "refused at connect", setup: func(s *Server) {
			s.Handler = &desk{connect: func(*Peer) error { return smtp.NewReply(554, "", "") }}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &Server{}
				if tt.setup != nil {
					tt.setup(srv)
				}
				w := newWorld(t, srv)
				c := w.dial()
				c.slow = false
				c.ask(tt.said)
				start := time.Now()
				if err := srv.Shutdown(context.Background()); err != nil {
					t.Errorf("got error %v, want none", err)
				}
				if got, want := c.take(), "421 4.3.2 shutting down\r\n"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if !c.closed() {
					t.Error("got an open connection, want it closed")
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("got a shutdown of %v, want none to wait for", d)
				}
				if err := <-w.stopped; err != nil {
					t.Errorf("got %v from Serve, want nil", err)
				}
			})
		})
	}
}

// TestShutdownBusy: a running transaction is finished, then its session gets 421 and ends.
func TestShutdownBusy(t *testing.T) {
	const (
		rest = "250 2.1.5 recipient ok\r\n354 end with <CRLF>.<CRLF>\r\n"
		bye  = "421 4.3.2 shutting down\r\n"
	)
	tests := []struct {
		name         string
		said, remain string
		want         string
		mails        int
	}{
		{"after MAIL", ehlo + mail, rcpt + data + body, rest + "250 2.0.0 ok\r\n" + bye, 1},
		{"within RCPT", ehlo + mail + rcpt[:7], rcpt[7:] + data + body, rest + "250 2.0.0 ok\r\n" + bye, 1},
		{"after DATA", talked + data, body, "250 2.0.0 ok\r\n" + bye, 1},
		{"within the body", talked + data + body[:15], body[15:], "250 2.0.0 ok\r\n" + bye, 1},
		{"before the last octet", talked + data + body[:len(body)-1], "\n", "250 2.0.0 ok\r\n" + bye, 1},
		{"bad body", talked + data + "x\n", "\r\n.\r\n", "521 5.6.0 bare LF at offset 1: lines end in CR LF\r\n", 0},
		{"reset", talked, "RSET\r\n" + mail, "250 2.0.0 reset\r\n" + bye, 0},
		{"next mail behind", talked + data, body + mail + rcpt + data, "250 2.0.0 ok\r\n" + bye, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				w := newWorld(t, &Server{Handler: d, Grace: time.Hour, DrainTimeout: time.Hour})
				c := w.dial()
				c.ask(tt.said)
				w.stop()
				synctest.Wait()
				time.Sleep(3 * time.Minute)
				if got := c.take(); got != "" {
					t.Errorf("got %q while the transaction runs, want nothing", got)
				}
				if _, ok := w.net.dial("198.51.100.8"); ok {
					t.Error("got a connection after the shutdown began, want none")
				}
				if got := c.ask(tt.remain); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if got := len(d.all()); got != tt.mails {
					t.Errorf("got %d mails, want %d", got, tt.mails)
				}
				if err := <-w.stopped; err != nil {
					t.Errorf("got %v from Serve, want nil", err)
				}
			})
		})
	}
}

// TestShutdownTimeouts: a shutdown neither extends nor shortens the time-outs of a running transaction.
func TestShutdownTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{Grace: time.Hour})
		c := w.dial()
		c.ask(talked)
		time.Sleep(2 * time.Minute)
		w.stop()
		time.Sleep(2*time.Minute + 59*time.Second)
		if c.closed() {
			t.Fatal("got a closed connection after 4m59s, want it open")
		}
		time.Sleep(time.Second)
		if got, want := c.take(), "421 4.4.2 timed out\r\n"; got != want || !c.closed() {
			t.Errorf("got %q, closed %t, want %q, closed", got, c.closed(), want)
		}
	})
}

// TestGrace: after Grace, connections are closed and the contexts of Handlers end.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Duration
		start := time.Now()
		d := &desk{handle: func(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			<-ctx.Done()
			ended = time.Since(start)
			return nil, ctx.Err()
		}}
		w := newWorld(t, &Server{Handler: d, Grace: 10 * time.Second})
		waiting, handling := w.dial(), w.dial()
		waiting.ask(talked)
		handling.ask(talked + data)
		handling.ask(body)
		w.stop()
		if err := <-w.stopped; err != nil {
			t.Errorf("got %v from Serve, want nil", err)
		}
		if ended != 10*time.Second || time.Since(start) != 10*time.Second {
			t.Errorf("got the Handler's context ended after %v and Serve after %v, want 10s", ended, time.Since(start))
		}
		if !waiting.closed() || !handling.closed() {
			t.Error("got open connections, want them closed")
		}
	})
}

func TestShutdownContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{}
		w := newWorld(t, srv)
		c := w.dial()
		c.ask(talked)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that of the context", err)
		}
		if !c.closed() {
			t.Error("got an open connection, want it closed")
		}
		<-w.stopped
		// A second one has nothing to wait for, so the end of its context is no error.
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("got %v from a second Shutdown, want nil", err)
		}
	})
}

// TestShutdownOrder: Shutdown and Close in each order, before and after Serve began.
func TestShutdownOrder(t *testing.T) {
	stop := map[string]func(*Server) error{
		"Shutdown": func(s *Server) error { return s.Shutdown(context.Background()) },
		"Close":    func(s *Server) error { return s.Close() },
	}
	for first, f := range stop {
		for second, g := range stop {
			t.Run(first+" "+second, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					unused := &Server{Handler: &desk{}}
					used := &Server{}
					w := newWorld(t, used)
					w.dial().ask(ehlo)
					for _, srv := range []*Server{unused, used} {
						if err := errors.Join(f(srv), g(srv)); err != nil {
							t.Errorf("got error %v, want none", err)
						}
					}
					if err := <-w.stopped; err != nil {
						t.Errorf("got %v from Serve, want nil", err)
					}
					for _, srv := range []*Server{unused, used} {
						l := newNetwork()
						if err := srv.Serve(context.Background(), l); !errors.Is(err, ErrServerClosed) {
							t.Errorf("got %v from Serve, want ErrServerClosed", err)
						}
						if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
							t.Errorf("got %v from the listener, want it closed", err)
						}
						// As if the context that both share had ended before this Serve began.
						ended, cancel := context.WithCancel(context.Background())
						cancel()
						if err := srv.Serve(ended, newNetwork()); err != nil {
							t.Errorf("got %v from Serve with a context that has ended, want nil", err)
						}
					}
				})
			})
		}
	}
}

// slowToClose is a connection whose Close lets everything else happen first.
type slowToClose struct{ net.Conn }

func (c slowToClose) Close() error {
	time.Sleep(time.Nanosecond)
	return c.Conn.Close()
}

// TestClose: what a session makes of the end isn't sent, however long the connections take to be closed.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		d := &desk{handle: func(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			close(started)
			<-ctx.Done()
			return nil, nil
		}}
		srv := &Server{Handler: d}
		w := newWorld(t, srv)
		dial := func() *client {
			near, far := newPipe("198.51.100.7")
			w.net.queue <- slowToClose{far}
			return newClient(t, near)
		}
		idle, busy, handling := dial(), dial(), dial()
		idle.ask(ehlo)
		busy.ask(talked)
		handling.ask(talked + data)
		handling.ask(body)
		<-started
		srv.Close()
		for name, c := range map[string]*client{"idle": idle, "busy": busy, "handling": handling} {
			if got := replyCodes(c.take()); len(got) != 0 || !c.closed() {
				t.Errorf("%s: got %q, closed %t, want nothing, closed", name, got, c.closed())
			}
		}
		<-w.stopped
	})
}

// TestHandshakeShutdown: a handshake that hangs doesn't delay a shutdown.
func TestHandshakeShutdown(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			srv := &Server{Hostname: "mx.test", Handler: &desk{}, TLSConfig: testTLS(t)}
			l := newNetwork()
			var listener net.Listener = l
			if implicit {
				listener = tls.NewListener(l, srv.TLSConfig)
			}
			stopped := make(chan error)
			go func() { stopped <- srv.Serve(context.Background(), listener) }()
			p, _ := l.dial("198.51.100.7")
			c := newClient(t, p)
			if !implicit {
				c.ask(ehlo + "STARTTLS\r\n")
			}
			synctest.Wait()
			start := time.Now()
			srv.Shutdown(context.Background())
			<-stopped
			if d := time.Since(start); d != 0 {
				t.Errorf("got a shutdown of %v, want none to wait for", d)
			}
		})
	}
}

// TestHandshakeAfterShutdown: after a shutdown began, no handshake begins.
func TestHandshakeAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{TLSConfig: testTLS(t)})
		near, far := newPipe("198.51.100.7")
		w.net.queue <- far
		c := newClient(t, near)
		c.want(ehlo, "220", "250")
		far.out.setRoom(0) // the reply to STARTTLS hangs
		c.ask("STARTTLS\r\n")
		w.stop()
		synctest.Wait()
		far.out.setRoom(1 << 20)
		start := time.Now()
		<-w.stopped
		if d := time.Since(start); d != 0 {
			t.Errorf("got a shutdown of %v, want none to wait for", d)
		}
	})
}
