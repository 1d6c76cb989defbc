package delivery

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestMachineModel has random mail come and go, at sites that fail, are suspended and flushed: no limit is passed, nothing
// is claimed that is blocked, and nothing that is due is forgotten.
func TestMachineModel(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		m := &machineModel{rnd: rnd, now: machineNow, free: 8}
		m.machine = testMachine(machineConfig{resolve: seed%2 == 0, lease: 10 * time.Second})
		m.due, m.leased = make(map[queue.Lane][]modelTask), make(map[queue.Lane][]time.Time)
		m.sick, m.rude = make(map[string]bool), make(map[queue.Owner]bool)
		for step := range 300 {
			m.step()
			m.claims()
			if wrong := m.check(); wrong != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, wrong)
			}
		}
	}
}

type machineModel struct {
	machine *machine
	rnd     *rand.Rand
	now     time.Time
	free    int
	flying  []*flight
	due     map[queue.Lane][]modelTask // tasks that a list would have
	leased  map[queue.Lane][]time.Time // tasks that were never settled, and when their leases end
	sick    map[string]bool            // destinations whose tasks fail
	rude    map[queue.Owner]bool       // owners whose tasks are refused
	wrong   string
}

type modelTask struct {
	at, overdue time.Time
	attempts    int
}

func (m *machineModel) in(d time.Duration) time.Time {
	return m.now.Add(time.Duration(m.rnd.Int64N(int64(d))))
}

// some is one of six destinations at three sites, or that of report tasks.
func (m *machineModel) some() string {
	if n := m.rnd.IntN(7); n < 6 {
		return string(rune('a' + n))
	}
	return queue.ReportDestination
}

// lane is one of three owners' and two priorities.
func (m *machineModel) lane() queue.Lane {
	return queue.Lane{Destination: m.some(), Owner: queue.Owner(m.rnd.IntN(3)), Priority: int8(m.rnd.IntN(2))}
}

func (m *machineModel) siteOf(name string) Site {
	if name == queue.ReportDestination {
		m.wrong = "the site of report tasks is looked up"
	}
	n := byte(name[0]-'a') / 2
	// Two of the sites have an address in common.
	return Site{Name: "site " + string('0'+n), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, n / 2})}}
}

func (m *machineModel) step() {
	switch m.rnd.IntN(16) {
	case 0, 1, 2, 3, 4:
		m.put(m.lane(), modelTask{at: m.in(5 * time.Second), overdue: m.in(time.Hour)})
	case 5, 6, 7, 8:
		m.ends()
	case 9, 10:
		m.now = m.now.Add(time.Second)
	case 11:
		m.now = m.in(10 * time.Minute)
	case 12:
		m.sick[m.some()] = m.rnd.IntN(2) == 0
	case 13:
		m.machine.suspend([]string{m.some()}, m.in(time.Minute), m.now)
	case 14:
		m.machine.flush(m.now, m.some())
	case 15:
		m.rude[queue.Owner(m.rnd.IntN(3))] = m.rnd.IntN(2) == 0
	}
}

func (m *machineModel) put(l queue.Lane, t modelTask) {
	m.due[l] = append(m.due[l], t)
	m.machine.wake(l, earliest(t.at, t.overdue), m.now)
}

// ends has a delivery end: for good, to be tried again, or without being settled.
func (m *machineModel) ends() {
	if len(m.flying) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.flying))
	f := m.flying[i]
	l := f.t.Lane
	m.flying = slices.Delete(m.flying, i, i+1)
	m.free++
	var lapse time.Time
	v := well
	switch {
	case f.kind == atDesk, l.Destination == queue.ReportDestination:
		v = verdict{}
	case m.sick[l.Destination], m.rude[l.Owner]:
		next := modelTask{at: m.in(time.Minute), overdue: m.in(time.Hour), attempts: 1}
		if v = refused; m.sick[l.Destination] {
			v = failed
		}
		v.overdue = next.overdue.UnixNano()
		m.put(l, next)
	case m.rnd.IntN(3) == 0:
		lapse = m.in(m.machine.lease)
		m.leased[l] = append(m.leased[l], lapse)
	}
	m.machine.done(f, v, lapse, m.now)
}

