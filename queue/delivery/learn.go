package delivery

import (
	"net/netip"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
)

// meterKind is what a site counts.
type meterKind uint8

const (
	noMeter meterKind = iota // the meter is gone
	bySource
	byNetwork
	bySigner
	bySPF
	byRecipient
	meterKinds
)

var meterKindNames = [meterKinds]string{"", "address", "network", "dkim-domain", "spf-domain", "recipient"}

// meterKey is what a meter of a site counts. With an owner, it counts the mail of that owner alone.
type meterKey struct {
	owner uint64 // see facets; 0: all
	name  uint32 // in machine.names
	kind  meterKind
}

// learnt is what was learned of a site's rates: one meter, and those in allLearnt.more.
type learnt struct{ one meter }

// allLearnt is what was learned of the rates of sites. Most sites have one meter, and take no memory for others.
type allLearnt struct {
	sites map[string]*learnt
	more  map[*learnt]map[meterKey]*meter // none is empty
}

func (a *allLearnt) find(l *learnt, k meterKey) *meter {
	if l.one.key() == k {
		return &l.one
	}
	return a.more[l][k]
}

// each calls f for each meter of a site, in no order.
func (a *allLearnt) each(l *learnt, f func(*meter)) {
	if !l.one.isGone() {
		f(&l.one)
	}
	for _, m := range a.more[l] {
		f(m)
	}
}

// put adds a meter that isn't there. The first one keeps its place as long as a message in flight refers to it.
func (a *allLearnt) put(l *learnt, m meter) *meter {
	if l.one.isGone() && l.one.held == 0 {
		l.one = m
		return &l.one
	}
	if a.more[l] == nil {
		a.more[l] = make(map[meterKey]*meter)
	}
	a.more[l][m.key()] = &m
	return &m
}

// remove forgets a meter. Lanes and flights that refer to it see that it is gone.
func (a *allLearnt) remove(l *learnt, m *meter) {
	if delete(a.more[l], m.key()); len(a.more[l]) == 0 {
		delete(a.more, l)
	}
	m.owner, m.name, m.kind = 0, 0, noMeter
}

// names are the names in keys of meters.
type names struct {
	ids  map[string]uint32
	list []string
}

func (n *names) id(name string) uint32 {
	id, ok := n.ids[name]
	if !ok {
		if n.ids == nil {
			n.ids = make(map[string]uint32)
		}
		id = uint32(len(n.list))
		n.ids[name], n.list = id, append(n.list, name)
	}
	return id
}

// Bounds of what is learned.
const (
	maxMeters       = 100_000 // in all
	maxSiteMeters   = 1000    // of a site
	maxRecipientsOf = 100     // of a message, that are looked up
)

// learn notes a refusal of f's task. It returns false if nothing is learned from it.
func (m *machine) learn(f *flight, refusal *rateRefusal) bool {
	s := f.t.party.site
	if s.limits.Recovery.Pause < 0 {
		return false
	}
	now := toSeconds(m.mono)
	if now-s.overAt > int32(longPause/time.Second) {
		s.overs = 0
	}
	if s.has(refusal.addr) {
		s.overs++
		s.overAt = now
	}
	learned := false
	for k, of := range refusal.kinds {
		if !of {
			continue
		}
		for _, name := range refusal.names(meterKind(k)) {
			learned = m.learnOf(f, meterKind(k), name, refusal) || learned
		}
	}
	if s.overs >= manyRefusals && s.learnt != nil { // those that closed before there were so many, too
		m.learnt.each(s.learnt, func(o *meter) {
			if o.closed {
				o.tat = max(o.tat, int64(o.since)*int64(time.Second)+int64(longPause+meterIdle))
			}
		})
	}
	return learned
}

// has reports whether an address is one of s, as far as those are known. A domain may name hosts of its own after those
// of another site, and what they say isn't about that site.
func (s *site) has(addr netip.Addr) bool {
	return len(s.hosts) == 0 ||
		addr.IsValid() && slices.ContainsFunc(s.hosts, func(h *host) bool { return h.addr == addr.String() })
}

