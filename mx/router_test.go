package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// zone is a Resolver over what it holds, by name with the trailing dot.
type zone struct {
	mx  map[string][]*net.MX
	ip  map[string][]string
	err map[string]error // "MX example.net." or "IP mx.example.net.": comes along with the records

	asked []string
}

var (
	notFound = &net.DNSError{Err: "no such host", IsNotFound: true}
	servFail = &net.DNSError{Err: "server misbehaving", Server: "10.0.0.53:53", IsTemporary: true}
	timeout  = &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	errNone  = errors.New("none")
	badNames = &net.DNSError{Err: "DNS response contained records which contain invalid names"}
)

func (z *zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	z.asked = append(z.asked, "MX "+name)
	records, err := z.mx[name], z.err["MX "+name]
	if len(records) == 0 && err == nil {
		err = notFound
	}
	if err == errNone {
		err = nil
	}
	return records, err
}

func (z *zone) LookupNetIP(_ context.Context, network, name string) ([]netip.Addr, error) {
	z.asked = append(z.asked, "IP "+name)
	if network != "ip" {
		return nil, fmt.Errorf("network %q", network)
	}
	var ips []netip.Addr
	for _, ip := range z.ip[name] {
		ips = append(ips, netip.MustParseAddr(ip))
	}
	err := z.err["IP "+name]
	if len(ips) == 0 && err == nil {
		err = notFound
	}
	if err == errNone {
		err = nil
	}
	return ips, err
}

// records makes MX records of "preference host" strings.
func records(list ...string) []*net.MX {
	var out []*net.MX
	for _, s := range list {
		m := &net.MX{}
		fmt.Sscanf(s, "%d %s", &m.Pref, &m.Host)
		out = append(out, m)
	}
	return out
}

// resolve asks everything about a domain: "host=addr,addr host=error".
func resolve(ctx context.Context, r *Router, domain string) string {
	route, err := r.Route(ctx, domain)
	if err != nil {
		return reply(err)
	}
	var out []string
	for _, host := range route.Hosts {
		addrs, err := r.Addrs(ctx, route, host)
		if err != nil {
			out = append(out, host.Name+"="+reply(err))
			continue
		}
		var list []string
		for _, a := range addrs {
			list = append(list, a.String())
		}
		out = append(out, host.Name+"="+strings.Join(list, ","))
	}
	return strings.Join(out, " ")
}

func reply(err error) string {
	r, ok := errors.AsType[*smtp.Reply](err)
	if !ok {
		return "no reply in: " + err.Error()
	}
	return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
}

