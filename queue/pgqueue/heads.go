package pgqueue

import (
	"context"
	"slices"

	"github.com/postrider/postrider/queue/internal/index"
)

// Of a message that waits, ix has an entry and its tasks, and the tables have the rest: envelopes and results would
// take several times as much memory. Claim reads them for the tasks that it leases, and the leases keep them. Messages
// that were stored or read last are in heads, so that mail that is delivered at once is never read.

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

// maxHeads bounds the weight of heads, so that they take some 20 MB. A message to 100,000 recipients must fit beside
// others: each of its tasks needs it.
const maxHeads = 120_000

// heads are messages that are in memory. A head never changes, so it can be kept as long as there is room. Those that
// were added first are dropped first. q.mu is held for all calls.
type heads struct {
	byID   map[uint64]*index.Message
	order  []uint64 // as they were added; some may be gone
	weight int      // of those in byID
}

// weightOf returns what a message weighs: about the memory that it takes, in units of 150 octets.
func weightOf(m *index.Message) int { return 3 + len(m.Dest) }

// keep adds a message, which must not change from then on.
func (h *heads) keep(m *index.Message) {
	if h.byID == nil {
		h.byID = map[uint64]*index.Message{}
	}
	if h.byID[m.ID] != nil {
		return
	}
	h.byID[m.ID], h.order, h.weight = m, append(h.order, m.ID), h.weight+weightOf(m)
	for h.weight > maxHeads && len(h.byID) > 1 {
		h.drop(h.order[0])
		h.order = h.order[1:]
	}
	if len(h.order) > 2*len(h.byID)+100 {
		h.order = slices.DeleteFunc(slices.Clone(h.order), func(id uint64) bool { return h.byID[id] == nil })
	}
}

// drop removes a message, if it is there.
func (h *heads) drop(id uint64) {
	if m := h.byID[id]; m != nil {
		delete(h.byID, id)
		h.weight -= weightOf(m)
	}
}

// take reads what the tables have of leased tasks, and gives it to the leases. It returns the tasks that can be sent.
// The other ones are of messages that have just been removed, or that can't be read: they leave ix.
func (q *Queue) take(ctx context.Context, granted []claim) ([]claim, error) {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	byID := map[uint64]*stored{} // what is read
	var unread, changed []uint64
	q.mu.Lock()
	for i := range granted {
		c := &granted[i]
		m := q.heads.byID[c.ID]
		isChanged := c.State != 0 || c.Num == index.ReportTask
		if m != nil && !isChanged {
			c.Lease.Data = &inHand{m, nil}
			continue
		}
		if byID[c.ID] == nil {
			if m == nil {
				m = &index.Message{ID: c.ID}
				unread = append(unread, c.ID)
			}
			byID[c.ID] = newStored(m)
		}
		if isChanged {
			changed = append(changed, c.ID)
		}
	}
	q.mu.Unlock()
	if len(byID) == 0 {
		return granted, nil
	}
	if len(unread) > 0 {
		all, err := q.readHeads(ctx, q.db, ofIDs, arrayOf(unread))
		if err != nil {
			return nil, err
		}
		for _, id := range unread {
			delete(byID, id)
		}
		for _, s := range all {
			byID[s.msg.ID] = s
		}
	}
	if len(changed) > 0 { // no other Queue settles these tasks, so what is read is what they had when they were leased
		if err := q.readEvents(ctx, q.db, ofIDs, byID, arrayOf(changed)); err != nil {
			return nil, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := make([]claim, 0, len(granted)) // handBack may need granted
	for i := range granted {
		c := &granted[i]
		s := byID[c.ID]
		switch {
		case s != nil:
			q.heads.keep(s.msg)
			c.Lease.Data = &inHand{s.msg, s.before(c)}
		case c.Lease.Data == nil:
			q.remove(c.ID)
			continue
		}
		taken = append(taken, *c)
	}
	return taken, nil
}

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
