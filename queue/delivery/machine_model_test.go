package delivery

import (
	"fmt"
	"maps"
	"math/rand/v2"
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
		m.due, m.leased = make(map[string][]modelTask), make(map[string][]time.Time)
		m.sick = make(map[string]bool)
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
	flying  []*target
	due     map[string][]modelTask // tasks that a list would have, by destination
	leased  map[string][]time.Time // tasks that were never settled, and when their leases end
	sick    map[string]bool        // destinations whose tasks fail
	wrong   string
}

type modelTask struct {
	at, overdue time.Time
	attempts    int
}

func (m *machineModel) in(d time.Duration) time.Time {
	return m.now.Add(time.Duration(m.rnd.Int64N(int64(d))))
}

// some is one of six destinations at three sites.
func (m *machineModel) some() string { return string(rune('a' + m.rnd.IntN(6))) }

func (m *machineModel) siteOf(name string) string { return "site " + string(rune('0'+(name[0]-'a')/2)) }

func (m *machineModel) step() {
	switch m.rnd.IntN(15) {
	case 0, 1, 2, 3, 4:
		m.put(m.some(), modelTask{at: m.in(5 * time.Second), overdue: m.in(time.Hour)})
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
		m.machine.flush(m.some(), m.now)
	}
}

func (m *machineModel) put(name string, t modelTask) {
	m.due[name] = append(m.due[name], t)
	m.machine.wake(name, earliest(t.at, t.overdue), m.now)
}

// ends has a delivery end: for good, to be tried again, or without being settled.
func (m *machineModel) ends() {
	if len(m.flying) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.flying))
	t := m.flying[i]
	m.flying = slices.Delete(m.flying, i, i+1)
	m.free++
	var lapse time.Time
	v := well
	switch {
	case m.sick[t.name]:
		next := modelTask{at: m.in(time.Minute), overdue: m.in(time.Hour), attempts: 1}
		v = failed
		v.overdue = next.overdue.UnixNano()
		m.put(t.name, next)
	case m.rnd.IntN(3) == 0:
		lapse = m.in(m.machine.lease)
		m.leased[t.name] = append(m.leased[t.name], lapse)
	}
	m.machine.done(t, v, lapse, m.now)
}

// claims does what the loop does until it waits.
func (m *machineModel) claims() {
	for {
		wants := m.machine.pick(m.free, m.now)
		for name, ok := m.machine.toSite(); ok; name, ok = m.machine.toSite() {
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
				task := &queue.Task{Destination: w.Destination, Attempts: attempts, Arrival: m.now, Due: m.now}
				if w.Class == queue.Overdue {
					task.Deadline = m.now
				}
				t, p := m.machine.claimed(task, m.now)
				if (p.step == stepAttempt) != (m.machine.blocked(t) == 0) {
					m.wrong = fmt.Sprintf("%v of %s: step %v, blocked until %v", w, t.name, p.step, m.machine.blocked(t))
				}
				m.flying = append(m.flying, t)
			}
		}
		m.machine.settleTurn(failed)
		if failed {
			continue
		}
		for _, w := range wants { // the queue tells what comes next
			for _, t := range m.due[w.Destination] {
				at := earliest(t.at, t.overdue)
				if w.Class == queue.Overdue {
					at = t.overdue
				}
				if at.After(m.now) && (w.Class == queue.Any || w.Class == queue.Overdue || (w.Class == queue.Fresh) == (t.attempts == 0)) {
					m.machine.wake(w.Destination, at, m.now)
				}
			}
		}
	}
}

// takes claims a task that is due.
func (m *machineModel) takes(w queue.Want) (attempts int, ok bool) {
	i := slices.IndexFunc(m.due[w.Destination], func(t modelTask) bool {
		switch w.Class {
		case queue.Overdue:
			return !t.overdue.After(m.now)
		case queue.Fresh:
			return t.attempts == 0 && !earliest(t.at, t.overdue).After(m.now)
		case queue.Retried:
			return t.attempts > 0 && !earliest(t.at, t.overdue).After(m.now)
		}
		return !earliest(t.at, t.overdue).After(m.now)
	})
	if i >= 0 {
		attempts = m.due[w.Destination][i].attempts + 1
		m.due[w.Destination] = slices.Delete(m.due[w.Destination], i, i+1)
		return attempts, true
	}
	i = slices.IndexFunc(m.leased[w.Destination], func(at time.Time) bool { return !at.After(m.now) })
	if i < 0 || w.Class == queue.Overdue || w.Class == queue.Fresh {
		return 0, false
	}
	m.leased[w.Destination] = slices.Delete(m.leased[w.Destination], i, i+1)
	return 2, true
}

func (m *machineModel) check() (wrong string) {
	if m.wrong != "" {
		return m.wrong
	}
	if m.free < 0 {
		return "more tasks than places"
	}
	for _, s := range m.machine.sites {
		if s.inFlight > 5 {
			return fmt.Sprintf("%d at %s in flight, want 5 at most", s.inFlight, s.name)
		}
		if s.granted != 0 {
			return fmt.Sprintf("%s has %d grants left after its turn", s.name, s.granted)
		}
	}
	if m.free == 0 {
		return ""
	}
	next := m.machine.next()
	for name := range m.due {
		t := m.machine.targets[name]
		full := false
		late := time.Duration(0)
		if t != nil && t.site != nil {
			room, _ := m.machine.room(t.site)
			full = room <= 0
			if t.site.down {
				late = time.Second // until there is a place for a probe
				full = t.site.inFlight > 0
			}
			if m.machine.blocked(t) > 0 {
				late = recheck
				if t.site.until > m.machine.mono {
					full = t.site.inFlight >= 5
				}
			}
		}
		if full {
			continue
		}
		for _, task := range m.due[name] {
			at := earliest(task.at, task.overdue)
			if !at.After(m.now) && late == 0 || next.IsZero() || next.After(at.Add(late)) && next.After(m.now.Add(late)) {
				return fmt.Sprintf("at %v mail for %s is due at %v, and the next look is at %v", m.now, name, at, next)
			}
		}
		for _, at := range m.leased[name] {
			if at = at.Add(m.machine.lease); late == 0 && (!at.After(m.now) || next.IsZero() || next.After(at)) {
				return fmt.Sprintf("at %v a lease on mail for %s ended a term before %v, and the next look is at %v", m.now, name, at, next)
			}
		}
	}
	return ""
}

func TestInbox(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	in := newInbox()
	in.wake("a", now)
	in.wake("a", now.Add(1))
	in.wake("a", now.Add(-1))
	in.wake("b", now)
	in.finish(outcome{lapse: now})
	in.found(sited{"a", "hosts"})
	if n := len(in.signal); n != 1 {
		t.Errorf("got %d signals, want 1", n)
	}
	var n news
	in.take(&n)
	if want := map[string]time.Time{"a": now.Add(-1), "b": now}; !maps.Equal(n.woken, want) || len(n.done) != 1 || len(n.sited) != 1 {
		t.Errorf("got %+v, want %v, one done and one sited", n, want)
	}
	in.wake("c", now)
	in.take(&n)
	if want := map[string]time.Time{"c": now}; !maps.Equal(n.woken, want) || len(n.done) != 0 || len(n.sited) != 0 {
		t.Errorf("got %+v, want %v and nothing else", n, want)
	}
	if in.take(&n); len(n.woken) != 0 {
		t.Errorf("got %+v, want nothing", n)
	}
}