func TestRouter(t *testing.T) {
	many := make([]string, 30)
	manyIPs := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("%d mx%02d.example.net.", i, i)
	}
	for i := range manyIPs {
		manyIPs[i] = fmt.Sprintf("192.0.2.%d", i)
	}
	neighbour, err := Smarthost("mail:1025")
	if err != nil {
		t.Fatal(err)
	}
	smarthost, err := Smarthost("relay.example.org:587", "192.168.1.1:2525")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		domain string // if empty, example.net
		mx     []*net.MX
		ip     map[string][]string // if nil, every host has 192.0.2.1
		err    map[string]error
		router Router
		want   string
	}{
		{name: "one host", mx: records("10 mx.example.net."), want: "mx.example.net=192.0.2.1:25"},
		{name: "without trailing dot", mx: records("10 mx.example.net"), want: "mx.example.net=192.0.2.1:25"},
		{name: "upper case", domain: "EXAMPLE.Net", mx: records("10 MX.Example.NET."), want: "mx.example.net=192.0.2.1:25"},
		{name: "domain with trailing dot", domain: "example.net.", mx: records("10 mx.example.net."), want: "mx.example.net=192.0.2.1:25"},
		{name: "sorted", mx: records("20 c.test.", "5 b.test.", "10 a.test."), want: "b.test=192.0.2.1:25 a.test=192.0.2.1:25 c.test=192.0.2.1:25"},
		{name: "a host twice keeps its better place", mx: records("20 a.test.", "5 a.test.", "10 b.test."), want: "a.test=192.0.2.1:25 b.test=192.0.2.1:25"},
		{name: "other port", mx: records("10 a.test."), router: Router{Port: 2525}, want: "a.test=192.0.2.1:2525"},
		{name: "implicit MX", want: "example.net=192.0.2.1:25"},
		{name: "no records and no error", err: map[string]error{"MX example.net.": errNone}, want: "example.net=192.0.2.1:25"},
		{name: "no addresses and no error", ip: map[string][]string{}, err: map[string]error{"IP example.net.": errNone}, want: "example.net=550 5.1.2"},
		{name: "no such domain", ip: map[string][]string{}, want: "example.net=550 5.1.2"},
		{name: "no MX, address fails", ip: map[string][]string{}, err: map[string]error{"IP example.net.": servFail}, want: "example.net=451 4.4.3"},
		{name: "MX fails", err: map[string]error{"MX example.net.": servFail}, want: "451 4.4.3"},
		{name: "MX times out", err: map[string]error{"MX example.net.": timeout}, want: "451 4.4.3"},
		{name: "MX fails in another way", err: map[string]error{"MX example.net.": errors.New("no network")}, want: "451 4.4.3"},
		{name: "MX and an error", mx: records("10 a.test."), err: map[string]error{"MX example.net.": badNames}, want: "a.test=192.0.2.1:25"},
		{name: "no MX is left of bad ones", err: map[string]error{"MX example.net.": badNames}, want: "451 4.4.3"},
		{name: "null MX", mx: records("0 ."), want: "556 5.1.10"},
		{name: "null MX of another preference", mx: records("10 ."), want: "556 5.1.10"},
		{name: "null MX as an empty host", mx: []*net.MX{{}}, want: "556 5.1.10"},
		{name: "null MX and an error", mx: records("0 ."), err: map[string]error{"MX example.net.": badNames}, want: "556 5.1.10"},
		{name: "null MX beside another", mx: records("0 .", "10 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "nil record", mx: []*net.MX{nil, {Host: "a.test.", Pref: 1}}, want: "a.test=192.0.2.1:25"},
		{name: "MX is an address", mx: records("10 192.0.2.9.", "20 a.test."), want: "a.test=192.0.2.1:25"},
		{name: "MX is only an address", mx: records("10 192.0.2.9"), want: "451 4.4.4"},
		{name: "MX is a literal", mx: []*net.MX{{Host: "[192.0.2.9]"}}, want: "451 4.4.4"},
		{name: "MX is no name", mx: []*net.MX{{Host: "a b.test."}, {Host: "mx\r\nRSET.test."}}, want: "451 4.4.4"},
		{name: "MX with underscore and hyphens", mx: records("10 a_b.ab--c.test."), want: "a_b.ab--c.test=192.0.2.1:25"},
		{name: "MX without address", mx: records("10 a.test.", "20 b.test."), ip: map[string][]string{"b.test.": {"192.0.2.2"}}, want: "a.test=451 4.4.4 b.test=192.0.2.2:25"},
		{name: "MX is the domain, without address", mx: records("10 example.net."), ip: map[string][]string{}, want: "example.net=451 4.4.4"},
		{name: "address fails", mx: records("10 a.test."), ip: map[string][]string{}, err: map[string]error{"IP a.test.": timeout}, want: "a.test=451 4.4.3"},
		{name: "address and an error", mx: records("10 a.test."), err: map[string]error{"IP a.test.": servFail}, want: "a.test=192.0.2.1:25"},
		{name: "mapped addresses", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"::ffff:192.0.2.7", "192.0.2.7"}}, want: "a.test=192.0.2.7:25"},
		{name: "families in turn, 6 first", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"}},
			want: "a.test=[2001:db8::1]:25,192.0.2.1:25,[2001:db8::2]:25,192.0.2.2:25,[2001:db8::3]:25"},
		{name: "families in turn, 4 first", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"192.0.2.1", "192.0.2.2", "2001:db8::1"}},
			want: "a.test=192.0.2.1:25,[2001:db8::1]:25,192.0.2.2:25"},
		{name: "20 hosts at most", mx: records(many...), want: func() string {
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprintf("mx%02d.example.net=192.0.2.1:25", i))
			}
			return strings.Join(want, " ")
		}()},
		{name: "64 addresses at most", ip: map[string][]string{"example.net.": manyIPs}, want: func() string {
			var want []string
			for i := range 64 {
				want = append(want, fmt.Sprintf("192.0.2.%d:25", i))
			}
			return "example.net=" + strings.Join(want, ",")
		}()},
		{name: "own host", mx: records("10 a.test.", "20 self.test.", "20 b.test.", "30 c.test."), router: Router{Self: []string{"SELF.test"}}, want: "a.test=192.0.2.1:25"},
		{name: "own host is best", mx: records("10 self.test.", "20 b.test."), router: Router{Self: []string{"self.test"}}, want: "554 5.4.6"},
		{name: "own host by implicit MX", router: Router{Self: []string{"example.net"}}, want: "554 5.4.6"},
		{name: "inner addresses", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"127.0.0.1", "10.1.2.3", "192.0.2.1", "::1"}}, want: "a.test=192.0.2.1:25"},
		{name: "inner addresses only", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"127.0.0.1", "::ffff:10.1.2.3"}}, want: "a.test=550 5.4.4"},
		{name: "inner addresses allowed", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"127.0.0.1"}}, router: Router{AllowPrivate: true}, want: "a.test=127.0.0.1:25"},
		{name: "literal", domain: "[192.0.2.9]", want: "192.0.2.9=192.0.2.9:25"},
		{name: "literal of IPv6", domain: "[IPv6:2001:DB8::9]", want: "2001:db8::9=[2001:db8::9]:25"},
		{name: "literal leads inside", domain: "[127.0.0.1]", want: "127.0.0.1=550 5.4.4"},
		{name: "literal leads inside as a mapped one", domain: "[IPv6:::ffff:127.0.0.1]", want: "127.0.0.1=550 5.4.4"},
		{name: "literal without its tag", domain: "[2001:db8::9]", want: "550 5.1.2"},
		{name: "literal with a zone", domain: "[IPv6:fe80::1%lo]", want: "550 5.1.2"},
		{name: "address without brackets", domain: "192.0.2.9", want: "550 5.1.2"},
		{name: "no domain", domain: " ", want: "550 5.1.2"},
		{name: "no domain at all", domain: "\x00", want: "550 5.1.2"},
		{name: "label too long", domain: strings.Repeat("a", 64) + ".test", want: "550 5.1.2"},
		{name: "inside, and the rest not known", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"fd00::1"}},
			err: map[string]error{"IP a.test.": servFail}, want: "a.test=451 4.4.3"},
		{name: "outside, and the rest not known", mx: records("10 a.test."), ip: map[string][]string{"a.test.": {"2001:db8:1::1"}},
			err: map[string]error{"IP a.test.": servFail}, want: "a.test=[2001:db8:1::1]:25"},
		{name: "explicit for all", router: Router{Routes: map[string]Route{"*": smarthost}}, mx: records("0 ."), want: "relay.example.org=192.0.2.1:587 192.168.1.1=192.168.1.1:2525"},
		{name: "explicit for the domain", router: Router{Routes: map[string]Route{"EXAMPLE.net": smarthost}}, want: "relay.example.org=192.0.2.1:587 192.168.1.1=192.168.1.1:2525"},
		{name: "explicit for another domain", router: Router{Routes: map[string]Route{"example.org": smarthost}}, want: "example.net=192.0.2.1:25"},
		{name: "explicit leads inside", router: Router{Routes: map[string]Route{"*": smarthost}}, ip: map[string][]string{"relay.example.org.": {"::ffff:127.0.0.1"}},
			want: "relay.example.org=127.0.0.1:587 192.168.1.1=192.168.1.1:2525"},
		{name: "explicit single label", router: Router{Routes: map[string]Route{"*": neighbour}}, ip: map[string][]string{"mail": {"10.0.0.7"}}, want: "mail=10.0.0.7:1025"},
		{name: "single label from the DNS", mx: records("10 mail."), ip: map[string][]string{"mail": {"10.0.0.7"}, "mail.": {"192.0.2.7"}}, want: "mail=192.0.2.7:25"},
		{name: "explicit without address", router: Router{Routes: map[string]Route{"*": smarthost}}, ip: map[string][]string{},
			want: "relay.example.org=451 4.4.4 192.168.1.1=192.168.1.1:2525"},
		{name: "explicit route twice", router: Router{Routes: map[string]Route{"a.test": smarthost, "A.test": smarthost}}, want: "451 4.3.5"},
		{name: "explicit route of no domain", router: Router{Routes: map[string]Route{"a b": smarthost}}, want: "451 4.3.5"},
		{name: "explicit route without hosts", router: Router{Routes: map[string]Route{"*": {Name: "x"}}}, want: "451 4.3.5"},
		{name: "own name is no name", router: Router{Self: []string{"a b"}}, want: "451 4.3.5"},
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.name, func(t *testing.T) {
			domain := test.domain
			if domain == "" {
				domain = "example.net"
			}
			z := &zone{mx: map[string][]*net.MX{"example.net.": test.mx}, ip: test.ip, err: test.err}
			if test.ip == nil {
				z.ip = make(map[string][]string)
				for _, name := range append(strings.Fields("example.net. relay.example.org. a_b.ab--c.test."), hostsOf(test.mx)...) {
					z.ip[name] = []string{"192.0.2.1"}
				}
			}
			test.router.Resolver = z
			if got := resolve(t.Context(), &test.router, domain); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			for _, q := range z.asked {
				if !strings.HasSuffix(q, ".") && q != "IP mail" {
					t.Errorf("asked %q without a trailing dot", q)
				}
			}
		})
	}
}

