package receivers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/queue/delivery"
)

// Profile is what is known about a receiver. A field that is zero isn't known.
type Profile struct {
	// Name is "google", for example.
	Name string

	// Hosts are the ends of the names of its MX hosts: "google.com" matches google.com and aspmx.l.google.com, and not
	// notgoogle.com.
	Hosts []string

	// Connections is how many connections it takes at a time: the Concurrency of its sites, and the MaxSessions of a
	// client.Transport. It counts for each site, and for all source addresses of one Transport together.
	Connections int

	// Start is with how many connections senders begin: the Initial of its sites.
	Start int

	// Messages is how many messages it takes in one connection.
	Messages int

	// Rate is how many messages it takes in a time.
	Rate delivery.Rate

	// Recovery is how it wants senders to come back after it has refused mail because of a rate.
	Recovery delivery.Recovery

	// Rules are the sources of the other fields. The Profiles of Default have one for each line of receivers.txt.
	Rules []Rule
}

// Rule is where a part of a Profile was learnt.
type Rule struct {
	Text  string // "messages 20"
	Title string // of the source
	URL   string
	Date  string // of the source: "2026-03"
}

// Check returns an error for the first field that can't be used.
func (p *Profile) Check() error {
	negative := func(field string, n int64) error {
		if n < 0 {
			return fmt.Errorf("receivers: %s of %q is %d: it must be positive, or zero if it isn't known",
				field, p.Name, n)
		}
		return nil
	}
	if len(p.Hosts) == 0 {
		return fmt.Errorf("receivers: Hosts of %q is empty: no site would match", p.Name)
	}
	for _, host := range p.Hosts {
		if strings.Trim(host, ".") == "" || strings.ContainsAny(host, "*, \t\r\n") {
			return fmt.Errorf("receivers: Hosts of %q has %q: use the end of a host's name, without *", p.Name, host)
		}
	}
	limits := p.Limits().Check()
	if limits != nil {
		limits = fmt.Errorf("receivers: %q: %w", p.Name, limits)
	}
	return cmp.Or(
		negative("Connections", int64(p.Connections)),
		negative("Start", int64(p.Start)),
		negative("Messages", int64(p.Messages)),
		negative("Recovery.Pause", int64(p.Recovery.Pause)),
		negative("Recovery.Start", int64(p.Recovery.Start)),
		negative("Recovery.Step", int64(p.Recovery.Step)),
		limits,
	)
}

// Limits returns the limits of a site of this receiver. A field that isn't known is zero.
func (p *Profile) Limits() delivery.SiteLimits {
	return delivery.SiteLimits{Concurrency: p.Connections, Initial: p.Start, Rate: p.Rate, Recovery: p.Recovery}
}

// has reports whether a host belongs to the receiver.
func (p *Profile) has(host string) bool {
	host = strings.TrimSuffix(host, ".")
	return slices.ContainsFunc(p.Hosts, func(suffix string) bool {
		suffix = strings.Trim(suffix, ".")
		rest := len(host) - len(suffix)
		return rest >= 0 && strings.EqualFold(host[rest:], suffix) && (rest == 0 || host[rest-1] == '.')
	})
}

// List is a list of Profiles. The first one that matches counts: to replace one, put another in front.
//
//	known := append(receivers.List{{Name: "gmx", Hosts: []string{"gmx.net"}, Connections: 2}}, receivers.Default()...)
//
// The methods may be called concurrently. An empty List has no limits for anyone.
type List []Profile

// Check returns an error for the first Profile that can't be used.
func (l List) Check() error {
	for i := range l {
		if err := l[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

// Site returns the Profile of a site, the name of which is that of its hosts, separated by commas: see mx.Route.Site.
// If the hosts belong to several receivers, or one of them to none, there is no Profile. The name of an explicit route
// is one host.
func (l List) Site(name string) (p *Profile, ok bool) {
	for i := range l {
		all := name != ""
		for host := range strings.SplitSeq(name, ",") {
			all = all && l[i].has(host)
		}
		if all {
			return &l[i], true
		}
	}
	return nil, false
}

// SiteFor returns the limits of a site: a value for the SiteFor of a delivery.Runner.
func (l List) SiteFor(site string) delivery.SiteLimits {
	if p, ok := l.Site(site); ok {
		return p.Limits()
	}
	return delivery.SiteLimits{}
}

// MaxSessions returns how many sessions a site takes at a time: a value for the MaxSessions of a client.Transport. If
// zero, it isn't known.
func (l List) MaxSessions(site string) int { return l.SiteFor(site).Concurrency }

// MaxMessages returns how many messages a host takes in one session: a value for the MaxMessages of a client.Transport.
// If zero, it isn't known.
func (l List) MaxMessages(host string) int {
	if p, ok := l.Site(host); ok {
		return p.Messages
	}
	return 0
}
