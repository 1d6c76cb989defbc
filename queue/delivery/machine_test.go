package delivery

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testMachine has sites of five tasks at most, three at first, and no chance.
func testMachine(c machineConfig) *machine {
	if c.site == nil {
		c.site = func(string) SiteLimits { return SiteLimits{Concurrency: 5, Initial: 3} }
	}
	c.jitter = func() float64 { return 0 }
	m := newMachine(c)
	m.base = machineNow.Add(-time.Hour)
	m.cold = false
	return m
}

var machineNow = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	well   = verdict{sign: 1}
	failed = verdict{sign: -1, result: smtp.Result{Reply: smtp.NewReply(451, "", "no answer")}}
)

// takeTurn claims and gets so many tasks of each class that is wanted of a.
func takeTurn(m *machine, now time.Time, free int, fresh, retried int) (tasks []*target) {
	for _, w := range m.pick(free, now) {
		for range w.Max {
			attempts := 1
			switch {
			case w.Class != queue.Retried && fresh > 0:
				fresh--
			case w.Class != queue.Fresh && retried > 0:
				retried--
				attempts = 2
			default:
				continue
			}
			t, _ := m.claimed(&queue.Task{Destination: w.Destination, Attempts: attempts}, now)
			tasks = append(tasks, t)
		}
	}
	m.settleTurn(false)
	return tasks
}

