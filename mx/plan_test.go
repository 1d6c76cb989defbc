package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// plan is a state of the DNS and of a Router, with the route of the mail.
type plan struct {
	name     string
	domain   string              // if empty, example.net
	mx       []*net.MX           // of the domain
	ip       map[string][]string // if nil, the domain and each host have 192.0.2.1
	cname    map[string]string
	err      map[string]error
	router   Router
	redirect *Route // of the domain
	want     string // see resolve
}

// TestPlan has DNS records only. TestPlanSelf and TestPlanRoutes have settings of the Router too.
func TestPlan(t *testing.T) {
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf("%d mx%02d.example.net.", i, i)
	}
	thousand := make([]string, 1000) // the best ones last
	for i := range thousand {
		thousand[i] = fmt.Sprintf("%d mx%d.example.net.", 1000-i, 999-i)
	}
	of := func(n int, format string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(format, i))
		}
		return list
	}
	checkPlans(t, []plan{
		{name: "one host", mx: records("10 mx.example.net."), want: "mx.example.net=192.0.2.1:25"},
		{name: "without trailing dot", mx: records("10 mx.example.net"), want: "mx.example.net=192.0.2.1:25"},
		{name: "upper case", domain: "EXAMPLE.Net", mx: records("10 MX.Example.NET."), want: "mx.example.net=192.0.2.1:25"},
		{name: "domain with trailing dot", domain: "example.net.", mx: records("10 mx.example.net."), want: "mx.example.net=192.0.2.1:25"},
		{name: "sorted", mx: records("20 c.test.", "5 b.test.", "10 a.test."), want: "b.test=192.0.2.1:25 a.test=192.0.2.1:25 c.test=192.0.2.1:25"},
		{name: "least and greatest preference", mx: records("65535 b.test.", "0 a.test."), want: "a.test=192.0.2.1:25 b.test=192.0.2.1:25"},
		{name: "a host twice keeps its better place", mx: records("20 a.test.", "5 A.test", "10 b.test."), want: "a.test=192.0.2.1:25 b.test=192.0.2.1:25"},
		{name: "a record twice", mx: records("5 a.test.", "5 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "other port", mx: records("10 a.test."), router: Router{Port: 2525}, want: "a.test=192.0.2.1:2525"},
		{name: "20 hosts at most", mx: records(many...), want: strings.Join(of(20, "mx%02d.example.net=192.0.2.1:25"), " ")},
		{name: "1,000 records", mx: records(thousand...), want: strings.Join(of(20, "mx%d.example.net=192.0.2.1:25"), " ")},

		// No MX record (RFC 5321 §5.1).
		{name: "implicit MX, A", ip: addrs("example.net 192.0.2.7"), want: "example.net=192.0.2.7:25"},
		{name: "implicit MX, AAAA", ip: addrs("example.net 2001:db8::7"), want: "example.net=[2001:db8::7]:25"},
		{name: "implicit MX, both", ip: addrs("example.net 2001:db8::7 192.0.2.7"), want: "example.net=[2001:db8::7]:25,192.0.2.7:25"},
		{name: "implicit MX, inside", ip: addrs("example.net 10.0.0.1"), want: "example.net=550 5.4.4"},
		{name: "implicit MX, a host without dots", domain: "localhost", ip: addrs("localhost 127.0.0.1 ::1"), want: "localhost=550 5.4.4"},
		{name: "no records and no error", err: failures{"MX example.net.": errNone}, want: "example.net=192.0.2.1:25"},
		{name: "no addresses and no error", ip: addrs(), err: failures{"IP example.net.": errNone}, want: "example.net=550 5.1.2"},
		{name: "no such domain, or no data", ip: addrs(), want: "example.net=550 5.1.2"},
		{name: "no MX, address fails", ip: addrs(), err: failures{"IP example.net.": servFail}, want: "example.net=451 4.4.3"},
		{name: "no MX, A fails beside no AAAA", ip: addrs("example.net 2001:db8::7"), err: failures{"IP example.net.": timeout}, want: "example.net=[2001:db8::7]:25"},

		// Failures.
		{name: "MX fails", err: failures{"MX example.net.": servFail}, want: "451 4.4.3"},
		{name: "MX times out", err: failures{"MX example.net.": timeout}, want: "451 4.4.3"},
		{name: "MX fails in another way", err: failures{"MX example.net.": errors.New("no network")}, want: "451 4.4.3"},
		{name: "MX and an error", mx: records("10 a.test."), err: failures{"MX example.net.": badNames}, want: "a.test=192.0.2.1:25"},
		{name: "no MX is left of bad ones", err: failures{"MX example.net.": badNames}, want: "451 4.4.3"},
		{name: "address fails", mx: records("10 a.test."), ip: addrs(), err: failures{"IP a.test.": servFail}, want: "a.test=451 4.4.3"},
		{name: "address times out", mx: records("10 a.test."), ip: addrs(), err: failures{"IP a.test.": timeout}, want: "a.test=451 4.4.3"},
		{name: "address of one of two fails", mx: records("10 a.test.", "20 b.test."), ip: addrs("b.test 192.0.2.2"), err: failures{"IP a.test.": servFail},
			want: "a.test=451 4.4.3 b.test=192.0.2.2:25"},
		{name: "address and an error", mx: records("10 a.test."), err: failures{"IP a.test.": servFail}, want: "a.test=192.0.2.1:25"},
		{name: "inside, and the rest not known", mx: records("10 a.test."), ip: addrs("a.test fd00::1"), err: failures{"IP a.test.": servFail}, want: "a.test=451 4.4.3"},
		{name: "MX without address", mx: records("10 a.test.", "20 b.test."), ip: addrs("b.test 192.0.2.2"), want: "a.test=451 4.4.4 b.test=192.0.2.2:25"},
		{name: "MX is the domain, without address", mx: records("10 example.net."), ip: addrs(), want: "example.net=451 4.4.4"},

		// RFC 7505.
		{name: "null MX", mx: records("0 ."), want: "556 5.1.10"},
		{name: "null MX of another preference", mx: records("10 ."), want: "556 5.1.10"},
		{name: "null MX as an empty host", mx: []*net.MX{{}}, want: "556 5.1.10"},
		{name: "null MX twice", mx: records("0 .", "10 ."), want: "556 5.1.10"},
		{name: "null MX and an error", mx: records("0 ."), err: failures{"MX example.net.": badNames}, want: "556 5.1.10"},
		{name: "null MX beside another", mx: records("0 .", "10 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "null MX beside a bad one", mx: records("0 .", "10 a..test."), want: "451 4.4.4"},

		// Aliases.
		{name: "CNAME at the domain", cname: map[string]string{"example.net.": "other.test."}, ip: addrs("other.test 192.0.2.8"), want: "example.net=192.0.2.8:25"},
		{name: "CNAME at the host", mx: records("10 a.test."), cname: map[string]string{"a.test.": "b.test.", "b.test.": "c.test."}, ip: addrs("c.test 192.0.2.8"), want: "a.test=192.0.2.8:25"},
		{name: "CNAME to nothing", mx: records("10 a.test."), cname: map[string]string{"a.test.": "b.test."}, ip: addrs(), want: "a.test=451 4.4.4"},
		{name: "CNAME loop at the domain", cname: map[string]string{"example.net.": "b.test.", "b.test.": "example.net."}, want: "451 4.4.3"},
		{name: "CNAME loop at one host", mx: records("10 a.test.", "20 c.test."), cname: map[string]string{"a.test.": "a.test."}, want: "a.test=451 4.4.3 c.test=192.0.2.1:25"},

		// Records without a valid host.
		{name: "nil record", mx: []*net.MX{nil, {Host: "a.test.", Pref: 1}}, want: "a.test=192.0.2.1:25"},
		{name: "MX is an address", mx: records("10 192.0.2.9.", "20 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "MX is only an address", mx: records("10 192.0.2.9"), want: "451 4.4.4"},
		{name: "MX is an address of IPv6", mx: records("10 2001:db8::9."), want: "451 4.4.4"},
		{name: "MX is a literal", mx: []*net.MX{{Host: "[192.0.2.9]"}}, want: "451 4.4.4"},
		{name: "MX is no name", mx: []*net.MX{{Host: "a b.test."}, {Host: "mx\r\nRSET.test."}}, want: "451 4.4.4"},
		{name: "MX with an empty label", mx: records("10 a..test.", "20 b.test."), want: "b.test=192.0.2.1:25"},
		{name: "MX with a long label", mx: records("10 "+strings.Repeat("a", 64)+".test.", "20 b.test."), want: "b.test=192.0.2.1:25"},
		{name: "MX too long", mx: records("10 "+strings.Repeat("abc.", 64)+"test.", "20 b.test."), want: "b.test=192.0.2.1:25"},
		{name: "MX is localhost", mx: records("10 localhost."), ip: addrs("localhost 127.0.0.1 ::1"), want: "localhost=550 5.4.4"},
		{name: "MX is one label", mx: records("10 mail."), ip: map[string][]string{"mail": {"10.0.0.7"}, "mail.": {"192.0.2.7"}}, want: "mail=192.0.2.7:25"},
		{name: "MX with underscore and hyphens", mx: records("10 a_b.ab--c.test."), want: "a_b.ab--c.test=192.0.2.1:25"},
		{name: "MX is a U-label", mx: records("10 mx.bücher.example."), ip: addrs("mx.xn--bcher-kva.example 192.0.2.6"), want: "mx.xn--bcher-kva.example=192.0.2.6:25"},
		{name: "MX is no A-label", mx: records("10 xn--a.test.", "20 b.test."), want: "b.test=192.0.2.1:25"},

		// Addresses.
		{name: "mapped addresses", ip: addrs("example.net ::ffff:192.0.2.7 192.0.2.7"), want: "example.net=192.0.2.7:25"},
		{name: "families in turn, 6 first", ip: addrs("example.net 2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.1 192.0.2.2"),
			want: "example.net=[2001:db8::1]:25,192.0.2.1:25,[2001:db8::2]:25,192.0.2.2:25,[2001:db8::3]:25"},
		{name: "families in turn, more of 4", ip: addrs("example.net 192.0.2.1 192.0.2.2 2001:db8::1"), want: "example.net=[2001:db8::1]:25,192.0.2.1:25,192.0.2.2:25"},
		{name: "mapped addresses, many", ip: map[string][]string{"example.net.": append(of(20, "::ffff:192.0.2.%d"), of(21, "192.0.2.%d")...)}, want: "example.net=" + strings.Join(of(21, "192.0.2.%d:25"), ",")},

		// One family of two.
		{name: "AAAA fails", ip: addrs("example.net 192.0.2.7"), err: failures{"AAAA example.net.": servFail}, want: "example.net=192.0.2.7:25"},
		{name: "AAAA times out", ip: addrs("example.net 192.0.2.7"), err: failures{"AAAA example.net.": timeout}, want: "example.net=192.0.2.7:25"},
		{name: "A fails", ip: addrs("example.net 2001:db8::7"), err: failures{"A example.net.": servFail}, want: "example.net=[2001:db8::7]:25"},
		{name: "no such name by AAAA", ip: addrs("example.net 192.0.2.7"), err: failures{"AAAA example.net.": noName}, want: "example.net=192.0.2.7:25"},
		{name: "AAAA fails, no A", ip: addrs(), err: failures{"AAAA example.net.": servFail}, want: "example.net=451 4.4.3"},
		{name: "A fails, no AAAA", ip: addrs(), err: failures{"A example.net.": servFail}, want: "example.net=451 4.4.3"},
		{name: "A fails, no such name by AAAA", ip: addrs(), err: failures{"A example.net.": servFail, "AAAA example.net.": noName}, want: "example.net=451 4.4.3"},
		{name: "AAAA fails, A leads inside", ip: addrs("example.net 10.0.0.7"), err: failures{"AAAA example.net.": servFail}, want: "example.net=451 4.4.3"},
		{name: "AAAA fails at one host", mx: records("10 a.test.", "20 b.test."), ip: addrs("a.test 192.0.2.1", "b.test 192.0.2.2"), err: failures{"AAAA a.test.": servFail},
			want: "a.test=192.0.2.1:25 b.test=192.0.2.2:25"},
		{name: "AAAA fails at a smarthost", router: Router{Routes: map[string]Route{"*": explicitly(Smarthost("mail.test:587"))}}, ip: addrs("mail.test 192.0.2.1"), err: failures{"AAAA mail.test.": servFail},
			want: "mail.test=192.0.2.1:587"},
		{name: "an AddrError of the hosts file", ip: addrs("example.net 192.0.2.7"), err: failures{"AAAA example.net.": &net.AddrError{Err: "no suitable address found"}}, want: "example.net=192.0.2.7:25"},

		// No such domain, told from no records.
		{name: "NXDOMAIN", ip: addrs("example.net 192.0.2.7"), err: failures{"MX example.net.": noName}, want: "550 5.1.2"},
		{name: "NXDOMAIN at one host", mx: records("10 a.test.", "20 b.test."), ip: addrs("b.test 192.0.2.2"), err: failures{"IP a.test.": noName}, want: "a.test=451 4.4.4 b.test=192.0.2.2:25"},
		{name: "64 addresses at most", ip: map[string][]string{"example.net.": of(100, "192.0.2.%d")}, want: "example.net=" + strings.Join(of(64, "192.0.2.%d:25"), ",")},
		{name: "1,000 addresses, and then another family", ip: map[string][]string{"example.net.": append(of(1000, "2001:db8::%x"), "192.0.2.1")},
			want: "example.net=[2001:db8::]:25,192.0.2.1:25," + strings.Join(of(63, "[2001:db8::%x]:25")[1:], ",")},
		{name: "1,000 inner addresses, and then another", ip: map[string][]string{"example.net.": append(of(1000, "fd00::%x"), "192.0.2.1")}, want: "example.net=192.0.2.1:25"},
		{name: "inner addresses among others", mx: records("10 a.test."), ip: addrs("a.test 127.0.0.1 10.1.2.3 192.0.2.1 ::1 2001:db8::1"), want: "a.test=[2001:db8::1]:25,192.0.2.1:25"},
		{name: "inner addresses only", mx: records("10 a.test."), ip: addrs("a.test 127.0.0.1 ::ffff:10.1.2.3"), want: "a.test=550 5.4.4"},
		{name: "inner host beside another", mx: records("10 a.test.", "20 b.test."), ip: addrs("a.test 127.0.0.1", "b.test 192.0.2.2"), want: "a.test=550 5.4.4 b.test=192.0.2.2:25"},
		{name: "this network, and the unspecified address", ip: addrs("example.net 0.0.0.0 :: 0.1.2.3"), want: "example.net=550 5.4.4"},
		{name: "link-local", ip: addrs("example.net fe80::1 169.254.169.254"), want: "example.net=550 5.4.4"},
		{name: "multicast and broadcast", ip: addrs("example.net ff02::1 224.0.0.1 255.255.255.255"), want: "example.net=550 5.4.4"},
		{name: "shared by a provider's customers", ip: addrs("example.net 100.64.0.1 100.128.0.1"), want: "example.net=100.128.0.1:25"},
		{name: "NAT64 and 6to4 lead inside", ip: addrs("example.net 64:ff9b::10.0.0.1 2002:a00:1::1 64:ff9b:1::1"), want: "example.net=550 5.4.4"},
		{name: "NAT64 and 6to4 lead outside", ip: addrs("example.net 64:ff9b::192.0.2.1 2002:c000:201::1"), want: "example.net=[64:ff9b::c000:201]:25,[2002:c000:201::1]:25"},
		{name: "inner addresses allowed", mx: records("10 a.test."), ip: addrs("a.test 127.0.0.1 fe80::1"), router: Router{AllowPrivate: true}, want: "a.test=[fe80::1]:25,127.0.0.1:25"},

		// The domain.
		{name: "literal", domain: "[192.0.2.9]", want: "192.0.2.9=192.0.2.9:25"},
		{name: "literal of IPv6", domain: "[IPv6:2001:DB8::9]", want: "2001:db8::9=[2001:db8::9]:25"},
		{name: "literal leads inside", domain: "[127.0.0.1]", want: "127.0.0.1=550 5.4.4"},
		{name: "literal leads inside, IPv6", domain: "[IPv6:fd00::1]", want: "fd00::1=550 5.4.4"},
		{name: "literal leads inside as a mapped one", domain: "[IPv6:::ffff:127.0.0.1]", want: "127.0.0.1=550 5.4.4"},
		{name: "literal leads inside, allowed", domain: "[127.0.0.1]", router: Router{AllowPrivate: true}, want: "127.0.0.1=127.0.0.1:25"},
		{name: "literal without its tag", domain: "[2001:db8::9]", want: "550 5.1.2"},
		{name: "literal with a zone", domain: "[IPv6:fe80::1%lo]", want: "550 5.1.2"},
		{name: "address without brackets", domain: "192.0.2.9", want: "550 5.1.2"},
		{name: "no domain", domain: " ", want: "550 5.1.2"},
		{name: "no domain at all", domain: "\x00", want: "550 5.1.2"},
		{name: "empty label", domain: "example..net", want: "550 5.1.2"},
		{name: "label too long", domain: strings.Repeat("a", 64) + ".test", want: "550 5.1.2"},
		{name: "longest label", domain: strings.Repeat("a", 63) + ".test", want: strings.Repeat("a", 63) + ".test=192.0.2.1:25"},
		{name: "too long", domain: strings.Repeat("abc.", 63) + "ab", want: "550 5.1.2"},
		{name: "a_b", domain: "a_b.test", want: "a_b.test=192.0.2.1:25"},
		{name: "ab--c", domain: "ab--c.test", want: "ab--c.test=192.0.2.1:25"},
		{name: "U-label", domain: "bücher.example", mx: records("1 mx.xn--bcher-kva.example."), want: "mx.xn--bcher-kva.example=192.0.2.1:25"},
		{name: "U-label in mixed case", domain: "BÜcher.Example", mx: records("1 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "A-label in mixed case", domain: "XN--Bcher-KVA.example", mx: records("1 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "U-label, ideographic dot", domain: "bücher。example", want: "xn--bcher-kva.example=192.0.2.1:25"},
		{name: "sharp s stays one", domain: "straße.example", want: "xn--strae-oqa.example=192.0.2.1:25"},
		{name: "emoji", domain: "i❤.example", want: "xn--i-7iq.example=192.0.2.1:25"},
		{name: "no A-label", domain: "xn--a.example", want: "550 5.1.2"},
		{name: "no UTF-8", domain: "b\xfccher.example", want: "550 5.1.2"},
		{name: "at sign by another name", domain: "a＠b.example", want: "550 5.1.2"},
	})
}

// TestPlanSelf: RFC 5321 §5.1, if we are among the hosts.
func TestPlanSelf(t *testing.T) {
	self := func() Router { return Router{Self: []string{"SELF.test.", "bücher.example", "[192.0.2.99]"}} }
	at := func() Router { return Router{SelfAddrs: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.66")}} }
	hosts := addrs("a.test 192.0.2.1", "b.test 192.0.2.2", "c.test 192.0.2.3", "us.test 2001:db8::66 192.0.2.66")
	checkPlans(t, []plan{
		{name: "by name, best", mx: records("10 self.test.", "20 b.test."), router: self(), want: "554 5.4.6"},
		{name: "by name, equal", mx: records("10 self.test.", "10 b.test."), router: self(), want: "554 5.4.6"},
		{name: "by name, middle", mx: records("10 a.test.", "20 self.test.", "20 b.test.", "30 c.test."), router: self(), want: "a.test=192.0.2.1:25"},
		{name: "by name, last", mx: records("10 a.test.", "20 Self.Test"), router: self(), want: "a.test=192.0.2.1:25"},
		{name: "by name, twice", mx: records("10 a.test.", "20 self.test.", "5 self.test."), router: self(), want: "554 5.4.6"},
		{name: "by name, U-label", mx: records("10 xn--bcher-kva.example.", "20 b.test."), router: self(), want: "554 5.4.6"},
		{name: "by name, implicit", domain: "SELF.test", router: self(), want: "554 5.4.6"},
		{name: "by name, below it", domain: "sub.self.test", router: self(), want: "sub.self.test=192.0.2.1:25"},
		{name: "by name, literal", domain: "[192.0.2.99]", router: self(), want: "192.0.2.99=554 5.4.6"},
		{name: "by address, best", mx: records("10 us.test.", "20 b.test."), ip: hosts, router: at(), want: "us.test=554 5.4.6"},
		{name: "by address, middle", mx: records("10 a.test.", "20 us.test.", "30 c.test."), ip: hosts, router: at(), want: "a.test=192.0.2.1:25 us.test=451 4.4.6"},
		{name: "by address, last", mx: records("10 a.test.", "20 us.test."), ip: hosts, router: at(), want: "a.test=192.0.2.1:25 us.test=451 4.4.6"},
		{name: "by address, implicit", ip: addrs("example.net 192.0.2.66"), router: at(), want: "example.net=554 5.4.6"},
		{name: "by address, literal", domain: "[192.0.2.66]", router: at(), want: "192.0.2.66=554 5.4.6"},
		{name: "by address, behind a CNAME", mx: records("10 a.test."), cname: map[string]string{"a.test.": "us.test."}, ip: hosts, router: at(), want: "a.test=554 5.4.6"},
		{name: "by address, mapped", ip: addrs("example.net ::ffff:192.0.2.66"), router: at(), want: "example.net=554 5.4.6"},
		{name: "by address, behind 100 others", ip: map[string][]string{"example.net.": append(strings.Fields(strings.Repeat("2001:db8::1 ", 100)), "192.0.2.66")}, router: at(), want: "example.net=554 5.4.6"},
		{name: "by an inner address", mx: records("10 us.test.", "20 b.test."), ip: addrs("us.test 10.0.0.66 192.0.2.5", "b.test 192.0.2.2"),
			router: Router{SelfAddrs: []netip.Addr{netip.MustParseAddr("10.0.0.66")}}, want: "us.test=554 5.4.6"},
		{name: "a lookup fails above us", mx: records("10 a.test.", "20 us.test.", "30 b.test."), ip: hosts, err: failures{"IP a.test.": servFail}, router: at(),
			want: "a.test=192.0.2.1:25 us.test=451 4.4.6"},
		{name: "explicit", domain: "self.test", router: Router{Self: []string{"self.test"}, SelfAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Routes: map[string]Route{"*": explicitly(Smarthost("self.test:25"))}},
			ip: addrs("self.test 192.0.2.1"), want: "self.test=192.0.2.1:25"},
		{name: "port beyond", router: Router{Port: 65536}, want: "451 4.3.5"},
		{name: "port below", router: Router{Port: -1}, want: "451 4.3.5"},
		{name: "own name is no name", router: Router{Self: []string{"a b"}}, want: "451 4.3.5"},
	})
}

// TestPlanRoutes has explicit routes.
func TestPlanRoutes(t *testing.T) {
	smarthost := explicitly(Smarthost("relay.example.org:587", "192.168.1.1:2525"))
	neighbour := explicitly(Smarthost("mail:1025"))
	refuse := explicitly(Refuse(smtp.NewReply(550, "5.1.1", "no such user")))
	later := explicitly(Refuse(smtp.NewReply(451, "4.3.0", "moving house")))
	deliver := func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil }
	all := func(r Route) Router { return Router{Routes: map[string]Route{"*": r}} }
	const relay = "relay.example.org=192.0.2.1:587 192.168.1.1=192.168.1.1:2525"
	checkPlans(t, []plan{
		{name: "for all", router: all(smarthost), mx: records("0 ."), want: relay},
		{name: "for the domain", router: Router{Routes: map[string]Route{"EXAMPLE.net.": smarthost}}, want: relay},
		{name: "for a U-label", domain: "xn--bcher-kva.example", router: Router{Routes: map[string]Route{"Bücher.example": smarthost}}, want: relay},
		{name: "for a domain, before that for all", router: Router{Routes: map[string]Route{"*": neighbour, "example.net": smarthost}}, want: relay},
		{name: "for another domain", router: Router{Routes: map[string]Route{"example.org": smarthost}}, want: "example.net=192.0.2.1:25"},
		{name: "for what is below", router: Router{Routes: map[string]Route{"sub.example.net": smarthost}}, want: "example.net=192.0.2.1:25"},
		{name: "for what is above", domain: "sub.example.net", router: Router{Routes: map[string]Route{"example.net": smarthost}}, want: "sub.example.net=192.0.2.1:25"},
		{name: "for a literal", domain: "[192.0.2.9]", router: Router{Routes: map[string]Route{"[192.0.2.9]": smarthost}}, want: relay},
		{name: "leads inside", router: all(smarthost), ip: addrs("relay.example.org ::ffff:127.0.0.1"), want: "relay.example.org=127.0.0.1:587 192.168.1.1=192.168.1.1:2525"},
		{name: "without address", router: all(smarthost), ip: addrs(), want: "relay.example.org=451 4.4.4 192.168.1.1=192.168.1.1:2525"},
		{name: "address fails", router: all(smarthost), ip: addrs(), err: failures{"IP relay.example.org.": servFail}, want: "relay.example.org=451 4.4.3 192.168.1.1=192.168.1.1:2525"},
		{name: "single label", router: all(neighbour), ip: map[string][]string{"mail": {"10.0.0.7"}}, want: "mail=10.0.0.7:1025"},
		{name: "LMTP", router: all(explicitly(LMTP("127.0.0.1:24"))), want: "127.0.0.1=127.0.0.1:24"},
		{name: "LMTP by a socket", router: all(explicitly(LMTP("/run/lmtp"))), want: "/run/lmtp="},
		{name: "discard", router: all(Discard()), want: "to discard"},
		{name: "func", router: all(Func("archive", deliver)), want: "to func:archive"},
		{name: "refuse", router: all(refuse), want: "550 5.1.1"},
		{name: "refuse for now", router: all(later), want: "451 4.3.0"},
		{name: "refuse what is impossible anyway", domain: "a..b", router: all(refuse), want: "550 5.1.2"},
		{name: "redirected", mx: records("10 a.test."), redirect: &smarthost, want: relay},
		{name: "redirected from a route", router: Router{Routes: map[string]Route{"example.net": refuse}}, redirect: &smarthost, want: relay},
		{name: "redirected to be refused", mx: records("10 a.test."), redirect: &later, want: "451 4.3.0"},
		{name: "one stands twice", router: Router{Routes: map[string]Route{"a.test": smarthost, "A.test": smarthost}}, want: "451 4.3.5"},
		{name: "one of no domain", router: Router{Routes: map[string]Route{"a b": smarthost}}, want: "451 4.3.5"},
		{name: "without hosts", router: all(Route{Name: "x"}), want: "451 4.3.5"},
		{name: "without a func", router: all(Func("x", nil)), want: "451 4.3.5"},
		{name: "without a name", router: all(Route{Sender: smtp.SenderFunc(deliver)}), want: "451 4.3.5"},
		{name: "hosts and a Sender", router: all(Route{Name: "x", Hosts: smarthost.Hosts, Sender: smtp.SenderFunc(deliver)}), want: "451 4.3.5"},
	})
}

func checkPlans(t *testing.T, plans []plan) {
	t.Helper()
	for i := range plans {
		p := &plans[i]
		t.Run(p.name, func(t *testing.T) {
			if p.domain == "" {
				p.domain = "example.net"
			}
			key, _ := smtp.ASCIIDomain(p.domain)
			z := &zone{mx: map[string][]*net.MX{key + ".": p.mx}, ip: p.ip, cname: p.cname, err: p.err}
			if z.ip == nil {
				z.ip = map[string][]string{key + ".": {"192.0.2.1"}, "relay.example.org.": {"192.0.2.1"}}
				for _, m := range p.mx {
					if m != nil {
						z.ip[strings.ToLower(strings.TrimSuffix(m.Host, "."))+"."] = []string{"192.0.2.1"}
					}
				}
			}
			p.router.Resolver = z
			if p.redirect != nil {
				if err := p.router.Redirect(p.domain, p.redirect); err != nil {
					t.Fatal(err)
				}
			}
			if got := resolve(t.Context(), &p.router, p.domain); got != p.want {
				t.Errorf("got %s, want %s", got, p.want)
			}
			for _, q := range z.asked {
				// Without the dot, a search list could change the name.
				if !strings.HasSuffix(q, ".") && q != "IP mail" {
					t.Errorf("asked %q without a trailing dot", q)
				}
			}
		})
	}
}
