package spf

import (
	"strings"
	"testing"
)

// TestGrammar has terms for each rule of RFC 7208, Appendix B. An empty problem is a term that is right.
func TestGrammar(t *testing.T) {
	for _, c := range []struct{ term, problem string }{
		{"all", ""}, {"ALL", ""}, {"+all", ""}, {"-all", ""}, {"?All", ""}, {"~all", ""},
		{"all:", "stand alone"}, {"all:example.com", "stand alone"}, {"all/24", "stand alone"},
		{"!all", "mechanism"}, {"--all", "mechanism"}, {"-", "mechanism"}, {"al", "mechanism"}, {"alls", "mechanism"}, {":", "mechanism"}, {"/24", "mechanism"},
		{"all.", "mechanism"}, {"a.", "mechanism"}, {"-redirect=example.com", "mechanism"}, {"=x", "mechanism"}, {"1x=y", "mechanism"},

		{"include:example.com", ""}, {"INCLUDE:example.com.", ""}, {"-include:%{d}", ""}, {"include:_spf.%{d2}", ""},
		{"include", "want a domain"}, {"include:", "missing"}, {"include/24", "want a domain"}, {"include:example.com/24", "top-level"},
		{"include:com", "top-level"}, {"include:com.", "top-level"}, {"include=example.com", ""}, // an unknown modifier

		{"exists:%{ir}.sbl.example.com", ""}, {"exists", "want a domain"}, {"exists:", "missing"}, {"exists:a.example/8", "top-level"},

		{"a", ""}, {"a:example.com", ""}, {"a/0", ""}, {"a/32", ""}, {"a//0", ""}, {"a//128", ""}, {"a/24//64", ""},
		{"a:example.com/24", ""}, {"a:example.com//64", ""}, {"a:example.com/24//64", ""}, {"a:%{d/}/24", ""}, {"a:a/b.example/24", ""}, {"a:a//64.example//64", ""},
		{"a:", "missing"}, {"a:/24", "missing"}, {"a/", "prefix length"}, {"a//", "prefix length"}, {"a/33", "0 to 32"}, {"a//129", "0 to 128"}, {"a///64", "prefix length"},
		{"a/024", "0 to 32"}, {"a/00", "0 to 32"}, {"a/99999999999999999999", "0 to 32"}, {"a/-1", "prefix length"}, {"a/+1", "prefix length"}, {"a/24/64", "prefix length"}, {"a//64/24", "prefix length"},
		{"a:example.com/", "top-level"}, {"a:example.com/24//", "top-level"}, {"a:example.com/24/64", "0 to 32"}, {"a:example.com/2/4", "top-level"}, {"a:example.com:25", "top-level"},
		{"a:192.0.2.1", "top-level"}, {"a:example.1a", ""}, {"a:example.a-1", ""}, {"a:example.1-1", ""}, {"a:example.-a", "top-level"}, {"a:example.a-", "top-level"}, {"a:example.xn--p1ai", ""},
		{"a:example.a_b", "top-level"}, {"a:.com", ""}, {"a:example..", "top-level"}, {"a:example.com..", "top-level"},
		{"a:%{d}.", "top-level"}, {"a:%{d}com", "top-level"}, {"a:%{d}.com", ""}, {"a:example%%", ""}, {"a:example%_", ""}, {"a:a!\"#$&'()*.example", ""},

		{"mx", ""}, {"mx:example.com/24//64", ""}, {"mx/33", "0 to 32"}, {"mx:", "missing"}, {"mx.", "mechanism"},
		{"ptr", ""}, {"ptr:example.com", ""}, {"ptr:", "missing"}, {"ptr/24", "want a domain"}, {"ptr:example.com/24", "top-level"},

		{"ip4:192.0.2.1", ""}, {"ip4:192.0.2.1/32", ""}, {"ip4:192.0.2.1/0", ""}, {"IP4:0.0.0.0", ""},
		{"ip4", "address"}, {"ip4:", "address"}, {"ip4/24", "address"}, {"ip4:192.0.2", "address"}, {"ip4:192.0.2.1.1", "address"}, {"ip4:192.0.2.256", "address"}, {"ip4:192.0.2.01", "address"},
		{"ip4:192.0.2.1/33", "0 to 32"}, {"ip4:192.0.2.1/", "0 to 32"}, {"ip4:192.0.2.1/08", "0 to 32"}, {"ip4:192.0.2.1//32", "0 to 32"}, {"ip4:192.0.2.1:25", "address"}, {"ip4:2001:db8::1", "address"}, {"ip4:example.com", "address"}, {"ip4:%{i}", "address"}, {"ip4=192.0.2.1", ""},
		{"ip6:2001:db8::1", ""}, {"ip6:2001:DB8::1/128", ""}, {"ip6:::/0", ""}, {"ip6:::ffff:192.0.2.1/96", ""},
		{"ip6:2001:db8::1%eth0", "address"}, {"ip6:192.0.2.1", "address"}, {"ip6:[2001:db8::1]", "address"}, {"ip6:2001:db8::1/129", "0 to 128"}, {"ip6:2001:db8::1//64", "0 to 128"}, {"ip6:2001::db8::1", "address"}, {"ip6:2001:db8::10000", "address"},

		{"redirect=example.com", ""}, {"REDIRECT=%{d}", ""}, {"redirect=", "missing"}, {"redirect", "mechanism"}, {"redirect:example.com", "mechanism"}, {"redirect=com", "top-level"},
		{"exp=explain.%{d}", ""}, {"exp=", "missing"}, {"exp:example.com", "mechanism"}, {"exp=%{c}", "only in the text"},
		{"moo=", ""}, {"moo.cow-far_out=man:dog/cat", ""}, {"m1=%{d}", ""}, {"m=a=b", ""}, {"m=%", "begins no macro"}, {"m=%{q}", "no letter"}, {"m=%{t}", "only in the text"}, {"_m=x", "mechanism"}, {"m/=x", "mechanism"},

		{"exists:%{s}", ""}, {"exists:%{L1R.-+,/_=}", ""}, {"exists:%{l0}", "is 0"}, {"exists:%{l00r}", "is 0"}, {"exists:%{l-1}", "delimiter"}, {"exists:%{lr1}", "delimiter"}, {"exists:%{l;}", "delimiter"}, {"exists:%{}", "begins no macro"},
		{"exists:%{s", "begins no macro"}, {"exists:%(s)", "begins no macro"}, {"exists:%s.example", "begins no macro"}, {"exists:example.com%", "begins no macro"}, {"exists:%{.s}", "no letter"},
		{"exists:%{c}", "only in the text"}, {"exists:%{R}", "only in the text"}, {"exists:%{T}", "only in the text"}, {"exists:%{a}", "no letter"},
		{"exists:ä.example", "ASCII"}, {"exists:a\tb.example", "ASCII"}, {"exists:a\x7fb.example", "ASCII"}, {"m=ä", "ASCII"}, {"-all\t", "mechanism"}, {"-all\x00", "mechanism"}, {"ä", "mechanism"},
	} {
		_, err := parseRecord("v=spf1 " + c.term)
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s: %v", c.term, err)
		case c.problem != "" && err == nil:
			t.Errorf("%s: got no error, want %q", c.term, c.problem)
		case err != nil && !strings.Contains(err.Error(), c.problem):
			t.Errorf("%s: got %v, want %q", c.term, err, c.problem)
		}
	}
}

// TestModifiersTwice: redirect and exp appear once, others as often as they like (RFC 7208 §6).
func TestModifiersTwice(t *testing.T) {
	for record, want := range map[string]string{
		"v=spf1 redirect=a.example redirect=a.example": "twice",
		"v=spf1 exp=a.example -all EXP=b.example":      "twice",
		"v=spf1 m=a m=a exp=a.example redirect=a.ex":   "",
	} {
		_, err := parseRecord(record)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", record, err, want)
		}
	}
}

// TestIsRecord has RFC 7208 §4.5.
func TestIsRecord(t *testing.T) {
	for txt, want := range map[string]bool{
		"v=spf1":       true,
		"V=SPF1":       true,
		"v=spf1 ":      true,
		"v=spf1 junk":  true,
		"v=spf10":      false,
		"v=spf1-all":   false,
		"v=spf1\t-all": false,
		" v=spf1":      false,
		"\"v=spf1\"":   false,
		"v=spf":        false,
		"":             false,
		"spf2.0/pra":   false,
		"v=ſpf1 -all":  false,
	} {
		if got := isRecord(txt); got != want {
			t.Errorf("%q: got %v, want %v", txt, got, want)
		}
	}
}
