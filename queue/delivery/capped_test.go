package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// busyMachine is a machine of 100 places, all taken by fast mail of two owners who have much more at 20 sites each.
type busyMachine struct {
	*testing.T
	m      *machine
	now    time.Time
	flying []*flight
	none   map[queue.Lane]bool // have nothing fresh
	taken  map[queue.Lane]int
}

const busyPlaces = 100

func newBusyMachine(t *testing.T) *busyMachine {
	b := &busyMachine{T: t, now: machineNow, none: make(map[queue.Lane]bool), taken: make(map[queue.Lane]int)}
	b.m = testMachine(machineConfig{site: func(string) SiteLimits { return SiteLimits{Concurrency: 20, Initial: 20} }})
	for i := range 40 {
		l := queue.Lane{Destination: fmt.Sprint("busy", i), Owner: queue.Owner(1 + i%2)}
		trust(b.m, l.Destination)
		b.m.wake(l, b.now, b.now)
	}
	b.turn()
	if free := busyPlaces - len(b.flying); free > 0 {
		t.Fatalf("got %d places left free at the start, want none", free)
	}
	b.rounds(200) // owners have their parts by now
	return b
}

// turn claims what is wanted, until nothing more is.
func (b *busyMachine) turn() {
	for {
		wants := b.m.pick(busyPlaces-len(b.flying), b.now)
		for _, w := range wants {
			if w.Class == queue.Fresh && b.none[w.Lane] {
				continue
			}
			attempts := 1
			if w.Class == queue.Retried {
				attempts = 2
			}
			for range w.Max {
				f, _ := claim(b.m, taskOf(w.Lane, attempts), b.now)
				b.flying = append(b.flying, f)
				b.taken[w.Lane]++
			}
		}
		b.m.settleTurn(false)
		if len(wants) == 0 {
			return
		}
	}
}

// rounds ends the oldest task to a fast site so many times. What is left free is wanted at once: of two parts that are
// rounded down, one place may be left.
func (b *busyMachine) rounds(n int) {
	b.Helper()
	for i := range n {
		for at, f := range b.flying {
			if f.kind == fast {
				b.flying = append(b.flying[:at], b.flying[at+1:]...)
				b.m.done(f, well, time.Time{}, b.now)
				break
			}
		}
		if b.turn(); len(b.flying) < busyPlaces-1 {
			b.Fatalf("round %d: got %d places left free, want one at most: there is fast mail", i, busyPlaces-len(b.flying))
		}
	}
}

// TestCapped has owners that wait until they may have more slots, with fast mail and with mail for new sites. What may
// have no slot now keeps none from what may, at once.
func TestCapped(t *testing.T) {
	b := newBusyMachine(t)
	for i := range 200 {
		b.m.wake(queue.Lane{Destination: fmt.Sprint("new", i), Owner: queue.Owner(1 + i%2)}, b.now, b.now)
	}
	b.rounds(500)
}

// TestCappedFresh has retried mail wait until its owner may have more slots. Fresh mail of the same lane comes: it
// doesn't stand behind that.
func TestCappedFresh(t *testing.T) {
	b := newBusyMachine(t)
	l := queue.Lane{Destination: "a", Owner: 1}
	b.none[l] = true
	b.m.wake(l, b.now, b.now)
	b.m.wake(l, b.now.Add(time.Second), b.now)
	b.now = b.now.Add(time.Second)
	b.rounds(50)
	before := b.taken[l]
	delete(b.none, l)
	b.m.wake(l, b.now, b.now)
	b.rounds(50)
	if got := b.taken[l]; got == before {
		t.Errorf("got %d tasks of the lane after fresh mail came, and %d before", got, before)
	}
}

// TestCappedFull has the party that waits first for a slot of its owner at a site that is full by now: the next one has
// the slot.
func TestCappedFull(t *testing.T) {
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.places = 100
	parties := make(map[string]*party)
	for _, dest := range []string{"a", "b"} {
		m.wake(queue.Lane{Destination: dest, Owner: 1}, machineNow, machineNow)
		p := m.parties[partyKey{m.sites[dest], 1}]
		p.site.ring(standOf(fast, 2)).pop()
		p.ringed = 0
		m.cap(p, fast, 2)
		parties[dest] = p
	}
	a, b := parties["a"], parties["b"]
	a.site.held = int32(a.site.standing.window)
	m.uncapOwner(b.owner, 1)
	if a.waits != 0 || b.waits != 0 || b.ringed == 0 {
		t.Errorf("got levels %b, of one at a full site, and %b yet to wait for slots; want none", a.waits, b.waits)
	}
}

// TestCrowdedSlow has two parties of an owner wait for places at a host: one that is slow, and may have no more of them,
// and one that is quick. That has the place.
func TestCrowdedSlow(t *testing.T) {
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.slots.ended.add(1000, m.mono) // others'
	o := m.owner(1)
	h := &host{most: 20, held: 2, byOwner: map[*owner]int32{o: 2}}
	slow := &party{site: &site{}, owner: o, pace: pace{long: 2}, aside: true}
	quick := &party{site: &site{}, owner: o, pace: pace{known: true}, aside: true}
	h.wait(slow)
	h.wait(quick)
	m.call(h, 1)
	if quick.aside || !slow.aside {
		t.Errorf("got the slow one to wait: %v, the quick one: %v; want the slow one alone", slow.aside, quick.aside)
	}
}
