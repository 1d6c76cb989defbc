package dnsbl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/internal/checktest"
	"github.com/postrider/postrider/smtp"
)

const (
	bad4 = "7.100.51.198.bl.test" // 198.51.100.7
	bad6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.1.0.0.8.b.d.0.1.0.0.2.bl.test"
)

// TestList: what the zones say, and what becomes of the mail. The client is at 198.51.100.7 and says EHLO c.test.
func TestList(t *testing.T) {
	bl := dnsbl.Zone{Name: "bl.test"}
	tests := []struct {
		name  string
		list  *dnsbl.List
		dns   *zones
		from  string // the client's address, if another
		reply string // to RCPT
		found string // the findings, with "; " between them
	}{
		{"not listed", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{}, "", "250 2.1.5 recipient ok", ""},
		{"listed", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{
			names: map[string][]string{bad4: {"127.0.0.2"}}, texts: map[string]string{bad4: "see https://bl.test/"},
		}, "", "554 5.7.1 198.51.100.7 is listed by bl.test: see https://bl.test/",
			"connect: 198.51.100.7 is listed by bl.test: see https://bl.test/ (weight 1)"},
		{"listed, without a text", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad4: {"127.0.0.9"}}},
			"", "554 5.7.1 198.51.100.7 is listed by bl.test", "connect: 198.51.100.7 is listed by bl.test (weight 1)"},
		{"IPv6", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad6: {"::ffff:127.0.0.2"}}},
			"2001:db8:12::7", "554 5.7.1 2001:db8:12::7 is listed by bl.test",
			"connect: 2001:db8:12::7 is listed by bl.test (weight 1)"},
		{"deferred", &dnsbl.List{Zones: []dnsbl.Zone{bl}, Action: server.Defer},
			&zones{names: map[string][]string{bad4: {"127.0.0.2"}}}, "",
			"451 4.7.1 198.51.100.7 is listed by bl.test", "connect: 198.51.100.7 is listed by bl.test (weight 1)"},
		{"only told", &dnsbl.List{Zones: []dnsbl.Zone{bl}, Action: server.Tell},
			&zones{names: map[string][]string{bad4: {"127.0.0.2"}}}, "",
			"250 2.1.5 recipient ok", "connect: 198.51.100.7 is listed by bl.test (weight 1)"},
		{"a text that smuggles", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{
			names: map[string][]string{bad4: {"127.0.0.2"}},
			texts: map[string]string{bad4: "a\r\n250 ok\x00ü" + strings.Repeat("x", 9000)},
		}, "", "554 5.7.1 198.51.100.7 is listed by bl.test: a??250 ok??" + strings.Repeat("x", 189),
			"connect: 198.51.100.7 is listed by bl.test: a??250 ok??" + strings.Repeat("x", 189) + " (weight 1)"},
		{"a label for a secret name", &dnsbl.List{Zones: []dnsbl.Zone{{Name: "key.bl.test.", Label: "the list"}}}, &zones{
			names: map[string][]string{"7.100.51.198.key.bl.test": {"127.0.0.2", "127.255.255.255"}},
		}, "", "554 5.7.1 198.51.100.7 is listed by the list",
			"connect: the list: the answer 127.255.255.255 about 198.51.100.7 is ignored: too many queries; " +
				"connect: 198.51.100.7 is listed by the list (weight 1)"},
		{"under the threshold", &dnsbl.List{Threshold: 3, Zones: []dnsbl.Zone{{Name: "bl.test", Weight: 2}, {Name: "two.test"}}},
			&zones{names: map[string][]string{bad4: {"127.0.0.2"}}}, "",
			"250 2.1.5 recipient ok", "connect: 198.51.100.7 is listed by bl.test (weight 2)"},
		{"two zones together, the heavier one is named",
			&dnsbl.List{Threshold: 3, Zones: []dnsbl.Zone{{Name: "two.test"}, {Name: "bl.test", Weight: 2}}},
			&zones{names: map[string][]string{bad4: {"127.0.0.2"}, "7.100.51.198.two.test": {"127.0.0.2"}}}, "",
			"554 5.7.1 198.51.100.7 is listed by bl.test",
			"connect: 198.51.100.7 is listed by two.test (weight 1); connect: 198.51.100.7 is listed by bl.test (weight 2)"},
		{"an allowlist", &dnsbl.List{Zones: []dnsbl.Zone{bl, {Name: "wl.test", Weight: -1}}},
			&zones{names: map[string][]string{bad4: {"127.0.0.2"}, "7.100.51.198.wl.test": {"127.0.5.1"}}}, "",
			"250 2.1.5 recipient ok",
			"connect: 198.51.100.7 is listed by bl.test (weight 1); connect: 198.51.100.7 is listed by wl.test (weight -1)"},
		{"by answer: weights and text", &dnsbl.List{Threshold: 7, Zones: []dnsbl.Zone{{Name: "bl.test", Weight: 2, Answers: []dnsbl.Answer{
			{Addr: "127.0.0.2", Weight: 5, Text: "spam"}, {Addr: "127.0.0.4/30"}, {Addr: "127.0.0.10", Weight: 100},
		}}}}, &zones{names: map[string][]string{bad4: {"127.0.0.2", "127.0.0.5", "127.0.0.6", "127.0.0.9"}}}, "",
			"554 5.7.1 198.51.100.7 is listed by bl.test: spam", "connect: 198.51.100.7 is listed by bl.test: spam (weight 7)"},
		{"by answer: none that counts", &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.test", Answers: []dnsbl.Answer{{Addr: "127.0.0.2"}}}}},
			&zones{names: map[string][]string{bad4: {"127.0.0.10"}}}, "", "250 2.1.5 recipient ok", ""},
		{"by bits", &dnsbl.List{Threshold: 5, Zones: []dnsbl.Zone{{Name: "bl.test", Answers: []dnsbl.Answer{
			{Addr: "127.0.0.0/24", Bits: 8, Weight: 5}, {Addr: "127.0.0.0/24", Bits: 16, Weight: 50},
		}}}}, &zones{names: map[string][]string{bad4: {"127.0.0.72"}}}, "",
			"554 5.7.1 198.51.100.7 is listed by bl.test", "connect: 198.51.100.7 is listed by bl.test (weight 5)"},
		{"an answer outside of 127/8", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad4: {"203.0.113.9"}}},
			"", "250 2.1.5 recipient ok", "connect: bl.test: the answer 203.0.113.9 about 198.51.100.7 is ignored: it isn't in " +
				"127.0.0.0/8, so the zone isn't a list any more, or something answers for all names"},
		{"a wrong name", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad4: {"127.255.255.252"}}}, "",
			"250 2.1.5 recipient ok", "connect: bl.test: the answer 127.255.255.252 about 198.51.100.7 is ignored: the zone's name is wrong"},
		{"a public resolver", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad4: {"127.255.255.254"}}}, "",
			"250 2.1.5 recipient ok", "connect: bl.test: the answer 127.255.255.254 about 198.51.100.7 is ignored: the zone doesn't " +
				"answer a public resolver: ask it from a name server of your own"},
		{"another code", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad4: {"127.255.255.250"}}}, "",
			"250 2.1.5 recipient ok", "connect: bl.test: the answer 127.255.255.250 about 198.51.100.7 is ignored: it is an error code"},
		{"blocked by SURBL", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{names: map[string][]string{bad4: {"127.0.0.1"}}}, "",
			"250 2.1.5 recipient ok", "connect: bl.test: the answer 127.0.0.1 about 198.51.100.7 is ignored: by it, lists refuse to answer"},
		{"a code that is named", &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.test", Answers: []dnsbl.Answer{{Addr: "127.0.0.1"}}}}},
			&zones{names: map[string][]string{bad4: {"127.0.0.1"}}}, "",
			"554 5.7.1 198.51.100.7 is listed by bl.test", "connect: 198.51.100.7 is listed by bl.test (weight 1)"},
		{"a failure", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{fails: map[string]error{bad4: &net.DNSError{Err: "SERVFAIL", Name: bad4}}},
			"", "250 2.1.5 recipient ok", "connect: bl.test: no answer about 198.51.100.7: SERVFAIL"},
		{"another error", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{fails: map[string]error{bad4: errors.New("no network")}}, "",
			"250 2.1.5 recipient ok", "connect: bl.test: no answer about 198.51.100.7: no network"},
		{"a panic", &dnsbl.List{Zones: []dnsbl.Zone{bl}}, &zones{panic: true}, "",
			"250 2.1.5 recipient ok", "connect: bl.test: the Resolver panics: oops"},
		{"no answer in time", &dnsbl.List{Timeout: 3 * time.Second, Zones: []dnsbl.Zone{{Name: "slow.test", Weight: 9}, bl}},
			&zones{names: map[string][]string{bad4: {"127.0.0.2"}}, hangs: map[string]bool{"7.100.51.198.slow.test": true}}, "",
			"554 5.7.1 198.51.100.7 is listed by bl.test",
			"connect: slow.test: no answer about 198.51.100.7: i/o timeout; connect: 198.51.100.7 is listed by bl.test (weight 1)"},
		{"EHLO", &dnsbl.List{Zones: []dnsbl.Zone{{Name: "dbl.test", Of: dnsbl.Hello}}},
			&zones{names: map[string][]string{"c.test.dbl.test": {"127.0.1.2"}}}, "",
			"554 5.7.1 c.test is listed by dbl.test", "hello: c.test is listed by dbl.test (weight 1)"},
		{"the sender's domain", &dnsbl.List{Zones: []dnsbl.Zone{{Name: "dbl.test", Of: dnsbl.Hello | dnsbl.Sender}}},
			&zones{names: map[string][]string{"x.test.dbl.test": {"127.0.1.2"}}}, "",
			"554 5.7.1 x.test is listed by dbl.test", "mail: x.test is listed by dbl.test (weight 1)"},
		{"a name counts once", &dnsbl.List{Threshold: 2, Zones: []dnsbl.Zone{{Name: "dbl.test", Of: dnsbl.Client | dnsbl.Hello | dnsbl.Sender}}}, &zones{client: "x.test", names: map[string][]string{"x.test.dbl.test": {"127.0.1.2"}, "c.test.dbl.test": {"127.0.1.2"}}}, "",
			"554 5.7.1 x.test is listed by dbl.test",
			"connect: x.test is listed by dbl.test (weight 1); hello: c.test is listed by dbl.test (weight 1)"},
		{"the client's name", &dnsbl.List{
			Zones: []dnsbl.Zone{{Name: "dbl.test", Of: dnsbl.Client}},
		}, &zones{client: "dyn-7.isp.test", names: map[string][]string{"dyn-7.isp.test.dbl.test": {"127.0.1.2"}}}, "",
			"554 5.7.1 dyn-7.isp.test is listed by dbl.test", "connect: dyn-7.isp.test is listed by dbl.test (weight 1)"},
		{"no client name", &dnsbl.List{
			Zones: []dnsbl.Zone{{Name: "dbl.test", Of: dnsbl.Client}},
		}, &zones{}, "", "250 2.1.5 recipient ok", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.list.Resolver = tt.dns
				s := checktest.Start(t, named(tt.dns.client), tt.list.Check())
				from := tt.from
				if from == "" {
					from = "198.51.100.7"
				}
				start := time.Now()
				c := s.Dial(from).Hello("c.test")
				if took, max := time.Since(start), tt.list.Timeout; took > max {
					t.Errorf("got a greeting after %v, want it after %v", took, max)
				}
				if got := c.Mail("a@x.test", "b@y.test"); !slices.Equal(got, []string{tt.reply}) {
					t.Errorf("got\n%q, want\n%q", got, tt.reply)
				}
				found := slices.DeleteFunc(s.Found(), func(f string) bool { return strings.HasPrefix(f, "rcpt: ") })
				if got := strings.Join(found, "; "); got != tt.found {
					t.Errorf("got findings\n%s, want\n%s", got, tt.found)
				}
			})
		})
	}
}

