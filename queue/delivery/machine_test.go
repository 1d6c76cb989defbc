package delivery

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testMachine has sites of five tasks at most, three at first, and no chance. All of them took mail quickly of late.
func testMachine(c machineConfig) *machine {
	if c.site == nil {
		c.site = func(string) SiteLimits { return SiteLimits{Concurrency: 5, Initial: 3} }
	}
	c.jitter = func() float64 { return 0 }
	m := newMachine(c)
	m.base = machineNow.Add(-time.Hour)
	trust(m, "a", "b", "c", "ab", "hosts", "other")
	return m
}

// trust has sites known as those that took mail quickly.
func trust(m *machine, sites ...string) {
	m.at(machineNow)
	for _, name := range sites {
		m.prove(&site{name: name})
	}
}

var machineNow = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	well    = verdict{sign: 1, taken: true, final: true}
	failed  = verdict{sign: -1, result: smtp.Result{Reply: smtp.NewReply(451, "", "no answer")}}
	refused = verdict{policy: senderPolicy, result: smtp.Result{Stage: smtp.StageMail, Reply: smtp.NewReply(450, "4.7.1", "not you")}}
)

// taskOf is a task of a lane.
func taskOf(l queue.Lane, attempts int) *queue.Task {
	return &queue.Task{
		Destination: l.Destination, Owner: l.Owner, Priority: l.Priority, Attempts: attempts,
		Arrival: machineNow, Due: machineNow,
	}
}

// claim is claimed with a flight of its own.
func claim(m *machine, t *queue.Task, now time.Time) (*flight, plan) {
	f := new(flight)
	return f, m.claimed(f, t, now)
}

