package delivery

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// advConfig is a run of the simulator. Runs with equal configurations are equal, and so is the honest mail of all runs
// with the same seed and owners.
type advConfig struct {
	seed     uint64
	owners   int // whose mail the honest mail is
	moves    []*advMove
	warm     time.Duration // what arrives before isn't in the measured part
	measured int           // honest messages
	blocked  int           // destinations at a site that is down, at the start
	domains  int           // of each healthy site; 0: advDomains
	waiting  bool          // each of those has mail for later
	patience time.Duration // how long after its arrival the run goes on for the last of them
	trace    bool

	admission func() admission // nil: the machine
}

// advSim is one run: the store, the clock, the DNS, the hosts, and the loop that drives the machine.
type advSim struct {
	advConfig
	adm       admission
	honest    *advHonest
	adv       *adversary
	store     map[string]*advDest
	events    advHeap[advEvent]
	now       int64 // since the start
	wall      time.Time
	timer     int64
	seq       uint64
	asked     int // lookups so far
	task      queue.Task
	envelopes map[queue.Owner]*smtp.Envelope
	soon      []advNews
	tracked   []*advMail     // whose wait isn't known
	landed    []*advFlight   // to be used again
	until     int64          // measured arrivals end
	slots     map[string]int // of a trace: who holds how many
	lineAt    int64          // when its next line is
	behind    int            // honest mails that were never attempted

	advMeasures
}

type advNews struct {
	lane queue.Lane
	due  int64
}

type advEvent struct {
	at     int64
	seq    uint64
	flight *advFlight
	dest   *advDest // with an answer of the DNS
	lookup int
	move   *advPlay
}

var _ interface{ before(advEvent) bool } = advEvent{}

func (e advEvent) before(o advEvent) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// advFlight is a claimed task.
type advFlight struct {
	machine machineFlight
	mail    *advMail
	talk    advTalk
	started int64
	plan    plan
	gone    bool // given back
}

var advEpoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newAdvSim(c advConfig) *advSim {
	s := &advSim{
		advConfig: c, honest: newHonest(c.seed, c.owners, cmp.Or(c.domains, advDomains)),
		store: make(map[string]*advDest), envelopes: make(map[queue.Owner]*smtp.Envelope), timer: never, until: never, wall: advEpoch,
	}
	if c.admission != nil {
		s.adm = c.admission()
	} else {
		s.adm = newAdmission(c.seed, advEpoch)
	}
	for i := range s.honest.dests {
		for _, d := range s.honest.dests[i] {
			s.store[d.name] = d
		}
	}
	s.adv = &adversary{s: s, rnd: rand.New(rand.NewPCG(c.seed, 2))}
	return s
}

// run lives through it all.
func (s *advSim) run() *advMeasures {
	if s.waiting {
		s.later()
	}
	s.adv.begin()
	s.honest.draw(0)
	s.work()
	for {
		next := s.honest.next.arrival
		if len(s.events) > 0 {
			next = min(next, s.events[0].at)
		}
		if s.timer < next {
			next = s.timer
			s.wakes++
		}
		if s.until != never && (s.pending() == 0 || next > s.until+int64(s.patience)) {
			break
		}
		s.set(max(next, s.now))
		for len(s.events) > 0 && s.events[0].at <= s.now {
			s.happen(s.events.pop())
		}
		for s.honest.next.arrival <= s.now {
			s.arrive()
		}
		s.work()
	}
	s.end()
	m := s.advMeasures // a copy, which doesn't keep the simulation
	return &m
}

func (s *advSim) set(now int64) { s.now, s.wall = now, advEpoch.Add(time.Duration(now)) }

func (s *advSim) at(t int64) time.Time { return advEpoch.Add(time.Duration(t)) }

func (s *advSim) event(e advEvent) {
	s.seq++
	e.seq = s.seq
	s.events.push(e)
}

