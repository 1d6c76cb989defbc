package early_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/early"
	"github.com/postrider/postrider/server/internal/checktest"
)

const ok = "250 2.1.5 recipient ok"

// TestHello: names in EHLO, and what becomes of the mail. The server is mx.test, 192.0.2.25 and 2001:db8::25.
func TestHello(t *testing.T) {
	names := []string{"MX2.test", "[203.0.113.1]"}
	inside := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/28"), netip.MustParsePrefix("2001:db8::/32")}
	own := func(name string) string { return "554 5.7.1 EHLO " + name + " is this server, not the client" }
	bare := func(name string) string { return "554 5.7.1 EHLO " + name + " is an address without brackets" }
	tests := []struct {
		name  string
		rules *early.Rules
		from  string // if empty, 198.51.100.7
		hello string
		want  string
	}{
		{"a name", &early.Rules{}, "", "c.test", ok},
		{"an address literal", &early.Rules{}, "", "[198.51.100.7]", ok},
		{"anything", &early.Rules{NoDot: 1}, "", "my. printer", ok},
		{"our name", &early.Rules{}, "", "MX.test", own("MX.test")},
		{"our name with a dot", &early.Rules{}, "", "mx.test.", own("mx.test.")},
		{"a name below ours", &early.Rules{}, "", "c.mx.test", ok},
		{"our address", &early.Rules{}, "", "[192.0.2.25]", own("[192.0.2.25]")},
		{"our address of the other family", &early.Rules{}, "", "[IPv6:2001:db8::25]", ok},
		{"our address of IPv6", &early.Rules{}, "2001:db8:1::7", "[ipv6:2001:DB8:0::25]", own("[ipv6:2001:DB8:0::25]")},
		{"a further name", &early.Rules{Names: names}, "", "mx2.TEST", own("mx2.TEST")},
		{"a further address", &early.Rules{Names: names}, "", "[203.0.113.1]", own("[203.0.113.1]")},
		{"our name, from inside", &early.Rules{Inside: inside}, "", "mx.test", ok},
		{"our name, from inside by IPv6", &early.Rules{Inside: inside}, "2001:db8:1::7", "mx.test", ok},
		{"our name, from outside", &early.Rules{Inside: inside}, "198.51.100.17", "mx.test", own("mx.test")},
		{"our name, from this machine", &early.Rules{}, "127.0.0.1", "mx.test", ok},
		{"our name, from our address", &early.Rules{}, "192.0.2.25", "mx.test", ok},
		{"our name isn't looked for", &early.Rules{OwnName: -1}, "", "mx.test", ok},
		{"no brackets", &early.Rules{}, "", "198.51.100.7", bare("198.51.100.7")},
		{"no brackets, IPv6", &early.Rules{}, "", "2001:db8::7", bare("2001:db8::7")},
		{"no brackets, not looked for", &early.Rules{BareAddress: -1, NoDot: 1}, "", "2001:db8::7", ok},
		{"our address without brackets", &early.Rules{BareAddress: 2}, "", "192.0.2.25", bare("192.0.2.25")},
		{"no dot", &early.Rules{NoDot: 1}, "", "printer", "554 5.7.1 EHLO printer is no fully qualified name"},
		{"a dot at the end alone", &early.Rules{NoDot: 1}, "", "printer.", "554 5.7.1 EHLO printer. is no fully qualified name"},
		{"no dot, not looked for", &early.Rules{}, "", "printer", ok},
		{"no dot, but a literal", &early.Rules{NoDot: 1}, "", "[IPv6:2001:db8::7]", ok},
		{"under the threshold", &early.Rules{Threshold: 3, OwnName: 2}, "", "mx.test", ok},
		{"a sum", &early.Rules{Threshold: 3, OwnName: 2}, "", "192.0.2.25", own("192.0.2.25")},
		{"deferred", &early.Rules{Action: server.Defer}, "", "mx.test", "451 4.7.1 EHLO mx.test is this server, not the client"},
		{"skipped", &early.Rules{Skip: func(*server.Session) bool { return true }}, "", "mx.test", ok},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := tt.from
				if from == "" {
					from = "198.51.100.7"
				}
				c := checktest.Start(t, tt.rules.Check()).Dial(from).Hello(tt.hello)
				if got := c.Mail("a@x.test", "b@y.test"); !slices.Equal(got, []string{tt.want}) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				c.Ask("EHLO c.test")
				if got := c.Mail("a@x.test", "b@y.test"); got[0] != ok {
					t.Errorf("got %q after another EHLO, want it accepted", got)
				}
			})
		})
	}
}

