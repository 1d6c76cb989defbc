package permits

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestShareInvariant has members with random needs send at the rate of their units: in no time do all of them send more
// than the rate allows and one message each.
func TestShareInvariant(t *testing.T) {
	const every = int64(time.Second)
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		members := 1 + r.IntN(6)
		type member struct {
			units int
			free  int64
			busy  bool
		}
		all := make([]member, members)
		book, _ := Read(nil)
		now := time.Unix(1000, 0)
		var sent []int64
		for range 20000 {
			now = now.Add(time.Duration(r.Int64N(int64(100 * time.Millisecond))))
			i := r.IntN(members)
			m := &all[i]
			if at := now.UnixNano(); m.busy && m.units > 0 && m.free <= at {
				m.free = max(m.free, at) + every*Units/int64(m.units)
				sent = append(sent, at)
			}
			if r.IntN(500) == 0 {
				m.busy = !m.busy
			}
			if r.IntN(4) > 0 {
				continue
			}
			a := Ask{Limit: Units, Most: m.units, Lacking: m.busy && m.units < Units}
			if a.Lacking {
				a.Most = max(2*m.units, Units/20)
			}
			var g Grant
			g, m.free = book.Share(uint64(i+1), a, m.free, every, now, func(uint64) bool { return true })
			m.units = g.Permits
			had := 0
			for _, s := range book.Seats {
				had += s.Have
			}
			if had > Units {
				t.Fatalf("seed %d: members have %d units of %d", seed, had, Units)
			}
		}
		most := 0.0
		low := float64(0)
		for i, at := range sent {
			x := float64(i) - float64(at-sent[0])/float64(every)
			if low = min(low, x); i == 0 {
				low = x
			}
			most = max(most, x-low+1)
		}
		if most > float64(members)+1 {
			t.Errorf("seed %d: %d members sent %.1f messages more than the rate allows", seed, members, most)
		}
	}
}

// TestShareDebts has units change hands: their debts go along.
func TestShareDebts(t *testing.T) {
	const s = int64(time.Second)
	start := time.Unix(1000, 0)
	book, _ := Read(nil)
	for _, tt := range []struct {
		name               string
		left               uint64 // a member that is gone
		me                 uint64
		most               int
		free, after        int64 // when the member's next message goes, and then; from start
		units              int
		wantFree, wantLeft int64
	}{
		{"half of all", 0, 1, 500, -5 * s, 0, 500, 0, 0},
		{"it keeps a debt", 0, 1, 500, 4 * s, 0, 500, 4 * s, 0},
		{"another has the rest", 0, 2, 500, -5 * s, 0, 500, 0, 0},
		{"the first gives up four fifths", 0, 1, 100, 4 * s, 0, 100, 4 * s, 4 * s},
		{"the other one has those, too", 0, 2, 900, 0, 0, 900, 4 * s * 4 / 9, 4 * s},
		{"it gives up two thirds", 0, 2, 300, 3 * s, 0, 300, 3 * s, 3 * s},
		{"the first is gone", 1, 2, 300, 3 * s, 0, 300, 3 * s, (6*3*s + 4*s) / 7},
		{"later", 0, 2, 300, 3 * s, 10 * s, 300, 3 * s, -1},
	} {
		now := start.Add(time.Duration(tt.after))
		book.Left(func(id uint64) bool { return id != tt.left }, now)
		book.Clean(func(id uint64) bool { return id != tt.left })
		a := Ask{Limit: Units, Most: tt.most, Lacking: tt.most > book.Seats[tt.me].Have}
		g, free := book.Share(tt.me, a, start.UnixNano()+tt.free, s, now, func(uint64) bool { return true })
		near := func(got, want int64) bool { return max(got-want, want-got) <= 1000 }
		if free -= start.UnixNano(); g.Permits != tt.units || !near(free, tt.wantFree) {
			t.Errorf("%s: got %d units from %v on, want %d from %v on", tt.name, g.Permits, time.Duration(free), tt.units,
				time.Duration(tt.wantFree))
		}
		left := book.Until
		if tt.wantLeft > 0 {
			left -= start.UnixNano()
		}
		if !near(left, max(tt.wantLeft, 0)) {
			t.Errorf("%s: got units left from %v on, want %v", tt.name, time.Duration(left), time.Duration(tt.wantLeft))
		}
	}
}

// TestShareLost has a member ask again after an answer was lost: it has the debt of the units that it got.
func TestShareLost(t *testing.T) {
	const s = int64(time.Second)
	now := time.Unix(1000, 0)
	at := func(seconds int64) int64 { return now.UnixNano() + seconds*s }
	for _, tt := range []struct {
		name   string
		seat   Seat
		had    int
		unsure bool
		free   int64 // from now
		want   int64
	}{
		{"units came with a debt", Seat{Have: 500, Until: at(10)}, 0, true, -5, 10},
		{"units came without a debt to those that had one", Seat{Have: 500}, 10, true, 50, 0},
		{"units came with less of a debt", Seat{Have: 500, Until: at(3)}, 10, true, 50, 3},
		{"it wasn't stored", Seat{Have: 500, Until: at(3)}, 500, true, 7, 7},
		{"units came and went again", Seat{Have: 500, Until: at(9)}, 500, true, 7, 9},
		{"units went", Seat{Have: 500, Until: at(7)}, 800, true, 7, 7},
		{"the clock was set back", Seat{Have: 500, Until: at(5000)}, 0, true, 7, 64},
		{"no answer was lost, and the clock was set back", Seat{Have: 500, Until: at(50)}, 500, false, 7, 7},
	} {
		b := Book{Seats: map[uint64]Seat{1: tt.seat}}
		a := Ask{Limit: Units, Most: tt.seat.Have, Had: tt.had, Unsure: tt.unsure}
		g, free := b.Share(1, a, at(tt.free), s, now, eager)
		if g.Permits != tt.seat.Have || max(free, at(0)) != at(tt.want) {
			t.Errorf("%s: got %d units, and the next message after %v, want %d and %d s", tt.name, g.Permits,
				time.Duration(free-at(0)), tt.seat.Have, tt.want)
		}
	}
}
