package delivery

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue/internal/mutant"
	"github.com/postrider/postrider/smtp"
)

// site is the hosts that one or more targets end at: what they can take is learned from what they do. It is there while
// one of its targets is ready or has tasks in flight, or while it has something to remember.
//
// Its window is how many tasks may be in flight. It begins at Initial and moves by feedback of 1/window for each task:
// a whole window of tasks without a failure makes it one larger; the first failure makes it one smaller, and then so
// does each window of them. A whole window of failures with no success among them takes the site down: it is left alone
// for a while, probed with one task, and comes back with the first that gets through.
type site struct {
	name     string
	limits   SiteLimits
	ring     line[*target] // ready, those whose turn is next first
	inLine   bool
	refs     int32 // targets that are ready or have tasks in flight
	inFlight int32
	granted  int32   // tasks asked for in this turn
	probes   int32   // tasks in flight that are probes
	pos      int32   // its place among the parked, counted from 1
	wake     int64   // when it is looked at again, on the machine's clock
	window   float64 // a whole number
	success  float64 // since the window last grew, in windows
	failure  float64 // what is left until the next failure makes it smaller, in windows
	failing  float64 // failures in a row, in windows
	down     bool    // until is when to probe it, or one probe is under way
	until    int64
	downs    int         // times in a row that it went down or a probe failed
	last     int64       // when feedback was last had
	result   smtp.Result // the last failure
	bucket   bucket
}

// verdict is what the end of a task says of its site.
type verdict struct {
	sign    int8        // of the feedback: 1 for a host that does its work, -1 for one that doesn't, 0 for neither
	result  smtp.Result // why, if it is -1
	overdue int64       // when the task's next notice or deadline comes; 0: none, or the task is gone
}

const (
	// A site without mail that isn't as new is remembered for memory, one that is down until its mail has come up
	// again.
	memory     = 10 * time.Minute
	downMemory = 3 * time.Hour

	// Sums of 1/n are compared with a whole.
	almost = 1 - 1e-9
)

// join gives t its site.
func (m *machine) join(t *target, name string) {
	s := m.sites[name]
	if s == nil {
		s = &site{name: name, limits: m.site(name), down: t.cold}
		s.window = float64(s.limits.Initial)
		m.sites[name] = s
	}
	t.site, t.cold, t.moved = s, false, false
	s.refs++
}

// leave ends join if there is nothing that t needs its site for, and forgets t if there is nothing to know of it.
func (m *machine) leave(t *target) {
	s := t.site
	if s == nil || t.queued || t.inFlight > 0 || t.ready && !t.moved {
		return
	}
	t.site = nil
	s.refs--
	m.idle(s)
	if !t.ready && t.pos == 0 {
		delete(m.targets, t.name)
	}
}

// idle forgets s if it has no targets, and nothing to remember.
func (m *machine) idle(s *site) {
	if s.refs > 0 {
		return
	}
	keep := s.bucket.tat
	if s.downs > 0 {
		keep = max(keep, s.last+int64(downMemory))
	} else if s.window != float64(s.limits.Initial) || s.failing > 0 {
		keep = max(keep, s.last+int64(memory))
	}
	if keep > m.mono {
		m.park(s, keep)
		return
	}
	m.park(s, never)
	delete(m.sites, s.name)
}

// park has s looked at again at a time, unless that never comes.
func (m *machine) park(s *site, wake int64) {
	switch {
	case wake == never && s.pos > 0:
		m.parked = heap.Remove(byWake{}, m.parked, int(s.pos)-1)
	case wake == never:
	case s.pos > 0:
		s.wake = wake
		heap.Fix(byWake{}, m.parked, int(s.pos)-1)
	default:
		s.wake = wake
		m.parked = heap.Push(byWake{}, m.parked, s)
	}
}

// room says how many more tasks s may have in flight and, if none, when to ask again without further news.
func (m *machine) room(s *site) (n int, wake int64) {
	n = int(s.window)
	if s.down {
		n = 1
	}
	if n -= int(s.inFlight + s.granted); n > 0 && s.down && m.mayProbe <= 0 {
		return 0, m.mono + int64(time.Second)
	}
	if at := s.bucket.at(s.limits.Rate); n > 0 && at > m.mono {
		return 0, at
	}
	return n, never
}

// blocked says when the block ends that keeps t's mail from being sent; 0: there is none.
func (m *machine) blocked(t *target) (end int64) {
	if t.site.until > m.mono {
		end = t.site.until
	}
	if mutant.On != mutant.SendsSuspended {
		if left := max(m.suspendedFor(t.name), m.suspendedFor(t.site.name)); left > 0 {
			end = max(end, m.mono+min(left, math.MaxInt64-m.mono))
		}
	}
	return end
}

