package mx

import (
	"context"
	"fmt"
)

// Redirect sends the mail of a domain by another route from now on, in place of its MX records or its explicit route.
// If to is nil, it undoes that. The domain can't be "*". It may be called at any time. After an error nothing has
// changed.
func (r *Router) Redirect(domain string, to *Route) error {
	name, err := r.normalize(domain)
	if err != nil {
		return err
	}
	if to == nil {
		r.redirects.Delete(name)
		return nil
	}
	if err := to.check(); err != nil {
		return fmt.Errorf("mx: redirect of %s: %w", name, err)
	}
	for other, route := range r.routes {
		if other != name && route.Name == to.Name && !to.same(route) {
			return fmt.Errorf("mx: redirect of %s: Routes[%q] is different and has the same Name %q: set another Name",
				name, other, to.Name)
		}
	}
	r.redirects.Store(name, *to)
	return nil
}

// Site returns the [Route.Site] of a destination, which is a domain or the name of an explicit route.
func (r *Router) Site(ctx context.Context, destination string) (string, error) {
	r.once.Do(r.prepare)
	named := false
	for _, route := range r.routes {
		named = named || route.Name == destination
	}
	r.redirects.Range(func(_, route any) bool {
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
