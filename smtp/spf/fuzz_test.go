package spf

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// everywhere has the same records at each name. It has the text in place of the record below "exp".
type everywhere struct {
	t            *testing.T
	record, text string
	lookups      int
}

func (e *everywhere) asked(name string) error {
	if rooted, ok := strings.CutSuffix(name, "."); !ok || !isName(rooted) {
		e.t.Errorf("asked for %q", name)
	}
	e.lookups++
	if strings.Contains(name, "fail") {
		return &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	}
	if strings.Contains(name, "void") {
		return &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	}
	return nil
}

func (e *everywhere) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.HasPrefix(name, "exp.") {
		return []string{e.text}, e.asked(name)
	}
	return []string{"not SPF", e.record}, e.asked(name)
}

func (e *everywhere) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")}, e.asked(host)
}

func (e *everywhere) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return []*net.MX{{Host: "a." + name}, {Host: "."}, {Host: "b." + name}}, e.asked(name)
}

func (e *everywhere) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	e.lookups++
	return strings.SplitAfter(strings.Repeat("host.example. ", 30), " "), nil
}

// FuzzCheck evaluates a record that stands at every name, and an explanation.
func FuzzCheck(f *testing.F) {
	const text = "see http://%{d}/why?s=%{S}&i=%{i} %{c}%_%{r}%-%{h} %{p}"
	for _, seed := range []struct{ record, text, mailFrom, helo string }{
		{"v=spf1 a/24//64 mx:%{d2}/8 ptr include:%{ir}.%{v}.example exists:%{l1r-}.void.example -all exp=exp.%{p}.example", text, "a-b@x.example", "h.example"},
		{"v=spf1 redirect=%{d}.%{d}.%{d}.x.example", "", "@x.example", ""},
		{"v=spf1 ip4:192.0.2.1/33 ip6:::1/129", "", "", "h.example"},
		{"v=spf1 include:a.example redirect=b.example", "", "\"@\"@x.example.", "[192.0.2.1]"},
		{"v=spf1 -exists:%%%_%-.fail.example moo=%{O} ~all", text, "ü@bücher.example", "h"},
		{"V=SPF1 -ALL EXP=exp.%{H3R.-+,/_=}.example", "100%% %{L-}", "user@x.example", "a-b.example"},
		{"v=spf1 -all exp=exp.x.example", text, "user@x.example", "\x00"},
		{"v=spf1" + strings.Repeat(" mx", 11), "%{s", "user@x.example", "h.example"},
	} {
		f.Add(seed.record, seed.text, seed.mailFrom, seed.helo, false)
		f.Add(seed.record, seed.text, seed.mailFrom, seed.helo, true)
	}
	f.Fuzz(func(t *testing.T, record, text, mailFrom, helo string, six bool) {
		if len(record)+len(text)+len(mailFrom)+len(helo) > 4096 {
			return
		}
		ip := netip.MustParseAddr("192.0.2.1")
		if six {
			ip = netip.MustParseAddr("2001:db8::1")
		}
		zone := &everywhere{t: t, record: record, text: text}
		r := (&Checker{Resolver: zone}).Check(t.Context(), ip, helo, mailFrom)
		if zone.lookups > 123 || r.Lookups > maxLookups {
			t.Errorf("%d lookups for %d terms", zone.lookups, r.Lookups)
		}
		problem := r.Code == None || r.Code == TempError || r.Code == PermError
		if problem != (r.Err != nil) || r.Code > PermError {
			t.Errorf("got %v with error %v", r.Code, r.Err)
		}
		if r.Mechanism != "" && (problem || !strings.Contains(record, r.Mechanism)) {
			t.Errorf("got %v by mechanism %q", r.Code, r.Mechanism)
		}
		if r.Domain != "" && (!isName(r.Domain) || r.Domain != strings.ToLower(r.Domain)) {
			t.Errorf("got domain %q", r.Domain)
		}
		if len(r.Explanation) > maxExplanation || !isPrintable(r.Explanation) || r.Explanation != "" && r.Code != Fail {
			t.Errorf("got %v with explanation %q", r.Code, r.Explanation)
		}
		if text := r.String(); len(text) > 10000 || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("got text %q", text)
		}
	})
}
