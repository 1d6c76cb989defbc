package mx

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

func (r *Router) lookupMX(ctx context.Context, name string) (Route, error) {
	records, proof, err := r.resolver.LookupMXProof(ctx, name+".")
	if len(records) == 0 {
		if errors.Is(err, dns.NXDomain) {
			// RFC 5321 §5.1: a domain that doesn't exist is an error. It has no addresses either.
			return Route{}, fail(smtp.NewReply(550, "5.1.2", "the domain "+name+" does not exist"), err)
		}
		if err != nil && !isNotFound(err) {
			return Route{}, fail(smtp.NewReply(451, "4.4.3", "cannot look up the MX of "+name), err)
		}
		// RFC 5321 §5.1: without MX records, the domain is its own host with preference 0.
		if r.self[name] {
			return Route{}, loop(name)
		}
		route := r.single(name, name)
		route.implicit, route.proof = true, proof
		return route, nil
	}
	// RFC 7505 §3: a null MX is the only record. Beside other records it is ignored, since it names no host.
	if !slices.ContainsFunc(records, func(m *net.MX) bool { return !isNull(m) }) {
		return Route{}, fail(smtp.NewReply(556, "5.1.10", name+" does not take mail: it has a null MX"), nil)
	}
	route, err := r.byRecords(name, records)
	route.proof = proof
	return route, err
}

// single returns the route to a single host: that of a domain without MX records, or of an address literal.
func (r *Router) single(domain, host string) Route {
	return Route{Name: domain, MX: true, Hosts: []Host{{Name: host, Port: r.port()}}, prefs: []uint16{0}}
}

// byRecords returns a route to the hosts of MX records, without those that can't be used.
func (r *Router) byRecords(domain string, records []*net.MX) (Route, error) {
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
		return Route{}, fail(smtp.NewReply(451, "4.4.4", "no MX record of "+domain+" names a valid host"), nil)
	}
	// RFC 5321 §5.1: lowest number first, equal ones at random.
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.pref, b.pref) })

	// RFC 5321 §5.1: if we are among the hosts, only hosts of a better preference than ours may be tried.
	if i := slices.IndexFunc(all, func(c candidate) bool { return r.self[c.name] }); i >= 0 {
		pref := all[i].pref
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.pref >= pref })
		if len(all) == 0 {
			return Route{}, loop(domain)
		}
	}
	route := Route{Name: domain, MX: true}
	for _, c := range all {
		h := Host{Name: c.name, Port: r.port()}
		if slices.Contains(route.Hosts, h) {
			continue
		}
		route.Hosts, route.prefs = append(route.Hosts, h), append(route.prefs, c.pref)
		if len(route.Hosts) == MaxHosts {
			break
		}
	}
	return route, nil
}

// hostName returns the host of an MX record as an A-label. ok is false if it isn't a valid host name.
func hostName(m *net.MX) (name string, ok bool) {
	if m == nil || isNull(m) {
		return "", false
	}
	name, err := smtp.ASCIIDomain(m.Host)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", false
	}
	// RFC 5321 §5.1: the host of an MX record is a name that has address records.
	_, literal := parseIP(name)
	return name, !literal
}

func isNull(m *net.MX) bool { return m != nil && (m.Host == "." || m.Host == "") }
