package permits

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// eager is true of members with small numbers.
func eager(id uint64) bool { return id < 10 }

// TestPermit has member 1 ask when others have their seats.
func TestPermit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		seats  map[uint64]Seat
		ask    Ask
		want   Grant
		placed bool
	}{
		{"alone", nil, Ask{Limit: 20, Most: 1, Lacking: true}, Grant{Permits: 10, Booked: 10}, false},
		{"alone with one", nil, Ask{Limit: 1, Most: 5, Lacking: true}, Grant{Permits: 1, Booked: 1, Waits: true}, false},
		{"a rest is left", map[uint64]Seat{2: {Have: 17}}, Ask{Limit: 20, Most: 2, Lacking: true},
			Grant{Permits: 2, Booked: 2, Others: 17}, false},
		{"nothing is left", map[uint64]Seat{2: {Have: 20}}, Ask{Limit: 20, Most: 2, Lacking: true},
			Grant{Others: 20, Waits: true}, true},
		{"others lack a part", map[uint64]Seat{1: {Have: 20}, 2: {Want: 20, Place: 1}},
			Ask{Limit: 20, Used: 15, Most: 20, Lacking: true},
			Grant{Permits: 10, Booked: 15, Contested: true, Waits: true}, false},
		{"others lack little", map[uint64]Seat{1: {Have: 20}, 2: {Want: 3, Place: 1}},
			Ask{Limit: 20, Used: 20, Most: 20, Lacking: true},
			Grant{Permits: 17, Booked: 20, Contested: true, Waits: true}, false},
		{"others lack, and it doesn't", map[uint64]Seat{1: {Have: 20}, 2: {Want: 20, Place: 1}},
			Ask{Limit: 20, Used: 2, Most: 20}, Grant{Permits: 2, Booked: 2, Contested: true}, false},
		{"idle", map[uint64]Seat{1: {Have: 1}, 2: {Want: 1, Place: 1}}, Ask{Limit: 1, Most: 1},
			Grant{Contested: true}, false},
		{"its turn goes on", map[uint64]Seat{1: {Have: 1}, 2: {Want: 1, Place: 1}},
			Ask{Limit: 1, Used: 1, Most: 1, Lacking: true}, Grant{Permits: 1, Booked: 1, Contested: true}, false},
		{"its turn is over", map[uint64]Seat{1: {Have: 1}, 2: {Want: 1, Place: 1}},
			Ask{Limit: 1, Used: 1, Most: 1, Lacking: true, Over: true},
			Grant{Booked: 1, Contested: true, Waits: true}, true},
		{"its turn comes", map[uint64]Seat{1: {Want: 1, Place: 1}, 2: {Want: 1, Place: 2}},
			Ask{Limit: 1, Most: 1, Lacking: true}, Grant{Permits: 1, Booked: 1, Contested: true}, false},
		{"another's turn comes", map[uint64]Seat{1: {Want: 1, Place: 2}, 2: {Want: 1, Place: 1}},
			Ask{Limit: 1, Most: 1, Lacking: true}, Grant{Contested: true, Waits: true}, true},
		{"a member that has one permit counts", map[uint64]Seat{1: {Have: 20}, 2: {Want: 20, Place: 1}, 3: {Have: 1}},
			Ask{Limit: 21, Used: 15, Most: 20, Lacking: true},
			Grant{Permits: 13, Booked: 15, Others: 1, Contested: true, Waits: true}, false},
		{"one that has and wants none doesn't", map[uint64]Seat{1: {Have: 20}, 2: {Want: 20, Place: 1}, 3: {Slots: true}},
			Ask{Limit: 20, Used: 15, Most: 20, Lacking: true},
			Grant{Permits: 10, Booked: 15, Contested: true, Waits: true}, false},
		{"one that wants some and isn't eager doesn't", map[uint64]Seat{1: {Have: 20}, 2: {Want: 20, Place: 1}, 11: {Want: 5}},
			Ask{Limit: 20, Used: 15, Most: 20, Lacking: true},
			Grant{Permits: 10, Booked: 15, Contested: true, Waits: true}, false},
		{"nobody gives to one that isn't eager", map[uint64]Seat{1: {Have: 20}, 11: {Want: 20, Place: 1}},
			Ask{Limit: 20, Used: 20, Most: 20, Lacking: true}, Grant{Permits: 20, Booked: 20}, false},
		{"nobody waits for itself", map[uint64]Seat{1: {Have: 5, Want: 20}}, Ask{Limit: 20, Used: 5, Most: 20, Lacking: true},
			Grant{Permits: 20, Booked: 20}, false},
		{"a new one has a place behind others", map[uint64]Seat{2: {Want: 1, Place: 1}, 3: {Have: 1}},
			Ask{Limit: 2, Most: 1, Lacking: true}, Grant{Others: 1, Contested: true, Waits: true}, true},
		{"one without a place isn't before it", map[uint64]Seat{1: {Want: 1, Place: 2}, 2: {Want: 1}, 3: {Have: 1}},
			Ask{Limit: 2, Most: 1, Lacking: true}, Grant{Permits: 1, Booked: 1, Others: 1, Contested: true}, false},
		{"it keeps what it has, and gets no more", nil, Ask{Limit: 20, Used: 1, Most: 3}, Grant{Permits: 3, Booked: 3}, false},
		{"it has had its turn, and is the first in line", map[uint64]Seat{1: {Want: 1, Place: 1}, 2: {Want: 1, Place: 2}},
			Ask{Limit: 1, Most: 1, Lacking: true, Over: true}, Grant{Permits: 1, Booked: 1, Contested: true}, false},
		{"no turns if there is one for each", map[uint64]Seat{1: {Have: 1}, 2: {Want: 1, Place: 1}, 3: {Have: 2}},
			Ask{Limit: 3, Used: 1, Most: 1, Lacking: true, Over: true},
			Grant{Permits: 1, Booked: 1, Others: 2, Contested: true}, false},
		{"no turns if there are more", map[uint64]Seat{1: {Have: 6}, 2: {Want: 20, Place: 1}, 3: {Have: 14}},
			Ask{Limit: 20, Used: 6, Most: 6, Lacking: true, Over: true},
			Grant{Permits: 6, Booked: 6, Others: 14, Contested: true}, false},
		{"others have too much", map[uint64]Seat{2: {Have: 3}}, Ask{Limit: 2, Used: 1, Most: 1},
			Grant{Booked: 1, Others: 3}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &Book{Seats: tt.seats, Last: 5}
			if b.Seats == nil {
				b.Seats = map[uint64]Seat{}
			}
			got := b.Permit(1, tt.ask, eager)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if s := b.Seats[1]; s.Have != got.Booked || (s.Place > 0) != tt.placed {
				t.Errorf("got the seat %+v, want %d permits, and that it has a place is %v", s, got.Booked, tt.placed)
			}
			if want := tt.ask.Most; got.Waits && b.Seats[1].Want != want || !got.Waits && b.Seats[1].Want != 0 {
				t.Errorf("got the seat %+v, want it to want %d if it waits, and else none", b.Seats[1], want)
			}
		})
	}
}

