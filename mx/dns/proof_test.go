package dns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/net/dns/dnsmessage"
)

// validates is a server that answers with these records, and with the AD bit if the query asks for it.
func validates(records ...string) func(*call) { return validatesCode(0, records...) }

func validatesCode(rcode dnsmessage.RCode, records ...string) func(*call) {
	return func(c *call) {
		changed(func(m *dnsmessage.Message) { m.RCode, m.AuthenticData = rcode, c.AuthenticData }, records...)(c)
	}
}

// proven shows what a lookup has returned besides the records.
func proven(ctx context.Context, r *Resolver, kind, name string) string {
	var proof Proof
	var err error
	switch kind {
	case "MX":
		_, proof, err = r.LookupMXProof(ctx, name)
	case "TLSA":
		_, proof, err = r.LookupTLSA(ctx, name)
	case "CNAME":
		_, proof, err = r.LookupAlias(ctx, name)
	default:
		_, proof, err = r.LookupNetIPProof(ctx, kind, name)
	}
	out := fmt.Sprintf("%s %v", proof.Name, proof.Authentic)
	if err != nil {
		out += " ! " + describe(err)
	}
	return out
}

func TestProof(t *testing.T) {
	const mx = "example.net. 300 MX 10 mx.example.net."
	secure, insecure := validates, says
	lost := 0 // datagrams
	tests := []struct {
		name, kind, ask string // if empty, MX and example.net
		server          func(*call)
		want            string
	}{
		{name: "authentic", server: secure(mx), want: "example.net. true"},
		{name: "name in another case", ask: "Example.NET", server: secure(mx), want: "example.net. true"},
		{name: "insecure", server: insecure(mx), want: "example.net. false"},
		{name: "TLSA", kind: "TLSA", server: secure("example.net. 300 RAW 52 0301010a"), want: "example.net. true"},
		{name: "address", kind: "ip6", server: secure("example.net. 300 AAAA 2001:db8::1"), want: "example.net. true"},
		{name: "surely no name", server: validatesCode(3, "--", "net. 900 SOA 60"), want: "example.net. true " + noName},
		{name: "no name, insecure", server: code(3, "--", "net. 900 SOA 60"), want: "example.net. false " + noName},
		{name: "surely no records", server: secure("--", "example.net. 900 SOA 60"), want: "example.net. true " + noRecords},
		{name: "alias", server: secure("example.net. 20 CNAME a.test.", "a.test. 300 MX 10 b."), want: "a.test. true"},
		{name: "alias to nothing", server: secure("example.net. 20 CNAME a.test.", "--", "a.test. 900 SOA 60"), want: "a.test. true " + noRecords},
		{name: "alias alone", kind: "CNAME", server: secure("example.net. 20 CNAME a.test."), want: "example.net. true"},
		{name: "aliases in three answers", server: byName(map[string]func(*call){"example.net.": secure("example.net. 20 CNAME a.test."),
			"a.test.": secure("a.test. 20 CNAME b.test."), "b.test.": secure("b.test. 300 MX 10 b.")}), want: "b.test. true"},
		{name: "the first answer is insecure", server: byName(map[string]func(*call){"example.net.": insecure("example.net. 20 CNAME a.test."),
			"a.test.": secure("a.test. 20 CNAME b.test."), "b.test.": secure("b.test. 300 MX 10 b.")}), want: "b.test. false"},
		{name: "the second is", server: byName(map[string]func(*call){"example.net.": secure("example.net. 20 CNAME a.test."),
			"a.test.": insecure("a.test. 20 CNAME b.test."), "b.test.": secure("b.test. 300 MX 10 b.")}), want: "b.test. false"},
		{name: "the last is", server: byName(map[string]func(*call){"example.net.": secure("example.net. 20 CNAME a.test."),
			"a.test.": secure("a.test. 20 CNAME b.test."), "b.test.": insecure("--", "b.test. 300 SOA 60")}), want: "b.test. false " + noRecords},
		{name: "bogus", server: validatesCode(2), want: " false ! the name server answered SERVFAIL, temporary"},

		// An answer is as secure in the second way of asking as in the first.
		{name: "by TCP", server: byNetwork(changed(func(m *dnsmessage.Message) { m.Truncated = true }), secure(mx)), want: "example.net. true"},
		{name: "a server without EDNS", server: func(c *call) {
			if len(c.Additionals) > 0 {
				code(dnsmessage.RCodeFormatError)(c)
			} else {
				secure(mx)(c)
			}
		}, want: "example.net. true"},
		{name: "a lost datagram", server: func(c *call) {
			if lost++; lost > 1 {
				secure(mx)(c)
			}
		}, want: "example.net. true"},
		{name: "a server that drops EDNS and other case", server: func(c *call) {
			if lower := strings.ToLower(c.Questions[0].Name.String()); len(c.Additionals) == 0 && c.network == "udp" && c.Questions[0].Name.String() == lower {
				secure(mx)(c)
			}
		}, want: "example.net. true"},
		{name: "a forged answer before, with AD", server: func(c *call) {
			c.send(c.pack(func(m *dnsmessage.Message) { m.ID, m.AuthenticData = m.ID+1, true }, "example.net. 300 MX 10 evil."))
			insecure(mx)(c)
		}, want: "example.net. false"},
		{name: "AD in a truncated answer", server: byNetwork(changed(func(m *dnsmessage.Message) { m.Truncated, m.AuthenticData = true, true }, mx), insecure(mx)), want: "example.net. false"},
		{name: "AD beside SERVFAIL", server: changed(func(m *dnsmessage.Message) { m.RCode, m.AuthenticData = 2, true }, mx), want: " false ! the name server answered SERVFAIL, temporary"},
		{name: "localhost", kind: "ip4", ask: "localhost", want: " false"},
		{name: "address of an address", kind: "ip4", ask: "192.0.2.1", want: " false"},
		{name: "not a name", ask: "a..b", want: " false ! not a valid name, not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServers(t, map[string]func(*call){"192.0.2.53": tt.server})
				kind, ask := tt.kind, tt.ask
				if kind == "" {
					kind = "MX"
				}
				if ask == "" {
					ask = "example.net"
				}
				r := &Resolver{Servers: []string{"192.0.2.53"}, TrustAD: true, Dial: s.Dial}
				if got := proven(t.Context(), r, kind, ask); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestTrustAD: the AD bit counts only where a setting says so, even if a server sets it unasked.
func TestTrustAD(t *testing.T) {
	const mx = "example.net. 300 MX 10 mx.example.net."
	unasked := changed(func(m *dnsmessage.Message) { m.AuthenticData = true }, mx)
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(name, []byte("nameserver 192.0.2.53\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	servers := []string{"192.0.2.53"}
	for _, tt := range []struct {
		name string
		r    *Resolver
		want bool
	}{
		{"no setting", &Resolver{Servers: servers}, false},
		{"field", &Resolver{Servers: servers, TrustAD: true}, true},
		{"file", &Resolver{ResolvConf: file("options edns0 trust-ad\n")}, true},
		{"file without it", &Resolver{ResolvConf: file("options edns0\n")}, false},
		{"file that doesn't apply", &Resolver{Servers: servers, ResolvConf: file("options trust-ad\n")}, false},
		{"field beside the file", &Resolver{ResolvConf: file(""), TrustAD: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := false
			s := newServers(t, map[string]func(*call){"192.0.2.53": func(c *call) {
				asked = c.AuthenticData
				unasked(c)
			}})
			tt.r.Dial = s.Dial
			_, proof, err := tt.r.LookupMXProof(t.Context(), "example.net")
			if s.wg.Wait(); err != nil || proof.Authentic != tt.want || asked != tt.want {
				t.Errorf("got authentic %v, asked %v, %v, want %v", proof.Authentic, asked, err, tt.want)
			}
		})
	}
}

// TestProofStandard: the standard resolver proves nothing, and has no TLSA records.
func TestProofStandard(t *testing.T) {
	r := &Resolver{ResolvConf: filepath.Join(t.TempDir(), "none"), TrustAD: true}
	for _, kind := range []string{"TLSA", "CNAME"} {
		if got, want := proven(t.Context(), r, kind, "example.net"), " false ! the name servers of the system failed, temporary"; got != want {
			t.Errorf("%s: got %q, want %q", kind, got, want)
		}
	}
	ips, proof, err := r.LookupNetIPProof(t.Context(), "ip", "127.0.0.1")
	if err != nil || proof.Authentic || len(ips) != 1 {
		t.Errorf("got %v, %+v, %v", ips, proof, err)
	}
}
