package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Resolver asks the DNS. *[net.Resolver] is one; it should have StrictErrors, or a failure for the A
// records beside an empty answer for AAAA reads as "no such host", and mail bounces for a passing fault.
//
// Names come as A-labels with a trailing dot, so that no search list applies; only a single label that stands in
// an explicit route has none. That a name doesn't exist or has
// no such records is a *[net.DNSError] with IsNotFound; every other error is taken as passing. Records
// may come along with an error, and are used. Methods are called concurrently, return soon when ctx ends, and what they return is the caller's.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)

	// LookupNetIP is asked for the network "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// TTLResolver is what a [Resolver] may be besides: it tells how long an answer holds, which the Router then goes by (see
// Router.CacheTime). It is asked in place of the methods without TTL, and by the same rules.
type TTLResolver interface {
	// LookupMXTTL and LookupNetIPTTL give the least TTL of the records and of the aliases that led to them, and along with an error that
	// says IsNotFound, that of RFC 2308 §5. A negative one is not known.
	LookupMXTTL(ctx context.Context, name string) (records []*net.MX, ttl time.Duration, err error)
	LookupNetIPTTL(ctx context.Context, network, host string) (addrs []netip.Addr, ttl time.Duration, err error)
}

// TLSA is a TLSA record (RFC 6698 §2.1), which binds the TLS of a server to a certificate or a key.
type TLSA struct {
	Usage        uint8  // 3 is DANE-EE, 2 DANE-TA; mail has no other (RFC 7672 §3.1)
	Selector     uint8  // 0 for the certificate, 1 for its public key
	MatchingType uint8  // 0 for Data as it is, 1 for its SHA-256, 2 for its SHA-512
	Data         []byte // the association data
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
