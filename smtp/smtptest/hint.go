package smtptest

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// maxHints bounds the hints of one kind.
const maxHints = 10

// uses counts lookups and dials, for the hints. Network.mu guards it.
type uses struct {
	lookups int   // lookups of all kinds, except those of a dial
	unknown tally // lookups of names of which the network knows nothing
	nowhere tally // dials of addresses that no host has
}

// tally counts by name. It counts only the first maxHints names.
type tally struct {
	names  []string // in the order of their first count
	counts map[string]int
}

func (t *tally) add(name string) {
	if t.counts[name] == 0 {
		if len(t.names) == maxHints {
			return
		}
		t.names = append(t.names, name)
	}
	put(&t.counts, name, t.counts[name]+1)
}

// lookedUp counts a lookup.
func (n *Network) lookedUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uses.lookups++
}

// meant counts a lookup of a name of which the network knows nothing. It is for MX and address records: lookups of
// other records often find nothing.
func (n *Network) meant(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if chain, _ := n.chain(name); !slices.ContainsFunc(chain, n.knows) {
		n.uses.unknown.add(chain[0])
	}
}

// knows reports whether the test has set up anything for a name. n.mu is held.
func (n *Network) knows(key string) bool {
	_, alias := n.aliases[key]
	_, fault := n.faults[key]
	_, host := n.hosts[key]
	return alias || fault || host || len(n.mx[key])+len(n.txt[key])+len(n.tlsa[key]) > 0
}

// dialled counts a dial.
func (n *Network) dialled(remote net.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h, _ := n.at(remote); h != nil {
		h.dials++
	} else {
		n.uses.nowhere.add(remote.String())
	}
}

// hints returns questions that may explain a failure: signs that the code under test doesn't use the network's DNS or
// connections, or asks for a name that the test hasn't set up. n.mu is held.
func (n *Network) hints() []string {
	var hints []string
	hint := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	undialled := 0
	for _, h := range n.order {
		if h.lookups == 0 || h.dials > 0 || n.spared(h) {
			continue
		}
		if undialled++; undialled <= maxHints {
			hint("%s: %s, no dial: is DialContext set to that of the Network?", h.name, number(h.lookups, "lookup"))
		}
	}
	for _, name := range n.uses.unknown.names {
		hint("%s: %s, no records: is the name misspelled?", name, number(n.uses.unknown.counts[name], "lookup"))
	}
	if n.uses.lookups > 0 {
		return hints
	}
	for _, address := range n.uses.nowhere.names {
		hint("%s: %s, no host with this address, and no lookup of any name: is Resolver set to the Network?",
			address, number(n.uses.nowhere.counts[address], "dial"))
	}
	if domains := n.unused(); len(domains) > 0 && len(hints) == 0 {
		hint("%s: no lookup, and no dial of the mail hosts: are Resolver and DialContext set to those of the Network?",
			strings.Join(domains, ", "))
	}
	return hints
}

// spared reports whether another MX host of one of the host's domains was dialled. n.mu is held.
func (n *Network) spared(h *Host) bool {
	for _, records := range n.mx {
		hosts := n.mailHosts(records)
		if slices.Contains(hosts, h) && slices.ContainsFunc(hosts, func(h *Host) bool { return h.dials > 0 }) {
			return true
		}
	}
	return false
}

// unused returns the domains with mail hosts none of which was dialled, at most maxHints. n.mu is held.
func (n *Network) unused() []string {
	var domains []string
	for domain, records := range n.mx {
		hosts := n.mailHosts(records)
		if len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h *Host) bool { return h.dials > 0 }) {
			domains = append(domains, domain)
		}
	}
	slices.Sort(domains)
	return domains[:min(len(domains), maxHints)]
}

// mailHosts returns the hosts of MX records. n.mu is held.
func (n *Network) mailHosts(records []*net.MX) []*Host {
	var hosts []*Host
	for _, r := range records {
		if h := n.hosts[dnsName(r.Host)]; h != nil {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// number returns "1 dial", "2 dials".
func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// givenOut counts a lookup of a host's addresses that got some.
func (n *Network) givenOut(h *Host) {
	n.mu.Lock()
	h.lookups++
	n.mu.Unlock()
	n.watchDial(h)
}
