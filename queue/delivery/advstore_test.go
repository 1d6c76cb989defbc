package delivery

import (
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// advMail is a task in the simulated store. A honest one has all that is by chance in it from the start, so that the
// runs of a pair have the same.
type advMail struct {
	seq      uint64
	due      int64
	arrival  int64
	dest     *advDest
	owner    queue.Owner
	prio     int8
	group    int8 // advAdversary or where its wait is counted
	aimed    bool // at a site that the adversary aims at
	measured bool
	counted  bool // its wait is known
	attempts int
	size     int64
	service  int64                                // of a honest one: of its first attempt
	fate     uint8                                // of a honest one
	jitter   float64                              // of its retries
	talk     func(now int64, attempt int) advTalk // of the adversary's
	move     *advMove
	envelope *smtp.Envelope // of the adversary's; nil: as all mail of the owner
	started  int64          // the last attempt; negative: none
}

func (m *advMail) lane() queue.Lane {
	return queue.Lane{Destination: m.dest.name, Owner: m.owner, Priority: m.prio}
}

func (m *advMail) before(o *advMail) bool { return m.due < o.due || m.due == o.due && m.seq < o.seq }

// advDest is a destination.
type advDest struct {
	name   string
	site   advSite
	known  bool // it took mail within a day
	dns    func(now int64) (takes int64, s advSite)
	ttl    int64   // of what the DNS answers
	cached int64   // until when
	lookup int     // the number of the lookup under way; 0: none
	answer advSite // of it
	lanes  []*advLaneTasks
}

// advLaneTasks are the waiting tasks of a lane.
type advLaneTasks struct {
	queue.Lane
	fresh, retried advHeap[*advMail]
}

// tasks has a lane of the destination.
func (d *advDest) tasks(l queue.Lane) *advLaneTasks {
	for _, t := range d.lanes {
		if t.Owner == l.Owner && t.Priority == l.Priority {
			return t
		}
	}
	t := &advLaneTasks{Lane: l}
	d.lanes = append(d.lanes, t)
	return t
}

// drop forgets lanes without tasks, if there are many.
func (d *advDest) drop() {
	kept := d.lanes[:0]
	for _, t := range d.lanes {
		if len(t.fresh)+len(t.retried) > 0 {
			kept = append(kept, t)
		}
	}
	clear(d.lanes[len(kept):])
	d.lanes = kept
}

func (t *advLaneTasks) put(m *advMail) {
	if m.attempts == 0 {
		t.fresh.push(m)
	} else {
		t.retried.push(m)
	}
}

// of has the heap of a class from which the next task comes.
func (t *advLaneTasks) of(c queue.Class) *advHeap[*advMail] {
	switch {
	case c == queue.Fresh:
		return &t.fresh
	case c == queue.Retried:
		return &t.retried
	case c == queue.Overdue:
		return nil // nothing has a notice or a deadline
	case len(t.retried) == 0, len(t.fresh) > 0 && t.fresh[0].before(t.retried[0]):
		return &t.fresh
	}
	return &t.retried
}

// take takes a task out that is wanted. If there is none, coming is when there is one; never: there is none.
func (d *advDest) take(w queue.Want, now int64) (m *advMail, coming int64) {
	for _, t := range d.lanes {
		if t.Owner != w.Owner || t.Priority != w.Priority {
			continue
		}
		h := t.of(w.Class)
		if h == nil || len(*h) == 0 {
			break
		}
		if at := (*h)[0].due; at > now {
			return nil, at
		}
		return h.pop(), 0
	}
	return nil, never
}

// advHeap has the first on top.
type advHeap[T interface{ before(T) bool }] []T

func (h *advHeap[T]) push(x T) {
	s := append(*h, x)
	*h = s
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = x
}

func (h *advHeap[T]) pop() T {
	s := *h
	top, last := s[0], len(s)-1
	x := s[last]
	clear(s[last:])
	s = s[:last]
	*h = s
	if last == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(x) {
			break
		}
		s[i] = s[child]
		i = child
	}
	s[i] = x
	return top
}