// takeTurn claims and gets so many tasks of each class that is wanted.
func takeTurn(m *machine, now time.Time, free int, fresh, retried int) (tasks []*flight) {
	for _, w := range m.pick(free, now) {
		for range w.Max {
			attempts := 1
			switch {
			case w.Class == queue.Fresh && fresh > 0:
				fresh--
			case w.Class == queue.Retried && retried > 0:
				retried--
				attempts = 2
			default:
				continue
			}
			f, _ := claim(m, taskOf(w.Lane, attempts), now)
			tasks = append(tasks, f)
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
		{"one alone has all that its site may have", func(m *machine) { m.wake(toLane("a"), now, now) }, 10, []queue.Want{wish("a", 3, queue.Fresh)}},
		{"one each, in their order", func(m *machine) {
			m.wake(toLane("b"), now, now)
			m.wake(toLane("a"), now.Add(-time.Hour), now)
			m.wake(toLane("c"), now, now)
		}, 2, []queue.Want{wish("b", 1, queue.Fresh), wish("a", 1, queue.Fresh)}},
		{"what is left goes round", func(m *machine) {
			m.wake(toLane("a"), now, now)
			m.wake(toLane("b"), now, now)
		}, 5, []queue.Want{wish("a", 3, queue.Fresh), wish("b", 2, queue.Fresh)}},
		{"one to come", func(m *machine) { m.wake(toLane("a"), now.Add(1), now) }, 5, nil},
		{"one that has come", func(m *machine) { m.wake(toLane("a"), now.Add(-1), now.Add(-2)) }, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"the earliest time counts", func(m *machine) {
			m.wake(toLane("a"), now.Add(9), now.Add(-9))
			m.wake(toLane("a"), now, now.Add(-9))
			m.wake(toLane("a"), now.Add(8), now.Add(-9))
		}, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"in flight counts", func(m *machine) {
			m.wake(toLane("a"), now, now)
			takeTurn(m, now, 2, 2, 0)
		}, 5, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"as many as may be", func(m *machine) {
			m.wake(toLane("a"), now, now)
			takeTurn(m, now, 3, 3, 0)
			m.wake(toLane("a"), now, now)
		}, 5, nil},
		{"one ends", func(m *machine) {
			m.wake(toLane("a"), now, now)
			m.done(takeTurn(m, now, 3, 3, 0)[0], verdict{}, time.Time{}, now)
		}, 5, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"drained of fresh ones", func(m *machine) {
			m.wake(toLane("a"), now, now)
			takeTurn(m, now, 3, 1, 0)
		}, 5, []queue.Want{wish("a", 2, queue.Retried)}},
		{"drained", func(m *machine) {
			m.wake(toLane("a"), now, now)
			takeTurn(m, now, 3, 1, 0)
			takeTurn(m, now, 3, 0, 1)
		}, 5, nil},
		{"drained and woken", func(m *machine) {
			m.wake(toLane("a"), now, now)
			takeTurn(m, now, 3, 0, 0)
			takeTurn(m, now, 3, 0, 0)
			m.wake(toLane("a"), now, now)
		}, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"a claim failed", func(m *machine) {
			m.wake(toLane("a"), now, now)
			m.pick(3, now)
			m.settleTurn(true)
		}, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"a lease runs out", func(m *machine) {
			m.wake(toLane("a"), now.Add(-time.Minute), now.Add(-time.Minute))
			a := takeTurn(m, now.Add(-time.Minute), 3, 1, 0)[0]
			takeTurn(m, now.Add(-time.Minute), 3, 0, 0)
			m.done(a, verdict{}, now, now.Add(-time.Minute))
		}, 1, []queue.Want{wish("a", 1, queue.Fresh)}},
		{"fresh ones before retried ones, elsewhere too", func(m *machine) {
			m.wake(toLane("a"), now, now)
			takeTurn(m, now, 1, 0, 0)
			m.wake(toLane("b"), now, now)
		}, 4, []queue.Want{wish("b", 3, queue.Fresh), wish("a", 1, queue.Retried)}},
		{"higher priorities first, elsewhere too", func(m *machine) {
			m.wake(toLane("a"), now, now)
			m.wake(queue.Lane{Destination: "b", Priority: -1}, now, now)
			m.wake(queue.Lane{Destination: "c", Priority: 1}, now, now)
		}, 5, []queue.Want{
			{Lane: queue.Lane{Destination: "c", Priority: 1}, Max: 3, Class: queue.Fresh}, wish("a", 2, queue.Fresh),
		}},
		{"a large message waits for its turns", func(m *machine) {
			join := func(name string) *target {
				t := m.target(toLane(name))
				m.join(t, Site{Name: "ab"})
				return t
			}
			m.ready(join("a"))
			m.pick(1, now)
			large := taskOf(toLane("a"), 1)
			large.Size = 3 * quantum
			claim(m, large, now)
			m.settleTurn(false)
			m.ready(join("b")) // it comes to the same hosts
		}, 2, []queue.Want{wish("b", 2, queue.Fresh)}},
		{"owners take turns, however many destinations they have", func(m *machine) {
			for i := range 9 {
				t := m.target(toLane(fmt.Sprint("many", i)))
				m.join(t, Site{Name: "ab"})
				m.ready(t)
			}
			t := m.target(queue.Lane{Destination: "b", Owner: 2})
			m.join(t, Site{Name: "ab"})
			m.ready(t)
		}, 2, []queue.Want{wish("many0", 1, queue.Fresh), {Lane: queue.Lane{Destination: "b", Owner: 2}, Max: 1, Class: queue.Fresh}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{})
			tt.setup(m)
			m.turns = 0 // each eighth is the other way round
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
		m.wake(toLane(name), now, now)
	}
	if got := m.pick(9, now); len(got) > 0 {
		t.Errorf("got wants %v with no site known", got)
	}
	for name, ok := m.toSite(now); ok; name, ok = m.toSite(now) {
		m.sited(name, Site{Name: map[string]string{"a": "hosts", "b": "hosts", "c": "other"}[name]}, now)
	}
	want := []queue.Want{wish("a", 2, queue.Fresh), wish("c", 3, queue.Fresh), wish("b", 1, queue.Fresh)}
	if got := m.pick(9, now); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v: three for each site, shared by a and b", got, want)
	}
	for range 5 {
		m.settleTurn(false)
		m.pick(9, now)
	}
	if len(m.sites)+len(m.parties)+len(m.targets) != 0 {
		t.Errorf("got %d sites, %d parties and %d targets left when nothing is due, want none", len(m.sites), len(m.parties), len(m.targets))
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
			m.wake(toLane("a"), now, now)
			p := m.targets[toLane("a")].party
			p.site.held = 10 // all that it may have is in use
			got := ""
			for _, end := range tt.ends {
				m.feedback(p, map[rune]verdict{'+': well, '-': failed, '0': {}}[end], 0)
				if p.site.standing.down {
					got += "d"
				} else {
					got += fmt.Sprint(p.site.standing.window)
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
	m.wake(toLane("a"), now, now)
	for _, f := range takeTurn(m, now, 9, 3, 0) {
		m.wake(toLane("a"), now, now) // there is more
		m.done(f, failed, time.Time{}, now)
	}
	// picked looks for notices and deadlines as often as they are wanted, and gives the first other wants.
	picked := func() []queue.Want {
		for looks := 0; ; looks++ {
			got := m.pick(9, now)
			if !reflect.DeepEqual(got, []queue.Want{wish("a", 1, queue.Overdue)}) {
				return got
			}
			if looks > 0 {
				t.Fatal("it looks for notices and deadlines again and again")
			}
			m.settleTurn(false)
		}
	}
	for probe, wait := range []time.Duration{5 * time.Minute, 15 * time.Minute, 20 * time.Minute, 20 * time.Minute} {
		for end := now.Add(wait); now.Before(end); now = earliest(m.next(true), end) {
			if got := picked(); len(got) > 0 {
				t.Fatalf("before probe %d: got wants %v", probe, got)
			}
		}
		if got, want := picked(), []queue.Want{wish("a", 1, queue.Fresh)}; !reflect.DeepEqual(got, want) {
			t.Fatalf("probe %d: got wants %v, want %v", probe, got, want)
		}
		f, _ := claim(m, taskOf(toLane("a"), 1), now)
		m.settleTurn(false)
		if got := picked(); len(got) > 0 {
			t.Errorf("while probe %d is under way: got wants %v", probe, got)
		}
		m.done(f, failed, time.Time{}, now)
	}
	now = now.Add(20 * time.Minute)
	f := takeTurn(m, now, 9, 1, 0)
	m.done(f[0], well, time.Time{}, now)
	if got, want := m.pick(9, now), []queue.Want{wish("a", 3, queue.Fresh)}; !reflect.DeepEqual(got, want) {
		t.Errorf("after a probe that got through: got wants %v, want %v", got, want)
	}
}

// TestRefused has an owner refused by a policy: others aren't concerned, until several are told the same.
func TestRefused(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	parties := make([]*party, 6)
	for i := range parties {
		l := queue.Lane{Destination: "a", Owner: queue.Owner(i)}
		m.wake(l, now, now)
		parties[i] = m.targets[l].party
	}
	s := m.sites["a"]
	down := func() (n int) {
		for _, p := range parties {
			if m.blockedParty(p) > 0 {
				n++
			}
		}
		return n
	}
	for range 9 {
		m.feedback(parties[0], refused, 0)
	}
	if n := down(); n != 1 || s.standing.failing > 0 {
		t.Errorf("one owner was refused: got %d blocked", n)
	}
	m.feedback(parties[1], verdict{policy: recipientPolicy, result: refused.result}, 0)
	for range 9 {
		m.feedback(parties[1], verdict{policy: recipientPolicy, result: refused.result}, 0)
	}
	if n := down(); n != 1 || parties[1].own.window != 1 {
		t.Errorf("of another, some recipients were refused: got %d blocked, and a window of %v", n, parties[1].own.window)
	}
	for _, p := range parties[1:4] {
		for range 9 {
			m.feedback(p, refused, 0)
		}
	}
	if n := down(); n != 4 {
		t.Errorf("four owners were refused: got %d blocked", n)
	}
	for range 9 {
		m.feedback(parties[4], refused, 0)
	}
	if n := down(); n != 6 {
		t.Errorf("five owners were refused: got %d blocked, want all", n)
	}
	m.feedback(parties[5], well, 0)
	if n := down(); n != 5 || s.told != 0 {
		t.Errorf("one got through: got %d blocked, want those that were refused", n)
	}
	m.feedback(parties[0], well, 0)
	if n := down(); n != 4 || parties[0].own != nil {
		t.Errorf("the first got through: got %d blocked", n)
	}
}

// TestBlockedOverdue has a task whose deadline comes while its site is down, and one while it is suspended.
func TestBlockedOverdue(t *testing.T) {
	for _, how := range []string{"down", "suspended", "site suspended"} {
		t.Run(how, func(t *testing.T) {
			now := machineNow
			m := testMachine(machineConfig{resolve: true})
			deadline := now.Add(2 * time.Minute)
			m.list(queue.LaneDue{Lane: toLane("a"), Due: now, Overdue: deadline}, now)
			m.toSite(now)
			m.sited("a", Site{Name: "hosts"}, now)
			want := ""
			switch how {
			case "down":
				for range 3 {
					m.feedback(m.targets[toLane("a")].party, failed, 0)
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
			if got := m.next(true); !got.Equal(deadline) {
				t.Errorf("got the next look at %v, want %v", got, deadline)
			}
			if got, want := m.pick(1, deadline), []queue.Want{wish("a", 1, queue.Overdue)}; !reflect.DeepEqual(got, want) {
				t.Errorf("got wants %v, want %v", got, want)
			}
			task := taskOf(toLane("a"), 1)
			task.Deadline = deadline
			f, p := claim(m, task, deadline)
			if p.step != stepExpire || p.reason == nil || p.reason.Reply.Error() != want {
				t.Errorf("got %+v, want it expired for %q", p, want)
			}
			m.settleTurn(false)
			m.done(f, verdict{}, time.Time{}, deadline)
			m.suspend([]string{"a"}, time.Time{}, deadline)
			m.suspend([]string{"hosts"}, time.Time{}, deadline)
			m.flush(deadline, "a")
			m.pick(1, deadline)
			m.toSite(deadline)
			m.sited("a", Site{Name: "hosts"}, deadline)
			if got := m.pick(1, deadline); len(got) != 1 || got[0].Class == queue.Overdue {
				t.Errorf("when it is over: got wants %v, want one to send", got)
			}
		})
	}
}

// TestUnknown begins with mail that was tried before, at a site of which nothing is known: one task is tried first. Fresh
// mail for it isn't held up by that.
func TestUnknown(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	m.list(queue.LaneDue{Lane: toLane("x"), Due: now}, now)
	takeTurn(m, now, 20, 0, 0)
	if got, want := m.pick(20, now), []queue.Want{wish("x", 1, queue.Retried)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	claim(m, taskOf(toLane("x"), 2), now)
	m.settleTurn(false)
	m.wake(toLane("x"), now, now)
	if got, want := m.pick(20, now), []queue.Want{wish("x", 2, queue.Fresh)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSiteRate paces a site.
func TestSiteRate(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{site: func(string) SiteLimits {
		return SiteLimits{Concurrency: 5, Initial: 5, Rate: Rate{60, time.Minute}}
	}})
	m.wake(toLane("a"), now, now)
	takeTurn(m, now, 9, 0, 0) // what isn't claimed doesn't count
	m.wake(toLane("a"), now, now)
	n := 0
	for range 10 {
		for _, a := range takeTurn(m, now, 9, 9, 9) {
			n++
			m.done(a, well, time.Time{}, now)
		}
		now = m.next(true)
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
			m.wake(toLane("a"), now, now)
			a := takeTurn(m, now, 1, 1, 0)[0]
			for range tt.ends.overdue * 2 { // two more that were in flight
				m.feedback(a.t.party, tt.ends, 0)
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
	m.wake(toLane("a"), now, now)
	m.pick(20, now)
	var last time.Time
	for i := range 10 {
		task := taskOf(toLane("a"), 1)
		task.Tenant = "shop"
		_, p := claim(m, task, now)
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
	other := taskOf(toLane("a"), 1)
	other.Tenant = "other"
	if _, p := claim(m, other, now); p.step != stepAttempt {
		t.Errorf("another tenant: got %+v, want an attempt", p)
	}
	back, later := taskOf(toLane("a"), 1), now.Add(1100*time.Millisecond)
	back.Tenant, back.Due = "shop", later
	if _, p := claim(m, back, later); p.step != stepAttempt {
		t.Errorf("one that came back at its time: got %+v, want an attempt", p)
	}
	late := taskOf(toLane("a"), 1)
	late.Tenant, late.Deadline = "shop", later
	if _, p := claim(m, late, later); p.step != stepExpire || p.reason == nil {
		t.Errorf("one whose deadline has come: got %+v, want it given up", p)
	}
}

// TestReroute has a destination ask for its site anew.
func TestReroute(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{resolve: true})
	m.wake(toLane("a"), now, now)
	m.toSite(now)
	m.sited("a", Site{Name: "old"}, now)
	m.flush(now, "a")
	if got := m.pick(9, now); len(got) > 0 {
		t.Errorf("got wants %v before the new site is known", got)
	}
	if name, ok := m.toSite(now); !ok || name != "a" {
		t.Fatalf("got %q, %v, want the site of a asked for", name, ok)
	}
	m.sited("a", Site{Name: "new"}, now)
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
