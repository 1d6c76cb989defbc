package mx

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// probe knows whether this machine has a public IPv6 address. Without one, IPv6 comes last (RFC 6724 §5, rule 1), so
// that not every session begins with an address to which no route leads.
type probe struct{ last atomic.Pointer[probed] }

type probed struct {
	at  time.Time
	six bool
}

// reprobe is how long the answer of a probe is used.
const reprobe = time.Minute

// ip4First reports whether IPv4 addresses are to be tried before those of IPv6.
func (r *Router) ip4First() bool {
	if r.probe == nil {
		return false // hosts in memory, for example, which this machine's addresses don't concern
	}
	last := r.probe.last.Load()
	if last == nil || time.Since(last.at) >= reprobe {
		last = &probed{time.Now(), hasIPv6()}
		r.probe.last.Store(last)
	}
	return !last.six
}

// hasIPv6 reports whether an interface has a public IPv6 address, or may have one.
func hasIPv6() bool {
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is6() && !leadsInside(prefix.Addr()) {
			return true
		}
	}
	return err != nil
}
