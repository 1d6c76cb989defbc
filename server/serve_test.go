package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
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

// TestShutdownIdle: sessions without a transaction are told, wherever they are.
func TestShutdownIdle(t *testing.T) {
	tests := []struct {
		name  string
		said  string
		want  string // the end of what the server says
		setup func(*Server)
	}{
		{name: "greeted"},
		{name: "hello", said: ehlo},
		{name: "half a command", said: ehlo + "MAIL FR"},
		{name: "transaction reset", said: talked + "RSET\r\n"},
		{name: "mail taken", said: talked + data + body},
		{name: "mail refused", said: talked + data + "\n\r\n.\r\n"},
		{name: "mail and sender refused", said: ehlo + "MAIL FROM:<>>\r\n"},
		{name: "authenticating", said: ehlo + "AUTH PLAIN\r\n", setup: func(s *Server) {
			s.Authenticate, s.AllowInsecureAuth = authenticate, true
		}},
		{name: "refused at connect", setup: func(s *Server) {
			s.Handler = &desk{connect: func(*Peer) error { return &smtp.Reply{Code: 554} }}
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

// TestShutdownBusy: a transaction that runs is finished, and the session told afterwards.
func TestShutdownBusy(t *testing.T) {
	const bye = "421 4.3.2 shutting down\r\n"
	tests := []struct {
		name         string
		said, remain string
		want         string
		mails        int
	}{
		{"after MAIL", ehlo + mail, rcpt + data + body, "250 2.1.5 recipient ok\r\n354 end with <CRLF>.<CRLF>\r\n250 2.0.0 ok\r\n" + bye, 1},
		{"within RCPT", ehlo + mail + rcpt[:7], rcpt[7:] + data + body, "250 2.1.5 recipient ok\r\n354 end with <CRLF>.<CRLF>\r\n250 2.0.0 ok\r\n" + bye, 1},
		{"after DATA", talked + data, body, "250 2.0.0 ok\r\n" + bye, 1},
		{"within the body", talked + data + body[:15], body[15:], "250 2.0.0 ok\r\n" + bye, 1},
		{"before the last octet", talked + data + body[:len(body)-1], "\n", "250 2.0.0 ok\r\n" + bye, 1},
		{"bad body", talked + data + "x\n", "\r\n.\r\n", "554 5.6.0 bare LF at offset 1\r\n" + bye, 0},
		{"reset", talked, "RSET\r\n" + mail, "250 2.0.0 reset\r\n" + bye, 0},
		{"next mail behind", talked + data, body + mail + rcpt + data, "250 2.0.0 ok\r\n" + bye, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				w := newWorld(t, &Server{Handler: d, Grace: time.Hour})
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

// TestShutdownTimeouts: a shutdown doesn't give a running transaction more time, nor take it away.
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

// TestGrace: when it has passed, connections are closed hard and the Handler's context ends.
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
		// A second one has nothing to wait for, whatever its context says.
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("got %v from a second Shutdown, want nil", err)
		}
	})
}

// TestShutdownOrder: both ways to stop, at any moment, twice.
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
		idle, busy, handling := w.dial(), w.dial(), w.dial()
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

// TestHandshakeShutdown: a handshake that hangs doesn't hold up a shutdown.
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

// TestHandshakeAfterShutdown: no handshake begins once a shutdown has.
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

func TestTwoListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{}
		w := newWorld(t, srv)
		second := newNetwork()
		stopped := make(chan error, 1)
		go func() { stopped <- srv.Serve(context.Background(), second) }()
		p, ok := second.dial("198.51.100.7")
		if !ok {
			t.Fatal("got no second listener, want one")
		}
		c := newClient(t, p)
		c.want(ehlo, "220", "250")
		w.stop() // the end of one context ends it all
		if err := <-stopped; err != nil {
			t.Errorf("got %v from the second Serve, want nil", err)
		}
		if got := c.take(); !strings.HasPrefix(got, "421 4.3.2 ") {
			t.Errorf("got %q, want 421 4.3.2", got)
		}
	})
}

// faultyListener fails as told before it accepts.
type faultyListener struct {
	*network
	faults []error
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if len(l.faults) > 0 {
		err := l.faults[0]
		l.faults = l.faults[1:]
		return nil, err
	}
	return l.network.Accept()
}

type passing struct{ error }

func (passing) Temporary() bool { return true }

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := passing{errors.New("too many open files")}
		l := &faultyListener{newNetwork(), []error{full, full, full}}
		srv := &Server{Handler: &desk{}, Hostname: "mx.test"}
		stopped := make(chan error, 1)
		start := time.Now()
		go func() { stopped <- srv.Serve(context.Background(), l) }()
		p, _ := l.dial("198.51.100.7")
		if got, want := time.Since(start), (5+10+20)*time.Millisecond; got != want {
			t.Errorf("got a pause of %v, want %v", got, want)
		}
		c := newClient(t, p)
		c.want(talked, "220", "250", "250", "250")

		// A listener that breaks ends Serve, but not what runs.
		l.faults = []error{errors.New("broken")}
		q, _ := l.dial("198.51.100.7")
		newClient(t, q)
		synctest.Wait()
		c.want(data+body, "354", "250", "421")
		if err := <-stopped; err == nil || !strings.Contains(err.Error(), "broken") {
			t.Errorf("got %v from Serve, want the listener's error", err)
		}
	})
}

// TestPanicElsewhere: one session's panic is its own.
func TestPanicElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{rcpt: func(p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
			if rcpt.Address == "panic@example.net" {
				panic("no")
			}
			return nil
		}}
		w := newWorld(t, &Server{Handler: d})
		a, b := w.dial(), w.dial()
		a.want(ehlo+mail, "220", "250", "250")
		b.want(ehlo+mail, "220", "250", "250")
		a.want("RCPT TO:<panic@example.net>\r\n", "451")
		time.Sleep(linger)
		if !a.closed() {
			t.Error("got an open connection, want it closed")
		}
		b.want(rcpt+data+body, "250", "354", "250")
	})
}