// claims does what the loop does until it waits.
func (m *machineModel) claims() {
	for turns := 0; ; turns++ {
		if turns > 1000 {
			m.wrong = "it goes on and on"
			return
		}
		wants := m.machine.pick(m.free, m.now)
		for name, ok := m.machine.toSite(m.now); ok; name, ok = m.machine.toSite(m.now) {
			m.machine.sited(name, m.siteOf(name), m.now)
			if len(wants) == 0 {
				wants = m.machine.pick(m.free, m.now)
			}
		}
		if len(wants) == 0 {
			return
		}
		failed := m.rnd.IntN(10) == 0
		for _, w := range wants {
			for range w.Max {
				attempts, ok := 1, false
				if !failed {
					attempts, ok = m.takes(w)
				}
				if !ok {
					break
				}
				m.free--
				task := &queue.Task{
					Destination: w.Destination, Owner: w.Owner, Priority: w.Priority,
					Attempts: attempts, Arrival: m.now, Due: m.now,
				}
				if w.Class == queue.Overdue {
					task.Deadline = m.now
				}
				f := new(flight)
				p := m.machine.claimed(f, task, m.now)
				switch {
				case w.Destination == queue.ReportDestination:
					if p.step != stepReport || f.kind != fast && f.kind != atDesk {
						m.wrong = fmt.Sprintf("%v: step %v, kind %d", w, p.step, f.kind)
					}
				case (p.step == stepAttempt) != (m.machine.blocked(f.t) == 0):
					m.wrong = fmt.Sprintf("%v: step %v, blocked until %v", w, p.step, m.machine.blocked(f.t))
				}
				m.flying = append(m.flying, f)
			}
		}
		m.machine.settleTurn(failed)
		if failed {
			continue
		}
		for _, w := range wants { // the queue tells what comes next
			for _, t := range m.due[w.Lane] {
				at := earliest(t.at, t.overdue)
				if w.Class == queue.Overdue {
					at = t.overdue
				}
				if at.After(m.now) && (w.Class == queue.Overdue || (w.Class == queue.Fresh) == (t.attempts == 0)) {
					m.machine.wake(w.Lane, at, m.now)
				}
			}
		}
	}
}

// takes claims a task that is due.
func (m *machineModel) takes(w queue.Want) (attempts int, ok bool) {
	i := slices.IndexFunc(m.due[w.Lane], func(t modelTask) bool {
		switch w.Class {
		case queue.Overdue:
			return !t.overdue.After(m.now)
		case queue.Fresh:
			return t.attempts == 0 && !earliest(t.at, t.overdue).After(m.now)
		}
		return t.attempts > 0 && !earliest(t.at, t.overdue).After(m.now)
	})
	if i >= 0 {
		attempts = m.due[w.Lane][i].attempts + 1
		m.due[w.Lane] = slices.Delete(m.due[w.Lane], i, i+1)
		return attempts, true
	}
	i = slices.IndexFunc(m.leased[w.Lane], func(at time.Time) bool { return !at.After(m.now) })
	if i < 0 || w.Class == queue.Overdue || w.Class == queue.Fresh {
		return 0, false
	}
	m.leased[w.Lane] = slices.Delete(m.leased[w.Lane], i, i+1)
	return 2, true
}

// check says what is wrong with the machine after a step.
func (m *machineModel) check() (wrong string) {
	switch {
	case m.wrong != "":
		return m.wrong
	case m.free < 0:
		return "more tasks than places"
	}
	if wrong := checkMachine(m.machine, len(m.flying)); wrong != "" {
		return wrong
	}
	if m.free == 0 {
		return ""
	}
	next := m.machine.next(true)
	for l := range m.due {
		t := m.machine.targets[l]
		full := false
		late := time.Duration(0)
		if t != nil && t.party != nil {
			p := t.party
			room, _ := m.machine.room(p.site, p.kind(t.level(queue.Retried)))
			full = room <= 0 || p.aside || p.waits != 0 || p.sated || p.own != nil && (p.own.down && p.held > 0 || p.held >= int32(p.own.window))
			late = lookAgain // until shares have grown
			if m.machine.blocked(t) > 0 {
				late, full = recheck, p.site.held >= 5
			}
		}
		if full {
			continue
		}
		for _, task := range m.due[l] {
			at := earliest(task.at, task.overdue)
			if !at.After(m.now) && late == 0 || next.IsZero() || next.After(at.Add(late)) && next.After(m.now.Add(late)) {
				return fmt.Sprintf("at %v mail for %v is due at %v, and the next look is at %v", m.now, l, at, next)
			}
		}
		for _, at := range m.leased[l] {
			if at = at.Add(m.machine.lease); late == 0 && (!at.After(m.now) || next.IsZero() || next.After(at)) {
				return fmt.Sprintf("at %v a lease on mail for %v ended a term before %v, and the next look is at %v", m.now, l, at, next)
			}
		}
	}
	return ""
}

