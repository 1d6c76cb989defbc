package ratelimit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/checktest"
	"github.com/postrider/postrider/server/ratelimit"
	"github.com/postrider/postrider/smtp"
)

const minute = time.Minute

// mail is a message, and the replies to it.
type mail struct {
	after time.Duration // since the mail before
	ip    string        // if empty, 198.51.100.7
	auth  bool
	from  string // if empty, a@x.test
	to    string // if empty, b@y.test; several are separated by spaces
	text  string // if empty, it is accepted
	want  string // codes of the replies, without their details: "250 450"
}

// TestLimiter: mails one after another, and which of them are too many.
func TestLimiter(t *testing.T) {
	const two = "b@y.test c@y.test"
	tests := []struct {
		name    string
		limiter *ratelimit.Limiter
		mails   []mail
	}{
		{"messages of a network", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 3}}, []mail{
			{want: "250"}, {want: "250", from: "c@x.test"}, {want: "250", ip: "198.51.100.8"}, {want: "450"},
			{want: "450", from: "d@x.test"}, {want: "250", ip: "198.51.101.7"},
			{after: 20*minute - 1, want: "450"}, {after: 1, want: "250"}, {want: "450"},
			{after: 40 * minute, want: "250"}, {want: "250"}, {want: "450"},
		}},
		{"all has decayed after a period", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 3, Period: minute}}, []mail{
			{want: "250"}, {want: "250"}, {want: "250"}, {after: minute, want: "250"}, {want: "250"}, {want: "250"}, {want: "450"},
		}},
		{"a number that doesn't divide the period", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 7, Period: 10}}, []mail{
			{want: "250"}, {want: "250"}, {want: "250"}, {want: "250"}, {want: "250"}, {want: "250"}, {want: "250"},
		}},
		{"recipients", &ratelimit.Limiter{Network: ratelimit.Rate{Recipients: 5}}, []mail{
			{to: two, want: "250 250"}, {to: two, want: "250 250"}, {to: two, want: "250 450"}, {to: two, want: "450 450"},
			{after: 12 * minute, to: two, want: "250 450"},
		}},
		{"recipients and messages", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 2, Recipients: 100}}, []mail{
			{to: two, want: "250 250"}, {to: two, want: "250 250"}, {to: two, want: "450 450"},
		}},
		{"what is refused doesn't count", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 1, Recipients: 2}}, []mail{
			{text: "spam", to: two, want: "250 250 550"}, {text: "later", to: two, want: "250 250 451"},
			{to: "nobody@y.test", want: "550"}, {to: "nobody@y.test b@y.test nobody2@y.test c@y.test", want: "550 250 550 250"},
			{want: "450"},
		}},
		{"an account", &ratelimit.Limiter{Account: ratelimit.Rate{Messages: 2}, Network: ratelimit.Rate{Messages: 1}}, []mail{
			{auth: true, want: "250"}, {auth: true, ip: "203.0.113.1", from: "other@x.test", want: "250"}, {auth: true, want: "450"},
			{want: "250"}, {want: "450"},
		}},
		{"accounts aren't strangers", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 1}}, []mail{
			{auth: true, want: "250"}, {auth: true, want: "250"}, {want: "250"}, {want: "450"},
		}},
		{"a client that may relay", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 1}}, []mail{
			{to: "allowed@y.test", want: "250"}, {to: "allowed@y.test", want: "450"},
		}},
		{"a sender", &ratelimit.Limiter{Sender: ratelimit.Rate{Messages: 2}}, []mail{
			{want: "250"}, {ip: "203.0.113.1", from: "A@X.Test", auth: true, want: "250"}, {want: "450"},
			{from: "c@x.test", want: "250"},
		}},
		{"no sender", &ratelimit.Limiter{Sender: ratelimit.Rate{Messages: 1}}, []mail{
			{from: "<>", want: "250"}, {from: "<>", want: "250"},
		}},
		{"a refusal by one limit takes nothing from another", &ratelimit.Limiter{
			Network: ratelimit.Rate{Messages: 3}, Sender: ratelimit.Rate{Messages: 1},
		}, []mail{
			{want: "250"}, {want: "450"}, {want: "450"}, {from: "c@x.test", want: "250"}, {from: "d@x.test", want: "250"},
			{from: "e@x.test", want: "450"},
		}},
		{"IPv6", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 1}}, []mail{
			{ip: "2001:db8:1:1::7", want: "250"}, {ip: "2001:db8:1:1:8::", want: "450"}, {ip: "2001:db8:1:2::7", want: "250"},
		}},
		{"networks of its own", &ratelimit.Limiter{IPv4Bits: 32, IPv6Bits: 48, Network: ratelimit.Rate{Messages: 1}}, []mail{
			{want: "250"}, {ip: "198.51.100.8", want: "250"}, {want: "450"},
			{ip: "2001:db8:1:1::7", want: "250"}, {ip: "2001:db8:1:2::7", want: "450"},
		}},
		{"skipped", &ratelimit.Limiter{
			Network: ratelimit.Rate{Messages: 1}, Skip: func(s *server.Session) bool { return s.Envelope.From == "c@x.test" },
		}, []mail{
			{from: "c@x.test", want: "250"}, {from: "c@x.test", want: "250"}, {want: "250"}, {want: "450"},
			{from: "c@x.test", want: "250"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := checktest.Start(t, tt.limiter.Check())
				for i, m := range tt.mails {
					time.Sleep(m.after)
					if got := send(s, m); got != m.want {
						t.Errorf("mail %d: got %s, want %s", i+1, got, m.want)
					}
				}
			})
		})
	}
}