// learnOf notes a refusal of one kind. What isn't exact is about the owner, until several owners were refused. What a
// host says that isn't one of the site's stays about the owner: five senders are soon forged. What is refused again and
// again while other messages are accepted is refused for its own sake, and isn't about a rate.
func (m *machine) learnOf(f *flight, kind meterKind, name string, refusal *rateRefusal) bool {
	s := f.t.party.site
	m.makeRoom(s)
	k := meterKey{name: m.names.id(name), owner: refusal.owner, kind: kind}
	known := s.has(refusal.addr)
	if refusal.exact && known {
		k.owner = 0
	}
	if s.learnt != nil {
		if o := m.learnt.find(s.learnt, k); o != nil && o.spare(refusal.before, m.mono) {
			return true
		}
	}
	if k.owner == 0 {
		return m.refuse(f, k)
	}
	learned := m.refuse(f, k)
	var told []*meter
	if s.learnt != nil && known {
		if o := m.learnt.find(s.learnt, k); o != nil {
			o.known = true
		}
		if all := m.learnt.find(s.learnt, meterKey{name: k.name, kind: kind}); all != nil && all.closed {
			m.refuseOne(f, all)
		}
		m.learnt.each(s.learnt, func(o *meter) {
			recent := o.closed || toSeconds(m.mono)-o.since < int32(longPause/time.Second)
			if o.kind == kind && o.name == k.name && o.owner != 0 && o.known && recent {
				told = append(told, o)
			}
		})
	}
	if len(told) < enoughTold {
		return learned
	}
	for _, o := range told {
		m.forget(s.learnt, o)
	}
	k.owner = 0
	return m.refuse(f, k) || learned
}

// refuseOne notes a refusal of one owner for a meter of all that is closed. The next message is one of another owner,
// after a part of the pause, so that one owner can't keep the meter closed.
func (m *machine) refuseOne(f *flight, o *meter) {
	s := f.t.party.site
	if o.late(f.began) {
		o.refuse(s.limits.Recovery, f.began, m.mono)
	} else {
		o.tat = max(o.tat, m.mono+int64(o.pause(s.limits.Recovery)/enoughTold))
	}
	m.restLong(s, o)
	m.tellMeter(s.name, o)
}

// refuse notes a refusal for a meter, and makes the meter if there is none.
func (m *machine) refuse(f *flight, k meterKey) bool {
	s := f.t.party.site
	if s.learnt != nil {
		if o := m.learnt.find(s.learnt, k); o != nil {
			o.refuse(s.limits.Recovery, f.began, m.mono)
			m.restLong(s, o)
			m.tellMeter(s.name, o)
			return true
		}
	}
	if m.isFull(s.learnt) {
		return false
	}
	o := m.putMeter(s.name, newMeter(k, s.limits.Recovery, s.sent.at(m.mono)/fadingTime, s.lately, m.mono))
	m.restLong(s, o)
	m.tellMeter(s.name, o)
	return true
}

// restLong has a meter that is closed stay so for longPause if s has refused many messages lately, whoever sent them.
func (m *machine) restLong(s *site, o *meter) {
	if s.overs >= manyRefusals && o.closed {
		o.tat = max(o.tat, m.mono+int64(longPause))
	}
}

// putMeter adds a meter of a site.
func (m *machine) putMeter(name string, o meter) *meter {
	l := m.learnt.sites[name]
	if l == nil {
		l = new(learnt)
		m.learnt.sites[name] = l
		if s := m.sites[name]; s != nil {
			s.learnt = l
		}
	}
	m.meters++
	m.networks = m.networks || o.kind == byNetwork
	return m.learnt.put(l, o)
}

// forget removes a meter. Lanes that wait for it go on.
func (m *machine) forget(l *learnt, o *meter) {
	m.learnt.remove(l, o)
	m.meters--
	if g := m.gates[o]; g != nil {
		m.openGate(g)
	}
}