func hostsOf(records []*net.MX) []string {
	var names []string
	for _, m := range records {
		if m != nil {
			names = append(names, strings.ToLower(strings.TrimSuffix(m.Host, "."))+".")
		}
	}
	return names
}

func TestRouterIDNA(t *testing.T) {
	z := &zone{mx: map[string][]*net.MX{"xn--bcher-kva.example.": records("1 mx.xn--bcher-kva.example.")},
		ip: map[string][]string{"mx.xn--bcher-kva.example.": {"192.0.2.1"}}}
	r := &Router{Resolver: z}
	want := "mx.xn--bcher-kva.example=192.0.2.1:25"
	for _, domain := range []string{"bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "bücher。example"} {
		if got := resolve(t.Context(), r, domain); got != want {
			t.Errorf("%s: got %s, want %s", domain, got, want)
		}
	}
}

// TestRouterCauses: the reply is for the sender, and the resolver's own error for us.
func TestRouterCauses(t *testing.T) {
	r := &Router{Resolver: &zone{err: map[string]error{"MX example.net.": servFail}}}
	_, err := r.Route(t.Context(), "example.net")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || dns != servFail {
		t.Errorf("got %v, want the error of the resolver in it", err)
	}
	reply, _ := errors.AsType[*smtp.Reply](err)
	if want := "cannot look up the MX of example.net: server misbehaving"; reply == nil || reply.Text != want {
		t.Errorf("got %v, want %q", reply, want)
	}
}

