package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Resolver asks the DNS. *[net.Resolver] is one; it should have StrictErrors, or a failure for the A
// records beside an empty answer for AAAA reads as "no such host", and mail bounces for a passing fault.
//
// Names come as A-labels with a trailing dot, so that no search list applies; only a single label that stands in
// an explicit route has none. That a name doesn't exist or has
// no such records is a *[net.DNSError] with IsNotFound; every other error is taken as passing. Records
// may come along with an error, and are used. Methods are called concurrently, and what they return is the caller's.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)

	// LookupNetIP is asked for the network "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// NameServer gives a Resolver that asks the name server at "host:port" in place of the system's.
func NameServer(hostport string) (*net.Resolver, error) {
	if _, _, err := net.SplitHostPort(hostport); err != nil {
		return nil, fmt.Errorf("mx: name server: %w", err)
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, hostport)
	}
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: dial}, nil
}
