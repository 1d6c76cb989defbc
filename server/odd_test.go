package server

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestHuge: the greatest value of each field that is a number or a time means that there is no bound: a client that
// sends many recipients, and is slow, gets its mail through.
func TestHuge(t *testing.T) {
	for f := range reflect.TypeFor[Server]().Fields() {
		if !f.IsExported() || f.Type.Kind() != reflect.Int && f.Type.Kind() != reflect.Int64 {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				srv := &Server{Handler: d, SessionTimeout: 24 * time.Hour}
				reflect.ValueOf(srv).Elem().FieldByIndex(f.Index).SetInt(math.MaxInt64)
				c := newWorld(t, srv).dial()
				c.want(ehlo+mail, "220", "250", "250")
				for range 300 {
					c.want(rcpt, "250")
				}
				time.Sleep(4 * time.Minute)
				c.want(data, "354")
				for range 100 {
					c.send(strings.Repeat("x", 1000) + "\r\n")
					time.Sleep(4 * time.Minute / 100)
				}
				c.want(".\r\n", "250")
				if mails := d.all(); len(mails) != 1 || len(mails[0].env.Recipients) != 300 {
					t.Errorf("got %d mails, want one to 300 recipients", len(mails))
				}
			})
		})
	}
}

// TestOdd: an odd value is an error that says what to do, or a default; never a panic.
func TestOdd(t *testing.T) {
	listener := func() net.Listener { return newNetwork() }
	tests := []struct {
		name     string
		change   func(*Server)
		listener net.Listener
		want     string // the error of Serve; "" for none
	}{
		{"zero Server", func(s *Server) { *s = Server{} }, listener(), "server: Handler is nil"},
		{"nil listener", func(*Server) {}, nil, "server: Serve: the listener is nil"},
		{"nil TLS listener", func(*Server) {}, NewTLSListener(nil, nil), "server: Serve: the listener is nil"},
		{"TLS over a nil TCP listener", func(*Server) {}, NewTLSListener((*net.TCPListener)(nil), nil), "server: Serve: the listener is nil"},
		{"nil TCP listener", func(*Server) {}, (*net.TCPListener)(nil), "server: Serve: the listener is nil"},
		{"nil TCP listener and RequireAuth", func(s *Server) { s.Authenticate, s.RequireAuth = authenticate, true },
			(*net.TCPListener)(nil), "server: Serve: the listener is nil"},
		{"nil listener and no Handler", func(s *Server) { s.Handler = nil }, nil, "server: Serve: the listener is nil"},
		{"line end in Hostname", func(s *Server) { s.Hostname = "mx.test\r\n220 other" }, listener(), "server: Hostname"},
		{"space in Hostname", func(s *Server) { s.Hostname = "mx test" }, listener(), "server: Hostname"},
		{"Hostname of dots", func(s *Server) { s.Hostname = ".." }, listener(), "server: Hostname"},
		{"Hostname of hyphens", func(s *Server) { s.Hostname = "-" }, listener(), "server: Hostname"},
		{"Hostname with a port", func(s *Server) { s.Hostname = "mx.test:25" }, listener(), "server: Hostname"},
		{"Hostname of 300 octets", func(s *Server) { s.Hostname = strings.Repeat("x.", 149) + "xx" }, listener(), "server: Hostname"},
		{"empty brackets as Hostname", func(s *Server) { s.Hostname = "[]" }, listener(), "server: Hostname"},
		{"TLSConfig without a certificate", func(s *Server) { s.TLSConfig = &tls.Config{} }, listener(),
			"server: TLSConfig has no certificate"},
		{"negative MaxSize", func(s *Server) { s.MaxSize = -1 }, listener(), "server: MaxSize is -1"},
		{"least MaxSize", func(s *Server) { s.MaxSize = math.MinInt64 }, listener(), "server: MaxSize is -9223372036854775808"},
		{"negative DataTimeout", func(s *Server) { s.DataTimeout = -1 }, listener(), "server: DataTimeout is -1ns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := &Server{Handler: &desk{}}
			tt.change(srv)
			for name, s := range map[string]*Server{"itself": srv, "its Clone": srv.Clone()} {
				if err := s.Serve(t.Context(), tt.listener); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
					t.Errorf("%s: got %v, want %s", name, err, tt.want)
				}
				if err := s.Shutdown(t.Context()); err != nil {
					t.Errorf("%s: got %v from Shutdown, want none", name, err)
				}
				if err := s.Close(); err != nil {
					t.Errorf("%s: got %v from Close, want none", name, err)
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				if err := s.Shutdown(ended); err != nil {
					t.Errorf("%s: got %v from a second Shutdown, want none", name, err)
				}
				if err := s.Serve(t.Context(), tt.listener); err == nil {
					t.Errorf("%s: got no error from Serve after Close, want one", name)
				}
			}
		})
	}
	closed := &Server{Handler: &desk{}}
	closed.Close()
	if err := closed.Serve(t.Context(), newNetwork()); !errors.Is(err, ErrServerClosed) {
		t.Errorf("got %v from a closed Server, want %v", err, ErrServerClosed)
	}
	var zero Session // of a test of a check
	zero.Found(t.Context(), "x")
	if got, want := zero.Hostname(), new(Server).hostname(); got != want || !zero.Silent(t.Context(), 1) {
		t.Errorf("got Hostname %q of a zero Session, want %q", got, want)
	}
	if _, err := zero.NewBody(); err == nil {
		t.Error("got no error of NewBody of a zero Session")
	}
	if err := zero.AddRecipient(t.Context(), smtp.Recipient{Address: "bob@next.test"}); err == nil {
		t.Error("got no error of AddRecipient of a zero Session")
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	const received = "Received: by mx.test with local id x;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n"
	if got := ReceivedField("mx.test", nil, nil, "x", at).String(); got != received {
		t.Errorf("got %q without an envelope, want %q", got, received)
	}
	for _, a := range []Action{math.MinInt, -1, Tell + 1, math.MaxInt} {
		if err, refusal := a.Check(), zero.Act(a, "x", "X", "x"); err == nil || refusal == nil {
			t.Errorf("Action %d: got %v from Check and %v from Act, want errors", a, err, refusal)
		}
	}
	if got := new(Peer).Transaction(); got != "-0" {
		t.Errorf("got Transaction %q of a zero Peer, want -0", got)
	}
}
