package delivery

import (
	"time"
)

// lookups are the questions for sites. They take no slot. Owners take turns. One that takes longer than patience yields
// to others: there is room for many that wait for a slow name server; where there is none any more, it is given up, and
// its destination is its own site for now.
type lookups struct {
	order  line[*owner] // of those that have something to ask
	asking map[string]*lookup
	begun  line[*lookup] // within patience, in the order in which they began, some of which are over
	aged   line[*lookup] // before that, likewise
	young  int           // of those under way that began within patience
	old    int           // of the others
}

// lookup is one that is under way.
type lookup struct {
	name    string
	targets []*target
	began   int64
	old     bool
	over    bool
}

const (
	// patience is how long a lookup may take before it yields. Most take some milliseconds.
	patience = time.Second

	maxYoung = 400 // lookups under way within patience
	maxOld   = 800 // and those that took longer

	// lookupTime is how long a lookup may take in any case.
	lookupTime = time.Minute
)

// want has t's site looked up.
func (ls *lookups) want(t *target, o *owner) {
	o.unsited.push(t)
	if !o.asking {
		o.asking = true
		ls.order.push(o)
	}
}

// toSite returns the next destination whose site must be looked up. ok is false if there is none, or if enough lookups
// are under way.
func (m *machine) toSite(now time.Time) (name string, ok bool) {
	m.at(now)
	ls := &m.lookups
	ls.age(m.mono)
	for ls.young < maxYoung {
		o, ok := ls.order.pop()
		if !ok {
			return "", false
		}
		t, _ := o.unsited.pop()
		if o.asking = o.unsited.len() > 0; o.asking {
			ls.order.push(o)
		}
		l := ls.asking[t.Destination]
		if l != nil {
			l.targets = append(l.targets, t)
			continue
		}
		l = &lookup{name: t.Destination, targets: []*target{t}, began: m.mono}
		ls.asking[l.name] = l
		ls.begun.push(l)
		ls.young++
		return l.name, true
	}
	return "", false
}

// age counts those as old that take longer than patience.
func (ls *lookups) age(now int64) {
	for l, ok := ls.begun.first(); ok; l, ok = ls.begun.first() {
		if !l.over && now-l.began < int64(patience) {
			return
		}
		ls.begun.pop()
		if !l.over {
			l.old = true
			ls.young--
			ls.old++
			ls.aged.push(l)
		}
	}
}

// overlong returns the names of the lookups that must end: their targets have sites now.
func (m *machine) overlong(now time.Time) (names []string) {
	m.at(now)
	ls := &m.lookups
	ls.age(m.mono)
	for {
		l, ok := ls.aged.first()
		if !ok || !l.over && ls.old <= maxOld && m.mono-l.began < int64(lookupTime) {
			break
		}
		ls.aged.pop()
		if !l.over {
			names = append(names, l.name)
			m.sited(l.name, Site{Name: l.name}, now)
		}
	}
	return names
}

// nextAging is when there is room for another lookup, or one has taken too long, without further news.
func (ls *lookups) nextAging() int64 {
	next := int64(never)
	for _, of := range [...]*line[*lookup]{&ls.aged, &ls.begun} {
		l, ok := of.first()
		for ok && l.over {
			of.pop()
			l, ok = of.first()
		}
		if ok {
			next = min(next, l.began+int64(lookupTime))
		}
	}
	if l, ok := ls.begun.first(); ok && ls.order.len() > 0 && ls.young >= maxYoung {
		next = min(next, l.began+int64(patience))
	}
	return next
}

// sited stores the site of a destination that toSite has returned. The site may come too late.
func (m *machine) sited(name string, of Site, now time.Time) {
	m.at(now)
	ls := &m.lookups
	l := ls.asking[name]
	if l == nil {
		return
	}
	delete(ls.asking, name)
	if l.over = true; l.old {
		ls.old--
	} else {
		ls.young--
	}
	for _, t := range l.targets {
		t.queued &^= isSought
		m.join(t, of)
		m.queue(t)
	}
}
