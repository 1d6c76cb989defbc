package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	netsmtp "net/smtp"
	"strings"
	"testing"
)

// onLoopback starts srv on a real socket.
func onLoopback(t *testing.T, srv *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv.Hostname = "mx.test"
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		srv.Close()
		<-stopped
	})
	return l.Addr().String()
}

// TestOtherClient: the standard library's client, with TLS and AUTH, over a real socket.
func TestOtherClient(t *testing.T) {
	d := &desk{}
	addr := onLoopback(t, &Server{Handler: d, TLSConfig: testTLS(t), Authenticate: authenticate})
	c, err := netsmtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const message = "Subject: x\r\n\r\n.dot\r\n"
	steps := []struct {
		name string
		do   func() error
	}{
		{"STARTTLS", func() error { return c.StartTLS(&tls.Config{InsecureSkipVerify: true}) }},
		{"AUTH", func() error { return c.Auth(netsmtp.PlainAuth("", "ann", "secret", "127.0.0.1")) }},
		{"MAIL", func() error { return c.Mail("ann@example.com") }},
		{"RCPT", func() error { return c.Rcpt("bob@example.net") }},
		{"DATA", func() error {
			w, err := c.Data()
			if err != nil {
				return err
			}
			io.WriteString(w, message)
			return w.Close()
		}},
		{"QUIT", c.Quit},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: got %v, want no error", step.name, err)
		}
	}
	mails := d.all()
	if len(mails) != 1 || mails[0].body != message || mails[0].peer.Username != "ann" || mails[0].peer.TLS == nil {
		t.Errorf("got %+v, want one mail of ann's over TLS", mails)
	}
}

// TestLastReply: a client that sends more than the server reads of its message gets the reply, not a reset.
func TestLastReply(t *testing.T) {
	addr := onLoopback(t, &Server{Handler: &desk{}, MaxSize: 1000, MaxDrain: 1000})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, talked+data)
	if _, err := io.WriteString(c, strings.Repeat(strings.Repeat("x", 78)+"\r\n", lingerSize/80/2)); err != nil {
		t.Fatalf("got %v while sending, want no error", err)
	}
	said, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(said), "\r\n552 5.3.4 ") {
		t.Errorf("got %q and error %v, want 552 5.3.4", said, err)
	}
}

// TestAuthNeedsTLS: a submission server that could never offer AUTH says so at its start.
func TestAuthNeedsTLS(t *testing.T) {
	tests := []struct {
		name   string
		change func(s *Server, l net.Listener) net.Listener
		fails  bool
	}{
		{"no TLS", func(s *Server, l net.Listener) net.Listener { return l }, true},
		{"no TLS behind a wrapper", func(s *Server, l net.Listener) net.Listener { return unwraps{l, l} }, true},
		{"implicit TLS behind a wrapper", func(s *Server, l net.Listener) net.Listener {
			return unwraps{l, tls.NewListener(l, testTLS(t))}
		}, false},
		{"STARTTLS", func(s *Server, l net.Listener) net.Listener { s.TLSConfig = testTLS(t); return l }, false},
		{"implicit TLS", func(s *Server, l net.Listener) net.Listener { return tls.NewListener(l, testTLS(t)) }, false},
		{"AllowInsecureAuth", func(s *Server, l net.Listener) net.Listener { s.AllowInsecureAuth = true; return l }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := &Server{Hostname: "mx.test", Handler: &desk{}, Authenticate: authenticate, RequireAuth: true}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := srv.Serve(ended, tt.change(srv, l)); (err != nil) != tt.fails {
				t.Errorf("got %v, want an error: %v", err, tt.fails)
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: got %v, want the listener closed", err)
			}
		})
	}
}

// unwraps is a listener that says which one it wraps.
type unwraps struct {
	net.Listener
	inner net.Listener
}

func (u unwraps) Unwrap() net.Listener { return u.inner }