func TestRouterShuffles(t *testing.T) {
	z := &zone{mx: map[string][]*net.MX{"example.net.": records("10 a.test.", "10 b.test.", "10 c.test.", "5 z.test.")}}
	r := &Router{Resolver: z}
	seen := make(map[string]int)
	for range 600 {
		route, err := r.Route(t.Context(), "example.net")
		if err != nil {
			t.Fatal(err)
		}
		if route.Hosts[0].Name != "z.test" {
			t.Fatalf("first: got %s, want z.test", route.Hosts[0].Name)
		}
		seen[fmt.Sprint(route.Hosts[1:])]++
	}
	if len(seen) != 6 {
		t.Errorf("got %d orders of three equal hosts, want 6: %v", len(seen), seen)
	}
}

type silent struct{}

func (silent) LookupMX(ctx context.Context, _ string) ([]*net.MX, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRouterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Router{Resolver: silent{}}
		start := time.Now()
		_, err := r.Route(t.Context(), "example.net")
		if reply(err) != "451 4.4.3" || time.Since(start) != time.Minute {
			t.Errorf("got %v after %v, want 451 4.4.3 after 1m", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = r.Addrs(ctx, Route{MX: true}, Host{Name: "a.test", Port: 25})
		if reply(err) != "451 4.4.3" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want 451 4.4.3 and the end of ctx", err)
		}
	})
}

