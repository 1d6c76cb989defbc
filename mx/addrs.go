package mx

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Addrs gives the addresses of one host of a route, both families in turn, beginning with the one that
// the Resolver put first. A Unix socket has none.
//
// If the host of a route by MX has an address of our own, or another host of its preference has, the error holds
// [ErrLoop], and the rest of the route's hosts are not to be tried. Where we have own addresses to compare, that takes a look at
// all hosts of the preference that are in the route. One that can't be looked up is no cause for an error.
func (r *Router) Addrs(ctx context.Context, route Route, host Host) ([]netip.AddrPort, error) {
	r.once.Do(r.prepare)
	if host.Path != "" {
		return nil, nil
	}
	ips, err := r.lookupIP(ctx, route, host.Name)
	if err := r.leadsBack(ctx, route, host, ips); err != nil {
		return nil, err
	}
	if route.MX && !r.AllowPrivate {
		ips = slices.DeleteFunc(ips, leadsInside)
	}
	if len(ips) == 0 {
		if err == nil {
			err = fail(smtp.NewReply(550, "5.4.4", "host "+host.Name+" has no address that mail may go to"), nil)
		}
		return nil, err
	}
	ips = interleave(ips)
	addrs := make([]netip.AddrPort, min(len(ips), MaxAddrs))
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(ips[i], uint16(host.Port))
	}
	return addrs, nil
}

// lookupIP gives at least one address or an error, and both where only a part could be looked up.
func (r *Router) lookupIP(ctx context.Context, route Route, host string) ([]netip.Addr, error) {
	if ip, ok := parseIP(host); ok {
		return []netip.Addr{ip}, nil
	}
	name := host + "."
	if !route.MX && !strings.Contains(host, ".") {
		// A single label that the operator chose means what it means on this machine: *net.Resolver finds
		// "localhost" in /etc/hosts, or a container's neighbour by the search list, only without the dot.
		name = host
	}
	answer, err := r.resolver.LookupNetIP(ctx, "ip", name)
	ips := answer[:0]
	seen := make(map[netip.Addr]bool, len(answer))
	for _, ip := range answer {
		// *net.Resolver gives IPv4 addresses as ::ffff: forms.
		if ip = ip.Unmap(); ip.IsValid() && !seen[ip] {
			seen[ip] = true
			ips = append(ips, ip)
		}
	}
	switch {
	case err != nil && !isNotFound(err):
		return ips, fail(smtp.NewReply(451, "4.4.3", "cannot look up the address of "+host), err)
	case len(ips) > 0:
		return ips, nil
	case route.implicit:
		// Neither MX nor address: the domain doesn't exist, or takes no mail.
		return nil, fail(smtp.NewReply(550, "5.1.2", "the domain "+host+" has no mail host"), err)
	}
	return nil, fail(smtp.NewReply(451, "4.4.4", "host "+host+" has no address"), err)
}

// interleave puts the families in turn, each in its own order (RFC 8305 §4).
func interleave(ips []netip.Addr) []netip.Addr {
	if len(ips) < 3 {
		return ips
	}
	first := ips[0].Is4()
	var a, b []netip.Addr
	for _, ip := range ips {
		if ip.Is4() == first {
			a = append(a, ip)
		} else {
			b = append(b, ip)
		}
	}
	out := make([]netip.Addr, 0, len(ips))
	for i := 0; len(out) < len(ips); i++ {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) {
			out = append(out, b[i])
		}
	}
	return out
}
