package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// zone is a Resolver with records by name, with the trailing dot.
type zone struct {
	mx    map[string][]*net.MX
	ip    map[string][]string
	cname map[string]string
	err   map[string]error // of "MX example.net.", "A", "AAAA" or "IP" for both: returned with the records

	mu    sync.Mutex
	asked []string
}

var (
	notFound = &net.DNSError{Err: "no such host", IsNotFound: true}
	servFail = &net.DNSError{Err: "server misbehaving", Server: "10.0.0.53:53", IsTemporary: true}
	timeout  = &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	noName   = &net.DNSError{Err: "no such name", IsNotFound: true, UnwrapErr: dns.NXDomain}
	errNone  = errors.New("none")
	badNames = &net.DNSError{Err: "DNS response contained records which contain invalid names"}
)

// ask records a question and follows the aliases of a name. A loop of aliases is a failure, as in unbound.
func (z *zone) ask(kind, name string) (string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	question := kind + " " + name
	if kind != "MX" {
		question = "IP " + name
	}
	if !slices.Contains(z.asked, question) {
		z.asked = append(z.asked, question)
	}
	for range 11 {
		target, ok := z.cname[name]
		err := z.err[kind+" "+name]
		if kind != "MX" {
			err = cmp.Or(err, z.err["IP "+name])
		}
		if !ok || err != nil {
			return name, err
		}
		name = target
	}
	return "", servFail
}

func (z *zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	name, err := z.ask("MX", name)
	records := z.mx[name]
	if len(records) == 0 && err == nil {
		err = notFound
	}
	if err == errNone {
		err = nil
	}
	return records, err
}

func (z *zone) LookupNetIP(_ context.Context, network, name string) ([]netip.Addr, error) {
	kind, ok := map[string]string{"ip4": "A", "ip6": "AAAA"}[network]
	if !ok {
		return nil, fmt.Errorf("network %q", network)
	}
	name, err := z.ask(kind, name)
	var ips []netip.Addr
	for _, s := range z.ip[name] {
		if ip := netip.MustParseAddr(s); ip.Is4() == (kind == "A") {
			ips = append(ips, ip)
		}
	}
	if len(ips) == 0 && err == nil {
		err = notFound
	}
	if err == errNone {
		err = nil
	}
	return ips, err
}

// records makes MX records of "preference host" strings.
func records(list ...string) []*net.MX {
	var out []*net.MX
	for _, s := range list {
		m := &net.MX{}
		fmt.Sscanf(s, "%d %s", &m.Pref, &m.Host)
		out = append(out, m)
	}
	return out
}

// addrs makes addresses of "host address address" strings.
func addrs(list ...string) map[string][]string {
	out := make(map[string][]string)
	for _, s := range list {
		fields := strings.Fields(s)
		out[fields[0]+"."] = fields[1:]
	}
	return out
}

// failures is the type of zone.err.
type failures map[string]error

// explicitly returns a route that is known to be valid.
func explicitly(r Route, err error) Route {
	if err != nil {
		panic(err)
	}
	return r
}

// resolve returns the hosts and addresses of a domain, up to a host that leads back to us: "host=addr,addr host=error".
// For a route without hosts, it returns "to name".
func resolve(ctx context.Context, r *Router, domain string) string {
	route, err := r.Route(ctx, domain)
	if err != nil {
		return reply(err)
	}
	if route.Sender != nil {
		return "to " + route.Name
	}
	var out []string
	for _, host := range route.Hosts {
		name := cmp.Or(host.Name, host.Path)
		addrs, err := r.Addrs(ctx, route, host)
		if err != nil {
			out = append(out, name+"="+reply(err))
			if errors.Is(err, ErrLoop) {
				break
			}
			continue
		}
		var list []string
		for _, a := range addrs {
			list = append(list, a.String())
		}
		out = append(out, name+"="+strings.Join(list, ","))
	}
	return strings.Join(out, " ")
}

func reply(err error) string {
	r, ok := errors.AsType[*smtp.Reply](err)
	if !ok {
		return "no reply in: " + err.Error()
	}
	if r.Temporary() != (r.Code < 500) || r.Enhanced[0] != r.Code/100 || r.Text == "" {
		return "contradicts itself: " + err.Error()
	}
	return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
}
