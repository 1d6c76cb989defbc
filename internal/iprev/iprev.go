// Package iprev finds the name of a client that leads back to its address (RFC 8601 §3).
package iprev

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Resolver looks up names: see server.NameResolver.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Outcome is what a Lookup found.
type Outcome int

const (
	Found   Outcome = iota // a name that leads back
	Forged                 // names, and none of them leads back
	NoName                 // the address has no name
	Unknown                // a lookup failed, and may succeed later
)

// MaxNames bounds the names of an address that are looked up.
const MaxNames = 10

// Lookup returns the first name of ip that leads back to it, as an A-label without a trailing dot.
func Lookup(ctx context.Context, r Resolver, ip netip.Addr) (name string, found Outcome) {
	names, err := r.LookupAddr(ctx, ip.String())
	switch {
	case len(names) > 0:
	case err == nil || isNotFound(err):
		return "", NoName
	default:
		return "", Unknown
	}
	network := "ip4"
	if ip.Is6() {
		network = "ip6"
	}
	found = Forged
	for _, name := range names[:min(len(names), MaxNames)] {
		host, err := smtp.ASCIIDomain(name)
		if err != nil || strings.HasPrefix(host, "[") {
			continue
		}
		addrs, err := r.LookupNetIP(ctx, network, host+".")
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == ip }) {
			return host, Found
		}
		if err != nil && len(addrs) == 0 && !isNotFound(err) {
			found = Unknown
		}
	}
	return "", found
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}
