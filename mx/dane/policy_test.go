package dane

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// record returns a TLSA record of a certificate's key.
func record(usage uint8, cert *x509.Certificate) dns.TLSA {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return dns.TLSA{Usage: usage, Selector: 1, MatchingType: 1, Data: sum[:]}
}

// decide returns the requirement for the first host of a domain.
func decide(ctx context.Context, r *mx.Router, domain string) (mx.Requirement, error) {
	route, err := r.Route(ctx, domain)
	if err != nil {
		return mx.Requirement{}, err
	}
	to, err := r.Target(ctx, route, route.Hosts[0])
	if err != nil {
		return mx.Requirement{}, err
	}
	return Policy{}.Require(ctx, to)
}

func TestPolicy(t *testing.T) {
	const own, foreign = "mx.signed.test", "mx.plain.test"
	pkix := dns.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}
	tests := []struct {
		name   string
		domain string // if empty, signed.test
		host   string // with the certificate; if empty, own
		set    func(n *smtptest.Network, good, bad dns.TLSA)
		want   string // the level with SNI, and whether the certificate is accepted; or the error
	}{
		{name: "no records", want: "nothing"},
		{name: "a record", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.TLSA("_25._tcp."+own, good) }, want: "verified mx.signed.test yes"},
		{name: "a wrong record", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.TLSA("_25._tcp."+own, bad) }, want: "verified mx.signed.test no"},
		{name: "a record of another port", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.TLSA("_465._tcp."+own, good) }, want: "nothing"},
		{name: "all unusable", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.TLSA("_25._tcp."+own, pkix) }, want: "encrypted mx.signed.test"},
		{name: "one usable, wrong", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.TLSA("_25._tcp."+own, pkix, bad) }, want: "verified mx.signed.test no"},
		{name: "insecure MX", domain: "in.plain.test", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.MX("in.plain.test", own)
			n.TLSA("_25._tcp."+own, good)
		}, want: "nothing"},
		{name: "insecure host isn't asked", domain: "away.signed.test", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.MX("away.signed.test", foreign)
			n.FailDNS("_25._tcp."+foreign, smtptest.ServFail)
		}, want: "nothing"},
		{name: "insecure records", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.CNAME("_25._tcp."+own, "tlsa.plain.test")
			n.TLSA("tlsa.plain.test", good)
		}, want: "nothing"},
		{name: "alias of records", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.CNAME("_25._tcp."+own, "tlsa.signed.test")
			n.TLSA("tlsa.signed.test", good)
		}, want: "verified mx.signed.test yes"},
		{name: "no MX record", domain: own, set: func(n *smtptest.Network, good, bad dns.TLSA) { n.TLSA("_25._tcp."+own, good) }, want: "verified mx.signed.test yes"},
		{name: "lookup fails", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.FailDNS("_25._tcp."+own, smtptest.ServFail) }, want: "451 4.4.3"},
		{name: "lookup takes too long", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.FailDNS("_25._tcp."+own, smtptest.DNSTimeout) }, want: "451 4.4.3"},
		{name: "surely no name", set: func(n *smtptest.Network, good, bad dns.TLSA) { n.FailDNS("_25._tcp."+own, smtptest.NXDomain) }, want: "nothing"},

		// RFC 7672 §2.2.2: the host is an alias.
		{name: "alias: records at its target", domain: "alias.signed.test", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.TLSA("_25._tcp."+own, good)
			n.TLSA("_25._tcp.to-own.signed.test", bad)
		}, want: "verified mx.signed.test yes"},
		{name: "alias: records at itself", domain: "alias.signed.test", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.TLSA("_25._tcp.to-own.signed.test", good)
		}, want: "verified to-own.signed.test yes"},
		{name: "alias: lookup at its target fails", domain: "alias.signed.test", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.FailDNS("_25._tcp."+own, smtptest.ServFail)
			n.TLSA("_25._tcp.to-own.signed.test", good)
		}, want: "451 4.4.3"},
		{name: "alias to elsewhere: records at itself", domain: "gone.signed.test", host: foreign, set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.TLSA("_25._tcp.to-foreign.signed.test", good)
			n.TLSA("_25._tcp."+foreign, bad)
		}, want: "verified to-foreign.signed.test yes"},
		{name: "alias to elsewhere: no records", domain: "gone.signed.test", host: foreign, want: "nothing"},
		{name: "alias to elsewhere: lookup of the alias fails", domain: "gone.signed.test", host: foreign, set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.FailDNS("_25._tcp.to-foreign.signed.test", smtptest.ServFail)
		}, want: "451 4.4.3"},
		{name: "alias from elsewhere", domain: "from.signed.test", set: func(n *smtptest.Network, good, bad dns.TLSA) {
			n.MX("from.signed.test", "to-own.plain.test")
			n.CNAME("to-own.plain.test", own)
			n.FailDNS("_25._tcp.to-own.plain.test", smtptest.ServFail) // isn't asked
			n.TLSA("_25._tcp."+own, good)
		}, want: "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := smtptest.NewNetwork(t)
				n.Sign("signed.test")
				n.MX("signed.test", own)
				n.MX("plain.test", foreign)
				n.CNAME("to-own.signed.test", own)
				n.CNAME("to-foreign.signed.test", foreign)
				n.MX("alias.signed.test", "to-own.signed.test")
				n.MX("gone.signed.test", "to-foreign.signed.test")
				host, domain := own, "signed.test"
				if tt.host != "" {
					host = tt.host
				}
				if tt.domain != "" {
					domain = tt.domain
				}
				cert := n.Certificate(host).Leaf
				if tt.set != nil {
					tt.set(n, record(3, cert), record(3, n.Certificate("other.test").Leaf))
				}
				need, err := decide(t.Context(), &mx.Router{Resolver: n}, domain)
				if got := shown(need, err, cert); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestFailureKept: a name server that doesn't answer for TLSA records holds up one mail, and not each one. It is asked
// again soon, and no mail goes without DANE meanwhile.
func TestFailureKept(t *testing.T) {
	for _, aliased := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := smtptest.NewNetwork(t)
			n.Sign("signed.test")
			n.MX("signed.test", "mx.signed.test")
			slow := "_25._tcp.mx.signed.test"
			if aliased { // to elsewhere: LookupAlias is asked, too
				n.CNAME("mx.signed.test", "mx.plain.test")
				n.Host("mx.plain.test")
			} else {
				n.Host("mx.signed.test")
			}
			n.FailDNS(slow, smtptest.DNSTimeout)
			r := &mx.Router{Resolver: n}
			decided := func(want string, wait time.Duration) {
				t.Helper()
				begin := time.Now()
				need, err := decide(t.Context(), r, "signed.test")
				if got := shown(need, err, nil); got != want || time.Since(begin) != wait {
					t.Errorf("got %s after %v, want %s after %v", got, time.Since(begin), want, wait)
				}
			}
			decided("451 4.4.3", 10*time.Second)
			for range 10 {
				decided("451 4.4.3", 0)
			}
			time.Sleep(30 * time.Second)
			decided("451 4.4.3", 10*time.Second)
			n.FailDNS(slow, smtptest.NoFault)
			decided("451 4.4.3", 0)
			time.Sleep(30 * time.Second)
			decided("nothing", 0)
		})
	}
}

