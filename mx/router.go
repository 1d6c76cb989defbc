package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Bounds on the hosts and addresses that the DNS can make us try.
const (
	MaxHosts = 20 // hosts of a route
	MaxAddrs = 64 // addresses of a host
)

// Router finds the route of a domain. The zero value delivers by MX records. It may be used by several goroutines.
// Fields must not change after the first use.
type Router struct {
	// Resolver looks up records in the DNS. If nil, a zero [dns.Resolver], which asks the system's name servers.
	//
	// With nil and with a *dns.Resolver, the hosts of explicit routes are looked up by the [dns.Resolver.System] of it.
	// The system's hosts file applies to these hosts, and the search list to those without a dot. Neither applies to
	// hosts from the DNS. Every other Resolver is asked about all hosts.
	Resolver Resolver

	// Routes are explicit routes by domain, as A-label or in Unicode. "*" is the route of all other domains. A route
	// for a domain doesn't apply to its subdomains. The hosts of an explicit route may have private addresses and
	// addresses of our own.
	Routes map[string]Route

	// Port is the TCP port of hosts from the DNS. If zero, 25.
	Port int

	// AllowPrivate allows hosts from the DNS at addresses of this machine and of private and reserved networks:
	// loopback, private, link-local, multicast and others. If false, these addresses are skipped.
	AllowPrivate bool

	// Self are our own host names or address literals. A host from the DNS among them, and every host of the same or a
	// worse preference, is skipped (RFC 5321 §5.1).
	Self []string

	// SelfAddrs are addresses that lead to us at Port, such as the public address of a NAT in front of us. A host from
	// the DNS with one of them, and every host of the same or a worse preference, is skipped (RFC 5321 §5.1).
	// ListensAt adds to them. Other addresses of this machine don't count: beside a program that only sends, another
	// mail server may run.
	SelfAddrs []netip.Addr

	// CacheTime is how long an answer without a known TTL is kept. The TTL of a [TTLResolver] is limited to 1 second to
	// 24 hours. A negative answer is kept for 5 minutes at most. If zero, 1 minute; if below zero, no answer is kept,
	// with or without a TTL.
	CacheTime time.Duration

	// Timeout bounds each question to the DNS. If zero, 1 minute.
	Timeout time.Duration

	once      sync.Once
	given     struct{ routes, self int } // how many there were at the first use
	resolver  *cache                     // for domains and hosts from the DNS
	system    *cache                     // for the hosts of explicit routes
	probe     *probe                     // nil if IPv6 comes first
	routes    map[string]Route           // Routes by A-label
	self      map[string]bool            // Self as A-labels
	own       ownAddrs                   // SelfAddrs, and the addresses of ListensAt
	fault     error                      // the mistake in Routes, Port or Self
	redirects sync.Map                   // by A-label: the Route of Redirect

	redirecting sync.Mutex       // held by Redirect
	named       map[string]named // by Name: the routes of Routes, and of every Redirect so far
}

// named is a route and the domain that had it first.
type named struct {
	Route
	domain string
}

// Check returns an error for the first mistake in the fields, for a program that starts. With a mistake, every Route
// and Destination is a transient error. An entry that was added to Routes or Self after the first use is a mistake for
// Check alone.
func (r *Router) Check() error {
	r.once.Do(r.prepare)
	if r.fault != nil {
		return fmt.Errorf("mx: %w", r.fault)
	}
	if len(r.Routes) != r.given.routes || len(r.Self) != r.given.self {
		return errors.New("mx: Routes or Self was changed after the first use of the Router, which has no effect:" +
			" use a new Router, and one for each Relay")
	}
	return nil
}

// Destination returns the name under which a queue keeps the mail of a domain: the Name of its explicit route, or the
// domain as an A-label. It doesn't ask the DNS. For a route that refuses the mail (see [Refuse]), it returns both the
// name and the error.
//
// The domain may be in Unicode and may end in a dot. If empty, as that of <postmaster>, it has the route "*" or none.
func (r *Router) Destination(domain string) (string, error) {
	name, err := r.normalize(domain)
	if err != nil {
		return "", err
	}
	if route, ok := r.explicit(name); ok {
		return route.Name, route.refused(name)
	}
	return name, nil
}

// Route returns the route of a domain: an explicit one, or else the hosts of its MX records. The best host is first,
// and hosts of equal preference are in random order. A domain without MX records is its own host, and so is an address
// literal. For an explicit route that refuses the mail, it returns both the route and the error.
func (r *Router) Route(ctx context.Context, domain string) (Route, error) {
	name, err := r.normalize(domain)
	if err != nil {
		return Route{}, err
	}
	if route, ok := r.explicit(name); ok {
		return route, route.refused(name)
	}
	if ip, ok := parseLiteral(name); ok {
		// RFC 5321 §2.3.5: an address literal is its own host.
		return r.single(name, ip.String()), nil
	}
	return r.lookupMX(ctx, name)
}

