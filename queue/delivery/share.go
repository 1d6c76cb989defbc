package delivery

import (
	"math"
	"time"
)

// commons are slots that owners share. What an owner may have in any case is its least or, if that is more, its part of
// all that lately was delivered or rejected quickly, by number. So nobody's part grows by hosts that take their time,
// or by mail that comes again. An owner may have more while three eighths of all are free: what is lent to a host that
// stalls is gone for minutes, and of slots that are busy to 80 % on average, a quarter is often free for a moment. With
// half its least and twice its part, an owner leaves the last sixteenth to others.
type commons struct {
	used  int
	ended fading // how many were delivered or rejected before they took long
	owed  int    // of the used slots, those taken without credit
}

const kept = 3 // of eight slots, those that an owner leaves free that has what is its own

// share is what one owner has of a commons.
type share struct {
	used  int
	ended fading
	owed  int    // of the used slots, those taken without credit: see machine.hasCredit
	spent fading // seconds of slots
}

// take adds a slot to those that s uses.
func (c *commons) take(s *share) {
	c.used++
	s.used++
}

// owe notes that s took its last slot without credit.
func (c *commons) owe(s *share) {
	c.owed++
	s.owed++
}

// giveBack undoes take.
func (c *commons) giveBack(s *share) {
	c.used--
	s.used--
	if s.owed > 0 {
		c.owed--
		s.owed--
	}
}

// end notes that an attempt was delivered or rejected before it took long.
func (c *commons) end(s *share, now int64) {
	c.ended.add(1, now)
	s.ended.add(1, now)
}

// forget removes s.
func (c *commons) forget(s *share, now int64) { c.ended.add(-s.ended.at(now), now) }

// room returns how many more slots s may take. size is the number of all slots, free of those that it may take now: it
// may be more than are unused.
func (c *commons) room(s *share, least, size, free int, now int64) int {
	of := c.part(s, now)
	if c.used == s.used && of == 1 { // it is alone
		return free
	}
	if s.used >= max(1, least/2, 2*int(float64(size)*of)) && s.used < least {
		return min(least-s.used, free-size/16)
	}
	return roomOf(s.used, max(least, partOf(size, of)), free, size-c.used-size*kept/8)
}

// part returns the part that s has of all attempts that lately ended so, from 0 to 1: all if there were none.
func (c *commons) part(s *share, now int64) float64 {
	all, own := c.ended.at(now), s.ended.at(now)
	if all < own+1 {
		return 1
	}
	return own / all
}

// partOf returns a part of size slots, from 0 to 1, in whole slots. It is rounded up: of 30 slots, 20 owners with equal
// parts have up to 2 each, and not one each.
func partOf(size int, of float64) int { return int(math.Ceil(float64(size) * of)) }

// roomOf returns how many more slots one owner may take that has used slots and may have most, and more if there are
// some that may be lent.
func roomOf(used, most, free, lendable int) int {
	if n := most - used; n > 0 {
		return min(n, free)
	}
	return min(free, lendable)
}

// share returns how many slots all kinds except fast may have: in any case, and now.
func (m *machine) share() (least, size int) {
	least = max(1, m.places/leastLent, min(m.places/2, alwaysLent))
	size = m.places - int(m.fast.at(m.mono)*reserve)
	return least, min(max(size, least), m.places-m.places/mostLent)
}

const (
	reserve    = 1.1 // of what fast mail lately had at its peak, so much is kept for it
	leastLent  = 8   // an eighth of all places
	mostLent   = 5   // all but a fifth of them
	alwaysLent = 20  // if there are few, half of them up to so many
)

// kindRoom returns how many more of the lent slots a kind may take.
func (m *machine) kindRoom(k kind, least, size int) int {
	room := size - m.lent.used
	if k == fresh {
		return max(room, least/2-m.kinds[fresh])
	}
	return min(room, max(1, size*3/4)-m.kinds[dull]-m.kinds[probe])
}

// ownerRoom returns how many more slots for a kind an owner may take.
func (m *machine) ownerRoom(o *owner, k kind) int {
	n := m.slots.room(&o.slots, max(1, m.places/28), m.places, m.places-m.held, m.mono)
	if k != fast && n > 0 {
		n = min(n, m.lentRoom(o, k))
	}
	return n
}

// lentRoom is ownerRoom as far as the slots go that fast mail leaves. Of those, an owner with credit may have its part
// of all that was done, too: what others get done there, be it in no time, doesn't make that smaller. An owner that has
// some leaves others as many of the four fifths, up to a sixteenth, and a few in any case: see fewLeft.
func (m *machine) lentRoom(o *owner, k kind) int {
	least, size := m.share()
	free := m.kindRoom(k, least, size)
	if n, most := o.lent.used, m.places-m.places/mostLent; n > 0 {
		free = min(free, most-m.lent.used-max(min(n, most/16), m.fewLeft(3)))
	}
	room := m.lent.room(&o.lent, max(1, size/8), size, free, m.mono)
	if !m.hasCredit(o, size) {
		return min(room, m.owedRoom(o, size))
	}
	part := int(float64(size) * m.earned(o))
	return max(room, min(part-o.lent.used, free))
}

