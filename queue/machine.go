package queue

import (
	"math/rand/v2"
	"time"
)

// machine decides for a Runner what is claimed when. It is a plain value of one goroutine that asks nobody: what
// happens is told to it, each time with the time (wake, sited, claimed, settleTurn, done, suspend), and what to do next is
// asked of it (toSite, pick, next). So a simulator can drive it as the Runner does.
//
// It knows each destination that has mail as a target: when the first of its tasks comes due, and how many are being
// sent. Targets that end at the same hosts share a site, which says how many of them may be sent at a time, and
// whether any may. The sites stand in line for the places there are, and the ready targets of each site in a ring: one
// place for each turn, and then what is left goes round. A hint that is wrong costs one claim in vain.
type machine struct {
	machineConfig
	base      time.Time // zero of its own clock, which no jump of the wall clock moves
	mono      int64     // the time by that, in nanoseconds
	wall      int64     // the time by the wall clock
	targets   map[string]*target
	sites     map[string]*site
	due       []*target // a heap of those with a time to come
	parked    []*site   // a heap of those that wait for a time to come
	line      line[*site]
	unsited   line[*target] // ready, and their site isn't known
	cold      bool          // the queue is being listed for the first time
	turn      []*target
	round     []*site
	wants     []Want
	suspended map[string]time.Time // targets and sites
	rates     map[rateKey]*bucket
	manyRates int // so many of them are looked through
	inFlight  int // tasks
	probes    int // of them, those at sites that are down
	mayProbe  int // so many probes there may be
}

type machineConfig struct {
	lease   time.Duration
	resolve bool            // sites have names of their own, which toSite asks for
	retry   []time.Duration // if empty, the default
	limits  func(s Scope, name string) Limits
	source  func(*Task) string // may be nil
	jitter  func() float64     // from -1 to 1; nil: by chance
}

// target is one destination.
type target struct {
	name     string
	site     *site // while it is ready or has tasks in flight; nil: not known
	due      int64 // the first time to come that is known; 0: none
	last     int64 // the last time told of at which a lease may end: no list has what is leased
	overdue  int64 // when to look for notices and deadlines, should the site be blocked
	pos      int32 // its place in the heap, counted from 1; 0: it isn't in it
	inFlight int32 // tasks claimed and not done with
	deficit  int32 // turns it lets pass, as its messages were large
	asked    [classes]int32
	got      [classes]int32
	drained  [classes]bool // it had none of that class left when last asked
	ready    bool          // something may be due now
	queued   bool          // it is in the ring or among the unsited, or its site is being asked for
	moved    bool          // its site may be another one by now
	cold     bool          // it had failed before this Runner began
	fresh    bool          // the last place was for a fresh task
}

const classes = int(Overdue) + 1

// recheck is how often notices and deadlines of a blocked site are looked for where none is known.
const recheck = 5 * time.Minute

func newMachine(c machineConfig) *machine {
	if c.jitter == nil {
		c.jitter = func() float64 { return 2*rand.Float64() - 1 }
	}
	if len(c.retry) == 0 {
		c.retry = defaultRetry
	}
	return &machine{
		machineConfig: c,
		base:          time.Now(),
		cold:          true,
		targets:       make(map[string]*target),
		sites:         make(map[string]*site),
		suspended:     make(map[string]time.Time),
		rates:         make(map[rateKey]*bucket),
	}
}

// at sets the time. What is told or asked begins with it.
func (m *machine) at(now time.Time) {
	m.mono, m.wall = int64(now.Sub(m.base)), now.UnixNano()
}

// wake notes that a destination may have something due at the given time.
func (m *machine) wake(name string, due, now time.Time) {
	m.at(now)
	m.wakeTarget(m.target(name), due.UnixNano())
}

// list notes what a list of the queue has of a destination.
func (m *machine) list(d Destination, now time.Time) {
	m.at(now)
	t := m.target(d.Name)
	t.cold = m.cold && d.Retried > 0
	if !d.Overdue.IsZero() {
		t.overdue = d.Overdue.UnixNano()
	}
	m.wakeTarget(t, d.Due.UnixNano())
}

// listed ends a list.
func (m *machine) listed() { m.cold = false }

func (m *machine) target(name string) *target {
	t := m.targets[name]
	if t == nil {
		t = &target{name: name}
		m.targets[name] = t
	}
	return t
}

func (m *machine) wakeTarget(t *target, due int64) {
	if due <= m.wall {
		// It may be new mail, whose notice comes before any that is known.
		if soon := m.wall + int64(recheck); t.overdue == 0 || t.overdue > soon {
			t.overdue = soon
		}
		m.ready(t)
		return
	}
	if due > t.last && due <= m.wall+int64(m.lease) {
		t.last = due
	}
	if t.due == 0 || due < t.due && mutant != mutantWakesLate {
		t.due = due
		if t.pos == 0 {
			m.due = heapPush(byTargetDue{}, m.due, t)
		} else {
			heapFix(byTargetDue{}, m.due, int(t.pos)-1)
		}
	}
}

// ready says that t may have something due.
func (m *machine) ready(t *target) {
	t.ready, t.drained = true, [classes]bool{}
	m.queue(t)
}

// queue puts t into the ring of its site, or among those that have none yet.
func (m *machine) queue(t *target) {
	if t.queued || !t.ready {
		return
	}
	t.queued = true
	if t.site == nil {
		if m.resolve && t.name != "" {
			m.unsited.push(t)
			return
		}
		m.join(t, t.name)
	}
	t.site.ring.push(t)
	m.lineUp(t.site)
}

