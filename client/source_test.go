package client

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

var (
	srcA = netip.MustParseAddr("198.51.100.1")
	srcB = netip.MustParseAddr("198.51.100.2")
	srcC = netip.MustParseAddr("2001:db8::c")
)

// TestRank: shares are as the weights, the choice depends on nothing but sender and recipient, and a new source takes
// its share from all others and moves nothing else.
func TestRank(t *testing.T) {
	list := []Source{{Addrs: []netip.Addr{srcA}}, {Addrs: []netip.Addr{srcB}, Weight: 2}, {Addrs: []netip.Addr{srcC}, Weight: 7}}
	const n = 20_000
	count := make(map[*Source]int)
	moved := 0
	for i := range n {
		p := pair{"ann@client.test", fmt.Sprintf("bob%d@example.net", i)}
		first := rank(list, p)[0]
		count[first]++
		if without := rank(list[:2], p)[0]; first != &list[2] && without != first {
			moved++
		}
		if again := rank(list, p)[0]; again != first {
			t.Fatalf("%v: got %v and then %v", p, first.Addrs, again.Addrs)
		}
	}
	for i, want := range []float64{0.1, 0.2, 0.7} {
		if got := float64(count[&list[i]]) / n; math.Abs(got-want) > 0.015 {
			t.Errorf("source %d: got a share of %.3f, want %.1f", i, got, want)
		}
	}
	if moved > 0 {
		t.Errorf("%d messages changed between sources that were there before", moved)
	}
}

func TestSourceCheck(t *testing.T) {
	tests := []struct {
		name string
		s    Source
		ok   bool
	}{
		{"one", Source{Addrs: []netip.Addr{srcA}}, true},
		{"of both families", Source{Addrs: []netip.Addr{srcA, srcC}, Hostname: "mx1.client.test", Weight: 3}, true},
		{"none", Source{}, false},
		{"two of a family", Source{Addrs: []netip.Addr{srcA, srcB}}, false},
		{"two of a family, one mapped", Source{Addrs: []netip.Addr{srcA, netip.AddrFrom16(srcB.As16())}}, false},
		{"unspecified", Source{Addrs: []netip.Addr{netip.IPv4Unspecified()}}, false},
		{"zero", Source{Addrs: []netip.Addr{{}}}, false},
		{"negative weight", Source{Addrs: []netip.Addr{srcA}, Weight: -1}, false},
		{"bad name", Source{Addrs: []netip.Addr{srcA}, Hostname: "mx 1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.s.Check(); (err == nil) != tt.ok {
				t.Errorf("got %v, want an error: %v", err, !tt.ok)
			}
		})
	}
}

// TestSourceCheckTexts: an error names the field that is wrong.
func TestSourceCheckTexts(t *testing.T) {
	addrs := []netip.Addr{srcA}
	tests := []struct {
		s    Source
		want string
	}{
		{Source{}, "Source.Addrs is empty: put an address of this machine into it"},
		{Source{Proxy: socks5()}, "Source.Addrs is empty: put the address into it that the proxy connects from"},
		{Source{Addrs: addrs, Proxy: new(Proxy)}, "Proxy.Addr is empty: set it"},
		{Source{Addrs: addrs, WarmUp: &WarmUp{Start: time.Now(), Providers: map[string][]int{"gogle": {1}}}},
			`has "gogle": there are amazon, apple, `},
	}
	for _, tt := range tests {
		if err := tt.s.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want an error with %s", err, tt.want)
		}
	}
}

// sourced is a Transport with the sources A and B, in which bob's mail prefers A, and eve's B.
type sourced struct {
	*Transport
	inet  *internet
	dials []string // by source, "A a.test" say
	tries []string
}

const (
	bobOfA = "bob@example.net"
	helloA = "S: 220 ESMTP\nC: EHLO a.client.test\nS: 250-host\nS: 250 PIPELINING\n"
	helloB = "S: 220 ESMTP\nC: EHLO b.client.test\nS: 250-host\nS: 250 PIPELINING\n"
	listed = "S: 554 5.7.1 198.51.100.1 is on a blocklist\n"
)

