package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx/dns"
)

var (
	_ Resolver = (*net.Resolver)(nil)
	_ Resolver = (*dns.Resolver)(nil)
)

const (
	four = "192.0.2.1"
	six  = "2001:db8::1"
)

// TestSections has records for each section of RFC 7208. The domain is d.example. The problem, if any, is in Err.
func TestSections(t *testing.T) {
	for _, c := range []struct{ name, zone, ip, want, problem string }{
		{"4.3 no such domain", "", four, "none", "no SPF record"},
		{"4.4 the lookup fails", "d.example TXT !", four, "temperror", "d.example: lookup"},
		{"4.5 no SPF record", "d.example TXT v=spf2.0\nd.example TXT hello", four, "none", "no SPF record"},
		{"4.5 one among others", "d.example TXT \xff\nd.example TXT v=spf1 -all\nd.example TXT v=spf10 +all", four, "fail -all", ""},
		{"4.5 two", "d.example TXT v=spf1 -all\nd.example TXT v=spf1 -all", four, "permerror", "2 SPF records"},
		{"4.6 an error is found first", "d.example TXT v=spf1 +all ipv4:192.0.2.1", four, "permerror", `"ipv4"`},
		{"4.6.1 spaces", "d.example TXT v=spf1   ip4:192.0.2.2    ~all   ", four, "softfail ~all", ""},
		{"4.6.2 the first match", "d.example TXT v=spf1 ?ip4:192.0.2.0/24 -all", four, "neutral ?ip4:192.0.2.0/24", ""},
		{"4.7 no match", "d.example TXT v=spf1 ip4:192.0.2.2", four, "neutral", ""},
		{"4.7 nothing", "d.example TXT v=spf1", four, "neutral", ""},

		{"5.1 after all", "d.example TXT v=spf1 -all +a", four, "fail -all", ""},
		{"5.2 include passes", "d.example TXT v=spf1 ~include:e.example -all\ne.example TXT v=spf1 +all", four, "softfail ~include:e.example", ""},
		{"5.2 include fails", "d.example TXT v=spf1 include:e.example ~all\ne.example TXT v=spf1 -all exp=x.example", four, "softfail ~all", ""},
		{"5.2 include softfails", "d.example TXT v=spf1 include:e.example ?all\ne.example TXT v=spf1 ~all", four, "neutral ?all", ""},
		{"5.2 include is neutral", "d.example TXT v=spf1 include:e.example -all\ne.example TXT v=spf1", four, "fail -all", ""},
		{"5.2 include has an error", "d.example TXT v=spf1 include:e.example -all\ne.example TXT v=spf1 x", four, "permerror", `term "include:e.example": e.example: term "x"`},
		{"5.2 include can't be looked up", "d.example TXT v=spf1 include:e.example -all\ne.example TXT !", four, "temperror", "server failure"},
		{"5.2 include has no record", "d.example TXT v=spf1 include:e.example -all", four, "permerror", "e.example: no SPF record"},
		{"5.2 include is no name", "d.example TXT v=spf1 include:%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}%{l}.example -all", four, "permerror", "isn't a valid domain"},
		{"5.2 include is one label", "d.example TXT v=spf1 include:%{d1} -all\nexample TXT v=spf1 +all", four, "permerror", "isn't a valid domain"},
		{"5.2 include of include", "d.example TXT v=spf1 include:e.example -all\ne.example TXT v=spf1 include:f.example -all\nf.example TXT v=spf1 ip4:192.0.2.1", four, "pass include:e.example", ""},
		{"5.2 d is the domain included", "d.example TXT v=spf1 include:e.example -all\ne.example TXT v=spf1 a:a.%{d}\na.e.example A 192.0.2.1", four, "pass include:e.example", ""},

		{"5.3 a", "d.example TXT v=spf1 a -all\nd.example A 192.0.2.7\nd.example A 192.0.2.1", four, "pass a", ""},
		{"5.3 a for IPv6", "d.example TXT v=spf1 a -all\nd.example AAAA 2001:db8::1\nd.example A !", six, "pass a", ""},
		{"5.3 a has the other family", "d.example TXT v=spf1 a -all\nd.example A 192.0.2.1", six, "fail -all", ""},
		{"5.3 a in a network", "d.example TXT v=spf1 a/24//32 -all\nd.example A 192.0.2.200", four, "pass a/24//32", ""},
		{"5.3 a in an IPv6 network", "d.example TXT v=spf1 a/24//32 -all\nd.example AAAA 2001:db8:1::1", six, "pass a/24//32", ""},
		{"5.3 a outside", "d.example TXT v=spf1 a/25 -all\nd.example A 192.0.2.200", four, "fail -all", ""},
		{"5.3 the IPv4 length isn't for IPv6", "d.example TXT v=spf1 a/0 -all\nd.example AAAA 2001:db8::2", six, "fail -all", ""},
		{"5.3 a fails", "d.example TXT v=spf1 a -all\nd.example A !", four, "temperror", `term "a"`},
		{"5.3 a is no name", "d.example TXT v=spf1 a:.com -all", four, "fail -all", ""},
		{"5.3 an address in IPv6 form", "d.example TXT v=spf1 a -all\nd.example A ::ffff:192.0.2.1", "::ffff:192.0.2.1", "pass a", ""},

		{"5.4 mx", "d.example TXT v=spf1 mx -all\nd.example MX a.example\nd.example MX b.example\nb.example A 192.0.2.1", four, "pass mx", ""},
		{"5.4 no implicit mx", "d.example TXT v=spf1 mx -all\nd.example A 192.0.2.1", four, "fail -all", ""},
		{"5.4 null mx", "d.example TXT v=spf1 mx -all\nd.example MX .", four, "fail -all", ""},
		{"5.4 mx for IPv6", "d.example TXT v=spf1 mx//64 -all\nd.example MX a.example\na.example AAAA 2001:db8::5", six, "pass mx//64", ""},
		{"5.4 mx fails", "d.example TXT v=spf1 mx -all\nd.example MX !", four, "temperror", "server failure"},
		{"5.4 a host fails", "d.example TXT v=spf1 mx -all\nd.example MX a.example\nd.example MX b.example\na.example A !\nb.example A 192.0.2.1", four, "temperror", "server failure"},

		{"5.5 ptr", "d.example TXT v=spf1 ptr -all\n192.0.2.1 PTR h.d.example\nh.d.example A 192.0.2.1", four, "pass ptr", ""},
		{"5.5 ptr in another case", "d.example TXT v=spf1 ptr:D.Example -all\n192.0.2.1 PTR H.D.EXAMPLE\nh.d.example A 192.0.2.1", four, "pass ptr:D.Example", ""},
		{"5.5 ptr isn't validated", "d.example TXT v=spf1 ptr -all\n192.0.2.1 PTR h.d.example\nh.d.example A 192.0.2.2", four, "fail -all", ""},
		{"5.5 ptr ends alike", "d.example TXT v=spf1 ptr -all\n192.0.2.1 PTR bad.example\nbad.example A 192.0.2.1", four, "fail -all", ""},
		{"5.5 ptr fails", "d.example TXT v=spf1 ptr -all\n192.0.2.1 PTR !", four, "fail -all", ""},
		{"5.5 a name fails", "d.example TXT v=spf1 ptr -all\n192.0.2.1 PTR a.example\n192.0.2.1 PTR d.example\na.example A !\nd.example A 192.0.2.1", four, "pass ptr", ""},
		{"5.5 a name isn't valid", "d.example TXT v=spf1 ptr -all\n192.0.2.1 PTR a..d.example", four, "fail -all", ""},
		{"5.5 ptr for IPv6", "d.example TXT v=spf1 ptr -all\n2001:db8::1 PTR d.example\nd.example AAAA 2001:db8::1", six, "pass ptr", ""},

		{"5.6 ip4", "d.example TXT v=spf1 ip4:192.0.2.1 -all", four, "pass ip4:192.0.2.1", ""},
		{"5.6 ip4 with host bits", "d.example TXT v=spf1 ip4:192.0.2.77/24 -all", four, "pass ip4:192.0.2.77/24", ""},
		{"5.6 ip4 isn't IPv6", "d.example TXT v=spf1 ip4:0.0.0.0/0 -all", six, "fail -all", ""},
		{"5.6 ip6 isn't IPv4", "d.example TXT v=spf1 ip6:::/0 ip6:::ffff:192.0.2.1 -all", four, "fail -all", ""},
		{"5.6 ip6", "d.example TXT v=spf1 ip6:2001:db8::/32 -all", six, "pass ip6:2001:db8::/32", ""},
		{"5.6 an IPv4 client in IPv6 form", "d.example TXT v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", "pass ip4:192.0.2.1", ""},

		{"5.7 exists", "d.example TXT v=spf1 exists:%{i}.%{d} -all\n192.0.2.1.d.example A 127.0.0.2", four, "pass exists:%{i}.%{d}", ""},
		{"5.7 exists for IPv6 asks for A", "d.example TXT v=spf1 exists:e.example -all\ne.example A 127.0.0.2\ne.example AAAA !", six, "pass exists:e.example", ""},
		{"5.7 exists not", "d.example TXT v=spf1 exists:e.example -all\ne.example AAAA 2001:db8::1", six, "fail -all", ""},
		{"5.7 exists fails", "d.example TXT v=spf1 exists:e.example -all\ne.example A !", four, "temperror", "server failure"},
		{"5.7 a name with a control character", "d.example TXT v=spf1 exists:%{h}.example -all", four, "fail -all", ""},

		{"6.1 redirect", "d.example TXT v=spf1 ip4:192.0.2.2 redirect=e.example\ne.example TXT v=spf1 a:%{d} ~all", four, "softfail ~all", ""},
		{"6.1 redirect comes last", "d.example TXT v=spf1 redirect=e.example ip4:192.0.2.1\ne.example TXT v=spf1 -all", four, "pass ip4:192.0.2.1", ""},
		{"6.1 redirect beside all", "d.example TXT v=spf1 redirect=e.example ?all\ne.example TXT v=spf1 -all", four, "neutral ?all", ""},
		{"6.1 redirect has no record", "d.example TXT v=spf1 redirect=e.example", four, "permerror", "redirect: e.example: no SPF record"},
		{"6.1 redirect is no name", "d.example TXT v=spf1 redirect=.com", four, "permerror", "isn't a valid domain"},
		{"6.1 redirect fails", "d.example TXT v=spf1 redirect=e.example\ne.example TXT !", four, "temperror", "server failure"},
		{"6.1 a redirect is included", "d.example TXT v=spf1 include:e.example -all\ne.example TXT v=spf1 redirect=f.example\nf.example TXT v=spf1 +all", four, "pass include:e.example", ""},

		{"7.3 p is below the domain", "d.example TXT v=spf1 exists:%{p}.x.example -all\n192.0.2.1 PTR a.example\n192.0.2.1 PTR m.d.example\na.example A 192.0.2.1\nm.d.example A 192.0.2.1\nm.d.example.x.example A 127.0.0.2", four, "pass exists:%{p}.x.example", ""},
		{"7.3 p is the first below the domain", "d.example TXT v=spf1 exists:%{p}.x.example -all\n192.0.2.1 PTR m.d.example\n192.0.2.1 PTR n.d.example\nm.d.example A 192.0.2.1\nn.d.example A 192.0.2.1\nm.d.example.x.example A 127.0.0.2", four, "pass exists:%{p}.x.example", ""},
		{"7.3 p is the domain", "d.example TXT v=spf1 exists:%{p}.x.example -all\n192.0.2.1 PTR m.d.example\n192.0.2.1 PTR d.example\nd.example A 192.0.2.1\nm.d.example A 192.0.2.1\nd.example.x.example A 127.0.0.2", four, "pass exists:%{p}.x.example", ""},
		{"7.3 p is any", "d.example TXT v=spf1 exists:%{p}.x.example -all\n192.0.2.1 PTR a.example\n192.0.2.1 PTR b.example\na.example A 192.0.2.1\nb.example A 192.0.2.1\na.example.x.example A 127.0.0.2", four, "pass exists:%{p}.x.example", ""},
		{"7.3 p is unknown", "d.example TXT v=spf1 exists:%{p}.x.example -all\n192.0.2.1 PTR !\nunknown.x.example A 127.0.0.2", four, "pass exists:%{p}.x.example", ""},
	} {
		r := newZone(t, c.zone).check(t, c.ip, "bad\x01helo", "user@d.example")
		if got := brief(r); got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, got, r.Err, c.want)
		}
		if r.Domain != "d.example" {
			t.Errorf("%s: got domain %q", c.name, r.Domain)
		}
		if c.problem == "" && r.Err != nil || c.problem != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), c.problem)) {
			t.Errorf("%s: got error %v, want %q", c.name, r.Err, c.problem)
		}
	}
}

