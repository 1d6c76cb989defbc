package permits

import (
	"encoding/json"
	"time"
)

// Times of the protocol. Those that bound each other are measured by monotonic clocks.
const (
	Hold  = 20 * time.Second // a member uses what it has for so long after its last write
	Dead  = 30 * time.Second // and is removed after so long without one
	Eager = 5 * time.Second  // a member that wants something writes more often than that
	Turn  = 10 * time.Second // of a permit, if there are fewer than members that want one

	// Ahead is how far ahead the slots of a rate are given out.
	Ahead = 2 * time.Second
)

// Book is the record of one limit.
//
// Between two writes: the sum of Have is at most the limit, unless a member has lowered its own; a seat with a Place
// has less than its fair part; no slot before Next is free.
type Book struct {
	Seats map[uint64]Seat `json:"seats,omitempty"`
	Last  uint64          `json:"last,omitempty"` // the last Place that was given
	Next  int64           `json:"next,omitempty"` // the first slot that is free, in nanoseconds of the store's clock
	Every int64           `json:"every,omitempty"`
	Until int64           `json:"until,omitempty"` // when the units that nobody has may be used: see Share
}

// Seat is what a member has of a limit.
type Seat struct {
	Have  int    `json:"have,omitempty"`  // permits
	Want  int    `json:"want,omitempty"`  // permits in all, if more
	Place uint64 `json:"place,omitempty"` // in the line of those that have less than their part; 0: not in it
	Slots bool   `json:"slots,omitempty"` // it wants slots of the rate
	Slot  int64  `json:"slot,omitempty"`  // the last one that it got
	Until int64  `json:"until,omitempty"` // when its units may be used: see Share
}

// Read reads a record. None is an empty one.
func Read(data []byte) (*Book, error) {
	b := new(Book)
	if len(data) > 0 {
		if err := json.Unmarshal(data, b); err != nil {
			return nil, err
		}
	}
	if b.Seats == nil {
		b.Seats = make(map[uint64]Seat)
	}
	return b, nil
}

// Write returns the record, nil if it says nothing.
func (b *Book) Write(now time.Time) []byte {
	if len(b.Seats) == 0 && max(b.Next, b.Until) <= now.UnixNano() {
		return nil
	}
	data, err := json.Marshal(b)
	if err != nil {
		panic(err) // of numbers alone
	}
	return data
}

// Clean removes the seats of those that aren't members, and those that say nothing.
func (b *Book) Clean(isMember func(uint64) bool) {
	for id, s := range b.Seats {
		if !isMember(id) || s == (Seat{Slot: s.Slot}) {
			delete(b.Seats, id)
		}
	}
}

// Ask is what a member asks of a limit.
type Ask struct {
	Limit   int  // all permits that there are
	Used    int  // permits in use
	Most    int  // permits that it had and may keep or, if Lacking is true, wants in all
	Lacking bool // it could use more
	Over    bool // it has had permits for Turn
	Keep    int  // of those that it had, if others lack some, and it doesn't
	Had     int  // of a rate: units that it knows of
	Unsure  bool // of a rate: it doesn't know whether its last write was stored
}

// Grant is what it gets.
type Grant struct {
	Permits   int  // that it may use
	Booked    int  // that it has: those it uses are more, until their use ends
	Others    int  // that the others have
	Contested bool // others have less than their part
	Waits     bool // it has less than it wants
}

// Permit writes down what member me has of the permits. eager reports whether what another member wants counts.
//
// If the others that lack permits can all have their parts, it may have all that is left. Otherwise it gives back what
// is beyond its own part. If there are more members than permits, a part is one permit, and members take turns.
func (b *Book) Permit(me uint64, a Ask, eager func(uint64) bool) (g Grant) {
	mine := b.Seats[me]
	members := 1
	for id, s := range b.Seats {
		if id != me {
			g.Others += s.Have
			if s.Have > 0 || s.Want > 0 && eager(id) {
				members++
			}
		}
	}
	part := max(1, a.Limit/members)
	if a.Lacking && mine.Place == 0 && mine.Have < min(part, a.Most) {
		mine.Place = b.place()
	}
	need, before := 0, 0 // of the others, and of those that come first
	for id, s := range b.Seats {
		if n := min(part, s.Want) - s.Have; id != me && n > 0 && eager(id) {
			need += n
			if s.Place > 0 && s.Place < mine.Place {
				before += n
			}
		}
	}
	free := max(a.Limit-g.Others, 0) // of the others
	want, left := a.Most, max(free-need, 0)
	switch {
	case need == 0 && a.Lacking:
		g.Permits = min(free, max(want, (free+1)/2))
	case need == 0:
		g.Permits = min(free, want)
	case !a.Lacking:
		want = max(a.Used, a.Keep)
		fallthrough
	default:
		own := min(part, free)
		switch {
		case mine.Place > 0:
			own = min(part, max(free-before, 0))
		case a.Over && a.Limit < members:
			own = 0
		}
		g.Permits = min(want, max(left, own))
	}
	g.Booked = max(g.Permits, a.Used)
	g.Contested, g.Waits = need > 0, a.Lacking && g.Permits < a.Most
	mine.Have, mine.Want = g.Booked, 0
	if g.Waits {
		mine.Want = a.Most
	}
	switch lacks := g.Waits && g.Permits < min(part, a.Most); {
	case !lacks:
		mine.Place = 0
	case mine.Place == 0:
		mine.Place = b.place()
	}
	b.Seats[me] = mine
	return g
}

func (b *Book) place() uint64 {
	b.Last++
	return b.Last
}

// Slots hands member me up to n of the slots of a rate that has one each every nanoseconds: those from first on. If n
// is 0, it wants none. Slots are given out for the time until Ahead from now. Of several members that want slots, each
// gets a part of those that are there or, if there are fewer than members, the one whose last slot is the oldest.
func (b *Book) Slots(me uint64, n int, every int64, now time.Time, eager func(uint64) bool) (first int64, got int) {
	mine := b.Seats[me]
	defer func() { b.Seats[me] = mine }()
	if mine.Slots = n > 0; n <= 0 || every <= 0 {
		return 0, 0
	}
	end := now.UnixNano() + int64(Ahead)
	// The clock was set back if it is later than it can have been made.
	b.Next = min(max(b.Next, now.UnixNano()), end+max(b.Every, every))
	if b.Next > end {
		return 0, 0
	}
	free := (end-b.Next)/every + 1
	members, before := int64(1), int64(0)
	for id, s := range b.Seats {
		if id != me && s.Slots && eager(id) {
			members++
			if s.Slot < mine.Slot || s.Slot == mine.Slot && id < me {
				before++
			}
		}
	}
	switch {
	case free >= members:
		got = int(min(int64(n), free/members))
	case before < free:
		got = 1
	default:
		return 0, 0
	}
	first = b.Next
	b.Next += int64(got) * every
	b.Every, mine.Slot = every, b.Next-every
	return first, got
}

// Return takes back the slots from one on until end, unless others were given out since.
func (b *Book) Return(from, end int64) {
	if end == b.Next && from < end {
		b.Next = from
	}
}