func newSourced(t *testing.T) *sourced {
	tr, inet := newTransport(t)
	s := &sourced{Transport: tr, inet: inet}
	tr.Sources = []Source{{Addrs: []netip.Addr{srcA}, Hostname: "a.client.test"}, {Addrs: []netip.Addr{srcB}, Hostname: "b.client.test"}}
	if rank(tr.Sources, pair{"ann@client.test", bobOfA})[0] != &tr.Sources[0] {
		tr.Sources[0], tr.Sources[1] = tr.Sources[1], tr.Sources[0]
		tr.Sources[0].Addrs, tr.Sources[1].Addrs = tr.Sources[1].Addrs, tr.Sources[0].Addrs
	}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		name := map[netip.Addr]string{srcA: "A", srcB: "B", srcC: "C", {}: "-"}[SourceAddr(ctx)]
		s.dials = append(s.dials, name+" "+addr)
		return inet.DialContext(ctx, network, addr)
	}
	tr.Tried = func(_ context.Context, try Try) {
		what := fmt.Sprint(try.Err)
		if try.Err == nil {
			what = try.Results[0].Outcome.String()
		}
		s.tries = append(s.tries, fmt.Sprintf("%s %v: %s", try.Session.Host, try.Session.SourceAddr, what))
	}
	return s
}

// mail sends to recipients and gives what each got.
func (s *sourced) mail(t *testing.T, to ...string) string {
	results, err := s.Send(t.Context(), smtp.NewEnvelope("ann@client.test", to...), smtp.Text("Hello.\n"))
	checkError(t, results, err)
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprintf("%s %s %s", r.Outcome, r.Stage, r.Reply))
	}
	return strings.Join(got, "; ")
}

func (s *sourced) check(t *testing.T, dials ...string) {
	t.Helper()
	if got, want := strings.Join(s.dials, ", "), strings.Join(dials, ", "); got != want {
		t.Errorf("got dials %s, want %s; tries:\n%s", got, want, strings.Join(s.tries, "\n"))
	}
	s.dials = nil
}

// TestResultSource: a Result names the source of the session, whoever answered, and none where no host was asked.
func TestResultSource(t *testing.T) {
	accepts := toBob + ready + body + taken + quit
	for _, tt := range []struct {
		name    string
		scripts []string
		sources bool
		want    []netip.Addr // of each of a row of mails
	}{
		{"delivered", []string{helloA + accepts}, true, []netip.Addr{srcA}},
		{"refused", []string{helloA + "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<bob@example.net>\nC: DATA\nS: 250 ok\nS: 550 no\nS: 554 nobody\n" + quit},
			true, []netip.Addr{srcA}},
		{"by the next one", []string{listed + "C: QUIT\neof", helloB + accepts, helloB + accepts}, true, []netip.Addr{srcB, srcB}},
		{"all are blocked", []string{listed + "C: QUIT\neof", strings.Replace(listed, "100.1", "100.2", 1) + "C: QUIT\neof"}, true,
			[]netip.Addr{{}}},
		{"the system chooses", []string{strings.ReplaceAll(helloA, "a.client", "client") + accepts}, false, []netip.Addr{{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSourced(t)
				if !tt.sources {
					s.Sources = nil
				}
				s.inet.scripts("192.0.2.1:25", tt.scripts...)
				for i, want := range tt.want {
					if i > 0 {
						time.Sleep(time.Minute)
					}
					results, _ := s.Send(t.Context(), smtp.NewEnvelope("ann@client.test", bobOfA), smtp.Text("Hello.\n"))
					name := ""
					if want.IsValid() {
						name = want.String()
					}
					if len(results) != 1 || results[0].Source != name {
						t.Errorf("mail %d: got %+v, want the source %q", i, results, name)
					}
				}
				s.Close()
			})
		})
	}
}

