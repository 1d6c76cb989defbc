package dns

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// LookupAddr returns the names of an IP address: the PTR records below in-addr.arpa (RFC 1035 §3.5) or ip6.arpa
// (RFC 3596 §2.5). Names end in a dot. Whoever has the address chooses its names, so a name counts only if the address
// is among its own.
//
// An IPv4 address in IPv6 form is an IPv4 address. A zone of an IPv6 address doesn't count.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	names, _, err := r.LookupAddrTTL(ctx, addr)
	return names, err
}

// LookupAddrTTL is LookupAddr with a TTL as that of LookupMXTTL.
func (r *Resolver) LookupAddrTTL(ctx context.Context, addr string) ([]string, time.Duration, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, maxTTL, notFound(errBadAddr, addr, "", nil)
	}
	a, err := r.lookup(ctx, reverseName(ip.Unmap()), dnsmessage.TypePTR)
	if err == errStandard {
		names, err := r.System().LookupAddr(ctx, addr)
		return names, unknownTTL, phrased(err)
	}
	return a.ptr, a.ttl, err
}

// reverseName returns the name with the PTR records of an address.
func reverseName(ip netip.Addr) string {
	var labels []string
	if ip.Is4() {
		for _, octet := range ip.As4() {
			labels = append(labels, strconv.Itoa(int(octet)))
		}
		slices.Reverse(labels)
		return strings.Join(labels, ".") + ".in-addr.arpa."
	}
	digits := strings.ReplaceAll(ip.WithZone("").StringExpanded(), ":", "")
	labels = strings.Split(digits, "")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + ".ip6.arpa."
}