// normalize returns a valid domain as an A-label. It prepares r.
func (r *Router) normalize(domain string) (string, error) {
	r.once.Do(r.prepare)
	if r.fault != nil {
		return "", fail(smtp.NewReply(451, "4.3.5", "the mail routes of this host are misconfigured"), r.fault)
	}
	if domain == "" {
		// RFC 5321 §4.1.1.3: "postmaster" may have no domain. The route for all other domains takes it.
		if _, ok := r.routes["*"]; ok {
			return "", nil
		}
		return "", fail(smtp.NewReply(550, "5.1.3", "the address has no domain"), nil)
	}
	name, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return "", fail(smtp.NewReply(550, "5.1.2", fmt.Sprintf("%+q is not a valid domain", domain)), err)
	}
	if _, ok := parseIP(name); ok {
		text := fmt.Sprintf("the domain %+q is an IP address without brackets", domain)
		return "", fail(smtp.NewReply(550, "5.1.2", text), nil)
	}
	return name, nil
}

func (r *Router) explicit(name string) (Route, bool) {
	if route, ok := r.redirects.Load(name); ok {
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
	r.given.routes, r.given.self = len(r.Routes), len(r.Self)
	if err := r.makeCaches(); err != nil {
		r.fault = err
		return
	}
	if r.Port < 0 || r.Port > 65535 {
		r.fault = fmt.Errorf("Port is %d: set it to 1 to 65535, or to 0 for 25", r.Port)
		return
	}
	if r.Timeout < 0 {
		r.fault = fmt.Errorf("Timeout is %v: set it to more than 0, or to 0 for 1 minute", r.Timeout)
		return
	}
	r.routes = make(map[string]Route, len(r.Routes))
	r.named = make(map[string]named)
	for _, domain := range slices.Sorted(maps.Keys(r.Routes)) {
		name, route := domain, r.Routes[domain]
		if domain != "*" {
			var err error
			if name, err = smtp.ASCIIDomain(domain); err != nil {
				r.fault = fmt.Errorf("Routes[%q]: %w: use a domain, or \"*\" for all others", domain, err)
				return
			}
		}
		if _, twice := r.routes[name]; twice {
			r.fault = fmt.Errorf("Routes has two keys for the domain %s: remove one, such as %q", name, domain)
			return
		}
		if err := route.check(); err != nil {
			r.fault = fmt.Errorf("Routes[%q]: %w", domain, err)
			return
		}
		if other, ok := r.named[route.Name]; ok && !route.same(other.Route) {
			r.fault = fmt.Errorf("Routes[%q] and Routes[%q] are different and have the same Name %q:"+
				" set another Name for one of them", other.domain, domain, route.Name)
			return
		}
		r.named[route.Name] = named{route, domain}
		r.routes[name] = route
	}
	r.self = make(map[string]bool, len(r.Self))
	for _, host := range r.Self {
		name, err := smtp.ASCIIDomain(host)
		if err != nil {
			r.fault = fmt.Errorf("Self has %q: %w: use host names or address literals", host, err)
			return
		}
		r.self[name] = true
		if ip, ok := parseLiteral(name); ok {
			r.own.add(ip)
		}
	}
	for _, ip := range r.SelfAddrs {
		r.own.add(ip)
	}
}

func (r *Router) makeCaches() error {
	stub, isStub := r.Resolver.(*dns.Resolver)
	if stub == nil && (isStub || r.Resolver == nil) {
		stub = new(dns.Resolver)
	}
	if stub == nil {
		r.resolver = r.newCache(r.Resolver)
		r.system = r.resolver
		if _, ok := r.Resolver.(*net.Resolver); ok {
			r.probe = new(probe)
		}
		return nil
	}
	// RFC 5321 §5.1 finds the hosts of a domain in the DNS. An explicit route has the names of the operator.
	r.resolver, r.system, r.probe = r.newCache(stub), r.newCache(stub.System()), new(probe)
	if err := stub.Check(); err != nil {
		return fmt.Errorf("Resolver: %w", err)
	}
	return nil
}

func (r *Router) newCache(resolver Resolver) *cache {
	return &cache{
		resolver: resolver,
		ttl:      cmp.Or(r.CacheTime, time.Minute),
		timeout:  cmp.Or(r.Timeout, time.Minute),
		answers:  make(map[question]*answer),
	}
}

func (r *Router) port() int { return cmp.Or(r.Port, 25) }

// parseLiteral reads an address literal in the form that smtp.ASCIIDomain returns.
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
	if failed, ok := errors.AsType[*net.DNSError](err); ok {
		return failed.IsNotFound
	}
	// A *net.Resolver returns an AddrError if the hosts file has the host, with addresses of the other family only.
	_, ok := errors.AsType[*net.AddrError](err)
	return ok
}
