package dns

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver asks name servers. The zero value asks those of the system. It may be used by several goroutines. Fields
// must not change after the first use.
type Resolver struct {
	// Servers are the recursive name servers to ask, in this order: "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or
	// "[2001:db8::53]:5353". Without a port, the port is 53. A host name in place of an address is looked up for each
	// query, by Dial. If empty, those of ResolvConf.
	Servers []string

	// ResolvConf is the path of the file with the system's name servers, by resolv.conf(5). Of its settings, nameserver
	// and the options timeout, attempts, rotate, use-vc and trust-ad apply, with their documented defaults and
	// bounds. A file that has changed is read again. If empty, "/etc/resolv.conf". If Servers is set, the file is not
	// read.
	//
	// If the file can't be read, as on Windows, each lookup is passed to the resolver of [Resolver.System], to which
	// the hosts file applies and which knows no TTLs. If ResolvConf is set, [Resolver.Check] returns an error then.
	ResolvConf string

	// Timeout is how long a server has for each answer. If zero or less, that of ResolvConf, or 5 seconds.
	Timeout time.Duration

	// Attempts is the number of rounds in which all servers are asked. If zero or less, that of ResolvConf, or 2.
	Attempts int

	// Rotate makes each query begin at another server. If false, ResolvConf may still say so.
	Rotate bool

	// TCP makes all queries go by TCP. If false, ResolvConf may still say so.
	TCP bool

	// TrustAD means that all servers validate by DNSSEC, and that nobody can change their answers on the way: they are
	// on this machine, or behind a tunnel. Then Proof.Authentic is the AD bit of their answers. If one of the servers
	// doesn't validate, its answers are insecure. The server at a container's loopback address often forwards to a
	// server elsewhere, over a way that isn't safe. If false, ResolvConf may still say so, by trust-ad.
	TrustAD bool

	// Dial connects to a name server, on "udp" or "tcp". If nil, a net.Dialer. It returns soon after ctx has ended. As
	// with net.Resolver.Dial, queries are sent as datagrams if the connection is a net.PacketConn, and as by TCP
	// otherwise.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	turn   atomic.Uint32 // counts the queries, to rotate
	system atomic.Pointer[resolvConf]

	// standard is the resolver to use without ResolvConf.
	standard struct {
		once sync.Once
		next atomic.Uint32 // the server to ask, modulo their number
		*net.Resolver
	}
}

// LookupMX returns the MX records of a domain, the best first. Their names end in a dot. A null MX (RFC 7505) is
// returned as a record with the host ".".
//
// In all lookups, the name consists of printable ASCII characters, an A-label for example, and may end in a dot.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, _, err := r.LookupMXTTL(ctx, name)
	return records, err
}

// LookupMXTTL is LookupMX, and also returns for how long the answer is valid. That is the lowest TTL among the records
// and the aliases that led to them. For an IsNotFound error it is the negative TTL of RFC 2308 §5, and zero if the
// answer had none. It is 2^31-1 seconds, the longest TTL, if no server is asked: the name isn't valid, or is at or
// below localhost. It is below zero if it isn't known, as with any other error.
func (r *Resolver) LookupMXTTL(ctx context.Context, name string) ([]*net.MX, time.Duration, error) {
	records, proof, err := r.LookupMXProof(ctx, name)
	return records, proof.TTL, err
}

// LookupMXProof is LookupMX, and also returns whether the answer is authentic, and for how long it is valid.
func (r *Resolver) LookupMXProof(ctx context.Context, name string) ([]*net.MX, Proof, error) {
	a, err := r.lookup(ctx, name, dnsmessage.TypeMX)
	if err == errStandard {
		records, err := r.System().LookupMX(ctx, rooted(name))
		return records, a.proof(), phrased(err)
	}
	slices.SortStableFunc(a.mx, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	return a.mx, a.proof(), err
}

// LookupTXT returns the TXT records of a name. The strings of one record are joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, _, err := r.LookupTXTTTL(ctx, name)
	return texts, err
}

// LookupTXTTTL is LookupTXT with a TTL as that of LookupMXTTL.
func (r *Resolver) LookupTXTTTL(ctx context.Context, name string) ([]string, time.Duration, error) {
	a, err := r.lookup(ctx, name, dnsmessage.TypeTXT)
	if err == errStandard {
		texts, err := r.System().LookupTXT(ctx, rooted(name))
		return texts, unknownTTL, phrased(err)
	}
	return a.txt, a.ttl, err
}

