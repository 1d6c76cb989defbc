package smtptest

import (
	"context"
	"slices"
	"strings"

	"github.com/postrider/postrider/mx"
)

// maxAliases is how many CNAMEs a lookup follows. RFC 1034 §5.2.2 lets them form chains, and has loops caught; name
// servers bound both by a number of about this size.
const maxAliases = 11

// TXT gives name these TXT records in place of those it had. With none, it has none.
func (n *Network) TXT(name string, texts ...string) {
	n.t.Helper()
	key := n.domain(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.txt[key] = slices.Clone(texts)
}

// TLSA gives name, which begins with the port and the protocol ("_25._tcp.mx.example.net"), these TLSA records
// in place of those it had. With none, it has none. [Network.Certificate] gives what a host would show.
func (n *Network) TLSA(name string, records ...mx.TLSA) {
	n.t.Helper()
	key := n.domain(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tlsa[key] = cloneTLSA(records)
}

// CNAME makes name an alias of target: what is asked about name is answered with the records of target, and
// those of its own don't count. An empty target ends it. A lookup follows eleven aliases, and fails as with
// [ServFail] where there are more or they go in a circle.
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

// Sign signs a zone by DNSSEC: from then on the answers about zone and all names below are authentic, that there is
// no such record among them. No zone is signed at first. One whose signatures are bad is [ServFail] to a resolver
// that verifies.
func (n *Network) Sign(zone string) {
	n.t.Helper()
	key := n.domain(zone)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signed[key] = true
}

// Authentic reports whether the answers about name are DNSSEC-secure: name is in a signed zone and so is every alias
// behind it. *[net.Resolver] can't say that of its MX and address records; a resolver of the test's own can ask here.
func (n *Network) Authentic(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	chain, ends := n.chain(name)
	return ends && !slices.ContainsFunc(chain, func(link string) bool { return !n.isSigned(link) })
}

// LookupTXT gives the TXT records of a name, in the order of [Network.TXT]. It fails as
// [net.Resolver.LookupTXT] does, with a [*net.DNSError].
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

// LookupTLSA gives the TLSA records of a name, as [Network.TLSA] has it, and whether the answer is authentic. An
// error is a [*net.DNSError]; where it says that there is no such record, authentic tells whether that is sure.
func (n *Network) LookupTLSA(ctx context.Context, name string) (records []mx.TLSA, authentic bool, err error) {
	n.lookedUp()
	owner, authentic, err := n.follow(ctx, name)
	if err != nil {
		return nil, authentic, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.tlsa[owner]) == 0 {
		return nil, authentic, notFound(name)
	}
	return cloneTLSA(n.tlsa[owner]), authentic, nil
}

// chain gives the form of name that is a key and, in turn, each alias behind it. ends says that the last one is no
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

func cloneTLSA(records []mx.TLSA) []mx.TLSA {
	records = slices.Clone(records)
	for i := range records {
		records[i].Data = slices.Clone(records[i].Data)
	}
	return records
}
