package delivery

import "net/netip"

// Site is where the mail of a destination goes.
type Site struct {
	// Name is the name of the site. Destinations with the same name share a site.
	Name string

	// Addrs are the addresses of the most preferred hosts. If empty, they aren't known.
	Addrs []netip.Addr
}
