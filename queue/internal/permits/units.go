package permits

import (
	"math"
	"time"
)

// Units is how many units a shared rate of a tenant or a source has. A member that has all of them may use all of it.
const Units = 1000

// maxDebts bounds a debt in a record, in times of one message. A longer one comes of a clock that was set back.
const maxDebts = 64

// Share writes down how many units member me has of a rate that has a message each every nanoseconds. free is when the
// member may send the next message, by the store's clock. Share returns the same for the units that it has then.
//
// A debt is the time until the next message may go. Each unit that changes hands takes its part of the debt along, so
// that units that move don't let a message go earlier. A member that is Unsure may have such units, and not know their
// debt: it is in the record. It has sent nothing since.
func (b *Book) Share(me uint64, a Ask, free, every int64, now time.Time, eager func(uint64) bool) (Grant, int64) {
	at := now.UnixNano()
	mine, left := b.Seats[me], b.left()
	had, latest := mine.Have, at+maxDebts*min(every, (math.MaxInt64-at)/maxDebts)
	b.Until = min(b.Until, latest)
	switch until := min(mine.Until, latest); {
	case a.Unsure && had > a.Had: // it was stored, as units came
		free = until
	case a.Unsure:
		free = max(free, until)
	}
	g := b.Permit(me, a, eager)
	if n := g.Booked - had; n > 0 {
		free = mix(free, had, b.Until, n, at)
	} else {
		b.Until = mix(b.Until, left, free, -n, at)
	}
	s := b.Seats[me]
	if s.Until = 0; s.Have > 0 && free > at {
		s.Until = free
	}
	b.Seats[me] = s
	if b.Until <= at {
		b.Until = 0
	}
	return g, free
}

// Left notes the debts of members that are gone.
func (b *Book) Left(isMember func(uint64) bool, now time.Time) {
	left := b.left()
	for id, s := range b.Seats {
		if !isMember(id) && s.Have > 0 {
			b.Until = mix(b.Until, left, s.Until, s.Have, now.UnixNano())
			left += s.Have
		}
	}
}

// left is how many units nobody has.
func (b *Book) left() int {
	n := Units
	for _, s := range b.Seats {
		n -= s.Have
	}
	return max(n, 0)
}

// mix returns the end of the debt that n and m units have together.
func mix(a int64, n int, b int64, m int, now int64) int64 {
	if n+m == 0 {
		return now
	}
	return now + int64((float64(max(a-now, 0))*float64(n)+float64(max(b-now, 0))*float64(m))/float64(n+m))
}
