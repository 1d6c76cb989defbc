package spf

import (
	"net/netip"
	"strings"
	"testing"
)

// appendixA is the zone of RFC 7208, Appendix A.
const appendixA = `
	example.com A 192.0.2.10
	example.com A 192.0.2.11
	example.com MX mail-a.example.com
	example.com MX mail-b.example.com
	amy.example.com A 192.0.2.65
	bob.example.com A 192.0.2.66
	mail-a.example.com A 192.0.2.129
	mail-b.example.com A 192.0.2.130
	example.org MX mail-c.example.org
	mail-c.example.org A 192.0.2.140
	192.0.2.10 PTR example.com
	192.0.2.11 PTR example.com
	192.0.2.65 PTR amy.example.com
	192.0.2.66 PTR bob.example.com
	192.0.2.129 PTR mail-a.example.com
	192.0.2.130 PTR mail-b.example.com
	192.0.2.140 PTR mail-c.example.org
	10.0.0.4 PTR bob.example.com`

// TestAppendixA has the examples of RFC 7208, Appendix A.1: the clients that each record lets pass.
func TestAppendixA(t *testing.T) {
	all := []string{"192.0.2.10", "192.0.2.11", "192.0.2.65", "192.0.2.66", "192.0.2.129", "192.0.2.130",
		"192.0.2.131", "192.0.2.140", "192.0.2.144", "10.0.0.4"}
	for record, want := range map[string]string{
		"v=spf1 +all":                              strings.Join(all, " "),
		"v=spf1 a -all":                            "192.0.2.10 192.0.2.11",
		"v=spf1 a:example.org -all":                "", // it has no address
		"v=spf1 mx -all":                           "192.0.2.129 192.0.2.130",
		"v=spf1 mx:example.org -all":               "192.0.2.140",
		"v=spf1 mx mx:example.org -all":            "192.0.2.129 192.0.2.130 192.0.2.140",
		"v=spf1 mx/30 mx:example.org/30 -all":      "192.0.2.129 192.0.2.130 192.0.2.131 192.0.2.140",
		"v=spf1 ptr -all":                          "192.0.2.10 192.0.2.11 192.0.2.65 192.0.2.66 192.0.2.129 192.0.2.130",
		"v=spf1 ip4:192.0.2.128/28 -all":           "192.0.2.129 192.0.2.130 192.0.2.131 192.0.2.140",
		"v=spf1 a:amy.example.com ptr:example.org": "192.0.2.65 192.0.2.140",
	} {
		z := newZone(t, appendixA)
		z.add("example.com", "TXT", record)
		var got []string
		for _, ip := range all {
			switch r := z.check(t, ip, "host.example", "user@example.com"); {
			case r.Code == Pass:
				got = append(got, ip)
			case r.Code == PermError || r.Code == TempError || r.Code == None || r.Err != nil:
				t.Errorf("%s: %s got %v", record, ip, r)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", record, got, want)
		}
	}
}

// TestMacroExamples has the table of RFC 7208 §7.4.
func TestMacroExamples(t *testing.T) {
	e := &evaluation{
		resolver: newZone(t, ""),
		ip:       netip.MustParseAddr("192.0.2.3"),
		local:    "strong-bad",
		domain:   "email.example.com",
		helo:     "Mail_1.example.com",
		receiver: "mx.example.org",
	}
	six := *e
	six.ip = netip.MustParseAddr("2001:db8::cb01")
	for _, c := range []struct {
		e           *evaluation
		macro, want string
	}{
		{e, "%{s}", "strong-bad@email.example.com"},
		{e, "%{o}", "email.example.com"},
		{e, "%{d}", "email.example.com"},
		{e, "%{d4}", "email.example.com"},
		{e, "%{d3}", "email.example.com"},
		{e, "%{d2}", "example.com"},
		{e, "%{d1}", "com"},
		{e, "%{dr}", "com.example.email"},
		{e, "%{d2r}", "example.email"},
		{e, "%{l}", "strong-bad"},
		{e, "%{l-}", "strong.bad"},
		{e, "%{lr}", "strong-bad"},
		{e, "%{lr-}", "bad.strong"},
		{e, "%{l1r-}", "strong"},
		{e, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{e, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{e, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{e, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{e, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{&six, "%{ir}.%{v}._spf.%{d2}",
			"1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},

		// Ours: what the text of §7.3 says beyond them.
		{e, "%{d99999999999999999999}", "email.example.com"},
		{e, "%{d03}", "email.example.com"},
		{e, "%{DR2}", ""}, // the digits come first
		{e, "%{D1R}", "email"},
		{e, "%{h-}.%{h_}", "mail_1.example.com.mail.1.example.com"},
		{e, "%{l.-+,/_=}.%{d}", "strong.bad.email.example.com"},
		{e, "%{S}.example", "strong-bad%40email.example.com.example"},
		{e, "%{p}.example", "unknown.example"},
		{e, "a%%b%-c%_d.example", "a%b%20c d.example"},
		{e, "%{d}.example.", "email.example.com.example"},
	} {
		parts, err := parseDomainSpec(c.macro)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: got no error", c.macro)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.macro, err)
			continue
		}
		if got := c.e.expand(t.Context(), "email.example.com", parts); got != c.want {
			t.Errorf("%s: got %s, want %s", c.macro, got, c.want)
		}
	}
}

// TestLongNames: an expanded name loses labels on the left until it has 253 octets (RFC 7208 §7.3).
func TestLongNames(t *testing.T) {
	label := strings.Repeat("a", 49) + "."
	for _, c := range []struct{ name, target, want string }{ // "all": the target itself
		{"as long as can be", strings.Repeat(label, 4) + strings.Repeat("b", 49) + ".com", "all"},
		{"one more octet", strings.Repeat(label, 4) + strings.Repeat("b", 50) + ".com", strings.Repeat(label, 3) + strings.Repeat("b", 50) + ".com"},
		{"a dot at its end", strings.Repeat(label, 4) + strings.Repeat("b", 49) + ".com.", strings.Repeat(label, 4) + strings.Repeat("b", 49) + ".com"},
		{"one more octet left of it", "z%{o}." + strings.Repeat(label, 4) + strings.Repeat("b", 39) + ".com", "example." + strings.Repeat(label, 4) + strings.Repeat("b", 39) + ".com"},
		{"macros", strings.Repeat("%{l}", 9) + ".%{l4000}." + label + "com", label + "com"},
		{"many macros", strings.Repeat("%{d}.", 3000) + "com", strings.Repeat("x.example.", 25) + "com"},
	} {
		e := &evaluation{resolver: newZone(t, ""), local: strings.Repeat("l", 252), domain: "x.example"}
		parts, err := parseDomainSpec(c.target)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want == "all" {
			c.want = c.target
		}
		got := e.expand(t.Context(), "x.example", parts)
		if got != c.want {
			t.Errorf("%s: got %d octets, %s; want %s", c.name, len(got), got, c.want)
		}
	}
}
