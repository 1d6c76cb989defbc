package delivery

import (
	"cmp"

	"github.com/postrider/postrider/queue"
)

// SiteLimits bound what a site gets. A site is the hosts that a destination's mail goes to: see Runner.SiteOf.
//
// The Runner learns how many tasks a site takes at a time, its window. The window begins at Initial and stays between 1
// and Concurrency. As many successes as the window is large make it one larger. The first failure makes it one smaller,
// and so do as many further failures as it is large. That many failures without a success between them take the site
// down.
//
//	window 5: after 5 successes 6, at the first failure 4, down after about 5 failures in a row
//
// A failure is what is about the site: a recipient that is deferred before MAIL with the Reason smtp.Network,
// smtp.RateLimited or smtp.Blocklisted, or by any 421 whose code isn't about an address, a content or a policy. Any
// other answer of a host is a success: a rejection and greylisting, too.
//
// A stranger's MX records may name any site. So what a host says from MAIL on, with the Reason smtp.RateLimited or
// smtp.Blocklisted, counts against the owner of the message at this site: it has a window of its own there, and may be
// down there alone. What is said of a recipient makes that window smaller, no more. When five owners were refused, and
// no mail was taken since, it counts against the site. A time-out after MAIL counts like such a refusal.
type SiteLimits struct {
	// Concurrency is how many tasks are sent at a time at most, up to 1,000,000. If zero, 20.
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
	if onlyReports(site) {
		return SiteLimits{Concurrency: defaultSiteConcurrency, Initial: defaultSiteConcurrency}
	}
	l := r.Site
	if r.SiteFor != nil {
		var own SiteLimits
		r.callLocked("SiteFor", site, func() { own = r.SiteFor(site) })
		l.Concurrency = cmp.Or(min(max(own.Concurrency, 0), maxConcurrency), l.Concurrency)
		l.Initial = cmp.Or(max(own.Initial, 0), l.Initial)
		l.Rate = own.Rate.or(l.Rate)
	}
	l.Concurrency = cmp.Or(l.Concurrency, defaultSiteConcurrency)
	l.Initial = min(cmp.Or(l.Initial, defaultSiteInitial), l.Concurrency)
	return l
}

func (r *Runner) sourceRate(source string) Rate {
	return r.ownRate("SourceFor", r.SourceFor, source, r.Source)
}

func (r *Runner) tenantRate(tenant string) Rate {
	return r.ownRate("TenantFor", r.TenantFor, tenant, r.Tenant)
}

// ownRate has the Rate of a name, which is that of all unless f, the field of that name, has another. f may be nil.
func (r *Runner) ownRate(field string, f func(string) Rate, name string, all Rate) (own Rate) {
	if f == nil {
		return all
	}
	r.callLocked(field, name, func() { own = f(name) })
	return own.or(all)
}

// sourceOf is SourceOf. After a panic the task has no source.
func (r *Runner) sourceOf(t *queue.Task) (source string) {
	if r.SourceOf != nil {
		r.callLocked("SourceOf", string(t.ID), func() { source = r.SourceOf(t) })
	}
	return source
}
