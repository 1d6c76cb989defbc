package queue

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestAgendaPick(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		setup func(a *agenda)
		free  int
		want  []Want
	}{
		{"nothing", func(a *agenda) {}, 10, nil},
		{"one alone has all up to its limit", func(a *agenda) { a.wake("a", now, now) }, 10, []Want{{"a", 3, Any}}},
		{"one each, in their order", func(a *agenda) {
			a.wake("b", now, now)
			a.wake("a", now.Add(-time.Hour), now)
			a.wake("c", now, now)
		}, 2, []Want{{"b", 1, Any}, {"a", 1, Any}}},
		{"what is left goes round", func(a *agenda) {
			a.wake("a", now, now)
			a.wake("b", now, now)
		}, 5, []Want{{"a", 3, Any}, {"b", 2, Any}}},
		{"one to come", func(a *agenda) { a.wake("a", now.Add(1), now) }, 5, nil},
		{"one that has come", func(a *agenda) { a.wake("a", now.Add(-1), now.Add(-2)) }, 5, []Want{{"a", 3, Any}}},
		{"the earliest time counts", func(a *agenda) {
			a.wake("a", now.Add(9), now.Add(-9))
			a.wake("a", now, now.Add(-9))
			a.wake("a", now.Add(8), now.Add(-9))
		}, 5, []Want{{"a", 3, Any}}},
		{"in flight counts", func(a *agenda) {
			a.wake("a", now, now)
			a.pick(2, now)
			a.start("a")
			a.start("a")
			a.settleTurn(false)
		}, 5, []Want{{"a", 1, Any}}},
		{"at its limit", func(a *agenda) {
			a.wake("a", now, now)
			a.pick(3, now)
			a.start("a")
			a.start("a")
			a.start("a")
			a.settleTurn(false)
			a.wake("a", now, now)
		}, 5, nil},
		{"drained", func(a *agenda) {
			a.wake("a", now, now)
			a.pick(3, now)
			a.start("a")
			a.start("a")
			a.settleTurn(false)
		}, 5, nil},
		{"a claim that failed", func(a *agenda) {
			a.wake("a", now, now)
			a.pick(3, now)
			a.settleTurn(true)
		}, 5, []Want{{"a", 3, Any}}},
		{"who had a turn comes last", func(a *agenda) {
			a.wake("a", now, now)
			a.wake("b", now, now)
			a.pick(1, now)
			a.start("a")
			a.settleTurn(false)
		}, 2, []Want{{"b", 1, Any}, {"a", 1, Any}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAgenda(3, 0)
			tt.setup(a)
			if got := a.pick(tt.free, now); len(got)+len(tt.want) > 0 && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestAgendaModel has random mail come and go and checks that no limit is passed and that all of it is
// claimed when it is due.
func TestAgendaModel(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		m := &agendaModel{agenda: newAgenda(3, 10*time.Second), rnd: rnd, now: time.Unix(0, 0), free: 8}
		m.due, m.leased = make(map[string][]time.Time), make(map[string][]time.Time)
		for step := range 300 {
			switch rnd.IntN(4) {
			case 0:
				m.comes(string(rune('a' + rnd.IntN(6))))
			case 1:
				m.ends()
			case 2:
				m.now = m.now.Add(time.Second)
			case 3:
				m.agenda.sweep()
			}
			m.claims()
			if wrong := m.check(); wrong != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, wrong)
			}
		}
	}
}

type agendaModel struct {
	agenda *agenda
	rnd    *rand.Rand
	now    time.Time
	free   int
	flying []*agendaEntry
	due    map[string][]time.Time // tasks that a list would have, by destination
	leased map[string][]time.Time // tasks that were never settled, and when their leases end
}

func (m *agendaModel) in(d time.Duration) time.Time {
	return m.now.Add(time.Duration(m.rnd.Int64N(int64(d))))
}

// comes has mail arrive for a destination.
func (m *agendaModel) comes(name string) {
	at := m.in(5 * time.Second)
	m.due[name] = append(m.due[name], at)
	m.agenda.wake(name, at, m.now)
}

// ends has a delivery end: for good, to be tried again, or without being settled.
func (m *agendaModel) ends() {
	if len(m.flying) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.flying))
	e := m.flying[i]
	m.flying = slices.Delete(m.flying, i, i+1)
	m.free++
	var lapse time.Time
	switch m.rnd.IntN(3) {
	case 0:
		next := m.in(time.Minute)
		m.due[e.name] = append(m.due[e.name], next)
		m.agenda.wake(e.name, next, m.now)
	case 1:
		lapse = m.in(m.agenda.lease)
		m.leased[e.name] = append(m.leased[e.name], lapse)
	}
	m.agenda.done(e, lapse, m.now)
}

// claims does what the loop does until it waits.
func (m *agendaModel) claims() {
	for {
		wants := m.agenda.pick(m.free, m.now)
		if len(wants) == 0 {
			return
		}
		failed := m.rnd.IntN(10) == 0
		for _, w := range wants {
			for range w.Max {
				if failed || !m.takes(m.due, w.Destination) && !m.takes(m.leased, w.Destination) {
					break
				}
				m.free--
				m.flying = append(m.flying, m.agenda.start(w.Destination))
			}
		}
		if m.agenda.settleTurn(failed) {
			for _, name := range slices.Sorted(maps.Keys(m.due)) {
				if len(m.due[name]) > 0 {
					m.agenda.wake(name, slices.MinFunc(m.due[name], time.Time.Compare), m.now)
				}
			}
		}
	}
}

// takes claims a task that is due.
func (m *agendaModel) takes(from map[string][]time.Time, name string) bool {
	i := slices.IndexFunc(from[name], func(at time.Time) bool { return !at.After(m.now) })
	if i < 0 {
		return false
	}
	from[name] = slices.Delete(from[name], i, i+1)
	return true
}

func (m *agendaModel) check() (wrong string) {
	if m.free < 0 {
		return "more tasks than places"
	}
	for name := range m.due {
		e := m.agenda.byName[name]
		if e != nil && e.inFlight > m.agenda.perDestination {
			return fmt.Sprintf("%d of %s in flight, want %d at most", e.inFlight, name, m.agenda.perDestination)
		}
		if m.free == 0 || e != nil && e.inFlight == m.agenda.perDestination {
			continue
		}
		next := m.agenda.next()
		for _, at := range m.due[name] {
			if !at.After(m.now) || next.IsZero() || next.After(at) {
				return fmt.Sprintf("at %v mail for %s is due at %v, and the next look is at %v", m.now, name, at, next)
			}
		}
		for _, at := range m.leased[name] {
			if at = at.Add(m.agenda.lease); !at.After(m.now) || next.IsZero() || next.After(at) {
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
	if n := len(in.signal); n != 1 {
		t.Errorf("got %d signals, want 1", n)
	}
	woken, done := in.take(nil, nil)
	if want := map[string]time.Time{"a": now.Add(-1), "b": now}; !maps.Equal(woken, want) || len(done) != 1 {
		t.Errorf("got %v and %d done, want %v and 1", woken, len(done), want)
	}
	in.wake("c", now)
	woken, done = in.take(woken, done)
	if want := map[string]time.Time{"c": now}; !maps.Equal(woken, want) || len(done) != 0 {
		t.Errorf("got %v and %d done, want %v and none", woken, len(done), want)
	}
	if woken, done = in.take(woken, done); len(woken) != 0 || len(done) != 0 {
		t.Errorf("got %v and %d done, want none", woken, len(done))
	}
}
