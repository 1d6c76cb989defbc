package postrider

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue/delivery"
)

// siteFor returns the limits of a site: a value for delivery.Runner.SiteFor. It doesn't block.
func (r *Relay) siteFor(site string) delivery.SiteLimits {
	return byHand(r.limited.of(site), atMost(r.receivers.SiteFor(site), r.runner.Site))
}

// maxSessions returns how many sessions may be open at a site: a value for client.Transport.MaxSessions. It is as many
// as there are tasks at a time, where that is known of the site. It doesn't block.
func (r *Relay) maxSessions(site string) int { return r.siteFor(site).Concurrency }

// byHand returns the limits in l and, for fields that are zero, those in other.
func byHand(l, other delivery.SiteLimits) delivery.SiteLimits {
	l.Concurrency, l.Initial = cmp.Or(l.Concurrency, other.Concurrency), cmp.Or(l.Initial, other.Initial)
	l.Rate, l.Recovery = cmp.Or(l.Rate, other.Rate), cmp.Or(l.Recovery, other.Recovery)
	return l
}

// atMost returns the limits of a receiver, bounded by those that the user has set for all sites.
func atMost(l, all delivery.SiteLimits) delivery.SiteLimits {
	least := func(n, most int) int {
		if n > 0 && most > 0 {
			return min(n, most)
		}
		return n
	}
	l.Concurrency, l.Initial = least(l.Concurrency, all.Concurrency), least(l.Initial, all.Initial)
	// Rates are compared by the messages of each × the time of the other. A zero one is no limit.
	own, most := l.Rate, all.Rate
	if most.Messages > 0 && float64(most.Messages)*float64(own.Per) < float64(own.Messages)*float64(most.Per) {
		l.Rate = most
	}
	return l
}

// limitedSites knows the sites of the domains in Limits. It looks them up in rounds, all domains at the same time, when
// a site is asked for and the last round is too long ago. The first round is waited for, so that a site has its limits
// from the start. Later ones aren't: the sites known so far count until the round has ended.
//
// Invariants, under mu: at most one round is under way, and round is nil if none is. sites is what names and limits
// say.
type limitedSites struct {
	limits map[string]delivery.SiteLimits // Relay.Limits
	lookup func(ctx context.Context, domain string) (site string, err error)

	mu    sync.Mutex
	names map[string]string              // by domain: the last site that is known
	sites map[string]delivery.SiteLimits // by site
	round *round
	known bool      // a round has ended
	next  time.Time // when the next round may begin
}

// round is a round of lookups that is under way.
type round struct {
	cancel context.CancelFunc
	done   chan struct{}
}

const (
	limitsAge     = 5 * time.Minute  // between two rounds
	limitsRetry   = time.Minute      // after a round in which a lookup failed
	limitsTimeout = 10 * time.Second // of a round: a dns.Resolver asks twice, with a time-out of 5 seconds each
)

// learn begins a round if one is due. It waits for the first one, until ctx ends.
func (l *limitedSites) learn(ctx context.Context) {
	if len(l.limits) == 0 {
		return
	}
	l.mu.Lock()
	if l.round == nil && !time.Now().Before(l.next) {
		l.begin(ctx)
	}
	r, known := l.round, l.known
	l.mu.Unlock()
	if r == nil || known {
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
}

// begin begins a round, which the end of ctx doesn't end: others wait for it, too. l.mu is held.
func (l *limitedSites) begin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limitsTimeout)
	r := &round{cancel, make(chan struct{})}
	l.round = r
	go func() {
		defer close(r.done)
		defer cancel()
		l.ended(ctx, l.lookUp(ctx))
	}()
}

// lookUp returns the sites of the domains. A domain whose lookup fails isn't among them.
func (l *limitedSites) lookUp(ctx context.Context) map[string]string {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		names = make(map[string]string)
	)
	for domain := range l.limits {
		wg.Go(func() {
			if site, err := l.lookup(ctx, domain); err == nil {
				mu.Lock()
				defer mu.Unlock()
				names[domain] = site
			}
		})
	}
	wg.Wait()
	return names
}

// ended takes in what a round has found. A domain whose lookup failed keeps its last site.
func (l *limitedSites) ended(ctx context.Context, found map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names == nil {
		l.names = make(map[string]string)
	}
	maps.Copy(l.names, found)
	l.sites = make(map[string]delivery.SiteLimits)
	for _, domain := range slices.Sorted(maps.Keys(l.names)) { // of two with one site, the last counts
		l.sites[l.names[domain]] = l.limits[domain]
	}
	l.round = nil
	switch {
	case ctx.Err() == context.Canceled: // by stop
	case len(found) < len(l.limits):
		l.known, l.next = true, time.Now().Add(limitsRetry)
	default:
		l.known, l.next = true, time.Now().Add(limitsAge)
	}
}

// of returns the limits of a site. It doesn't block.
func (l *limitedSites) of(site string) delivery.SiteLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sites[site]
}

// stop ends the round that is under way, and waits for its end.
func (l *limitedSites) stop() {
	l.mu.Lock()
	r := l.round
	l.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
}
