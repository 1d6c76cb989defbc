package mx

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Addrs returns the addresses of one host of a route. Both families alternate (RFC 8305 §4), beginning with IPv6. If
// the Resolver is nil, a *dns.Resolver or a *net.Resolver, and this machine has no public IPv6 address, IPv4 comes
// first. A Unix socket has no addresses.
//
// The Resolver is asked for both families apart, at the same time. If one family has addresses, the other one has 1
// more second to answer, and its failure is no error. It isn't asked for again for 30 seconds.
//
// If a host from the DNS, or another host of its preference, has an address of our own, the error holds [ErrLoop], and
// the hosts after it in the route must not be tried. If the Router knows own addresses, it therefore looks up all hosts
// of the same preference, for 10 seconds at most. A failure of these lookups is ignored.
func (r *Router) Addrs(ctx context.Context, route Route, host Host) ([]netip.AddrPort, error) {
	r.once.Do(r.prepare)
	if host.Path != "" {
		return nil, nil
	}
	ips, _, err := r.lookupIP(ctx, route, host.Name)
	if err := r.leadsBack(ctx, route, host, ips); err != nil {
		return nil, err
	}
	if route.MX && !r.AllowPrivate {
		ips = slices.DeleteFunc(ips, leadsInside)
	}
	if len(ips) == 0 {
		if err == nil {
			err = fail(smtp.NewReply(550, "5.4.4", "host "+host.Name+" has only private or reserved addresses"), nil)
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

// lookupIP returns at least one address or an error, and both if only a part of the addresses could be looked up.
func (r *Router) lookupIP(ctx context.Context, route Route, host string) ([]netip.Addr, dns.Proof, error) {
	if ip, ok := parseIP(host); ok {
		return []netip.Addr{ip}, dns.Proof{}, nil
	}
	name := host + "."
	if !route.MX && !strings.Contains(host, ".") {
		// A single label from the operator is a name of this machine's network. A *net.Resolver finds "localhost" in
		// /etc/hosts, and a container by the search list, only without the trailing dot.
		name = host
	}
	resolver := r.resolver
	if !route.MX {
		resolver = r.system
	}
	a4, a6 := resolver.addresses(ctx, name)
	ips, proof := distinct(a6.ip, a4.ip), joined(a4, a6)
	if r.ip4First() {
		ips = distinct(a4.ip, a6.ip)
	}
	err := a4.err
	if err == nil || isNotFound(err) && a6.err != nil {
		err = a6.err
	}
	switch {
	case err != nil && !isNotFound(err):
		return ips, proof, fail(smtp.NewReply(451, "4.4.3", "cannot look up the address of "+host), err)
	case len(ips) > 0:
		return ips, proof, nil
	case route.implicit:
		// Neither MX nor address records: the domain doesn't exist or takes no mail.
		none := smtp.NewReply(550, "5.1.2", "the domain "+host+" has neither MX nor address records")
		return nil, proof, fail(none, err)
	}
	return nil, proof, fail(smtp.NewReply(451, "4.4.4", "host "+host+" has no address"), err)
}

// joined returns the proof of the addresses of both families. An answer without addresses doesn't count.
func joined(a4, a6 *answer) dns.Proof {
	switch {
	case len(a6.ip) == 0:
		return a4.proof
	case len(a4.ip) == 0:
		return a6.proof
	}
	proof := a6.proof
	proof.Authentic = proof.Authentic && a4.proof.Authentic
	proof.TTL = min(proof.TTL, a4.proof.TTL)
	return proof
}

// distinct returns the valid addresses of two lists, each once. A *net.Resolver, or the DNS itself, may have IPv4
// addresses in IPv6 form, ::ffff:192.0.2.1.
func distinct(a, b []netip.Addr) []netip.Addr {
	ips := make([]netip.Addr, 0, len(a)+len(b))
	var seen map[netip.Addr]bool // in place of a search, if there are many
	if cap(ips) > 16 {
		seen = make(map[netip.Addr]bool, cap(ips))
	}
	for _, list := range [...][]netip.Addr{a, b} {
		for _, ip := range list {
			ip = ip.Unmap()
			if !ip.IsValid() || seen[ip] || seen == nil && slices.Contains(ips, ip) {
				continue
			}
			if seen != nil {
				seen[ip] = true
			}
			ips = append(ips, ip)
		}
	}
	return ips
}

// interleave returns the addresses with the families in turn, each in its own order (RFC 8305 §4).
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
