package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Bounds on what the DNS may make us try.
const (
	MaxHosts = 20 // hosts of a route
	MaxAddrs = 64 // addresses of a host
)

// Router finds the route of a domain. The zero value is ready: it goes by MX records alone. It may be used by
// several goroutines.
type Router struct {
	// Resolver asks the DNS. If nil, a *net.Resolver with PreferGo and StrictErrors.
	Resolver Resolver

	// Routes are explicit routes by domain, an A-label or Unicode; "*" stands for every other
	// domain. They bypass MX records and the guard on addresses.
	Routes map[string]Route

	// Port is the TCP port of hosts from the DNS. If zero, 25.
	Port int

	// AllowPrivate lets hosts from the DNS have addresses that lead home or inside: loopback, private,
	// link-local, multicast and the like. If false, such addresses are passed over.
	AllowPrivate bool

	// Self are our own host names. Such a host, and all that are no better, are not tried
	// (RFC 5321 §5.1).
	Self []string

	// CacheTime is how long an answer of the Resolver, which doesn't tell its TTL, is used again. If zero, a minute; if
	// negative, it isn't.
	CacheTime time.Duration

	// Timeout bounds each question to the DNS. If zero, 1 minute.
	Timeout time.Duration

	once     sync.Once
	resolver Resolver
	routes   map[string]Route // Routes by A-label
	self     map[string]bool  // Self as A-labels
	fault    error            // what is wrong with Routes or Self
	detours  sync.Map         // by A-label: the Route of Redirect
}

// Destination names the place where the mail of a domain goes: the Name of its explicit route, or the
// domain as an A-label. It doesn't ask the DNS.
func (r *Router) Destination(domain string) (string, error) {
	name, err := r.normalize(domain)
	if err != nil {
		return "", err
	}
	if route, ok := r.explicit(name); ok {
		return route.Name, nil
	}
	return name, nil
}

// Route gives the route of a domain: an explicit one, or the hosts of its MX records, best first and
// those of equal preference in random order, or the domain itself where it has no MX record.
func (r *Router) Route(ctx context.Context, domain string) (Route, error) {
	name, err := r.normalize(domain)
	if err != nil {
		return Route{}, err
	}
	if route, ok := r.explicit(name); ok {
		return route, nil
	}
	if ip, ok := parseLiteral(name); ok {
		// RFC 5321 §2.3.5: an address literal is its own host.
		return Route{Name: name, MX: true, Hosts: []Host{{Name: ip.String(), Port: r.port()}}}, nil
	}
	return r.lookupMX(ctx, name)
}

func (r *Router) lookupMX(ctx context.Context, name string) (Route, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout())
	defer cancel()
	records, err := r.resolver.LookupMX(ctx, name+".")
	if len(records) == 0 {
		if err != nil && !isNotFound(err) {
			return Route{}, fail(status{451, 4, 4, 3}, err, "cannot look up the MX of %s", name)
		}
		// RFC 5321 §5.1: no MX record at all; the domain is its own host with preference 0.
		if r.self[name] {
			return Route{}, loop(name)
		}
		return Route{Name: name, MX: true, Hosts: []Host{{Name: name, Port: r.port()}}, implicit: true}, nil
	}
	// RFC 7505 §3: a null MX stands alone. Beside other records it is passed over as no host.
	if !slices.ContainsFunc(records, func(m *net.MX) bool { return !isNull(m) }) {
		return Route{}, fail(status{556, 5, 1, 10}, nil, "%s does not take mail: it has a null MX", name)
	}
	hosts, err := r.hosts(name, records)
	if err != nil {
		return Route{}, err
	}
	return Route{Name: name, MX: true, Hosts: hosts}, nil
}

// hosts orders the hosts of MX records and drops those that can't be used.
func (r *Router) hosts(domain string, records []*net.MX) ([]Host, error) {
	type candidate struct {
		name string
		pref uint16
	}
	var all []candidate
	for _, m := range records {
		if name, ok := hostName(m); ok {
			all = append(all, candidate{name, m.Pref})
		}
	}
	if len(all) == 0 {
		return nil, fail(status{451, 4, 4, 4}, nil, "no MX record of %s names a host", domain)
	}
	// RFC 5321 §5.1: lowest number first, equal ones at random.
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.pref, b.pref) })

	// RFC 5321 §5.1: where we are among them, only hosts better than ourselves may be tried.
	if i := slices.IndexFunc(all, func(c candidate) bool { return r.self[c.name] }); i >= 0 {
		pref := all[i].pref
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.pref >= pref })
		if len(all) == 0 {
			return nil, loop(domain)
		}
	}
	hosts := make([]Host, 0, min(len(all), MaxHosts))
	for _, c := range all {
		h := Host{Name: c.name, Port: r.port()}
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
		if len(hosts) == MaxHosts {
			break
		}
	}
	return hosts, nil
}

