package mx

import (
	"fmt"
)

// Redirect sends the mail of a domain by another route from now on, in place of its MX records or its explicit route.
// If to is nil, it undoes that. The domain can't be "*". A Name that another route of this Router has, or has had by a
// Redirect, is an error, unless the routes are the same: sessions of that route may be open. Redirect may be called at
// any time. After an error nothing has changed.
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
	r.redirecting.Lock()
	defer r.redirecting.Unlock()
	if other, ok := r.named[to.Name]; ok && !to.same(other.Route) {
		return fmt.Errorf("mx: redirect of %s: the route of %q is different and has the same Name %q: set another Name",
			name, other.domain, to.Name)
	}
	r.named[to.Name] = named{*to, name}
	r.redirects.Store(name, *to)
	return nil
}
