package smtptest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/postrider/postrider/smtp/spf"
)

var _ spf.Resolver = (*Network)(nil)

func TestLookupAddr(t *testing.T) {
	n := NewNetwork(t)
	first, second := n.Host("mx.example.net"), n.Host("a.example.net")
	shared := netip.MustParseAddr("192.0.2.99")
	first.SetAddrs(netip.MustParseAddr("192.0.2.98"), shared)
	second.SetAddrs(shared)
	six := second.IPv6()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name, addr string
		ctx        context.Context
		want       []string
		missing    bool // an error with IsNotFound
	}{
		{"one host", "192.0.2.98", t.Context(), []string{"mx.example.net."}, false},
		{"two hosts", "192.0.2.99", t.Context(), []string{"a.example.net.", "mx.example.net."}, false},
		{"mapped", "::ffff:192.0.2.98", t.Context(), []string{"mx.example.net."}, false},
		{"IPv6", six.String(), t.Context(), []string{"a.example.net."}, false},
		{"no host", "198.51.100.1", t.Context(), nil, true},
		{"no address", "mx.example.net", t.Context(), nil, false},
		{"the end of ctx", "192.0.2.98", ended, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := n.LookupAddr(tt.ctx, tt.addr)
			dns, ok := errors.AsType[*net.DNSError](err)
			if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) || ok && dns.IsNotFound != tt.missing {
				t.Errorf("got %v, %v; want %v, not found: %t", got, err, tt.want, tt.missing)
			}
		})
	}
}