// LookupNetIP returns the addresses of a host. The network is "ip4", "ip6", or "ip" for both. An IP address is its own
// address. Names at or below "localhost" have the loopback addresses, and no other records (RFC 6761 §6.3).
//
// For "ip" both families are asked at the same time. If only one of them has addresses, these are returned without an
// error.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	ips, _, err := r.LookupNetIPTTL(ctx, network, host)
	return ips, err
}

// LookupNetIPTTL is LookupNetIP with a TTL as that of LookupMXTTL. For "ip", it is the lower one of both families. For
// an IP address, about which no server is asked, it is 2^31-1 seconds.
func (r *Resolver) LookupNetIPTTL(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
	ips, proof, err := r.LookupNetIPProof(ctx, network, host)
	return ips, proof.TTL, err
}

// LookupNetIPProof is LookupNetIP, and also returns whether the answer is authentic, and for how long it is valid. For
// "ip", it is authentic if both answers are. An address that no server is asked about isn't authentic.
func (r *Resolver) LookupNetIPProof(ctx context.Context, network, host string) ([]netip.Addr, Proof, error) {
	switch network {
	case "ip4":
		return r.lookupIP(ctx, dnsmessage.TypeA, host)
	case "ip6":
		return r.lookupIP(ctx, dnsmessage.TypeAAAA, host)
	case "ip":
		return r.lookupBoth(ctx, host)
	}
	unknown := net.UnknownNetworkError(network)
	return nil, Proof{TTL: unknownTTL}, &net.DNSError{UnwrapErr: unknown, Err: unknown.Error(), Name: host}
}

func (r *Resolver) lookupBoth(ctx context.Context, host string) ([]netip.Addr, Proof, error) {
	var (
		wg             sync.WaitGroup
		ip4, ip6       []netip.Addr
		proof4, proof6 Proof
		fail4, fail6   error
	)
	wg.Go(func() { ip4, proof4, fail4 = r.lookupIP(ctx, dnsmessage.TypeA, host) })
	ip6, proof6, fail6 = r.lookupIP(ctx, dnsmessage.TypeAAAA, host)
	wg.Wait()
	proof := Proof{proof4.Authentic && proof6.Authentic, cmp.Or(proof4.Name, proof6.Name), min(proof4.TTL, proof6.TTL)}
	ips, err := append(ip6, ip4...), fail4
	switch {
	case len(ips) > 0:
		err = nil
	case isNotFound(fail4):
		err = fail6
	}
	return ips, proof, err
}

// lookupIP returns the addresses of the family of a record type.
func (r *Resolver) lookupIP(ctx context.Context, t dnsmessage.Type, host string) ([]netip.Addr, Proof, error) {
	known, ok := knownAddrs(host)
	if ok {
		known = slices.DeleteFunc(known, func(ip netip.Addr) bool { return ip.Is4() != (t == dnsmessage.TypeA) })
		if len(known) == 0 {
			return nil, Proof{TTL: maxTTL}, notFound(errNoRecords, host, "", nil)
		}
		return known, Proof{TTL: maxTTL}, nil
	}
	a, err := r.lookup(ctx, host, t)
	if err == errStandard {
		network := map[dnsmessage.Type]string{dnsmessage.TypeA: "ip4", dnsmessage.TypeAAAA: "ip6"}[t]
		ips, err := r.System().LookupNetIP(ctx, network, rooted(host))
		for i := range ips {
			ips[i] = ips[i].Unmap()
		}
		return ips, a.proof(), phrased(err)
	}
	return a.ip, a.proof(), err
}

// knownAddrs returns the addresses of a host about which no server is asked.
func knownAddrs(host string) ([]netip.Addr, bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, true
	}
	if name, err := canonical(host); err == nil && isLocalhost(name) {
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, true
	}
	return nil, false
}

// isLocalhost reports whether a canonical name is at or below localhost. RFC 6761 §6.3: such a name has the loopback
// addresses and no other records, and isn't asked for.
func isLocalhost(name string) bool { return name == "localhost." || isBelow(name, "localhost.") }

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}
