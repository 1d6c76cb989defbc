package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/permits"
)

// A task without a slot of a Rate that Runners share, if it went back to the queue, would be claimed next by any
// Runner, mostly by one without a slot. So some tasks stay with their worker for a moment: until a turn, which asks
// the others for slots (see shareturn.go), has told whether there are some, and then until the time of the slot.
//
// Between two calls of the machine:
//   - A task that waits so has taken a slot of each of its rates, or none at all. No other task has these slots.
//   - It is sent only while each of these slots can be used. If one of them has passed, all are lost.
//   - It has no slot of its site's Rate: that is given back first, and taken again when the task is sent.
//   - sharing.awaits has each of them. site.awaits counts those of the site, and lot.awaits those that wait for a slot
//     of that rate: see mayAwait.
//   - It waits for awaitTime at most until it has slots, and then for permits.Ahead at most until their time. It goes
//     back to the queue at once when the Runner stops.

const (
	awaitTime  = int64(permits.Ahead + time.Second) // a slot is known Ahead of its time, and a turn takes time, too
	mostAwaits = 50                                 // for slots of one rate
)

// awaiting is a task that waits for slots.
type awaiting struct {
	task     taskKey
	until    int64         // when it goes back to the queue if it has no slots
	lots     [2]*lot       // it waits for slots of these
	from, to int64         // when the slots that it has can be used; to is 0: it has none
	signal   chan struct{} // a turn has ended
	listed   bool          // it is in sharing.toSignal
}

// taskKey names a task.
type taskKey struct {
	id          queue.ID
	destination string
}

// hasSlots reports whether f has waited, and goes now with slots that it has taken.
func (f *flight) hasSlots(now int64) bool {
	return f.await != nil && f.await.from <= now && now < f.await.to
}

// planAwait returns the plan to have a task wait. ok is false if it doesn't wait: it has taken its slots, or goes by
// admit.
func (m *machine) planAwait(f *flight, task *queue.Task, now time.Time) (p plan, ok bool) {
	if m.shared == nil {
		return plan{}, false
	}
	m.shared.inVain = false
	if f.class == queue.Overdue || f.kind == probe || passed(task.Deadline, now) {
		return plan{}, false
	}
	a, until := f.await, m.mono+awaitTime
	lots, promised := m.rateLots(task)
	if a != nil {
		until = a.until
	} else if promised {
		return plan{}, false
	}
	at, lacking := m.together(lots)
	switch {
	case lacking == nil && at <= m.mono:
		if a != nil {
			a.take(lots, at)
		}
		return plan{}, false
	case lacking != nil && (lacking.slots.retry > until || until <= m.mono):
		m.shared.inVain = true
		return plan{}, false
	case a == nil && !m.mayAwait(f, lots):
		for _, q := range lots {
			q.slots.more = true
		}
		return plan{}, false
	case a == nil:
		key := taskKey{task.ID, task.Destination}
		a = &awaiting{task: key, until: until, signal: make(chan struct{}, 1)}
		f.await, m.shared.awaits[key] = a, a
		f.t.party.site.awaits++
		m.giveRate(f.t.party.site, 1)
	}
	if lacking == nil {
		a.take(lots, at)
		return plan{step: stepAwait, next: now.Add(time.Duration(at - m.mono))}, true
	}
	for i, q := range lots {
		// A slot of a much faster rate isn't wanted before there is one of the slow rate.
		if q.slots.every*2 >= lacking.slots.every && q.slots.after(at) == never {
			a.lots[i] = q
			q.awaits++
			m.lackSlot(q)
		}
	}
	if !a.listed {
		a.listed = true
		m.shared.toSignal = append(m.shared.toSignal, a)
	}
	return plan{step: stepAwait, next: now.Add(time.Duration(until - m.mono))}, true
}

// take takes the slots that a task is sent with at a time.
func (a *awaiting) take(lots []*lot, at int64) {
	a.from, a.to = at, never
	for _, q := range lots {
		a.to = min(a.to, q.slots.takeAt(at))
	}
}

// mayAwait reports whether f may wait. Of the slots of Concurrency, seven eighths are left to other mail, and half of
// the window of a site. For a rate, as many wait as may go within Ahead, up to mostAwaits, and one more.
func (m *machine) mayAwait(f *flight, lots []*lot) bool {
	s := f.t.party.site
	if len(m.shared.awaits) >= m.places/8 || int(s.awaits) >= int(s.standing.window)/2 {
		return false
	}
	for _, h := range s.hosts {
		if h.held >= h.most {
			return false
		}
	}
	for _, q := range lots {
		if q.awaits > int(min(int64(permits.Ahead)/q.slots.every, mostAwaits)) {
			return false
		}
	}
	return true
}

