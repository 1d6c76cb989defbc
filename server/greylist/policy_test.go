package greylist_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/greylist"
	"github.com/postrider/postrider/server/internal/checktest"
)

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour

	ok    = "250 2.1.5 recipient ok"
	later = "451 4.7.1 greylisted: please try again in "
)

// attempt is a message of one sender.
type attempt struct {
	after time.Duration // since the attempt before
	ip    string        // if empty, 198.51.100.7
	from  string        // if empty, a@x.test
	to    string        // if empty, b@y.test
	text  string        // if empty, it is accepted
	want  string        // the last reply
}

// TestPolicy: attempts one after another, and which of them wait.
func TestPolicy(t *testing.T) {
	tests := []struct {
		name     string
		policy   *greylist.Policy
		attempts []attempt
	}{
		{"a retry in time", &greylist.Policy{}, []attempt{
			{want: later + "5 minutes"}, {after: minute, want: later + "4 minutes"}, {after: 3*minute + 30*time.Second, want: later + "30 seconds"},
			{after: 30*time.Second - 1, want: later + "1 second"}, {after: 1, want: ok},
		}},
		{"a retry too late begins anew", &greylist.Policy{}, []attempt{
			{want: later + "5 minutes"}, {after: day + 1, want: later + "5 minutes"}, {after: day, want: ok},
		}},
		{"times of its own", &greylist.Policy{Delay: 3 * hour, Window: 4 * hour, AllowFor: hour}, []attempt{
			{want: later + "3 hours"}, {after: 4*hour + 1, want: later + "3 hours"}, {after: 2 * hour, want: later + "60 minutes"},
			{after: hour, want: ok}, {after: hour - 1, want: ok}, {after: hour - 1, want: ok}, {after: hour, want: later + "3 hours"},
		}},
		{"another sender, recipient or network", &greylist.Policy{}, []attempt{
			{want: later + "5 minutes"},
			{after: hour, from: "c@x.test", want: later + "5 minutes"},
			{to: "c@y.test", want: later + "5 minutes"},
			{ip: "198.51.101.7", want: later + "5 minutes"},
			{from: "A@X.Test", to: "B@y.TEST", ip: "198.51.100.200", want: ok},
		}},
		{"the null reverse-path", &greylist.Policy{}, []attempt{
			{from: "<>", want: later + "5 minutes"}, {after: 5 * minute, from: "<>", want: ok},
		}},
		{"a network that succeeded is allowed", &greylist.Policy{}, []attempt{
			{want: later + "5 minutes"}, {after: hour, want: ok},
			{from: "c@x.test", to: "d@y.test", ip: "198.51.100.9", want: ok},
			{after: 35 * day, from: "e@x.test", want: ok},
			{after: 35 * day, from: "f@x.test", want: ok},
			{after: 36 * day, from: "g@x.test", want: later + "5 minutes"},
		}},
		{"a refused message is no success", &greylist.Policy{}, []attempt{
			{want: later + "5 minutes"}, {after: hour, text: "spam", want: "550 5.7.1 spam"},
			{from: "c@x.test", want: later + "5 minutes"}, {want: ok}, {from: "d@x.test", want: ok},
		}},
		{"a deferred message passes at its next retry", &greylist.Policy{}, []attempt{
			{want: later + "5 minutes"}, {after: hour, text: "later", want: "451 4.3.0 later"}, {after: hour, want: ok},
		}},
		{"IPv6", &greylist.Policy{}, []attempt{
			{ip: "2001:db8:1:1::7", want: later + "5 minutes"}, {after: hour, ip: "2001:db8:1:1:2::8", want: ok},
			{ip: "2001:db8:1:2::7", want: later + "5 minutes"},
		}},
		{"networks of its own", &greylist.Policy{IPv4Bits: 32, IPv6Bits: 48}, []attempt{
			{want: later + "5 minutes"}, {after: hour, ip: "198.51.100.8", want: later + "5 minutes"}, {want: ok},
			{ip: "2001:db8:1:1::7", want: later + "5 minutes"}, {after: hour, ip: "2001:db8:1:2::8", want: ok},
		}},
		{"skipped", &greylist.Policy{Skip: func(s *server.Session) bool { return s.Envelope.From == "c@x.test" }}, []attempt{
			{want: later + "5 minutes"}, {from: "c@x.test", want: ok}, {from: "d@x.test", want: later + "5 minutes"},
		}},
		{"may relay", &greylist.Policy{}, []attempt{{to: "allowed@y.test", want: ok}, {want: later + "5 minutes"}}},
		{"unknown there", &greylist.Policy{}, []attempt{{to: "nobody@y.test", want: "550 5.1.1 no such user"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := checktest.Start(t, tt.policy.Check())
				for i, a := range tt.attempts {
					time.Sleep(a.after)
					if got := send(s, a); got != a.want {
						t.Errorf("attempt %d: got %q, want %q", i+1, got, a.want)
					}
				}
			})
		})
	}
}

// send makes an attempt, and returns the last reply.
func send(s *checktest.Server, a attempt) string {
	or := func(value, other string) string {
		if value == "" {
			return other
		}
		return value
	}
	from := strings.Trim(or(a.from, "a@x.test"), "<>")
	c := s.Dial(or(a.ip, "198.51.100.7")).Hello("c.test")
	defer c.Ask("QUIT")
	replies := c.MailText(or(a.text, "hi"), from, or(a.to, "b@y.test"))
	return replies[len(replies)-1]
}