// TestTalk: clients that talk before the greeting.
func TestTalk(t *testing.T) {
	const talked = "554 5.7.1 the client talked before the greeting"
	tests := []struct {
		name  string
		rules *early.Rules
		after time.Duration // when the client sends EHLO
		greet time.Duration // when the greeting comes
		want  string
	}{
		{"at once", &early.Rules{}, 0, 0, talked},
		{"a bit early", &early.Rules{}, 5*time.Second - 1, 5*time.Second - 1, talked},
		{"in time", &early.Rules{}, 6 * time.Second, 5 * time.Second, ok},
		{"a time of its own", &early.Rules{Wait: time.Second}, 2 * time.Second, time.Second, ok},
		{"no wait", &early.Rules{Wait: -1}, 0, 0, ok},
		{"not looked for", &early.Rules{Talk: -1}, 0, 0, ok},
		{"under the threshold", &early.Rules{Threshold: 2}, 0, 0, ok},
		{"skipped", &early.Rules{Skip: func(*server.Session) bool { return true }}, 0, 0, ok},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := checktest.Start(t, tt.rules.Check())
				start := time.Now()
				c := s.Dial("198.51.100.7")
				time.Sleep(tt.after)
				c.Send("EHLO c.test")
				if got := c.Reply(); !strings.HasPrefix(got, "220 ") {
					t.Fatalf("got %q, want the greeting", got)
				}
				if got := time.Since(start); got != max(tt.greet, tt.after) {
					t.Errorf("got the greeting after %v, want it after %v", got, tt.greet)
				}
				c.Reply()
				for range 2 { // it stays so for the session
					if got := c.Mail("a@x.test", "b@y.test"); got[0] != tt.want {
						t.Errorf("got %q, want %q", got, tt.want)
					}
					c.Ask("EHLO c.test")
				}
			})
		})
	}
}

// TestResult: what other checks see, and the tag and the findings.
func TestResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := &early.Rules{Action: server.Tag, Field: "X-Odd", Talk: 5, NoDot: 3}
		var seen []string
		s := checktest.Start(t, rules.Check(), server.Check{
			Name: "weighs",
			Hello: func(_ context.Context, s *server.Session) error {
				r, ok := server.Value[early.Result](s)
				line := fmt.Sprint(r.Score, ok)
				for _, f := range r.Faults {
					line += fmt.Sprint(" ", f.Kind == early.Talk, f.Kind == early.NoDot)
				}
				seen = append(seen, line)
				return nil
			},
		})
		c := s.Dial("198.51.100.7")
		c.Send("EHLO printer")
		c.Reply()
		c.Reply()
		c.Mail("a@x.test", "b@y.test", "c@y.test")
		c.Mail("a@x.test", "allowed@y.test")
		c.Ask("EHLO c.test")
		c.Mail("a@x.test", "b@y.test")
		c.Auth().Mail("a@x.test", "b@y.test")
		if want := []string{"8 true true false false true", "5 true true false"}; !slices.Equal(seen, want) {
			t.Errorf("got %q, want %q", seen, want)
		}
		const talk = "the client talked before the greeting"
		const mail = "Subject: hi\r\n\r\nhi\r\n"
		if got, want := s.Mails(), []string{
			"X-Odd: score=8; " + talk + "; EHLO printer is no\r\n\tfully qualified name\r\n" + mail,
			mail,
			"X-Odd: score=5; " + talk + "\r\n" + mail,
			mail,
		}; !slices.Equal(got, want) {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
		if got, want := s.Found(), []string{
			"connect: " + talk + " (weight 5)", "hello: EHLO printer is no fully qualified name (weight 3)",
		}; !slices.Equal(got, want) {
			t.Errorf("got findings %q, want %q", got, want)
		}
	})
}

// TestFaults: mistakes in the fields.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules *early.Rules
		want  string
	}{
		{"none", &early.Rules{}, ""},
		{"good names", &early.Rules{Names: []string{"mx.test", "[192.0.2.1]", "[IPv6:::1]"}}, ""},
		{"Threshold", &early.Rules{Threshold: -1}, "Threshold is -1"},
		{"Field", &early.Rules{Field: "X Spam"}, `Field "X Spam"`},
		{"a name that is none", &early.Rules{Names: []string{"mx test"}}, `name "mx test"`},
		{"a literal that is none", &early.Rules{Names: []string{"[mx.test]"}}, `name "[mx.test]"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.rules.Check().Fault
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
