package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Resolver looks up records in the DNS. Both a *[net.Resolver] and the *dns.Resolver of mx/dns are Resolvers.
//
//   - A name consists of printable ASCII characters and spaces. Its labels have 1 to 63 octets, and it has 254 at
//     most. It has a trailing dot, so that no search list applies.
//   - A name that doesn't exist and one that has no such records are the same to SPF: a *[net.DNSError] with
//     IsNotFound, or no error and no records. Every other error is transient, and makes the result [TempError].
//   - Records beside an error are used.
//   - A Checker calls one method at a time for each Check. Methods return soon after ctx has ended.
type Resolver interface {
	// LookupTXT returns the TXT records. The strings of one record are joined, without a space.
	LookupTXT(ctx context.Context, name string) ([]string, error)

	// LookupNetIP returns the addresses of one family. The network is "ip4" or "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)

	LookupMX(ctx context.Context, name string) ([]*net.MX, error)

	// LookupAddr returns the names of an IP address: the PTR records below in-addr.arpa or ip6.arpa.
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// found returns the records that a lookup found. The error is nil if there are records, or certainly none.
func found[T any](records []T, err error) ([]T, error) {
	if len(records) > 0 {
		return records, nil
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return nil, nil
	}
	return nil, err
}