// TestRecipients: each recipient has its own wait, and one that passes is enough for the network.
func TestRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := checktest.Start(t, new(greylist.Policy).Check())
		c := s.Dial("198.51.100.7").Hello("c.test")
		c.Mail("a@x.test", "b@y.test")
		time.Sleep(10 * minute)
		c = s.Dial("198.51.100.7").Hello("c.test")
		if got := c.Mail("a@x.test", "c@y.test", "b@y.test"); checktest.Codes(got) != "451 4.7.1, 250 2.1.5" {
			t.Errorf("got %q, want the new recipient deferred", got)
		}
		if got := c.Mail("a@x.test", "c@y.test", "d@y.test"); checktest.Codes(got) != "250 2.1.5, 250 2.1.5" {
			t.Errorf("got %q, want both accepted", got)
		}
		if got := len(s.Mails()); got != 2 {
			t.Errorf("got %d messages, want 2", got)
		}
	})
}

// TestAuthenticated: a client that authenticated doesn't wait, and isn't kept.
func TestAuthenticated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := checktest.Start(t, new(greylist.Policy).Check())
		if got := s.Dial("198.51.100.7").Hello("c.test").Auth().Mail("a@x.test", "b@y.test"); got[0] != ok {
			t.Errorf("got %q, want it accepted", got)
		}
		if got := send(s, attempt{}); got != later+"5 minutes" {
			t.Errorf("got %q from a stranger, want it deferred", got)
		}
	})
}

// broken is a Store that fails.
type broken struct{ greylist.Store }

var errBroken = errors.New("no connection")

func (b broken) First(ctx context.Context, t greylist.Triplet, now time.Time, keep time.Duration) (time.Time, error) {
	if b.Store == nil {
		return now, errBroken
	}
	return b.Store.First(ctx, t, now, keep)
}
func (broken) Allow(context.Context, netip.Prefix, time.Time) error { return errBroken }
func (b broken) Allowed(context.Context, netip.Prefix) (time.Time, error) {
	return time.Time{}, nil
}

// TestBrokenStore: mail is accepted if the Store fails, and that is told.
func TestBrokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := checktest.Start(t, (&greylist.Policy{Store: broken{}}).Check())
		if got := send(s, attempt{}); got != ok {
			t.Errorf("got %q, want it accepted", got)
		}
		if got := s.Found(); !slices.Equal(got, []string{"rcpt: the Store fails, so nobody waits: no connection"}) {
			t.Errorf("got findings %q, want the failure", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f, err := greylist.Open(t.TempDir() + "/greylist")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s := checktest.Start(t, (&greylist.Policy{Store: broken{f}}).Check())
		send(s, attempt{})
		s.Found()
		time.Sleep(hour)
		if got := send(s, attempt{}); got != ok {
			t.Errorf("got %q, want it accepted", got)
		}
		want := []string{"done: the Store fails, so the client will wait again: no connection"}
		if got := s.Found(); !slices.Equal(got, want) {
			t.Errorf("got findings %q, want the failure", got)
		}
	})
}

// stuck is a Store that doesn't answer.
type stuck struct{ greylist.Store }

func (stuck) Allowed(ctx context.Context, _ netip.Prefix) (time.Time, error) {
	<-ctx.Done()
	return time.Time{}, ctx.Err()
}

// TestStuckStore: a client doesn't wait for long for a Store that doesn't answer.
func TestStuckStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := checktest.Start(t, (&greylist.Policy{Store: stuck{}}).Check())
		start := time.Now()
		if got := send(s, attempt{}); got != ok || time.Since(start) != 5*time.Second {
			t.Errorf("got %q after %v, want it accepted after 5 s", got, time.Since(start))
		}
	})
}

// counting counts the calls of Allow.
type counting struct {
	greylist.Store
	n int
}

func (c *counting) Allow(ctx context.Context, network netip.Prefix, until time.Time) error {
	c.n++
	return c.Store.Allow(ctx, network, until)
}

// TestRenewal: not each message of an allowed network changes the Store.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := greylist.Open(t.TempDir() + "/greylist")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		store := &counting{Store: f}
		s := checktest.Start(t, (&greylist.Policy{Store: store, AllowFor: 100 * hour}).Check())
		send(s, attempt{})
		time.Sleep(hour)
		for range 30 { // over 29 hours
			if got := send(s, attempt{}); got != ok {
				t.Fatalf("got %q, want it accepted", got)
			}
			time.Sleep(hour)
		}
		if store.n != 3 {
			t.Errorf("got %d calls of Allow, want 3", store.n)
		}
	})
}

// TestFaults: mistakes in the fields.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy *greylist.Policy
		want   string
	}{
		{"none", &greylist.Policy{}, ""},
		{"Delay", &greylist.Policy{Delay: -1}, "Delay is -1ns"},
		{"Window", &greylist.Policy{Window: -1}, "Window is -1ns"},
		{"AllowFor", &greylist.Policy{AllowFor: -1}, "AllowFor is -1ns"},
		{"a Delay as long as the Window", &greylist.Policy{Delay: day}, "no retry could pass"},
		{"IPv4Bits", &greylist.Policy{IPv4Bits: 33}, "IPv4Bits is 33"},
		{"IPv6Bits", &greylist.Policy{IPv6Bits: 129}, "IPv6Bits is 129"},
		{"negative bits", &greylist.Policy{IPv4Bits: -1}, "IPv4Bits is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.policy.Check().Fault
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
