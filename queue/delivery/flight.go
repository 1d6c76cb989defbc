package delivery

import (
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// flight is a task that is being sent or settled.
type flight struct {
	t          *target
	id         queue.ID // of the message
	kind       kind
	began      int64 // on the machine's clock
	slot       *smtp.Slot
	cutter     *cutter
	meters     []*meter // that count it
	askedBack  int64    // when its slot was last asked back
	list       *flights
	prev, next *flight
}

// flights are some in the order in which they began.
type flights struct{ first, last *flight }

func (l *flights) push(f *flight) {
	f.list, f.prev, f.next = l, l.last, nil
	if l.last != nil {
		l.last.next = f
	} else {
		l.first = f
	}
	l.last = f
}

func (l *flights) remove(f *flight) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.first = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	} else {
		l.last = f.prev
	}
	f.list, f.prev, f.next = nil, nil, nil
}

// ask counts a task that is asked for.
func (m *machine) ask(t *target, class queue.Class, k kind) {
	if t.asked == [classes]int16{} {
		m.turn = append(m.turn, t)
	}
	t.asked[class]++
	t.kinds[class] = k
	p := t.party
	t.held++
	p.held++
	p.site.held++
	m.held++
	if q := p.site.lot; q != nil {
		q.peak = max(q.peak, int(p.site.held))
	}
	m.kinds[k]++
	if k == atDesk {
		return
	}
	m.takeRate(p.site)
	for _, h := range p.site.hosts {
		h.held++
		h.byOwner[p.owner]++
	}
	m.slots.take(&p.owner.slots)
	if k != fast {
		m.lend(p.owner)
	}
}

// release undoes ask.
func (m *machine) release(t *target, k kind) {
	p := t.party
	p.sated = false
	t.held--
	p.held--
	p.site.held--
	m.held--
	m.desk.freed(p.site)
	if q := p.site.lot; q != nil && q.contested && q.booked > max(q.permits, int(p.site.held)) {
		m.shared.urgent = true // others wait for it
	}
	m.kinds[k]--
	if k == atDesk {
		return
	}
	for _, h := range p.site.hosts {
		h.held--
		if h.byOwner[p.owner]--; h.byOwner[p.owner] == 0 {
			delete(h.byOwner, p.owner)
		}
		m.call(h, 1)
	}
	m.slots.giveBack(&p.owner.slots)
	if k != fast {
		m.lent.giveBack(&p.owner.lent)
	}
	if p.owner.capped {
		m.uncapOwner(p.owner, 1)
	}
	if k != fast {
		m.uncapNext()
	}
}

// begin counts an attempt that begins.
func (m *machine) begin(f *flight) {
	m.young.push(f)
	if f.kind == fast {
		m.fast.note(float64(m.kinds[fast]), m.mono)
	}
}

// end counts an attempt that ends. What has to be tried again doesn't make an owner's part larger: of each message,
// that is so once for a recipient.
func (m *machine) end(f *flight, v verdict) {
	switch {
	case f.kind == atDesk:
	case f.list == &m.old:
		m.spend(f, m.mono-f.began-int64(tooLong))
	case f.kind != fast:
		m.spend(f, m.mono-f.began)
	}
	if f.list == &m.young && v.final {
		o := f.t.party.owner
		m.slots.end(&o.slots, m.mono)
		if f.kind != fast {
			m.lent.end(&o.lent, m.mono)
		}
	}
	f.list.remove(f)
}

// grow notes that an attempt takes long. From then on, it is one of the dull ones.
func (m *machine) grow(f *flight) {
	m.young.remove(f)
	m.old.push(f)
	if f.kind == atDesk {
		return
	}
	p := f.t.party
	if p.pace.took(true); p.pace.isSlow() {
		p.site.slowed(p.owner)
	}
	p.site.mixed = true
	m.spend(f, int64(tooLong))
	if f.kind == fast {
		m.lend(p.owner)
	}
	if f.kind != probe {
		m.kinds[f.kind]--
		f.kind = dull
		m.kinds[dull]++
	}
	m.lineUp(p.site)
}

// takeBack returns the attempts that must return their slots: they take long, they haven't reached MAIL, and fast mail
// waits.
func (m *machine) takeBack(now time.Time) (back []*flight) {
	m.at(now)
	if m.held < m.places {
		return nil
	}
	least, _ := m.share()
	n := min(m.fastWait(), m.lent.used-least)
	for f := m.old.first; f != nil && len(back) < n; f = f.next {
		if f.kind != atDesk && m.mono-f.askedBack > int64(lookAgain) {
			f.askedBack = m.mono
			back = append(back, f)
		}
	}
	return back
}

// flying adds the destinations to which a message is being sent or settled.
func (m *machine) flying(id queue.ID, to map[string]bool) {
	for _, l := range [...]*flights{&m.young, &m.old} {
		for f := l.first; f != nil; f = f.next {
			if f.id == id {
				to[f.t.Destination] = true
			}
		}
	}
}

// fastWait is how many sites wait for a slot for fast mail.
func (m *machine) fastWait() (n int) {
	for l := range level(levels) {
		n += m.lines[standOf(fast, l)].len()
	}
	return n
}
