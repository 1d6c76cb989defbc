package delivery

import "github.com/postrider/postrider/queue"

// A desk has the lanes whose mail isn't sent for now, while notices and deadlines are to be looked for. Each task that
// has one is claimed and settled without its host. The sites take turns, and so do the lanes of each.
type desk struct {
	order line[*deskSite]
	sites map[*site]*deskSite
}

// deskSite is a site that has lanes at the desk. While as many of its tasks are in flight as may be, it isn't in order.
type deskSite struct {
	site    *site
	lanes   line[*target]
	inOrder bool
}

// push adds a lane of s.
func (d *desk) push(s *site, t *target) {
	at := d.sites[s]
	if at == nil {
		if d.sites == nil {
			d.sites = make(map[*site]*deskSite)
		}
		at = &deskSite{site: s}
		d.sites[s] = at
	}
	at.lanes.push(t)
	d.line(at)
}

func (d *desk) line(at *deskSite) {
	if !at.inOrder {
		at.inOrder = true
		d.order.push(at)
	}
}

// freed notes that a task of s isn't in flight any more.
func (d *desk) freed(s *site) {
	if at := d.sites[s]; at != nil {
		d.line(at)
	}
}

// pop returns the lane that has its turn, of a site that may have another task in flight.
func (d *desk) pop() (t *target, ok bool) {
	for {
		at, ok := d.order.pop()
		if !ok {
			return nil, false
		}
		at.inOrder = false
		if int(at.site.held) >= at.site.limits.Concurrency {
			continue // until one is freed
		}
		if t, ok = at.lanes.pop(); ok {
			d.line(at)
			return t, true
		}
		delete(d.sites, at.site)
	}
}

// lateTarget has notices and deadlines looked for, if t's mail isn't sent for now.
func (m *machine) lateTarget(t *target) {
	m.setOverdue(t, m.wall+int64(recheck))
	if t.atDesk {
		return
	}
	if t.party == nil { // its site is being looked up, or is to be
		return
	}
	if m.blocked(t) > 0 {
		t.atDesk = true
		m.desk.push(t.party.site, t)
	}
}

// toDesk asks for a task whose notice or deadline has come, though its mail isn't sent. It reports false if there is
// none that may have a place.
func (m *machine) toDesk() bool {
	for m.kinds[atDesk] < max(1, m.places/deskShare) {
		t, ok := m.desk.pop()
		if !ok {
			return false
		}
		t.atDesk = false
		if !t.ready || t.party == nil || m.blocked(t) <= 0 {
			continue // it is looked at again after recheck
		}
		if s := t.party.site; int(s.held) >= s.limits.Concurrency { // it is of another site by now
			m.lateTarget(t)
			continue
		}
		m.ask(t, queue.Overdue, atDesk)
		return true
	}
	return false
}

// deskShare is the part of all places that may be taken by what isn't sent.
const deskShare = 4
