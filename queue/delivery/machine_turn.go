package delivery

import (
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
)

// pick shares out the free places. The wants are valid until the next pick. A claim with them is followed by one call
// of settleTurn.
func (m *machine) pick(free int, now time.Time) []queue.Want {
	m.at(now)
	m.places = free + m.held
	m.advance()
	m.turn, m.wants = m.turn[:0], m.wants[:0]
	for m.held < m.places {
		if m.toDesk() {
			continue
		}
		s, st, ok := m.nextSite()
		if !ok {
			break
		}
		if m.grant(s, st) {
			m.stand(s, st)
		}
	}
	for _, t := range m.turn {
		for class, n := range t.asked {
			if n > 0 {
				m.wants = append(m.wants, queue.Want{Lane: t.Lane, Max: int(n), Class: queue.Class(class)})
			}
		}
	}
	return m.wants
}

// advance takes in what has come with the time.
func (m *machine) advance() {
	for len(m.due) > 0 && m.due[0].due <= m.wall {
		t := m.due[0]
		if t.last > m.wall {
			t.due = t.last
			heap.Fix(byTargetDue{}, m.due, 0)
		} else {
			t.due = 0
			m.due = heap.Remove(byTargetDue{}, m.due, 0)
		}
		m.setOverdue(t, m.wall) // it may be a notice or a deadline that has come
		t.retries = true
		m.ready(t)
	}
	for len(m.late) > 0 && m.late[0].overdue <= m.wall {
		m.lateTarget(m.late[0])
	}
	for len(m.parked) > 0 && m.parked[0].wake <= m.mono {
		w := m.parked[0]
		m.park(w, never)
		if w.gate != nil {
			m.openGate(w.gate)
			continue
		}
		s, st := w.site, (*standing)(nil)
		if p := w.party; p != nil {
			s, st = p.site, p.own
			m.ringAll(p)
			m.idleParty(p)
		} else {
			st = &s.standing
			m.idleSite(s)
		}
		if st != nil && st.until > m.mono {
			m.park(w, st.until)
		}
		m.lineUp(s)
	}
	if m.resumeAt <= m.mono {
		m.revise()
	}
	for f := m.young.first; f != nil && m.mono-f.began > int64(tooLong); f = m.young.first {
		m.grow(f)
	}
	if m.cappedAt <= m.mono {
		m.uncap()
	}
}

// nextSite chooses a stand that may have a slot, and the next site in its line.
func (m *machine) nextSite() (*site, stand, bool) {
	if m.waiting == 0 {
		return nil, 0, false
	}
	m.turns++
	first, last, step := 0, levels-1, 1
	if m.turns%8 == 0 {
		first, last, step = levels-1, 0, -1
	}
	least, size := m.share()
	choose := func(kinds ...kind) (*site, stand, bool) {
		for l := first; l != last+step; l += step {
			for _, k := range kinds {
				if k != fast && m.kindRoom(k, least, size) <= 0 {
					continue
				}
				st := standOf(k, level(l))
				if s, ok := m.lines[st].pop(); ok {
					m.unstand(s, st)
					return s, st, true
				}
			}
		}
		return nil, 0, false
	}
	groups := [...][]kind{{fast}, {fresh, dull, probe}}
	switch {
	case step < 0:
		groups = [...][]kind{{probe, dull, fresh}, {fast}}
	case m.kinds[fresh] < least/2: // what is fast now was new once
		groups = [...][]kind{{fresh}, {fast, fresh, dull, probe}}
	}
	for _, kinds := range groups {
		if s, st, ok := choose(kinds...); ok {
			return s, st, true
		}
	}
	return nil, 0, false
}

// grant grants a slot to the next target of s that has a task for a stand. It returns false if no target may have one
// now.
func (m *machine) grant(s *site, st stand) bool {
	if m.siteBlocked(s) {
		return false // parked, or suspended
	}
	r := s.ring(st)
	switch {
	case st.kind() == probe:
		s.untoldFirst(r)
	case s.refs > 1 && m.turns%4 != 0:
		m.modestFirst(s, r)
	}
	for range r.len() {
		p, _ := r.first()
		if p.kind(st.level()) != st.kind() { // it changed while it stood here
			r.pop()
			p.ringed &^= 1 << st.level()
			m.ring(p, st.level())
			continue
		}
		room, wake := m.room(s, st.kind())
		if room <= 0 {
			m.lack(s, st.kind())
			if wake != never {
				m.park(&s.standing.waiter, wake)
			}
			return false
		}
		r.pop()
		p.ringed &^= 1 << st.level()
		if p.aside || p.sated || !m.mayTake(p, st.kind(), st.level()) {
			continue // it stands in line again for all it has, when it has what it waits for
		}
		t := m.nextTarget(p, st.level())
		if t == nil {
			continue
		}
		m.ask(t, st.level().class(), st.kind())
		m.ring(p, st.level())
		return true
	}
	return false
}

