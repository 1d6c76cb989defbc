package dmarc

import (
	"context"
	"testing"
)

// TestNoResolver: an Evaluator without a Resolver asks the system's. Nothing leaves this machine: the context has ended.
func TestNoResolver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := new(Evaluator).Evaluate(ctx, Message{From: []string{"example.net"}}); r.Code != TempError {
		t.Errorf("got %v, want temperror", r)
	}
}
