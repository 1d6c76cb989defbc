package postrider

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue/delivery"
)

// limitsAge is how long the sites of the domains in Limits are believed.
const limitsAge = 5 * time.Minute

// siteOf names the site of a destination, and learns which sites the domains in Limits have: a value for
// delivery.Runner.SiteOf, which is called before SiteFor.
func (r *Relay) siteOf(ctx context.Context, destination string) (string, error) {
	site, err := r.router.Site(ctx, destination)
	if err == nil && len(r.Limits) > 0 {
		r.learnSites(ctx)
	}
	return site, err
}

func (r *Relay) learnSites(ctx context.Context) {
	r.mu.Lock()
	fresh := time.Since(r.learnt) < limitsAge
	r.mu.Unlock()
	if fresh {
		return
	}
	domains := slices.Sorted(maps.Keys(r.Limits)) // of two with one site, the last counts
	sites := make([]string, len(domains))
	var wg sync.WaitGroup
	for i, domain := range domains {
		wg.Go(func() { // at once: mail for other sites waits for the slowest answer, not for their sum
			if destination, err := r.router.Destination(domain); err == nil {
				sites[i], _ = r.router.Site(ctx, destination)
			}
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sites == nil {
		r.sites = make(map[string]delivery.SiteLimits)
	}
	for i, site := range sites {
		if site != "" { // a domain whose DNS fails keeps its last site
			r.sites[site] = r.Limits[domains[i]]
		}
	}
	r.learnt = time.Now()
}

// siteFor returns the limits of a site: a value for delivery.Runner.SiteFor.
func (r *Relay) siteFor(site string) delivery.SiteLimits {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sites[site]
}
