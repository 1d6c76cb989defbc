package delivery

import "cmp"

// Scope says what a limit is for.
type Scope uint8

const (
	SiteScope   Scope = iota // the hosts that a destination's mail goes to: see Runner.Site
	SourceScope              // what a message goes out from: see Runner.Source
	TenantScope              // whom it belongs to: see Message.Tenant
)

// Limits are those of one site, source or tenant. Concurrency and Initial are a site's alone.
//
// Between one and Concurrency, how many tasks a site gets at a time moves with what becomes of them: one more after as many in a
// row as it gets went well, one less at the first that didn't and after each further row of such. A whole row without
// one that went well takes the site down. What counts against it are the reasons Network, RateLimited and
// Blocklisted of smtp.Reason.
type Limits struct {
	// Concurrency is how many tasks are sent at a time at most. If zero, 20.
	Concurrency int

	// Initial is how many at first, until more is known of the site. If zero, 5, or Concurrency if that is less.
	Initial int

	// Rate bounds the tasks. If zero, nothing does.
	Rate Rate
}

const (
	defaultSiteConcurrency = 20
	defaultSiteInitial     = 5
)

// limitsFor gives the limits of something, with defaults filled in.
func (r *Runner) limitsFor(s Scope, name string) Limits {
	l := r.Limits[s]
	if r.LimitsFor != nil {
		own := r.LimitsFor(s, name)
		l.Concurrency = cmp.Or(max(own.Concurrency, 0), l.Concurrency)
		l.Initial = cmp.Or(max(own.Initial, 0), l.Initial)
		l.Rate = cmp.Or(own.Rate, l.Rate)
	}
	l.Concurrency = cmp.Or(l.Concurrency, defaultSiteConcurrency)
	l.Initial = min(cmp.Or(l.Initial, defaultSiteInitial), l.Concurrency)
	return l
}
