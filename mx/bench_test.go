package mx

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/postrider/postrider/mx/dns"
)

// BenchmarkCached looks up a domain with one MX host, from the cache: 10,000 a second are the least.
func BenchmarkCached(b *testing.B) {
	z := &zone{
		mx: map[string][]*net.MX{"example.net.": records("10 mx.example.net.")},
		ip: addrs("mx.example.net 2001:db8::25 192.0.2.25"),
	}
	r := &Router{Resolver: z}
	b.ReportAllocs()
	for b.Loop() {
		route, err := r.Route(b.Context(), "example.net")
		if err != nil {
			b.Fatal(err)
		}
		if addrs, err := r.Addrs(b.Context(), route, route.Hosts[0]); err != nil || len(addrs) != 2 {
			b.Fatal(addrs, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
}

// signed is a zone that DNSSEC secures, in which each name has a TLSA record.
type signed struct{ *zone }

var authentic = dns.Proof{Authentic: true, Name: "mx.example.net.", TTL: time.Hour}

func (s signed) LookupMXProof(ctx context.Context, name string) ([]*net.MX, dns.Proof, error) {
	records, err := s.LookupMX(ctx, name)
	return records, authentic, err
}

func (s signed) LookupNetIPProof(ctx context.Context, network, host string) ([]netip.Addr, dns.Proof, error) {
	ips, err := s.LookupNetIP(ctx, network, host)
	return ips, authentic, err
}

func (s signed) LookupTLSA(context.Context, string) ([]dns.TLSA, dns.Proof, error) {
	return []dns.TLSA{{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}}, authentic, nil
}

func (s signed) LookupAlias(context.Context, string) (string, dns.Proof, error) {
	return "", authentic, notFound
}

// BenchmarkCachedTLSA is BenchmarkCached with the proofs and the TLSA records of the host: what DANE looks up.
func BenchmarkCachedTLSA(b *testing.B) {
	z := &zone{
		mx: map[string][]*net.MX{"example.net.": records("10 mx.example.net.")},
		ip: addrs("mx.example.net 2001:db8::25 192.0.2.25"),
	}
	r := &Router{Resolver: signed{z}}
	b.ReportAllocs()
	for b.Loop() {
		route, err := r.Route(b.Context(), "example.net")
		if err != nil {
			b.Fatal(err)
		}
		to, err := r.Target(b.Context(), route, route.Hosts[0])
		if err != nil || !to.MX.Authentic || !to.Addr.Authentic {
			b.Fatal(to, err)
		}
		if records, _, err := to.Resolver.LookupTLSA(b.Context(), "_25._tcp.mx.example.net."); err != nil || len(records) != 1 {
			b.Fatal(records, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
}