// arrive takes in the next honest mail.
func (s *advSim) arrive() {
	m := s.honest.next
	s.honestly++
	s.behind++
	s.honest.draw(m.arrival)
	if m.arrival < int64(s.warm) {
		if m.arrival < int64(advStartTime) {
			m.group = advStart
			s.tracked = append(s.tracked, m)
		}
	} else if s.measured > 0 {
		if s.from == 0 {
			s.from, s.heldFrom, s.mostHeld = s.now, s.now, s.held
		}
		s.measured--
		m.measured = true
		s.tracked = append(s.tracked, m)
		if s.measured == 0 {
			s.until = s.now
			s.holds(0)
		}
	}
	if m.dest.dns != nil {
		s.store[m.dest.name] = m.dest
	}
	s.put(m)
}

// pending is how many of the tracked messages wait for their first attempt.
func (s *advSim) pending() int {
	for len(s.tracked) > 0 && s.tracked[len(s.tracked)-1].counted {
		s.tracked = s.tracked[:len(s.tracked)-1]
	}
	return len(s.tracked)
}

// put stores a task.
func (s *advSim) put(m *advMail) {
	l := m.lane()
	m.dest.tasks(l).put(m)
	s.adm.wake(l, s.at(m.due), s.wall)
}

func (s *advSim) happen(e advEvent) {
	switch {
	case e.flight != nil:
		if !e.flight.gone {
			s.land(e.flight)
		}
		s.landed = append(s.landed, e.flight)
	case e.dest != nil:
		if e.dest.lookup == e.lookup {
			s.answer(e.dest, e.dest.answer)
		}
	default:
		e.move.act(s.adv)
	}
}

// work does what a runnerLoop does until it waits.
func (s *advSim) work() {
	for {
		asked := false
		for _, name := range s.adm.lookups(s.wall) {
			asked = true
			s.look(s.store[name])
		}
		for _, name := range s.adm.abandoned(s.wall) {
			if d := s.store[name]; d.lookup != 0 { // its ctx ends, and SiteOf with it
				s.answer(d, advSite{name: d.name})
			}
		}
		for _, f := range s.adm.takeBack(s.wall) {
			s.giveBack(f)
		}
		wants := s.adm.pick(s.wall)
		if len(wants) > 0 {
			s.claim(wants)
		} else if !asked {
			break
		}
	}
	s.timer = never
	if next := s.adm.next(); !next.IsZero() {
		s.timer = int64(next.Sub(advEpoch))
		if s.timer <= s.now {
			s.spins++
			s.timer = s.now + int64(time.Millisecond)
		}
	}
}

// look asks the DNS. A cached answer comes at once.
func (s *advSim) look(d *advDest) {
	if s.now < d.cached {
		s.adm.sited(d.name, d.site, s.wall)
		return
	}
	s.lookups++
	s.asked++
	d.lookup = s.asked
	takes, site := int64(0), d.site
	if d.dns != nil {
		takes, site = d.dns(s.now)
	} else {
		// By the name and the time, so that both runs of a pair have the same.
		h := s.seed ^ uint64(s.now/advDNSTTL)
		for _, c := range []byte(d.name) {
			h = (h ^ uint64(c)) * 1099511628211
		}
		takes = logNormal(rand.New(rand.NewPCG(h, 4)), advDNSMedian)
	}
	d.answer = site
	s.event(advEvent{at: s.now + takes, dest: d, lookup: d.lookup})
}

func (s *advSim) answer(d *advDest, site advSite) {
	d.lookup = 0
	d.site, d.cached = site, s.now+d.ttl
	s.adm.sited(d.name, site, s.wall)
}

func (s *advSim) claim(wants []queue.Want) {
	s.soon = s.soon[:0]
	for _, w := range wants {
		d := s.store[w.Destination]
		got := false
		for range w.Max {
			m, coming := d.take(w, s.now)
			if m == nil {
				if coming != never {
					s.soon = append(s.soon, advNews{w.Lane, coming})
				}
				break
			}
			got = true
			s.fly(m)
		}
		if got {
			s.soon = append(s.soon, advNews{w.Lane, s.now + int64(defaultLease)})
		} else {
			s.vain++
		}
		if len(d.lanes) > 16 {
			d.drop()
		}
	}
	s.adm.settleTurn()
	for _, n := range s.soon {
		s.adm.wake(n.lane, s.at(n.due), s.wall)
	}
}

