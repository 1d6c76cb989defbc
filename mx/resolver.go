package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/postrider/postrider/mx/dns"
)

// Resolver looks up records in the DNS. A *[dns.Resolver] is a Resolver. So is a *[net.Resolver], but it answers from
// the system's hosts file as well.
//
//   - A name consists of A-labels and has a trailing dot, so that no search list applies. Only a single label in an
//     explicit route, such as "mail", has no dot.
//   - A name that doesn't exist or has no such records is a *[net.DNSError] with IsNotFound. Every other error counts
//     as transient.
//   - The error for a name that doesn't exist may also hold [dns.NXDomain], as its UnwrapErr. If that of LookupMX does,
//     the addresses of the domain aren't asked for.
//   - Records beside an error are used.
//   - Methods are called concurrently, and return soon after ctx has ended. The caller owns the records.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)

	// LookupNetIP returns the addresses of one family. The network is "ip4" or "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// TTLResolver is an optional ability of a [Resolver]: it returns the time for which an answer is valid. A Router calls
// its methods instead of those of Resolver, by the same rules, and keeps the answer for that time (see
// Router.CacheTime).
//
// A wrapper that embeds a *[dns.Resolver] is a TTLResolver and a [SecureResolver]: a LookupMX or LookupMXTTL of its own
// is never called. It must override LookupMXProof and LookupNetIPProof. A wrapper that embeds the interface Resolver is
// neither, and overrides LookupMX and LookupNetIP.
type TTLResolver interface {
	// LookupMXTTL and LookupNetIPTTL return the lowest TTL among the records and the aliases that led to them. With an
	// IsNotFound error, it is the negative TTL of RFC 2308 §5. A TTL below zero means that it isn't known.
	LookupMXTTL(ctx context.Context, name string) (records []*net.MX, ttl time.Duration, err error)
	LookupNetIPTTL(ctx context.Context, network, host string) (addrs []netip.Addr, ttl time.Duration, err error)
}

// SecureResolver is an optional ability of a [Resolver]: it returns which answers DNSSEC secures. A Router calls its
// methods instead of those of Resolver and TTLResolver, by the same rules, and keeps the [dns.Proof] with the answer.
// With an IsNotFound error, the Proof is about the negative answer. With every other error, it isn't Authentic.
//
// A *[dns.Resolver] is a SecureResolver, but no answer is authentic unless dns.Resolver.TrustAD is set or resolv.conf
// has the option trust-ad. A *[net.Resolver] isn't a SecureResolver.
type SecureResolver interface {
	LookupMXProof(ctx context.Context, name string) ([]*net.MX, dns.Proof, error)
	LookupNetIPProof(ctx context.Context, network, host string) ([]netip.Addr, dns.Proof, error)
	LookupTLSA(ctx context.Context, name string) ([]dns.TLSA, dns.Proof, error)

	// LookupAlias returns the name that the CNAME record of name has. It doesn't follow a further alias.
	LookupAlias(ctx context.Context, name string) (target string, proof dns.Proof, err error)
}

// NameServer returns a Resolver that asks the name server at "host:port" instead of the system's name servers. For
// several name servers, or a port that may be missing, set the Servers of a [dns.Resolver].
func NameServer(hostport string) (*dns.Resolver, error) {
	r := &dns.Resolver{Servers: []string{hostport}}
	if _, _, err := net.SplitHostPort(hostport); err != nil || r.Check() != nil {
		return nil, fmt.Errorf("mx: name server %q: want host:port, such as 192.0.2.53:53", hostport)
	}
	return r, nil
}
