package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheck(t *testing.T) {
	with := func(change func(*Server)) *Server {
		s := &Server{Handler: &desk{}}
		change(s)
		return s
	}
	tests := []struct {
		name string
		srv  *Server
		want string // the error; "" for none
	}{
		{"Handler alone", with(func(s *Server) {}), ""},
		{"no Handler", &Server{}, "server: Handler is nil: set a Handler, which receives the mail"},
		{"RequireAuth without Authenticate", with(func(s *Server) { s.RequireAuth = true }),
			"server: RequireAuth is true, but no client can authenticate: set Authenticate, StoredCredentials or CheckToken"},
		{"RequireAuth with stored credentials", with(func(s *Server) { s.RequireAuth, s.StoredCredentials = true, stored }), ""},
		{"RequireAuth with tokens", with(func(s *Server) { s.RequireAuth, s.CheckToken = true, checkToken }), ""},
		{"RequireAuth", with(func(s *Server) { s.RequireAuth, s.Authenticate = true, authenticate }), ""},
		{"Hostname", with(func(s *Server) { s.Hostname = "mx_1.example.com" }), ""},
		{"Hostname literal", with(func(s *Server) { s.Hostname = "[IPv6:2001:db8::1]" }), ""},
		{"Hostname with a line end", with(func(s *Server) { s.Hostname = "mx\r\n250 ok" }),
			`server: Hostname "mx\r\n250 ok" is no host name or address literal in ASCII:` +
				" set it to this machine's name in the DNS"},
		{"Hostname with a U-label", with(func(s *Server) { s.Hostname = "mx.bücher.example" }),
			`server: Hostname "mx.bücher.example" is no host name or address literal in ASCII:` +
				" set it to this machine's name in the DNS"},
		{"negative number", with(func(s *Server) { s.MaxSize = -1 }),
			"server: MaxSize is -1: set it to more than 0, or to 0 for the default (52428800)"},
		{"negative time", with(func(s *Server) { s.Grace = -time.Second }),
			"server: Grace is -1s: set it to more than 0, or to 0 for the default (30s)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(tt.srv.Check()); got != tt.want && (tt.want != "" || got != "<nil>") {
				t.Errorf("got error %q, want %q", got, tt.want)
			}
		})
	}
}

// TestServeChecks: Serve returns the error of Check, and closes its listener.
func TestServeChecks(t *testing.T) {
	srv := &Server{Handler: &desk{}, MaxConns: -1}
	l := newNetwork()
	if err := srv.Serve(context.Background(), l); err == nil || err.Error() != srv.Check().Error() {
		t.Errorf("got %v, want %v", err, srv.Check())
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v from the listener, want it closed", err)
	}
}

// TestNegative: Check refuses a negative value in each field that is a number or a time.
func TestNegative(t *testing.T) {
	for f := range reflect.TypeFor[Server]().Fields() {
		if !f.IsExported() || f.Type.Kind() != reflect.Int && f.Type.Kind() != reflect.Int64 {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			srv := &Server{Handler: &desk{}}
			reflect.ValueOf(srv).Elem().FieldByIndex(f.Index).SetInt(-1)
			if err := srv.Check(); err == nil || !strings.HasPrefix(err.Error(), "server: "+f.Name+" is -1") {
				t.Errorf("got %v, want an error that begins with the field", err)
			}
			reflect.ValueOf(srv).Elem().FieldByIndex(f.Index).SetInt(1)
			if err := srv.Check(); err != nil {
				t.Errorf("got %v for 1, want no error", err)
			}
		})
	}
}

// TestCloseTimeout: a client that doesn't receive its last reply is closed after CloseTimeout.
func TestCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{CloseTimeout: 3 * time.Second})
		near, far := newPipe("198.51.100.7")
		w.net.queue <- far
		c := newClient(t, near)
		c.take()
		far.out.setRoom(0)
		c.send("QUIT\r\n")
		time.Sleep(3*time.Second - time.Nanosecond)
		if c.closed() {
			t.Fatal("got a closed connection, want it open")
		}
		time.Sleep(time.Nanosecond)
		if !c.closed() {
			t.Error("got an open connection, want it closed")
		}
	})
}
