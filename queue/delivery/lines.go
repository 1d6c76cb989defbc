package delivery

// How targets, parties and sites stand in line: targets on the shelves of a party, parties in the rings of a site,
// sites in the lines of the machine.

// shelf returns the shelf of a level.
func (p *party) shelf(l level) *shelf {
	for _, sh := range p.shelves {
		if sh.level == l {
			return sh
		}
	}
	sh := &shelf{level: l}
	p.shelves = append(p.shelves, sh)
	return sh
}

// ring returns the ring of a stand.
func (s *site) ring(st stand) *ring {
	for _, r := range s.rings {
		if r.stand == st {
			return r
		}
	}
	r := &ring{stand: st}
	s.rings = append(s.rings, r)
	return r
}

// ring puts p into a ring of its site if it has something on that level, and waits for nothing.
func (m *machine) ring(p *party, l level) {
	bit := uint8(1) << l
	blocked := p.own != nil && p.own.until > m.mono
	if p.aside || p.sated || (p.ringed|p.waits)&bit != 0 || p.shelf(l).len() == 0 || blocked {
		return
	}
	st := standOf(p.kind(l), l)
	p.ringed |= bit
	p.site.ring(st).push(p)
	m.stand(p.site, st)
}

// sort moves the parties of s into the rings of their present kinds. If the last sort was too recent, it returns the
// time of the next one.
func (m *machine) sort(s *site) (later int64) {
	if again := s.sorted + int64(lookAgain); s.sorted > 0 && again > m.mono {
		return again
	}
	s.sorted, s.mixed = m.mono, false
	for _, r := range s.rings[:len(s.rings):len(s.rings)] {
		for range r.len() {
			p, _ := r.pop()
			p.ringed &^= 1 << r.level()
			m.ring(p, r.level())
		}
	}
	return never
}

// ringAll is ring for all levels.
func (m *machine) ringAll(p *party) {
	for _, sh := range p.shelves {
		m.ring(p, sh.level)
	}
}

// stand puts s at the end of a line if it has something for it.
func (m *machine) stand(s *site, st stand) {
	bit := uint32(1) << st
	if s.lined&bit != 0 || s.ring(st).len() == 0 || m.siteBlocked(s) {
		return
	}
	if s.lined == 0 {
		m.waiting++
	}
	s.lined |= bit
	m.lines[st].push(s)
}

// unstand notes that s was taken out of a line.
func (m *machine) unstand(s *site, st stand) {
	if s.lined &^= 1 << st; s.lined == 0 {
		m.waiting--
	}
}

// lineUp puts s into all lines that it has something for.
func (m *machine) lineUp(s *site) {
	if s.mixed {
		if later := m.sort(s); later != never {
			m.park(&s.standing.waiter, later)
		}
	}
	for _, r := range s.rings {
		m.stand(s, r.stand)
	}
}

// siteBlocked reports whether nothing may be sent to s for now.
func (m *machine) siteBlocked(s *site) bool {
	return s.standing.until > m.mono || m.suspendedFor(s.name) > 0
}

// cap has p wait on a level until its owner may have more slots for a kind.
func (m *machine) cap(p *party, k kind, l level) {
	p.waits |= 1 << l
	lines := &p.owner.waiting[0]
	if k != fast {
		lines = &p.owner.waiting[1]
	}
	lines[l].push(p)
	m.capOwner(p.owner)
}

// lacks reports whether mail waits that more places may help.
func (m *machine) lacks() bool { return m.waiting > 0 || m.capped.len() > 0 }

// capOwner has o looked at again when it may have more slots.
func (m *machine) capOwner(o *owner) {
	if !o.capped {
		o.capped = true
		m.capped.push(o)
	}
	m.cappedAt = min(m.cappedAt, m.mono+int64(lookAgain))
}

// uncap lets parties stand in line again whose owners may have more slots by now, or for which there are places at
// their hosts.
func (m *machine) uncap() {
	m.cappedAt = never
	for range m.capped.len() {
		o, _ := m.capped.pop()
		o.capped = false
		if m.uncapOwner(o, m.places); o.waits() {
			m.capOwner(o)
		}
	}
	for range m.sated.len() {
		p, _ := m.sated.pop()
		p.sated = false
		m.ringAll(p)
	}
	for range m.crowded.len() {
		h, _ := m.crowded.pop()
		h.crowded = false
		if m.call(h, h.most); h.order.len() > 0 {
			m.crowd(h)
		}
	}
}

// uncapNext lets a party of one owner stand in line again. Owners take turns. Of many, it looks at some: at more than
// the few owners that somebody with bad intentions has, who may have no slot.
func (m *machine) uncapNext() {
	for range min(m.capped.len(), 8) {
		o, _ := m.capped.pop()
		m.capped.push(o)
		if m.uncapOwner(o, 1) > 0 {
			return
		}
	}
}

