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
	m.advance()
	m.turn, m.round, m.wants = m.turn[:0], m.round[:0], m.wants[:0]
	m.mayProbe = max(1, (free+m.inFlight)/probeShare) - m.probes
	for free > 0 {
		s, ok := m.line.pop()
		if !ok {
			break
		}
		s.inLine = false
		if m.grant(s) {
			m.round = append(m.round, s)
			free--
		}
	}
	for more := true; more && free > 0; {
		more = false
		for _, s := range m.round {
			if free > 0 && m.grant(s) {
				free--
				more = true
			}
		}
	}
	for _, t := range m.turn {
		for class, n := range t.asked {
			if n > 0 {
				m.wants = append(m.wants, queue.Want{Destination: t.name, Max: int(n), Class: queue.Class(class)})
			}
		}
	}
	return m.wants
}

// advance takes out of the heaps what has come.
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
		t.overdue = m.wall // it may be a notice or a deadline that has come
		m.ready(t)
		if t.site != nil && t.site.pos > 0 {
			m.lineUp(t.site)
		}
	}
	for len(m.parked) > 0 && m.parked[0].wake <= m.mono {
		s := m.parked[0]
		m.parked = heap.Remove(byWake{}, m.parked, 0)
		m.lineUp(s)
		m.idle(s)
	}
}

// grant gives the next target of s a place. It reports false where none may have one now.
func (m *machine) grant(s *site) bool {
	room, wake := m.room(s)
	if room <= 0 && s.until <= m.mono && m.suspendedFor(s.name) <= 0 {
		m.park(s, wake) // what of its targets is suspended has its turn with the others
		return false
	}
	for range maxDeficit + 1 {
		passed := false // over one for its deficit
		for range s.ring.len() {
			t, _ := s.ring.pop()
			if !t.ready || t.moved && t.inFlight == 0 {
				t.queued = false
				m.leave(t)
				m.queue(t)
				continue
			}
			s.ring.push(t)
			class := queue.Overdue
			if end := m.blocked(t); end > 0 {
				end = min(end, m.mono+int64(longestSleep)) // a machine that slept has another time by then
				if int(s.inFlight+s.granted) >= s.limits.Concurrency {
					wake = min(wake, end) // or with the end of a task
					continue
				}
				if at := t.overdue - m.wall; at > 0 {
					wake = min(wake, end, m.mono+at)
					continue
				}
			} else if room <= 0 {
				continue
			} else if t.deficit > 0 {
				t.deficit--
				passed = true
				continue
			} else {
				class = t.class()
				s.bucket.take(s.limits.Rate, m.mono)
			}
			m.ask(t, class)
			return true
		}
		if !passed {
			break
		}
	}
	if s.refs > 0 {
		m.park(s, wake)
	}
	return false
}

func (m *machine) ask(t *target, class queue.Class) {
	if t.asked == [classes]int32{} {
		m.turn = append(m.turn, t)
	}
	t.asked[class]++
	t.site.granted++
	if class == queue.Any {
		m.mayProbe--
	}
}

// class chooses of what class the next task is to be: fresh and retried ones take turns.
func (t *target) class() queue.Class {
	t.fresh = !t.fresh
	switch {
	case t.site.down:
		return queue.Any
	case t.fresh && !t.drained[queue.Fresh], t.drained[queue.Retried]:
		return queue.Fresh
	}
	return queue.Retried
}

// claimed notes a task of this turn, and says what is to be done with it.
func (m *machine) claimed(task *queue.Task, now time.Time) (*target, plan) {
	m.at(now)
	t := m.target(task.Destination)
	if t.site == nil { // not asked for
		m.join(t, t.name)
	}
	class := queue.Fresh
	switch {
	case t.asked[queue.Overdue] > 0:
		class = queue.Overdue
	case t.asked[queue.Any] > 0:
		class = queue.Any
	case task.Attempts > 1:
		class = queue.Retried
	}
	t.got[class]++
	t.inFlight++
	t.site.inFlight++
	m.inFlight++
	if class == queue.Any { // a probe
		t.site.probes++
		m.probes++
	}
	t.deficit = min(t.deficit+int32(task.Size/quantum), maxDeficit)
	blocked := m.blocked(t) > 0
	p := plan{step: nextStep(task, now, blocked)}
	if blocked {
		p.reason = m.reason(t)
	} else if p.step == stepAttempt {
		// What has no time left isn't put off: it would be claimed again at once.
		if at := m.admit(task); at > m.mono && !passed(task.Deadline, now) {
			p.step, p.next = stepPostpone, now.Add(time.Duration(at-m.mono))
		}
	}
	switch {
	case p.step == stepAttempt:
	case class != queue.Overdue:
		t.site.bucket.giveBack(t.site.limits.Rate, 1)
	case p.step == stepPostpone: // its notice or deadline is for later, by our clock: it mustn't come up again at once
		t.overdue = m.wall + int64(recheck)
	}
	return t, p
}

// probeShare is the part of all places that may be taken by probes of sites that are down, most of which end in a
// time-out.
const probeShare = 4

// A destination has one turn for each task and one more for each quantum of octets, but none waits for more than
// maxDeficit turns.
const (
	quantum    = 256 << 10
	maxDeficit = 40
)

// settleTurn ends a turn. Of a destination that got less than it asked for, the queue tells when it has more. After a
// claim that failed, all have what they had.
func (m *machine) settleTurn(failed bool) {
	for _, t := range m.turn {
		s := t.site
		for class := range t.asked {
			missing := t.asked[class] - t.got[class]
			s.granted -= t.asked[class]
			if missing <= 0 {
				continue
			}
			if queue.Class(class) == queue.Overdue {
				if !failed {
					t.overdue = m.wall + int64(recheck)
				}
				continue
			}
			s.bucket.giveBack(s.limits.Rate, int(missing))
			if failed {
				continue
			}
			t.drained[class] = true
		}
		t.asked, t.got = [classes]int32{}, [classes]int32{}
		if t.drained[queue.Any] || t.drained[queue.Fresh] && t.drained[queue.Retried] {
			t.ready = false
		}
		m.lineUp(s)
	}
}

// line is a queue of those that wait for their turn.
type line[T any] struct {
	all []T
	out int // of all, those that have had it
}

func (l *line[T]) len() int { return len(l.all) - l.out }

func (l *line[T]) push(x T) {
	if l.out > 0 && len(l.all) == cap(l.all) && l.out >= len(l.all)/2 {
		rest := copy(l.all, l.all[l.out:])
		clear(l.all[rest:])
		l.all, l.out = l.all[:rest], 0
	}
	l.all = append(l.all, x)
}

func (l *line[T]) pop() (x T, ok bool) {
	if l.len() == 0 {
		return x, false
	}
	x = l.all[l.out]
	clear(l.all[l.out : l.out+1])
	if l.out++; l.out == len(l.all) {
		l.all, l.out = l.all[:0], 0
	}
	return x, true
}
