package delivery

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
)

// site is the hosts that one or more destinations end at: what they can take is learned from what they do. It is there
// while it has a party, or has something to remember.
type site struct {
	name     string
	limits   SiteLimits
	standing standing
	rings    []*ring // of parties that have something for a stand and wait for nothing
	lined    uint32  // the stands of which it is in the line, as bits
	mixed    bool    // parties in rings may be of another kind by now
	sorted   int64   // when those were last put right
	hosts    []*host
	refs     int32         // parties
	held     int32         // tasks asked for or in flight
	told     int32         // parties that were refused for a policy since mail was last taken
	epoch    uint32        // how often mail was taken
	slow     []queue.Owner // whose attempts took long, since one of anybody's ended quickly; enoughTold at most
	proven   bool          // it took mail quickly, within a day
	answered bool          // a host did its work
	bucket   bucket
	sent     fading  // messages that it took
	lately   tally   // likewise
	overs    int32   // messages that it refused for their rate, of which the last was at overAt
	overAt   int32   // in seconds on the machine's clock; longPause after it, overs counts from 0
	learnt   *learnt // nil: nothing
	lot      *lot    // what it shares with other Runners; nil: nothing
}

// party is an owner at a site. The site's answers about the owner's mail aren't about other owners.
type party struct {
	site    *site
	owner   *owner
	shelves []*shelf
	ringed  uint8     // the levels for which it is in a ring of its site, as bits
	waits   uint8     // likewise, for which it waits until its owner may have more slots
	own     *standing // nil: it was refused nothing lately
	refs    int32     // targets that are ready or have tasks in flight
	held    int32     // tasks asked for or in flight
	pace    pace
	epoch   uint32 // of the site's, one more, when it last failed
	told    uint32 // likewise, when it was refused for a policy
	aside   bool   // it waits for a place at a host
	sated   bool   // it has its part of the places at its site

	promised   int64  // the last time that a message was told to come back at
	promisedBy *meter // that hadn't room for it
}

type partyKey struct {
	site  *site
	owner queue.Owner
}

// pace is what is known of the time that attempts take: so many took long since one ended quickly. An attempt that
// takes long may be an exception, two are none.
type pace struct {
	known bool // one ended quickly
	long  uint8
}

func (p *pace) took(long bool) {
	switch {
	case !long:
		*p = pace{known: true}
	case p.long < 2:
		p.long++
	}
}

func (p pace) isSlow() bool { return p.long >= 2 }

// tooLong is how long an attempt takes that isn't quick.
const tooLong = 10 * time.Second

// owner is whose mail it is.
type owner struct {
	number  queue.Owner
	slots   share
	lent    share                   // of the slots that fast mail leaves
	waiting [2][levels]line[*party] // until it may have more slots, for fast mail and for other
	woken   uint                    // how often
	capped  bool                    // it is among the capped
	unsited line[*target]           // their sites aren't known
	asking  bool                    // it stands in line for lookups
}

// host is an address that sites have. Sites are named by whom they belong to, hosts are what connections go to.
type host struct {
	addr    string
	refs    int32 // sites
	most    int32
	held    int32            // tasks asked for or in flight
	byOwner map[*owner]int32 // the same
	waiting map[*owner]*line[*party]
	order   line[*owner] // of those that wait
	crowded bool         // it is among the crowded
}

// ring has parties that stand at a site for the slots of a stand.
type ring struct {
	stand
	line[*party]
}

// shelf has the ready targets of a party that are on a level.
type shelf struct {
	level
	line[*target]
}

// kind is the share of the slots that an attempt takes its slot from.
type kind uint8

const (
	fast   kind = iota // at a site that lately took mail quickly
	fresh              // at a site of which nothing is known
	dull               // slow: its attempts take long
	probe              // at a site that is down, or of which all that is known is that mail for it was deferred
	atDesk             // it isn't sent: a notice or a deadline has come
	kinds
)

// stand is a kind and a level: it has a line of sites.
type stand uint8

const stands = int(atDesk) * levels

func standOf(k kind, l level) stand { return stand(int(k)*levels + int(l)) }

func (s stand) kind() kind { return kind(s / levels) }

func (s stand) level() level { return level(s % levels) }

func (m *machine) owner(n queue.Owner) *owner {
	o := m.owners[n]
	if o == nil {
		if len(m.owners) >= m.manyOwners {
			m.forgetOwners()
		}
		o = &owner{number: n}
		m.owners[n] = o
	}
	return o
}

// forgetOwners drops those that are as new.
func (m *machine) forgetOwners() {
	used := make(map[*owner]bool, len(m.parties))
	for _, p := range m.parties {
		used[p.owner] = true
	}
	for n, o := range m.owners {
		if !used[o] && !o.asking && o.slots.ended.at(m.mono) < 1 {
			m.slots.forget(&o.slots, m.mono)
			m.lent.forget(&o.lent, m.mono)
			delete(m.owners, n)
		}
	}
	m.manyOwners = 2*len(m.owners) + 100
}

// newSite returns a site as it is without mail, and without anything to remember except its learned rates.
func (m *machine) newSite(name string) *site {
	s := &site{name: name, limits: m.site(name), proven: m.isProven(name), learnt: m.learnt.sites[name]}
	s.standing.window = float64(s.limits.Initial)
	s.standing.waiter.site = s
	return s
}