// uncapOwner lines up parties of o again: up to n for fast mail, and up to n for other mail, as far as o may have slots
// for each. A party without room doesn't block one with room. One time in eight, the last levels come first. It returns
// the number of parties.
func (m *machine) uncapOwner(o *owner, n int) (woken int) {
	o.woken++
	for i, k := range [...]kind{fast, fresh} {
		lines := &o.waiting[i]
		if !anyWaits(lines) {
			continue
		}
		left := min(n, m.ownerRoom(o, k))
		for l := range level(levels) {
			if o.woken%8 == 0 {
				l = levels - 1 - l
			}
			more := m.uncapLine(&lines[l], l, left)
			woken, left = woken+more, left-more
		}
	}
	return woken
}

// uncapLine lines up to n parties up again that wait on a level. Those whose sites have no room don't count. It returns
// the number of parties.
func (m *machine) uncapLine(of *line[*party], l level, n int) (woken int) {
	for woken < n {
		p, ok := of.pop()
		if !ok {
			break
		}
		if p.waits &^= 1 << l; p.refs == 0 {
			continue
		}
		m.ring(p, l)
		if room, _ := m.room(p.site, p.kind(l)); room > 0 && p.ringed&(1<<l) != 0 {
			woken++
		}
	}
	return woken
}

// waits reports whether parties of o wait until it may have more slots.
func (o *owner) waits() bool { return anyWaits(&o.waiting[0]) || anyWaits(&o.waiting[1]) }

func anyWaits(lines *[levels]line[*party]) bool {
	for l := range lines {
		if lines[l].len() > 0 {
			return true
		}
	}
	return false
}

// untoldFirst puts a party in front that s refused nothing since it last took mail: with that one, s may come back.
func (s *site) untoldFirst(r *ring) {
	for range r.len() {
		if p, _ := r.first(); p.epoch != s.epoch+1 {
			return
		}
		p, _ := r.pop()
		r.push(p)
	}
}

// modestFirst puts a party in front whose owner has less than its part of the places at s. Of many, it looks at some.
func (m *machine) modestFirst(s *site, r *ring) {
	for range min(r.len(), 8) {
		p, _ := r.first()
		if float64(p.held) < s.standing.window*m.slots.part(&p.owner.slots, m.mono) {
			return
		}
		r.pop()
		r.push(p)
	}
}

// sate has p, which has its part of the places at its site, looked at again when one of its tasks has ended, or soon.
func (m *machine) sate(p *party) {
	p.sated = true
	m.sated.push(p)
	m.cappedAt = min(m.cappedAt, m.mono+int64(lookAgain))
}

// wait has p wait for a place at h.
func (h *host) wait(p *party) {
	l := h.waiting[p.owner]
	if l == nil {
		l = new(line[*party])
		if h.waiting == nil {
			h.waiting = make(map[*owner]*line[*party])
		}
		h.waiting[p.owner] = l
		h.order.push(p.owner)
	}
	l.push(p)
}

// call lets up to n of the parties that wait for a place at h stand in line again, if they may have one. Owners take
// turns, and so do the parties of each.
func (m *machine) call(h *host, n int32) {
	n = min(n, h.most-h.held)
	for range h.order.len() {
		if n <= 0 {
			return
		}
		o, _ := h.order.pop()
		l := h.waiting[o]
		p := m.takeWaiting(h, o, l)
		if p == nil {
			h.order.push(o)
			continue
		}
		if l.len() > 0 {
			h.order.push(o)
		} else {
			delete(h.waiting, o)
		}
		p.aside = false
		m.ringAll(p)
		n--
	}
}

// takeWaiting takes a party of o from l that may have a place at h; nil: there is none. Of many, it looks at some.
func (m *machine) takeWaiting(h *host, o *owner, l *line[*party]) *party {
	for range min(l.len(), 8) {
		p, _ := l.pop()
		if m.hostRoom(h, o, p.isQuick()) > 0 {
			return p
		}
		l.push(p)
	}
	return nil
}

// crowd has h looked at again, should those that were called not come.
func (m *machine) crowd(h *host) {
	if !h.crowded {
		h.crowded = true
		m.crowded.push(h)
	}
	m.cappedAt = min(m.cappedAt, m.mono+int64(lookAgain))
}

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

func (l *line[T]) first() (x T, ok bool) {
	if l.len() == 0 {
		return x, false
	}
	return l.all[l.out], true
}

func (l *line[T]) pop() (x T, ok bool) {
	if x, ok = l.first(); !ok {
		return x, false
	}
	clear(l.all[l.out : l.out+1])
	if l.out++; l.out == len(l.all) {
		l.all, l.out = l.all[:0], 0
	}
	return x, true
}
