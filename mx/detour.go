package mx

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Redirect gives the mail of a domain another route from now on, in place of its MX or its explicit route; nil undoes that. It
// may be called at any time.
func (r *Router) Redirect(domain string, to *Route) error {
	name, err := r.normalize(domain)
	if err != nil {
		return err
	}
	if to == nil {
		r.detours.Delete(name)
		return nil
	}
	if !to.usable() {
		return errors.New("mx: redirect: the route has no name or no host")
	}
	r.detours.Store(name, *to)
	return nil
}

// Site names the hosts that the mail for a destination goes to: the Name of an explicit route, and else the hosts of the MX
// records. Destinations with one name load the same hosts.
func (r *Router) Site(ctx context.Context, destination string) (string, error) {
	r.once.Do(r.prepare)
	named := false
	for _, route := range r.routes {
		named = named || route.Name == destination
	}
	r.detours.Range(func(_, route any) bool {
		named = named || route.(Route).Name == destination
		return !named
	})
	if named {
		return destination, nil
	}
	route, err := r.Route(ctx, destination)
	if err != nil {
		return "", err
	}
	return route.Site(), nil
}

// Site names the hosts of the route: an explicit route by its Name, and MX hosts by theirs, whatever their preferences.
func (r *Route) Site() string {
	if !r.MX {
		return r.Name
	}
	names := make([]string, len(r.Hosts))
	for i, h := range r.Hosts {
		names[i] = h.Name
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// ErrLoop is in an error of Router.Addrs that says that a host is our own: no further one of the route is to be tried.
var ErrLoop = errors.New("mx: own host")

// usable reports whether mail can go by the route.
func (r *Route) usable() bool { return r.Name != "" && (len(r.Hosts) > 0 || r.Deliver != nil) }
