package mx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp/smtptest"
)

// targets shows what Target returns for the hosts of a domain: whether the MX and the addresses are authentic, and the
// names to which aliases lead.
func targets(ctx context.Context, r *mx.Router, domain string) string {
	route, err := r.Route(ctx, domain)
	if err != nil {
		return err.Error()
	}
	out := ""
	for _, host := range route.Hosts {
		to, err := r.Target(ctx, route, host)
		out += fmt.Sprintf("%s %s: %s %v, %s %v, %v", to.Domain, to.Host.Name, to.MX.Name, to.MX.Authentic, to.Addr.Name, to.Addr.Authentic, to.Resolver != nil)
		if err != nil {
			out += ", " + err.Error()
		}
	}
	return out
}

func TestTarget(t *testing.T) {
	n := smtptest.NewNetwork(t)
	n.Sign("signed.test")
	n.MX("signed.test", "mx.signed.test")
	n.MX("elsewhere.signed.test", "mx.plain.test")
	n.MX("plain.test", "mx.signed.test")
	n.MX("alias.signed.test", "to-mx.signed.test")
	n.CNAME("to-mx.signed.test", "mx.signed.test")
	n.MX("away.signed.test", "to-plain.signed.test")
	n.CNAME("to-plain.signed.test", "mx.plain.test")
	n.CNAME("to.signed.test", "signed.test")
	n.CNAME("to.plain.test", "signed.test")
	n.Host("alone.signed.test")
	relay, err := mx.Smarthost("mx.signed.test:587")
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]mx.Route{"explicit.test": relay}
	for domain, want := range map[string]string{
		"Signed.test":           "signed.test mx.signed.test: signed.test. true, mx.signed.test. true, true",
		"elsewhere.signed.test": "elsewhere.signed.test mx.plain.test: elsewhere.signed.test. true, mx.plain.test. false, true",
		"plain.test":            "plain.test mx.signed.test: plain.test. false, mx.signed.test. true, true",
		"alias.signed.test":     "alias.signed.test to-mx.signed.test: alias.signed.test. true, mx.signed.test. true, true",
		"away.signed.test":      "away.signed.test to-plain.signed.test: away.signed.test. true, mx.plain.test. false, true",
		"to.signed.test":        "to.signed.test mx.signed.test: signed.test. true, mx.signed.test. true, true",
		"to.plain.test":         "to.plain.test mx.signed.test: signed.test. false, mx.signed.test. true, true",
		"alone.signed.test":     "alone.signed.test alone.signed.test: alone.signed.test. true, alone.signed.test. true, true",
		"[192.0.2.1]":           "[192.0.2.1] 192.0.2.1:  false,  false, true",
		"explicit.test":         "smarthost:mx.signed.test:587 mx.signed.test:  false,  false, false",
	} {
		if got := targets(t.Context(), &mx.Router{Resolver: n, Routes: routes}, domain); got != want {
			t.Errorf("%s:\n got %s\nwant %s", domain, got, want)
		}
	}
	plain := &mx.Router{Resolver: struct{ mx.Resolver }{n}}
	if got, want := targets(t.Context(), plain, "signed.test"), "signed.test mx.signed.test:  false,  false, false"; got != want {
		t.Errorf("Resolver without proofs:\n got %s\nwant %s", got, want)
	}
}

// families is a Resolver whose answers have these proofs by kind. It counts them.
type families struct {
	mx.Resolver
	proofs map[string]dns.Proof
	errs   map[string]error
	asked  atomic.Int64
}

func (f *families) answer(kind string) (dns.Proof, error) {
	f.asked.Add(1)
	return f.proofs[kind], f.errs[kind]
}

func (f *families) LookupMXProof(context.Context, string) ([]*net.MX, dns.Proof, error) {
	proof, err := f.answer("mx")
	return []*net.MX{{Host: "mx.test."}}, proof, err
}

func (f *families) LookupNetIPProof(_ context.Context, network, _ string) ([]netip.Addr, dns.Proof, error) {
	proof, err := f.answer(network)
	addr := map[string]string{"ip4": "192.0.2.1", "ip6": "2001:db8::1"}[network]
	if err != nil {
		return nil, proof, err
	}
	return []netip.Addr{netip.MustParseAddr(addr)}, proof, nil
}

func (f *families) LookupTLSA(context.Context, string) ([]dns.TLSA, dns.Proof, error) {
	proof, err := f.answer("tlsa")
	if err != nil {
		return nil, proof, err
	}
	return []dns.TLSA{{Usage: 3, Data: []byte("x")}}, proof, nil
}

