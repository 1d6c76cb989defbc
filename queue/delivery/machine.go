package delivery

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"

	"github.com/postrider/postrider/internal/heap"
	"github.com/postrider/postrider/queue"
)

// machine decides for a Runner what is claimed when. It is a plain value of one goroutine that asks nobody: what
// happens is told to it, each time with the time (wake, sited, claimed, settleTurn, done, suspend), and what to do next
// is asked of it (toSite, pick, takeBack, next). So a simulator can drive it as the Runner does.
//
// It knows each lane that has mail as a target: when the first of its tasks comes due, and how many are being sent. The
// targets of one owner at one site are a party; the parties of a site take turns, and so do the targets of a party.
// Sites stand in lines for slots. A hint that is wrong costs one claim in vain.
//
// # Who gets a slot
//
// Each rule holds against an owner who chooses domains, MX records, delays and replies to spite others:
//
//  1. What is sent to a site that lately took mail quickly is fast. It doesn't stand behind what isn't, but for a few
//     slots for new sites and one turn in eight. The rest has what fast mail leaves unused, from an eighth to four
//     fifths of the slots, and of that, slow and probing mail have three quarters at most.
//  2. An owner's part of the slots goes by what it finally gets done: see commons. The last sixteenth of the slots is
//     for owners who have less than their part. Of what fast mail leaves, the owners who lately got nothing done, or
//     had more than their part, have half together, and each of the others may have its part: see hasCredit. An owner
//     leaves slots for one that has none, also if the relay is idle: see lentRoom and owedRoom.
//  3. A site is judged by what is about the site: see judge. What an owner is told, or that its mail takes long, is
//     about the owner at that site, until several others have the same. A probe is the mail of one that wasn't told
//     so, if there is any.
//  4. Owners take turns at a site, at an address, at the gate of a learned rate and in the line for the DNS, and have
//     parts of the places there. Many destinations don't help an owner. At a site, owners with less than their part
//     come first in three turns of four. Mail that isn't known to be quick leaves places there for others, though none
//     of theirs waits: see partyRoom.
//  5. Higher priorities come before lower ones, and fresh mail before retried, at all destinations. One turn in eight
//     is the other way round, so that nothing waits for ever.
//  6. What may have no slot now keeps none from what may: who waits until an owner may have more slots does so apart
//     for fast mail and for other, and on each level. A slot that becomes free goes to one that may have it, at once.
//  7. The DNS is asked without a slot. A lookup that takes its time yields to others.
//
// The tests with an adversary hold all of it to one promise: see adversary_test.go.
type machine struct {
	machineConfig
	base    time.Time // zero of its own clock, which no jump of the wall clock moves
	mono    int64     // the time by that, in nanoseconds
	wall    int64     // the time by the wall clock
	targets map[queue.Lane]*target
	sites   map[string]*site
	parties map[partyKey]*party
	hosts   map[string]*host
	owners  map[queue.Owner]*owner
	due     []*target // a heap of those with a time to come
	late    []*target // a heap of the ready ones, by overdue
	desk    desk
	parked  []*waiter // a heap of the sites and parties that wait for a time to come
	lines   [stands]line[*site]
	waiting int // sites that stand in a line
	turns   int
	turn    []*target
	wants   []queue.Want
	lookups lookups

	slots  commons    // all
	lent   commons    // what fast mail leaves
	kinds  [kinds]int // tasks asked for or in flight
	fast   fading     // the most of them lately that were fast
	places int        // for tasks, now
	held   int        // tasks asked for or in flight

	young, old flights
	capped     line[*owner] // with parties that wait until they may have more
	crowded    line[*host]  // likewise
	sated      line[*party] // that have their part of the places at their sites, or had
	cappedAt   int64        // when to look at those
	proven     [2]map[string]struct{}
	provenAt   int64 // since when the first of these is in use

	manyOwners int // so many of them are looked through
	suspended  map[string]time.Time
	resumeAt   int64 // when the first suspension ends
	rates      map[rateKey]*bucket
	manyRates  int

	learnt     allLearnt
	names      names // in it
	meters     int   // in it
	manyMeters int   // so many of them are looked through
	thinAt     int64 // before it, thin does nothing
	networks   bool  // some were of a network
	counting   []*meter
	gates      map[*meter]*gate
	asking     []*gate // those at which lanes passed in this turn

	shared  *sharing // nil: nothing is shared
	unasked bool     // the last admit said no, as nobody was asked so far
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
	signerOf func(*queue.Task) string // may be nil
	jitter   func() float64           // from -1 to 1; nil: by chance
	shares   func() uint64            // makes the number of a member of those that share limits; nil: there are none
}

