package delivery

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestPart has the part of an owner of what lately ended: all of it if no other has done anything.
func TestPart(t *testing.T) {
	for _, tt := range []struct{ all, own, want float64 }{{0, 0, 1}, {3, 3, 1}, {4, 3, 0.75}, {10, 5, 0.5}, {4, 0, 0}} {
		m := testMachine(machineConfig{})
		m.at(machineNow)
		var s share
		m.slots.ended.add(tt.all, m.mono)
		s.ended.add(tt.own, m.mono)
		if got := m.slots.part(&s, m.mono); got != tt.want {
			t.Errorf("%v of %v: got part %v, want %v", tt.own, tt.all, got, tt.want)
		}
	}
}

// TestLentLeast has an owner without a part of what lately ended: it may have an eighth of the slots that fast mail
// leaves.
func TestLentLeast(t *testing.T) {
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.places = 200
	m.lent.used = 1 // by another owner
	m.lent.ended.add(100, m.mono)
	m.slots.ended.add(100, m.mono)
	if _, size := m.share(); size != 160 || m.lentRoom(m.owner(1), fresh) != size/8 {
		t.Errorf("got room for %d of %d slots, want an eighth", m.lentRoom(m.owner(1), fresh), size)
	}
}

// TestEnded counts for an owner what was delivered or rejected before it took long, and nothing else.
func TestEnded(t *testing.T) {
	for _, tt := range []struct {
		name        string
		kind        kind
		long, final bool
		want, lent  float64
	}{
		{"fast", fast, false, true, 1, 0},
		{"not fast", fresh, false, true, 1, 1},
		{"deferred", fresh, false, false, 0, 0},
		{"took long", dull, true, true, 0, 0},
	} {
		m := testMachine(machineConfig{})
		m.at(machineNow)
		o := m.owner(1)
		f := &flight{t: &target{party: &party{owner: o, site: &site{}}}, kind: tt.kind}
		if tt.long {
			m.old.push(f)
		} else {
			m.young.push(f)
		}
		m.end(f, verdict{final: tt.final})
		if got, lent := o.slots.ended.at(m.mono), o.lent.ended.at(m.mono); got != tt.want || lent != tt.lent {
			t.Errorf("%s: got %v counted, %v of them lent; want %v and %v", tt.name, got, lent, tt.want, tt.lent)
		}
	}
}

// TestDeskShare has a quarter of the slots, one at least, for tasks that aren't sent.
func TestDeskShare(t *testing.T) {
	for places, most := range map[int]int{1: 1, 4: 1, 8: 2, 200: 50} {
		m := testMachine(machineConfig{})
		m.at(machineNow)
		m.places = places
		m.kinds[atDesk] = most
		m.desk.push(&site{limits: SiteLimits{Concurrency: 1}}, &target{})
		if m.toDesk(); m.desk.order.len() != 1 {
			t.Errorf("%d slots: got a further task beside %d, want none", places, most)
		}
		m.kinds[atDesk]--
		if m.toDesk(); m.desk.order.len() != 0 {
			t.Errorf("%d slots: got none beside %d, want a further task", places, most-1)
		}
	}
}

// TestOwnerWaits has a party wait for slots of either sort.
func TestOwnerWaits(t *testing.T) {
	for i := range 2 {
		var o owner
		if o.waits() {
			t.Error("an owner without parties waits")
		}
		o.waiting[i][levels-1].push(&party{})
		if !o.waits() {
			t.Errorf("an owner with a party in line %d doesn't wait", i)
		}
	}
}

// TestCrowdedStays has a host with parties of one owner waiting that may have no place there: it is looked at again
// until no party waits.
func TestCrowdedStays(t *testing.T) {
	m := testMachine(machineConfig{})
	m.at(machineNow)
	o := m.owner(1)
	h := &host{most: 5, held: 5, byOwner: map[*owner]int32{o: 5}}
	h.wait(&party{owner: o, site: &site{}})
	m.crowd(h)
	m.uncap()
	if !h.crowded || m.crowded.len() != 1 {
		t.Errorf("got a crowded host that isn't looked at again, and has %d owners waiting", h.order.len())
	}
	h.held, h.byOwner[o] = 0, 0
	m.uncap()
	if h.crowded || m.crowded.len() != 0 || h.order.len() != 0 {
		t.Errorf("got a host looked at again for %d owners waiting, want none", h.order.len())
	}
}

// TestSuspendedAside has a destination suspended whose site has other mail: it is put aside, and the other is claimed.
func TestSuspendedAside(t *testing.T) {
	m := testMachine(machineConfig{})
	for _, name := range []string{"x.test", "y.test"} {
		target := m.target(toLane(name))
		m.join(target, Site{Name: "a"})
		target.overdue = machineNow.Add(time.Hour).UnixNano()
		m.ready(target)
	}
	m.suspended["x.test"] = machineNow.Add(time.Hour) // both stand in line already
	wants := m.pick(2, machineNow)
	if len(wants) != 1 || wants[0].Destination != "y.test" || !m.targets[toLane("x.test")].aside {
		t.Errorf("got wants %+v, want y.test alone, and x.test aside", wants)
	}
}

// TestOverlong has a lookup that takes long, and nobody else who wants one: it ends after a minute, not before.
func TestOverlong(t *testing.T) {
	m := testMachine(machineConfig{resolve: true})
	m.wake(queue.Lane{Destination: "x.test", Owner: 1}, machineNow, machineNow)
	if name, ok := m.toSite(machineNow); name != "x.test" || !ok {
		t.Fatalf("got %q and %v to look up, want x.test", name, ok)
	}
	for _, after := range []time.Duration{patience, lookupTime - time.Nanosecond} {
		if names := m.overlong(machineNow.Add(after)); len(names) != 0 {
			t.Errorf("got %v given up after %v, want none", names, after)
		}
	}
	if names := m.overlong(machineNow.Add(lookupTime)); len(names) != 1 {
		t.Errorf("got %v given up after %v, want x.test", names, lookupTime)
	}
}
