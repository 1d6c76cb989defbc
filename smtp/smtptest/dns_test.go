package smtptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLookup(t *testing.T) {
	setup := func(t *testing.T) *Network {
		n := NewNetwork(t)
		n.MX("example.net", "mx1.example.net")
		n.MX("Example.NET.", "MX2.example.net.")
		n.MX("example.net", "mx1.example.net") // once is enough
		n.MX("bücher.example", "mx.bücher.example")
		n.NullMX("null.example")
		n.Host("plain.example")
		n.Host("none.example").SetAddrs()
		n.Host("dual.example").IPv6()
		n.Host("in.example").SetAddrs(netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("::1"))
		for name, f := range map[string]DNSFault{"gone": NXDomain, "broken": ServFail, "slow": DNSTimeout} {
			n.MX(name+".example", "mx.example.net")
			n.Host(name + ".example")
			n.FailDNS(name+".example.", f)
		}
		n.FailDNS("example.net", ServFail)
		n.FailDNS("example.net", NoFault)
		return n
	}
	tests := []lookupTest{
		{name: "mx", lookup: "mx example.net", want: "[mx1.example.net. 10 mx2.example.net. 20]"},
		{name: "mx, dot and case", lookup: "mx EXAMPLE.net.", want: "[mx1.example.net. 10 mx2.example.net. 20]"},
		{name: "mx, A-label", lookup: "mx xn--bcher-kva.example.", want: "[mx.xn--bcher-kva.example. 10]"},
		{name: "mx, U-label isn't DNS", lookup: "mx bücher.example.", err: missing},
		{name: "mx, null", lookup: "mx null.example", want: "[. 0]"},
		{name: "mx, only an address", lookup: "mx plain.example", err: missing},
		{name: "mx, no such domain", lookup: "mx nowhere.example", err: missing},
		{name: "mx, NXDOMAIN", lookup: "mx gone.example", err: missing},
		{name: "mx, SERVFAIL", lookup: "mx broken.example", err: passing},
		{name: "mx, time-out", lookup: "mx slow.example", err: late, took: 10 * time.Second},
		{name: "address", lookup: "ip mx1.example.net", want: "[192.0.2.10]"},
		{name: "address, dot and case", lookup: "ip MX2.example.net.", want: "[192.0.2.11]"},
		{name: "address, v4", lookup: "ip4 dual.example", want: "[192.0.2.15]"},
		{name: "address, v6", lookup: "ip6 dual.example", want: "[2001:db8::25:1]"},
		{name: "address, both", lookup: "ip dual.example", want: "[2001:db8::25:1 192.0.2.15]"},
		{name: "address, none of v6", lookup: "ip6 mx1.example.net", err: missing},
		{name: "address, set", lookup: "ip in.example", want: "[127.0.0.1 ::1]"},
		{name: "address, none", lookup: "ip none.example", err: missing},
		{name: "address, only an MX", lookup: "ip example.net", err: missing},
		{name: "address, literal", lookup: "ip 203.0.113.77", want: "[203.0.113.77]"},
		{name: "address, NXDOMAIN", lookup: "ip gone.example", err: missing},
		{name: "address, SERVFAIL", lookup: "ip broken.example", err: passing},
		{name: "address, time-out", lookup: "ip slow.example", err: late, took: 10 * time.Second},
	}
	checkLookups(t, setup, tests)
}

// lookupTest is a question to the DNS.
type lookupTest struct {
	name, lookup, want string
	err                string // see describe
	took               time.Duration
}

// Results of describe.
const (
	missing = "not found"
	passing = "temporary"
	late    = "timeout temporary"
)

// checkLookups asks each question in a network of its own.
func checkLookups(t *testing.T, setup func(*testing.T) *Network, tests []lookupTest) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := setup(t)
				start := time.Now()
				got, err := lookup(t.Context(), n, test.lookup)
				if got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if got := describe(t, err); got != test.err {
					t.Errorf("got %q (%v), want %q", got, err, test.err)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
			})
		})
	}
}

func TestLookupContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.FailDNS("slow.example", DNSTimeout)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 { // during the lookup, and before it
			_, err := n.LookupMX(ctx, "slow.example.")
			if !errors.Is(err, context.DeadlineExceeded) || describe(t, err) != late {
				t.Errorf("got %v, want a time-out", err)
			}
		}
		n.Host("mx.example.net")
		if _, err := n.LookupNetIP(ctx, "ip", "mx.example.net"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an answer at hand: got %v, want a time-out", err)
		}
	})
}

// TestAddresses: no two hosts share an address, and a guard against private addresses accepts all.
func TestAddresses(t *testing.T) {
	n := NewNetwork(t)
	seen := make(map[netip.Addr]bool)
	for i := range 1000 {
		h := n.Host(fmt.Sprintf("h%d.example", i))
		for _, addr := range append(h.Addrs(), h.IPv6()) {
			if seen[addr] || !addr.IsGlobalUnicast() || addr.IsPrivate() || slices.Contains(clientAddrs[:], addr) {
				t.Fatalf("host %d: bad or repeated address %v", i, addr)
			}
			seen[addr] = true
		}
	}
}

func lookup(ctx context.Context, n *Network, what string) (string, error) {
	var kind, name string
	fmt.Sscan(what, &kind, &name)
	switch kind {
	case "mx":
		records, err := n.LookupMX(ctx, name)
		if err != nil {
			return "", err
		}
		var flat []any
		for _, r := range records {
			flat = append(flat, r.Host, r.Pref)
		}
		return fmt.Sprint(flat), nil
	case "txt":
		texts, err := n.LookupTXT(ctx, name)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%q", texts), nil
	case "tlsa":
		records, proof, err := n.LookupTLSA(ctx, name)
		return fmt.Sprint(records, proof.Authentic), err
	case "mx-proof":
		_, proof, err := n.LookupMXProof(ctx, name)
		return fmt.Sprint(proof.Name, " ", proof.Authentic), err
	case "ip4-proof":
		_, proof, err := n.LookupNetIPProof(ctx, "ip4", name)
		return fmt.Sprint(proof.Name, " ", proof.Authentic), err
	case "alias":
		target, proof, err := n.LookupAlias(ctx, name)
		return fmt.Sprint(target, " ", proof.Authentic), err
	}
	addrs, err := n.LookupNetIP(ctx, kind, name)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(addrs), nil
}

// describe returns the kind of a DNS error.
func describe(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	dns, ok := errors.AsType[*net.DNSError](err)
	if !ok {
		t.Fatalf("got %T %v, want a *net.DNSError", err, err)
	}
	switch {
	case dns.IsNotFound && !dns.IsTemporary && !dns.IsTimeout:
		return missing
	case dns.IsTimeout && dns.IsTemporary && !dns.IsNotFound:
		return late
	case dns.IsTemporary && !dns.IsTimeout && !dns.IsNotFound:
		return passing
	}
	return "odd"
}