// owedRoom returns how many more of the slots that fast mail leaves, of which there are size, o may take without
// credit. The owners without credit, however many they are, have half of those slots together, or more while a quarter
// of them is free. Of that, each leaves the others half as many slots as it has: one after the other, they have 80, 27,
// 9 and 1 of 160, and a few in any case: see fewLeft. An owner that has none may have one until so many are owed that a
// fifth of all places is left, though owners with credit use the rest.
func (m *machine) owedRoom(o *owner, size int) int {
	room := max(size/2-m.lent.owed, size-m.lent.used-size/4)
	if o.lent.used == 0 {
		return max(room, size-m.places/mostLent-m.lent.owed)
	}
	return room - max((o.lent.used+1)/2, m.fewLeft(4))
}

// fewLeft returns n slots, or n of each eight places if these are fewer. An owner that has some leaves so many: with
// eight places, four owners whose hosts stall leave one for a fifth.
func (m *machine) fewLeft(n int) int { return min(n, m.places*n/8) }

// lend adds a slot that fast mail leaves to those of o.
func (m *machine) lend(o *owner) {
	m.lent.take(&o.lent)
	if _, size := m.share(); !m.hasCredit(o, size) {
		m.lent.owe(&o.lent)
	}
}

// hasCredit reports whether o lately got something done, and had no more of the slots that fast mail leaves, of which
// there are size, than its part of all that was done, and one long attempt.
func (m *machine) hasCredit(o *owner, size int) bool {
	part := m.earned(o)
	return part > 0 && o.lent.spent.at(m.mono) < tooLong.Seconds()+fadingTime*float64(size)*part
}

// earned returns o's part of all that was done lately, from 0 to 1, for what may take long. Where nobody got anything
// done, nobody has earned a part, and of a few messages nobody has a large one: otherwise, whoever comes first after a
// quiet time would have all slots for as long as its hosts stall.
func (m *machine) earned(o *owner) float64 {
	return o.slots.ended.at(m.mono) / max(m.slots.ended.at(m.mono), fewEnded)
}

const fewEnded = 16

// spend charges the owner of f for the seconds of a slot.
func (m *machine) spend(f *flight, ns int64) {
	f.t.party.owner.lent.spent.add(float64(ns)/float64(time.Second), m.mono)
}

// partyRoom returns how many more slots p may take at its site. Owners have parts of those as they have of all slots:
// the attempts of an owner at one site don't make its part there larger.
func (m *machine) partyRoom(p *party) int {
	s := p.site
	size, free := int(s.standing.window), int(s.standing.window)-int(s.held)
	switch {
	case s.refs == 1 && (p.isQuick() || p.pace.isSlow() && !s.proven || len(m.owners) == 1):
		return free
	case p.isQuick():
		return m.placesFor(p.owner, int(p.held), size, int(s.held))
	}
	// What takes long, or may, gets nothing of what is free for now, half at most, and but for one place leaves a
	// quarter free: it may be there for minutes, and others may come.
	most := (size + 1) / 2
	if s.refs > 1 {
		most = min(most, m.part(p.owner, size))
	}
	if p.held > 0 {
		free -= max(1, size/4)
	}
	return min(most-int(p.held), free)
}

// isQuick reports whether what p has at its site ended quickly so far.
func (p *party) isQuick() bool { return p.pace.known && p.pace.long == 0 }

// hostRoom returns how many more slots at h an owner may take, for mail that is quick or not.
func (m *machine) hostRoom(h *host, o *owner, quick bool) int {
	used := h.byOwner[o]
	switch {
	case quick && used == h.held && h.order.len() == 0:
		return int(h.most - used)
	case quick:
		return m.placesFor(o, int(used), int(h.most), int(h.held))
	}
	return min(m.part(o, int(h.most))-int(used), int(h.most-h.held))
}

func (m *machine) placesFor(o *owner, used, size, held int) int {
	return roomOf(used, m.part(o, size), size-held, size-held-size/4)
}

// part is how many places of size an owner may have in any case.
func (m *machine) part(o *owner, size int) int {
	return max(1, size/8, partOf(size, m.slots.part(&o.slots, m.mono)))
}

// fadingTime is by how many seconds of a steady rate a fading is.
const fadingTime = 30 / math.Ln2

// fading is a number of which half is forgotten in each 30 seconds.
type fading struct {
	n    float64
	when int64
}

// faded is what is left of it after so many seconds.
var faded = func() (left [10 * 30]float64) {
	for i := range left {
		left[i] = math.Exp2(-float64(i) / 30)
	}
	return left
}()

func (f *fading) at(now int64) float64 {
	seconds := (now - f.when) / int64(time.Second)
	switch {
	case seconds <= 0:
		return f.n
	case seconds >= int64(len(faded)):
		return 0
	}
	return f.n * faded[seconds]
}

// add adds to what is left.
func (f *fading) add(n float64, now int64) {
	f.n = f.at(now) + n
	if seconds := (now - f.when) / int64(time.Second); seconds < int64(len(faded)) {
		f.when += seconds * int64(time.Second)
	} else {
		f.when = now
	}
}

// note makes it n if less is left.
func (f *fading) note(n float64, now int64) {
	if n >= f.at(now) {
		*f = fading{n, now}
	}
}
