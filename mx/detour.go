package mx

import (
	"context"
	"fmt"
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
	if err := to.check(); err != nil {
		return fmt.Errorf("mx: redirect of %s: %w", name, err)
	}
	r.detours.Store(name, *to)
	return nil
}

// Site gives the [Route.Site] of a destination: of a domain, or of an explicit route by its name.
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
