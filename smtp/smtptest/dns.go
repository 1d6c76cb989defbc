package smtptest

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

var (
	_ mx.Resolver       = (*Network)(nil)
	_ mx.SecureResolver = (*Network)(nil)
)

// DNSFault is a failure of the DNS for a name: see [Network.FailDNS].
type DNSFault uint8

const (
	NoFault    DNSFault = iota // no failure
	NXDomain                   // no such name, even if it has records
	ServFail                   // the servers of the zone fail
	DNSTimeout                 // no answer: a lookup fails after 10 seconds, or when its context ends
)

// dnsPatience is the time-out of a lookup. A dns.Resolver asks twice and waits for 5 seconds each time.
const dnsPatience = 10 * time.Second

// MX adds host to the MX records of domain and returns it, as [Network.Host] does. The first host has the preference
// 10, the second 20, and so on. A host that is there already keeps its record.
func (n *Network) MX(domain, host string) *Host {
	n.t.Helper()
	h := n.Host(host)
	key := n.domain(domain)
	n.mu.Lock()
	defer n.mu.Unlock()
	records := n.mx[key]
	if !slices.ContainsFunc(records, func(r *net.MX) bool { return r.Host == h.name+"." }) {
		n.mx[key] = append(records, &net.MX{Host: h.name + ".", Pref: uint16(10 * (len(records) + 1))})
	}
	return h
}

// NullMX replaces the MX records of domain by a null MX: the domain takes no mail (RFC 7505).
func (n *Network) NullMX(domain string) {
	n.t.Helper()
	key := n.domain(domain)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mx[key] = []*net.MX{{Host: ".", Pref: 0}}
}

// FailDNS makes every lookup of name fail, and every lookup that a CNAME leads to name. NoFault ends that.
func (n *Network) FailDNS(name string, f DNSFault) {
	n.t.Helper()
	key := n.domain(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[key] = f
}

// LookupMX returns the MX records of a domain, sorted by preference. Their names end in a dot. Like
// [net.Resolver.LookupMX] it fails with a [*net.DNSError], which doesn't distinguish a domain without MX records from
// one that doesn't exist. The name must be an A-label, with or without a trailing dot.
func (n *Network) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, _, err := n.LookupMXProof(ctx, name)
	return records, err
}

// LookupMXProof is LookupMX, and also returns whether DNSSEC secures the answer.
func (n *Network) LookupMXProof(ctx context.Context, name string) ([]*net.MX, dns.Proof, error) {
	n.lookedUp()
	n.meant(name)
	owner, proof, err := n.follow(ctx, name)
	if err != nil {
		return nil, proof, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	records := n.mx[owner]
	if len(records) == 0 {
		return nil, proof, notFound(name)
	}
	answer := make([]*net.MX, len(records))
	for i, r := range records {
		answer[i] = &net.MX{Host: r.Host, Pref: r.Pref}
	}
	slices.SortStableFunc(answer, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	return answer, proof, nil
}

// LookupNetIP returns the addresses of a host for the network "ip", "ip4" or "ip6", in the order of [Host.SetAddrs]. It
// fails as [net.Resolver.LookupNetIP] does, with a [*net.DNSError].
func (n *Network) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, _, err := n.LookupNetIPProof(ctx, network, host)
	return addrs, err
}

// LookupNetIPProof is LookupNetIP, and also returns whether DNSSEC secures the answer.
func (n *Network) LookupNetIPProof(ctx context.Context, network, host string) ([]netip.Addr, dns.Proof, error) {
	n.lookedUp()
	addrs, proof, h, err := n.addresses(ctx, network, host)
	if h != nil && err == nil {
		n.givenOut(h)
	}
	return addrs, proof, err
}

// addresses is LookupNetIPProof without counting. If host is a name, it also returns the Host.
func (n *Network) addresses(ctx context.Context, network, host string) (
	addrs []netip.Addr, proof dns.Proof, h *Host, err error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{addr.Unmap()}
	} else {
		n.meant(host)
		var owner string
		if owner, proof, err = n.follow(ctx, host); err != nil {
			return nil, proof, nil, err
		}
		n.mu.Lock()
		if h = n.hosts[owner]; h != nil {
			addrs = slices.Clone(h.addrs)
		}
		n.mu.Unlock()
	}
	switch network {
	case "ip":
	case "ip4":
		addrs = slices.DeleteFunc(addrs, netip.Addr.Is6)
	case "ip6":
		addrs = slices.DeleteFunc(addrs, netip.Addr.Is4)
	default:
		return nil, proof, nil, net.UnknownNetworkError(network)
	}
	if len(addrs) == 0 {
		return nil, proof, nil, notFound(host)
	}
	return addrs, proof, h, nil
}