// checkMachine says what is wrong with the sums of a machine that has so many tasks in flight and isn't in a turn.
func checkMachine(m *machine, flying int) (wrong string) {
	sites, parties, owners, lent := map[*site]int32{}, map[*party]int32{}, map[*owner]int{}, map[*owner]int{}
	hosts, kindsUsed := map[*host]int32{}, [kinds]int{}
	n := 0
	for _, list := range [...]*flights{&m.young, &m.old} {
		for f := list.first; f != nil; f = f.next {
			n++
			p := f.t.party
			sites[p.site]++
			parties[p]++
			kindsUsed[f.kind]++
			if f.kind == atDesk {
				continue
			}
			owners[p.owner]++
			if f.kind != fast {
				lent[p.owner]++
			}
			for _, h := range p.site.hosts {
				hosts[h]++
			}
		}
	}
	if n != flying || m.held != flying || m.kinds != kindsUsed {
		return fmt.Sprintf("got %d tasks in flight, %d held, kinds %d, want %d and %d", n, m.held, m.kinds, flying, kindsUsed)
	}
	if got, want := m.lent.used, kindsUsed[fresh]+kindsUsed[dull]+kindsUsed[probe]; got != want {
		return fmt.Sprintf("got %d lent, want %d", got, want)
	}
	for _, s := range m.sites {
		if s.held != sites[s] || s.held > 5 {
			return fmt.Sprintf("got %d at %s in flight, want %d, and 5 at most", s.held, s.name, sites[s])
		}
		for _, r := range s.rings {
			if r.len() > 0 && s.lined&(1<<r.stand) == 0 {
				if room, _ := m.room(s, r.kind()); room > 0 && !m.siteBlocked(s) {
					return fmt.Sprintf("%s has room for stand %d, and isn't in line", s.name, r.stand)
				}
			}
		}
	}
	waiting := map[*site]bool{}
	for _, l := range m.lines {
		for _, s := range l.all[l.out:] {
			waiting[s] = true
		}
	}
	if len(waiting) != m.waiting {
		return fmt.Sprintf("got %d waiting, want %d", m.waiting, len(waiting))
	}
	for _, p := range m.parties {
		if p.held != parties[p] {
			return fmt.Sprintf("got %d in flight of a party at %s, want %d", p.held, p.site.name, parties[p])
		}
	}
	for _, o := range m.owners {
		if o.slots.used != owners[o] || o.lent.used != lent[o] {
			return fmt.Sprintf("got %d slots of owner %d, %d lent, want %d and %d", o.slots.used, o.number, o.lent.used, owners[o], lent[o])
		}
	}
	waits := map[*party]uint8{}
	owed := 0
	for _, o := range m.owners {
		owed += o.lent.owed
		if o.lent.owed > o.lent.used {
			return fmt.Sprintf("got %d slots owed of %d lent to owner %d", o.lent.owed, o.lent.used, o.number)
		}
		for _, lines := range o.waiting {
			for l, line := range lines {
				for _, p := range line.all[line.out:] {
					if waits[p]&(1<<l) != 0 {
						return fmt.Sprintf("a party at %s waits twice for slots on level %d", p.site.name, l)
					}
					waits[p] |= 1 << l
				}
			}
		}
	}
	if m.lent.owed != owed {
		return fmt.Sprintf("got %d slots owed, want %d", m.lent.owed, owed)
	}
	for _, p := range m.parties {
		if p.waits != waits[p] || p.waits&p.ringed != 0 {
			return fmt.Sprintf("a party at %s waits for slots on levels %b, stands on %b, and lines have it on %b",
				p.site.name, p.waits, p.ringed, waits[p])
		}
	}
	for _, h := range m.hosts {
		if h.held != hosts[h] || h.held > h.most {
			return fmt.Sprintf("got %d at %s, want %d, and %d at most", h.held, h.addr, hosts[h], h.most)
		}
	}
	return ""
}

func TestInbox(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	in := newInbox()
	a, b := queue.Lane{Destination: "a"}, queue.Lane{Destination: "a", Owner: 1}
	in.wake(a, now)
	in.wake(a, now.Add(1))
	in.wake(a, now.Add(-1))
	in.wake(b, now)
	in.finish(outcome{lapse: now})
	in.found(sited{"a", Site{Name: "hosts"}})
	if n := len(in.signal); n != 1 {
		t.Errorf("got %d signals, want 1", n)
	}
	var n news
	in.take(&n)
	if want := map[queue.Lane]time.Time{a: now.Add(-1), b: now}; !maps.Equal(n.woken, want) || len(n.done) != 1 || len(n.sited) != 1 {
		t.Errorf("got %+v, want %v, one done and one sited", n, want)
	}
	in.wake(b, now)
	in.take(&n)
	if want := map[queue.Lane]time.Time{b: now}; !maps.Equal(n.woken, want) || len(n.done) != 0 || len(n.sited) != 0 {
		t.Errorf("got %+v, want %v and nothing else", n, want)
	}
	if in.take(&n); len(n.woken) != 0 {
		t.Errorf("got %+v, want nothing", n)
	}
}