// send sends a mail, and returns the codes of the replies.
func send(s *checktest.Server, m mail) string {
	or := func(value, other string) string {
		if value == "" {
			return other
		}
		return value
	}
	c := s.Dial(or(m.ip, "198.51.100.7")).Hello("c.test")
	defer c.Ask("QUIT")
	if m.auth {
		c.Auth()
	}
	from := strings.Trim(or(m.from, "a@x.test"), "<>")
	var codes []string
	for _, reply := range c.MailText(or(m.text, "hi"), from, strings.Fields(or(m.to, "b@y.test"))...) {
		codes = append(codes, reply[:3])
	}
	return strings.Join(codes, " ")
}

// TestReply: the texts, and the enhanced code.
func TestReply(t *testing.T) {
	for _, tt := range []struct {
		name    string
		limiter *ratelimit.Limiter
		auth    bool
		want    string
	}{
		{"network", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 2}}, false,
			"450 4.7.1 too many messages from 198.51.100.0/24 in 60 minutes: please try again in 30 minutes"},
		{"account", &ratelimit.Limiter{Account: ratelimit.Rate{Recipients: 2, Period: 24 * time.Hour}}, true,
			"450 4.7.1 too many recipients from your account in 24 hours: please try again in 12 hours"},
		{"sender", &ratelimit.Limiter{Sender: ratelimit.Rate{Messages: 2, Period: time.Second}}, false,
			"450 4.7.1 too many messages from a@x.test in 1 second: please try again in 1 second"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := checktest.Start(t, tt.limiter.Check()).Dial("198.51.100.7").Hello("c.test")
				if tt.auth {
					c.Auth()
				}
				c.Mail("a@x.test", "b@y.test")
				c.Mail("a@x.test", "b@y.test")
				if got := c.Mail("a@x.test", "b@y.test"); got[0] != tt.want {
					t.Errorf("got %q, want %q", got[0], tt.want)
				}
			})
		})
	}
}

// TestOpen: transactions that are open count, so that connections at a time don't help, until they end.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 2, Recipients: 3}}
		s := checktest.Start(t, limiter.Check())
		begin := func(rcpts int) (*checktest.Client, string) {
			c := s.Dial("198.51.100.7").Hello("c.test")
			c.Ask("MAIL FROM:<a@x.test>")
			reply := ""
			for range rcpts {
				reply = c.Ask("RCPT TO:<b@y.test>")
			}
			return c, reply[:3]
		}
		one, got := begin(1)
		two, got2 := begin(1)
		if _, got3 := begin(1); got != "250" || got2 != "250" || got3 != "450" {
			t.Errorf("got %s, %s, %s for three transactions at a time, want the last one refused", got, got2, got3)
		}
		one.Ask("RSET")
		if _, got := begin(2); got != "250" {
			t.Errorf("got %s after RSET of another, want 250", got)
		}
		two.Ask("EHLO c.test")
		if _, got := begin(1); got != "250" {
			t.Errorf("got %s after EHLO of another, want 250", got)
		}
	})
}

// TestTwo: two Limiters on one server don't disturb each other, and recipients that a later check refuses don't count.
func TestTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour := &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 2, Recipients: 10}}
		day := &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 3, Recipients: 5, Period: 24 * time.Hour}}
		picky := server.Check{Name: "picky", Rcpt: func(_ context.Context, _ *server.Session, r smtp.Recipient) error {
			if strings.HasPrefix(r.Address, "no") {
				return smtp.NewReply(550, "5.7.1", "no")
			}
			return nil
		}}
		s := checktest.Start(t, hour.Check(), day.Check(), picky)
		for i, m := range []mail{
			{to: "no1@y.test no2@y.test b@y.test no3@y.test", want: "550 550 250 550"},
			{want: "250"}, {want: "450"},
			{after: time.Hour, to: "b@y.test c@y.test d@y.test e@y.test", want: "250 250 250 450"},
			{after: time.Hour, want: "450"},
			{after: 6 * time.Hour, want: "250"},
		} {
			time.Sleep(m.after)
			if got := send(s, m); got != m.want {
				t.Errorf("mail %d: got %s, want %s", i+1, got, m.want)
			}
		}
	})
}