// mayTake reports whether p may have one more task in flight, as far as its owner, its hosts and its own standing go.
// If not, it waits for what it lacks.
func (m *machine) mayTake(p *party, k kind, l level) bool {
	if p.own != nil {
		window := int32(p.own.window)
		if p.own.down {
			window = 1
		}
		if p.own.until > m.mono || p.held >= window {
			return false // until the end of one, or of the block
		}
	}
	if k != probe && m.partyRoom(p) <= 0 {
		m.sate(p)
		return false
	}
	if m.ownerRoom(p.owner, k) <= 0 {
		m.cap(p, k, l)
		return false
	}
	for _, h := range p.site.hosts {
		if m.hostRoom(h, p.owner, p.isQuick()) <= 0 {
			p.aside = true
			h.wait(p)
			m.crowd(h)
			return false
		}
	}
	return true
}

// nextTarget returns the target of p whose turn it is on a level, nil if there is none. The target stays on its shelf.
func (m *machine) nextTarget(p *party, l level) *target {
	sh := p.shelf(l)
	for passed := true; passed; {
		passed = false // over one for the size of its messages
		for range sh.len() {
			t, _ := sh.pop()
			t.queued &^= queuedFor(l.class())
			if t.moved && t.held == 0 {
				if t.queued == 0 { // or else it leaves with the next look at it
					m.leave(t)
					m.queue(t)
				}
				continue
			}
			if !t.ready || t.drained[l.class()] {
				m.leave(t)
				m.queue(t)
				continue
			}
			if m.suspendedFor(t.Destination) > 0 {
				t.aside = true
				continue
			}
			if t.turns == 0 && !m.pass(t) {
				continue
			}
			t.queued |= queuedFor(l.class())
			sh.push(t)
			if t.turns.pass() {
				passed = true
				continue
			}
			return t
		}
	}
	return nil
}

// claimed records a task of this turn as f, and returns the plan for it.
func (m *machine) claimed(f *flight, task *queue.Task, now time.Time) plan {
	m.at(now)
	t := m.target(laneOf(task))
	if t.party == nil { // not asked for
		m.join(t, Site{Name: t.Destination})
	}
	class := queue.Fresh
	switch {
	case t.asked[queue.Overdue] > 0:
		class = queue.Overdue
	case task.Attempts > 1:
		class = queue.Retried
	}
	if t.got[class]++; t.got[class] > t.asked[class] {
		m.ask(t, class, t.party.kind(t.level(class))) // more than was asked for
	}
	*f = flight{t: t, id: task.ID, kind: t.kinds[class], began: m.mono, slot: f.slot, cutter: f.cutter}
	m.begin(f)
	t.turns.spend(task.Size)
	blocked := m.blocked(t) > 0
	p := plan{step: nextStep(task, now, blocked)}
	if blocked {
		p.reason, p.why = m.reason(t)
	} else if p.step == stepAttempt {
		if int(t.party.site.held) > m.permitted(t.party.site) {
			p = plan{step: stepPostpone, why: "site"} // the permit has ended since it was asked for
		} else {
			p = m.count(f, task, now)
		}
	}
	switch {
	case p.step == stepAttempt:
	case class != queue.Overdue:
		m.giveRate(t.party.site, 1)
	case p.step == stepPostpone: // its notice or deadline is for later, by our clock: it mustn't come up again at once
		m.setOverdue(t, m.wall+int64(recheck))
	default: // there may be another one
		m.setOverdue(t, m.wall)
	}
	if p.step == stepPostpone && early(task, now) { // handed back, it may be due again at once
		t.pause, t.drained = m.mono+int64(skew), [classes]bool{queue.Fresh: true, queue.Retried: true}
		m.wakeTarget(t, m.wall)
	}
	return p
}

// settleTurn ends a turn. If a lane got fewer tasks than it asked for, the Queue announces when it has more. After a
// claim that failed, all lanes have what they had before.
func (m *machine) settleTurn(failed bool) {
	m.endAsking()
	for _, t := range m.turn {
		for class := range t.asked {
			missing := t.asked[class] - t.got[class]
			for range missing {
				m.release(t, t.kinds[class])
			}
			if missing <= 0 {
				continue
			}
			if queue.Class(class) == queue.Overdue {
				continue
			}
			m.giveRate(t.party.site, int(missing))
			if !failed {
				t.drained[class] = true
				t.retries = t.retries && queue.Class(class) != queue.Retried
			}
		}
		t.asked, t.got = [classes]int16{}, [classes]int16{}
		if t.drained[queue.Fresh] && t.drained[queue.Retried] {
			m.unready(t)
		}
		m.queue(t)
		m.ringAll(t.party)
		m.lineUp(t.party.site)
	}
}

// A lane and a party have one turn for each task, and one more for each quantum of octets, but none waits for more than
// maxTurns turns.
const (
	quantum  = 256 << 10
	maxTurns = 40
)

// turns is how many it lets pass, as its messages were large.
type turns int32

func (n *turns) spend(size int64) { *n = min(*n+turns(size/quantum), maxTurns) }

func (n *turns) pass() bool {
	if *n > 0 {
		*n--
		return true
	}
	return false
}

func laneOf(t *queue.Task) queue.Lane {
	return queue.Lane{Destination: t.Destination, Owner: t.Owner, Priority: sign(t.Priority)}
}

func sign(priority int8) int8 { return max(-1, min(priority, 1)) }