// target is one lane.
type target struct {
	queue.Lane
	party   *party // while it is ready or has tasks in flight; nil: not known
	due     int64  // the first time to come that is known; 0: none
	pause   int64  // until when nothing is claimed, by the machine's own clock: the queue returned a task too early
	last    int64  // the last time told of at which a lease may end: no list has what is leased
	overdue int64  // when to look for notices and deadlines, should the site be blocked
	pos     int32  // its place in the heap due, counted from 1; 0: it isn't in it
	latePos int32  // its place in the heap late, likewise
	held    int32  // tasks asked for or in flight
	turns   turns
	asked   [classes]int16 // in this turn
	got     [classes]int16
	drained [classes]bool // it had none of that class left when last asked
	ready   bool          // something may be due now
	retries bool          // it may have retried tasks that are due
	queued  queued
	aside   bool          // it is suspended
	waits   bool          // it waits at a gate
	mixed   bool          // it has tasks that its gate isn't about
	passed  uint16        // the gates that it has left since its last task went: see meter.bit
	denied  uint8         // tasks that meters had no room for, since one went that gate isn't about
	gate    *meter        // the last that had no room for one
	atDesk  bool          // it stands in desk
	moved   bool          // its site may be another one by now
	kinds   [classes]kind // of what is asked for in this turn
}

const classes = int(queue.Overdue) + 1

// level is the place of what is due by its priority, and by whether it was tried before.
type level uint8

const levels = 6

// level is where t's tasks of a class are.
func (t *target) level(c queue.Class) level {
	l := level(2 * (1 - t.Priority))
	if c == queue.Retried {
		l++
	}
	return l
}

// queued is where a target stands, as bits: on the shelves of its party for fresh and for retried tasks, and among
// those whose sites are looked up.
type queued uint8

const (
	onFresh queued = 1 << iota
	onRetried
	isSought
)

func queuedFor(c queue.Class) queued {
	if c == queue.Retried {
		return onRetried
	}
	return onFresh
}

func (l level) class() queue.Class {
	if l%2 == 0 {
		return queue.Fresh
	}
	return queue.Retried
}

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
	m := &machine{
		machineConfig: c,
		base:          time.Now(),
		targets:       make(map[queue.Lane]*target),
		sites:         make(map[string]*site),
		parties:       make(map[partyKey]*party),
		hosts:         make(map[string]*host),
		owners:        make(map[queue.Owner]*owner),
		suspended:     make(map[string]time.Time),
		rates:         make(map[rateKey]*bucket),
		learnt:        allLearnt{make(map[string]*learnt), make(map[*learnt]map[meterKey]*meter)},
		gates:         make(map[*meter]*gate),
		cappedAt:      never,
		resumeAt:      never,
	}
	m.lookups.asking = make(map[string]*lookup)
	if c.shares != nil {
		m.shared = newSharing(c.shares)
	}
	return m
}

// at sets the time. Every call with news or a question begins with it.
func (m *machine) at(now time.Time) {
	m.mono, m.wall = int64(now.Sub(m.base)), now.UnixNano()
}

// wake notes that a lane may have something due at the given time.
func (m *machine) wake(l queue.Lane, due, now time.Time) {
	m.at(now)
	m.wakeTarget(m.target(l), due.UnixNano())
}

// list notes what a list of the queue has of a lane.
func (m *machine) list(d queue.LaneDue, now time.Time) {
	m.at(now)
	t := m.target(d.Lane)
	if !d.Overdue.IsZero() {
		t.overdue = d.Overdue.UnixNano()
	}
	m.wakeTarget(t, d.Due.UnixNano())
}

func (m *machine) target(l queue.Lane) *target {
	t := m.targets[l]
	if t == nil {
		t = &target{Lane: l}
		m.targets[l] = t
	}
	return t
}

func (m *machine) wakeTarget(t *target, due int64) {
	if t.pause > m.mono {
		due = max(due, m.wall+t.pause-m.mono)
	}
	if due <= m.wall {
		// It may be new mail, whose notice comes before any that is known.
		if soon := m.wall + int64(recheck); t.overdue == 0 || t.overdue > soon {
			t.overdue = soon
		}
		m.ready(t)
		return
	}
	if due <= m.wall+int64(m.lease) {
		t.last = max(t.last, due)
	}
	if t.due == 0 || due < t.due {
		t.due = due
		m.due = heap.Put(byTargetDue{}, m.due, t, int(t.pos)-1)
	}
}

