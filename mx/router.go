package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	// domain. One for a domain is none for what is below it. They bypass MX records, the guard on addresses, and the search for ourselves.
	Routes map[string]Route

	// Port is the TCP port of hosts from the DNS. If zero, 25.
	Port int

	// AllowPrivate lets hosts from the DNS have addresses that lead home or inside: loopback, private,
	// link-local, multicast and the like. If false, such addresses are passed over.
	AllowPrivate bool

	// Self are our own host names, or address literals. Such a host, and all that are no better, are not tried
	// (RFC 5321 §5.1).
	Self []string

	// SelfAddrs are addresses that lead to us at Port, such as the public one of a translator before us. A host from the DNS with
	// one of them, and all that are no better, are not tried (RFC 5321 §5.1). Those that ListensAt is told of count beside
	// them. The machine's own don't: a program that only sends may well have another mail server beside it.
	SelfAddrs []netip.Addr

	// CacheTime is how long an answer is used again whose TTL the Resolver doesn't tell. If zero, a minute; if
	// negative, none is, TTL or not. The TTL of a [TTLResolver] counts from a second up to a day. That a name or record
	// doesn't exist holds for five minutes at most.
	CacheTime time.Duration

	// Timeout bounds each question to the DNS. If zero, 1 minute.
	Timeout time.Duration

	once     sync.Once
	resolver *cache
	routes   map[string]Route // Routes by A-label
	self     map[string]bool  // Self as A-labels
	own      own              // SelfAddrs, and what ListensAt was told
	fault    error            // what is wrong with Routes, Port or Self
	detours  sync.Map         // by A-label: the Route of Redirect
}

// Check says what is wrong with Routes, Port or Self, for a program that starts. Until it is mended every Route is the same error.
func (r *Router) Check() error {
	r.once.Do(r.prepare)
	if r.fault != nil {
		return fmt.Errorf("mx: %w", r.fault)
	}
	return nil
}

// Destination names the place where the mail of a domain goes: the Name of its explicit route, or the
// domain as an A-label. It doesn't ask the DNS. Where the route refuses the mail, see [Refuse], the error comes along with the name.
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

// Route gives the route of a domain: an explicit one, or the hosts of its MX records, best first and
// those of equal preference in random order, or the domain itself where it has no MX record. Where an explicit route refuses the
// mail, the error comes along with it.
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

// normalize gives the A-label of a domain that could have mail, and prepares r.
func (r *Router) normalize(domain string) (string, error) {
	r.once.Do(r.prepare)
	if r.fault != nil {
		return "", fail(smtp.NewReply(451, "4.3.5", "the routes for mail are at fault"), r.fault)
	}
	if domain == "" {
		// RFC 5321 §4.1.1.3: "postmaster" stands without one. Whoever takes everything takes that too.
		if _, ok := r.routes["*"]; ok {
			return "", nil
		}
		return "", fail(smtp.NewReply(550, "5.1.3", "the address has no domain"), nil)
	}
	name, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return "", fail(smtp.NewReply(550, "5.1.2", fmt.Sprintf("the domain %+q cannot be", domain)), err)
	}
	if _, ok := parseIP(name); ok {
		text := fmt.Sprintf("the domain %+q is an address without brackets", domain)
		return "", fail(smtp.NewReply(550, "5.1.2", text), nil)
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
	r.resolver = &cache{
		resolver: r.Resolver,
		ttl:      cmp.Or(r.CacheTime, time.Minute),
		timeout:  cmp.Or(r.Timeout, time.Minute),
		answers:  make(map[question]*answer),
	}
	if r.Resolver == nil {
		r.resolver.resolver = &net.Resolver{PreferGo: true, StrictErrors: true}
	}
	if r.Port < 0 || r.Port > 65535 {
		r.fault = fmt.Errorf("port %d is not one of 1 to 65535", r.Port)
		return
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
		if _, twice := r.routes[name]; twice {
			r.fault = fmt.Errorf("Routes has two keys for the domain %s: remove one, such as %q", name, domain)
			return
		}
		if err := route.check(); err != nil {
			r.fault = fmt.Errorf("Routes[%q]: %w", domain, err)
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
		if ip, ok := parseLiteral(name); ok {
			r.own.add(ip)
		}
	}
	for _, ip := range r.SelfAddrs {
		r.own.add(ip)
	}
}

func (r *Router) port() int { return cmp.Or(r.Port, 25) }

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
