package authres

import (
	"context"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp/spf"
)

var (
	_ spf.Resolver = (*net.Resolver)(nil)
	_ spf.Resolver = (*dns.Resolver)(nil)
)

// zone is a resolver. A line is "name TYPE data", names without a trailing dot; "!" is a lookup that fails. The types
// are TXT, A, AAAA and PTR. The name of a PTR is the address.
type zone struct {
	mu      sync.Mutex
	records map[string][]string
	asked   []string
}

func newZone(lines string) *zone {
	z := &zone{records: make(map[string][]string)}
	for line := range strings.Lines(lines) {
		if fields := strings.SplitN(strings.TrimSpace(line), " ", 3); len(fields) == 3 {
			key := fields[0] + " " + fields[1]
			z.records[key] = append(z.records[key], fields[2])
		}
	}
	return z
}

func (z *zone) lookup(ctx context.Context, name, kind string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	key := strings.ToLower(strings.TrimSuffix(name, ".")) + " " + kind
	z.asked = append(z.asked, key)
	switch data := z.records[key]; {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(data) == 0:
		return nil, &net.DNSError{UnwrapErr: dns.NXDomain, Err: "no such name", Name: name, IsNotFound: true}
	case data[0] == "!":
		return nil, &net.DNSError{Err: "server failure", Name: name, Server: "10.0.0.53", IsTemporary: true}
	default:
		return data, nil
	}
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
	_, err = z.lookup(ctx, name, "MX")
	return nil, err
}

func (z *zone) LookupAddr(ctx context.Context, addr string) (names []string, err error) {
	return z.lookup(ctx, addr, "PTR")
}

// message returns text with CRLF.
func message(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func verify(t testing.TB, z *zone, text string) []Signature {
	t.Helper()
	fields, body, err := readFields(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	list, err := (&dkim{resolver: z, fields: fields, body: body}).verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// newInt returns an odd number with so many bits.
func newInt(bits uint) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return n.Add(n, big.NewInt(1))
}