// TestSources: what a host's answers do to the addresses that the next session goes out from.
func TestSources(t *testing.T) {
	const a, b, c = "192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:25"
	from := func(hello, script string) string { return hello + script }
	toBobs := func(reply string) string { return toBob + "S: 250 ok\nS: " + reply + "\nS: 554 nobody\n" }
	got := toBob + ready + body + taken
	tests := []struct {
		name string
		run  func(t *testing.T, s *sourced)
	}{
		{"the same again after greylisting", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, from(helloA, toBobs("451 4.7.1 greylisted, come again")+quit), from(helloA, got+quit))
			for _, want := range []string{"deferred rcpt 451 4.7.1 greylisted, come again", "delivered final 250 taken"} {
				if got := s.mail(t, bobOfA); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				time.Sleep(10 * time.Minute)
			}
			s.check(t, "A "+a, "A "+a)
		}},
		{"the same again though the first recipient is done", func(t *testing.T, s *sourced) {
			other := "" // prefers B
			for i := 0; other == ""; i++ {
				if p := fmt.Sprintf("eve%d@example.net", i); rank(s.Sources, pair{"ann@client.test", p})[0] == &s.Sources[1] {
					other = p
				}
			}
			two := strings.ReplaceAll(toTwo, "eve@example.net", other)
			s.inet.scripts(a, from(helloA, two+"S: 250 ok\nS: 250 ok\nS: 450 4.2.0 Greylisted\nS: 354 go\n"+body+taken+quit),
				from(helloA, strings.ReplaceAll(toBob, bobOfA, other)+ready+body+taken+quit))
			s.mail(t, bobOfA, other)
			time.Sleep(10 * time.Minute)
			s.mail(t, other)
			s.check(t, "A "+a, "A "+a)
		}},
		{"the next one at once after a blocklist at the greeting", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, listed+"C: QUIT\neof", from(helloB, got+quit), from(helloB, got+quit))
			for range 2 {
				if got := s.mail(t, bobOfA); got != "delivered final 250 taken" {
					t.Errorf("got %s", got)
				}
				time.Sleep(59 * time.Minute / 2)
			}
			s.check(t, "A "+a, "B "+a, "B "+a)
			s.inet.scripts(a, from(helloA, got+quit))
			time.Sleep(time.Minute)
			s.mail(t, bobOfA) // the hour is over
			s.check(t, "A "+a)
		}},
		{"the next one at once after 4xx to RCPT", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, from(helloA, toBobs("450 4.7.1 poor reputation")+quit), from(helloB, got+quit))
			if got := s.mail(t, bobOfA); got != "delivered final 250 taken" {
				t.Errorf("got %s", got)
			}
			s.check(t, "A "+a, "B "+a)
		}},
		{"5xx to RCPT is final, and the next message has the next one", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, from(helloA, toBobs("550 5.7.1 listed at dnsbl.test")+quit), from(helloB, got+quit))
			if got := s.mail(t, bobOfA); got != "rejected rcpt 550 5.7.1 listed at dnsbl.test" {
				t.Errorf("got %s", got)
			}
			if got := s.mail(t, bobOfA); got != "delivered final 250 taken" {
				t.Errorf("got %s", got)
			}
			s.check(t, "A "+a, "B "+a)
		}},
		{"all blocked", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, listed+"C: QUIT\neof", strings.Replace(listed, "100.1", "100.2", 1)+"C: QUIT\neof")
			want := "deferred connect 451 4.7.1 all source addresses are blocked for a.test,b.test,c.test, which replied 554 5.7.1 198.51.100.1 is on a blocklist"
			for range 2 {
				if got := s.mail(t, bobOfA); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			s.check(t, "A "+a, "B "+a) // and no other host of the site
			blocks := s.Blocks()
			if len(blocks) != 2 || blocks[0].SourceAddr != srcA || blocks[0].Reply.Code != 554 || blocks[0].Site != "a.test,b.test,c.test" {
				t.Errorf("got blocks %+v", blocks)
			}
			time.Sleep(time.Hour)
			if blocks := s.Blocks(); len(blocks) != 0 {
				t.Errorf("got blocks %+v after an hour", blocks)
			}
		}},
		{"blocked and lifted by hand", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, from(helloB, got+quit), from(helloA, got+quit))
			site := "a.test,b.test,c.test"
			s.Block(Block{Site: site, SourceAddr: netip.AddrFrom16(srcA.As16()), Until: time.Now().Add(time.Hour)})
			s.Block(Block{Site: "elsewhere", SourceAddr: srcB, Until: time.Now().Add(time.Hour)})
			s.mail(t, bobOfA)
			s.Block(Block{Site: site, SourceAddr: srcA})
			s.mail(t, bobOfA)
			s.check(t, "B "+a, "A "+a)
		}},
		{"refusals without consequence", func(t *testing.T, s *sourced) {
			s.BlockTime = -1
			s.inet.scripts(a, listed+"C: QUIT\neof")
			s.inet.scripts(b, listed+"C: QUIT\neof")
			s.inet.scripts(c, listed+"C: QUIT\neof")
			s.mail(t, bobOfA)
			s.check(t, "A "+a, "A "+b, "A "+c)
		}},
		{"a session goes on from its own address", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, from(helloA, got+got+quit), from(helloB, got+quit))
			s.mail(t, bobOfA)
			s.Block(Block{Site: "a.test,b.test,c.test", SourceAddr: srcA, Until: time.Now().Add(time.Second)})
			s.mail(t, bobOfA)
			time.Sleep(2 * time.Second)
			s.mail(t, bobOfA)
			s.check(t, "A "+a, "B "+a)
		}},
		{"a host of the other family only", func(t *testing.T, s *sourced) {
			s.inet.ips["a.test."] = []netip.Addr{netip.MustParseAddr("2001:db8::1")}
			s.inet.scripts(b, from(helloA, got+quit))
			s.mail(t, bobOfA)
			s.check(t, "A "+b)
			if want := "a.test invalid IP: client: a.test: connect: 451 4.4.1 Sources has no address of the family of 2001:db8::1: add one"; s.tries[0] != want {
				t.Errorf("got %s, want %s", s.tries[0], want)
			}
		}},
		{"each family from its own", func(t *testing.T, s *sourced) {
			s.Sources[0].Addrs = append(s.Sources[0].Addrs, srcC)
			s.inet.ips["a.test."] = []netip.Addr{netip.MustParseAddr("2001:db8::1")}
			s.inet.serve("[2001:db8::1]:25", func(c *pipeConn) { c.Close() })
			s.inet.scripts(b, from(helloA, got+quit), from(helloB, got+quit))
			s.mail(t, bobOfA)
			if len(s.dials) != 2 || s.dials[0] != "C [2001:db8::1]:25" {
				t.Errorf("got dials %q, want C for IPv6 first", s.dials)
			}
		}},
		{"a session with an address that the host had", func(t *testing.T, s *sourced) {
			s.inet.scripts(a, from(helloA, got+quit))
			s.inet.scripts("192.0.2.9:25", from(helloA, got+quit))
			s.Router.CacheTime = -1
			s.mail(t, bobOfA)
			s.inet.ips["a.test."] = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
			s.mail(t, bobOfA)
			s.check(t, "A "+a, "A 192.0.2.9:25")
		}},
		{"not to this machine", func(t *testing.T, s *sourced) {
			s.Router = &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}
			s.inet.scripts("127.0.0.1:25", whole)
			s.mail(t, bobOfA)
			s.check(t, "- 127.0.0.1:25")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSourced(t)
				tt.run(t, s)
				s.Close()
			})
		})
	}
}
