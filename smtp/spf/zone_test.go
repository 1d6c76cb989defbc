package spf

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// zone is a Resolver. A line is "name TYPE data", names without a trailing dot. The types are TXT, A, AAAA, MX and PTR.
// The name of a PTR is the address. "name TYPE !" makes the lookup fail.
type zone struct {
	t       testing.TB
	records map[string][]string // by "name TYPE"
	asked   []string
}

func newZone(t testing.TB, lines string) *zone {
	t.Helper()
	z := &zone{t: t, records: make(map[string][]string)}
	for line := range strings.Lines(lines) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		switch {
		case fields[0] == "":
			continue
		case len(fields) != 3:
			t.Fatalf("zone: %q", line)
		}
		z.add(fields[0], fields[1], fields[2])
	}
	return z
}

func (z *zone) add(name, kind, data string) {
	key := strings.ToLower(name) + " " + kind
	z.records[key] = append(z.records[key], data)
}

func (z *zone) lookup(ctx context.Context, name, kind string) ([]string, error) {
	name, rooted := strings.CutSuffix(name, ".")
	if !rooted && kind != "PTR" || !isName(name) {
		z.t.Errorf("asked for %q, which isn't a valid name with a trailing dot", name)
	}
	key := strings.ToLower(name) + " " + kind
	z.asked = append(z.asked, key)
	data := z.records[key]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(data) == 0:
		return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	case data[0] == "!":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	}
	return slices.Clone(data), nil
}

func (z *zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return z.lookup(ctx, name, "TXT")
}

func (z *zone) LookupNetIP(ctx context.Context, network, host string) (addrs []netip.Addr, err error) {
	data, err := z.lookup(ctx, host, map[string]string{"ip4": "A", "ip6": "AAAA"}[network])
	for _, d := range data {
		addrs = append(addrs, netip.MustParseAddr(d))
	}
	return addrs, err
}

func (z *zone) LookupMX(ctx context.Context, name string) (records []*net.MX, err error) {
	data, err := z.lookup(ctx, name, "MX")
	for _, d := range data {
		records = append(records, &net.MX{Host: strings.TrimSuffix(d, ".") + "."})
	}
	return records, err
}

func (z *zone) LookupAddr(ctx context.Context, addr string) (names []string, err error) {
	data, err := z.lookup(ctx, addr, "PTR")
	for _, d := range data {
		names = append(names, d+".")
	}
	return names, err
}

// check evaluates a reverse-path.
func (z *zone) check(t testing.TB, ip, helo, mailFrom string) Result {
	t.Helper()
	c := &Checker{Resolver: z, Hostname: "mx.example.org"}
	return c.Check(t.Context(), netip.MustParseAddr(ip), helo, mailFrom)
}

// result is what a table expects: the code, then the mechanism if there is one: "fail -all".
func brief(r Result) string { return strings.TrimSpace(r.Code.String() + " " + r.Mechanism) }