func TestMachinePick(t *testing.T) {
	now := machineNow
	tests := []struct {
		name  string
		setup func(m *machine)
		free  int
		want  []queue.Want
	}{
		{"nothing", func(m *machine) {}, 10, nil},
		{"one alone has all that its site may have", func(m *machine) { m.wake("a", now, now) }, 10, []queue.Want{wish("a", 2, queue.Fresh), wish("a", 1, queue.Retried)}},
		{"one each, in their order", func(m *machine) {
			m.wake("b", now, now)
			m.wake("a", now.Add(-time.Hour), now)
			m.wake("c", now, now)
		}, 2, []queue.Want{wish("b", 1, queue.Fresh), wish("a", 1, queue.Fresh)}},
		{"what is left goes round", func(m *machine) {
			m.wake("a", now, now)
			m.wake("b", now, now)
		}, 5, []queue.Want{wish("a", 2, queue.Fresh), wish("a", 1, queue.Retried), wish("b", 1, queue.Fresh), wish("b", 1, queue.Retried)}},
		{"one to come", func(m *machine) { m.wake("a", now.Add(1), now) }, 5, nil},
		{"one that has come", func(m *machine) { m.wake("a", now.Add(-1), now.Add(-2)) }, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"the earliest time counts", func(m *machine) {
			m.wake("a", now.Add(9), now.Add(-9))
			m.wake("a", now, now.Add(-9))
			m.wake("a", now.Add(8), now.Add(-9))
		}, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"in flight counts", func(m *machine) {
			m.wake("a", now, now)
			takeTurn(m, now, 2, 1, 1)
		}, 5, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"as many as may be", func(m *machine) {
			m.wake("a", now, now)
			takeTurn(m, now, 3, 2, 1)
			m.wake("a", now, now)
		}, 5, nil},
		{"one ends", func(m *machine) {
			m.wake("a", now, now)
			m.done(takeTurn(m, now, 3, 2, 1)[0], verdict{}, time.Time{}, now)
		}, 5, []queue.Want{wish("a", 1, queue.Retried)}},
		{"drained", func(m *machine) {
			m.wake("a", now, now)
			takeTurn(m, now, 3, 1, 0)
		}, 5, nil},
		{"drained of fresh ones", func(m *machine) {
			m.wake("a", now, now)
			takeTurn(m, now, 3, 1, 1)
		}, 5, []queue.Want{wish("a", 1, queue.Retried)}},
		{"drained and woken", func(m *machine) {
			m.wake("a", now, now)
			takeTurn(m, now, 3, 0, 0)
			m.wake("a", now, now)
		}, 1, []queue.Want{wish("a", 1, queue.Retried)}},
		{"a claim failed", func(m *machine) {
			m.wake("a", now, now)
			m.pick(3, now)
			m.settleTurn(true)
		}, 1, []queue.Want{wish("a", 1, queue.Retried)}},
		{"a lease runs out", func(m *machine) {
			m.wake("a", now.Add(-time.Minute), now.Add(-time.Minute))
			a := takeTurn(m, now.Add(-time.Minute), 3, 1, 0)[0]
			m.done(a, verdict{}, now, now.Add(-time.Minute))
		}, 1, []queue.Want{wish("a", 1, queue.Retried)}},
		{"a large message waits for its turns", func(m *machine) {
			m.wake("a", now, now)
			m.pick(1, now)
			m.claimed(&queue.Task{Destination: "a", Size: 3 * quantum, Attempts: 1}, now)
			m.settleTurn(false)
			m.sites["a"].name = "ab" // b comes to the same hosts
			m.sites["ab"] = m.sites["a"]
			b := m.target("b")
			m.join(b, "ab")
			m.ready(b)
		}, 2, []queue.Want{wish("b", 1, queue.Fresh), wish("b", 1, queue.Retried)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{})
			tt.setup(m)
			if got := m.pick(tt.free, now); len(got)+len(tt.want) > 0 && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestMachineSites has three destinations at two sites, one of them learned late.
func TestMachineSites(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{resolve: true})
	for _, name := range []string{"a", "b", "c"} {
		m.wake(name, now, now)
	}
	if got := m.pick(9, now); len(got) > 0 {
		t.Errorf("got wants %v with no site known", got)
	}
	for name, ok := m.toSite(); ok; name, ok = m.toSite() {
		m.sited(name, map[string]string{"a": "hosts", "b": "hosts", "c": "other"}[name], now)
	}
	want := []queue.Want{wish("a", 1, queue.Fresh), wish("a", 1, queue.Retried), wish("c", 2, queue.Fresh), wish("c", 1, queue.Retried), wish("b", 1, queue.Fresh)}
	if got := m.pick(9, now); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v: three for each site, shared by a and b", got, want)
	}
	for range 3 {
		m.settleTurn(false)
		m.pick(9, now)
	}
	if len(m.sites)+len(m.targets) != 0 {
		t.Errorf("got %d sites and %d targets left when nothing is due, want none", len(m.sites), len(m.targets))
	}
}

// TestFeedback follows a site's window through what its tasks come to.
func TestFeedback(t *testing.T) {
	tests := []struct {
		name string
		ends string // of each task in turn: "+" for a host that did its work, "-" for one that didn't, "0" for neither
		want string // the window after each; "d" while it is down
	}{
		{"a clean cohort makes it larger", "+++++++", "3344445"},
		{"up to the limit", "++++++++++++++++++++", "33444455555555555555"},
		{"a failure makes it smaller at once", "+-++", "3223"},
		{"a failing cohort takes it down", "---", "22d"},
		{"success between failures doesn't", "-+-+-+-+", "22121212"},
		{"nothing is learned from neither", "00-00", "33222"},
		{"one that gets through brings it back", "---+", "22d3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{})
			now := machineNow
			m.wake("a", now, now)
			s := m.sites["a"]
			s.inFlight = 10 // all that it may have is in use
			got := ""
			for _, end := range tt.ends {
				m.feedback(s, map[rune]verdict{'+': well, '-': failed, '0': {}}[end])
				if s.down {
					got += "d"
				} else {
					got += fmt.Sprint(s.window)
				}
			}
			if got != tt.want {
				t.Errorf("got windows %s, want %s", got, tt.want)
			}
		})
	}
}

// TestBackOff takes a site down, and looks at when it is probed, what is claimed meanwhile, and how it comes back.
func TestBackOff(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.wake("a", now, now)
	for _, a := range takeTurn(m, now, 9, 2, 1) {
		m.wake("a", now, now) // there is more
		m.done(a, failed, time.Time{}, now)
	}
	// picked looks for notices and deadlines as often as they are wanted, and gives the first other wants.
	picked := func() []queue.Want {
		for looks := 0; ; looks++ {
			got := m.pick(9, now)
			if !reflect.DeepEqual(got, []queue.Want{wish("a", 5, queue.Overdue)}) {
				return got
			}
			if looks > 0 {
				t.Fatal("it looks for notices and deadlines again and again")
			}
			m.settleTurn(false)
		}
	}
	for probe, wait := range []time.Duration{5 * time.Minute, 15 * time.Minute, 20 * time.Minute, 20 * time.Minute} {
		for end := now.Add(wait); now.Before(end); now = earliest(m.next(), end) {
			if got := picked(); len(got) > 0 {
				t.Fatalf("before probe %d: got wants %v", probe, got)
			}
		}
		if got, want := picked(), []queue.Want{wish("a", 1, queue.Any)}; !reflect.DeepEqual(got, want) {
			t.Fatalf("probe %d: got wants %v, want %v", probe, got, want)
		}
		a, _ := m.claimed(&queue.Task{Destination: "a", Attempts: 1}, now)
		m.settleTurn(false)
		if got := picked(); len(got) > 0 {
			t.Errorf("while probe %d is under way: got wants %v", probe, got)
		}
		m.done(a, failed, time.Time{}, now)
	}
	now = now.Add(20 * time.Minute)
	a := takeTurn(m, now, 9, 1, 0)
	m.done(a[0], well, time.Time{}, now)
	if got, want := m.pick(9, now), []queue.Want{wish("a", 2, queue.Fresh), wish("a", 1, queue.Retried)}; !reflect.DeepEqual(got, want) {
		t.Errorf("after a probe that got through: got wants %v, want %v", got, want)
	}
}

