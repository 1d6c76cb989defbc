package delivery

import (
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/smtp"
)

// standing is how a site does, or a party at its site.
//
// The window is how many tasks may be in flight. It begins at Initial and moves by feedback of 1/window for each task:
// a whole window of tasks without a failure makes it one larger; the first failure makes it one smaller, and then so
// does each window of them. A whole window of failures with no success among them takes it down: it is left alone for a
// while, probed with one task, and comes back with the first that gets through.
type standing struct {
	window  float64 // a whole number
	success float64 // since the window last grew, in windows
	failure float64 // what is left until the next failure makes it smaller, in windows
	failing float64 // failures in a row, in windows
	down    bool    // until is when to probe it, or one probe is under way
	until   int64
	since   int64       // when it went down
	downs   int         // times in a row that it went down or a probe failed
	last    int64       // when feedback was last had
	result  smtp.Result // the last failure
	waiter  waiter      // of the site or party whose it is
}

// Sums of 1/n are compared with a whole.
const almost = 1 - 1e-9

// well records a success. full is true if the whole window was in use.
func (st *standing) well(limits SiteLimits, full bool, now int64) {
	st.last = now
	st.failure, st.failing, st.downs = 0, 0, 0
	if st.down {
		st.down, st.until, st.window, st.success = false, 0, float64(limits.Initial), 0
		return
	}
	// What isn't used can't be known to be too little.
	if st.success += 1 / st.window; st.success >= almost && full {
		st.success = 0
		st.window = min(st.window+1, float64(limits.Concurrency))
	}
}

// ill notes a failure. It reports whether that takes it down.
func (st *standing) ill(result smtp.Result, now int64) (down bool) {
	st.last, st.success = now, 0
	st.result = failureOf(result)
	if st.down {
		return st.until <= now // else it was in flight when it went down, and says nothing new
	}
	st.failing += 1 / st.window
	if st.failure -= 1 / st.window; st.failure < 0 {
		st.failure++
		st.window--
	}
	return st.failing >= almost || st.window < 1
}

// failureOf returns what a result shows about a site, without what the host said about one message: that isn't for the
// senders of others.
func failureOf(res smtp.Result) smtp.Result {
	res.Recipient = ""
	if res.Stage >= smtp.StageMail && !res.Local {
		res.Reply = &smtp.Reply{Code: res.Reply.Code, Enhanced: res.Reply.Enhanced, Text: "the host defers messages"}
		res.Local = true
	}
	return res
}

// takeDown leaves it alone for a while: for the waits of the schedule, but no longer than maxProbe, by chance up to a
// tenth sooner or later. Nothing is written for the mail that waits meanwhile.
func (m *machine) takeDown(st *standing) {
	if st.downs++; !st.down {
		st.since = m.mono
	}
	wait := min(nth(m.retry, st.downs), m.maxProbe)
	wait += time.Duration(m.jitter() * float64(wait) / 10)
	st.down, st.until = true, m.mono+int64(wait)
	st.window = max(st.window, 1)
	st.failure, st.failing = 0, 0
	m.park(&st.waiter, st.until)
}

// enoughTold is how many owners a site must refuse for a policy, while nothing gets through, before that is about the
// site.
const enoughTold = 5

// feedback is what the end of a task teaches, which took so long.
func (m *machine) feedback(p *party, v verdict, took int64) {
	s := p.site
	before := [...]kind{p.kind(0), p.kind(1)}
	defer func() { s.mixed = s.mixed || before != [...]kind{p.kind(0), p.kind(1)} }()
	m.notePace(p, v, took)
	if v.sign > 0 {
		s.answered = true
		full := float64(s.held+1) >= s.standing.window*3/4 // of the last quarter, not everybody may have something
		s.standing.well(s.limits, full, m.mono)
	}
	if v.taken {
		s.sent.add(1, m.mono)
		s.lately.add(toSeconds(m.mono))
		s.told = 0
		s.epoch++
	}
	sign := v.sign
	switch {
	case v.policy == noPolicy && v.taken && p.own != nil:
		p.own.well(s.limits, true, m.mono)
		if p.own.window >= min(s.standing.window, float64(s.limits.Initial)) {
			m.park(&p.own.waiter, never)
			p.own = nil
		}
	case v.policy != noPolicy:
		m.refused(p, v)
		if s.told >= enoughTold {
			sign = -1
		}
	}
	if sign < 0 {
		p.epoch = s.epoch + 1 // others may do better
		if s.standing.ill(v.result, m.mono) {
			m.takeDown(&s.standing)
		}
	}
}

// refused notes that p's owner was told of a policy.
func (m *machine) refused(p *party, v verdict) {
	s := p.site
	if p.own == nil {
		p.own = &standing{window: min(s.standing.window, float64(s.limits.Initial))}
		p.own.waiter.party = p
	}
	down := p.own.ill(v.result, m.mono)
	if v.policy == recipientPolicy { // it is about one recipient, or a few: slow down, no more
		p.own.window, p.own.failing = max(p.own.window, 1), 0
		return
	}
	if p.told != s.epoch+1 {
		p.told, p.epoch = s.epoch+1, s.epoch+1
		s.told++
	}
	if down {
		m.takeDown(p.own)
	}
}

// notePace notes that an attempt took mail quickly. Of one that takes long, grow has noted that already.
func (m *machine) notePace(p *party, v verdict, took int64) {
	if v.taken && took <= int64(tooLong) {
		p.pace.took(false)
		p.site.slow = nil
		m.prove(p.site)
	}
}

// waiter is a site, a party or a gate that is looked at again at a time.
type waiter struct {
	site  *site
	party *party
	gate  *gate
	wake  int64 // on the machine's clock
	pos   int32 // its place among the parked, counted from 1
}

// park has w looked at again at a time or before, unless that never comes. Who looks finds out what else it waits for.
func (m *machine) park(w *waiter, wake int64) {
	switch {
	case wake == never:
		if w.pos > 0 {
			m.parked = heap.Remove(byWake{}, m.parked, int(w.pos)-1)
		}
		return
	case w.pos > 0 && w.wake <= wake:
		return
	}
	w.wake = wake
	m.parked = heap.Put(byWake{}, m.parked, w, int(w.pos)-1)
}

// byWake has the one that is looked at first on top of a heap.
type byWake struct{}

func (byWake) Before(a, b *waiter) bool { return a.wake < b.wake }

func (byWake) Moved(w *waiter, place int) { w.pos = int32(place + 1) }