// shown shows a requirement, and whether it accepts a certificate.
func shown(need mx.Requirement, err error, cert *x509.Certificate) string {
	if err != nil {
		r, ok := errors.AsType[*smtp.Reply](err)
		if !ok || need.Level != mx.DemandNothing || need.Name != "" {
			return fmt.Sprintf("%+v beside %v", need, err)
		}
		return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
	}
	out := strings.TrimSpace(need.Level.String() + " " + need.ServerName)
	if (need.Level == mx.DemandNothing) != (need.Name == "") || (need.Level == mx.DemandVerified) != (need.Verify != nil) {
		return fmt.Sprintf("%+v contradicts itself", need)
	}
	if need.Verify == nil {
		return out
	}
	by, err := need.Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}})
	if (err == nil) != strings.HasPrefix(by, "TLSA 3 1 1 ") {
		return fmt.Sprintf("by %q, %v", by, err)
	}
	return out + map[bool]string{true: " yes", false: " no"}[err == nil]
}

// TestName: requirements have one name if they demand the same.
func TestName(t *testing.T) {
	n := smtptest.NewNetwork(t)
	n.Sign("test")
	for _, domain := range []string{"a.test", "b.test"} {
		n.MX(domain, "mx.test")
	}
	n.MX("c.test", "other.test")
	x, y := record(3, n.Certificate("x.test").Leaf), record(3, n.Certificate("y.test").Leaf)
	ta := x
	ta.Usage = 2
	name := func(domain string, records ...dns.TLSA) string {
		n.TLSA("_25._tcp.mx.test", records...)
		n.TLSA("_25._tcp.other.test", records...)
		need, err := decide(t.Context(), &mx.Router{Resolver: n}, domain)
		if err != nil || need.Name == "" {
			t.Fatalf("%s: got %+v, %v", domain, need, err)
		}
		return need.Name
	}
	for _, tt := range []struct {
		what string
		a, b string
		same bool
	}{
		{"again", name("a.test", x, y), name("a.test", x, y), true},
		{"another order", name("a.test", x, y), name("a.test", y, x), true},
		{"an unusable record", name("a.test", x), name("a.test", x, dns.TLSA{Usage: 9}), true},
		{"another domain of the host", name("a.test", x), name("b.test", x), true},
		{"another host", name("a.test", x), name("c.test", x), false},
		{"another record", name("a.test", x), name("a.test", y), false},
		{"one more record", name("a.test", x), name("a.test", x, y), false},
		{"another usage", name("a.test", x), name("a.test", ta), false},
		{"DANE-TA for another domain, which is among its names", name("a.test", ta), name("b.test", ta), false},
		{"unusable records", name("a.test", x), name("a.test", dns.TLSA{Usage: 9}), false},
	} {
		if (tt.a == tt.b) != tt.same {
			t.Errorf("%s: got %s and %s, want the same: %v", tt.what, tt.a, tt.b, tt.same)
		}
	}
}

