package mx

import (
	"encoding/binary"
	"net/netip"
)

// leadsInside reports whether an address is of this machine, or of a private or reserved network, also through a
// gateway from IPv6 to IPv4. Anyone can put such an address into the DNS.
func leadsInside(ip netip.Addr) bool {
	ip = ip.Unmap()
	// Global unicast excludes unspecified, loopback, link-local and multicast addresses, but not private ones.
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return true
	}
	b := ip.As16()
	if ip.Is4() {
		v4 := binary.BigEndian.Uint32(b[12:])
		return v4>>24 == 0 || // RFC 1122 §3.2.1.3: this network
			v4>>22 == 100<<2|64>>6 || // RFC 6598: shared by the customers of a provider, 100.64/10
			v4>>8 == 192<<16 || // RFC 6890 §2.1: between a provider and its customer, 192.0.0/24
			v4>>17 == 198<<7|18>>1 || // RFC 2544: benchmarks, 198.18/15
			v4>>28 == 0xf // RFC 1112 §4: reserved
	}
	switch prefix := binary.BigEndian.Uint64(b[:]); {
	case prefix == 0x64_ff9b<<32 && b[8]|b[9]|b[10]|b[11] == 0: // RFC 6052 §2.1: IPv4 by NAT64
		return leadsInside(netip.AddrFrom4([4]byte(b[12:])))
	case prefix>>48 == 0x2002: // RFC 3056 §2: IPv4 by 6to4
		return leadsInside(netip.AddrFrom4([4]byte(b[2:6])))
	case b[0] == 0: // RFC 4291 §2.4: reserved, with other IPv4 forms and the local NAT64 (RFC 8215)
		return true
	case prefix>>41 == 0x2001<<7: // RFC 6890 §2.2.3: Teredo, benchmarks and others, 2001::/23
		return true
	case prefix>>54 == 0xfec0>>6: // RFC 3879: site-local
		return true
	}
	return false
}