// TestTag: the header field, and that a client that may relay or authenticated isn't judged.
func TestTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &dnsbl.List{
			Action: server.Tag, Field: "X-Blocklist",
			Zones:    []dnsbl.Zone{{Name: "bl.test", Weight: 3}, {Name: "dbl.test", Of: dnsbl.Sender}},
			Resolver: &zones{names: map[string][]string{bad4: {"127.0.0.2"}, "spam.test.dbl.test": {"127.0.1.2"}}},
		}
		refuse := &dnsbl.List{Zones: list.Zones[1:], Resolver: list.Resolver}
		s := checktest.Start(t, list.Check(), refuse.Check())
		c := s.Dial("198.51.100.7").Hello("[198.51.100.7]")
		tests := []struct {
			name     string
			from, to string
			code     string
			want     string
		}{
			{"two recipients", "a@x.test", "b@y.test", "250 2.1.5", "X-Blocklist: score=3; bl.test 198.51.100.7\r\nSubject: hi\r\n\r\nhi\r\n"},
			{"no sender", "", "b@y.test", "250 2.1.5", "X-Blocklist: score=3; bl.test 198.51.100.7\r\nSubject: hi\r\n\r\nhi\r\n"},
			{"a listed sender, refused by the other list", "a@spam.test", "b@y.test", "554 5.7.1", ""},
			{"the next one isn't", "a@x.test", "b@y.test", "250 2.1.5", "X-Blocklist: score=3; bl.test 198.51.100.7\r\nSubject: hi\r\n\r\nhi\r\n"},
			{"allowed", "a@spam.test", "allowed@y.test", "250 2.1.5", "Subject: hi\r\n\r\nhi\r\n"},
		}
		for _, tt := range tests {
			if got := checktest.Codes(c.Mail(tt.from, tt.to)); got != tt.code {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.code)
			}
			if got := strings.Join(s.Mails(), "+"); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
			}
		}
		if got := c.Auth().Mail("a@spam.test", "b@y.test"); checktest.Codes(got) != "250 2.1.5" {
			t.Errorf("got %v from an authenticated client, want it accepted", got)
		}
	})
}