// join sets the party of t.
func (m *machine) join(t *target, of Site) {
	s := m.sites[of.Name]
	if s == nil {
		s = m.newSite(of.Name)
		m.sites[of.Name] = s
		if !queue.OnlyReports(of.Name) {
			m.bindLot(s)
		}
	}
	m.locate(s, of)
	key := partyKey{s, t.Owner}
	p := m.parties[key]
	if p == nil {
		p = &party{site: s, owner: m.owner(t.Owner)}
		m.parties[key] = p
		s.refs++
	}
	for _, st := range [...]*standing{&s.standing, p.own} {
		if st != nil && st.until > m.mono {
			m.park(&st.waiter, st.until)
		}
	}
	t.party, t.moved = p, false
	if !t.waits {
		t.gate, t.passed, t.denied, t.mixed = nil, 0, 0, false
	}
	p.refs++
}

// locate sets the hosts of s, unless an attempt is on its way to the present ones, or waits for them.
func (m *machine) locate(s *site, of Site) {
	if s.refs > 0 {
		return
	}
	m.vacate(s)
	for _, addr := range of.Addrs {
		name := addr.Unmap().String()
		h := m.hosts[name]
		if h == nil {
			h = &host{addr: name, byOwner: make(map[*owner]int32)}
			m.hosts[name] = h
		}
		h.most = max(h.most, int32(s.limits.Concurrency))
		if !slices.Contains(s.hosts, h) {
			s.hosts = append(s.hosts, h)
			h.refs++
		}
	}
}

// leave ends join if there is nothing that t needs its party for, and forgets t if there is nothing to know of it.
func (m *machine) leave(t *target) {
	p := t.party
	if p == nil || t.queued != 0 || t.held > 0 || t.ready && (t.aside || t.waits || !t.moved) {
		return
	}
	t.party = nil
	p.refs--
	m.idleParty(p)
	if !t.ready && t.pos == 0 && !t.atDesk {
		delete(m.targets, t.Lane)
	}
}

// idleParty forgets p if it has no targets, and nothing to remember.
func (m *machine) idleParty(p *party) {
	if p.refs > 0 {
		return
	}
	if p.own != nil {
		if keep := p.own.last + int64(downMemory); keep > m.mono {
			m.park(&p.own.waiter, keep)
			return
		}
		m.park(&p.own.waiter, never)
		p.own = nil
	}
	delete(m.parties, partyKey{p.site, p.owner.number})
	p.site.refs--
	m.idleSite(p.site)
}

// idleSite forgets s if it has no parties, and nothing to remember.
func (m *machine) idleSite(s *site) {
	if s.refs > 0 {
		return
	}
	keep := s.bucket.tat
	if st := &s.standing; st.downs > 0 {
		keep = max(keep, st.last+int64(downMemory))
	} else if st.window != float64(s.limits.Initial) || st.failing > 0 || len(s.slow) > 0 {
		keep = max(keep, st.last+int64(memory))
	}
	if keep > m.mono {
		m.park(&s.standing.waiter, keep)
		return
	}
	m.park(&s.standing.waiter, never)
	m.vacate(s)
	m.unbindLot(s)
	delete(m.sites, s.name)
}

// vacate takes s from its hosts.
func (m *machine) vacate(s *site) {
	for _, h := range s.hosts {
		if h.refs--; h.refs == 0 {
			delete(m.hosts, h.addr)
		}
	}
	s.hosts = nil
}

const (
	// A site without mail that isn't as new is remembered for memory, one that is down until its mail has come up
	// again.
	memory     = 10 * time.Minute
	downMemory = 3 * time.Hour

	// A site that took mail quickly is remembered as such for a day or two halves more: the names alone.
	halfDay = 12 * time.Hour
)

// isProven reports whether a site of that name took mail quickly within a day.
func (m *machine) isProven(name string) bool {
	if m.mono-m.provenAt > int64(halfDay) {
		m.proven[0], m.proven[1] = nil, m.proven[0]
		if m.mono-m.provenAt > 2*int64(halfDay) {
			m.proven[1] = nil
		}
		m.provenAt = m.mono
	}
	for _, names := range m.proven {
		if _, ok := names[name]; ok {
			return true
		}
	}
	return false
}

// prove notes that s took mail quickly.
func (m *machine) prove(s *site) {
	s.proven = true
	if _, ok := m.proven[0][s.name]; !ok || m.mono-m.provenAt > int64(halfDay) {
		m.isProven(s.name) // half a day may be over
		if m.proven[0] == nil {
			m.proven[0] = make(map[string]struct{})
		}
		m.proven[0][s.name] = struct{}{}
	}
}

// isSlow reports whether s is slow for o, of which nothing else is known: it was, or it was for several others.
func (s *site) isSlow(o *owner) bool {
	return len(s.slow) >= enoughTold || len(s.slow) > 0 && slices.Contains(s.slow, o.number)
}

// slowed notes that attempts of o's mail take long at s.
func (s *site) slowed(o *owner) {
	if !s.isSlow(o) {
		s.slow = append(s.slow, o.number)
	}
}

// kind returns the kind of slot that p's next attempt on a level takes.
func (p *party) kind(l level) kind {
	switch s := p.site; {
	case queue.OnlyReports(s.name): // it waits for no host, and not behind one
		return fast
	case s.standing.down, p.own != nil && p.own.down:
		return probe
	case p.pace.isSlow(), !p.pace.known && s.isSlow(p.owner):
		return dull
	case s.proven:
		return fast
	case l.class() == queue.Retried && !s.answered:
		return probe
	}
	return fresh
}

// room returns how many more tasks of a kind s may have in flight. If none, wake is the time to ask again without
// further news.
func (m *machine) room(s *site, k kind) (n int, wake int64) {
	n = int(s.standing.window)
	if k == probe {
		n = 1
	}
	n = min(n, m.permitted(s)) - int(s.held)
	if n <= 0 {
		return n, never
	}
	if at := m.siteRateAt(s); at > m.mono {
		return 0, at
	}
	return n, never
}
