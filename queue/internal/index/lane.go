package index

import "github.com/postrider/postrider/queue"

// A destination's waiting tasks are in lanes by the priority of their messages. RFC 6710 has 19 priorities; with three
// lanes, Claim makes few comparisons, however many tasks there are.
const (
	laneAbove = iota // priorities above zero
	laneZero
	laneBelow
	lanes
)

// lane has the waiting tasks of a destination with one group of priorities, in heaps by at.
type lane struct{ fresh, retried []ref }

// traits are what all tasks of a message share: the lane and, as a bit, whether they are held. A task has one octet
// left for both.
type traits uint8

const traitHeld traits = 1 << 7

// traitsOf returns the traits of a message that isn't held.
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

// class returns the heap of the task.
func (ix *Index[M, S]) class(d *destination, t *task[S]) *[]ref {
	l := d.lanes[t.lane()]
	if l == nil { // most destinations have one lane
		l = new(lane)
		d.lanes[t.lane()] = l
	}
	if t.attempts == 0 {
		return &l.fresh
	}
	return &l.retried
}

// classes returns the heaps of all lanes: fresh and retried of each.
func (d *destination) classes() (all [2 * lanes][]ref) {
	for i, l := range d.lanes {
		if l != nil {
			all[2*i], all[2*i+1] = l.fresh, l.retried
		}
	}
	return all
}

// first returns the due task that comes first for the want. If none is due, it returns 0 and the time of the next one.
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

// firstIn returns the first task of the class in the lane, due or not.
func (ix *Index[M, S]) firstIn(l *lane, class queue.Class) (r ref) {
	if class != queue.Retried && len(l.fresh) > 0 {
		r = l.fresh[0]
	}
	if class != queue.Fresh && len(l.retried) > 0 && (r == 0 || byAt[M, S]{ix}.Before(l.retried[0], r)) {
		r = l.retried[0]
	}
	return r
}
