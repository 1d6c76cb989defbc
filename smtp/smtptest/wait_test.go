package smtptest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaits(t *testing.T) {
	tests := []struct {
		name string
		wait func(*Host)
		took time.Duration
		want string // how the test fails
	}{
		{"a session", func(h *Host) { h.WaitSessions(1) }, 1 * time.Second, ""},
		{"more", func(h *Host) { h.WaitSessions(2) }, 2 * time.Second, ""},
		{"none", func(h *Host) { h.WaitSessions(1); h.WaitSessions(0) }, 6 * time.Second, ""},
		{"none at first", func(h *Host) { h.WaitSessions(0) }, 0, ""},
		{"too many", func(h *Host) { h.WaitSessions(4) }, 720 * time.Hour,
			"smtptest: mx.example.net has 0 sessions in 720h0m0s, want 4\n"},
		{"connections", func(h *Host) { h.WaitConnections(3) }, 3 * time.Second, ""},
		{"too many connections", func(h *Host) { h.WaitConnections(4) }, 720 * time.Hour,
			"smtptest: mx.example.net got 3 connections in 720h0m0s, want 4\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				n := NewNetwork(r)
				h := n.Host("mx.example.net")
				for i := range 3 { // from second i+1 on, for 3 seconds
					time.AfterFunc(time.Duration(i+1)*time.Second, func() {
						if c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25"); err == nil { // the test may be over
							time.Sleep(3 * time.Second)
							c.Close()
						}
					})
				}
				start := time.Now()
				var took time.Duration
				got := r.run(func() {
					defer func() { took = time.Since(start) }()
					test.wait(h)
				})
				if took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
					t.Errorf("got %q, want %q", got, test.want)
				}
				time.Sleep(time.Minute) // the clients have ended
			})
		})
	}
}
