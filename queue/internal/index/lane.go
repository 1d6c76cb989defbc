package index

import "github.com/postrider/postrider/queue"

// The tasks of a destination wait in lanes, by the priorities of their messages. RFC 6710 has 19 of those; with three
// lanes Claim does a few comparisons, however many tasks there are.
const (
	laneAbove = iota // zero
	laneZero
	laneBelow
	lanes
)

// lane has the waiting tasks of a destination that are of one lane: heaps by at.
type lane struct{ fresh, retried []ref }

// traits are what all tasks of a message share: their lane and, as a bit, whether they are held. A task has one octet
// left for both.
type traits uint8

const traitHeld traits = 1 << 7

// traitsOf gives those of a message that isn't held.
func traitsOf(priority int8) traits {
	switch {
	case priority > 0:
		return laneAbove
	case priority < 0:
		return laneBelow
	}
	return laneZero
}

func (t traits) lane() traits { return t &^ traitHeld }

func (t traits) held() bool { return t&traitHeld != 0 }

func (t *traits) hold(held bool) {
	*t = t.lane()
	if held {
		*t |= traitHeld
	}
}

// class is the heap that the task belongs to.
func (ix *Index[M, S]) class(d *destination, t *task[S]) *[]ref {
	l := d.lanes[t.lane()]
	if l == nil { // most destinations only ever have one
		l = new(lane)
		d.lanes[t.lane()] = l
	}
	if t.attempts == 0 {
		return &l.fresh
	}
	return &l.retried
}

// classes lists the heaps of all lanes, fresh and retried by turns.
func (d *destination) classes() (all [2 * lanes][]ref) {
	for i, l := range d.lanes {
		if l != nil {
			all[2*i], all[2*i+1] = l.fresh, l.retried
		}
	}
	return all
}

// first finds the task that the want gets; 0: none is due, and the next one of its class is at that time.
func (ix *Index[M, S]) first(want queue.Want, now int64) (r ref, at int64) {
	name := ix.byName[want.Destination]
	if name == 0 {
		return 0, Never
	}
	d := ix.dests.At(name)
	if want.Class == queue.Overdue {
		if len(d.overdue) == 0 {
			return 0, Never
		}
		if at = ix.Tasks.At(d.overdue[0]).overdue; at > now {
			return 0, at
		}
		return d.overdue[0], at
	}
	at = Never
	for _, l := range d.lanes {
		if l == nil {
			continue
		}
		r := ix.firstIn(l, want.Class)
		if r == 0 {
			continue
		}
		if at = min(at, ix.Tasks.At(r).at()); at <= now {
			return r, at
		}
	}
	return 0, at
}

// firstIn finds the task of the lane and the class that can be claimed before all others, in time or not.
func (ix *Index[M, S]) firstIn(l *lane, class queue.Class) (r ref) {
	if class != queue.Retried && len(l.fresh) > 0 {
		r = l.fresh[0]
	}
	if class != queue.Fresh && len(l.retried) > 0 && (r == 0 || byAt[M, S]{ix}.Before(l.retried[0], r)) {
		r = l.retried[0]
	}
	return r
}
