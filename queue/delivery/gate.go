package delivery

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// A message that a meter doesn't allow now goes back to the queue. The first few of a lane come back at a time of
// their own: other messages of the lane may go now, from another source for example. If more follow that the meter
// doesn't allow either, they stay as due as they are, and the lane waits at the gate of the meter. From then on nothing
// is claimed from it, and nothing written to the queue, but what the meter allows. While lanes wait at the gate, others
// don't go before them: they wait there, too.

// gate is where lanes wait for a meter. Owners take turns, and so do the lanes of each: many lanes don't help an owner.
type gate struct {
	meter  *meter
	order  line[queue.Owner] // of those whose lanes wait
	lanes  map[queue.Owner]*line[*target]
	asked  int // tasks, in this turn
	waiter waiter
}

// push has t wait.
func (g *gate) push(t *target) {
	l := g.lanes[t.Owner]
	if l == nil {
		l = new(line[*target])
		g.lanes[t.Owner] = l
		g.order.push(t.Owner)
	}
	l.push(t)
}

// pop returns the lane whose turn it is. ok is false if none waits.
func (g *gate) pop() (t *target, ok bool) {
	o, ok := g.order.pop()
	if !ok {
		return nil, false
	}
	l := g.lanes[o]
	t, _ = l.pop()
	if l.len() > 0 {
		g.order.push(o)
	} else {
		delete(g.lanes, o)
	}
	return t, true
}

// isEmpty reports whether no lane waits.
func (g *gate) isEmpty() bool { return g.order.len() == 0 }

// before returns how many lanes have their turn before t.
func (g *gate) before(t *target) (n int) {
	own := g.lanes[t.Owner]
	if own == nil {
		return 0
	}
	n = max(slices.Index(own.all[own.out:], t), 0)
	turns := n + 1 // those that each owner has before t
	for _, o := range g.order.all[g.order.out:] {
		if o == t.Owner {
			turns--
		} else {
			n += min(g.lanes[o].len(), turns)
		}
	}
	return n
}

// looks is how many tasks of a lane are put off before it waits. A lane that has tasks of several sources or signers
// has more.
const (
	looks      = 4
	mixedLooks = 32
)

// isGated reports whether t waits at a gate whenever its meter has no room.
func (t *target) isGated() bool {
	if t.mixed {
		return t.denied > mixedLooks
	}
	return t.denied > looks
}

// count counts a task for the meters of its site. If one has no room, it counts nothing, and returns the plan that puts
// the task off. Otherwise the plan is to send it.
func (m *machine) count(f *flight, task *queue.Task, now time.Time) plan {
	t := f.t
	meters := m.metersOf(t.party.site, task)
	var binding *meter
	at := m.mono
	for _, o := range meters {
		free := o.at(m.mono)
		if m.isAhead(t, o) {
			free = max(free, m.mono+1)
		}
		if free > at {
			at, binding = free, o
		}
	}
	if binding != nil {
		return m.deny(t, task, binding, at, now)
	}
	if until := m.admit(task, now); until > m.mono {
		return m.postpone(task, until, now)
	}
	if len(meters) > 0 {
		f.meters = slices.Clone(meters)
		for _, o := range meters {
			o.take(m.mono)
		}
	}
	if t.gate != nil && !slices.Contains(meters, t.gate) {
		t.gate, t.denied, t.mixed = nil, 0, true
	}
	t.passed = 0
	return plan{step: stepAttempt}
}

// deny puts off a task for which a meter has no room until a time, which may be never.
func (m *machine) deny(t *target, task *queue.Task, o *meter, at int64, now time.Time) plan {
	if passed(task.Deadline, now) {
		return plan{step: stepExpire, reason: rateResult()}
	}
	every := o.every(m.mono)
	if at == never {
		at = m.mono + every
	}
	if m.isAhead(t, o) && !t.mixed {
		t.denied = max(t.denied, looks)
	}
	t.gate = o
	if t.denied < mixedLooks+1 {
		t.denied++
	}
	if t.isGated() {
		m.waitAt(t)
		return plan{step: stepPostpone, why: "rate"}
	}
	// Each of an owner comes back at a time of its own, and none later than in an hour: by then the rate may be
	// another.
	p := t.party
	if p.promisedBy != o {
		p.promised, p.promisedBy = 0, o
	}
	back := min(max(at, p.promised)+every, m.mono+int64(maxPromise))
	p.promised = back
	return plan{step: stepPostpone, next: now.Add(time.Duration(back - m.mono)), why: "rate"}
}