// TestPermitsInvariant has members with random needs: the limit holds, nothing that is wanted is left over for long,
// and each member gets its turn.
func TestPermitsInvariant(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		limit, members := 1+r.IntN(8), 1+r.IntN(6)
		type member struct {
			used, permits, most int
			served, turn        int
			had                 bool
		}
		all := make([]member, members)
		book, _ := Read(nil)
		for step := range 5000 {
			i := r.IntN(members)
			m := &all[i]
			if r.IntN(4) > 0 { // work
				switch {
				case m.used > 0 && r.IntN(2) == 0:
					m.used--
					m.served++
				case m.used < m.permits && m.used < m.most:
					m.used++
				}
				continue
			}
			if step < 2500 {
				m.most = r.IntN(6)
			} else { // all want all
				m.most = 6
			}
			a := Ask{
				Limit: limit, Used: m.used, Most: max(m.most, m.used), Lacking: m.most > m.used,
				Over: step-m.turn > 50*members,
			}
			g := book.Permit(uint64(i+1), a, eager)
			if m.permits = g.Permits; !m.had && g.Permits > 0 {
				m.turn = step
			}
			m.had = g.Permits > 0
			have, used := 0, 0
			for j := range all {
				have += book.Seats[uint64(j+1)].Have
				used += all[j].used
				if all[j].used > book.Seats[uint64(j+1)].Have {
					t.Fatalf("seed %d: a member uses %d permits and has %d", seed, all[j].used, book.Seats[uint64(j+1)].Have)
				}
			}
			if have > limit || used > limit {
				t.Fatalf("seed %d: %d permits are given and %d used, of %d", seed, have, used, limit)
			}
			if step == 2500 {
				for j := range all {
					all[j].served = 0
				}
			}
		}
		for i := range all {
			if all[i].served == 0 {
				t.Errorf("seed %d: member %d of %d gets none of %d permits", seed, i, members, limit)
			}
		}
	}
}

