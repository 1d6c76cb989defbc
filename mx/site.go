package mx

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Site returns the [Route.Site] of a destination, which is a domain or the name of an explicit route.
func (r *Router) Site(ctx context.Context, destination string) (string, error) {
	route, err := r.routeOf(ctx, destination)
	if err != nil {
		return "", err
	}
	return route.Site(), nil
}

// SiteAddrs returns what Site returns, and the addresses of the most preferred hosts: the first host of an explicit
// route, or all hosts with the best preference. The addresses are sorted, without duplicates, and MaxAddrs at most. A
// Unix socket and the Sender of a route have none.
//
// SiteAddrs makes the lookups that a delivery to these hosts makes, all hosts at the same time. So a delivery soon
// after it finds their answers in the cache, and doesn't wait for the DNS. A lookup that fails is not cached.
//
// If the site is known and no address could be looked up, SiteAddrs returns both the site and the error. It returns
// soon after ctx has ended, with the addresses found so far. Other callers that wait for the same lookups go on
// waiting, and nothing is cached because of ctx.
func (r *Router) SiteAddrs(ctx context.Context, destination string) (site string, addrs []netip.Addr, err error) {
	route, err := r.routeOf(ctx, destination)
	if err != nil {
		return "", nil, err
	}
	hosts := route.preferred()
	lists, errs := make([][]netip.AddrPort, len(hosts)), make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, host := range hosts {
		wg.Go(func() { lists[i], errs[i] = r.Addrs(ctx, route, host) })
	}
	wg.Wait()
	for i, list := range lists {
		for _, addr := range list {
			addrs = append(addrs, addr.Addr())
		}
		if err == nil {
			err = errs[i]
		}
	}
	if len(addrs) > 0 {
		err = nil
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return route.Site(), addrs[:min(len(addrs), MaxAddrs)], err
}

// preferred returns the hosts of which one is tried first.
func (r *Route) preferred() []Host {
	if len(r.Hosts) == 0 || len(r.prefs) != len(r.Hosts) { // an explicit route has no preferences
		return r.Hosts[:min(1, len(r.Hosts))]
	}
	n := slices.IndexFunc(r.prefs, func(pref uint16) bool { return pref != r.prefs[0] })
	if n < 0 {
		n = len(r.Hosts)
	}
	return r.Hosts[:n]
}

// routeOf returns the route of a destination, which is the name of an explicit route or else a domain.
func (r *Router) routeOf(ctx context.Context, destination string) (Route, error) {
	r.once.Do(r.prepare)
	for _, route := range r.routes {
		if route.Name == destination {
			return route, nil
		}
	}
	var found *Route
	r.redirects.Range(func(_, value any) bool {
		if route := value.(Route); route.Name == destination {
			found = &route
		}
		return found == nil
	})
	if found != nil {
		return *found, nil
	}
	return r.Route(ctx, destination)
}