// TestIdentities: the domain and the sender that are checked (RFC 7208 §2.3, §2.4, §4.3, RFC 8616 §4).
func TestIdentities(t *testing.T) {
	long := strings.Repeat("a", 63)
	const lines = `
		x.example TXT v=spf1 exp=exp.x.example -all
		exp.x.example TXT %{s} %{l} %{o} %{h}
		xn--bcher-kva.example TXT v=spf1 exp=exp.x.example -all`
	for _, c := range []struct{ helo, mailFrom, domain, explanation string }{
		{"h.example", "user@x.example", "x.example", "user@x.example user x.example h.example"},
		{"h.example.", "user@X.Example.", "x.example", "user@x.example user x.example h.example"},
		{"x.example", "", "x.example", "postmaster@x.example postmaster x.example x.example"},
		{"x.example.", "", "x.example", "postmaster@x.example postmaster x.example x.example"},
		{"h.example", "@x.example", "x.example", "postmaster@x.example postmaster x.example h.example"},
		{"h.example", `"a@b c"@x.example`, "x.example", `"a@b c"@x.example "a@b c" x.example h.example`},
		{"h.example", "user@bücher.example", "xn--bcher-kva.example", "user@xn--bcher-kva.example user xn--bcher-kva.example h.example"},
		{"h.example", "user@BÜCHER.example", "xn--bcher-kva.example", "user@xn--bcher-kva.example user xn--bcher-kva.example h.example"},
		{"h.example", "üser@x.example", "x.example", ""}, // the explanation would not be ASCII
		{"bad\nhelo", "user@x.example", "x.example", ""},
		{"h.example", "user@" + long + ".example", long + ".example", "none"},

		{"[192.0.2.1]", "", "", "none"},
		{"h", "", "", "none"},
		{"", "", "", "none"},
		{"h..example", "", "", "none"},
		{"-", "", "", "none"},
		{"h.example", "user@[192.0.2.1]", "", "none"},
		{"h.example", "user@[IPv6:2001:db8::1]", "", "none"},
		{"h.example", "user", "", "none"},
		{"h.example", "user@", "", "none"},
		{"h.example", "user@localhost", "", "none"},
		{"h.example", "user@" + long + "a.example", "", "none"},
		{"h.example", "user@x.example..", "", "none"},
		{"h.example", "user@.x.example", "", "none"},
		{"h.example", "user@x\x00.example", "", "none"},
		{"h.example", "user@x\\.example", "", "none"},
		{"h.example", "user@\xff.example", "", "none"},
		{"h.example", "user@a\u2024.example", "", "none"},
		{"h.example", "user@" + strings.Repeat("a.", 126) + "ab", "", "none"},
	} {
		z := newZone(t, lines)
		r := z.check(t, "192.0.2.1", c.helo, c.mailFrom)
		want, explanation := Fail, c.explanation
		if explanation == "none" {
			want, explanation = None, ""
		}
		if r.Code != want || r.Domain != c.domain || r.Explanation != explanation || (r.Err != nil) != (want == None) {
			t.Errorf("%q %q: got %v, domain %q, %q; want %v, %q, %q", c.helo, c.mailFrom, r, r.Domain, r.Explanation,
				want, c.domain, explanation)
		}
		if c.domain == "" && len(z.asked) > 0 {
			t.Errorf("%q %q: asked for %q", c.helo, c.mailFrom, z.asked)
		}
	}
	c := &Checker{Resolver: newZone(t, lines)}
	if r := c.Check(t.Context(), netip.MustParseAddr(four), "h.example", ""); r.Code != None {
		t.Errorf("a domain without a record: got %v", r)
	}
	if r := c.Check(t.Context(), netip.Addr{}, "h.example", "user@x.example"); r.Code != None || r.Err == nil {
		t.Errorf("without an address: got %v", r)
	}
}

