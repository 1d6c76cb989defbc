package delivery

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/mutant"
)

// machine decides for a Runner what is claimed when. It is a plain value of one goroutine that asks nobody: what
// happens is told to it, each time with the time (wake, sited, claimed, settleTurn, done, suspend), and what to do next
// is asked of it (toSite, pick, next). So a simulator can drive it as the Runner does.
//
// It knows each destination that has mail as a target: when the first of its tasks comes due, and how many are being
// sent. Targets that end at the same hosts share a site, which says how many of them may be sent at a time, and whether
// any may. The sites stand in line for the places there are, and the ready targets of each site in a ring: one place
// for each turn, and then what is left goes round. A hint that is wrong costs one claim in vain.
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
	wants     []queue.Want
	suspended map[string]time.Time // targets and sites
	rates     map[rateKey]*bucket
	manyRates int // so many of them are looked through
	inFlight  int // tasks
	probes    int // of them, those at sites that are down
	mayProbe  int // so many probes there may be
}

type machineConfig struct {
	lease    time.Duration
	resolve  bool            // sites have names of their own, which toSite asks for
	retry    []time.Duration // if empty, the default
	maxProbe time.Duration   // if zero, the default
	site     func(name string) SiteLimits
	source   func(name string) Rate   // nil: none has one
	tenant   func(name string) Rate   // nil: none has one
	sourceOf func(*queue.Task) string // may be nil
	jitter   func() float64           // from -1 to 1; nil: by chance
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

const classes = int(queue.Overdue) + 1

// recheck is how often notices and deadlines of a blocked site are looked for where none is known.
const recheck = 5 * time.Minute

func newMachine(c machineConfig) *machine {
	if c.jitter == nil {
		c.jitter = func() float64 { return 2*rand.Float64() - 1 }
	}
	if len(c.retry) == 0 {
		c.retry = defaultRetry
	}
	c.maxProbe = cmp.Or(c.maxProbe, defaultMaxProbeWait)
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
func (m *machine) list(d queue.Destination, now time.Time) {
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
	if t.due == 0 || due < t.due && mutant.On != mutant.WakesLate {
		t.due = due
		if t.pos == 0 {
			m.due = heap.Push(byTargetDue{}, m.due, t)
		} else {
			heap.Fix(byTargetDue{}, m.due, int(t.pos)-1)
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

// done notes that a task of t is settled or, if lapse isn't zero, will be claimable when its lease ends.
func (m *machine) done(t *target, v verdict, lapse, now time.Time) {
	m.at(now)
	t.inFlight--
	t.site.inFlight--
	m.inFlight--
	if t.site.probes > 0 {
		t.site.probes--
		m.probes--
	}
	m.feedback(t.site, v)
	if !lapse.IsZero() {
		m.wakeTarget(t, lapse.UnixNano())
	}
	if v.overdue > 0 && (t.overdue <= m.wall || v.overdue < t.overdue) {
		t.overdue = v.overdue
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

func (byTargetDue) Before(a, b *target) bool { return a.due < b.due }

func (byTargetDue) Moved(t *target, place int) { t.pos = int32(place + 1) }