// follow follows the CNAMEs of name. It returns the name that has the records, and whether all answers up to there are
// authentic. If the lookup fails, it returns the error, after the time that the failure takes.
func (n *Network) follow(ctx context.Context, name string) (owner string, proof dns.Proof, err error) {
	n.mu.Lock()
	chain, ends := n.chain(name)
	n.mu.Unlock()
	return n.along(ctx, name, chain, ends)
}

// along is follow for a chain of names.
func (n *Network) along(ctx context.Context, name string, chain []string, ends bool) (
	owner string, proof dns.Proof, err error) {
	proof.TTL = -1
	if err := n.beHere(); err != nil {
		return "", proof, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: name, IsTemporary: true}
	}
	if ctx.Err() != nil {
		return "", proof, canceled(ctx, name)
	}
	n.mu.Lock()
	secure := dns.Proof{Authentic: true, TTL: -1}
	fault := NoFault
	for _, link := range chain {
		secure.Authentic, secure.Name = secure.Authentic && n.isSigned(link), link+"."
		if fault = n.faults[link]; fault != NoFault {
			break
		}
	}
	n.mu.Unlock()
	if fault == NoFault && !ends {
		fault = ServFail
	}
	switch fault {
	case NXDomain:
		return "", secure, notFound(name)
	case ServFail:
		return "", proof, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	case DNSTimeout:
		timer := time.NewTimer(dnsPatience)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return "", proof, canceled(ctx, name)
		case <-timer.C:
			return "", proof, &net.DNSError{Err: "i/o timeout", Name: name, IsTimeout: true, IsTemporary: true}
		}
	}
	return chain[len(chain)-1], secure, nil
}

// domain returns the A-label of a name from the test.
func (n *Network) domain(name string) string {
	n.t.Helper()
	key, err := smtp.ASCIIDomain(name)
	if err != nil {
		n.t.Fatalf("smtptest: name %q: %v", name, err)
	}
	return key
}

// newIPv4 returns an unused address of the documentation ranges of RFC 5737 and, after those, of 11.0.0.0/8, which has
// no public hosts. A guard against private addresses accepts both. n.mu is held.
func (n *Network) newIPv4() netip.Addr {
	i := n.v4
	n.v4++
	ranges := [...][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}
	const each = 200
	if r := i / each; r < len(ranges) {
		return netip.AddrFrom4([4]byte{ranges[r][0], ranges[r][1], ranges[r][2], byte(10 + i%each)})
	}
	return netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
}

// newIPv6 returns an unused address of the documentation range of RFC 3849. n.mu is held.
func (n *Network) newIPv6() netip.Addr {
	n.v6++
	addr := netip.MustParseAddr("2001:db8::25:0").As16()
	addr[14], addr[15] = byte(n.v6>>8), byte(n.v6)
	return netip.AddrFrom16(addr)
}

func dnsName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func canceled(ctx context.Context, name string) error {
	err := ctx.Err()
	late := err == context.DeadlineExceeded
	return &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: name, IsTimeout: late, IsTemporary: late}
}