// rateLots returns the lots of the rates of a task, the slowest first. promised is true if earlier tasks have been put
// off to times that haven't come.
func (m *machine) rateLots(task *queue.Task) (lots []*lot, promised bool) {
	for _, key := range m.rateKeys(task) {
		limit := Rate{}
		if key.name != "" {
			limit = m.rate(key)
		}
		if limit.every() == 0 {
			continue
		}
		if b := m.rates[key]; b != nil && b.last > m.mono && !task.Due.After(task.Arrival) {
			promised = true
		}
		q := m.lotOf(key.kind(), key.name)
		m.slotAt(q, limit)
		lots = append(lots, q)
	}
	slices.SortStableFunc(lots, func(a, b *lot) int { return cmp.Compare(b.slots.every, a.slots.every) })
	return lots, promised
}

// together returns when there is a slot of each of some lots. If one of them has none then, that one is lacking. The
// first one is, while this Runner may use no slots at all.
func (m *machine) together(lots []*lot) (at int64, lacking *lot) {
	at = m.mono
	if len(lots) > 0 && !m.isCovered() {
		return at, lots[0]
	}
	for {
		before := at
		for _, q := range lots {
			next := q.slots.after(at)
			if next == never {
				return at, q
			}
			at = max(at, next)
		}
		if at == before {
			return at, nil
		}
	}
}

// endAwait ends the wait for lots, and the whole one if it is over.
func (m *machine) endAwait(f *flight, over bool) {
	a := f.await
	for i, q := range a.lots {
		if q != nil {
			if q.awaits--; q.awaits == 0 {
				q.slots.lacks = false // nobody would use the slot
			}
		}
		a.lots[i] = nil
	}
	if over {
		delete(m.shared.awaits, a.task)
		f.t.party.site.awaits--
	}
}

// resumed returns the next plan of a task that waits, when a turn has ended or the time of its plan has come. stops is
// true if it can't be sent any more.
func (m *machine) resumed(f *flight, task *queue.Task, stops bool, now time.Time) plan {
	m.at(now)
	a, s := f.await, f.t.party.site
	if !stops && a.to > 0 && m.mono < a.from {
		return plan{step: stepAwait, next: now.Add(time.Duration(a.from - m.mono))}
	}
	m.endAwait(f, false)
	p := plan{step: stepPostpone, why: "rate"}
	switch {
	case stops:
		p.why = "stop"
	case m.siteRateAt(s) <= m.mono:
		if !f.hasSlots(m.mono) {
			a.from, a.to = 0, 0
		}
		m.takeRate(s)
		p = m.planFor(f, task, now)
		if p.step == stepAwait {
			m.giveRate(s, 1)
		} else {
			m.planned(f, task, p, now)
		}
	}
	if p.step != stepAwait {
		m.endAwait(f, true)
	}
	if p.step == stepAttempt && f.list == &m.young { // the time of the wait isn't that of the site
		m.young.remove(f)
		f.began = m.mono
		m.young.push(f)
	}
	return p
}

// signalAwaits has the tasks that wait for slots look whether there are some, when a turn has ended.
func (m *machine) signalAwaits() {
	sh := m.shared
	for _, a := range sh.toSignal {
		a.listed = false
		select {
		case a.signal <- struct{}{}:
		default:
		}
	}
	clear(sh.toSignal)
	sh.toSignal = sh.toSignal[:0]
}

// await waits while d's task waits for slots. The task isn't sent any more if run, which is that of Run, or sends ends.
func (l *runnerLoop) await(run, sends context.Context, d *delivery) {
	for d.plan.step == stepAwait {
		timer := time.NewTimer(min(d.plan.next.Sub(l.r.time()), time.Duration(awaitTime)))
		select {
		case <-run.Done():
		case <-sends.Done():
		case <-timer.C:
		case <-d.flight.await.signal:
		}
		timer.Stop()
		now, stops := l.r.time(), run.Err() != nil || sends.Err() != nil
		seen := l.r.seen(&d.task, now)
		l.locked(func(m *machine) {
			if d.plan = m.resumed(&d.flight, seen, stops, now); m.shared.urgent {
				l.sharer.wake()
			}
		})
	}
}

// awaitCause returns what a task waits for that waits for slots, or the zero cause.
func (m *machine) awaitCause(task *queue.Task, now time.Time) (c cause) {
	if m.shared == nil {
		return c
	}
	a := m.shared.awaits[taskKey{task.ID, task.Destination}]
	if a == nil {
		return c
	}
	var slowest Rate
	for _, key := range m.rateKeys(task) {
		if key.name == "" {
			continue
		}
		if limit := m.rate(key); limit.every() > slowest.every() {
			slowest = limit
			c.why = fmt.Sprintf("It waits for its turn at the rate of the %s %s: %v.", key.kind(), key.name, limit)
		}
	}
	if a.to > 0 {
		c.until = now.Add(time.Duration(a.from - m.mono))
	}
	return c
}