// suspendedFor says for how long something is suspended yet.
func (m *machine) suspendedFor(name string) (left int64) {
	if len(m.suspended) == 0 {
		return 0
	}
	until, ok := m.suspended[name]
	if !ok {
		return 0
	}
	return int64(until.Sub(time.Unix(0, m.wall))) // which has bounds
}

// reason says why t is blocked, in the form of a Result.
func (m *machine) reason(t *target) *smtp.Result {
	if t.site.until > m.mono {
		result := t.site.result // the site's own changes
		return &result
	}
	return &smtp.Result{Reply: suspendedReply(t.name), Local: true, Reason: smtp.Other}
}

func suspendedReply(name string) *smtp.Reply {
	// RFC 3463 §3.4: X.3.2, the system isn't accepting messages: by our own decision.
	return smtp.NewReply(451, "4.3.2", "delivery to "+name+" is suspended")
}

// feedback is what the end of a task teaches.
func (m *machine) feedback(s *site, v verdict) {
	if v.sign == 0 {
		return
	}
	s.last = m.mono
	if v.sign > 0 {
		s.failure, s.failing, s.downs = 0, 0, 0
		if s.down {
			s.down, s.until, s.window, s.success = false, 0, float64(s.limits.Initial), 0
			return
		}
		// What isn't used can't be known to be too little.
		if s.success += 1 / s.window; s.success >= almost && float64(s.inFlight+1) >= s.window {
			s.success = 0
			s.window = min(s.window+1, float64(s.limits.Concurrency))
		}
		return
	}
	s.success = 0
	s.result = failureOf(v.result)
	if s.down {
		if s.until <= m.mono { // else it was in flight when the site went down, and says nothing new
			m.takeDown(s)
		}
		return
	}
	s.failing += 1 / s.window
	if s.failure -= 1 / s.window; s.failure < 0 {
		s.failure += 1
		s.window--
	}
	if s.failing >= almost || s.window < 1 {
		m.takeDown(s)
	}
}

// failureOf is what a result says of a site. What the host said of one message isn't for the senders of others.
func failureOf(res smtp.Result) smtp.Result {
	res.Recipient = ""
	if res.Stage >= smtp.StageMail && !res.Local {
		res.Reply = &smtp.Reply{Code: res.Reply.Code, Enhanced: res.Reply.Enhanced, Text: "the host defers messages"}
		res.Local = true
	}
	return res
}

// takeDown leaves s alone for a while: for the waits of the schedule, but no longer than maxProbe, by chance up to a
// tenth sooner or later. Nothing is written for the mail that waits meanwhile.
func (m *machine) takeDown(s *site) {
	s.downs++
	wait := min(nth(m.retry, s.downs), m.maxProbe)
	wait += time.Duration(m.jitter() * float64(wait) / 10)
	s.down, s.until = true, m.mono+int64(wait)
	s.window = max(s.window, 1)
	s.failure, s.failing = 0, 0
}

// suspend blocks sites or targets until a time; one that has passed ends the block. It says how many there are of these
// names.
func (m *machine) suspend(names []string, until, now time.Time) (known int) {
	m.at(now)
	for _, name := range names {
		m.suspended[name] = until
	}
	maps.DeleteFunc(m.suspended, func(_ string, until time.Time) bool { return !until.After(now) })
	m.revise()
	names = slices.Clone(names)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if m.targets[name] != nil || m.sites[name] != nil {
			known++
		}
	}
	return known
}

// flush forgets that the site of a target, or of all for "", is down, so that one task is tried at once, and asks anew
// which site that is. It says of how many sites that is.
func (m *machine) flush(name string, now time.Time) (sites int) {
	m.at(now)
	if t := m.targets[name]; t != nil && t.site != nil {
		name, t.moved = t.site.name, true
	}
	for _, s := range m.sites {
		if s.until > m.mono && (name == "" || s.name == name) {
			s.until = m.mono
			sites++
		}
	}
	m.revise()
	return sites
}

// revise looks again at all that is blocked, in an order that repeats.
func (m *machine) revise() {
	for _, name := range slices.Sorted(maps.Keys(m.sites)) {
		m.lineUp(m.sites[name])
	}
}

// byWake has the site that is looked at first on top of a heap.
type byWake struct{}

func (byWake) Before(a, b *site) bool { return a.wake < b.wake }

func (byWake) Moved(s *site, place int) { s.pos = int32(place + 1) }

// never is a time on the machine's clock that doesn't come.
const never = math.MaxInt64