// TestSlots has members ask for slots of a rate.
func TestSlots(t *testing.T) {
	const every = int64(time.Second)
	now := time.Unix(1000, 0)
	at := func(seconds int64) int64 { return now.UnixNano() + seconds*every }
	for _, tt := range []struct {
		name  string
		book  Book
		n     int
		first int64
		got   int
	}{
		{"the first", Book{}, 9, at(0), 3},
		{"few wanted", Book{}, 1, at(0), 1},
		{"none wanted", Book{}, 0, 0, 0},
		{"some are out", Book{Next: at(1)}, 9, at(1), 2},
		{"all are out", Book{Next: at(3)}, 9, 0, 0},
		{"three members", Book{Seats: map[uint64]Seat{2: {Slots: true}, 3: {Slots: true}}}, 9, at(0), 1},
		{"one for two, and it had the older", Book{Next: at(2), Seats: map[uint64]Seat{1: {Slot: 1}, 2: {Slots: true, Slot: 2}}},
			9, at(2), 1},
		{"one for two, and it had the newer", Book{Next: at(2), Seats: map[uint64]Seat{1: {Slot: 2}, 2: {Slots: true, Slot: 1}}},
			9, 0, 0},
		{"half a slot more than all", Book{Next: at(2) + every/2}, 9, 0, 0},
		{"beside one that isn't eager", Book{Seats: map[uint64]Seat{11: {Slots: true}}}, 9, at(0), 3},
		{"beside one that wants none", Book{Seats: map[uint64]Seat{2: {Have: 1}}}, 9, at(0), 3},
		{"again", Book{Seats: map[uint64]Seat{1: {Slots: true}}}, 9, at(0), 3},
		{"one for two, neither had one", Book{Next: at(2), Seats: map[uint64]Seat{2: {Slots: true}}}, 9, at(2), 1},
		{"the clock was set back", Book{Next: at(10000), Every: every}, 9, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.book
			if b.Seats == nil {
				b.Seats = map[uint64]Seat{}
			}
			first, got := b.Slots(1, tt.n, every, now, eager)
			if first != tt.first || got != tt.got {
				t.Errorf("got %d from %v, want %d from %v", got, time.Unix(0, first), tt.got, time.Unix(0, tt.first))
			}
			if b.Next > at(3) {
				t.Errorf("the next slot is %v away, want a few seconds at most", time.Duration(b.Next-at(0)))
			}
			s := b.Seats[1]
			if s.Slots != (tt.n > 0) || got > 0 && (s.Slot != first+int64(got-1)*every || b.Every != every) {
				t.Errorf("got the seat %+v and slots each %d, want it to have the last of %d from %d", s, b.Every, got, first)
			}
		})
	}
	for _, tt := range []struct {
		name  string
		other uint64 // beside member 2, whose last slot is 5
		slot  int64
		got   int
	}{
		{"a smaller number is before it", 1, 5, 0}, {"a larger number isn't", 3, 5, 1}, {"a later slot isn't", 1, 6, 1},
	} {
		b := Book{Next: at(2), Seats: map[uint64]Seat{2: {Slot: 5}, tt.other: {Slots: true, Slot: tt.slot}}}
		if _, got := b.Slots(2, 1, every, now, eager); got != tt.got {
			t.Errorf("%s: got %d slots, want %d", tt.name, got, tt.got)
		}
	}
	for each, want := range map[int64]int{-1: 0, 0: 0, 1: 9} {
		b := Book{Seats: map[uint64]Seat{}}
		if _, got := b.Slots(1, 9, each, now, eager); got != want {
			t.Errorf("one each %d ns: got %d slots, want %d", each, got, want)
		}
	}
	b := Book{Seats: map[uint64]Seat{}}
	first, n := b.Slots(1, 3, every, now, eager)
	b.Return(first+every, first+int64(n)*every)
	if again, _ := b.Slots(2, 1, every, now, eager); again != first+every {
		t.Errorf("a slot that was returned is given out again: got %v, want %v", again-first, every)
	}
	b.Return(first+2*every-1, first+2*every+1)
	if b.Next != first+2*every {
		t.Errorf("a slot is taken back only if none was given out since")
	}
	next := b.Next
	if b.Return(next+every, next); b.Next != next {
		t.Errorf("slots that end before they begin aren't taken back: got %v, want %v", b.Next, next)
	}
}

// TestRecord writes records and reads them.
func TestRecord(t *testing.T) {
	now := time.Unix(1000, 0)
	seats := map[uint64]Seat{1: {Have: 3, Slot: 7}}
	for _, tt := range []struct {
		name string
		book Book
		none bool
	}{
		{"seats", Book{Seats: seats, Last: 4}, false},
		{"slots that were given out", Book{Next: now.UnixNano() + 1}, false},
		{"the slot of now is free", Book{Next: now.UnixNano()}, true},
		{"nothing", Book{}, true},
	} {
		data := tt.book.Write(now)
		got, err := Read(data)
		if err != nil || (data == nil) != tt.none || got.Seats == nil {
			t.Errorf("%s: got %s, read as %+v and %v", tt.name, data, got, err)
			continue
		}
		if !tt.none && (!maps.Equal(got.Seats, tt.book.Seats) || got.Next != tt.book.Next || got.Last != tt.book.Last) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.book)
		}
	}
	for _, bad := range []string{"x", "[1]"} {
		if b, err := Read([]byte(bad)); err == nil {
			t.Errorf("%s: got %+v, want an error", bad, b)
		}
		if m, err := ReadMembers([]byte(bad)); err == nil {
			t.Errorf("%s: got %+v, want an error", bad, m)
		}
	}
}