// TestResult: what other checks see, moment by moment, and with a second List.
func TestResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &zones{
			names: map[string][]string{
				bad4: {"127.0.0.2"}, "spam.test.dbl.test": {"127.0.1.2"}, "c.test.dbl.test": {"127.0.1.2"},
			},
			fails: map[string]error{"7.100.51.198.down.test": errors.New("down")},
		}
		domains := dnsbl.Zone{Name: "dbl.test", Of: dnsbl.Hello | dnsbl.Sender, Weight: 10}
		list := &dnsbl.List{Resolver: dns, Threshold: 1000, Zones: []dnsbl.Zone{{Name: "bl.test"}, {Name: "down.test"}, domains}}
		other := &dnsbl.List{Resolver: dns, Threshold: 1000, Zones: []dnsbl.Zone{{Name: "bl.test", Weight: -5}}}
		var seen []string
		note := func(moment string) func(context.Context, *server.Session) error {
			return func(_ context.Context, s *server.Session) error {
				last, ok := server.Value[dnsbl.Result](s)
				r := list.Result(s)
				seen = append(seen, fmt.Sprintf("%s %d %d %v %d %t %d", moment, r.Score, len(r.Listings), r.Unanswered,
					last.Score, ok, other.Result(s).Score))
				return nil
			}
		}
		checks := []server.Check{list.Check(), other.Check(), {
			Name: "weighs", Connect: note("connect"), Hello: note("hello"), Mail: note("mail"),
			Done: func(ctx context.Context, s *server.Session, _ *smtp.Reply) { note("done")(ctx, s) },
		}}
		c := checktest.Start(t, checks...).Dial("198.51.100.7").Hello("c.test")
		c.Mail("a@spam.test", "b@y.test")
		c.Mail("a@x.test", "b@y.test")
		c.Ask("EHLO other.test")
		c.Mail("a@x.test", "b@y.test")
		want := []string{
			"connect 1 1 [down.test] -5 true -5",
			"hello 11 2 [down.test] -5 true -5",
			"mail 21 3 [down.test] -5 true -5", "done 21 3 [down.test] -5 true -5",
			"mail 11 2 [down.test] -5 true -5", "done 11 2 [down.test] -5 true -5",
			"hello 1 1 [down.test] -5 true -5",
			"mail 1 1 [down.test] -5 true -5", "done 1 1 [down.test] -5 true -5",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestConcurrent: the zones are asked at the same time.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &dnsbl.List{Resolver: &zones{delay: time.Second}, Zones: make([]dnsbl.Zone, 20)}
		for i := range list.Zones {
			list.Zones[i].Name = fmt.Sprintf("bl%d.test", i)
		}
		s := checktest.Start(t, list.Check())
		start := time.Now()
		s.Dial("198.51.100.7").Hello("c.test")
		if took := time.Since(start); took != time.Second {
			t.Errorf("got a greeting after %v, want 1 s", took)
		}
	})
}