func TestParseRoute(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"host", "relay.test:25", "smarthost:relay.test:25"},
		{"hosts", "a.test:25,b.test:26", "smarthost:a.test:25,b.test:26"},
		{"LMTP", "lmtp:127.0.0.1:24", "lmtp:127.0.0.1:24"},
		{"LMTP socket", "lmtp:/run/lmtp", "lmtp:/run/lmtp"},
		{"nothing", "", ""},
		{"no port", "relay.test", ""},
		{"LMTP without address", "lmtp:", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRoute(tt.in)
			if got.Name != tt.want || (err != nil) != (tt.want == "") || err == nil && got.LMTP != strings.HasPrefix(tt.want, "lmtp:") {
				t.Errorf("got %+v, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestNameServer(t *testing.T) {
	if _, err := NameServer("192.0.2.1"); err == nil {
		t.Error("got no error for an address without a port")
	}
	r, err := NameServer("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.Dial(t.Context(), "udp", "192.0.2.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != "127.0.0.1:1" {
		t.Errorf("got a connection to %s, want 127.0.0.1:1", got)
	}
}

func TestDestination(t *testing.T) {
	relay, _ := Smarthost("relay.example.org:25")
	boxes, _ := LMTP("/run/lmtp")
	explicit := map[string]Route{"*": relay, "bücher.example": boxes, "[192.0.2.1]": boxes}
	tests := []struct {
		name, domain string
		routes       map[string]Route
		want         string
	}{
		{name: "A-label", domain: "BÜCHER.example.", want: "xn--bcher-kva.example"},
		{name: "literal", domain: "[IPv6:2001:DB8::1]", want: "[ipv6:2001:db8::1]"},
		{name: "impossible", domain: "a..b", want: "550 5.1.2"},
		{name: "none", domain: "", want: "550 5.1.3"},
		{name: "explicit", domain: "xn--bcher-kva.example", routes: explicit, want: "lmtp:/run/lmtp"},
		{name: "explicit literal", domain: "[192.0.2.1]", routes: explicit, want: "lmtp:/run/lmtp"},
		{name: "explicit for all", domain: "example.net", routes: explicit, want: "smarthost:relay.example.org:25"},
		{name: "explicit for postmaster", domain: "", routes: explicit, want: "smarthost:relay.example.org:25"},
		{name: "impossible with a route for all", domain: "a..b", routes: explicit, want: "550 5.1.2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &Router{Resolver: silent{}, Routes: test.routes}
			got, err := r.Destination(test.domain)
			if err != nil {
				got = reply(err)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestExplicit(t *testing.T) {
	tests := []struct {
		name  string
		addrs []string
		want  string // empty: an error
		hosts []Host
	}{
		{name: "name", addrs: []string{"Mail.Example.com:587"}, want: "smarthost:mail.example.com:587", hosts: []Host{{Name: "mail.example.com", Port: 587}}},
		{name: "IPv4", addrs: []string{"127.0.0.1:25"}, want: "smarthost:127.0.0.1:25", hosts: []Host{{Name: "127.0.0.1", Port: 25}}},
		{name: "IPv6", addrs: []string{"[::1]:25"}, want: "smarthost:[::1]:25", hosts: []Host{{Name: "::1", Port: 25}}},
		{name: "socket", addrs: []string{"/run/lmtp.sock"}, want: "smarthost:/run/lmtp.sock", hosts: []Host{{Path: "/run/lmtp.sock"}}},
		{name: "two", addrs: []string{"a.test:1", "b.test:2"}, want: "smarthost:a.test:1,b.test:2", hosts: []Host{{Name: "a.test", Port: 1}, {Name: "b.test", Port: 2}}},
		{name: "Unicode", addrs: []string{"bücher.example:25"}, want: "smarthost:xn--bcher-kva.example:25", hosts: []Host{{Name: "xn--bcher-kva.example", Port: 25}}},
		{name: "none"},
		{name: "no port", addrs: []string{"a.test"}},
		{name: "port 0", addrs: []string{"a.test:0"}},
		{name: "port too large", addrs: []string{"a.test:65536"}},
		{name: "port by name", addrs: []string{"a.test:smtp"}},
		{name: "no name", addrs: []string{":25"}},
		{name: "bad name", addrs: []string{"a b:25"}},
		{name: "IPv6 without brackets", addrs: []string{"::1:25"}},
		{name: "relative path", addrs: []string{"run/lmtp"}},
		{name: "too many", addrs: slices.Repeat([]string{"a.test:1"}, 21)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := Smarthost(test.addrs...)
			if (err != nil) != (test.want == "") {
				t.Fatalf("got error %v", err)
			}
			if r.Name != test.want || !slices.Equal(r.Hosts, test.hosts) || r.MX || r.LMTP {
				t.Errorf("got %+v, want %s %v", r, test.want, test.hosts)
			}
		})
	}
	if r, err := LMTP("127.0.0.1:24"); err != nil || !r.LMTP || r.Name != "lmtp:127.0.0.1:24" {
		t.Errorf("LMTP: got %+v, %v", r, err)
	}
}

func TestLeadsInside(t *testing.T) {
	tests := []struct {
		ip   string
		want bool
	}{
		{"192.0.2.1", false}, {"8.8.8.8", false}, {"100.63.255.255", false}, {"100.128.0.1", false},
		{"172.15.0.1", false}, {"172.32.0.1", false}, {"2001:db8::1", false}, {"2a00:1450::1", false},
		{"127.0.0.1", true}, {"127.255.0.1", true}, {"0.0.0.0", true}, {"0.1.2.3", true}, {"10.0.0.1", true},
		{"172.16.0.1", true}, {"192.168.1.1", true}, {"169.254.169.254", true}, {"224.0.0.1", true},
		{"255.255.255.255", true}, {"240.0.0.1", true}, {"100.64.0.1", true}, {"100.127.255.255", true},
		{"::", true}, {"::1", true}, {"fe80::1", true}, {"fe80::1%eth0", true}, {"fc00::1", true}, {"fd12::1", true},
		{"ff02::1", true}, {"fec0::1", true}, {"::ffff:127.0.0.1", true}, {"::ffff:192.168.0.1", true},
		{"::ffff:192.0.2.1", false}, {"::ffff:100.64.0.1", true}, {"::127.0.0.1", true}, {"::192.0.2.1", true},
		{"64:ff9b::10.0.0.1", true}, {"64:ff9b::192.0.2.1", false}, {"64:ff9b:1::192.0.2.1", true},
		{"2002:7f00:1::1", true}, {"2002:c000:201::1", false},
	}
	for _, test := range tests {
		if got := leadsInside(netip.MustParseAddr(test.ip)); got != test.want {
			t.Errorf("%s: got %t, want %t", test.ip, got, test.want)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	relay, _ := Smarthost("192.0.2.1:25")
	r := &Router{Routes: map[string]Route{"*": relay}}
	for b.Loop() {
		if _, err := r.Route(b.Context(), "example.net"); err != nil {
			b.Fatal(err)
		}
	}
}
