package delivery

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestOwnersForgotten has mail of new owners every minute: those of whom there is nothing to know are forgotten, those
// with mail that waits or with something done lately aren't.
func TestOwnersForgotten(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{site: func(string) SiteLimits { return SiteLimits{Concurrency: 50, Initial: 50} }})
	stays := queue.Lane{Destination: "b", Owner: 1}
	m.wake(stays, now, now)
	f := takeTurn(m, now, 1, 1, 0)[0] // in flight all the time
	most := 0
	for minute := range 200 {
		now = now.Add(time.Minute)
		for i := range 10 {
			m.wake(queue.Lane{Destination: "a", Owner: queue.Owner(10*minute + i + 2)}, now, now)
		}
		done := takeTurn(m, now, 10, 10, 0)
		for len(m.pick(10, now)) > 0 { // they have no more
			m.settleTurn(false)
		}
		m.settleTurn(false)
		for _, f := range done {
			m.done(f, well, time.Time{}, now)
		}
		if len(done) == 0 {
			t.Fatalf("minute %d: got nothing sent", minute)
		}
		for _, f := range done {
			if o := m.owners[f.t.Owner]; o == nil || o.slots.ended.at(m.mono) < 1 {
				t.Fatalf("minute %d: got owner %d forgotten, of whom something was just done", minute, f.t.Owner)
			}
		}
		most = max(most, len(m.owners))
		sum := 0.0
		for _, o := range m.owners {
			sum += o.slots.ended.at(m.mono)
		}
		if all := m.slots.ended.at(m.mono); math.Abs(all-sum) > 0.1 {
			t.Fatalf("minute %d: got %v done in all, and %v by the owners that are remembered", minute, all, sum)
		}
	}
	if most > 250 {
		t.Errorf("got up to %d owners remembered, of ten a minute", most)
	}
	if m.owners[1] != f.t.party.owner {
		t.Error("got the owner of what is in flight forgotten")
	}
}

// TestProvenForgotten has a site that took mail quickly: it is remembered for half a day, and forgotten after three
// halves, whether it is asked about or not.
func TestProvenForgotten(t *testing.T) {
	for _, every := range []time.Duration{time.Hour, 7 * time.Hour, 11 * time.Hour} {
		for first := range 12 { // hours after the machine was made
			m := testMachine(machineConfig{})
			begun := machineNow.Add(time.Duration(first) * time.Hour)
			m.at(begun)
			m.prove(&site{name: "x"})
			last := time.Duration(0)
			for past := time.Duration(0); past < 72*time.Hour; past += every {
				m.at(begun.Add(past))
				if m.isProven("x") {
					last = past
				} else if past <= halfDay {
					t.Errorf("every %v, from hour %d: got it forgotten after %v", every, first, past)
				}
			}
			if last > 3*halfDay {
				t.Errorf("every %v, from hour %d: got it remembered for %v", every, first, last)
			}
		}
	}
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.prove(&site{name: "x"})
	if m.at(machineNow.Add(25 * time.Hour)); m.isProven("x") {
		t.Error("got it remembered after a day in which nobody asked")
	}
	m.prove(&site{name: "x"})
	if !m.isProven("x") {
		t.Error("got it forgotten at once after that")
	}
}

// TestFlushOwner flushes what blocks an owner at a site: the owner's mail is tried at once, other sites' isn't.
func TestFlushOwner(t *testing.T) {
	for _, name := range []string{"a", "other", "b", "nobody", ""} {
		now := machineNow
		m := testMachine(machineConfig{})
		for _, of := range []string{"a", "b"} {
			site := map[string]string{"a": "other", "b": "hosts"}[of]
			target := m.target(toLane(of))
			m.join(target, Site{Name: site})
			m.ready(target)
			for range 3 {
				m.feedback(target.party, refused, 0)
			}
			if target.party.own == nil || target.party.own.until <= m.mono {
				t.Fatal("the owner isn't blocked")
			}
		}
		m.flush(now, name)
		var got []string
		for _, w := range m.pick(9, now) {
			if w.Class != queue.Overdue { // which isn't sent
				got = append(got, w.Destination)
			}
		}
		slices.Sort(got)
		want := map[string][]string{"a": {"a"}, "other": {"a"}, "b": {"b"}, "": {"a", "b"}}[name]
		if !slices.Equal(got, want) {
			t.Errorf("flush of %q: got mail of %v sent, want of %v", name, got, want)
		}
	}
}

// TestSuspensionsEnd has suspensions that end one after the other: each is forgotten then, and its mail is sent.
func TestSuspensionsEnd(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	names := []string{"a", "b", "c"}
	for i, name := range names {
		m.suspend([]string{name}, now.Add(time.Duration(i+1)*time.Minute), now)
		m.wake(toLane(name), now, now)
	}
	for i, name := range names {
		if left := slices.Sorted(maps.Keys(m.suspended)); !slices.Equal(left, names[i:]) {
			t.Errorf("minute %d: got %v suspended, want %v", i, left, names[i:])
		}
		if wants := m.pick(1, now); len(wants) > 0 {
			t.Errorf("minute %d: got wants %v of what is suspended", i, wants)
		}
		if now = m.next(true); !now.Equal(machineNow.Add(time.Duration(i+1) * time.Minute)) {
			t.Fatalf("minute %d: got it to look again at %v", i, now)
		}
		if got := fmt.Sprint(m.pick(1, now)); got != fmt.Sprint([]queue.Want{wish(name, 1, queue.Fresh)}) {
			t.Errorf("minute %d: got wants %v, want one of %s", i, got, name)
		}
		claim(m, taskOf(toLane(name), 1), now)
		m.settleTurn(false)
		for len(m.pick(1, now)) > 0 { // it has no more
			m.settleTurn(false)
		}
		m.settleTurn(false)
	}
	if len(m.suspended) > 0 || m.resumeAt != never {
		t.Errorf("got %v suspended in the end, and a look at them at %d", m.suspended, m.resumeAt)
	}
}

