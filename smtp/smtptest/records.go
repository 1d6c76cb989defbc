package smtptest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/mx/dns"
)

// maxAliases is the number of CNAMEs that a lookup follows. RFC 1034 §5.2.2 allows chains and demands that loops are
// caught. Name servers bound both by a number of about this size.
const maxAliases = 11

// TXT replaces the TXT records of name. Without texts, name has none.
func (n *Network) TXT(name string, texts ...string) {
	n.t.Helper()
	key := n.domain(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.txt[key] = slices.Clone(texts)
}

// TLSA replaces the TLSA records of name, which begins with the port and the protocol: "_25._tcp.mx.example.net".
// [Network.Certificate] returns the certificate that a host presents.
func (n *Network) TLSA(name string, records ...dns.TLSA) {
	n.t.Helper()
	key := n.domain(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tlsa[key] = cloneTLSA(records)
}

// CNAME makes name an alias of target: lookups of name return the records of target, and its own records are ignored.
// An empty target ends that. A lookup follows 11 aliases. If there are more, or a loop, it fails as with [ServFail].
func (n *Network) CNAME(name, target string) {
	n.t.Helper()
	key := n.domain(name)
	if target != "" {
		target = n.domain(target)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.aliases, key)
	if target != "" {
		n.aliases[key] = target
	}
}

// Sign signs a zone with DNSSEC: answers about zone and all names below are authentic from now on, negative answers
// too. At first no zone is signed. For a zone with bad signatures use [ServFail]: a validating resolver returns it.
func (n *Network) Sign(zone string) {
	n.t.Helper()
	key := n.domain(zone)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signed[key] = true
}

// Authentic reports whether DNSSEC secures the answers about name: name is in a signed zone, and so is every alias that
// it leads to.
func (n *Network) Authentic(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	chain, ends := n.chain(name)
	return ends && !slices.ContainsFunc(chain, func(link string) bool { return !n.isSigned(link) })
}

// LookupTXT returns the TXT records of a name, in the order of [Network.TXT]. It fails as [net.Resolver.LookupTXT]
// does, with a [*net.DNSError].
func (n *Network) LookupTXT(ctx context.Context, name string) ([]string, error) {
	n.lookedUp()
	owner, _, err := n.follow(ctx, name)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.txt[owner]) == 0 {
		return nil, notFound(name)
	}
	return slices.Clone(n.txt[owner]), nil
}

// LookupAddr returns the names of an address, as its PTR records have them: those of the hosts that have the address,
// sorted and with a trailing dot. It fails as [net.Resolver.LookupAddr] does, with a [*net.DNSError]. With it, a
// Network is a Resolver for packages spf, authres and preflight.
func (n *Network) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	n.lookedUp()
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "unrecognized address", Name: addr}
	}
	if _, _, err := n.follow(ctx, addr); err != nil { // no name: fails outside the bubble and after the end of ctx
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for name, h := range n.hosts {
		if slices.Contains(h.addrs, ip.Unmap()) {
			names = append(names, name+".")
		}
	}
	if len(names) == 0 {
		return nil, notFound(addr)
	}
	slices.Sort(names)
	return names, nil
}

// LookupTLSA returns the TLSA records of a name, as passed to [Network.TLSA], and whether DNSSEC secures the answer. An
// error is a [*net.DNSError]. If its IsNotFound is set, the Proof is valid as well.
func (n *Network) LookupTLSA(ctx context.Context, name string) ([]dns.TLSA, dns.Proof, error) {
	n.lookedUp()
	owner, proof, err := n.follow(ctx, name)
	if err != nil {
		return nil, proof, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.tlsa[owner]) == 0 {
		return nil, proof, notFound(name)
	}
	return cloneTLSA(n.tlsa[owner]), proof, nil
}

// LookupAlias returns the name that [Network.CNAME] has made name an alias of, and whether DNSSEC secures this alias. A
// further alias isn't followed. An error is as that of LookupTLSA.
func (n *Network) LookupAlias(ctx context.Context, name string) (target string, proof dns.Proof, err error) {
	n.lookedUp()
	key, proof, err := n.along(ctx, name, []string{dnsName(name)}, true)
	if err != nil {
		return "", proof, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	target, ok := n.aliases[key]
	if !ok {
		return "", proof, notFound(name)
	}
	return target + ".", proof, nil
}

// chain returns the key of name, followed by the names that its CNAMEs lead to. ends reports that the last name is no
// alias. n.mu is held.
func (n *Network) chain(name string) (names []string, ends bool) {
	names = []string{dnsName(name)}
	for range maxAliases + 1 {
		target, ok := n.aliases[names[len(names)-1]]
		if !ok {
			return names, true
		}
		names = append(names, target)
	}
	return names, false
}

// isSigned reports whether name is in a signed zone. n.mu is held.
func (n *Network) isSigned(name string) bool {
	for ok := true; ok; _, name, ok = strings.Cut(name, ".") {
		if n.signed[name] {
			return true
		}
	}
	return false
}

func cloneTLSA(records []dns.TLSA) []dns.TLSA {
	records = slices.Clone(records)
	for i := range records {
		records[i].Data = slices.Clone(records[i].Data)
	}
	return records
}
