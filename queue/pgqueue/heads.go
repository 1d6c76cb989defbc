package pgqueue

import (
	"context"
	"slices"

	"github.com/postrider/postrider/queue/internal/index"
)

// Of a message that waits, ix has an entry and its tasks, and the tables have the rest: envelopes and results would
// take several times as much memory. Claim reads them for the tasks that it leases, and the leases keep them. Messages
// that were stored last are in heads, so that mail that is delivered at once is never read. So are, as long as there is
// room, the first ones of the lanes that a Queue takes over.

// entry is what ix keeps of a message.
type entry struct {
	arrival int64
	octets  int64 // of the body
}

func entryOf(m *index.Message) entry { return entry{m.Arrival, m.Size} }

// version is what ix keeps of a task: how often it was settled. The tables have the state after the last time. It is 0
// if the task is as the message arrived.
type version uint32

// inHand is what a lease keeps of its task.
type inHand struct {
	msg    *index.Message
	before *index.Progress // of the task, when it was leased; nil: as the message arrived
}

// progress returns the Progress of the task when it was leased. It shares nothing with h.
func (h *inHand) progress(num uint32) *index.Progress {
	if h.before == nil {
		return h.msg.Initial(num)
	}
	return h.before.Clone()
}

// maxHeads bounds the octets that heads takes, about. A message to 100,000 recipients of 30 octets must fit beside
// others: each of its tasks needs it.
const maxHeads = 20 << 20

// head is a message that is in memory: its column head if it has one task, so that it takes little and nothing that the
// garbage collector must follow, and otherwise the Message, which many tasks need.
type head struct {
	msg           *index.Message
	text          []byte
	arrival, size int64
	octets        int // about what it takes in memory
}

// headOf returns the head of a message that has this column.
func headOf(m *index.Message, text []byte) head {
	if len(m.Dests) > 1 {
		return decodedHead(m)
	}
	return head{text: text, arrival: m.Arrival, size: m.Size, octets: 120 + len(text)}
}

// decodedHead returns the head of a message that many tasks need.
func decodedHead(m *index.Message) head {
	h := head{msg: m, octets: 450}
	for i := range m.Envelope.Recipients {
		to := &m.Envelope.Recipients[i]
		h.octets += 150 + len(to.Address) + len(to.ORCPT)
	}
	return h
}

// message returns the message, which must not be changed: nil if h is zero.
func (h *head) message(id uint64) *index.Message {
	if h.text == nil {
		return h.msg
	}
	m, err := decodeMessage(h.text)
	if err != nil { // take reads it and reports it
		return nil
	}
	m.ID, m.Arrival, m.Size = id, h.arrival, h.size
	return m
}

// heads are messages that are in memory. A head never changes, so it can be kept as long as there is room. Those that
// were added first are dropped first. q.mu is held for all calls.
type heads struct {
	byID   map[uint64]head
	order  []uint64 // as they were added; some may be gone, or there again after they were gone
	octets int      // of those in byID
}

// keep adds a message.
func (h *heads) keep(id uint64, m head) {
	if h.byID == nil {
		h.byID = map[uint64]head{}
	}
	if _, ok := h.byID[id]; ok {
		return
	}
	h.byID[id], h.order, h.octets = m, append(h.order, id), h.octets+m.octets
	for h.octets > maxHeads && len(h.byID) > 1 {
		h.drop(h.order[0])
		h.order = h.order[1:]
	}
	if len(h.order) > 2*len(h.byID)+100 {
		left := make(map[uint64]bool, len(h.byID))
		h.order = slices.DeleteFunc(slices.Clone(h.order), func(id uint64) bool {
			_, ok := h.byID[id]
			again := left[id]
			left[id] = true
			return !ok || again
		})
	}
}

// room returns for how many octets there is room without dropping any.
func (h *heads) room() int { return maxHeads - h.octets }

// drop removes a message, if it is there.
func (h *heads) drop(id uint64) {
	if m, ok := h.byID[id]; ok {
		delete(h.byID, id)
		h.octets -= m.octets
	}
}

// take reads what the tables have of leased tasks, and gives it to the leases. It returns the tasks that can be sent,
// in granted. The other ones are of messages that have just been removed, or that can't be read: they leave ix. A
// message that another Queue has removed a moment ago may still be read: the fence refuses the lease then.
func (q *Queue) take(ctx context.Context, granted []claim) ([]claim, error) {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	kept := make([]head, len(granted))
	q.mu.Lock()
	for i := range granted {
		kept[i] = q.heads.byID[granted[i].ID]
	}
	q.mu.Unlock()
	var unread, changed []uint64
	for i := range granted {
		c := &granted[i]
		hand := &inHand{msg: kept[i].message(c.ID)}
		if hand.msg == nil {
			unread = append(unread, c.ID)
		}
		c.Lease.Data = hand
		if isChanged(c) {
			changed = append(changed, c.ID)
		}
	}
	read := map[uint64]*index.Message{}
	if len(unread) > 0 {
		keep := func(m *index.Message, _ []byte) { read[m.ID] = m }
		err := q.readMessages(ctx, q.db, ofIDs, decodeMessage, keep, arrayOf(unread))
		if err != nil {
			return nil, err
		}
	}
	byID := map[uint64]*stored{} // those that have changed
	for i := range granted {
		hand := granted[i].Lease.Data.(*inHand)
		if hand.msg == nil {
			hand.msg = read[granted[i].ID]
		}
		if hand.msg != nil && isChanged(&granted[i]) {
			byID[hand.msg.ID] = newStored(hand.msg)
		}
	}
	if len(changed) > 0 { // no other Queue settles these tasks, so what is read is what they had when they were leased
		if err := q.readEvents(ctx, q.db, ofIDs, byID, arrayOf(changed)); err != nil {
			return nil, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(granted, func(c claim) bool {
		hand := c.Lease.Data.(*inHand)
		switch {
		case hand.msg == nil:
			q.remove(c.ID)
			return true
		case isChanged(&c):
			hand.before = byID[c.ID].before(&c)
		}
		if read[c.ID] != nil && len(hand.msg.Dests) > 1 && !c.Only { // for its other tasks
			q.heads.keep(c.ID, decodedHead(hand.msg))
		}
		return false
	}), nil
}

// isChanged reports whether a task isn't as its message arrived.
func isChanged(c *claim) bool { return c.State != 0 || c.Num == index.ReportTask }

// before returns the Progress of a task that ix describes.
func (s *stored) before(c *claim) *index.Progress {
	t := s.task(c.Num)
	switch {
	case c.Num == index.ReportTask:
		return mergeParts(s.partsOf(c))
	case t == nil || t.st == nil:
		return s.msg.Initial(c.Num)
	}
	return t.st
}

// partsOf returns the parts of a report task that ix knows.
func (s *stored) partsOf(c *claim) (parts []part) {
	for _, known := range c.Parts {
		for _, p := range s.parts {
			if p.Num == known.Num {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

// agrees reports whether the tables were read after the last settlement of a task that ix describes.
func (s *stored) agrees(c *claim) bool {
	t := s.task(c.Num)
	if c.Num == index.ReportTask {
		return t != nil && len(s.partsOf(c)) == len(c.Parts)
	}
	return t != nil && t.version == c.State
}

// light returns a part as ix keeps it.
func light(p *part) *index.Part[version] {
	if p == nil {
		return nil
	}
	return &index.Part[version]{Num: p.Num, Due: p.Due, Attempts: p.Attempts, Deaths: p.Deaths}
}