// setTask has m as a task.
func (s *advSim) setTask(m *advMail) {
	s.task = queue.Task{
		Destination: m.dest.name, State: queue.Leased, Envelope: m.envelope, Arrival: s.at(m.arrival),
		Due: s.at(m.due), Attempts: m.attempts, Size: m.size, Priority: m.prio, Owner: m.owner,
	}
	if s.task.Envelope == nil {
		s.task.Envelope = s.envelopes[m.owner]
	}
	if s.task.Envelope == nil {
		from := ""
		if m.owner != 0 {
			from = fmt.Sprintf("from@owner%d.test", m.owner)
		}
		s.task.Envelope = smtp.NewEnvelope(from, "to@recipient.test")
		s.envelopes[m.owner] = s.task.Envelope
	}
	if m.owner != 0 {
		s.task.Origin = smtp.OriginCode
	}
	_, s.task.FromDomain = smtp.SplitAddress(s.task.Envelope.From)
}

// fly begins with a task what the machine says.
func (s *advSim) fly(m *advMail) {
	m.attempts++
	s.setTask(m)
	var f *advFlight
	if last := len(s.landed) - 1; last >= 0 {
		f, s.landed = s.landed[last], s.landed[:last]
	} else {
		f = new(advFlight)
	}
	*f = advFlight{mail: m, started: s.now}
	f.plan = s.adm.claimed(f, &s.task, s.wall)
	if f.plan.step != stepAttempt {
		f.talk = advTalk{takes: time.Millisecond}
		if m.talk == nil {
			s.deferred++
			s.tell(m, "is put off")
		}
	} else {
		s.attempts++
		if m.talk == nil {
			if m.attempts == 1 {
				s.behind--
			}
			f.talk = m.honestTalk()
		} else {
			f.talk = m.talk(s.now, m.attempts)
		}
	}
	if m.talk != nil {
		s.holds(1)
	}
	m.started = s.now
	s.line(f, 1)
	s.event(advEvent{at: s.now + int64(f.talk.takes), flight: f})
}

// land is the end of a claimed task.
func (s *advSim) land(f *advFlight) {
	m := f.mail
	var v verdict
	again := int64(0)
	if f.plan.step != stepAttempt {
		m.attempts--
		again = m.due
		if !f.plan.next.IsZero() {
			again = int64(f.plan.next.Sub(advEpoch))
		}
	} else {
		s.count(m, f.started)
		var why smtp.Reason
		s.setTask(m)
		var host netip.Addr
		if m.dest.known {
			host = m.dest.site.addrs[0]
		}
		v, why = advJudge(&s.task, f.talk.results, f.talk.takes, host)
		if isOpen(f.talk.results[0]) {
			jitter := m.jitter
			if m.talk != nil {
				jitter = 2*s.adv.rnd.Float64() - 1
			}
			next := nextTry(advRunner.wait(&s.task, why, s.wall), s.wall, time.Time{}, jitter)
			again = int64(next.Sub(advEpoch))
		}
	}
	s.settle(f, v, again)
}

var advRunner = new(Runner)

func (s *advSim) settle(f *advFlight, v verdict, again int64) {
	m := f.mail
	if m.talk != nil {
		s.holds(-1)
	}
	s.line(f, -1)
	if again != 0 {
		m.due = again
		s.put(m)
	}
	s.adm.done(f, v, s.wall)
}

// giveBack ends an attempt that hasn't come to MAIL. Its task is as due as it was.
func (s *advSim) giveBack(f *advFlight) {
	if f.gone || f.plan.step != stepAttempt || s.now >= f.started+int64(f.talk.toMail) {
		return
	}
	s.taken++
	f.gone = true
	if f.mail.attempts--; f.mail.attempts == 0 && f.mail.talk == nil {
		s.behind++
	}
	s.settle(f, verdict{}, f.mail.due)
}
