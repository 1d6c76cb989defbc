package spf

import (
	"context"
	"net/netip"
	"testing"
)

// TestNoResolver: a Checker without a Resolver asks the system's. Nothing leaves this machine: the context has ended.
func TestNoResolver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := new(Checker).Check(ctx, netip.MustParseAddr("192.0.2.1"), "mail.example.net", "ann@example.net")
	if r.Code != TempError {
		t.Errorf("got %v, want temperror", r)
	}
}
