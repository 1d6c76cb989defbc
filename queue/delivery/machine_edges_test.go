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
		m.admit(&queue.Task{Tenant: "slow", Arrival: machineNow, Due: machineNow}, machineNow)
	}
	m.at(machineNow.Add(time.Second))
	if at := m.admit(&queue.Task{Tenant: "other", Arrival: machineNow, Due: machineNow}, machineNow); at > m.mono {
		t.Errorf("another tenant waits %v", time.Duration(at-m.mono))
	}
	m.at(machineNow.Add(3 * time.Hour))
	if at := m.admit(&queue.Task{Tenant: "slow", Arrival: machineNow, Due: machineNow}, machineNow); at > m.mono {
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
	m.wake(toLane("a"), now, now)
	for range 20 {
		var flying []*flight
		for range len(m.pick(1, now)) {
			task := taskOf(toLane("a"), 1)
			task.Tenant = "slow"
			f, _ := claim(m, task, now)
			flying = append(flying, f)
		}
		m.settleTurn(false)
		for _, f := range flying {
			m.done(f, verdict{}, time.Time{}, now)
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
	m.wake(toLane("a"), now, now)
	f := takeTurn(m, now, 1, 1, 0)[0]
	m.wake(toLane("a"), now.Add(time.Second), now)
	m.suspend([]string{"a"}, now.Add(time.Hour), now)
	now = now.Add(time.Minute)
	if wants := m.pick(9, now); len(wants) > 0 {
		t.Errorf("got %v", wants)
	}
	if next := m.next(true); !next.After(now) {
		t.Errorf("it looks again at once")
	}
	m.done(f, verdict{}, time.Time{}, now)
	now = m.next(true)
	if got, want := m.pick(9, now), []queue.Want{wish("a", 1, queue.Overdue)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSuspendForEver suspends until the end of days, and for a time that the machine sleeps through.
func TestSuspendForEver(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.suspend([]string{"a"}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), now)
	m.wake(toLane("a"), now, now)
	if wants := m.pick(9, now.Add(time.Second)); len(wants) > 0 {
		t.Errorf("got %v of what is suspended for ever", wants)
	}
	m = testMachine(machineConfig{})
	m.suspend([]string{"a"}, now.Add(24*time.Hour), now)
	m.list(queue.LaneDue{Lane: toLane("a"), Due: now, Overdue: now.Add(120 * time.Hour)}, now)
	m.pick(9, now)
	if next := m.next(true); next.Sub(now) > longestSleep {
		t.Errorf("the next look is in %v: the wall clock may be ahead by then", next.Sub(now))
	}
}

// TestFailureOf keeps what a host said of one message from the senders of others.
func TestFailureOf(t *testing.T) {
	reply := smtp.NewReply(450, "4.7.1", "<secret@a.test>: slow down")
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.wake(toLane("a"), machineNow, machineNow)
	p := m.targets[toLane("a")].party
	for range 3 {
		m.feedback(p, verdict{sign: -1, result: smtp.Result{Recipient: "secret@a.test", Stage: smtp.StageRcpt, Reply: reply}}, 0)
	}
	got, _ := m.reason(m.targets[toLane("a")])
	if got.Recipient != "" || strings.Contains(got.Reply.Text, "secret") || got.Reply.Code != 450 {
		t.Errorf("got %+v with %v", got, got.Reply)
	}
	m.feedback(p, verdict{sign: -1, result: smtp.Result{Host: "other", Stage: smtp.StageConnect, Reply: reply}}, 0)
	if got.Host != "" {
		t.Error("a reason that was given out changes")
	}
}

// TestShares has more dead sites than there are places, at which mail was tried before: what is known to be fast has what
// it needs, and fresh mail isn't behind them.
func TestShares(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.at(now)
	m.slots.end(&m.owner(0).slots, m.mono) // it got something done lately
	for i := range 100 {
		m.wake(toLane(fmt.Sprint("dead", i)), now, now)
	}
	kindOf := func(k kind) (n int) {
		for _, list := range [...]*flights{&m.young, &m.old} {
			for f := list.first; f != nil; f = f.next {
				if f.kind == k {
					n++
				}
			}
		}
		return n
	}
	for m.held < 40 && len(m.pick(40-m.held, now)) > 0 { // they have nothing fresh
		for _, w := range m.wants {
			if w.Class == queue.Retried {
				claim(m, taskOf(w.Lane, 2), now)
			}
		}
		m.settleTurn(false)
	}
	if n := kindOf(probe); n != 24 {
		t.Errorf("got %d probes in 40 places, want three quarters of four fifths", n)
	}
	m.wake(toLane("a"), now, now)
	m.wake(toLane("new"), now, now)
	takeTurn(m, now, 40-m.held, 9, 0)
	if n := kindOf(fast); n != 3 {
		t.Errorf("got %d to a site that is known to be fast, want 3", n)
	}
	if n := kindOf(fresh); n != 3 {
		t.Errorf("got %d to a new site, want 3", n)
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

// TestNextClocks has the wall clock step back: what waits by the machine's own clock comes as soon as before.
func TestNextClocks(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.wake(toLane("later"), now.Add(recheck), now)
	m.wall -= int64(time.Hour)
	m.targets[toLane("later")].due -= int64(time.Hour)
	m.cappedAt = m.mono + int64(lookAgain)
	if got, want := m.next(true), now.Add(lookAgain); !got.Equal(want) {
		t.Errorf("got the next look at %v, want %v", got, want)
	}
	m.cappedAt = m.mono + int64(time.Hour)
	if got, want := m.next(true), now.Add(recheck-time.Hour); !got.Equal(want) {
		t.Errorf("got the next look at %v, want %v: when mail comes due", got, want)
	}
}

// TestPartyRoom has places that mail leaves free that isn't known to be quick, and places for many owners.
func TestPartyRoom(t *testing.T) {
	quick, slow := pace{known: true}, pace{long: 2}
	tests := []struct {
		name   string
		pace   pace
		proven bool
		owners int // with mail for the site
		held   int32
		others int32
		want   int
	}{
		{"alone and unknown", pace{}, true, 1, 0, 0, 5},
		{"alone and quick", quick, true, 1, 4, 0, 6},
		{"alone and slow, as the site always was", slow, false, 1, 7, 0, 3},
		{"alone and slow, where others weren't", slow, true, 1, 2, 0, 3},
		{"its half is taken", slow, true, 1, 5, 0, 0},
		{"beside others, the first", pace{}, true, 2, 0, 9, 1},
		{"beside others, a further one", pace{}, true, 2, 1, 7, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{})
			m.owner(2)
			s := &site{name: "x", proven: tt.proven, refs: int32(tt.owners), held: tt.held + tt.others}
			s.standing.window = 10
			if got := m.partyRoom(&party{site: s, owner: m.owner(1), held: tt.held, pace: tt.pace}); got != tt.want {
				t.Errorf("got room for %d, want %d", got, tt.want)
			}
		})
	}
}

// TestOwed has owners who get nothing done: they have half of what fast mail leaves, and one who does has the rest.
func TestOwed(t *testing.T) {
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.places = 200
	good := m.owner(1)
	m.slots.ended.add(100, m.mono)
	good.slots.ended.add(100, m.mono)
	m.fast.note(160, m.mono)
	_, size := m.share()
	for n := queue.Owner(2); n < 50; n++ {
		if o := m.owner(n); m.ownerRoom(o, fresh) > 0 {
			m.held++
			m.kinds[fresh]++
			m.slots.take(&o.slots)
			m.lend(o)
		}
	}
	if most := size - size/4; m.lent.owed != m.lent.used || m.lent.used < size/2 || m.lent.used > most {
		t.Errorf("got %d of %d slots taken, %d owed; want half to three quarters, all owed", m.lent.used, size, m.lent.owed)
	}
	if got, want := m.ownerRoom(good, fresh), 1; got < want {
		t.Errorf("got room for %d of one who has credit, want %d", got, want)
	}
	if m.hasCredit(m.owner(60), size) || !m.hasCredit(good, size) {
		t.Error("want credit for the one who got something done, and no other")
	}
	m.lent.end(&m.owner(60).lent, m.mono) // another's quick mail
	m.lent.ended.add(1000, m.mono)
	good.lent.used = size / 2
	if got, want := m.ownerRoom(good, fresh), 1; got < want {
		t.Errorf("got room for %d of one who has credit, and half of the slots, want %d", got, want)
	}
	good.lent.spent.add(2*fadingTime*float64(size), m.mono)
	if m.hasCredit(good, size) {
		t.Error("got credit for one who spent twice all slots, want none")
	}
}
