package delivery

import (
	"time"

	"github.com/postrider/postrider/queue/internal/permits"
)

// rateShare is what this Runner has of the rate of a tenant or a source that Runners share: units of permits.Units,
// which are the permits of its lot. With n units, a message takes up permits.Units/n times as long as with all.
//
// Between two calls of the machine: no message goes before tat less slack; the record in the store has at least as many
// units for this Runner as its lot has; while a turn is under way, and after permitTime without the store, it may use
// none. Units that move take their debts along. So in any time, all Runners together send at most as many messages as
// the rate allows, and one for each of them.
type rateShare struct {
	*bucket
	lot     *lot
	every   int64 // of the rate, with all units
	written int64 // the tat that the record has
	unsure  bool  // the answer of the last turn was lost
	soonTat int64 // the tat for which soon counts
	soon    int   // how many messages come back early for it
	soonAt  int64 // when the last of these does
	dense   int   // how many may
	sent    int   // messages since lot.checked
	before  int   // messages in the time before that
	seen    int64 // when a message last asked
}

const (
	fewUnits    = permits.Units / 20  // are asked for at first
	fewestUnits = permits.Units / 100 // are kept, so that a message needn't wait for units
	mostDense   = 12

	unusedTime = 3 * int64(time.Second)  // after so long without use, others may have the units
	longIdle   = 10 * int64(time.Minute) // after so long without mail, all are given back
)

// shareOf returns the share of a key, nil if nothing is shared.
func (m *machine) shareOf(key rateKey, b *bucket) *rateShare {
	q := m.lotOf("rate of "+key.kind(), key.name)
	if q == nil {
		return nil
	}
	if q.share == nil {
		q.share = &rateShare{lot: q, bucket: b, dense: 1}
		q.limit = permits.Units
	}
	if s := q.share; s.bucket != b { // the old one was forgotten
		b.tat = max(b.tat, s.tat)
		s.bucket = b
	}
	return q.share
}

// stride is the time that a message takes up with n units.
func stride(every int64, n int) int64 {
	return int64(min(float64(every)*permits.Units/float64(max(n, 1)), float64(maxEvery)))
}

// unitsNow is how many units may be used now.
func (m *machine) unitsNow(s *rateShare) int {
	if !m.isCovered() {
		return 0
	}
	return s.lot.permits
}

// nextOf returns when the next message may go. back is when the one that asks is to come back, 0 if that is after all
// others. near is whether it may come before others.
func (m *machine) nextOf(s *rateShare, every int64, near bool) (free, back int64) {
	q, n := s.lot, m.unitsNow(s)
	s.every, s.seen = every, m.mono
	own := stride(every, n)
	if n == 0 {
		m.lackPermit(q)
		m.unasked = m.unasked || q.turned == 0
		own = int64(waitTurn)
		free = m.mono + own
		if q.frozen || q.turned == 0 { // a turn ends soon
			free = m.mono + own/8
		}
	} else if free = s.tat - slack; free <= m.mono {
		return free, 0
	} else if n < permits.Units {
		m.lackPermit(q)
		if !q.waits && n < permits.Units*9/10 { // more units may come
			soonest := m.mono + int64(float64(free-m.mono)*float64(n)/permits.Units)
			free = min(free, max(m.mono+int64(waitTurn), soonest))
		}
	}
	if near {
		back = s.soonOf(m.mono, free, own)
	}
	return free, back
}

// soonOf returns when one of the first messages comes back that lack room since the last one went, 0 if it isn't one of
// those. If all have come back and none went, others may. A message that comes back may come up at another Runner, and
// then this one goes on with the next of these: the longer it has waited for one of late, the more there are.
func (s *rateShare) soonOf(now, free, own int64) int64 {
	if s.soonTat != s.tat || s.soonAt <= now {
		s.soonTat, s.soon = s.tat, 0
	}
	if s.soon >= s.dense {
		return 0
	}
	s.soonAt = free + int64(float64(own)*float64(s.soon)/float64(s.dense))
	s.soon++
	return s.soonAt
}

// takeShare counts a message.
func (m *machine) takeShare(s *rateShare) {
	n, waiting := s.lot.permits, s.last > m.mono
	own := stride(s.every, n)
	if n < permits.Units && waiting && m.mono-s.tat > own/10 {
		s.dense = min(2*s.dense, mostDense)
	} else {
		s.dense = max(s.dense-1, 1)
	}
	s.tat = max(s.tat, m.mono) + own
	s.sent++
	if n < permits.Units && waiting {
		m.lackPermit(s.lot)
	}
}

// keep is how many units are kept while others lack some, and no message lacks any here.
func (m *machine) keep(s *rateShare) int {
	q := s.lot
	if m.mono-s.tat >= unusedTime+stride(s.every, q.permits) {
		return min(q.permits, fewestUnits)
	}
	need := func(n int, d int64) int { // a quarter more than were used
		return int(min(1.25*float64(n)*float64(s.every)*permits.Units/float64(d)+1, permits.Units))
	}
	used := max(need(s.sent, max(m.mono-q.checked, idleTime/6)), need(s.before, idleTime))
	return min(q.permits, max(fewestUnits, used))
}

// decayShare has units given back that aren't used.
func (m *machine) decayShare(q *lot) {
	s := q.share
	if m.mono-q.checked < idleTime {
		return
	}
	s.before, s.sent, q.checked = s.sent, 0, m.mono
	switch {
	case q.lacks || q.waits:
	case m.mono-max(s.tat, s.last, s.seen) > longIdle:
		q.permits = 0
	case m.shared.called[q.name]:
		q.permits = m.keep(s)
	}
}

// owes reports whether a debt is to be stored that others would have to know of if this Runner died.
func (m *machine) owes(q *lot) bool {
	s := q.share
	return s != nil && q.booked > 0 && s.tat-m.mono > int64(permits.Dead) && s.tat != s.written
}

// askForShare is askFor: until the turn ends, there are no units.
func (m *machine) askForShare(q *lot) shareAsk {
	s := q.share
	a := shareAsk{q: q, had: q.permits, free: s.tat, stride: max(s.every, 1), ask: permits.Ask{
		Limit: permits.Units, Most: q.permits, Lacking: q.lacks, Keep: m.keep(s), Had: q.booked, Unsure: s.unsure,
	}}
	if q.lacks {
		a.ask.Most = min(max(2*q.permits, 2*q.booked, fewUnits), permits.Units)
	}
	q.lacks, q.frozen, q.permits = false, true, 0
	return a
}
