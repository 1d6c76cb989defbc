package delivery

import "cmp"

// SiteLimits bound what a site gets. A site is the hosts that a destination's mail goes to: see Runner.SiteOf.
//
// The Runner learns how many tasks a site takes at a time, its window. The window begins at Initial and stays between 1
// and Concurrency. As many successes as the window is large make it one larger. The first failure makes it one smaller,
// and so do as many further failures as it is large. That many failures without a success between them take the site
// down.
//
//	window 5: after 5 successes 6, at the first failure 4, down after about 5 failures in a row
//
// A failure is a recipient whose Reason is smtp.Network, smtp.RateLimited or smtp.Blocklisted, unless it is rejected.
// Any other answer of a host is a success: a rejection and greylisting, too.
type SiteLimits struct {
	// Concurrency is how many tasks are sent at a time at most. If zero, 20.
	Concurrency int

	// Initial is how many tasks are sent at a time at first. If zero, 5. It is never more than Concurrency.
	Initial int

	// Rate bounds how many tasks are sent in a time. If zero, there is no limit.
	Rate Rate
}

const (
	defaultSiteConcurrency = 20
	defaultSiteInitial     = 5
)

// siteLimits has the limits of a site, with defaults filled in.
func (r *Runner) siteLimits(site string) SiteLimits {
	l := r.Site
	if r.SiteFor != nil {
		own := r.SiteFor(site)
		l.Concurrency = cmp.Or(max(own.Concurrency, 0), l.Concurrency)
		l.Initial = cmp.Or(max(own.Initial, 0), l.Initial)
		l.Rate = cmp.Or(own.Rate, l.Rate)
	}
	l.Concurrency = cmp.Or(l.Concurrency, defaultSiteConcurrency)
	l.Initial = min(cmp.Or(l.Initial, defaultSiteInitial), l.Concurrency)
	return l
}

func (r *Runner) sourceRate(source string) Rate { return ownRate(r.SourceFor, source, r.Source) }

func (r *Runner) tenantRate(tenant string) Rate { return ownRate(r.TenantFor, tenant, r.Tenant) }

// ownRate has the Rate of a name, which is that of all unless f has another. f may be nil.
func ownRate(f func(string) Rate, name string, all Rate) Rate {
	if f == nil {
		return all
	}
	return cmp.Or(f(name), all)
}
