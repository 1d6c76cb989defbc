package queue

import "time"

// agenda is what a Runner knows of each destination that has mail: when the first of its tasks comes
// due, and how many are being sent. Those with something due stand in line for the places there are.
// It is a plain value of one goroutine; a hint that is wrong costs one claim in vain.
type agenda struct {
	perDestination int
	lease          time.Duration
	byName         map[string]*agendaEntry
	due            []*agendaEntry // a heap of those with a time to come
	first, last    *agendaEntry   // the line of those that may claim now
	turn           []*agendaEntry
	wants          []Want
}

// agendaEntry is one destination.
type agendaEntry struct {
	name     string
	due      time.Time // the first time to come that is known; zero: none
	last     time.Time // the last time told of at which a lease may end: no list has what is leased
	pos      int       // its place in the heap, counted from 1; 0: it isn't in it
	ready    bool      // something may be due now
	inFlight int       // tasks claimed and not done with
	granted  int       // tasks it may claim in this turn
	claimed  int       // tasks it did claim
	inLine   bool
	next     *agendaEntry // behind it in the line
}

func newAgenda(perDestination int, lease time.Duration) *agenda {
	return &agenda{perDestination: perDestination, lease: lease, byName: make(map[string]*agendaEntry)}
}

// wake notes that a destination may have something due at the given time.
func (a *agenda) wake(name string, due, now time.Time) {
	e := a.byName[name]
	if e == nil {
		e = &agendaEntry{name: name}
		a.byName[name] = e
	}
	a.wakeEntry(e, due, now)
}

func (a *agenda) wakeEntry(e *agendaEntry, due, now time.Time) {
	due = due.Round(0) // all by the wall clock, or they have no one order
	if !due.After(now) {
		e.ready = true
		a.lineUp(e)
		return
	}
	if due.After(e.last) && !due.After(now.Add(a.lease)) {
		e.last = due
	}
	if e.due.IsZero() || due.Before(e.due) {
		e.due = due
		if e.pos == 0 {
			a.due = heapPush(byEntryDue{}, a.due, e)
		} else {
			heapFix(byEntryDue{}, a.due, e.pos-1)
		}
	}
}

// next is when the first destination comes due; zero: none is known to.
func (a *agenda) next() time.Time {
	if len(a.due) == 0 {
		return time.Time{}
	}
	return a.due[0].due
}

// pick shares out the free places among the destinations whose turn it is, one each in their order and then
// more. The wants are valid until the next pick. A claim with them is followed by one call of settleTurn.
func (a *agenda) pick(free int, now time.Time) []Want {
	for len(a.due) > 0 && !a.due[0].due.After(now) {
		e := a.due[0]
		e.ready = true
		a.lineUp(e)
		if e.last.After(now) {
			e.due = e.last
			heapFix(byEntryDue{}, a.due, 0)
		} else {
			e.due = time.Time{}
			a.due = heapRemove(byEntryDue{}, a.due, 0)
		}
	}
	a.turn, a.wants = a.turn[:0], a.wants[:0]
	for ; a.first != nil && free > 0; free-- {
		e := a.first
		if a.first = e.next; a.first == nil {
			a.last = nil
		}
		e.next, e.inLine = nil, false
		e.granted, e.claimed = 1, 0
		a.turn = append(a.turn, e)
	}
	for more := true; more && free > 0; {
		more = false
		for _, e := range a.turn {
			if free > 0 && e.inFlight+e.granted < a.perDestination {
				e.granted++
				free--
				more = true
			}
		}
	}
	for _, e := range a.turn {
		a.wants = append(a.wants, Want{Destination: e.name, Max: e.granted})
	}
	return a.wants
}

// start notes a task that was claimed in this turn.
func (a *agenda) start(name string) *agendaEntry {
	e := a.byName[name]
	if e == nil { // not asked for
		e = &agendaEntry{name: name}
		a.byName[name] = e
	}
	e.claimed++
	e.inFlight++
	return e
}

// settleTurn ends a turn. Who got all it asked for may have more and goes to the end of the line; who got
// less has nothing due for now. It reports whether there was one of the latter: when its next task comes
// due isn't known. After a claim that failed, all have what they had.
func (a *agenda) settleTurn(failed bool) (drained bool) {
	for _, e := range a.turn {
		if !failed && e.claimed < e.granted {
			e.ready = false
			drained = true
		}
		a.lineUp(e)
	}
	return drained
}

// done notes that a task of e is settled or, if lapse isn't zero, will be claimable when its lease ends.
func (a *agenda) done(e *agendaEntry, lapse, now time.Time) {
	e.inFlight--
	if !lapse.IsZero() {
		a.wakeEntry(e, lapse, now)
	}
	a.lineUp(e)
}

// sweep drops the destinations of which nothing is known.
func (a *agenda) sweep() {
	for name, e := range a.byName {
		if e.inFlight == 0 && !e.ready && e.pos == 0 {
			delete(a.byName, name)
		}
	}
}

// lineUp puts e at the end of the line if it may claim.
func (a *agenda) lineUp(e *agendaEntry) {
	if !e.ready || e.inLine || e.inFlight >= a.perDestination {
		return
	}
	e.inLine = true
	if a.last == nil {
		a.first = e
	} else {
		a.last.next = e
	}
	a.last = e
}

// byEntryDue has the entry that comes due first on top of a heap.
type byEntryDue struct{}

func (byEntryDue) before(a, b *agendaEntry) bool { return a.due.Before(b.due) }

func (byEntryDue) moved(e *agendaEntry, place int) { e.pos = place + 1 }