func (f *families) LookupAlias(context.Context, string) (string, dns.Proof, error) {
	proof, err := f.answer("alias")
	if err != nil {
		return "", proof, err
	}
	return "b.test.", proof, nil
}

var (
	missing = &net.DNSError{Err: "no such records", IsNotFound: true}
	broken  = &net.DNSError{Err: "SERVFAIL", IsTemporary: true}
)

// TestTargetFamilies: addresses are authentic if those of each family are.
func TestTargetFamilies(t *testing.T) {
	yes, no := dns.Proof{Authentic: true, Name: "mx.test.", TTL: time.Minute}, dns.Proof{Name: "mx.test.", TTL: time.Minute}
	for _, tt := range []struct {
		name         string
		ip4, ip6     dns.Proof
		fail4, fail6 error
		want         bool
		fails        bool
	}{
		{name: "both", ip4: yes, ip6: yes, want: true},
		{name: "IPv4 isn't", ip4: no, ip6: yes},
		{name: "IPv6 isn't", ip4: yes, ip6: no},
		{name: "no IPv6, insecure", ip4: yes, ip6: no, fail6: missing, want: true},
		{name: "no IPv4", ip4: yes, ip6: no, fail4: missing},
		{name: "IPv6 fails", ip4: yes, ip6: yes, fail6: broken, want: true},
		{name: "both fail, and claim to be authentic", ip4: yes, ip6: yes, fail4: broken, fail6: broken, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &families{proofs: map[string]dns.Proof{"mx": yes, "ip4": tt.ip4, "ip6": tt.ip6}, errs: map[string]error{"ip4": tt.fail4, "ip6": tt.fail6}}
			r := &mx.Router{Resolver: f}
			route, err := r.Route(t.Context(), "test")
			if err != nil {
				t.Fatal(err)
			}
			to, err := r.Target(t.Context(), route, route.Hosts[0])
			if (err != nil) != tt.fails || to.Addr.Authentic != tt.want {
				t.Errorf("got %+v, %v, want authentic %v", to.Addr, err, tt.want)
			}
		})
	}
}

// TestTargetCache: what is known about an answer is kept with it. The Resolver of a Target asks through the cache.
func TestTargetCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yes := dns.Proof{Authentic: true, Name: "mx.test.", TTL: time.Minute}
		f := &families{proofs: map[string]dns.Proof{"mx": yes, "ip4": yes, "ip6": yes, "tlsa": yes, "alias": yes}}
		r := &mx.Router{Resolver: f}
		round := func() (err error) {
			route, _ := r.Route(t.Context(), "test")
			r.Addrs(t.Context(), route, route.Hosts[0])
			to, err := r.Target(t.Context(), route, route.Hosts[0])
			if err != nil || !to.MX.Authentic || !to.Addr.Authentic {
				t.Errorf("got %+v, %v", to, err)
			}
			records, proof, err := to.Resolver.LookupTLSA(t.Context(), "_25._tcp.mx.test.")
			if err == nil && (len(records) != 1 || !proof.Authentic) {
				t.Errorf("got %v, %+v", records, proof)
			}
			if target, proof, err := to.Resolver.LookupAlias(t.Context(), "mx.test."); err != nil || target != "b.test." || !proof.Authentic {
				t.Errorf("got %v, %+v, %v", target, proof, err)
			}
			if ips, proof, err := to.Resolver.LookupNetIPProof(t.Context(), "ip4", "mx.test."); err != nil || len(ips) != 1 || !proof.Authentic {
				t.Errorf("got %v, %+v, %v", ips, proof, err)
			}
			return err
		}
		for i, want := range []int64{5, 5, 10} {
			if err := round(); err != nil || f.asked.Load() != want {
				t.Errorf("round %d: got %d questions, %v, want %d", i, f.asked.Load(), err, want)
			}
			time.Sleep(time.Duration(i) * time.Minute)
		}
		// Each mail to the host asks for its TLSA records: a failure is kept, for a short time.
		f.errs = map[string]error{"tlsa": broken}
		for i, want := range []int64{15, 15, 16} {
			if err := round(); !errors.Is(err, broken) || f.asked.Load() != want {
				t.Errorf("round %d: got %d questions, %v, want %d", i, f.asked.Load(), err, want)
			}
			time.Sleep(time.Duration(i) * 30 * time.Second)
		}
		f.errs = nil
		time.Sleep(time.Hour)
		if err := round(); err != nil || f.asked.Load() != 21 {
			t.Errorf("got %d questions, %v, want 21", f.asked.Load(), err)
		}
	})
}