// TestHostFreed has a host with all the tasks in flight that it may have, and a party that waits for a place there: that
// has the first one that is free, at once.
func TestHostFreed(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	send := func(name string) []*flight {
		target := m.target(toLane(name))
		m.join(target, Site{Name: name, Addrs: addrs})
		m.ready(target)
		return takeTurn(m, now, 9, 9, 0)
	}
	first := send("a")
	for range 3 { // there is no more of it
		takeTurn(m, now, 9, 0, 0)
	}
	if second := send("b"); len(first) != 3 || len(second) != 2 {
		t.Fatalf("got %d and %d tasks sent to one host, want 3 and 2 of 5", len(first), len(second))
	}
	if wants := m.pick(9, now); len(wants) > 0 {
		t.Errorf("got wants %v for a full host", wants)
	}
	m.done(first[0], well, time.Time{}, now)
	if got, want := m.pick(9, now), []queue.Want{wish("b", 1, queue.Fresh)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestPartyKind says from whose share mail takes a slot, by what is known of its site and of its owner there.
func TestPartyKind(t *testing.T) {
	const freshLevel, retriedLevel = level(2), level(3)
	slow, quick := pace{known: true, long: 2}, pace{known: true, long: 1}
	all := []queue.Owner{1, 2, 3, 4, 5}
	tests := []struct {
		name           string
		site           site
		party          party
		fresh, retried kind
	}{
		{"nothing is known", site{}, party{}, fresh, probe},
		{"a host did its work", site{answered: true}, party{}, fresh, fresh},
		{"proven", site{proven: true}, party{}, fast, fast},
		{"down", site{proven: true, answered: true, standing: standing{down: true}}, party{}, probe, probe},
		{"down for the owner", site{proven: true, answered: true}, party{own: &standing{down: true}}, probe, probe},
		{"refused to the owner", site{proven: true, answered: true}, party{own: &standing{}}, fast, fast},
		{"slow", site{proven: true, slow: all}, party{}, dull, dull},
		{"slow for a few others", site{proven: true, slow: all[1:]}, party{}, fast, fast},
		{"slow for the owner when last seen", site{proven: true, slow: all[:1]}, party{}, dull, dull},
		{"slow for the owner", site{proven: true}, party{pace: slow}, dull, dull},
		{"slow for others", site{proven: true, slow: all}, party{pace: quick}, fast, fast},
		{"down and slow", site{slow: all, standing: standing{down: true}}, party{pace: slow}, probe, probe},
		{"reports", site{name: queue.ReportDestination, slow: all, standing: standing{down: true}}, party{pace: slow}, fast, fast},
	}
	for _, tt := range tests {
		tt.party.site, tt.party.owner = &tt.site, &owner{number: 1}
		if f, r := tt.party.kind(freshLevel), tt.party.kind(retriedLevel); f != tt.fresh || r != tt.retried {
			t.Errorf("%s: got kinds %d and %d, want %d for fresh mail and %d for retried", tt.name, f, r, tt.fresh, tt.retried)
		}
	}
}

// TestFading adds to numbers of which half is forgotten in each 30 seconds, at times that aren't whole seconds.
func TestFading(t *testing.T) {
	second := int64(time.Second)
	for _, tt := range []struct {
		name string
		adds []int64 // when one is added
		at   int64
		want float64
	}{
		{"at once", []int64{7}, 7, 1},
		{"after half", []int64{0}, 30 * second, 0.5},
		{"after two halves", []int64{0}, 60 * second, 0.25},
		{"two", []int64{0, 30 * second}, 30 * second, 1.5},
		{"many within a second", []int64{0, 1, 2, second - 1}, second - 1, 4},
		{"many, of which none waits for a whole second", []int64{0, second / 2, second, 3 * second / 2, 2 * second}, 32 * second, 2.5},
		{"after the last that counts", []int64{0}, 299 * second, 0.001},
		{"after long", []int64{0}, 300 * second, 0},
		{"long after another", []int64{0, 1000*second + 5}, 1030*second + 5, 0.5},
	} {
		var f fading
		for _, at := range tt.adds {
			f.add(1, at)
		}
		if got := f.at(tt.at); math.Abs(got-tt.want) > 0.05*tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	f := fading{}
	f.note(5, 0)
	f.note(2, 30*second) // less than is left
	if got := f.at(30 * second); got != 2.5 {
		t.Errorf("got %v noted, want the 2.5 that are left", got)
	}
	f.note(3, 30*second)
	if got := f.at(30 * second); got != 3 {
		t.Errorf("got %v noted, want 3", got)
	}
}