// TestBlockedOverdue has a task whose deadline comes while its site is down, and one while it is suspended.
func TestBlockedOverdue(t *testing.T) {
	for _, how := range []string{"down", "suspended", "site suspended"} {
		t.Run(how, func(t *testing.T) {
			now := machineNow
			m := testMachine(machineConfig{resolve: true})
			deadline := now.Add(2 * time.Minute)
			m.list(queue.Destination{Name: "a", Due: now, Overdue: deadline}, now)
			m.toSite()
			m.sited("a", "hosts", now)
			want := ""
			switch how {
			case "down":
				for range 3 {
					m.feedback(m.sites["hosts"], failed)
				}
				want = "451 no answer"
			case "suspended":
				m.suspend([]string{"a"}, now.Add(time.Hour), now)
				want = "451 4.3.2 delivery to a is suspended"
			default:
				m.suspend([]string{"hosts"}, now.Add(time.Hour), now)
				want = "451 4.3.2 delivery to a is suspended"
			}
			if got := m.pick(9, now); len(got) > 0 {
				t.Errorf("got wants %v", got)
			}
			if got := m.next(); !got.Equal(deadline) {
				t.Errorf("got the next look at %v, want %v", got, deadline)
			}
			if got, want := m.pick(1, deadline), []queue.Want{wish("a", 1, queue.Overdue)}; !reflect.DeepEqual(got, want) {
				t.Errorf("got wants %v, want %v", got, want)
			}
			_, p := m.claimed(&queue.Task{Destination: "a", Attempts: 1, Due: now, Deadline: deadline}, deadline)
			if p.step != stepExpire || p.reason == nil || p.reason.Reply.Error() != want {
				t.Errorf("got %+v, want it expired for %q", p, want)
			}
			m.settleTurn(false)
			m.done(m.targets["a"], verdict{}, time.Time{}, deadline)
			m.suspend([]string{"a"}, time.Time{}, deadline)
			m.suspend([]string{"hosts"}, time.Time{}, deadline)
			m.flush("a", deadline)
			m.pick(1, deadline)
			m.toSite()
			m.sited("a", "hosts", deadline)
			if got := m.pick(1, deadline); len(got) != 1 || got[0].Class == queue.Overdue {
				t.Errorf("when it is over: got wants %v, want one to send", got)
			}
		})
	}
}

// TestCold begins with mail that had failed before: one task is tried first.
func TestCold(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.cold = true
	m.list(queue.Destination{Name: "a", Due: now, Fresh: 9, Retried: 1}, now)
	m.list(queue.Destination{Name: "b", Due: now, Fresh: 9}, now)
	m.listed()
	want := []queue.Want{wish("a", 1, queue.Any), wish("b", 2, queue.Fresh), wish("b", 1, queue.Retried)}
	if got := m.pick(9, now); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSiteRate paces a site.
func TestSiteRate(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{site: func(string) SiteLimits {
		return SiteLimits{Concurrency: 5, Initial: 5, Rate: Rate{60, time.Minute}}
	}})
	m.wake("a", now, now)
	takeTurn(m, now, 9, 0, 0) // what isn't claimed doesn't count
	m.wake("a", now, now)
	n := 0
	for range 10 {
		for _, a := range takeTurn(m, now, 9, 9, 9) {
			n++
			m.done(a, well, time.Time{}, now)
		}
		now = m.next()
	}
	if took := now.Sub(machineNow); n != 10 || took < 9*time.Second || took > 10*time.Second {
		t.Errorf("got %d tasks in %v, want 10 in as many seconds", n, took)
	}
}

