package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// match reports whether a mechanism matches the client (RFC 7208 §5). A verdict with an error ends the evaluation.
func (e *evaluation) match(ctx context.Context, domain string, d *directive) (bool, verdict) {
	switch d.name {
	case "all":
		return true, verdict{}
	case "ip4", "ip6":
		return d.prefix.Contains(e.ip), verdict{}
	}
	if v := e.count(domain, d.text); v.err != nil {
		return false, v
	}
	target := domain
	if d.target != nil {
		target = e.expand(ctx, domain, d.target)
	}
	if d.name == "include" {
		return e.include(ctx, domain, target, d)
	}
	if !isName(target) {
		return false, verdict{}
	}
	matched, void, err := e.matchHosts(ctx, target, d)
	code := PermError
	switch {
	case err == nil && void:
		e.void++
		if e.void > maxVoid {
			err = fmt.Errorf("more than %d terms whose lookups find nothing (RFC 7208 section 4.6.4)", maxVoid)
		}
	case err != nil && !errors.Is(err, errTooManyHosts):
		code = TempError
	}
	if err != nil {
		return false, failed(code, domain, fmt.Errorf("term %.100q: %w", d.text, err))
	}
	return matched, verdict{}
}

// include evaluates the record of another domain: only its Pass matches (RFC 7208 §5.2).
func (e *evaluation) include(ctx context.Context, domain, target string, d *directive) (bool, verdict) {
	v := e.checkHost(ctx, target)
	if v.err == nil {
		return v.code == Pass, verdict{}
	}
	if v.code == None {
		v.code = PermError
	}
	return false, failed(v.code, domain, fmt.Errorf("term %.100q: %w", d.text, v.err))
}

var errTooManyHosts = fmt.Errorf("more than %d MX records (RFC 7208 section 4.6.4)", maxHosts)

// matchHosts reports whether a, mx, ptr or exists matches, and whether its lookups found nothing. An error is
// errTooManyHosts or that of a lookup.
func (e *evaluation) matchHosts(ctx context.Context, target string, d *directive) (matched, void bool, err error) {
	switch d.name {
	case "a":
		addrs, err := e.addrs(ctx, target)
		return e.within(addrs, d), len(addrs) == 0, err
	case "exists":
		// RFC 7208 §5.7: an A record, also for IPv6.
		addrs, err := found(e.resolver.LookupNetIP(ctx, "ip4", target+"."))
		return len(addrs) > 0, len(addrs) == 0, err
	case "mx":
		return e.matchMX(ctx, target, d)
	case "ptr":
		fresh := !e.named
		for _, name := range e.clientNames(ctx) {
			if isBelow(name, target) {
				return true, false, nil
			}
		}
		// RFC 7208 §5.5: an error is no match.
		return false, fresh && len(e.names) == 0, nil
	}
	return false, false, nil
}

func (e *evaluation) matchMX(ctx context.Context, target string, d *directive) (matched, void bool, err error) {
	records, err := found(e.resolver.LookupMX(ctx, target+"."))
	if err != nil {
		return false, false, err
	}
	if len(records) > maxHosts {
		return false, false, errTooManyHosts
	}
	void = true
	for _, mx := range records {
		if mx == nil {
			continue
		}
		host := strings.TrimSuffix(mx.Host, ".")
		if !isName(host) { // a null MX, for example
			continue
		}
		addrs, err := e.addrs(ctx, host)
		if err != nil || e.within(addrs, d) {
			return err == nil, false, err
		}
		void = void && len(addrs) == 0
	}
	return false, void, nil
}

// addrs returns the addresses of a host that are of the client's family (RFC 7208 §5).
func (e *evaluation) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	network := "ip4"
	if e.ip.Is6() {
		network = "ip6"
	}
	addrs, err := found(e.resolver.LookupNetIP(ctx, network, host+"."))
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// within reports whether the client is in the network of one of the addresses.
func (e *evaluation) within(addrs []netip.Addr, d *directive) bool {
	bits := d.bits[0]
	if e.ip.Is6() {
		bits = d.bits[1]
	}
	for _, addr := range addrs {
		if prefix, err := addr.Prefix(bits); err == nil && prefix.Contains(e.ip) {
			return true
		}
	}
	return false
}

// isBelow reports whether name is domain or below it. Both are in lower case, without a trailing dot.
func isBelow(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}