// TestCache: how long an answer is kept, and how many.
func TestCache(t *testing.T) {
	const from = "198.51.100.7"
	tests := []struct {
		name string
		list *dnsbl.List
		dns  *zones
		wait time.Duration
		want int // lookups after the second connection
	}{
		{"kept", &dnsbl.List{}, &zones{}, 5*time.Minute - 1, 0},
		{"expired", &dnsbl.List{}, &zones{}, 5 * time.Minute, 1},
		{"a time", &dnsbl.List{CacheTime: time.Hour}, &zones{}, time.Hour - 1, 0},
		{"none", &dnsbl.List{CacheTime: -1}, &zones{}, 0, 1},
		{"a failure", &dnsbl.List{}, &zones{fails: map[string]error{bad4: errors.New("down")}}, time.Minute - 1, 0},
		{"an old failure", &dnsbl.List{}, &zones{fails: map[string]error{bad4: errors.New("down")}}, time.Minute, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.list.Zones, tt.list.Resolver = []dnsbl.Zone{{Name: "bl.test"}}, tt.dns
				s := checktest.Start(t, tt.list.Check())
				s.Dial(from).Hello("c.test")
				if got := tt.dns.count(); got != 1 {
					t.Errorf("got %d lookups at first, want 1", got)
				}
				told := len(s.Found())
				time.Sleep(tt.wait)
				s.Dial(from).Hello("c.test")
				if got := tt.dns.count(); got != tt.want {
					t.Errorf("got %d lookups, want %d", got, tt.want)
				}
				if got := len(s.Found()); got != told*tt.want {
					t.Errorf("got %d findings from the cache, want %d", got, told*tt.want)
				}
			})
		})
	}
}

// TestMaxCache: the answers that are kept are bounded, and the older half goes first.
func TestMaxCache(t *testing.T) {
	for _, max := range []int{1, 2, 7, 100} {
		t.Run(fmt.Sprint(max), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dns := &zones{}
				list := &dnsbl.List{MaxCache: max, Resolver: dns, Zones: []dnsbl.Zone{{Name: "bl.test", Of: dnsbl.Hello}}}
				c := checktest.Start(t, list.Check()).Dial("198.51.100.7")
				c.Reply()
				hello := func(i int) { c.Send(fmt.Sprintf("EHLO h%d.test", i)); c.Reply() }
				for i := range min(3*max, 99) {
					hello(i)
					dns.count()
					if hello(i); dns.count() != 0 {
						t.Fatalf("got the last answer not kept")
					}
					if kept := list.Cached(); kept > max || kept < min(i+1, max/2) {
						t.Fatalf("got %d answers kept after %d, want %d to %d", kept, i+1, min(i+1, max/2), max)
					}
					c.Mail("", "b@y.test") // else there are too many commands
				}
			})
		})
	}
}
