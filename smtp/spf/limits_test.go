package spf

import (
	"fmt"
	"strings"
	"testing"
)

// TestLookups: ten terms that cause lookups, redirect and include included (RFC 7208 §4.6.4).
func TestLookups(t *testing.T) {
	terms := func(n int) string { return strings.Repeat(" a:x.example", n) }
	chain := func(n int, format string) string {
		lines := fmt.Sprintf("d.example TXT v=spf1 "+format+"\n", 1)
		for i := range n {
			lines += fmt.Sprintf("%d.example TXT v=spf1 "+format+"\n", i+1, i+2)
		}
		return lines + fmt.Sprintf("%d.example TXT v=spf1 +all", n+1)
	}
	for _, c := range []struct {
		name, zone, want string
		lookups          int
	}{
		{"none", "d.example TXT v=spf1 ip4:192.0.2.2 ip6:2001:db8::1 m=%{d} exp=d.example ?all", "neutral ?all", 0},
		{"ten", "d.example TXT v=spf1" + terms(10) + " ~all", "softfail ~all", 10},
		{"eleven", "d.example TXT v=spf1" + terms(11) + " ~all", "permerror", 10},
		{"the eleventh isn't needed", "d.example TXT v=spf1" + terms(10) + " ~all a", "softfail ~all", 10},
		{"each kind", "d.example TXT v=spf1 a mx ptr a//64 mx/8 exists:%{d} include:e.example redirect=f.example\nd.example A 192.0.2.9\nd.example MX d.example\n192.0.2.1 PTR d.example\ne.example TXT v=spf1 a:d.example\nf.example TXT v=spf1 a:d.example ?all", "pass mx/8", 5},
		{"in an include", "d.example TXT v=spf1" + terms(5) + " include:e.example ~all\ne.example TXT v=spf1" + terms(4), "softfail ~all", 10},
		{"in an include, one more", "d.example TXT v=spf1" + terms(5) + " include:e.example ~all\ne.example TXT v=spf1" + terms(5), "permerror", 10},
		{"in a redirect", "d.example TXT v=spf1" + terms(5) + " redirect=e.example\ne.example TXT v=spf1" + terms(4) + " ~all", "softfail ~all", 10},
		{"in a redirect, one more", "d.example TXT v=spf1" + terms(5) + " redirect=e.example\ne.example TXT v=spf1" + terms(5) + " ~all", "permerror", 10},
		{"ten includes deep", chain(9, "include:%d.example"), "pass include:1.example", 10},
		{"eleven includes deep", chain(10, "include:%d.example"), "permerror", 10},
		{"ten redirects", chain(9, "redirect=%d.example"), "pass +all", 10},
		{"eleven redirects", chain(10, "redirect=%d.example"), "permerror", 10},
		{"it includes itself", "d.example TXT v=spf1 include:d.example -all", "permerror", 10},
		{"it redirects to itself", "d.example TXT v=spf1 redirect=d.example", "permerror", 10},
	} {
		z := newZone(t, c.zone)
		z.add("x.example", "A", "192.0.2.3") // so that no lookup is void
		r := z.check(t, "192.0.2.1", "h.example", "user@d.example")
		if got := brief(r); got != c.want || r.Lookups != c.lookups {
			t.Errorf("%s: got %s (%v) after %d lookups, want %s after %d", c.name, got, r.Err, r.Lookups, c.want, c.lookups)
		}
		if r.Code == PermError && !strings.Contains(r.Err.Error(), "more than 10 terms cause lookups") {
			t.Errorf("%s: got %v", c.name, r.Err)
		}
	}
}

// TestVoid: two terms may find nothing (RFC 7208 §4.6.4).
func TestVoid(t *testing.T) {
	for _, c := range []struct{ name, terms, want string }{
		{"two", "a:1.example mx:2.example", "softfail ~all"},
		{"three of each kind", "a:1.example mx:2.example exists:3.example", "permerror"},
		{"ptr is one", "ptr a:1.example mx:2.example", "permerror"},
		{"ptr is looked up once", "ptr ptr:1.example ptr:2.example", "softfail ~all"},
		{"p is none", "a:1.example exists:%{p}.2.example", "softfail ~all"},
		{"hosts without an address", "mx:full.example mx:full.example a:1.example", "permerror"},
		{"some hosts without an address", "mx:some.example mx:some.example mx:some.example", "softfail ~all"},
		{"names that aren't valid", "a:.com a:..com mx:..com exists:..com", "softfail ~all"},
		{"the third isn't needed", "a:1.example a:2.example ip4:192.0.2.1 a:3.example", "pass ip4:192.0.2.1"},
	} {
		z := newZone(t, "d.example TXT v=spf1 "+c.terms+` ~all
			full.example MX a.example
			full.example MX b.example
			some.example MX a.example
			some.example MX c.example
			c.example A 192.0.2.3`)
		r := z.check(t, "192.0.2.1", "h.example", "user@d.example")
		if got := brief(r); got != c.want || r.Code == PermError && !strings.Contains(r.Err.Error(), "find nothing") {
			t.Errorf("%s: got %s (%v), want %s", c.name, got, r.Err, c.want)
		}
	}
}

// TestHosts: ten hosts for mx, ten names for ptr (RFC 7208 §4.6.4).
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		term  string
		hosts int
		want  string
		asked int // lookups, that of the record included
	}{
		{"mx", 10, "pass mx", 12},
		{"mx", 11, "permerror", 2},
		{"ptr", 10, "pass ptr", 12},
		{"ptr", 11, "fail -all", 12},
		{"ptr:1.d.example ptr:2.d.example", 12, "fail -all", 12},
		{"exists:%{p}.%{p}.e.example exists:%{p}", 12, "pass exists:%{p}", 14},
	} {
		z := newZone(t, "d.example TXT v=spf1 "+c.term+" -all")
		for i := range c.hosts {
			host := fmt.Sprintf("h%d.d.example", i)
			if c.term == "ptr" && i < c.hosts-1 {
				host = fmt.Sprintf("h%d.other.example", i)
			}
			z.add("d.example", "MX", host)
			z.add("192.0.2.1", "PTR", host)
			z.add(host, "A", "192.0.2.2")
			if i == c.hosts-1 || c.term != "mx" {
				z.add(host, "A", "192.0.2.1")
			}
		}
		r := z.check(t, "192.0.2.1", "h.example", "user@d.example")
		if got := brief(r); got != c.want || len(z.asked) != c.asked {
			t.Errorf("%s, %d: got %s (%v) after %d lookups, want %s after %d", c.term, c.hosts, got, r.Err, len(z.asked),
				c.want, c.asked)
		}
	}
}
