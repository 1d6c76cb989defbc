package delivery

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestMachineUnasked has a Queue that returns tasks that weren't asked for: of a lane that isn't known, of one that had
// nothing left, and more than was wanted. They are sent, and the counts hold.
func TestMachineUnasked(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{resolve: true, site: func(string) SiteLimits { return SiteLimits{Concurrency: 5, Initial: 5} }})
	m.wake(toLane("a"), now, now)
	m.toSite(now)
	m.sited("a", Site{Name: "hosts"}, now)
	takeTurn(m, now, 1, 0, 0) // it has no fresh ones
	takeTurn(m, now, 1, 0, 0) // and no others
	m.wake(toLane("b"), now, now)
	m.toSite(now)
	m.sited("b", Site{Name: "hosts"}, now)
	if wants := m.pick(1, now); len(wants) != 1 || wants[0].Max != 1 {
		t.Fatalf("got wants %v, want one task", wants)
	}
	var flying []*flight
	for _, name := range []string{"b", "b", "a", "c"} {
		f, p := claim(m, taskOf(toLane(name), 1), now)
		if p.step != stepAttempt {
			t.Errorf("%s: got %+v, want an attempt", name, p)
		}
		flying = append(flying, f)
	}
	m.settleTurn(false)
	if s := m.sites["hosts"]; m.held != 4 || s.held != 3 || m.slots.used != 4 {
		t.Errorf("got %d in flight, %d of them at one site, %d slots used; want 4, 3, 4", m.held, s.held, m.slots.used)
	}
	if s := m.sites["c"]; s == nil || s.held != 1 {
		t.Errorf("the lane that isn't known: got site %+v, want one with its task", s)
	}
	for _, f := range flying {
		m.done(f, well, time.Time{}, now)
	}
	if kinds := m.kinds; m.held != 0 || m.slots.used != 0 || m.lent.used != 0 || kinds != [len(kinds)]int{} {
		t.Errorf("got %d in flight in the end, %d and %d slots used, %v; want none", m.held, m.slots.used, m.lent.used, kinds)
	}
	for _, w := range m.pick(9, now) {
		if w.Lane == toLane("a") && w.Class == queue.Fresh {
			t.Error("the lane that had nothing left is asked again")
		}
	}
}
