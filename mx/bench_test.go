package mx

import (
	"net"
	"testing"
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