// TestExplanation has RFC 7208 §6.2.
func TestExplanation(t *testing.T) {
	for _, c := range []struct{ name, zone, want string }{
		{"all macros", "d.example TXT v=spf1 exp=%{l}.%{d} -all\nuser.d.example TXT %{c} %{r} 100%% %{i}: see http://%{d}/%{S}", "192.0.2.1 mx.example.org 100% 192.0.2.1: see http://d.example/user%40d.example"},
		{"no text", "d.example TXT v=spf1 exp=e.example -all", ""},
		{"the lookup fails", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT !", ""},
		{"two texts", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT one\ne.example TXT two", ""},
		{"a mistake", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT %{z}", ""},
		{"not ASCII", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT n\u00f6", ""},
		{"a tab", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT a\tb", ""},
		{"no name", "d.example TXT v=spf1 exp=.com -all", ""},
		{"500 octets", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT " + strings.Repeat("a", 500), strings.Repeat("a", 500)},
		{"501 octets", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT " + strings.Repeat("a", 501), ""},
		{"many macros", "d.example TXT v=spf1 exp=e.example -all\ne.example TXT " + strings.Repeat("%{s}", 10000), ""},
		{"a mechanism failed", "d.example TXT v=spf1 -ip4:192.0.2.1 +all exp=e.example\ne.example TXT no", "no"},
		{"that of an include", "d.example TXT v=spf1 -include:f.example exp=e.example\ne.example TXT outer\nf.example TXT v=spf1 +all exp=g.example\ng.example TXT inner", "outer"},
		{"that of a redirect", "d.example TXT v=spf1 redirect=f.example exp=e.example\ne.example TXT outer\nf.example TXT v=spf1 -all exp=g.%{d}\ng.f.example TXT inner of %{d}", "inner of f.example"},
		{"not that of who redirects", "d.example TXT v=spf1 redirect=f.example exp=e.example\ne.example TXT outer\nf.example TXT v=spf1 -all", ""},
	} {
		r := newZone(t, c.zone).check(t, "192.0.2.1", "h.example", "user@d.example")
		if r.Code != Fail || r.Explanation != c.want {
			t.Errorf("%s: got %v %q, want %q", c.name, r, r.Explanation, c.want)
		}
	}
	c := &Checker{Resolver: newZone(t, "d.example TXT v=spf1 exp=e.example -all\ne.example TXT %{r}")}
	if r := c.Check(t.Context(), netip.MustParseAddr(four), "", "user@d.example"); r.Explanation != "unknown" {
		t.Errorf("without a Hostname: got %q", r.Explanation)
	}
	z := newZone(t, "d.example TXT v=spf1 ~all exp=e.example\ne.example TXT no")
	if r := z.check(t, "192.0.2.1", "h.example", "user@d.example"); r.Explanation != "" || len(z.asked) != 1 {
		t.Errorf("a softfail got %q, asked for %q", r.Explanation, z.asked)
	}
}

// TestTime: the macro t is the time in seconds.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, "d.example TXT v=spf1 -all exp=e.example\ne.example TXT %{t}")
		// 2000-01-01, when a bubble begins.
		if r := z.check(t, "192.0.2.1", "h.example", "user@d.example"); r.Explanation != "946684800" {
			t.Errorf("got %q", r.Explanation)
		}
	})
}

// slow is a zone whose lookups of addresses never end.
type slow struct{ *zone }

func (s slow) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, &net.DNSError{UnwrapErr: ctx.Err(), Err: "timeout", Name: host, IsTimeout: true, IsTemporary: true}
}

// TestTimeout has RFC 7208 §4.6.4: 20 seconds, and then a temperror.
func TestTimeout(t *testing.T) {
	for _, c := range []struct{ timeout, ctx, want time.Duration }{
		{0, time.Hour, 20 * time.Second},
		{3 * time.Second, time.Hour, 3 * time.Second},
		{time.Hour, 2 * time.Second, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			checker := &Checker{Resolver: slow{newZone(t, "d.example TXT v=spf1 a a:a.example -all")}, Timeout: c.timeout}
			ctx, cancel := context.WithTimeout(t.Context(), c.ctx)
			defer cancel()
			begin := time.Now()
			r := checker.Check(ctx, netip.MustParseAddr(four), "h.example", "user@d.example")
			if r.Code != TempError || !errors.Is(r.Err, context.DeadlineExceeded) || time.Since(begin) != c.want {
				t.Errorf("got %v after %v, want a temperror after %v", r, time.Since(begin), c.want)
			}
		})
	}
}

func TestStrings(t *testing.T) {
	for want, r := range map[string]Result{
		"fail: d.example: -all":                    {Code: Fail, Domain: "d.example", Mechanism: "-all"},
		"neutral: d.example: no mechanism matched": {Code: Neutral, Domain: "d.example"},
		"none: d.example: no SPF record":           {Domain: "d.example", Err: errors.New("spf: d.example: no SPF record")},
		"unknown: d.example: x":                    {Code: 99, Domain: "d.example", Mechanism: "x"},
	} {
		if got := r.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for i, want := range strings.Fields("none neutral pass fail softfail temperror permerror") {
		if got := Code(i).String(); got != want {
			t.Errorf("%d: got %s, want %s", i, got, want)
		}
	}
}

// TestSpace: a label may have a space (RFC 7208 §7.1, "%_").
func TestSpace(t *testing.T) {
	z := newZone(t, "d.example TXT v=spf1 a:a%_b.example -all")
	z.add("a b.example", "A", four)
	if r := z.check(t, four, "h.example", "user@d.example"); r.Code != Pass {
		t.Errorf("got %v, asked for %q", r, z.asked)
	}
}

// TestFound: records beside an error count, and IsNotFound is no error.
func TestFound(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name    string
		records []string
		err     error
		n       int
		want    error
	}{
		{"records", []string{"a"}, nil, 1, nil},
		{"records beside an error", []string{"a"}, failed, 1, nil},
		{"nothing", nil, nil, 0, nil},
		{"not found", nil, &net.DNSError{IsNotFound: true}, 0, nil},
		{"an error", nil, failed, 0, failed},
	} {
		if records, err := found(c.records, c.err); len(records) != c.n || err != c.want {
			t.Errorf("%s: got %q, %v", c.name, records, err)
		}
	}
	if _, err := found[string](nil, &net.DNSError{IsTemporary: true}); err == nil {
		t.Error("a temporary error counts as nothing found")
	}
}