// TestSiteMemory forgets sites without mail, but not too soon.
func TestSiteMemory(t *testing.T) {
	tests := []struct {
		name string
		rate Rate
		ends verdict
		want time.Duration // for which it is remembered
	}{
		{"nothing to remember", Rate{}, verdict{}, 0},
		{"a failure", Rate{}, failed, 10 * time.Minute},
		{"down", Rate{}, verdict{sign: -1, result: failed.result, overdue: 1}, 3 * time.Hour},
		{"a rate", Rate{1, time.Hour}, verdict{}, time.Hour + 2*time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := machineNow
			m := testMachine(machineConfig{site: func(string) SiteLimits { return SiteLimits{Concurrency: 5, Initial: 3, Rate: tt.rate} }})
			m.wake("a", now, now)
			a := takeTurn(m, now, 1, 1, 0)[0]
			for range tt.ends.overdue * 2 { // two more that were in flight
				m.feedback(a.site, tt.ends)
			}
			m.done(a, tt.ends, time.Time{}, now)
			for range 3 {
				m.pick(9, now)
				m.settleTurn(false)
			}
			for len(m.sites) > 0 && now.Sub(machineNow) < 24*time.Hour {
				now = now.Add(time.Minute)
				m.pick(9, now)
				m.settleTurn(false)
			}
			if got := now.Sub(machineNow); got != tt.want {
				t.Errorf("got it remembered for %v, want %v", got, tt.want)
			}
		})
	}
}

// TestTenantRate has more mail of a tenant than it may send: each task is told its own time to come back at.
func TestTenantRate(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{
		site:   func(string) SiteLimits { return SiteLimits{Concurrency: 50, Initial: 50} },
		tenant: func(name string) Rate { return map[string]Rate{"shop": {60, time.Minute}}[name] },
	})
	m.wake("a", now, now)
	m.pick(20, now)
	var last time.Time
	for i := range 10 {
		task := &queue.Task{Destination: "a", Tenant: "shop", Arrival: now, Due: now, Attempts: 1}
		_, p := m.claimed(task, now)
		if i == 0 {
			if p.step != stepAttempt {
				t.Errorf("the first: got %+v, want an attempt", p)
			}
			continue
		}
		if p.step != stepPostpone || p.next.Sub(last) < time.Second && i > 1 {
			t.Errorf("got %+v, want it postponed to a second after %v", p, last)
		}
		last = p.next
	}
	if took := last.Sub(now); took < 8*time.Second || took > 11*time.Second {
		t.Errorf("got the last postponed for %v, want nine seconds", took)
	}
	_, p := m.claimed(&queue.Task{Destination: "a", Tenant: "other", Arrival: now, Due: now, Attempts: 1}, now)
	if p.step != stepAttempt {
		t.Errorf("another tenant: got %+v, want an attempt", p)
	}
	later := now.Add(1100 * time.Millisecond)
	back := &queue.Task{Destination: "a", Tenant: "shop", Arrival: now, Due: later, Attempts: 1}
	if _, p := m.claimed(back, later); p.step != stepAttempt {
		t.Errorf("one that came back at its time: got %+v, want an attempt", p)
	}
}

// TestReroute has a destination ask for its site anew.
func TestReroute(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{resolve: true})
	m.wake("a", now, now)
	m.toSite()
	m.sited("a", "old", now)
	m.flush("a", now)
	if got := m.pick(9, now); len(got) > 0 {
		t.Errorf("got wants %v before the new site is known", got)
	}
	if name, ok := m.toSite(); !ok || name != "a" {
		t.Fatalf("got %q, %v, want the site of a asked for", name, ok)
	}
	m.sited("a", "new", now)
	if m.pick(9, now); m.sites["new"] == nil || m.sites["old"] != nil {
		t.Errorf("got sites %v, want new alone", m.sites)
	}
}

func TestLine(t *testing.T) {
	var l line[int]
	in, out := 0, 0
	for range 100 {
		for range 7 {
			l.push(in)
			in++
		}
		for range 6 {
			if got, ok := l.pop(); !ok || got != out {
				t.Fatalf("got %d, %v, want %d", got, ok, out)
			}
			out++
		}
	}
	for got, ok := l.pop(); ok; got, ok = l.pop() {
		if got != out {
			t.Fatalf("got %d, want %d", got, out)
		}
		out++
	}
	if in != out || l.len() != 0 {
		t.Errorf("got %d out of %d, %d left", out, in, l.len())
	}
}
