package dns

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAliases is the number of aliases that a lookup follows. RFC 1034 §5.2.2 allows chains and demands that loops are
// caught.
const maxAliases = 11

// lookup looks up records of one type, and follows aliases. The error is nil, a *net.DNSError or errStandard.
func (r *Resolver) lookup(ctx context.Context, name string, t dnsmessage.Type) (answer, error) {
	none := answer{ttl: unknownTTL}
	owner, err := canonical(name)
	if err != nil {
		return answer{ttl: maxTTL}, notFound(errBadName, name, "", nil)
	}
	if isLocalhost(owner) {
		return answer{ttl: maxTTL}, notFound(errNoRecords, name, "", nil)
	}
	c, err := r.config()
	if err != nil {
		return none, err
	}
	ttl, names, authentic := maxTTL, []string{owner}, true
	for {
		a, f := r.ask(ctx, &c, names[len(names)-1], t)
		if ctx.Err() != nil && f != nil {
			return none, canceled(ctx, name)
		}
		for _, alias := range a.aliases {
			if f == nil && (slices.Contains(names, alias) || len(names) > maxAliases) {
				f = &fault{says: errAliases, server: a.server}
			}
			names = append(names, alias)
		}
		if f != nil {
			return none, f.failed(name)
		}
		a.ttl, a.authentic, a.name = min(ttl, a.ttl), authentic && a.authentic, names[len(names)-1]
		switch {
		case a.open:
			ttl, authentic = a.ttl, a.authentic
			continue
		case a.rcode == NXDomain:
			return a, notFound(errNoName, name, a.server, NXDomain)
		case a.empty():
			return a, notFound(errNoRecords, name, a.server, nil)
		}
		return a, nil
	}
}

// ask sends one query to the servers in turn, until one of them answers.
func (r *Resolver) ask(ctx context.Context, c *config, name string, t dnsmessage.Type) (answer, *fault) {
	first := 0
	if c.rotate {
		first = int((r.turn.Add(1) - 1) % uint32(len(c.servers)))
	}
	var last *fault
	for round := range c.attempts {
		for i := range c.servers {
			if ctx.Err() != nil {
				return answer{}, &fault{says: errTimeout} // lookup describes it
			}
			server := c.servers[(first+i)%len(c.servers)]
			// A server or firewall that drops what it doesn't know gets a plain query in the second round.
			a, err := r.askServer(ctx, c, server, question{name, t, round > 0, c.trustAD})
			if err == nil {
				a.server = server
				return a, nil
			}
			f, ok := err.(*fault)
			if !ok {
				f = &fault{says: err}
			}
			f.server = server
			if last == nil || f.answered() || !last.answered() {
				last = f
			}
		}
	}
	return answer{}, last
}

// askServer sends one query to one server: by UDP, plainly if need be, and by TCP if need be.
func (r *Resolver) askServer(ctx context.Context, c *config, server string, q question) (answer, error) {
	if !c.tcp {
		a, err := r.exchange(ctx, c, "udp", server, q)
		if code, ok := err.(RCode); ok && !q.plain && (code == FormErr || code == NotImp || code == BadVers) {
			// RFC 6891 §7: the server doesn't know EDNS.
			q.plain = true
			a, err = r.exchange(ctx, c, "udp", server, q)
		}
		if !errors.Is(err, errByTCP) {
			return a, err
		}
	}
	q.plain = true // a connection needs neither a size nor protection from forged answers
	a, err := r.exchange(ctx, c, "tcp", server, q)
	if errors.Is(err, errByTCP) {
		err = errMalformed
	}
	return a, err
}
