package dns

import (
	"context"
	"math"
	"net"
	"strings"
	"testing"
)

// TestOddValues: lookups with values that nobody should set are errors, and none of them panics or hangs.
func TestOddValues(t *testing.T) {
	refused := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	servers := []string{"192.0.2.53"}
	tests := []struct {
		name string
		r    *Resolver
		want string
	}{
		{"Dial panics", &Resolver{Servers: servers, Dial: func(context.Context, string, string) (net.Conn, error) { panic("Dial") }}, "reached"},
		{"Dial returns nothing", &Resolver{Servers: servers, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}, "reached"},
		{"lowest Timeout and Attempts", &Resolver{Servers: servers, Timeout: math.MinInt64, Attempts: math.MinInt, Dial: refused}, "reached"},
		{"longest Timeout", &Resolver{Servers: servers, Timeout: math.MaxInt64, Dial: refused}, "reached"},
		{"no servers", &Resolver{Servers: []string{"", ":", "a b:c", "\r\n"}, Dial: refused}, "reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			last := func(_ any, err error) error { return err }
			for name, err := range map[string]error{
				"MX": last(tt.r.LookupMX(ctx, "a.test")), "TXT": last(tt.r.LookupTXT(ctx, "a.test")),
				"both families": last(tt.r.LookupNetIP(ctx, "ip", "a.test")), "PTR": last(tt.r.LookupAddr(ctx, "192.0.2.1")),
			} {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: got %v, want %q", name, err, tt.want)
				}
			}
			if _, err := tt.r.System().LookupNetIP(ctx, "ip", "a.test."); err == nil {
				t.Error("System: got no error")
			}
		})
	}
}