// makeRoom forgets what isn't used, if there is much of it or no room for another meter of s. It is called before the
// id of a name is taken, since it may give the names other ids.
func (m *machine) makeRoom(s *site) {
	if m.meters >= m.manyMeters || len(m.names.list) > 4*m.manyMeters+1000 { // or there are names that no meter has
		m.forgetMeters()
	}
	if m.isFull(s.learnt) {
		m.thin(s.learnt)
	}
}

// hasRates reports whether a site of that name has learned rates.
func (m *machine) hasRates(name string) bool {
	l := m.learnt.sites[name]
	return l != nil && (!l.one.isGone() || len(m.learnt.more[l]) > 0)
}

// isFull reports whether there is no room for another meter of a site, of which l was learned.
func (m *machine) isFull(l *learnt) bool {
	return m.meters >= maxMeters || l != nil && len(m.learnt.more[l]) >= maxSiteMeters
}

// thin makes room for another meter: it forgets those that were used least recently, of all or of l, until a quarter
// of the room is free. It leaves what was used within a minute, and does nothing a second time within a second. So an
// owner whose own hosts refuse its mail, each message with names of its own, doesn't keep others from learning.
func (m *machine) thin(l *learnt) {
	if m.thinAt > m.mono {
		return
	}
	m.thinAt = m.mono + int64(time.Second)
	all := m.meters >= maxMeters
	for age := meterMemory; age >= meterIdle; age /= 2 {
		switch {
		case all && m.meters > maxMeters*3/4:
			m.forgetUnused(age)
		case !all && len(m.learnt.more[l]) > maxSiteMeters*3/4:
			m.forgetOf(l, age)
		default:
			return
		}
	}
}

// forgetOf drops the meters of l that weren't used for a time.
func (m *machine) forgetOf(l *learnt, age time.Duration) {
	m.learnt.each(l, func(o *meter) {
		if m.mono-o.tat > int64(age) && o.held == 0 {
			m.forget(l, o)
		}
	})
}

// forgetMeters drops the meters that weren't used for a day, and then the names that no meter has.
func (m *machine) forgetMeters() { m.forgetUnused(meterMemory) }

func (m *machine) forgetUnused(age time.Duration) {
	for name, l := range m.learnt.sites {
		m.forgetOf(l, age)
		if l.one.isGone() && l.one.held == 0 && len(m.learnt.more[l]) == 0 {
			delete(m.learnt.sites, name)
			if s := m.sites[name]; s != nil {
				s.learnt = nil
			}
		}
	}
	m.manyMeters = 2*m.meters + 100
	if len(m.names.list) <= m.manyMeters {
		return
	}
	kept := names{}
	for _, l := range m.learnt.sites {
		if !l.one.isGone() {
			l.one.name = kept.id(m.names.list[l.one.name])
		}
	}
	for l, old := range m.learnt.more {
		more := make(map[meterKey]*meter, len(old))
		for _, o := range old {
			o.name = kept.id(m.names.list[o.name])
			more[o.key()] = o
		}
		m.learnt.more[l] = more
	}
	m.names = kept
}

// metersOf returns the meters that count a task at s. They are valid until the next call.
func (m *machine) metersOf(s *site, t *queue.Task) []*meter {
	l := s.learnt
	m.counting = m.counting[:0]
	if l == nil {
		return nil
	}
	f := facetsOf(t, m.sourceOf, m.signerOf)
	for k := bySource; k < byRecipient; k++ {
		if k == byNetwork && !m.networks {
			continue // it takes time to make its name
		}
		if name, ok := f.of(k); ok {
			m.counts(l, k, name, f.owner)
		}
	}
	for i := range min(len(t.Envelope.Recipients), maxRecipientsOf) {
		m.counts(l, byRecipient, t.Envelope.Recipients[i].Address, f.owner)
	}
	return m.counting
}

// counts adds the meters of a name to m.counting.
func (m *machine) counts(l *learnt, k meterKind, name string, owner uint64) {
	id, ok := m.names.ids[name]
	if !ok {
		return
	}
	for _, key := range [...]meterKey{{0, id, k}, {owner, id, k}} {
		if o := m.learnt.find(l, key); o != nil {
			m.counting = append(m.counting, o)
		}
	}
}