// TestMaxKeys: what is kept is bounded, and what has decayed goes first. A refused message leaves nothing.
func TestMaxKeys(t *testing.T) {
	for _, bound := range []int{1, 2, 5, 40} {
		t.Run(fmt.Sprint(bound), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := &ratelimit.Limiter{Sender: ratelimit.Rate{Messages: 1}, MaxKeys: bound}
				s := checktest.Start(t, limiter.Check())
				sender := func(i int) string { return fmt.Sprintf("a%d@x.test", i) }
				for i := range 4 * bound {
					if got := send(s, mail{from: sender(i)}); got != "250" {
						t.Fatalf("got %s, want 250", got)
					}
					if got := limiter.Len(); got > bound || got < min(i+1, bound/2) {
						t.Fatalf("got %d senders kept after %d, want %d to %d", got, i+1, bound/2, bound)
					}
				}
				if got := send(s, mail{from: sender(4*bound - 1)}); got != "450" {
					t.Errorf("got %s from the last sender, want it known", got)
				}
				if got := send(s, mail{from: sender(0)}); got != "250" {
					t.Errorf("got %s from the first sender, want it forgotten", got)
				}
				time.Sleep(time.Hour)
				for i := range 4 * bound {
					send(s, mail{from: sender(1000 + i), text: "spam"})
				}
				kept := limiter.Len()
				send(s, mail{from: sender(2000), text: "spam"})
				if got := limiter.Len(); got != kept {
					t.Errorf("got %d senders kept, want no more than %d after a refused message", got, kept)
				}
			})
		})
	}
}

// TestGivenBackLate: what is given back isn't kept in the older half either.
func TestGivenBackLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := &ratelimit.Limiter{Sender: ratelimit.Rate{Messages: 1}, MaxKeys: 2}
		s := checktest.Start(t, limiter.Check())
		c := s.Dial("198.51.100.7").Hello("c.test")
		c.Ask("MAIL FROM:<a@x.test>")
		c.Ask("RCPT TO:<b@y.test>")
		if got := send(s, mail{from: "other@x.test"}); got != "250" {
			t.Errorf("got %s from another sender, want 250", got)
		}
		c.Ask("RSET")
		if got := send(s, mail{}); got != "250" {
			t.Errorf("got %s after RSET, want 250", got)
		}
	})
}

// TestMaxKeysDecayed: when there is no room, what has decayed is forgotten, and the rest kept.
func TestMaxKeysDecayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := &ratelimit.Limiter{Sender: ratelimit.Rate{Messages: 1}, MaxKeys: 20}
		s := checktest.Start(t, limiter.Check())
		sender := func(i int) mail { return mail{from: fmt.Sprintf("a%d@x.test", i)} }
		for i := range 8 {
			send(s, sender(i))
		}
		time.Sleep(time.Hour)
		for i := 10; i < 13; i++ { // the third finds no room
			send(s, sender(i))
		}
		if got := limiter.Len(); got != 3 {
			t.Errorf("got %d senders kept, want the 3 that haven't decayed", got)
		}
		for i := 10; i < 13; i++ {
			if got := send(s, sender(i)); got != "450" {
				t.Errorf("got %s from sender %d, want 450", got, i)
			}
		}
	})
}

// TestFaults: mistakes in the fields.
func TestFaults(t *testing.T) {
	good := ratelimit.Rate{Messages: 1}
	for _, tt := range []struct {
		name    string
		limiter *ratelimit.Limiter
		want    string
	}{
		{"good", &ratelimit.Limiter{Network: good}, ""},
		{"recipients alone", &ratelimit.Limiter{Account: ratelimit.Rate{Recipients: 1}}, ""},
		{"no limit", &ratelimit.Limiter{}, "there is no limit"},
		{"a period alone", &ratelimit.Limiter{Sender: ratelimit.Rate{Period: 1}}, "there is no limit"},
		{"Network", &ratelimit.Limiter{Network: ratelimit.Rate{Messages: -1}}, "Network is {Messages:-1"},
		{"Account", &ratelimit.Limiter{Account: ratelimit.Rate{Recipients: -1}}, "Account is {Messages:0 Recipients:-1"},
		{"Sender", &ratelimit.Limiter{Sender: ratelimit.Rate{Period: -1}}, "Sender is {"},
		{"IPv4Bits", &ratelimit.Limiter{Network: good, IPv4Bits: 33}, "IPv4Bits is 33"},
		{"IPv6Bits", &ratelimit.Limiter{Network: good, IPv6Bits: -1}, "IPv6Bits is -1"},
		{"MaxKeys", &ratelimit.Limiter{Network: good, MaxKeys: -1}, "MaxKeys is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.limiter.Check().Fault
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
