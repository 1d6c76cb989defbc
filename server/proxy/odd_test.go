package proxy

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestOddValues: a Listener with a field that nobody should set returns an error from Accept, and none of its methods
// panics.
func TestOddValues(t *testing.T) {
	inner := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	tests := []struct {
		name string
		l    *Listener
		want string
	}{
		{"zero", &Listener{}, "proxy: Listener is nil"},
		{"a nil TCP listener", &Listener{Listener: (*net.TCPListener)(nil)}, "proxy: Listener is nil"},
		{"Timeout", &Listener{Listener: inner(), Timeout: -1}, "proxy: Timeout is -1ns"},
		{"least Timeout", &Listener{Listener: inner(), Timeout: math.MinInt64}, "proxy: Timeout is -2562047h"},
		{"MaxWaiting", &Listener{Listener: inner(), MaxWaiting: -1}, "proxy: MaxWaiting is -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 {
				// Serve ends with an error that is net.ErrClosed, and tries again after others.
				if _, err := tt.l.Accept(); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), tt.want) {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				if (tt.l.Addr() == nil) != strings.Contains(tt.want, "nil") {
					t.Errorf("got address %v", tt.l.Addr())
				}
				tt.l.Close()
			}
		})
	}
}

// TestLongest: the greatest values are no bound.
func TestLongest(t *testing.T) {
	l := listen(t, &Listener{Timeout: math.MaxInt64, MaxWaiting: math.MaxInt}, "127.0.0.0/8")
	dial(t, l, "PROXY TCP4 192.0.2.1 198.51.100.1 1000 25\r\n")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestLoggerPanics: a Logger that panics ends neither the process nor the Listener.
func TestLoggerPanics(t *testing.T) {
	l := listen(t, &Listener{Logger: slog.New(panicky{slog.DiscardHandler})}, "127.0.0.0/8")
	l.start()
	refused := dial(t, l, "EHLO there\r\n")
	refused.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := refused.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v without a header, want a closed connection", err)
	}
	dial(t, l, "PROXY TCP4 192.0.2.1 198.51.100.1 1000 25\r\n")
	if _, err := l.Accept(); err != nil {
		t.Error(err)
	}
}

type panicky struct{ slog.Handler }

func (panicky) Enabled(context.Context, slog.Level) bool  { return true }
func (panicky) Handle(context.Context, slog.Record) error { panic("the Logger") }