// toSite gives the name of a target whose site is to be asked for. ok is false if there is none.
func (m *machine) toSite() (name string, ok bool) {
	t, ok := m.unsited.pop()
	if !ok {
		return "", false
	}
	return t.name, true
}

// sited says what site a target of toSite has.
func (m *machine) sited(name, site string, now time.Time) {
	m.at(now)
	t := m.targets[name]
	t.queued = false
	m.join(t, site)
	m.queue(t)
}

// next is when there is something to do without further news; zero: never.
func (m *machine) next() time.Time {
	var next time.Time
	if len(m.due) > 0 {
		next = time.Unix(0, m.due[0].due)
	}
	if len(m.parked) > 0 {
		next = earliest(next, m.base.Add(time.Duration(m.parked[0].wake)))
	}
	return next
}

// pick shares out the free places. The wants are valid until the next pick. A claim with them is followed by one call
// of settleTurn.
func (m *machine) pick(free int, now time.Time) []Want {
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
				m.wants = append(m.wants, Want{Destination: t.name, Max: int(n), Class: Class(class)})
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
			heapFix(byTargetDue{}, m.due, 0)
		} else {
			t.due = 0
			m.due = heapRemove(byTargetDue{}, m.due, 0)
		}
		t.overdue = m.wall // it may be a notice or a deadline that has come
		m.ready(t)
		if t.site != nil && t.site.pos > 0 {
			m.lineUp(t.site)
		}
	}
	for len(m.parked) > 0 && m.parked[0].wake <= m.mono {
		s := m.parked[0]
		m.parked = heapRemove(byWake{}, m.parked, 0)
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
			class := Overdue
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

func (m *machine) ask(t *target, class Class) {
	if t.asked == [classes]int32{} {
		m.turn = append(m.turn, t)
	}
	t.asked[class]++
	t.site.granted++
	if class == Any {
		m.mayProbe--
	}
}

// class chooses of what class the next task is to be: fresh and retried ones take turns.
func (t *target) class() Class {
	t.fresh = !t.fresh
	switch {
	case t.site.down:
		return Any
	case t.fresh && !t.drained[Fresh], t.drained[Retried]:
		return Fresh
	}
	return Retried
}

// claimed notes a task of this turn, and says what is to be done with it.
func (m *machine) claimed(task *Task, now time.Time) (*target, plan) {
	m.at(now)
	t := m.target(task.Lease.Destination)
	if t.site == nil { // not asked for
		m.join(t, t.name)
	}
	class := Fresh
	switch {
	case t.asked[Overdue] > 0:
		class = Overdue
	case t.asked[Any] > 0:
		class = Any
	case task.Attempts > 1:
		class = Retried
	}
	t.got[class]++
	t.inFlight++
	t.site.inFlight++
	m.inFlight++
	if class == Any { // a probe
		t.site.probes++
		m.probes++
	}
	t.deficit = min(t.deficit+int32(task.Size/quantum), maxDeficit)
	p := plan{step: nextStep(task, now, m.blocked(t) > 0)}
	if p.step == stepAttempt {
		// What has no time left isn't put off: it would be claimed again at once.
		if at := m.admit(task); at > m.mono && !passed(task.Deadline, now) {
			p.step, p.next = stepPostpone, now.Add(time.Duration(at-m.mono))
		}
	} else if m.blocked(t) > 0 {
		p.reason = m.reason(t)
	}
	switch {
	case p.step == stepAttempt:
	case class != Overdue:
		t.site.bucket.giveBack(t.site.limits.Rate, 1)
	case p.step == stepPostpone: // its notice or deadline is for later, by our clock: it mustn't come up again at once
		t.overdue = m.wall + int64(recheck)
	}
	return t, p
}

// probeShare is the part of all places that may be taken by probes of sites that are down, most of which end in a time-out.
const probeShare = 4

// A destination has one turn for each task and one more for each quantum of octets, but none waits for more than
// maxDeficit turns.
const (
	quantum    = 256 << 10
	maxDeficit = 40
)

// settleTurn ends a turn. Of a destination that got less than it asked for, the queue tells when it has more. After a claim that
// failed, all have what they had.
func (m *machine) settleTurn(failed bool) {
	for _, t := range m.turn {
		s := t.site
		for class := range t.asked {
			missing := t.asked[class] - t.got[class]
			s.granted -= t.asked[class]
			if missing <= 0 {
				continue
			}
			if Class(class) == Overdue {
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
		if t.drained[Any] || t.drained[Fresh] && t.drained[Retried] {
			t.ready = false
		}
		m.lineUp(s)
	}
}

// done notes that a task of t is settled or, if lapse isn't zero, will be claimable when its lease ends.
func (m *machine) done(t *target, o verdict, lapse, now time.Time) {
	m.at(now)
	t.inFlight--
	t.site.inFlight--
	m.inFlight--
	if t.site.probes > 0 {
		t.site.probes--
		m.probes--
	}
	m.feedback(t.site, o)
	if !lapse.IsZero() {
		m.wakeTarget(t, lapse.UnixNano())
	}
	if o.overdue > 0 && (t.overdue <= m.wall || o.overdue < t.overdue) {
		t.overdue = o.overdue
	}
	m.lineUp(t.site)
	m.leave(t)
}

// lineUp puts s at the end of the line if it has a target.
func (m *machine) lineUp(s *site) {
	if !s.inLine && s.ring.len() > 0 {
		s.inLine = true
		m.line.push(s)
	}
}

// byTargetDue has the target that comes due first on top of a heap.
type byTargetDue struct{}

func (byTargetDue) before(a, b *target) bool { return a.due < b.due }

func (byTargetDue) moved(t *target, place int) { t.pos = int32(place + 1) }

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