// ready notes that t may have a task that is due.
func (m *machine) ready(t *target) {
	t.ready, t.drained = true, [classes]bool{}
	m.late = heap.Put(byOverdue{}, m.late, t, int(t.latePos)-1)
	m.queue(t)
}

// unready ends ready.
func (m *machine) unready(t *target) {
	t.ready = false
	if t.latePos > 0 {
		m.late = heap.Remove(byOverdue{}, m.late, int(t.latePos)-1)
	}
}

// queue puts t on the shelves of its party, or has its site looked up. It is asked for retried tasks if it may have
// some, and otherwise when it has no fresh ones.
func (m *machine) queue(t *target) {
	if !t.ready || t.aside || t.waits || t.queued&isSought != 0 {
		return
	}
	if t.party == nil {
		if m.resolve && t.Destination != "" && !queue.OnlyReports(t.Destination) {
			t.queued |= isSought
			m.lookups.want(t, m.owner(t.Owner))
			return
		}
		m.join(t, Site{Name: t.Destination})
	}
	if !t.drained[queue.Fresh] {
		m.shelve(t, queue.Fresh)
	}
	if !t.drained[queue.Retried] && (t.retries || t.drained[queue.Fresh]) {
		m.shelve(t, queue.Retried)
	}
}

func (m *machine) shelve(t *target, class queue.Class) {
	if bit := queuedFor(class); t.queued&bit == 0 {
		t.queued |= bit
		l := t.level(class)
		t.party.shelf(l).push(t)
		m.ring(t.party, l)
	}
}

// next returns the time at which there is something to do without further news, zero if there is none. free is true if
// a slot is free.
func (m *machine) next(free bool) time.Time {
	due := int64(never) // by the wall clock, which may have jumped since base
	if !free {
		wake := m.lookups.nextAging()
		if m.fastWait() > 0 {
			wake = min(wake, m.mono+int64(lookAgain))
		}
		return m.sooner(wake, due)
	}
	if len(m.due) > 0 {
		due = m.due[0].due
	}
	if len(m.late) > 0 {
		due = min(due, m.late[0].overdue)
	}
	wake := min(m.cappedAt, m.resumeAt, m.lookups.nextAging())
	if len(m.parked) > 0 {
		wake = min(wake, m.parked[0].wake)
	}
	if m.waiting > 0 { // what was lent, or is kept for others, changes with time
		wake = min(wake, m.mono+int64(lookAgain))
	}
	return m.sooner(wake, due)
}

// sooner is the time that comes first of one by the machine's own clock and one by the wall clock; zero: neither comes.
func (m *machine) sooner(wake, due int64) time.Time {
	switch {
	case wake != never && (due == never || wake-m.mono <= due-m.wall):
		return m.base.Add(time.Duration(wake))
	case due != never:
		return time.Unix(0, due)
	}
	return time.Time{}
}

// lookAgain is how often what waits for its share looks whether that has grown.
const lookAgain = time.Second

// done notes that a task is settled or, if lapse isn't zero, will be claimable when its lease ends.
func (m *machine) done(f *flight, v verdict, lapse, now time.Time) {
	m.at(now)
	t, p := f.t, f.t.party
	m.end(f, v)
	m.release(t, f.kind)
	if v.refusal != nil && m.learn(f, v.refusal) {
		v.withoutRate(p.site.standing.down)
	}
	m.uncount(f, &v)
	m.feedback(p, v, m.mono-f.began)
	if !lapse.IsZero() {
		m.wakeTarget(t, lapse.UnixNano())
	}
	if v.overdue > 0 && (t.overdue <= m.wall || v.overdue < t.overdue) {
		m.setOverdue(t, v.overdue)
	}
	m.ringAll(p)
	m.lineUp(p.site)
	m.leave(t)
}

func (m *machine) setOverdue(t *target, at int64) {
	t.overdue = at
	if t.latePos > 0 {
		heap.Fix(byOverdue{}, m.late, int(t.latePos)-1)
	}
}

// byTargetDue has the target that comes due first on top of a heap.
type byTargetDue struct{}

func (byTargetDue) Before(a, b *target) bool { return a.due < b.due }

func (byTargetDue) Moved(t *target, place int) { t.pos = int32(place + 1) }

// byOverdue has the target on top whose notices and deadlines are to be looked for first.
type byOverdue struct{}

func (byOverdue) Before(a, b *target) bool { return a.overdue < b.overdue }

func (byOverdue) Moved(t *target, place int) { t.latePos = int32(place + 1) }

// never is a time on the machine's clock that doesn't come.
const never = math.MaxInt64