// TestNames: by DANE-TA the certificate may be for the host, for the domain, and for what the domain is an alias of.
func TestNames(t *testing.T) {
	n := smtptest.NewNetwork(t)
	n.Sign("test")
	n.CNAME("alias.test", "next.test")
	n.MX("next.test", "to-mx.test")
	n.CNAME("to-mx.test", "mx.test")
	n.Host("mx.test")
	root := issue(t, nil, ecKey(t), isCA)
	n.TLSA("_25._tcp.mx.test", tlsa(2, 0, 1, root))
	need, err := decide(t.Context(), &mx.Router{Resolver: n}, "alias.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"mx.test": true, "alias.test": true, "next.test": true, "to-mx.test": false, "test": false} {
		cert := issue(t, root, ecKey(t), func(c *x509.Certificate) { c.DNSNames = []string{name} })
		if by, err := need.Verify(session(cert, root)); (err == nil) != want {
			t.Errorf("%s: got %q, %v, want %v", name, by, err, want)
		}
	}
}

// TestZeroTarget: nothing is known, and nothing is asked.
func TestZeroTarget(t *testing.T) {
	yes, host := dns.Proof{Authentic: true, Name: "mx.test."}, mx.Host{Name: "mx.test"}
	panics := struct{ mx.SecureResolver }{}
	for _, to := range []mx.Target{{}, {Resolver: panics}, {MX: yes, Addr: dns.Proof{Name: "mx.test."}, Host: host, Resolver: panics}, {MX: yes, Addr: yes, Host: host}} {
		if need, err := (Policy{}).Require(t.Context(), to); err != nil || need.Name != "" || need.Level != mx.DemandNothing {
			t.Errorf("got %+v, %v, want nothing", need, err)
		}
	}
}

// TestReported: what reports say about the records, and about those that can't be used or looked up.
func TestReported(t *testing.T) {
	pkix := dns.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}
	zeros := strings.Repeat("00", 32)
	n := smtptest.NewNetwork(t)
	n.Sign("test")
	good := record(3, n.Certificate("mx.test").Leaf)
	bad := good
	bad.Data = make([]byte, 32)
	ta := bad
	ta.Usage = 2
	for _, tt := range []struct {
		name    string
		records []dns.TLSA
		want    string
	}{
		{"none", nil, "none"},
		{"usable", []dns.TLSA{bad, pkix}, `tlsa mx.test ["3 1 1 ` + zeros + `"]; validation-failure`},
		{"anchor", []dns.TLSA{ta}, `tlsa mx.test ["2 1 1 ` + zeros + `"]; validation-failure`},
		{"unusable", []dns.TLSA{pkix}, `tlsa mx.test ["1 1 1 ` + zeros + `"] tlsa-invalid`},
	} {
		domain := tt.name + ".test"
		n.MX(domain, "mx.test")
		n.TLSA("_25._tcp.mx.test", tt.records...)
		need, err := decide(t.Context(), &mx.Router{Resolver: n}, domain)
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if need.Found != nil {
			got = fmt.Sprintf("%s %s %q", need.Found.Type, need.Found.Domain, need.Found.Lines)
		}
		if need.Trouble != nil {
			got += " " + mx.TLSFailureOf(need.Trouble).Type
		}
		if need.Verify != nil {
			_, err := need.Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{n.Certificate("mx.test").Leaf}})
			got += "; " + mx.TLSFailureOf(err).Type
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	n.MX("bogus.test", "mx.test")
	n.FailDNS("_25._tcp.mx.test", smtptest.ServFail)
	_, err := decide(t.Context(), &mx.Router{Resolver: n}, "bogus.test")
	if got := mx.TLSFailureOf(err); got.Type != mx.DNSSECInvalid || got.Code != "the DNS failed" {
		t.Errorf("got %+v for a lookup that fails", got)
	}
	// By DANE-TA, the names and the dates count.
	root := issue(t, nil, ecKey(t), isCA)
	for want, change := range map[string]func(*x509.Certificate){
		mx.CertificateHostMismatch: func(c *x509.Certificate) { c.DNSNames = []string{"other.test"} },
		mx.CertificateExpired:      both(isHost, expired),
	} {
		_, err := Verify([]dns.TLSA{tlsa(2, 0, 1, root)}, []string{"mx.example.net"}, session(issue(t, root, ecKey(t), change), root))
		if got := mx.TLSFailureOf(err).Type; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
