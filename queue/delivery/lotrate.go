package delivery

import (
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/permits"
	"github.com/postrider/postrider/smtp"
)

// The rate of a tenant or a source that Runners share is the limit of a gate. A message that was put off in the queue
// would come back to any of the Runners, of which each has slots of its own: to most of them in vain. So it isn't put
// off. Its lane waits at the gate for the slots of this Runner, as it does in the others.

func (q *lot) at(now int64) int64 {
	if q.slots.every == 0 {
		return now
	}
	return q.slots.first(now)
}

func (q *lot) room(now int64) int {
	if q.slots.every == 0 {
		return maxRecovery
	}
	return q.slots.ready(now)
}

func (q *lot) every(int64) int64 { return q.slots.every }

func (q *lot) bit() uint16 {
	n := 2 * meterKinds // after those of meters
	if strings.HasPrefix(q.name, rateKey{isSource: true}.kind()) {
		n++
	}
	return 1 << n
}

func (q *lot) isGone() bool { return q.gone }

func (q *lot) isStrict() bool { return true }

func (q *lot) result() *smtp.Result { return ownRateResult() }

// ready returns how many messages may go now.
func (s *slots) ready(now int64) (n int) {
	s.first(now) // those that have passed aren't among them
	for i := range s.blocks {
		if b := &s.blocks[i]; b.next <= now {
			n += int((min(now, b.end-1)-b.next)/s.every) + 1
		}
	}
	return n
}

// wanted returns how many slots q asks for. For a tenant or a source, it asks for none unless messages wait: what is
// asked for in vain is lost for all Runners.
func (m *machine) wanted(q *lot) int {
	s := &q.slots
	most, left := 1+int(int64(permits.Ahead)/s.every), s.left(m.mono)
	many := s.many
	switch g := m.gates[q]; {
	case g != nil && !g.isEmpty():
		lanes, several := g.waiting()
		if many = lanes; several { // nobody knows how many, so it asks for twice as many each time
			many = max(many, 2*s.took)
		}
		many = max(many-left, 0)
	case s.lacks && q.site == nil:
		many = max(2*many, 1+most/16)
	case s.lacks:
		many = max(2*many, firstMany)
	case q.site == nil, s.took == 0 && left == 0:
		many = 0
	case s.unused:
		many = max(many/2, 1)
	}
	return min(many, most)
}

// left returns how many slots there are.
func (s *slots) left(now int64) (n int) {
	s.first(now) // those that have passed aren't among them
	for _, b := range s.blocks {
		n += int((b.end - b.next + s.every - 1) / s.every)
	}
	return n
}

// lotsOf returns the lots of the rates of a task's tenant and source. They are nil where there is none.
func (m *machine) lotsOf(task *queue.Task) (lots [2]*lot) {
	if m.shared == nil {
		return lots
	}
	for i, key := range m.rateKeys(task) {
		if key.name == "" {
			continue
		}
		every := m.rate(key).every()
		if every == 0 && len(m.gates) == 0 {
			continue
		}
		q := m.lotOf(key.kind(), key.name)
		q.setEvery(every)
		if every > 0 {
			lots[i] = q
		} else if g := m.gates[q]; g != nil { // there was a rate
			m.openGate(g)
		}
	}
	return lots
}

// setEvery sets the time of one message. If zero, there is no rate any more.
func (q *lot) setEvery(every int64) {
	if q.slots.every = every; every == 0 {
		q.slots.blocks = nil
	}
}

// known returns at, which is when q allows the next message. If that isn't known, it is asked for.
func (m *machine) known(q *lot, at int64) int64 {
	if !m.isCovered() {
		at = never
	}
	if at == never {
		m.lackSlot(q)
	}
	return at
}

// takeSlots counts a message for lots, of which some may be nil.
func (m *machine) takeSlots(lots [2]*lot) {
	for _, q := range lots {
		if q == nil {
			continue
		}
		q.slots.take(m.mono)
		if g := m.gates[q]; g != nil && !g.isEmpty() {
			m.guard(g, 0)
		}
	}
}
