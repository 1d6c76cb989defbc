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
// A failure is what is about the site: a recipient that is deferred before MAIL with the Reason smtp.Network or
// smtp.Blocklisted, or with smtp.RateLimited for the number of connections, or by any 421 whose code isn't about an
// address, a content or a policy. Any other answer of a host is a success: a rejection and greylisting, too.
//
// A stranger's MX records may name any site. So what a host says from MAIL on, with the Reason smtp.Blocklisted, counts
// against the owner of the message at this site: it has a window of its own there, and may be down there alone. What is
// said of a recipient makes that window smaller, no more. When five owners were refused, and no mail was taken since,
// it counts against the site. A time-out after MAIL counts like such a refusal.
//
// # Learned rates
//
// A refusal with the Reason smtp.RateLimited teaches the Runner a rate. The rate is that of the party that the site
// counts, which is what the reply names (see replies.Scope): our address or its network, the signing domain, the domain
// of the reverse-path, or the recipient. A reply that names none is about the address and both domains of that message.
// What is sent from another address, with other domains, isn't slowed.
// So one tenant's campaign that a site throttles doesn't slow another tenant whose mail has another signing domain or
// goes out from another address, as far as the reply names that. A reply that names nothing slows that tenant alone.
//
//   - Nothing is sent for Recovery.Pause. Then Recovery.Start messages are sent at a time, and Recovery.Step more each
//     time that these were accepted.
//   - After the pause a level is set. It is between two rates: the rate at the refusal, which was too high, and the
//     rate that the site accepted on average since the pause before, which is low enough. If the first message after
//     the pause is refused too, the site counts over a longer time: then the level is the lower rate. The first level
//     is what the site accepted on average in the last hour, the pause included. Sending begins 5 % below the level, is
//     at the level after 30 minutes, and grows faster and faster after that.
//   - Each time that a level proves right, the 30 minutes double, up to 4 hours, or up to the time of 250 messages if
//     that is longer. So the site refuses less often. If the site refuses everything for a longer time, to the end of
//     its day for example, they double up to that time. When the rate is one and a half times the level, it grows as if
//     they were 30 minutes: a site that took 20 messages an hour for a day, and has no limit any more, gets 10,000 an
//     hour 12 hours later. After a limit of several days, that takes two days.
//   - A message that was refused several times in a row, while the site accepts others, doesn't change the rate:
//     3 times and 10 others, or 10 times and 3 others. The site may refuse it for another cause.
//   - A rate that wasn't used for a day is forgotten. Before the first refusal there is no rate.
//
// For example, a site refuses at 1,000 messages an hour, and has accepted 810 an hour on average. The level is 900, the
// root of their product:
//
//	855 an hour at first, 900 after 30 minutes, 945 after an hour, 1,265 after 90 minutes
//
// With more mail than the site takes, it refuses less than 1 % after some hours, and more than 90 % of its limit is
// used. This holds for limits of at least 100 messages a day, after three days, and if the limit stays. Of a limit of
// 100 messages an hour or more that is another one each day, by half up or down, more than 85 % is used. A site that
// refuses at random gets what it takes between one pause and the next.
//
// The rate is one of the owner's mail alone if the reply names nothing, if a stranger sent the message (see
// smtp.Origin.IsStranger), or if the host isn't one of Site.Addrs. When hosts of Site.Addrs have refused five owners
// within ten minutes, all mail has the rate. A message waits without being claimed, as long as the rate allows it
// nothing; at its Deadline, it fails. Rates that are set by hand hold as well.
//
// Activity and Explain return learned rates. LearnedRates and Learned keep them over a restart, in a pause as well.
type SiteLimits struct {
	// Concurrency is how many tasks are sent at a time at most, up to 1,000,000. If zero, 20. It doesn't bound open
	// connections: those that have sent stay open for the next message. Transport.MaxSessions in package client bounds
	// them. A Relay sets that to the Concurrency that its Limits or Receivers have for the site.
	Concurrency int

	// Initial is how many tasks are sent at a time at first. If zero, 5. It is never more than Concurrency.
	Initial int

	// Rate bounds how many tasks are sent in a time. If zero, there is no limit.
	Rate Rate

	// Recovery is how sending begins again after the site has refused a message for its rate.
	Recovery Recovery
}

const (
	defaultSiteConcurrency = 20
	defaultSiteInitial     = 5
)

// siteLimits has the limits of a site, with defaults filled in.
func (r *Runner) siteLimits(site string) SiteLimits {
	if queue.OnlyReports(site) {
		return SiteLimits{Concurrency: defaultSiteConcurrency, Initial: defaultSiteConcurrency}
	}
	l := r.Site
	if r.SiteFor != nil {
		var own SiteLimits
		r.callLocked("SiteFor", site, func() { own = r.SiteFor(site) })
		l.Concurrency = cmp.Or(min(max(own.Concurrency, 0), maxConcurrency), l.Concurrency)
		l.Initial = cmp.Or(max(own.Initial, 0), l.Initial)
		l.Rate = own.Rate.or(l.Rate)
		l.Recovery.Pause = cmp.Or(own.Recovery.Pause, l.Recovery.Pause)
		l.Recovery.Start = cmp.Or(max(own.Recovery.Start, 0), l.Recovery.Start)
		l.Recovery.Step = cmp.Or(max(own.Recovery.Step, 0), l.Recovery.Step)
	}
	l.Recovery.Pause = cmp.Or(min(l.Recovery.Pause, ever), defaultPause)
	l.Recovery.Start = min(cmp.Or(max(l.Recovery.Start, 0), 1), maxRecovery)
	l.Recovery.Step = min(cmp.Or(max(l.Recovery.Step, 0), 1), maxRecovery)
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

// signerOf is SignerOf, or its default. After a panic the task has no signer.
func (r *Runner) signerOf(t *queue.Task) (domain string) {
	switch {
	case r.SignerOf != nil:
		r.callLocked("SignerOf", string(t.ID), func() { domain = r.SignerOf(t) })
	case !t.Origin.IsStranger():
		domain = t.FromDomain
	}
	return domain
}

// sourceOf is SourceOf. After a panic the task has no source.
func (r *Runner) sourceOf(t *queue.Task) (source string) {
	if r.SourceOf != nil {
		r.callLocked("SourceOf", string(t.ID), func() { source = r.SourceOf(t) })
	}
	return source
}