// hostName gives the host of an MX record as an A-label. ok is false where it can't be one.
func hostName(m *net.MX) (name string, ok bool) {
	if isNull(m) {
		return "", false
	}
	name, err := smtp.ASCIIDomain(m.Host)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", false
	}
	// RFC 5321 §5.1: the host of an MX record is a name, which in turn has addresses.
	return name, !isAddr(name)
}

// isAddr reports whether a name is an IPv4 address. No other kind is a name.
func isAddr(name string) bool {
	if last := name[len(name)-1]; last < '0' || last > '9' {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

func isNull(m *net.MX) bool { return m == nil || m.Host == "." || m.Host == "" }

// normalize gives the A-label of a domain that could have mail, and prepares r.
func (r *Router) normalize(domain string) (string, error) {
	r.once.Do(r.prepare)
	if r.fault != nil {
		return "", fail(status{451, 4, 3, 5}, r.fault, "the routes for mail are at fault")
	}
	if domain == "" {
		// RFC 5321 §4.1.1.3: "postmaster" stands without one. Whoever takes everything takes that too.
		if _, ok := r.routes["*"]; ok {
			return "", nil
		}
		return "", fail(status{550, 5, 1, 3}, nil, "the address has no domain")
	}
	name, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return "", fail(status{550, 5, 1, 2}, err, "the domain %+q cannot be", domain)
	}
	if isAddr(name) {
		return "", fail(status{550, 5, 1, 2}, nil, "the domain %+q is an address without brackets", domain)
	}
	return name, nil
}

func (r *Router) explicit(name string) (Route, bool) {
	if route, ok := r.detours.Load(name); ok {
		return route.(Route), true
	}
	if len(r.routes) == 0 {
		return Route{}, false
	}
	if route, ok := r.routes[name]; ok {
		return route, true
	}
	route, ok := r.routes["*"]
	return route, ok
}

func (r *Router) prepare() {
	r.resolver = r.Resolver
	if r.resolver == nil {
		r.resolver = &net.Resolver{PreferGo: true, StrictErrors: true}
	}
	if ttl := cmp.Or(r.CacheTime, time.Minute); ttl > 0 {
		r.resolver = &cache{resolver: r.resolver, ttl: ttl, answers: make(map[question]*answer)}
	}
	r.routes = make(map[string]Route, len(r.Routes))
	for domain, route := range r.Routes {
		name := domain
		if domain != "*" {
			var err error
			if name, err = smtp.ASCIIDomain(domain); err != nil {
				r.fault = fmt.Errorf("route for %q: %w", domain, err)
				return
			}
		}
		if _, twice := r.routes[name]; twice || !route.usable() {
			r.fault = fmt.Errorf("route for %q: it stands twice, or has no name or no host", domain)
			return
		}
		r.routes[name] = route
	}
	r.self = make(map[string]bool, len(r.Self))
	for _, host := range r.Self {
		name, err := smtp.ASCIIDomain(host)
		if err != nil {
			r.fault = fmt.Errorf("own host %q: %w", host, err)
			return
		}
		r.self[name] = true
	}
}

func (r *Router) port() int { return cmp.Or(r.Port, 25) }

func (r *Router) timeout() time.Duration { return cmp.Or(r.Timeout, time.Minute) }

// parseLiteral reads an address literal as smtp.ASCIIDomain gives it.
func parseLiteral(name string) (ip netip.Addr, ok bool) {
	name, ok = strings.CutPrefix(name, "[")
	if !ok {
		return ip, false
	}
	name = strings.TrimPrefix(strings.TrimSuffix(name, "]"), "ipv6:")
	ip, err := netip.ParseAddr(name)
	return ip.Unmap(), err == nil
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func loop(domain string) error {
	return fail(status{554, 5, 4, 6}, nil, "mail for %s loops back to this host", domain)
}
