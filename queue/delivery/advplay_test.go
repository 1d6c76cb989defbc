package delivery

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/postrider/postrider/queue"
)

// advPart is the part of the accepted mail that is the adversary's, at most, at any time.
const advPart = 0.1

// advOwners are the adversary's: mail with the null reverse-path, which is reports to senders that it forged, and three
// tenants or senders. Honest owners are 1, 2 …
var advOwners = [4]queue.Owner{0, 60001, 60002, 60003}

// adversary has mail sent to spite others. It chooses the domains, what their DNS says, and what their hosts do.
type adversary struct {
	s       *advSim
	rnd     *rand.Rand // for the retries of its mail
	plays   []*advPlay
	scale   float64 // of the rates of its moves, so that their sum is in its part
	backlog int     // how much mail it may have sent before the start
}

// advMove is one thing that it does.
type advMove struct {
	name  string
	about string
	rate  float64                       // the part of its mail that the move takes
	begin func(p *advPlay)              // at the start; may be nil
	act   func(p *advPlay) (mails int)  // again and again; how much it was says when the next time is; may be nil
	after func(p *advPlay) (from int64) // when it begins to act; nil: at the start
}

// advPlay is a move in a run.
type advPlay struct {
	*advMove
	a     *adversary
	rnd   *rand.Rand
	n     int // domains so far
	turn  int
	dests []*advDest
}

func (a *adversary) begin() {
	sum := 0.0
	for _, m := range a.s.moves {
		sum += m.rate
	}
	a.scale = 1 / max(sum, 1)
	for _, m := range a.s.moves {
		h := a.s.seed
		for _, c := range []byte(m.name) {
			h = (h ^ uint64(c)) * 1099511628211
		}
		p := &advPlay{advMove: m, a: a, rnd: rand.New(rand.NewPCG(h, 5))}
		a.plays = append(a.plays, p)
		if m.begin != nil {
			m.begin(p)
		}
		if m.act != nil {
			from := int64(0)
			if m.after != nil {
				from = m.after(p)
			}
			a.s.event(advEvent{at: from, move: p})
		}
	}
}

// act is one turn of p.
func (p *advPlay) act(a *adversary) {
	mails := p.advMove.act(p)
	rate := advTraffic() * advPart / (1 - advPart) * p.rate * a.scale
	wait := float64(max(mails, 1)) / rate * (0.5 + p.rnd.Float64())
	a.s.event(advEvent{at: a.s.now + int64(wait*float64(time.Second)), move: p})
}

// domain makes a new domain of the adversary. A lookup of it takes that long.
func (p *advPlay) domain(dns time.Duration, site advSite) *advDest {
	p.n++
	d := &advDest{name: fmt.Sprintf("%d.%s.evil.test", p.n, p.name), ttl: advDNSTTL}
	if site.name == "" {
		site = advSite{name: "mx." + d.name, addrs: []netip.Addr{p.addr(p.n)}}
	}
	d.dns = func(int64) (int64, advSite) { return int64(dns), site }
	p.a.s.store[d.name] = d
	return d
}

func (p *advPlay) addr(n int) netip.Addr { return advAddr(3+p.name[0], n, len(p.name)) }

// advQuick is how long the DNS of a domain takes that isn't there to be slow.
const advQuick = 30 * time.Millisecond

// domains makes some domains once, and gives one of them, in turns.
func (p *advPlay) domains(n int) *advDest {
	for len(p.dests) < n {
		p.dests = append(p.dests, p.domain(advQuick, advSite{}))
	}
	p.turn++
	return p.dests[p.turn%n]
}

// victim is one of the sites that it aims at.
func (p *advPlay) victim(i int) int { return advVictims[i%len(advVictims)] }

// victimDomain is a domain of such a site: a provider's own.
func (p *advPlay) victimDomain(i int) *advDest {
	dests := p.a.s.honest.dests[p.victim(i)]
	return dests[p.rnd.IntN(len(dests))]
}

func (p *advPlay) owner() queue.Owner { return advOwners[p.rnd.IntN(len(advOwners))] }

// post has a mail accepted. talk may be nil: it is taken.
func (p *advPlay) post(d *advDest, owner queue.Owner, talk func(now int64, attempt int) advTalk) {
	p.send(p.mail(d, owner, talk))
}

// store is post, with a NotBefore.
func (p *advPlay) store(d *advDest, owner queue.Owner, notBefore int64, talk func(now int64, attempt int) advTalk) {
	m := p.mail(d, owner, talk)
	m.due = max(m.due, notBefore)
	p.send(m)
}

// send has m accepted, unless it is beyond the adversary's part.
func (p *advPlay) send(m *advMail) {
	s := p.a.s
	if float64(s.accepted+1) > advPart/(1-advPart)*float64(s.honestly) {
		s.refused++
		return
	}
	s.accepted++
	s.put(m)
}

// had has a mail in the queue at the start, of two hours before, which was tried.
func (p *advPlay) had(d *advDest, owner queue.Owner, talk func(now int64, attempt int) advTalk) {
	s := p.a.s
	if p.a.backlog++; float64(p.a.backlog) > 2*3600*advTraffic()*advPart/(1-advPart) {
		panic("more mail than the adversary can have sent")
	}
	m := p.mail(d, owner, talk)
	m.attempts = 3
	m.arrival -= int64(2*time.Hour) - p.rnd.Int64N(int64(time.Hour))
	m.due = -p.rnd.Int64N(int64(time.Hour))
	l := m.lane()
	d.tasks(l).put(m)
	s.adm.list(queue.LaneDue{Lane: l, Due: s.at(m.due)}, s.wall)
}

func (p *advPlay) mail(d *advDest, owner queue.Owner, talk func(now int64, attempt int) advTalk) *advMail {
	s := p.a.s
	s.honest.seq++
	m := &advMail{
		seq: s.honest.seq, arrival: s.now, due: s.now, dest: d, owner: owner, group: advAdversary, size: 300,
		talk: talk, move: p.advMove, started: -1,
	}
	if talk == nil {
		takes := advTalk{takes: time.Duration(logNormal(p.rnd, advMedian)), results: advDelivered}
		takes.toMail = takes.takes * 2 / 5
		m.talk = func(int64, int) advTalk { return takes }
	}
	return m
}

// advBurst has mail for one victim at once, as much as fills its window.
func advBurst(p *advPlay, dest func(victim int) *advDest, owner queue.Owner, talk func(int64, int) advTalk) int {
	const mails = 40
	p.turn++
	for range mails {
		p.post(dest(p.turn), owner, talk)
	}
	return mails
}

// named is a new domain that names the hosts of a victim.
func (p *advPlay) named(victim int) *advDest {
	return p.domain(advQuick, advHealthySite(p.victim(victim)))
}

// stored is when mail that was stored up comes due.
func (p *advPlay) stored() int64 { return int64(p.a.s.warm + 5*time.Second) }