// TestClean: seats of members stay that say something.
func TestClean(t *testing.T) {
	b := Book{Seats: map[uint64]Seat{1: {Have: 1}, 2: {Slots: true}, 3: {Slot: 9}, 11: {Have: 1}}}
	b.Clean(eager)
	if want := map[uint64]Seat{1: {Have: 1}, 2: {Slots: true}}; !maps.Equal(b.Seats, want) {
		t.Errorf("got seats %+v, want %+v", b.Seats, want)
	}
}

// TestWatch has member 1 see others that come, write, and go.
func TestWatch(t *testing.T) {
	m := &Members{Members: map[uint64]Member{2: {}, 3: {Beat: 1}}}
	w := Watch{}
	if w.Bury(m, 1, int64(Dead)); !m.Has(2) {
		t.Error("a member is removed that was never seen")
	}
	w.Note(m, 0)
	m.Beat(3, []string{"late"})
	if !w.IsEager(m, 3, int64(time.Hour)) {
		t.Error("what a member wants that has written since counts")
	}
	if w.Bury(m, 1, int64(Dead)); m.Has(2) || !m.Has(3) {
		t.Errorf("got members %+v, want the one alone that has written since", m.Members)
	}
	m.Beat(2, nil)
	w.Note(m, int64(Dead))
	if got, want := w[3], (Sight{2, int64(Dead)}); got != want {
		t.Errorf("got %+v of a member that has written, want %+v", got, want)
	}
	m.Beat(1, []string{"own"})
	if got := w.Called(m, 1, int64(Dead)); fmt.Sprint(got) != "[late]" {
		t.Errorf("got calls %v, want [late]", got)
	}
	if got := w.Called(m, 1, int64(Dead+Eager)); len(got) > 0 {
		t.Errorf("got calls %v of members that haven't written for %v", got, Eager)
	}
}

// TestMembers has member 1 watch the others.
func TestMembers(t *testing.T) {
	m, _ := ReadMembers(nil)
	w := Watch{}
	at := func(d time.Duration) int64 { return int64(d) }
	m.Beat(1, nil)
	m.Beat(2, []string{"b", "a"})
	m.Beat(3, []string{"a"})
	w.Note(m, 0)
	if got := fmt.Sprint(w.Called(m, 1, 0)); got != "[a b]" {
		t.Errorf("got calls for %s, want [a b]", got)
	}
	m.Beat(3, nil)
	w.Note(m, at(Eager))
	if w.IsEager(m, 2, at(Eager)) || !w.IsEager(m, 3, at(Eager)) || !w.IsEager(m, 4, at(Eager)) {
		t.Errorf("what a member wants that hasn't written for %v doesn't count, and what a new one wants does", Eager)
	}
	w.Bury(m, 1, at(Dead)-1)
	if !m.Has(2) {
		t.Errorf("a member is removed before %v", Dead)
	}
	w.Bury(m, 1, at(Dead))
	if m.Has(2) || !m.Has(3) || !m.Has(1) {
		t.Errorf("got members %v, want 1 and 3", m.Members)
	}
	w.Note(m, at(Dead))
	if _, ok := w[2]; ok {
		t.Errorf("a member that is gone is still watched")
	}
	again, err := ReadMembers(m.Write())
	if err != nil || again.Members[3].Beat != 2 || !again.Has(1) {
		t.Errorf("got %+v and %v after a write and a read", again, err)
	}
}

// FuzzRead reads records that another program may have written.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"seats":{"1":{"have":3,"want":9,"place":2}},"next":5,"every":1}`))
	f.Add([]byte(`{"members":{"7":{"beat":3,"calls":["x"]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		now := time.Unix(1000, 0)
		if b, err := Read(data); err == nil {
			if g := b.Permit(1, Ask{Limit: 3, Used: 1, Most: 5, Lacking: true}, eager); g.Permits > 3 || g.Permits < 0 {
				t.Errorf("got %+v of 3 permits", g)
			}
			if _, n := b.Slots(1, 4, int64(time.Second), now, eager); n < 0 || n > 4 {
				t.Errorf("got %d slots of 4", n)
			}
			b.Clean(func(id uint64) bool { return id == 1 })
			b.Write(now)
		}
		if m, err := ReadMembers(data); err == nil {
			m.Beat(1, nil)
			m.Write()
		}
	})
}
