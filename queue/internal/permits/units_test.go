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