// isAhead reports whether t would go before lanes that wait at the gate of o. It doesn't if it has waited there, and at
// the gates of other meters since then: nobody could pass two gates otherwise.
func (m *machine) isAhead(t *target, o *meter) bool {
	g := m.gates[o]
	return g != nil && !g.isEmpty() && (t.gate != o || !t.isGated()) && t.passed&o.bit() == 0
}

// bit is that of a meter in target.passed. Meters of one kind share it.
func (m *meter) bit() uint16 {
	n := m.kind
	if m.owner != 0 {
		n += meterKinds
	}
	return 1 << n
}

// rateResult is what keeps a task from being sent that a meter doesn't allow.
func rateResult() *smtp.Result {
	// RFC 3463 §3.4: X.3.2, the system isn't accepting messages: by our own decision.
	reply := smtp.NewReply(451, "4.3.2", "more messages than the host takes in a time")
	return &smtp.Result{Reply: reply, Local: true, Reason: smtp.RateLimited}
}

// uncount undoes count when an attempt ends, and notes what its end teaches.
func (m *machine) uncount(f *flight, v *verdict) {
	s := f.t.party.site
	for _, o := range f.meters {
		o.held--
		if v.sign > 0 && v.refusal == nil && !o.isGone() {
			closed := o.closed
			if o.accept(s.limits.Recovery, s.limits.Concurrency, f.began, m.mono); closed && !o.closed {
				m.tellMeter(s.name, o)
			}
		}
		if g := m.gates[o]; g != nil {
			m.openGate(g)
		}
	}
	f.meters = nil
}

// gateOf returns the gate of a meter.
func (m *machine) gateOf(o *meter) *gate {
	g := m.gates[o]
	if g == nil {
		g = &gate{meter: o, lanes: make(map[queue.Owner]*line[*target])}
		g.waiter.gate = g
		m.gates[o] = g
	}
	return g
}

// waitAt has t wait at the gate of its meter.
func (m *machine) waitAt(t *target) {
	if t.waits {
		return
	}
	t.waits = true
	g := m.gateOf(t.gate)
	g.push(t)
	m.guard(g, 0)
}

// guard has g opened when its meter has room after n more messages. Messages that fall into a tenth of a second go
// together.
func (m *machine) guard(g *gate, n int) {
	if at := g.meter.at(m.mono); at != never {
		m.park(&g.waiter, max(at+int64(n)*g.meter.every(m.mono), m.mono+slack))
	}
}

// openGate lets as many lanes go on as the meter allows messages.
func (m *machine) openGate(g *gate) {
	gone := g.meter.isGone()
	n := 0
	for room := g.meter.room(m.mono) - g.asked; n < room || gone; n++ {
		t, ok := g.pop()
		if !ok {
			break
		}
		t.waits = false
		t.passed |= g.meter.bit()
		if m.queue(t); t.party != nil {
			m.ringAll(t.party)
			m.lineUp(t.party.site)
		}
	}
	if g.isEmpty() {
		m.park(&g.waiter, never)
		if g.asked == 0 && m.gates[g.meter] == g {
			delete(m.gates, g.meter)
		}
		return
	}
	m.guard(g, n)
}

// pass reports whether t may be asked for a task, as far as the meter goes that it waited for last. If not, it waits
// at the gate, or until the end of the turn.
func (m *machine) pass(t *target) bool {
	switch {
	case t.waits:
		return false
	case t.gate == nil:
		return true
	case t.gate.isGone():
		t.gate, t.denied = nil, 0
		return true
	case !t.isGated():
		return true
	}
	room := t.gate.room(m.mono)
	if room == 0 {
		m.waitAt(t)
		return false
	}
	g := m.gateOf(t.gate)
	if g.asked >= room {
		if t.asked == [classes]int16{} { // else the end of the turn has it look again
			m.waitAt(t)
		}
		return false
	}
	if g.asked++; g.asked == 1 {
		m.asking = append(m.asking, g)
	}
	return true
}

// endAsking forgets what was asked for at the gates in this turn.
func (m *machine) endAsking() {
	for _, g := range m.asking {
		if g.asked = 0; g.isEmpty() {
			m.park(&g.waiter, never)
			if m.gates[g.meter] == g {
				delete(m.gates, g.meter)
			}
		}
	}
	clear(m.asking)
	m.asking = m.asking[:0]
}
