package delivery

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// TestRatesApart has a tenant that is over its rate on a source that it shares: the others don't wait for it, and what was promised
// to mail that is gone is soon forgotten.
func TestRatesApart(t *testing.T) {
	m := testMachine(machineConfig{
		tenant:   func(name string) Rate { return map[string]Rate{"slow": {1, time.Hour}}[name] },
		source:   func(name string) Rate { return map[string]Rate{"ip": {100, time.Second}}[name] },
		sourceOf: func(*queue.Task) string { return "ip" },
	})
	m.at(machineNow)
	for range 1000 {
		m.admit(&queue.Task{Tenant: "slow", Arrival: machineNow, Due: machineNow})
	}
	m.at(machineNow.Add(time.Second))
	if at := m.admit(&queue.Task{Tenant: "other", Arrival: machineNow, Due: machineNow}); at > m.mono {
		t.Errorf("another tenant waits %v", time.Duration(at-m.mono))
	}
	m.at(machineNow.Add(3 * time.Hour))
	if at := m.admit(&queue.Task{Tenant: "slow", Arrival: machineNow, Due: machineNow}); at > m.mono {
		t.Errorf("after three hours without mail the tenant waits %v", time.Duration(at-m.mono))
	}
}

// TestPostponedCostsNoRate has mail that isn't sent at a site with a Rate: it leaves the token to others.
func TestPostponedCostsNoRate(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{
		site:   func(string) SiteLimits { return SiteLimits{Concurrency: 9, Initial: 9, Rate: Rate{60, time.Minute}} },
		tenant: func(string) Rate { return Rate{1, 24 * time.Hour} },
	})
	m.wake("a", now, now)
	for range 20 {
		for range len(m.pick(1, now)) {
			m.claimed(&queue.Task{Destination: "a", Tenant: "slow", Arrival: now, Due: now, Attempts: 1}, now)
		}
		m.settleTurn(false)
		for m.inFlight > 0 {
			m.done(m.targets["a"], verdict{}, time.Time{}, now)
		}
	}
	if at := m.sites["a"].bucket.tat; at > m.mono+int64(2*time.Second) {
		t.Errorf("the site's rate is used up for %v by one message", time.Duration(at-m.mono))
	}
}

// TestBlockedFull has a blocked site with all the tasks in flight that it may have, and a deadline to look for: that waits for
// the end of one.
func TestBlockedFull(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{site: func(string) SiteLimits { return SiteLimits{Concurrency: 1, Initial: 1} }})
	m.wake("a", now, now)
	takeTurn(m, now, 1, 1, 0)
	m.wake("a", now.Add(time.Second), now)
	m.suspend([]string{"a"}, now.Add(time.Hour), now)
	now = now.Add(time.Minute)
	if wants := m.pick(9, now); len(wants) > 0 {
		t.Errorf("got %v", wants)
	}
	if next := m.next(); !next.After(now) {
		t.Errorf("it looks again at once")
	}
	m.done(m.targets["a"], verdict{}, time.Time{}, now)
	if got, want := m.pick(9, now), []queue.Want{wish("a", 1, queue.Overdue)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSuspendForEver suspends until the end of days, and for a time that the machine sleeps through.
func TestSuspendForEver(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.suspend([]string{"a"}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), now)
	m.wake("a", now, now)
	if wants := m.pick(9, now.Add(time.Second)); len(wants) > 0 {
		t.Errorf("got %v of what is suspended for ever", wants)
	}
	m = testMachine(machineConfig{})
	m.suspend([]string{"a"}, now.Add(24*time.Hour), now)
	m.list(queue.Destination{Name: "a", Due: now, Overdue: now.Add(120 * time.Hour)}, now)
	m.pick(9, now)
	if next := m.next(); next.Sub(now) > longestSleep {
		t.Errorf("the next look is in %v: the wall clock may be ahead by then", next.Sub(now))
	}
}

// TestFailureOf keeps what a host said of one message from the senders of others.
func TestFailureOf(t *testing.T) {
	reply := smtp.NewReply(450, "4.7.1", "<secret@a.test>: slow down")
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.wake("a", machineNow, machineNow)
	s := m.sites["a"]
	for range 3 {
		m.feedback(s, verdict{sign: -1, result: smtp.Result{Recipient: "secret@a.test", Stage: smtp.StageRcpt, Reply: reply}})
	}
	got := m.reason(m.targets["a"])
	if got.Recipient != "" || strings.Contains(got.Reply.Text, "secret") || got.Reply.Code != 450 {
		t.Errorf("got %+v with %v", got, got.Reply)
	}
	m.feedback(s, verdict{sign: -1, result: smtp.Result{Host: "other", Stage: smtp.StageConnect, Reply: reply}})
	if got.Host != "" {
		t.Error("a reason that was given out changes")
	}
}

// TestProbesShare has more dead sites than there are places: those that live have the most of them.
func TestProbesShare(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.cold = true
	for i := range 100 {
		m.list(queue.Destination{Name: fmt.Sprintf("dead%d", i), Due: now, Retried: 1}, now)
	}
	m.listed()
	m.wake("well", now, now)
	probes, others := 0, 0
	for _, w := range m.pick(40, now) {
		if w.Class == queue.Any {
			probes++
		} else {
			others++
		}
		m.claimed(&queue.Task{Destination: w.Destination, Attempts: 2}, now)
	}
	m.settleTurn(false)
	if probes != 10 || others == 0 {
		t.Errorf("got %d probes and %d other wants in 40 places, want 10 and some", probes, others)
	}
	if m.pick(20, now); m.probes != 10 || len(m.wants) > 1 {
		t.Errorf("got %d probes and wants %v", m.probes, m.wants)
	}
}

// TestCancelContent cancels mail whose report is read from it.
func TestCancelContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &spool.Options{InlineSize: 1000}
		q, err := config.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		m := mail("to@x.test")
		m.Body = strings.NewReader(strings.Repeat("0123456789\r\n", 1000))
		enqueue(t, q, m)
		r := &Runner{Queue: q, Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
			report := mail("from@sender.test")
			report.Body = io.NewSectionReader(o.Content, 0, o.Content.Size())
			return []queue.Message{report}, nil
		}}
		if n, err := r.Cancel(t.Context(), queue.Filter{Destination: "x.test"}, "withdrawn"); n != 1 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		if got := held(t, q); len(got) != 1 || got[0].Size != 12000 {
			t.Errorf("got %+v, want the report alone, with the content", got)
		}
	})
}
